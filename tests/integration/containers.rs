//! What only the real thing shows: Postgres, and a small fleet of containers from end to end.

use crate::fleet::{TestFleet, locked};
use futures::future::join_all;
use herd_cluster::compose::ComposeTestbed;
use herd_cluster::images;
use herd_experiment::testbed::{Part, Signal, Silent};
use testcontainers::core::{IntoContainerPort, WaitFor};
use testcontainers::runners::AsyncRunner;
use testcontainers::{ContainerAsync, GenericImage, ImageExt};
use tonic::Code;

/// A container of one of our images; built first where it is missing.
pub(crate) async fn container(image: &str, port: u16, ready: WaitFor, env: &[(&str, &str)]) -> ContainerAsync<GenericImage> {
    images::ensure(&[image], &Silent).await.expect("the image is there or can be built");
    let (name, tag) = image.split_once(':').expect("our images have tags");
    let request = GenericImage::new(name, tag).with_exposed_port(port.tcp()).with_wait_for(ready);
    let request = env.iter().fold(request.into(), |request: testcontainers::ContainerRequest<_>, (name, value)| {
        request.with_env_var(*name, *value)
    });
    request.start().await.expect("the container starts")
}

/// Goal: the origin keeps every promise on Postgres that it keeps on SQLite.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_origin_on_postgres() {
    let credentials =
        [("POSTGRES_USER", "herd"), ("POSTGRES_PASSWORD", "herd"), ("POSTGRES_DB", "herd")];
    // Said once by the server that initialises, and again by the one that stays.
    let ready = WaitFor::message_on_stderr("database system is ready to accept connections");
    let postgres = container(images::POSTGRES, 5432, ready, &credentials).await;
    let port = postgres.get_host_port_ipv4(5432).await.expect("a published port");
    let scratch = tempfile::tempdir().expect("a folder for ledgers");
    let url = format!("postgres://herd:herd@127.0.0.1:{port}/herd");
    herd_origin::conformance::all(&url, scratch.path()).await;
}

/// Goal: the fleet of containers is the same fleet: one rebuild for many readers, a paused node that costs no answers, and a
/// clear status while Redis is away.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_small_fleet_of_containers() {
    let mut fleet = TestFleet::up(Box::new(ComposeTestbed::new()), 3, locked(600_000), &[]).await;
    fleet.origin_takes(300).await;
    for answer in join_all((0..24).map(|_| fleet.get("item-1"))).await {
        answer.expect("the fleet answers");
    }
    assert_eq!(fleet.ledger("item-1").await.len(), 1, "one rebuild for the fleet");

    fleet.signal(Part::Redis, 0, Signal::Pause).await;
    let status = fleet.get("item-1").await.expect_err("Redis is frozen");
    assert!([Code::Unavailable, Code::DeadlineExceeded].contains(&status.code()), "{status:?}");
    fleet.signal(Part::Redis, 0, Signal::Resume).await;
    fleet.healed("item-1").await;
    fleet.down().await;
}
