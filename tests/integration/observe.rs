//! What people look at beside the fleet: Jaeger, Prometheus and Grafana as the compose file has them, and a Prometheus that
//! finds every replica by itself.

use crate::architecture::root;
use crate::fleet::LIMIT;
use herd_cluster::compose::{self, ComposeTestbed};
use herd_experiment::control::ControlPlane;
use herd_experiment::run;
use herd_experiment::testbed::{Discovery, Endpoints, FleetSpec, Part, Progress, Signal, Silent, Testbed};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::process::Command;
use std::sync::Mutex;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

const CONSOLES: [&str; 3] = ["jaeger", "prometheus", "grafana"];
/// Where the nodes' metrics are, inside their containers.
const NODE_METRICS: &str = ":9201/metrics";
/// How often somebody is asked again who may not have got that far yet.
const ASK_EVERY: Duration = Duration::from_millis(100);

/// Goal: what the profile `observe` adds is pinned, bounded in memory, checked for health, published on this machine alone;
/// and not there without the profile.
#[tokio::test]
async fn the_consoles_are_pinned_bounded_and_checked() {
    compose::ensure_plugin(&Silent).await.expect("docker compose works or can be provided");
    let with = model(&["--profile", "observe"]);
    let dockerfile = std::fs::read_to_string(root().join("compose/Dockerfile")).expect("readable");
    assert_eq!(complaints(&with, &dockerfile), Vec::<String>::new());
    let without = model(&[]);
    for service in CONSOLES {
        assert!(without["services"].get(service).is_none(), "{service} runs unasked");
    }

    // The same check refuses each way to get it wrong.
    for (service, field, value) in [
        ("jaeger", "image", json!("jaegertracing/jaeger:latest")),
        ("jaeger", "image", json!("jaegertracing/jaeger")),
        ("jaeger", "image", json!("registry.test:5000/jaeger")),
        ("grafana", "image", json!("grafana/grafana:12")),
        ("grafana", "mem_limit", Value::Null),
        ("prometheus", "mem_limit", json!("0")),
        ("prometheus", "healthcheck", Value::Null),
        ("prometheus", "healthcheck", json!({ "disable": true })),
        ("prometheus", "build", Value::Null),
        ("grafana", "ports", json!([{ "target": 3000, "published": "3000" }])),
    ] {
        let mut broken = with.clone();
        broken["services"][service][field] = value;
        let found = complaints(&broken, &dockerfile);
        assert!(matches!(found.as_slice(), [one] if one.starts_with(service)), "{field}: {found:?}");
    }
    let unpinned = dockerfile.replace("FROM prom/prometheus:v", "FROM prom/prometheus:latest-v");
    assert_eq!(complaints(&with, &unpinned).len(), 1);
}

/// The compose file as compose understands it.
fn model(options: &[&str]) -> Value {
    let mut config = Command::new("docker");
    config.arg("compose").args(options).args(["config", "--format", "json"]).current_dir(root());
    let answer = config.env_remove("COMPOSE_PROFILES").env_remove("COMPOSE_FILE").output().expect("it runs");
    assert!(answer.status.success(), "{}", String::from_utf8_lossy(&answer.stderr));
    serde_json::from_slice(&answer.stdout).expect("JSON")
}

/// What is wrong with the consoles of a compose file whose images are built from `dockerfile`.
fn complaints(model: &Value, dockerfile: &str) -> Vec<String> {
    let mut wrong = Vec::new();
    for name in CONSOLES {
        let service = &model["services"][name];
        let mut complain = |what: &str| wrong.push(format!("{name}: {what}"));
        let image = service["image"].as_str().unwrap_or_default();
        let taken_from = match service["build"]["target"].as_str() {
            None => Some(image),
            Some(stage) => dockerfile.lines().find_map(|line| {
                let (from, named) = line.strip_prefix("FROM ")?.split_once(" AS ")?;
                (named == stage).then_some(from)
            }),
        };
        if !taken_from.is_some_and(is_pinned) {
            complain("its image is not pinned to one release");
        }
        let limit = &service["mem_limit"];
        let limit = limit.as_str().and_then(|bytes| bytes.parse().ok()).or(limit.as_u64());
        if limit.is_none_or(|bytes| bytes == 0) {
            complain("its memory is not limited");
        }
        if service["healthcheck"]["test"].as_array().is_none_or(|test| test.len() < 2) {
            complain("nobody checks its health");
        }
        let ports = service["ports"].as_array().map(Vec::as_slice).unwrap_or_default();
        if ports.is_empty() || ports.iter().any(|port| port["host_ip"] != "127.0.0.1") {
            complain("its ports are not those of this machine alone");
        }
    }
    wrong
}

