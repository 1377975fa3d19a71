//! The scenario crate from outside: presets, mistakes, layers, drawn workloads, retries.

mod bursts;
mod clashes;
mod combinations;
mod describe;
mod draw;
mod duration;
mod edit;
mod faults;
mod follow_ups;
mod layers;
mod mistakes;
mod presets;
mod retry;
mod workload;

/// A small scenario without mistakes; tests replace parts of it.
pub(crate) const SMALL: &str = r#"
name = "small"
hypothesis = "one rebuild a boundary"

[origin]
latency_ms = 100

[workload]
rate_per_s = 200

[policy]
ttl_ms = 500

[[rung]]
name = "lock"
layers = ["single-flight", "lock"]

[[claim]]
rung = "lock"
property = "rebuilds_per_boundary"
"#;
