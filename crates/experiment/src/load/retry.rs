//! When a client sends a request again: [`Retry`]'s arithmetic, and what a refusal asks for.
//!
//! Only a refusal for load, a part that is away and a passed deadline are tried again. What a refusal asks for (the
//! push-back of gRPC's retry design) is the least pause of clients that back off; the rude ones of [`Retry::Fixed`] do not
//! listen.

use herd_scenario::{Retry, RetryBudget};
use herd_wire::error::pushback;
use rand::{RngExt, SeedableRng, rngs::StdRng};
use std::{cell::RefCell, time::Duration};
use tonic::{Code, Status};

/// All clients of one load: they behave alike, and share a budget if they have one.
#[derive(Debug)]
pub(super) struct Clients {
    retry: Retry,
    seed: u64,
    budget: Option<RefCell<RetryBudget>>,
}

impl Clients {
    pub(super) fn new(retry: Retry, seed: u64) -> Self {
        Self { retry, seed, budget: retry.budget().map(RefCell::new) }
    }

    /// Counts a request that is sent for the first time: it pays into the budget.
    pub(super) fn sends(&self) {
        if let Some(budget) = &self.budget {
            budget.borrow_mut().on_request();
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
        let drawn = self.retry.pause(attempts, self.draw(seq, attempts))?;
        if self.budget.as_ref().is_some_and(|budget| !budget.borrow_mut().try_retry()) {
            return None;
        }
        match self.retry {
            Retry::Never | Retry::Fixed { .. } => Some(drawn),
            Retry::Exponential { .. } | Retry::Budget { .. } => {
                // Added, not the larger of both: who was refused together must not come back together.
                Some(pushback(ended).unwrap_or_default().saturating_add(drawn))
            }
        }
    }

    /// A number from 0 to 1 that depends on seed, request and attempt alone: the same in every rung.
    fn draw(&self, seq: u64, attempts: u32) -> f64 {
        let stream = seq.wrapping_mul(128).wrapping_add(attempts.into());
        StdRng::seed_from_u64(self.seed ^ 0x7265_7472_7972_6574 ^ stream).random()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use herd_wire::error::set_pushback;

    const EXPONENTIAL: Retry = Retry::Exponential { attempts: 9, backoff_ms: 10, backoff_ms_max: 70 };
    const FIXED: Retry = Retry::Fixed { attempts: 3, backoff_ms: 5 };

    fn refused(pushback_ms: Option<u64>) -> Status {
        let mut status = Status::resource_exhausted("full");
        if let Some(pushback_ms) = pushback_ms {
            set_pushback(&mut status, Duration::from_millis(pushback_ms));
        }
        status
    }

    /// What cannot be helped by asking again is not asked again, by anybody; and nobody asks for ever.
    #[test]
    fn only_load_absence_and_lateness_are_tried_again() {
        let clients = Clients::new(FIXED, 1);
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
        assert_eq!(clients.again(1, 3, &refused(None)), None);
        assert_eq!(Clients::new(Retry::Never, 1).again(1, 1, &refused(None)), None);
    }

    /// Pauses are spread over the whole limit, differ from request to request, and are the same for a seed.
    #[test]
    fn pauses_are_drawn_from_the_seed() {
        let clients = Clients::new(EXPONENTIAL, 1);
        let draws: Vec<f64> = (0..1_000).map(|seq| clients.draw(seq, 1)).collect();
        let mean = draws.iter().sum::<f64>() / 1e3;
        assert!((0.45..0.55).contains(&mean), "mean of uniform draws: {mean}");
        let pause = |seed, attempts| Clients::new(EXPONENTIAL, seed).again(7, attempts, &refused(None));
        assert_eq!(pause(1, 1), pause(1, 1));
        assert_ne!(pause(1, 1), pause(2, 1));
        assert_ne!(pause(1, 4), pause(1, 5), "both limits are 70 ms");
    }

    /// Clients that back off wait as long as they are told and then as long as they drew: who was refused together does not come
    /// back together. The rude one does not listen.
    #[test]
    fn pushback_binds_who_listens() {
        let backs_off = Clients::new(EXPONENTIAL, 1);
        let pauses: Vec<Duration> =
            (0..50).filter_map(|seq| backs_off.again(seq, 4, &refused(Some(900)))).collect();
        let told = Duration::from_millis(900);
        assert!(pauses.iter().all(|pause| (told..=told + Duration::from_millis(70)).contains(pause)));
        let apart = pauses.iter().max().unwrap().abs_diff(*pauses.iter().min().unwrap());
        assert!(apart > Duration::from_millis(35), "they all come within {apart:?}");
        assert!(backs_off.again(1, 1, &refused(None)).unwrap() <= Duration::from_millis(10));
        assert_eq!(Clients::new(FIXED, 1).again(1, 1, &refused(Some(900))), Some(Duration::from_millis(5)));
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
        assert_eq!(retries, 100);
    }
}
