//! What only the real thing shows: Postgres, and a small fleet of containers from end to end.

use crate::fleet::{LIMIT, TestFleet, locked};
use futures::future::join_all;
use herd_cluster::compose::ComposeTestbed;
use herd_cluster::images;
use herd_experiment::testbed::{Part, Signal, Silent};
use testcontainers::core::{CmdWaitFor, ExecCommand, IntoContainerPort, WaitFor};
use testcontainers::runners::AsyncRunner;
use testcontainers::{ContainerAsync, ContainerRequest, GenericImage, ImageExt};
use tonic::Code;

/// A container of one of our images, to be started; the image is built first where it is missing.
pub(crate) async fn request(image: &str, port: u16, ready: WaitFor) -> ContainerRequest<GenericImage> {
    images::ensure(&[image], &Silent).await.expect("the image is there or can be built");
    let (name, tag) = image.split_once(':').expect("our images have tags");
    GenericImage::new(name, tag).with_exposed_port(port.tcp()).with_wait_for(ready).into()
}

/// Goal: the origin keeps every promise on Postgres that it keeps on SQLite.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_origin_on_postgres() {
    let request = request(images::POSTGRES, 5432, WaitFor::Nothing).await;
    let request = request.with_env_var("POSTGRES_USER", "herd").with_env_var("POSTGRES_PASSWORD", "herd");
    let request =
        request.with_env_var("POSTGRES_DB", "herd").with_cmd(["postgres", "-c", "listen_addresses=*"]);
    let postgres = request.start().await.expect("the container starts");
    let ready = async { while !answers(&postgres).await {} };
    tokio::time::timeout(LIMIT, ready).await.expect("Postgres answers");
    let port = postgres.get_host_port_ipv4(5432).await.expect("a published port");
    let scratch = tempfile::tempdir().expect("a folder for ledgers");
    let url = format!("postgres://herd:herd@127.0.0.1:{port}/herd");
    herd_origin::conformance::all(&url, scratch.path()).await;
}

/// Whether the server that stays answers: the one that initialises does not listen on the network.
async fn answers(postgres: &ContainerAsync<GenericImage>) -> bool {
    let ask = ExecCommand::new(["pg_isready", "-h", "127.0.0.1", "-U", "herd", "-d", "herd"]);
    match postgres.exec(ask.with_cmd_ready_condition(CmdWaitFor::exit())).await {
        Ok(asked) => asked.exit_code().await.is_ok_and(|code| code == Some(0)),
        Err(_) => false,
    }
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
