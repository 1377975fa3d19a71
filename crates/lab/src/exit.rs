//! How the program ends.

use herd_scenario::Mistakes;
use std::{fmt, process::ExitCode};

/// The exit statuses that the program promises.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exit {
    /// The outcome is the expected one, or there was nothing to judge and all went well: 0.
    Expected,
    /// The outcome is the other one: 1.
    Other,
    /// The outcome is unknown, or something failed on the way: 2.
    Unknown,
    /// The command line or the scenario is wrong: 64.
    Usage,
    /// Ctrl-C or SIGTERM: 130.
    Interrupted,
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(match exit {
            Exit::Expected => 0,
            Exit::Other => 1,
            Exit::Unknown => 2,
            Exit::Usage => 64,
            Exit::Interrupted => 130,
        })
    }
}

/// The caller asked for something impossible. Found in an error's chain, it makes the exit status 64.
#[derive(Debug)]
pub struct UsageError(pub String);

impl fmt::Display for UsageError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for UsageError {}

impl From<Mistakes> for UsageError {
    fn from(mistakes: Mistakes) -> Self {
        Self(mistakes.to_string())
    }
}

/// The exit status that an error means.
#[must_use]
pub fn of_error(error: &anyhow::Error) -> Exit {
    if error.chain().any(|cause| cause.is::<UsageError>()) { Exit::Usage } else { Exit::Unknown }
}
