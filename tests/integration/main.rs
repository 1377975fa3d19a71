//! Integration tests across crates, processes and containers: one binary, a module for each concern.

mod alerts;
mod architecture;
mod containers;
mod dashboards;
mod documents;
mod drills;
mod experiment;
mod faults;
mod fleet;
mod herds;
mod kept_data;
mod lock_service;
mod observe;
mod otlp;
mod prometheus;
mod regressions;
mod rules;
mod testbeds;
mod traces;
mod turn;
