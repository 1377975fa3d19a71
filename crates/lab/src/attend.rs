//! `herd attend`: the ladder over a fleet that others started, then its report over HTTP, and meanwhile the lab's metrics. The control plane stays up, so that
//! the fleet can be used afterwards.

use crate::{
    backend,
    cli::AttendArgs,
    exit::Exit,
    experiment, fleet, out, pick, place,
    screen::Screen,
    spans::{Heard, Recording},
    told, verdict, watched,
};
use anyhow::Context;
use axum::{Router, http::header, response::IntoResponse, routing::get};
use herd_experiment::{
    control::ControlPlane,
    run::{self, Plan},
    testbed::{Backend, Endpoints, Progress},
};
use herd_scenario::Overrides;
use std::{
    path::{Path, PathBuf},
    sync::{Arc, Mutex, OnceLock},
    time::Duration,
};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

/// How long after a span ended its process has sent it, if it can: it exports every 2 s, give or take half of it.
const SPANS_DUE: Duration = Duration::from_secs(4);

/// How long the report's server may take to end what is under way.
const DRAIN: Duration = Duration::from_secs(2);

/// Runs the ladder once and serves its report until `stop`.
///
/// # Errors
/// An address cannot be listened on, or the fleet is not there.
pub async fn attend(args: &AttendArgs, stop: &CancellationToken) -> anyhow::Result<Exit> {
    let screen = Screen::new();
    let shown = Shown::default();
    let listener = TcpListener::bind(args.report)
        .await
        .with_context(|| format!("the report cannot be served on {}", args.report))?;
    let control = ControlPlane::start(args.control).await?;
    let pages = router(&shown).merge(watched::router(control.observer()));
    let serving = tokio::spawn(serve(listener, pages, stop.clone()));
    let begun = OnceLock::new();
    let attended = tokio::select! {
        () = stop.cancelled() => Ok(Exit::Interrupted),
        ran = ladder(args, &control, &shown, &begun, &screen) => ran,
    };
    screen.clear();
    match &attended {
        Ok(Exit::Interrupted) => {
            // A run that is whole has no partial folder any more.
            if let Some(partial) = begun.get().filter(|partial| partial.exists()) {
                experiment::keep_or_remove(partial);
            }
        }
        Ok(_) => {
            out::say(format_args!("the fleet stays up; the report: {}", args.report_url));
        }
        // The fleet and the control plane stay, so that a person can look at what is wrong.
        Err(error) => {
            out::warn(format_args!("error: {error:#}\nthe fleet stays up to be looked at"));
        }
    }
    stop.cancelled().await;
    control.stop().await;
    let _ = tokio::time::timeout(DRAIN, serving).await;
    attended
}

async fn ladder(
    args: &AttendArgs,
    control: &ControlPlane,
    shown: &Shown,
    begun: &OnceLock<PathBuf>,
    screen: &Screen,
) -> anyhow::Result<Exit> {
    let mut picked = pick::preset(&args.preset)?;
    picked.scenario.apply(&Overrides { nodes: Some(args.nodes), ..Overrides::default() })?;
    backend::check_able(None, &picked.file, &picked.scenario)?;
    let place = place::run_dir(None, &args.out, &picked.scenario.name)?;
    let mut plan = Plan::new(picked.scenario, &picked.file, &picked.text, Backend::Compose.as_str());
    plan.extra.extend(args.spans.options());
    told::plan(&plan, screen);
    let writer = place.create(&plan.manifest())?;
    let recording = Recording::start(args.spans, args.spans_listen, writer.partial_path(), &plan, screen);
    let partial = begun.get_or_init(|| writer.partial_path().to_path_buf());
    let joined = run::await_nodes(control, args.nodes, None, screen).await?;
    screen.note(&format!("{} joined", experiment::nodes(joined)));
    let endpoints = endpoints(args);
    // The fleet is others': there is no testbed for faults.
    let heard = Heard { screen, recording: recording.as_ref() };
    let driven = run::drive(&plan, &endpoints, control, None, writer, &heard).await;
    if let Some(recording) = recording {
        // The fleet lives on, and sends what it has not sent yet when it is due.
        tokio::time::sleep(SPANS_DUE).await;
        recording.finish(partial, screen).await;
    }
    let finished = match driven {
        Ok(writer) => experiment::finish(writer),
        Err(error) => {
            screen.note(&format!("error: {:#}", anyhow::Error::new(error)));
            None
        }
    };
    let dir = finished.as_deref().unwrap_or(partial);
    screen.clear();
    let exit = verdict::judge_write_and_show(dir)?;
    shown.show(dir);
    // Left as the last rung, which is how the fleet is best looked at; also when a rung before it failed.
    let last = plan.scenario.rungs.last().context("a scenario has at least one rung")?;
    fleet::configure(control, &endpoints, &plan.scenario, last, control.view().nodes_joined()).await?;
    Ok(if finished.is_none() && exit == Exit::Expected { Exit::Unknown } else { exit })
}

fn endpoints(args: &AttendArgs) -> Endpoints {
    Endpoints {
        edge_grpc: args.edge.clone(),
        edge_http: String::new(),
        origin_grpc: args.origin.clone(),
        lock_grpc: args.lock.clone(),
        redis_url: None,
        consoles: Vec::new(),
    }
}

/// The run that is served; none while the ladder runs.
#[derive(Clone, Debug, Default)]
struct Shown(Arc<Mutex<Option<PathBuf>>>);

impl Shown {
    fn show(&self, dir: &Path) {
        *self.0.lock().expect("nothing panics while it holds the path") = Some(dir.to_path_buf());
    }

    fn file(&self, name: &str) -> Option<Vec<u8>> {
        let dir = self.0.lock().expect("nothing panics while it holds the path").clone()?;
        std::fs::read(dir.join(name)).ok()
    }
}

async fn serve(listener: TcpListener, pages: Router, stop: CancellationToken) {
    let served = axum::serve(listener, pages).with_graceful_shutdown(stop.cancelled_owned()).await;
    if let Err(error) = served {
        tracing::error!(%error, "the report's server ended");
    }
}

/// The report's files.
fn router(shown: &Shown) -> Router {
    let file = |name: &'static str, kind: &'static str| {
        let shown = shown.clone();
        get(move || async move {
            match shown.file(name) {
                Some(bytes) => ([(header::CONTENT_TYPE, kind)], bytes).into_response(),
                None => (
                    axum::http::StatusCode::SERVICE_UNAVAILABLE,
                    [(header::RETRY_AFTER, "5"), (header::REFRESH, "5")],
                    "the ladder is running; its report will be here\n",
                )
                    .into_response(),
            }
        })
    };
    Router::new()
        .route("/", file("report.html", "text/html; charset=utf-8"))
        .route("/report.html", file("report.html", "text/html; charset=utf-8"))
        .route("/report.md", file("report.md", "text/markdown; charset=utf-8"))
        .route("/results.json", file("results.json", "application/json"))
        .route("/junit.xml", file("junit.xml", "application/xml"))
}
