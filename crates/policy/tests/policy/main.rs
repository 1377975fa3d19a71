//! The policy core, driven by hand and at random: no clock, no task, no store but the models in here.

mod checks;
mod fleet;
mod flight_modes;
mod lease_modes;
mod models;
mod node;
mod properties;
mod zoo;
