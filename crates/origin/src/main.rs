//! The slow SQL origin and its ledger: the ground truth.

use std::process::ExitCode;

fn main() -> ExitCode {
    herd_origin::run()
}
