//! The control plane and the load generator against fakes in this process.

mod control;
mod load;
