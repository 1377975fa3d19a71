//! When a client sends a request again: the arithmetic of [`Retry`], without a clock.
//!
//! Only a refusal for load, a part that is away and a passed deadline are tried again. What a refusal asks for
//! (`grpc-retry-pushback-ms`, gRPC's proposal A6) is the least pause of clients that back off, and a negative number ends
//! their attempts; the rude client of [`Retry::Fixed`] ignores it.

use herd_scenario::Retry;
use rand::{RngExt, SeedableRng, rngs::StdRng};
use std::{cell::Cell, time::Duration};
use tonic::{Code, Status};

/// Metadata of a refusal: when to come again, milliseconds; negative: not at all.
const PUSHBACK_HEADER: &str = "grpc-retry-pushback-ms";
/// Retries that a budget saves up at most while all goes well; without a limit an hour's credit would be a storm.
const SAVED_MAX: f64 = 10.0;

/// All clients of one load: they behave alike, and share a budget if they have one.
#[derive(Debug)]
pub(super) struct Clients {
    retry: Retry,
    seed: u64,
    /// Retries that the budget still has.
    saved: Cell<f64>,
}

impl Clients {
    pub(super) const fn new(retry: Retry, seed: u64) -> Self {
        Self { retry, seed, saved: Cell::new(0.0) }
    }

    /// Counts a request that is sent for the first time: it earns the budget its share of a retry.
    pub(super) fn sends(&self) {
        if let Retry::Budget { share, .. } = self.retry {
            self.saved.set((self.saved.get() + share).min(SAVED_MAX));
        }
    }

    /// How long request `seq` waits before it is sent again after `attempts` times, the last of which ended like this;
    /// nothing: it gives up.
    pub(super) fn again(&self, seq: u64, attempts: u32, ended: &Status) -> Option<Duration> {
        let retryable =
            matches!(ended.code(), Code::ResourceExhausted | Code::Unavailable | Code::DeadlineExceeded);
        if !retryable {
            return None;
        }
        let drawn = pause(self.retry, attempts, self.draw(seq, attempts))?;
        match self.retry {
            Retry::Never => None,
            Retry::Fixed { .. } => Some(drawn),
            Retry::Exponential { .. } => Some(drawn.max(pushback(ended)?)),
            Retry::Budget { .. } => {
                let asked = pushback(ended)?;
                let left = self.saved.get() - 1.0;
                (left >= 0.0).then(|| {
                    self.saved.set(left);
                    drawn.max(asked)
                })
            }
        }
    }

    /// A number from 0 to 1 that depends on seed, request and attempt alone: the same in every rung.
    fn draw(&self, seq: u64, attempts: u32) -> f64 {
        let stream = seq.wrapping_mul(128).wrapping_add(attempts.into());
        StdRng::seed_from_u64(self.seed ^ 0x7265_7472_7972_6574 ^ stream).random()
    }
}

/// The pause after so many attempts, if there may be another; `draw` is uniform from 0 to 1.
fn pause(retry: Retry, attempts: u32, draw: f64) -> Option<Duration> {
    let (most, backoff_ms, backoff_ms_max) = match retry {
        Retry::Never => return None,
        Retry::Fixed { attempts, backoff_ms } => (attempts, backoff_ms, None),
        Retry::Exponential { attempts, backoff_ms, backoff_ms_max }
        | Retry::Budget { attempts, backoff_ms, backoff_ms_max, .. } => {
            (attempts, backoff_ms, Some(backoff_ms_max))
        }
    };
    if attempts >= most {
        return None;
    }
    let Some(backoff_ms_max) = backoff_ms_max else {
        return Some(Duration::from_millis(backoff_ms.into()));
    };
    // Beyond 2^31 times any first limit the largest one holds anyway.
    let doubled = u64::from(backoff_ms) << attempts.saturating_sub(1).min(31);
    Some(Duration::from_millis(doubled.min(backoff_ms_max.into())).mul_f64(draw))
}

