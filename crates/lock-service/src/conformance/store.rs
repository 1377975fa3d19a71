//! The suite of `herd_lease::conformance` over Redis.

use super::{PATIENT, RedisUnderTest, ask};
use crate::redis_store::RedisStore;
use herd_lease::conformance::{self, Subject};
use std::time::Duration;

struct OverRedis<'a, R> {
    redis: &'a R,
    store: RedisStore,
}

impl<R: RedisUnderTest> Subject for OverRedis<'_, R> {
    type Store = RedisStore;

    fn store(&self) -> &RedisStore {
        &self.store
    }

    async fn pass_ms(&self, ms: u32) {
        // By Redis's own clock, which is the one that ends leases.
        let until = now_us(self.redis).await + u64::from(ms) * 1000;
        while now_us(self.redis).await < until {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    }

    async fn lose_data(&self) {
        self.redis.flush().await;
    }

    async fn restart_with_data(&self) {
        self.redis.restart_with_data().await;
        // The old connection is found broken by its next use.
        while herd_lease::LeaseStore::inspect(&self.store, "nobody").await.is_err() {
            tokio::task::yield_now().await;
        }
    }
}

async fn now_us(redis: &impl RedisUnderTest) -> u64 {
    let (seconds, micros): (u64, u64) = ask(&redis.url(), redis::cmd("TIME")).await;
    seconds * 1_000_000 + micros
}

/// Redis obeys the same rules as the table in memory.
///
/// # Panics
/// When it does not.
pub async fn redis_conforms(redis: &impl RedisUnderTest) {
    redis.restart_empty().await;
    let store = RedisStore::of_url(&redis.url(), PATIENT).expect("the URL is good");
    conformance::run(&OverRedis { redis, store }).await;
}
