//! Which answers are plain hits: what edge and node alike must know to keep the traces of all others.

use crate::absent;
use crate::v1::Served;
use tonic::{Code, Status};

impl Served {
    /// Whether an answer cost nothing but a look: the cache had it, or knew that there is no such row. Nobody rebuilt anything
    /// for it, nobody waited, and nothing was old.
    #[must_use]
    pub const fn is_plain_hit(self) -> bool {
        matches!(self, Self::Hit | Self::HitLocal | Self::Negative | Self::Filtered)
    }
}

/// Whether an error is as good as a plain hit: a remembered absence.
#[must_use]
pub fn is_plain_absence(error: &Status) -> bool {
    error.code() == Code::NotFound && absent::read(error).is_some_and(|absent| absent.served.is_plain_hit())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Whoever led, waited or got something old is no plain hit; nor is the origin's own word that there is no row.
    #[test]
    fn plain_hits() {
        for served in [Served::Hit, Served::HitLocal, Served::Negative, Served::Filtered] {
            assert!(served.is_plain_hit(), "{served:?}");
        }
        for served in [Served::Led, Served::Waited, Served::WaitedFleet, Served::SecondLook, Served::Stale] {
            assert!(!served.is_plain_hit(), "{served:?}");
        }
        for (served, plain) in [(Served::Negative, true), (Served::Filtered, true), (Served::Led, false)] {
            let mut error = Status::not_found("no such row");
            absent::describe(&mut error, served, "node-1", 1, 1);
            assert_eq!(is_plain_absence(&error), plain, "{served:?}");
        }
        assert!(!is_plain_absence(&Status::not_found("nobody said how")));
        assert!(!is_plain_absence(&Status::unavailable("away")));
    }
}
