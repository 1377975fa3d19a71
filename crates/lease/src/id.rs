//! Tokens, epochs, time, and what names and owners may look like.

use std::fmt;

/// The longest lease name, in bytes.
pub const NAME_BYTES_MAX: usize = 256;
/// The longest owner, in bytes.
pub const OWNER_BYTES_MAX: usize = 128;
/// The longest lease, in milliseconds.
pub const EXPIRY_MS_MAX: u32 = 600_000;
/// The longest wait for a lease, in milliseconds.
pub const WAIT_MS_MAX: u32 = 60_000;

/// A fencing token: strictly larger than any token granted before, of any name.
///
/// 1 to [`Token::MAX`]. [`Token::ZERO`] is smaller than every granted token and stands for "none so far".
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Token(pub u64);

impl Token {
    /// Smaller than every granted token.
    pub const ZERO: Self = Self(0);
    /// The largest token, 2^53 - 1: scripts inside Redis compare numbers as doubles, which are exact up to here. A
    /// million grants a second use it up in 285 years.
    pub const MAX: Self = Self((1 << 53) - 1);
}

impl fmt::Display for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// Which life of the lease store this is: it grows whenever the store came back without its data.
///
/// 1 to [`Epoch::MAX`]. [`Epoch::ZERO`] is before the first.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Epoch(pub u64);

impl Epoch {
    /// Before the first epoch.
    pub const ZERO: Self = Self(0);
    /// The largest epoch; see [`Token::MAX`].
    pub const MAX: Self = Self((1 << 53) - 1);
}

impl fmt::Display for Epoch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// A point in time: microseconds since any origin, the same one for all times that meet.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Time(pub u64);

impl Time {
    /// This time and `ms` milliseconds; at the end of time it stays there.
    #[must_use]
    pub const fn plus_ms(self, ms: u64) -> Self {
        Self(self.0.saturating_add(ms.saturating_mul(1000)))
    }

    /// Milliseconds from `earlier` to here, rounded down; 0 if `earlier` is later.
    #[must_use]
    pub const fn ms_since(self, earlier: Self) -> u64 {
        self.0.saturating_sub(earlier.0) / 1000
    }

    /// Milliseconds from here to `later`, rounded up and cut at `u32::MAX`; 0 if `later` is past.
    #[must_use]
    pub fn ms_until(self, later: Self) -> u32 {
        u32::try_from(later.0.saturating_sub(self.0).div_ceil(1000)).unwrap_or(u32::MAX)
    }
}

/// Which limit a request for a lease breaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Malformed {
    /// The name is empty or too long.
    #[error("the name has {0} bytes: it needs 1 to {NAME_BYTES_MAX}")]
    Name(usize),
    /// The owner is empty or too long.
    #[error("the owner has {0} bytes: it needs 1 to {OWNER_BYTES_MAX}")]
    Owner(usize),
    /// The expiry is zero or too long.
    #[error("expiry_ms is {0}: it must be 1 to {EXPIRY_MS_MAX}")]
    Expiry(u32),
    /// The wait is too long.
    #[error("wait_ms is {0}: at most {WAIT_MS_MAX} is allowed")]
    Wait(u32),
}

/// Checks a lease's name.
///
/// # Errors
/// [`Malformed::Name`] outside 1 to [`NAME_BYTES_MAX`] bytes.
pub fn check_name(name: &str) -> Result<(), Malformed> {
    if (1..=NAME_BYTES_MAX).contains(&name.len()) { Ok(()) } else { Err(Malformed::Name(name.len())) }
}

/// Checks an owner.
///
/// # Errors
/// [`Malformed::Owner`] outside 1 to [`OWNER_BYTES_MAX`] bytes.
pub fn check_owner(owner: &str) -> Result<(), Malformed> {
    if (1..=OWNER_BYTES_MAX).contains(&owner.len()) { Ok(()) } else { Err(Malformed::Owner(owner.len())) }
}

/// Checks how long a lease shall last.
///
/// # Errors
/// [`Malformed::Expiry`] outside 1 to [`EXPIRY_MS_MAX`] milliseconds.
pub const fn check_expiry(expiry_ms: u32) -> Result<(), Malformed> {
    if expiry_ms >= 1 && expiry_ms <= EXPIRY_MS_MAX { Ok(()) } else { Err(Malformed::Expiry(expiry_ms)) }
}

/// Checks how long a caller will wait.
///
/// # Errors
/// [`Malformed::Wait`] above [`WAIT_MS_MAX`] milliseconds.
pub const fn check_wait(wait_ms: u32) -> Result<(), Malformed> {
    if wait_ms <= WAIT_MS_MAX { Ok(()) } else { Err(Malformed::Wait(wait_ms)) }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Limits hold at their edges, and the message names the limit.
    #[test]
    fn limits_hold_at_their_edges() {
        assert_eq!(check_name(&"n".repeat(NAME_BYTES_MAX)), Ok(()));
        assert!(check_name(&"n".repeat(NAME_BYTES_MAX + 1)).unwrap_err().to_string().contains("1 to 256"));
        assert_eq!(check_name(""), Err(Malformed::Name(0)));
        assert_eq!(check_owner(""), Err(Malformed::Owner(0)));
        assert_eq!(check_owner(&"o".repeat(OWNER_BYTES_MAX + 1)), Err(Malformed::Owner(129)));
        assert_eq!(check_expiry(0), Err(Malformed::Expiry(0)));
        assert_eq!(check_expiry(EXPIRY_MS_MAX), Ok(()));
        assert_eq!(check_wait(0), Ok(()));
        assert_eq!(check_wait(WAIT_MS_MAX + 1), Err(Malformed::Wait(WAIT_MS_MAX + 1)));
    }

    /// Waiting times round so that a timer set by them never fires too early.
    #[test]
    fn milliseconds_round_towards_lateness() {
        assert_eq!(Time(1_500).ms_until(Time(2_501)), 2);
        assert_eq!(Time(9).ms_until(Time(3)), 0);
        assert_eq!(Time(2_999).ms_since(Time(1_000)), 1);
        assert_eq!(Time(u64::MAX).plus_ms(1), Time(u64::MAX));
    }
}
