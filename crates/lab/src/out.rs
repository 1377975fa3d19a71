//! Lines on stdout and stderr. A reader that went away (`herd check DIR | true`) ends nobody's work and panics nowhere.

use std::{
    fmt::Display,
    io::{self, ErrorKind, Write},
    sync::OnceLock,
};

/// Why results did not get to stdout, other than that nobody reads them.
static LOST: OnceLock<io::Error> = OnceLock::new();

/// Puts a line on stdout. Says whether there is still somebody who reads.
pub fn say(line: impl Display) -> bool {
    let mut stdout = io::stdout().lock();
    match writeln!(stdout, "{line}").and_then(|()| stdout.flush()) {
        Ok(()) => true,
        Err(error) if error.kind() == ErrorKind::BrokenPipe => false,
        Err(error) => {
            // The first reason is the one to tell.
            let _ = LOST.set(error);
            false
        }
    }
}

/// Puts a line on stderr. There is nobody to tell if that fails.
pub fn warn(line: impl Display) {
    let _ = writeln!(io::stderr(), "{line}");
}

/// Whether all that was said could be said, to those who still read.
///
/// # Errors
/// Stdout took no more, such as a file on a full disk.
pub(crate) fn all_said() -> anyhow::Result<()> {
    match LOST.get() {
        None => Ok(()),
        Some(error) => Err(anyhow::anyhow!("cannot write to stdout: {error}")),
    }
}
