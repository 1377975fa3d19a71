use std::time::Duration;

use herd_scenario::{Retry, RetryBudget};
use proptest::prelude::*;

const EXPONENTIAL: Retry = Retry::Exponential { attempts: 6, backoff_ms: 100, backoff_ms_max: 500 };

/// Goal: who never retries never does, and who pauses alike pauses alike until the attempts are used up.
#[test]
fn attempts_end() {
    assert_eq!((Retry::Never.attempts(), Retry::Never.pause(1, 0.5)), (1, None));
    let fixed = Retry::Fixed { attempts: 3, backoff_ms: 50 };
    let pause = Some(Duration::from_millis(50));
    assert_eq!([1, 2, 3].map(|attempt| fixed.pause(attempt, 0.9)), [pause, pause, None]);
}

/// Goal: limits double up to the largest, and full jitter spreads the pause over all of the limit.
#[test]
fn exponential_limits_double_up_to_the_largest() {
    let longest = [1, 2, 3, 4, 5].map(|attempt| EXPONENTIAL.pause(attempt, 1.0).unwrap().as_millis());
    assert_eq!(longest, [100, 200, 400, 500, 500]);
    assert_eq!(EXPONENTIAL.pause(3, 0.25), Some(Duration::from_millis(100)));
    assert_eq!(EXPONENTIAL.pause(1, 0.0), Some(Duration::ZERO));
    let endless = Retry::Exponential { attempts: 100, backoff_ms: 60_000, backoff_ms_max: 60_000 };
    assert_eq!(endless.pause(99, 1.0), Some(Duration::from_secs(60)));
}

/// Goal: only a budget is shared between clients, and it pauses as exponential back-off does.
#[test]
fn a_budget_pauses_as_exponential_back_off_does() {
    let budget = Retry::Budget { attempts: 6, backoff_ms: 100, backoff_ms_max: 500, share: 0.1 };
    assert_eq!(budget.pause(2, 0.7), EXPONENTIAL.pause(2, 0.7));
    assert_eq!(budget.budget(), Some(RetryBudget::new(0.1)));
    assert_eq!(EXPONENTIAL.budget(), None);
}

/// Goal: a budget of a tenth gives exactly one retry for ten requests, the first of them included: no rounding loses one.
#[test]
fn ten_requests_pay_for_one_retry() {
    let mut budget = RetryBudget::new(0.1);
    for _ in 0..5 {
        assert!(!budget.try_retry(), "nothing is left");
        (0..10).for_each(|_| budget.on_request());
        assert!(budget.try_retry());
    }
}

/// Goal: a long calm does not pay for a storm.
#[test]
fn what_is_saved_is_limited() {
    let mut budget = RetryBudget::new(0.5);
    (0..1_000_000).for_each(|_| budget.on_request());
    let at_once = (0..1_000).filter(|_| budget.try_retry()).count();
    assert_eq!(at_once, 10);
}

proptest! {
    /// Goal: whatever the order, retries never exceed their share of the requests so far.
    #[test]
    fn a_budget_never_exceeds_its_share(share in 0.001_f64..=1.0, steps in prop::collection::vec(any::<bool>(), 1..2_000)) {
        let mut budget = RetryBudget::new(share);
        let (mut requests, mut retries) = (0_u32, 0_u32);
        for is_request in steps {
            if is_request {
                budget.on_request();
                requests += 1;
            } else if budget.try_retry() {
                retries += 1;
            }
            prop_assert!(f64::from(retries) <= share * f64::from(requests));
        }
    }

    /// Goal: no pause is longer than the largest limit, whatever is drawn.
    #[test]
    fn pauses_stay_within_their_limits(attempt in 1_u32..100, unit: f64) {
        let pause = EXPONENTIAL.pause(attempt, unit);
        prop_assert_eq!(pause.is_some(), attempt < 6);
        prop_assert!(pause.unwrap_or_default() <= Duration::from_millis(500));
    }
}
