//! The origin from outside: its ledger as a file, and the process that is killed and stopped.

mod ledger;
mod process;
mod spans;
