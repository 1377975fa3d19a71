//! Integration tests across crates, processes and containers: one binary, a module for each concern.

mod architecture;
mod containers;
mod documents;
mod experiment;
mod faults;
mod fleet;
mod herds;
mod kept_data;
mod lock_service;
mod observe;
mod otlp;
mod regressions;
mod testbeds;
mod traces;