/// By digest, or by a tag that names a release with all its numbers.
fn is_pinned(image: &str) -> bool {
    if image.contains("@sha256:") {
        return true;
    }
    let name = image.rsplit('/').next().unwrap_or_default();
    let Some((_, tag)) = name.split_once(':') else { return false };
    let numbers: Vec<&str> = tag.trim_start_matches('v').split('.').collect();
    numbers.len() == 3 && numbers.iter().all(|number| number.parse::<u32>().is_ok())
}

/// Goal: a Prometheus beside a fleet of containers finds every replica by itself and sees which of them stands still, keeps
/// exemplars, knows the alerts, and is told of the lab; whoever of the three cannot be had is named, and the fleet runs all the same.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_prometheus_finds_every_replica() {
    let nodes = 3;
    let notes = Notes::default();
    let mut testbed = ComposeTestbed::new();
    let listen = SocketAddr::new(testbed.control_listen(), 0);
    let lab = stand_in_for_a_lab(listen).await;
    let folder = tempfile::tempdir().expect("a folder for logs");
    let spec = FleetSpec {
        nodes,
        origin_rows: 100,
        origin_pool: 4,
        state_dir: folder.path().join("state"),
        log_dir: folder.path().join("logs"),
        redis_replica: false,
        postgres: false,
        observe: true,
        env: Vec::new(),
        discovery: Some(Discovery { file: folder.path().join("unused.json"), lab: Some(lab) }),
    };
    let control = ControlPlane::start(listen).await.expect("the control plane listens");
    let fleet = run::bring_up(&mut testbed, &spec, &control, &notes).await.expect("the fleet comes up");
    assert_eq!(fleet.nodes_joined, nodes);
    let prometheus = there_or_named(&fleet.endpoints, &notes);

    let all = becomes(&prometheus, |found| up(found) == 3 && found.len() == 3).await;
    assert_eq!(all.len(), 3, "three addresses: {all:?}");
    // What the lab on this host does, by the one target that there is of it.
    let of_lab = |answer: &Value| {
        let active = answer["data"]["activeTargets"].as_array()?;
        let mut labs = active.iter().filter(|target| target["labels"]["job"] == "lab");
        labs.next().filter(|lab| lab["health"] == "up").map(|_| labs.count())
    };
    assert_eq!(sees(&prometheus, of_lab).await, 0, "and no other");
    testbed.signal(Part::CacheNode, 1, Signal::Pause).await.expect("paused");
    becomes(&prometheus, |found| up(found) == 2 && found.len() == 3).await;
    testbed.signal(Part::CacheNode, 1, Signal::Resume).await.expect("resumed");
    becomes(&prometheus, |found| up(found) == 3).await;

    let flags = get(&prometheus, "/api/v1/status/flags").await.expect("it answers");
    assert_eq!(flags["data"]["enable-feature"], "exemplar-storage", "{flags}");
    let rules = get(&prometheus, "/api/v1/rules?type=alert").await.expect("it answers");
    assert!(rules["data"]["groups"].as_array().is_some_and(|groups| !groups.is_empty()), "{rules}");
    let kept = std::fs::read_dir(&spec.log_dir).expect("a folder").count();
    testbed.down().await.expect("the fleet goes down cleanly");
    let saved = std::fs::read_dir(&spec.log_dir).expect("a folder").count();
    assert!(saved > kept, "the logs of the containers are kept");
    assert!(spec.log_dir.join("prometheus.log").is_file(), "Prometheus' own among them");
    control.stop().await;
}

