//! The lab's hands on a fleet that runs: the [`Testbed`] port for several faults at once, each call with a deadline.

use crate::able::NO_HANDS;
use crate::testbed::{Endpoints, Part, PartState, RedisFault, RedisInfo, Signal, Testbed, TestbedError};
use std::{sync::Mutex as Short, time::Duration};
use tokio::sync::{Mutex, MutexGuard};

/// How long a part may take to be ended or started.
const DO_LIMIT: Duration = Duration::from_secs(60);
/// How long a look at a part may take.
const LOOK_LIMIT: Duration = Duration::from_secs(5);

/// What faults do to a fleet. Calls wait for each other.
#[tonic::async_trait]
pub(super) trait Hands: Sync {
    /// Whether there are any; else each of these is an error.
    fn are_there(&self) -> bool;
    /// Does something to several of one part.
    ///
    /// # Errors
    /// In words. The same goes for the others.
    async fn signal(&self, part: Part, indices: &[u32], signal: Signal) -> Result<(), String>;
    async fn state(&self, part: Part, index: u32) -> Result<PartState, String>;
    async fn redis(&self, what: RedisFault) -> Result<(), String>;
    async fn redis_info(&self) -> Result<RedisInfo, String>;
    /// The names of these instances of a part, as they stand in records.
    async fn instances(&self, part: Part, indices: &[u32]) -> Result<Vec<String>, String>;
    async fn note_faults(&self, in_force: &[String]) -> Result<(), String>;
    /// Where the parts are now: what was started again may have moved.
    fn endpoints(&self) -> Endpoints;
}

/// A testbed, or none where others brought the fleet up.
pub(super) struct Held<'t> {
    testbed: Mutex<Option<&'t mut dyn Testbed>>,
    are_there: bool,
    endpoints: Short<Endpoints>,
}

impl<'t> Held<'t> {
    pub(super) fn new(testbed: Option<&'t mut dyn Testbed>, endpoints: &Endpoints) -> Self {
        let are_there = testbed.is_some();
        Self { testbed: Mutex::new(testbed), are_there, endpoints: Short::new(endpoints.clone()) }
    }

    fn moved(&self, testbed: &dyn Testbed) {
        if let Some(endpoints) = testbed.endpoints() {
            *self.endpoints.lock().expect("nothing panics while it holds the addresses") = endpoints;
        }
    }
}

#[tonic::async_trait]
impl Hands for Held<'_> {
    fn are_there(&self) -> bool {
        self.are_there
    }

    async fn signal(&self, part: Part, indices: &[u32], signal: Signal) -> Result<(), String> {
        let mut held = self.testbed.lock().await;
        let testbed = present(&mut held)?;
        let done = within(DO_LIMIT, testbed.signal_all(part, indices, signal)).await;
        if signal == Signal::Start {
            self.moved(testbed);
        }
        done
    }

    async fn state(&self, part: Part, index: u32) -> Result<PartState, String> {
        let mut held = self.testbed.lock().await;
        within(LOOK_LIMIT, present(&mut held)?.state(part, index)).await
    }

    async fn redis(&self, what: RedisFault) -> Result<(), String> {
        let mut held = self.testbed.lock().await;
        let testbed = present(&mut held)?;
        let done = within(DO_LIMIT, testbed.redis(what)).await;
        self.moved(testbed);
        done
    }

    async fn redis_info(&self) -> Result<RedisInfo, String> {
        let mut held = self.testbed.lock().await;
        within(LOOK_LIMIT, present(&mut held)?.redis_info()).await
    }

    async fn instances(&self, part: Part, indices: &[u32]) -> Result<Vec<String>, String> {
        let mut held = self.testbed.lock().await;
        let testbed = present(&mut held)?;
        let named = |index: &u32| {
            testbed.instance(part, *index).ok_or_else(|| format!("this fleet has no {part} {index}"))
        };
        indices.iter().map(named).collect()
    }

    async fn note_faults(&self, in_force: &[String]) -> Result<(), String> {
        let mut held = self.testbed.lock().await;
        match &mut *held {
            Some(testbed) => testbed.note_faults(in_force).map_err(words),
            // There is nobody who would sweep up.
            None => Ok(()),
        }
    }

    fn endpoints(&self) -> Endpoints {
        self.endpoints.lock().expect("nothing panics while it holds the addresses").clone()
    }
}

fn present<'g, 't>(
    held: &'g mut MutexGuard<'_, Option<&'t mut dyn Testbed>>,
) -> Result<&'g mut (dyn Testbed + 't), String> {
    held.as_deref_mut().ok_or_else(|| NO_HANDS.to_owned())
}

async fn within<T>(
    limit: Duration,
    call: impl Future<Output = Result<T, TestbedError>>,
) -> Result<T, String> {
    match tokio::time::timeout(limit, call).await {
        Ok(done) => done.map_err(words),
        Err(_) => Err(format!("not done within {limit:?}")),
    }
}

fn words(error: TestbedError) -> String {
    format!("{:#}", anyhow::Error::new(error))
}
