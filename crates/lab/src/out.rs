//! Lines on stdout and stderr. A reader that went away (`herd check DIR | true`) ends nobody's work and panics nowhere.

use console::Term;
use std::{
    fmt::Display,
    io::{self, ErrorKind, Write},
    sync::OnceLock,
};

/// Why results did not get to stdout, other than that nobody reads them.
static LOST: OnceLock<io::Error> = OnceLock::new();

/// A narrower terminal is not believed.
const WIDTH_MIN: usize = 40;

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

/// How many characters a line of results may have: `COLUMNS`, else the terminal's width; nothing where results go to a file or a pipe.
#[must_use]
pub(crate) fn width() -> Option<usize> {
    let asked = std::env::var("COLUMNS").ok().and_then(|columns| columns.parse().ok());
    let of_terminal = || Term::stdout().size_checked().map(|(_, columns)| usize::from(columns));
    asked.or_else(of_terminal).filter(|columns| *columns >= WIDTH_MIN)
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
