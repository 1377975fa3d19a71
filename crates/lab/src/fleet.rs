//! `herd up` and `herd down`.

use crate::{
    backend, cli::UpArgs, deaths::Deaths, exit::Exit, exit::UsageError, experiment::nodes, out, pick, place,
    screen::Screen, watched::Page,
};
use herd_experiment::{
    control::ControlPlane,
    fleet_config,
    ledger::OriginLab,
    run::{self, Fleet},
    testbed::{Backend, Endpoints, Progress, Testbed},
};
use herd_scenario::{Rung, Scenario};
use std::{
    net::SocketAddr,
    path::PathBuf,
    time::{Duration, SystemTime, UNIX_EPOCH},
};
use tokio_util::sync::CancellationToken;

/// How often `up` looks whether its fleet is still there.
const LOOK_EVERY: Duration = Duration::from_secs(2);

/// Brings a fleet up and keeps it until `stop`, or until somebody takes it down.
///
/// # Errors
/// The fleet could not be brought up.
pub async fn up(args: &UpArgs, stop: &CancellationToken) -> anyhow::Result<Exit> {
    let scenario = pick::preset(&args.preset)?.scenario;
    let rung = rung(&scenario, args.rung.as_deref())?.clone();
    let screen = Screen::new();
    let mut testbed = backend::testbed(args.backend, &screen).await?;
    let kept = tokio::select! {
        () = stop.cancelled() => Ok(Exit::Interrupted),
        kept = keep(args, &scenario, &rung, testbed.as_mut(), &screen) => kept,
    };
    screen.step("taking the fleet down", 0, 0);
    let down = testbed.down().await;
    screen.clear();
    // Ctrl-C is how `up` is meant to end.
    match (kept?, down) {
        (Exit::Interrupted, down) => down?,
        // Somebody else took the fleet down: what this lab does not find any more is no fault.
        (_, Err(error)) => tracing::debug!(%error, "taken down twice"),
        (_, Ok(())) => {}
    }
    // Logs are for a fleet that is up, or that failed; this one did neither.
    let _ = std::fs::remove_dir_all(log_dir());
    Ok(Exit::Expected)
}

/// Takes down every fleet that this user's labs have noted.
///
/// # Errors
/// Something could not be removed.
pub async fn down() -> anyhow::Result<Exit> {
    backend::sweep().await.told("nothing is up")?;
    Ok(Exit::Expected)
}

async fn keep(
    args: &UpArgs,
    scenario: &Scenario,
    rung: &Rung,
    testbed: &mut dyn Testbed,
    screen: &Screen,
) -> anyhow::Result<Exit> {
    let control = ControlPlane::start(SocketAddr::new(testbed.control_listen(), 0)).await?;
    let logs = log_dir();
    let page = Page::start(&control, testbed).await?;
    let mut spec =
        backend::fleet_spec(args.nodes, backend::ORIGIN_ROWS, scenario.fleet.origin_pool, logs.clone());
    spec.observe = args.observe;
    let spec = page.announced(spec)?;
    backend::prepare(testbed, screen).await?;
    let Fleet { endpoints, ready_after, nodes_joined } =
        run::bring_up(testbed, &spec, &control, screen).await?;
    configure(&control, &endpoints, scenario, rung, nodes_joined).await?;
    screen.clear();
    out::say(format_args!(
        "{} ready after {:.1} s, layers as in rung {}",
        nodes(nodes_joined),
        ready_after.as_secs_f64(),
        rung.name
    ));
    out::say(format_args!("logs           {}", logs.display()));
    print_addresses(&endpoints);
    if testbed.backend() == Backend::Processes {
        out::say(format_args!("scrape targets {}", place::targets(std::process::id()).display()));
    }
    out::say("Ctrl-C or `herd down` takes the fleet down");
    watch(testbed, &control).await;
    out::say("the fleet was taken down by somebody else");
    Ok(Exit::Expected)
}

/// Where the parts of a kept fleet log to, one folder a lab.
fn log_dir() -> PathBuf {
    place::kept_logs(&place::state_dir(), std::process::id())
}

/// Gives a fleet the origin latency and the layers of a rung.
pub(crate) async fn configure(
    control: &ControlPlane,
    endpoints: &Endpoints,
    scenario: &Scenario,
    rung: &Rung,
    nodes: u32,
) -> anyhow::Result<()> {
    OriginLab::new(&endpoints.origin_grpc)?.set_latency(fleet_config::latency(&scenario.origin)).await?;
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let prefix = fleet_config::prefix(u64::try_from(now.as_micros()).unwrap_or(u64::MAX), &rung.name);
    let version = control.publish(fleet_config::of_rung(scenario, rung, &prefix));
    control.wait_applied(version, nodes, herd_experiment::control::APPLY_LIMIT).await?;
    Ok(())
}

/// Says where the parts are.
pub(crate) fn print_addresses(endpoints: &Endpoints) {
    let Endpoints { edge_grpc, edge_http, origin_grpc, lock_grpc, redis_url, consoles: _ } = endpoints;
    let rows = [
        ("edge gRPC", Some(edge_grpc)),
        ("edge HTTP", Some(edge_http)),
        ("origin", Some(origin_grpc)),
        ("lock service", Some(lock_grpc)),
        ("Redis", redis_url.as_ref()),
    ];
    for (name, address) in rows {
        if let Some(address) = address {
            out::say(format_args!("{name:<14} {address}"));
        }
    }
    for line in consoles(endpoints) {
        out::say(line);
    }
    out::say(format_args!("try            curl {}/v1/items/item-1", edge_http.trim_end_matches('/')));
    out::say(format_args!("               herd load --edge {edge_grpc}"));
}

/// Where the pages are that people look at, a line each.
pub(crate) fn consoles(endpoints: &Endpoints) -> Vec<String> {
    endpoints.consoles.iter().map(|(name, address)| format!("{name:<14} {address}")).collect()
}

/// Says which parts end, and returns when the fleet's own processes have ended and nobody is joined any more.
async fn watch(testbed: &mut dyn Testbed, control: &ControlPlane) {
    let mut deaths = Deaths::default();
    loop {
        tokio::time::sleep(LOOK_EVERY).await;
        let failures = testbed.failures().await;
        let view = control.view();
        let gone = view.edges_joined() == 0 && view.nodes_joined() == 0;
        if gone && !failures.is_empty() {
            return;
        }
        deaths.look(&failures).iter().for_each(out::warn);
    }
}

fn rung<'a>(scenario: &'a Scenario, name: Option<&str>) -> Result<&'a Rung, UsageError> {
    let Some(name) = name else {
        return Ok(scenario.rungs.last().expect("a scenario has at least one rung"));
    };
    scenario.rungs.iter().find(|rung| rung.name == name).ok_or_else(|| {
        let names: Vec<&str> = scenario.rungs.iter().map(|rung| rung.name.as_str()).collect();
        UsageError(format!("--rung {name:?}: {} has {}", scenario.name, names.join(", ")))
    })
}
