//! The control plane, the load generator and the run loop against fakes in this process.

mod control;
mod during;
mod fake_locks;
mod fake_testbed;
mod fakes;
mod faults;
mod faults_roles;
mod load;
mod retries;
mod run_loop;
mod start;
