//! The control plane, the load generator and the run loop against fakes in this process.

mod control;
mod during;
mod fakes;
mod load;
mod retries;
mod run_loop;
mod start;