/// The least pause that a refusal asks for: none if it is silent. Nothing: it asks not to be tried again, or says
/// something that is no number, which means the same.
fn pushback(ended: &Status) -> Option<Duration> {
    match ended.metadata().get(PUSHBACK_HEADER) {
        None => Some(Duration::ZERO),
        Some(value) => value.to_str().ok()?.parse().ok().map(Duration::from_millis),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tonic::metadata::MetadataValue;

    const EXPONENTIAL: Retry = Retry::Exponential { attempts: 9, backoff_ms: 10, backoff_ms_max: 70 };

    fn refused(pushback: Option<&'static str>) -> Status {
        let mut status = Status::resource_exhausted("full");
        if let Some(value) = pushback {
            status.metadata_mut().insert(PUSHBACK_HEADER, MetadataValue::from_static(value));
        }
        status
    }

    /// Limits double up to the largest, pauses are spread over all of them, and attempts end.
    #[test]
    fn pauses() {
        let limits: Vec<u128> =
            (1..9).map(|n| pause(EXPONENTIAL, n, 1.0).expect("there is another").as_millis()).collect();
        assert_eq!(limits, [10, 20, 40, 70, 70, 70, 70, 70]);
        assert_eq!(pause(EXPONENTIAL, 9, 1.0), None);
        assert_eq!(pause(EXPONENTIAL, 1, 0.0), Some(Duration::ZERO));
        let fixed = Retry::Fixed { attempts: 3, backoff_ms: 5 };
        assert_eq!(pause(fixed, 2, 0.1), Some(Duration::from_millis(5)));
        assert_eq!((pause(fixed, 3, 0.1), pause(Retry::Never, 1, 0.1)), (None, None));
        let clients = Clients::new(EXPONENTIAL, 1);
        let draws: Vec<f64> = (0..1_000).map(|seq| clients.draw(seq, 1)).collect();
        let mean = draws.iter().sum::<f64>() / 1e3;
        assert!((0.45..0.55).contains(&mean), "mean of uniform draws: {mean}");
    }

    /// What cannot be helped by asking again is not asked again, by anybody.
    #[test]
    fn only_load_absence_and_lateness_are_tried_again() {
        let clients = Clients::new(Retry::Fixed { attempts: 3, backoff_ms: 5 }, 1);
        for (status, again) in [
            (refused(None), true),
            (Status::unavailable(""), true),
            (Status::deadline_exceeded(""), true),
            (Status::not_found(""), false),
            (Status::invalid_argument(""), false),
            (Status::internal(""), false),
            (Status::cancelled(""), false),
        ] {
            assert_eq!(clients.again(1, 1, &status).is_some(), again, "{:?}", status.code());
        }
    }

    /// Clients that back off wait as long as they are told, and stay away if told so; the rude one does not listen.
    #[test]
    fn pushback_binds_who_listens() {
        let backs_off = Clients::new(EXPONENTIAL, 1);
        assert_eq!(backs_off.again(1, 1, &refused(Some("900"))), Some(Duration::from_millis(900)));
        assert_eq!(backs_off.again(1, 1, &refused(Some("-1"))), None);
        assert!(backs_off.again(1, 1, &refused(None)).unwrap() <= Duration::from_millis(10));
        let rude = Clients::new(Retry::Fixed { attempts: 3, backoff_ms: 5 }, 1);
        for told in ["900", "-1"] {
            assert_eq!(rude.again(1, 1, &refused(Some(told))), Some(Duration::from_millis(5)));
        }
    }

    /// With a budget of a tenth, a thousand requests that all fail send at most a hundred retries between them.
    #[test]
    fn a_budget_bounds_all_clients_together() {
        let retry = Retry::Budget { attempts: 5, backoff_ms: 1, backoff_ms_max: 9, share: 0.1 };
        let clients = Clients::new(retry, 1);
        let mut retries = 0;
        for seq in 0..1_000 {
            clients.sends();
            retries += u32::from(clients.again(seq, 1, &refused(None)).is_some());
        }
        assert!((99..=100).contains(&retries), "{retries} retries");
        let calm = Clients::new(retry, 1);
        (0..1_000).for_each(|_| calm.sends());
        let storm = (0..1_000).filter(|seq| calm.again(*seq, 1, &refused(None)).is_some()).count();
        assert!(storm <= 10, "an hour of calm saved up {storm} retries");
    }
}