/// Where Prometheus is. Each of the three is there or was named as left out, with a way around; never both.
fn there_or_named(at: &Endpoints, notes: &Notes) -> String {
    let lines = notes.0.lock().expect("nobody panicked").clone();
    for name in ["Prometheus", "Jaeger", "Grafana"] {
        let there = at.consoles.iter().any(|(console, _)| console == name);
        let begin = format!("left out: {name} (");
        let named = lines.iter().any(|line| line.starts_with(&begin) && line.contains("Instead: "));
        assert!(there != named, "{name}: there {there}, named {named}: {lines:?}");
    }
    let prometheus = at.consoles.iter().find(|(console, _)| console == "Prometheus");
    prometheus.expect("Prometheus can be had from packages").1.clone()
}

/// The nodes that Prometheus knows, by their addresses, and whether it could scrape them.
type Targets = BTreeMap<String, bool>;

fn up(targets: &Targets) -> usize {
    targets.values().filter(|up| **up).count()
}

async fn becomes(prometheus: &str, wanted: impl Fn(&Targets) -> bool) -> Targets {
    sees(prometheus, |answer| Some(targets(answer)).filter(&wanted)).await
}

/// What is found in what Prometheus says of its targets, once it is.
async fn sees<T>(prometheus: &str, find: impl Fn(&Value) -> Option<T>) -> T {
    let mut last = None;
    let waiting = async {
        let mut tick = tokio::time::interval(ASK_EVERY);
        loop {
            tick.tick().await;
            // It may still be starting.
            let Some(answer) = get(prometheus, "/api/v1/targets?state=active").await else { continue };
            if let Some(found) = find(&answer) {
                return found;
            }
            last = Some(answer);
        }
    };
    match tokio::time::timeout(LIMIT, waiting).await {
        Ok(found) => found,
        Err(_) => panic!("Prometheus does not come to see it: {last:?}"),
    }
}

fn targets(answer: &Value) -> Targets {
    let active = answer["data"]["activeTargets"].as_array().map(Vec::as_slice).unwrap_or_default();
    let nodes = active.iter().filter_map(|target| {
        let url = target["scrapeUrl"].as_str().filter(|url| url.ends_with(NODE_METRICS))?;
        Some((url.to_owned(), target["health"] == "up"))
    });
    nodes.collect()
}

/// Answers everybody as a lab's page of metrics does. Where it listens.
async fn stand_in_for_a_lab(listen: SocketAddr) -> SocketAddr {
    let listener = TcpListener::bind(listen).await.expect("a free port");
    let address = listener.local_addr().expect("an address");
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let page = "HTTP/1.0 200 OK\r\ncontent-type: text/plain\r\n\r\nherd_config_version 1\n";
            // The question is read, so that closing does not reset the answer.
            let _ = stream.read(&mut [0; 4096]).await;
            let _ = stream.write_all(page.as_bytes()).await;
        }
    });
    address
}

/// What is answered to a GET, if anything is.
async fn get(base: &str, path: &str) -> Option<Value> {
    let address = base.strip_prefix("http://")?;
    let ask = async {
        let mut stream = TcpStream::connect(address).await?;
        let question = format!("GET {path} HTTP/1.0\r\nHost: {address}\r\n\r\n");
        stream.write_all(question.as_bytes()).await?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await?;
        Ok::<_, std::io::Error>(answer)
    };
    let answer = tokio::time::timeout(Duration::from_secs(5), ask).await.ok()?.ok()?;
    let (_, body) = answer.split_once("\r\n\r\n")?;
    serde_json::from_str(body).ok()
}

/// Keeps the lines that stay.
#[derive(Debug, Default)]
struct Notes(Mutex<Vec<String>>);

impl Progress for Notes {
    fn note(&self, line: &str) {
        self.0.lock().expect("nobody panicked").push(line.to_owned());
    }

    fn step(&self, _what: &str, _done: u64, _total: u64) {}
}
