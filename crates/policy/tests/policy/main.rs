//! The policy core, driven by hand and at random: no clock, no task, no store but the models in here.

mod checks;
mod checks_fail;
mod early_modes;
mod fleet;
mod flight_modes;
mod hit_path;
mod lease_modes;
mod models;
mod negative_modes;
mod node;
mod properties;
mod scopes;
mod spread;
mod stale_modes;
mod waiter_modes;
mod warm_modes;
mod xfetch;
mod zoo;
