//! Scenarios of the regression set that hurt a fleet, on containers from end to end.

use crate::experiment;
use herd_cluster::compose::ComposeTestbed;

/// Goal: a lease that outlives its holder's freeze is fenced, and without the fence the stale write is caught.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_paused_holder_is_fenced_off() {
    comes_out_as_expected("holder-paused", &["fence-off", "fence-on"]).await;
}

/// Goal: a fleet that fails open answers every reader while the lock service is away, and is bounded by its processes.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_lock_service_is_away() {
    comes_out_as_expected("lock-away", &["fail-open"]).await;
}

/// Goal: a node that is cut off from the lock service or from Redis, and no other, stays within its bounds, and nothing lasts.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_node_is_cut_off() {
    comes_out_as_expected("node-cut-off", &["from-lock", "from-redis"]).await;
}

/// Goal: a replica that never heard of the lock takes over: a second holder works beside the first, and no older value wins.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_replica_is_promoted() {
    comes_out_as_expected("replica-promoted", &["lock"]).await;
}

/// Goal: the origin's database is frozen and killed, and nobody who may have a stale value sees any of it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_database_is_away() {
    comes_out_as_expected("database-away", &["stale"]).await;
}

/// An unknown verdict fails it as well: a fault that no witness confirmed shows nothing.
async fn comes_out_as_expected(name: &str, rungs: &[&str]) {
    let file = format!("chaos/regression/{name}.toml");
    let judgement = experiment::run(Box::new(ComposeTestbed::new()), &file, None, Some(rungs)).await;
    assert_eq!(judgement.as_expected, Some(true), "{name}: {:#?}", judgement.verdicts);
}
