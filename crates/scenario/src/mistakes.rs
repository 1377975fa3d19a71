//! What is wrong with a scenario file, and where.

use std::fmt;

/// One mistake in a scenario file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mistake {
    /// Line in the file, from 1; 0 if it does not stand in a file.
    pub line: usize,
    /// Which key or section, dotted: `rung[2].lock.expiry_ms`.
    pub place: String,
    /// What is wrong, and what would be right.
    pub message: String,
}

/// Every mistake of one file, ordered by line. Never empty when returned as an error.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub struct Mistakes {
    /// The file as the caller named it.
    pub file: String,
    /// At least one.
    pub list: Vec<Mistake>,
}

impl fmt::Display for Mistakes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let count = self.list.len();
        write!(f, "{}: {count} mistake{}", self.file, if count == 1 { "" } else { "s" })?;
        for mistake in &self.list {
            let line = if mistake.line == 0 { String::new() } else { format!(":{}", mistake.line) };
            write!(f, "\n  {}{line}: {}: {}", self.file, mistake.place, mistake.message)?;
        }
        Ok(())
    }
}
