//! How clients come again after a refusal: pauses and the budget for all of them. Pure arithmetic; chance is an argument.

use std::time::Duration;

/// How clients behave when they are refused, or get no answer.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub enum Retry {
    /// They give up.
    #[default]
    Never,
    /// They come again after the same short pause.
    Fixed {
        /// Times sent in all, 2 to 100.
        attempts: u32,
        /// The pause, milliseconds, 1 to 60,000.
        backoff_ms: u32,
    },
    /// They come again after a pause drawn uniformly from 0 to twice the last limit (exponential back-off with full jitter).
    Exponential {
        /// Times sent in all, 2 to 100.
        attempts: u32,
        /// The first limit, milliseconds, 1 to 60,000.
        backoff_ms: u32,
        /// The largest limit, milliseconds, at least the first, at most 60,000.
        backoff_ms_max: u32,
    },
    /// As `Exponential`, but all retries of all clients together stay below a share of the requests (a token bucket).
    Budget {
        /// Times sent in all, 2 to 100.
        attempts: u32,
        /// The first limit, milliseconds, 1 to 60,000.
        backoff_ms: u32,
        /// The largest limit, milliseconds, at least the first, at most 60,000.
        backoff_ms_max: u32,
        /// Retries for each request, above 0 to 1.
        share: f64,
    },
}

impl Retry {
    /// Times that one request is sent at most, the first included.
    #[must_use]
    pub fn attempts(&self) -> u32 {
        match *self {
            Self::Never => 1,
            Self::Fixed { attempts, .. }
            | Self::Exponential { attempts, .. }
            | Self::Budget { attempts, .. } => attempts,
        }
    }

    /// How long to pause after the request was sent `attempt` times (from 1), before it is sent once more; `None`: give up.
    /// `unit` is drawn uniformly from 0 to 1 for each pause. A [`RetryBudget`] has to agree as well, where there is one.
    ///
    /// Full jitter: Marc Brooker, "Exponential Backoff And Jitter", AWS Architecture Blog, 2015.
    #[must_use]
    pub fn pause(&self, attempt: u32, unit: f64) -> Option<Duration> {
        if attempt >= self.attempts() {
            return None;
        }
        match *self {
            Self::Never => None,
            Self::Fixed { backoff_ms, .. } => Some(Duration::from_millis(backoff_ms.into())),
            Self::Exponential { backoff_ms, backoff_ms_max, .. }
            | Self::Budget { backoff_ms, backoff_ms_max, .. } => {
                let doublings = attempt.saturating_sub(1).min(31);
                let limit_ms = (u64::from(backoff_ms) << doublings).min(backoff_ms_max.into());
                Some(Duration::from_millis(limit_ms).mul_f64(unit.clamp(0.0, 1.0)))
            }
        }
    }

    /// The budget that all clients of a load share; `None` where each decides alone.
    #[must_use]
    pub fn budget(&self) -> Option<RetryBudget> {
        match *self {
            Self::Budget { share, .. } => Some(RetryBudget::new(share)),
            Self::Never | Self::Fixed { .. } | Self::Exponential { .. } => None,
        }
    }
}

/// Unused retries that are kept at most: a long calm does not pay for a storm.
const RETRIES_SAVED_MAX: u64 = 10;
/// Parts of a token, so that shares add up without rounding.
const PARTS: u64 = 1_000_000;

/// A token bucket for the retries of all clients together: each request pays a share of a token in, each retry takes a whole
/// one out. It begins empty, so that retries never exceed the share of the requests so far.
///
/// After Finagle's `RetryBudget`, without its allowance per second.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RetryBudget {
    /// What a request pays in, in parts of a token.
    deposit: u64,
    /// What is there, in parts of a token.
    balance: u64,
}

impl RetryBudget {
    /// An empty budget. `share`: retries for each request, above 0 to 1; counted in millionths, rounded down.
    #[must_use]
    pub fn new(share: f64) -> Self {
        // A cast of a float saturates, and takes what is no number for 0.
        Self { deposit: (share.clamp(0.0, 1.0) * PARTS as f64) as u64, balance: 0 }
    }

    /// A request is sent for the first time.
    pub fn on_request(&mut self) {
        self.balance = (self.balance + self.deposit).min(RETRIES_SAVED_MAX * PARTS);
    }

    /// Whether a retry may be sent now; if so it is paid for.
    #[must_use]
    pub fn try_retry(&mut self) -> bool {
        let enough = self.balance >= PARTS;
        if enough {
            self.balance -= PARTS;
        }
        enough
    }
}
