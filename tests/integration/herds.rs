//! The judge on real processes: what it calls valid, and what it must call invalid.

use crate::experiment;
use herd_cluster::processes::ProcessTestbed;
use herd_judge::{Judgement, Outcome};

/// Nodes of these small fleets: enough for a herd that tells process from fleet.
const NODES: u32 = 8;

/// Goal: strategies that are known to be bad are refuted on real processes, each by the claim that is there to catch it, and
/// with a witness.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn known_bad_strategies_are_invalid() {
    for name in ["no-coalescing", "lock-without-second-look", "lock-without-fence", "waiter-goes-to-origin"] {
        let judgement = run(&format!("chaos/regression/{name}.toml"), None).await;
        assert_eq!(judgement.exit_status(), 0, "{name}: {:#?}", judgement.verdicts);
        let caught = judgement.verdicts.iter().find(|verdict| verdict.outcome == Outcome::Invalid);
        let witness = caught.and_then(|verdict| verdict.witness.as_ref());
        assert!(witness.is_some(), "an invalid verdict shows its worst case: {caught:#?}");
    }
}

/// Goal: the same claim on the lock as it should be is valid, so that the verdict above is the strategy's and not the
/// judge's.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_lock_as_it_should_be_is_valid() {
    let judgement = run("chaos/ladder-quick.toml", Some(&["lock"])).await;
    assert_eq!(judgement.outcome, Outcome::Valid, "{:#?}", judgement.verdicts);
}

/// Goal: layers of every scope hold on a small fleet: the wait, rows that do not exist, the fleet without a lock.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn layers_of_every_scope_are_valid() {
    let judgement = run("chaos/ladder-quick.toml", Some(&["swr-lock", "negative", "owner"])).await;
    assert_eq!(judgement.outcome, Outcome::Valid, "{:#?}", judgement.verdicts);
}

async fn run(file: &str, rungs: Option<&[&str]>) -> Judgement {
    experiment::run(Box::new(ProcessTestbed::new()), file, Some(NODES), rungs).await
}
