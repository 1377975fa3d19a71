//! Content hashes: an image is rebuilt exactly when what goes into it changed.

use sha2::{Digest, Sha256};
use std::{fmt::Write as _, fs::File, io, io::Read, path::Path};

/// A hash over named inputs, in the order they are added.
#[derive(Clone, Debug, Default)]
pub(crate) struct ContentHash {
    state: Sha256,
}

impl ContentHash {
    /// Adds one input. Names and lengths are hashed too, so that inputs cannot run into each other.
    pub(crate) fn bytes(mut self, name: &str, content: &[u8]) -> Self {
        self.head(name, content.len() as u64);
        self.state.update(content);
        self
    }

    /// Adds one file.
    pub(crate) fn file(mut self, name: &str, path: &Path) -> io::Result<Self> {
        let mut file = File::open(path)?;
        self.head(name, file.metadata()?.len());
        let mut chunk = vec![0; 256 * 1024];
        loop {
            let read = file.read(&mut chunk)?;
            if read == 0 {
                return Ok(self);
            }
            self.state.update(&chunk[..read]);
        }
    }

    /// 64 hexadecimal digits.
    pub(crate) fn finish(self) -> String {
        self.state.finalize().iter().fold(String::with_capacity(64), |mut text, byte| {
            let _ = write!(text, "{byte:02x}");
            text
        })
    }

    fn head(&mut self, name: &str, length: u64) {
        self.state.update((name.len() as u64).to_le_bytes());
        self.state.update(name);
        self.state.update(length.to_le_bytes());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Goal: the hash depends on every name and every byte, and a file counts like its bytes.
    #[test]
    fn changes_with_each_input() {
        let hash = |name: &str, content: &[u8]| ContentHash::default().bytes(name, content).finish();
        assert_eq!(hash("a", b"1"), hash("a", b"1"));
        assert_eq!(hash("a", b"1").len(), 64);
        assert_ne!(hash("a", b"1"), hash("a", b"2"));
        assert_ne!(hash("a", b"1"), hash("b", b"1"));
        assert_ne!(hash("ab", b"c"), hash("a", b"bc"));

        let file = tempfile::NamedTempFile::new().expect("a file");
        std::fs::write(file.path(), b"1").expect("written");
        assert_eq!(
            ContentHash::default().file("a", file.path()).expect("readable").finish(),
            hash("a", b"1")
        );
    }
}
