//! What a key may look like. The edge checks it for clients, a node checks it again: it trusts no caller.

use std::fmt;

/// The longest key that a client may send, in bytes.
pub const KEY_BYTES_MAX: usize = 128;

/// The longest prefix that a configuration may put before keys, in bytes.
pub const PREFIX_BYTES_MAX: usize = 64;

/// Why a key is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KeyError {
    /// It has no bytes.
    Empty,
    /// It has more than `max` bytes.
    TooLong {
        /// its length
        bytes: usize,
        /// the limit it breaks
        max: usize,
    },
    /// The byte at this offset is outside the alphabet.
    BadByte {
        /// offset of the first bad byte
        at: usize,
    },
}

impl fmt::Display for KeyError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Empty => write!(f, "the key is empty: it needs 1 to {KEY_BYTES_MAX} bytes"),
            Self::TooLong { bytes, max } => write!(f, "the key has {bytes} bytes: at most {max} are allowed"),
            Self::BadByte { at } => {
                write!(f, "the key's byte {at} is outside the alphabet A-Z a-z 0-9 . _ : -")
            }
        }
    }
}

impl std::error::Error for KeyError {}

/// Checks a client's key: 1 to [`KEY_BYTES_MAX`] bytes of `A-Z a-z 0-9 . _ : -`.
///
/// # Errors
/// The first rule that it breaks.
pub fn check_key(key: &str) -> Result<(), KeyError> {
    if key.is_empty() {
        return Err(KeyError::Empty);
    }
    check(key, KEY_BYTES_MAX)
}

/// Checks a configuration's key prefix: up to [`PREFIX_BYTES_MAX`] bytes of the same alphabet; it may be empty.
///
/// # Errors
/// The first rule that it breaks.
pub fn check_prefix(prefix: &str) -> Result<(), KeyError> {
    check(prefix, PREFIX_BYTES_MAX)
}

fn check(text: &str, max: usize) -> Result<(), KeyError> {
    if text.len() > max {
        return Err(KeyError::TooLong { bytes: text.len(), max });
    }
    let allowed = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b':' | b'-');
    match text.bytes().position(|b| !allowed(b)) {
        Some(at) => Err(KeyError::BadByte { at }),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The limits hold at their edges, and an error names the limit that was broken.
    #[test]
    fn limits_and_alphabet() {
        assert_eq!(check_key("item-1"), Ok(()));
        assert_eq!(check_key(&"k".repeat(KEY_BYTES_MAX)), Ok(()));
        assert_eq!(check_key(""), Err(KeyError::Empty));
        assert!(check_key(&"k".repeat(KEY_BYTES_MAX + 1)).unwrap_err().to_string().contains("at most 128"));
        assert_eq!(check_key("a b"), Err(KeyError::BadByte { at: 1 }));
        assert_eq!(check_key("ключ"), Err(KeyError::BadByte { at: 0 }));
        assert_eq!(check_prefix(""), Ok(()));
    }
}
