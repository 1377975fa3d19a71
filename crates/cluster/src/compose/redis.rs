//! The Redis of a fleet of containers, and the replica that may take its place.
//!
//! Two services with the same command line and a volume each; which of the two is the fleet's Redis is a matter of the
//! name `redis` in the project's network. A promotion moves that name: clients whose connections broke with the old
//! primary look it up again and find the promoted one. The old primary's container is then started again, emptied, and
//! follows the promoted one, so that the next promotion finds things as the first one did.

use super::{Fleet, files, network};
use crate::{
    command::{command, quiet},
    engine, images, redis_admin as admin,
};
use bollard::models::{EndpointSettings, NetworkConnectRequest, NetworkDisconnectRequest};
use herd_experiment::testbed::{Part, RedisFault, RedisInfo, TestbedError};
use std::time::Duration;
use tokio::time::Instant;

/// Room for data, as `compose.yaml` gives it.
pub(super) const MAXMEMORY: &str = "200mb";
/// Longest time until a replica that was started has what the primary has.
const SETTLE_MAX: Duration = Duration::from_secs(10);
/// Longest time for removing the data of a Redis.
const WIPE_MAX: Duration = Duration::from_secs(20);
const REDIS: (Part, u32) = (Part::Redis, 0);
const PORT: u16 = network::grpc_port(Part::Redis);

impl Fleet {
    /// Waits until Redis answers and the replica, if there is one, has caught up with it.
    pub(super) async fn redis_ready(&mut self) -> Result<(), TestbedError> {
        let deadline = Instant::now() + SETTLE_MAX;
        let at = self.address_of(files::REDIS)?;
        if !admin::answers(&at, deadline).await {
            let log_tail = self.log_tail(REDIS.0, REDIS.1).await;
            let how = "it does not answer".to_owned();
            return Err(TestbedError::NotReady { part: REDIS.0, index: REDIS.1, how, log_tail });
        }
        if !self.project.has_replica {
            return Ok(());
        }
        self.follow(deadline).await?;
        match admin::in_step(&self.replica()?, deadline).await {
            true => Ok(()),
            false => Err(failed("starting the replica of Redis", "it does not catch up with the primary")),
        }
    }

    /// Does something to Redis that no signal can do.
    pub(super) async fn redis(&mut self, what: RedisFault) -> Result<(), TestbedError> {
        match what {
            RedisFault::Wipe => {
                self.primary_has_ended("removing the data of Redis").await?;
                self.wipe().await
            }
            RedisFault::Mark { mark } => admin::mark(&self.address_of(files::REDIS)?, mark).await,
            RedisFault::Flush => admin::flush(&self.address_of(files::REDIS)?).await,
            RedisFault::Limit { room } => admin::limit(&self.address_of(files::REDIS)?, room).await,
            RedisFault::Unlimit => admin::unlimit(&self.address_of(files::REDIS)?, MAXMEMORY).await,
            RedisFault::Detach => {
                let primary = self.address_of(files::REDIS)?;
                admin::detach(&self.replica()?, &primary, Instant::now() + SETTLE_MAX).await
            }
            RedisFault::Promote => self.promote().await,
        }
    }

    /// What Redis says of itself, with the number that its process has on the host: within its container every Redis is
    /// process 1.
    pub(super) async fn redis_info(&self) -> Result<RedisInfo, TestbedError> {
        let at = self.address_of(files::REDIS)?;
        let id = &self.container(REDIS.0, REDIS.1)?.id;
        let (info, seen) = futures::future::join(admin::info(&at), engine::look(&self.docker, id)).await;
        let info = info?;
        Ok(RedisInfo { pid: seen?.pid.unwrap_or(info.pid), ..info })
    }

    /// Removes all that the volume holds, from a container that is made for it.
    async fn wipe(&self) -> Result<(), TestbedError> {
        let label = self.project.label();
        let id = &self.container(REDIS.0, REDIS.1)?.id;
        let remove = "find /data -mindepth 1 -delete";
        let args = ["run", "--rm", "--pull", "never", "--network", "none", "--user", "0", "--label", &label];
        let mut wipe = command("docker", &args);
        wipe.args(["--volumes-from", id, "--entrypoint", "sh", images::REDIS, "-c", remove]);
        quiet(wipe, "removing the data of Redis", WIPE_MAX).await.map(drop)
    }

    async fn promote(&mut self) -> Result<(), TestbedError> {
        let replica = self.replica()?;
        self.primary_has_ended("promoting the replica of Redis").await?;
        admin::unfollow(&replica).await?;
        // The name first: the fleet waits for it.
        let promoted = self.of_service(files::REPLICA)?.id.clone();
        let ended = self.of_service(files::REDIS)?.id.clone();
        self.name_in_network(&promoted, files::REDIS).await?;
        self.name_in_network(&ended, files::REPLICA).await?;
        self.swapped = !self.swapped;
        self.ended.remove(&REDIS);
        let started = self.docker.start_container(&ended, None).await;
        self.relocate().await?;
        started.map_err(engine::failed("starting a fresh replica of Redis"))?;
        self.follow(Instant::now() + SETTLE_MAX).await
    }

    /// Gives a container one name in the project's network, instead of those it had.
    async fn name_in_network(&self, container: &str, name: &str) -> Result<(), TestbedError> {
        let network = format!("{}_default", self.project.name);
        let leave = NetworkDisconnectRequest { container: container.to_owned(), force: Some(true) };
        let left = self.docker.disconnect_network(&network, leave).await;
        left.map_err(engine::failed("taking Redis out of the network"))?;
        let endpoint =
            EndpointSettings { aliases: Some(vec![name.to_owned()]), ..EndpointSettings::default() };
        let join = NetworkConnectRequest { container: container.to_owned(), endpoint_config: Some(endpoint) };
        let joined = self.docker.connect_network(&network, join).await;
        joined.map_err(engine::failed("bringing Redis back into the network"))
    }

    /// Has the replica forget what it holds, and follow the primary.
    async fn follow(&mut self, deadline: Instant) -> Result<(), TestbedError> {
        let replica = self.replica()?;
        if !admin::answers(&replica, deadline).await {
            return Err(failed("starting the replica of Redis", "it does not answer"));
        }
        admin::flush(&replica).await?;
        admin::follow(&replica, files::REDIS, PORT).await
    }

    async fn primary_has_ended(&self, doing: &str) -> Result<(), TestbedError> {
        let seen = engine::look(&self.docker, &self.container(REDIS.0, REDIS.1)?.id).await?;
        match seen.has_ended() {
            true => Ok(()),
            false => Err(failed(doing, "it runs, and has to be ended first")),
        }
    }

    fn replica(&self) -> Result<String, TestbedError> {
        if self.project.has_replica {
            return self.address_of(files::REPLICA);
        }
        Err(TestbedError::Unsupported("this fleet has no replica of Redis".to_owned()))
    }

    fn address_of(&self, service: &str) -> Result<String, TestbedError> {
        let address = self.route.to(self.of_service(service)?, PORT);
        address.ok_or_else(|| failed("asking Redis", "it does not run, and has no address"))
    }
}

fn failed(doing: &str, why: &str) -> TestbedError {
    TestbedError::Other { doing: doing.to_owned(), why: why.to_owned() }
}
