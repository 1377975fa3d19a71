//! Integration tests across crates, processes and containers.
