//! Integration tests across crates, processes and containers: one binary, a module for each concern.

mod architecture;
mod containers;
mod documents;
mod faults;
mod fleet;
mod herds;
mod lock_service;
mod otlp;
mod testbeds;
mod traces;
