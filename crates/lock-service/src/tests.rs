//! The conformance bodies over a Redis process of our own, with tokens in SQLite, and the gRPC service end to end.

mod grpc;
mod redis_process;

use crate::conformance::{faults, known_bad, store, waiting};
use crate::counters::{Counters, CountersError, SqlCounters};
use herd_lease::{Block, Epoch, Token};
use redis_process::RedisProcess;
use std::sync::Arc;

/// Counters in a SQLite file, which restarts of the service share as they would share the file.
#[derive(Clone)]
struct Shared {
    counters: Arc<SqlCounters>,
    _folder: Arc<tempfile::TempDir>,
}

fn counters() -> Shared {
    let folder = tempfile::tempdir().unwrap();
    let url = format!("sqlite:{}", folder.path().join("tokens.db").display());
    let counters = Arc::new(SqlCounters::connect_lazily(&url.parse().unwrap()));
    Shared { counters, _folder: Arc::new(folder) }
}

impl Counters for Shared {
    async fn reserve(&self, size: u32, floor: Token) -> Result<(Block, Epoch), CountersError> {
        self.counters.reserve(size, floor).await
    }
    async fn next_epoch(&self, floor: Epoch) -> Result<Epoch, CountersError> {
        self.counters.next_epoch(floor).await
    }
    async fn note_published(&self, epoch: Epoch) -> Result<(), CountersError> {
        self.counters.note_published(epoch).await
    }
}

macro_rules! over_a_redis_process {
    ($($test:ident = $body:expr;)*) => {$(
        /// See the body in the module `conformance`.
        #[tokio::test]
        async fn $test() {
            let redis = RedisProcess::start().await;
            let body = $body;
            body(&redis).await;
        }
    )*};
}

over_a_redis_process! {
    redis_conforms = async |redis| store::redis_conforms(redis).await;
    mode_6_a_dead_holder_costs_its_lease = async |redis| waiting::a_dead_holder_costs_its_lease(redis, counters()).await;
    mode_8_a_late_release_frees_nothing = async |redis| waiting::a_late_release_frees_nothing(redis, counters()).await;
    mode_9_a_repeated_acquire_returns_the_grant =
        async |redis| waiting::a_repeated_acquire_returns_the_grant(redis, counters()).await;
    mode_9_hanging_up_leaves_no_orphan = async |redis| waiting::hanging_up_leaves_no_orphan(redis, counters()).await;
    mode_9_an_acquire_in_doubt_is_taken_back =
        async |redis| waiting::an_acquire_in_doubt_is_taken_back(redis, counters()).await;
    mode_10_an_empty_redis_refuses_old_writers =
        async |redis| faults::an_empty_redis_refuses_old_writers(redis, counters()).await;
    mode_12_a_written_value_wakes_all_to_read =
        async |redis| waiting::a_written_value_wakes_all_to_read(redis, counters()).await;
    a_failure_is_shared_with_all_who_wait =
        async |redis| waiting::a_failure_is_shared_with_all_who_wait(redis, counters()).await;
    a_late_failure_is_shared_too =
        async |redis| waiting::a_late_failure_is_shared_too(redis, counters()).await;
    the_oldest_waiter_is_next = async |redis| waiting::the_oldest_waiter_is_next(redis, counters()).await;
    a_wait_that_runs_out_names_the_holder =
        async |redis| waiting::a_wait_that_runs_out_names_the_holder(redis, counters()).await;
    tokens_never_go_back = async |redis| faults::tokens_never_go_back(redis, counters()).await;
    a_redis_that_is_away_is_said_and_heals =
        async |redis| faults::a_redis_that_is_away_is_said_and_heals(redis, counters()).await;
    waiters_survive_an_empty_restart = async |redis| faults::waiters_survive_an_empty_restart(redis, counters()).await;
    known_bad_volatile_tokens_come_back =
        async |redis| known_bad::volatile_tokens_come_back(redis, counters()).await;
    known_bad_an_unconditional_release_frees_anybodys_lease =
        async |redis| known_bad::an_unconditional_release_frees_anybodys_lease(redis, counters()).await;
    two_instances_agree = async |redis| faults::two_instances_agree(redis, counters()).await;
    a_database_away_is_felt_when_the_block_is_used_up =
        async |redis| faults::a_database_away_is_felt_when_the_block_is_used_up(redis).await;
}

/// See the body in the module `conformance`.
#[tokio::test]
async fn counters_in_sqlite_only_grow() {
    let folder = tempfile::tempdir().unwrap();
    let url = format!("sqlite:{}", folder.path().join("tokens.db").display());
    crate::conformance::counters::counters_only_grow(&url.parse().unwrap()).await;
}
