//! The control plane, the load generator and the run loop against fakes in this process.

mod control;
mod load;
mod run_loop;
