//! Integration tests across crates, processes and containers: one binary, a module for each concern.

mod architecture;
mod documents;
