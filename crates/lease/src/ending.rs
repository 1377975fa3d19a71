//! How the holder of a lease ended, and so what those are told who wait for it.

/// The longest message of a [`HolderFailure`], in bytes.
pub const MESSAGE_BYTES_MAX: usize = 256;

/// How a holder ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum HolderEnd {
    /// It wrote a value: waiters are told to read.
    ValueWritten,
    /// It has no value and never will: waiters share its failure, and none of them tries in its turn.
    Failed(HolderFailure),
    /// Neither, or nobody knows: the oldest waiter is next.
    Abandoned,
}

/// What a holder got instead of a value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum HolderFailure {
    /// There is nothing to get.
    NoSuchRow {
        /// how new that is, by the holder's count: who knows of something newer does not share it
        generation: u64,
    },
    /// It could not be had.
    Failed {
        /// a later attempt may well succeed
        retryable: bool,
        /// for people, at most [`MESSAGE_BYTES_MAX`]
        message: String,
    },
}

impl HolderFailure {
    /// It could not be had. The message is cut after [`MESSAGE_BYTES_MAX`].
    #[must_use]
    pub fn failed(retryable: bool, mut message: String) -> Self {
        message.truncate(message.floor_char_boundary(MESSAGE_BYTES_MAX));
        Self::Failed { retryable, message }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Goal: a message of any length is cut between characters, never inside one.
    #[test]
    fn messages_are_cut_between_characters() {
        let of = |message: &str| match HolderFailure::failed(true, message.to_owned()) {
            HolderFailure::Failed { message, .. } => message,
            HolderFailure::NoSuchRow { .. } => unreachable!("it failed"),
        };
        assert_eq!(of("short"), "short");
        assert_eq!(of(&"x".repeat(300)).len(), MESSAGE_BYTES_MAX);
        let odd = format!("x{}", "\u{e9}".repeat(200));
        assert_eq!(of(&odd), odd[..MESSAGE_BYTES_MAX - 1]);
    }
}
