//! The values between which is searched. Whole numbers stay whole.

use crate::exit::UsageError;
use std::fmt;

/// The search ends where two values lie within this share of the larger one.
const CLOSE: f64 = 1.0 / 16.0;

/// A value of the field.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Number {
    Whole(i64),
    Real(f64),
}

impl Number {
    /// Both ends, as they were written; one with a fraction makes both so.
    ///
    /// # Errors
    /// One is no number, or they are the same.
    pub(super) fn ends(from: &str, to: &str) -> Result<(Self, Self), UsageError> {
        let (a, b) = (Self::parse("--from", from)?, Self::parse("--to", to)?);
        let (a, b) = match (a, b) {
            (Self::Whole(_), Self::Whole(_)) => (a, b),
            _ => (Self::Real(a.value()), Self::Real(b.value())),
        };
        if a == b {
            return Err(UsageError(format!("--from and --to are both {a}: there is nothing between them")));
        }
        Ok((a, b))
    }

    fn parse(option: &str, text: &str) -> Result<Self, UsageError> {
        Self::read(text).ok_or_else(|| UsageError(format!("{option}: {text:?} is not a number")))
    }

    /// Whether a text is a number.
    pub(super) fn is(text: &str) -> bool {
        Self::read(text).is_some()
    }

    fn read(text: &str) -> Option<Self> {
        let plain = text.replace('_', "");
        let whole = plain.parse().map(Self::Whole).ok();
        let real = || plain.parse().ok().filter(|real: &f64| real.is_finite()).map(Self::Real);
        whole.or_else(real)
    }

    fn value(self) -> f64 {
        match self {
            Self::Whole(whole) => whole as f64,
            Self::Real(real) => real,
        }
    }

    /// Whether nothing has to be tried between the two: they are close, or neighbours.
    pub(super) fn is_close(self, other: Self) -> bool {
        let (a, b) = (self.value(), other.value());
        (a - b).abs() <= CLOSE * a.abs().max(b.abs()) || self.middle(other).is_none()
    }

    /// The value halfway; `None` if there is none strictly between.
    pub(super) fn middle(self, other: Self) -> Option<Self> {
        match (self, other) {
            (Self::Whole(a), Self::Whole(b)) => {
                let (low, high) = (a.min(b), a.max(b));
                let half = i64::try_from(high.abs_diff(low) / 2).ok()?;
                (half > 0).then_some(Self::Whole(low + half))
            }
            _ => {
                let (a, b) = (self.value(), other.value());
                let middle = f64::midpoint(a, b);
                let is_between = |value: f64| value > a.min(b) && value < a.max(b);
                // As few digits as tell it from both ends by far.
                let step = 10_f64.powf(((a - b).abs().log10() - 2.0).floor());
                let round = (middle / step).round() * step;
                // Multiplying by a step below one leaves digits that mean nothing.
                let short = format!("{round:.6}").parse().unwrap_or(round);
                let found = [short, round, middle].into_iter().find(|value| is_between(*value));
                found.map(Self::Real)
            }
        }
    }
}

/// As TOML spells it: what has a fraction shows it.
impl fmt::Display for Number {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Whole(whole) => write!(f, "{whole}"),
            Self::Real(real) => write!(f, "{real:?}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ends(from: &str, to: &str) -> Result<(String, String), String> {
        let told = |(a, b): (Number, Number)| (a.to_string(), b.to_string());
        Number::ends(from, to).map(told).map_err(|error| error.to_string())
    }

    /// Goal: whole numbers stay whole, a fraction makes both ends real, and what is no number is told.
    #[test]
    fn ends_are_read() {
        assert_eq!(ends("100", "2_000"), Ok(("100".to_owned(), "2000".to_owned())));
        assert_eq!(ends("1", "2.5"), Ok(("1.0".to_owned(), "2.5".to_owned())));
        assert_eq!(ends("-3", "3").unwrap().0, "-3");
        assert!(ends("many", "2").unwrap_err().contains("--from: \"many\" is not a number"));
        assert!(ends("1", "inf").unwrap_err().contains("--to"));
        assert!(ends("4", "4").unwrap_err().contains("nothing between"));
    }

    /// Goal: the middle lies strictly between, whichever end is larger, short where it can be; neighbours have none.
    #[test]
    fn middles() {
        let middle = |a: Number, b: Number| a.middle(b).map(|value| value.to_string());
        assert_eq!(middle(Number::Whole(100), Number::Whole(1_000)).as_deref(), Some("550"));
        assert_eq!(middle(Number::Whole(9), Number::Whole(2)).as_deref(), Some("5"));
        assert_eq!(middle(Number::Whole(4), Number::Whole(5)), None);
        assert_eq!(middle(Number::Whole(i64::MIN), Number::Whole(i64::MAX)).as_deref(), Some("-1"));
        assert_eq!(middle(Number::Real(1.5), Number::Real(12.0)).as_deref(), Some("6.8"));
        assert_eq!(middle(Number::Real(0.001), Number::Real(0.002)).as_deref(), Some("0.0015"));
        assert_eq!(middle(Number::Real(1.0), Number::Real(1.0 + f64::EPSILON)), None);
        assert!(
            Number::Whole(16).is_close(Number::Whole(17)) && !Number::Whole(10).is_close(Number::Whole(12))
        );
        assert!(Number::Whole(0).is_close(Number::Whole(1)), "there is nothing between");
        assert!(!Number::Real(0.0).is_close(Number::Real(1.0)));
    }
}
