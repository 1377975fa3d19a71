//! The policy core, driven by hand and at random: no clock, no task, no store but the models in here.

mod fleet;
mod modes;
mod node;
mod properties;
mod zoo;
