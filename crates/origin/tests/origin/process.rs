//! The process: started, asked, stopped and killed.

use futures::future;
use herd_wire::error::{ErrorSource, is_retryable};
use herd_wire::v1::origin_admin_client::OriginAdminClient;
use herd_wire::v1::origin_client::OriginClient;
use herd_wire::v1::{
    Failures, FetchOutcome, FetchRequest, GetLatencyRequest, KeysRequest, Latency, LedgerEvent, OriginGate,
    PutRowRequest, ReadLedgerRequest, latency::Model, ledger_event::Kind,
};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use std::io::{BufRead as _, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;
use tempfile::TempDir;
use tonic::transport::Channel;
use tonic::{Code, Request};

/// A running origin over SQLite in a directory of its own. Killed when dropped.
pub(crate) struct Origin {
    pub(crate) child: Child,
    grpc: String,
    admin: String,
}

impl Origin {
    pub(crate) fn start(directory: &Path, more: &[&str]) -> Self {
        Self::start_with(directory, more, &[])
    }

    pub(crate) fn start_with(directory: &Path, more: &[&str], environment: &[(&str, &str)]) -> Self {
        let mut child = Command::new(env!("CARGO_BIN_EXE_herd-origin"))
            .current_dir(directory)
            .args([
                "--listen",
                "127.0.0.1:0",
                "--admin",
                "127.0.0.1:0",
                "--rows",
                "1000",
                "--latency-ms",
                "0",
            ])
            .args(["--database-url", "sqlite:rows.db", "--ledger", "origin.ledger", "--log", "warn"])
            .args(more)
            .envs(environment.iter().copied())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        let ready: serde_json::Value = serde_json::from_str(&line).expect("a ready line");
        assert_eq!((&ready["ready"], &ready["role"]), (&true.into(), &"origin".into()));
        let address = |name: &str| ready[name].as_str().unwrap().to_owned();
        Self { child, grpc: address("grpc"), admin: address("admin") }
    }

    pub(crate) async fn channel(&self) -> Channel {
        Channel::from_shared(format!("http://{}", self.grpc)).unwrap().connect().await.unwrap()
    }

    pub(crate) fn signal(&self, signal: Signal) {
        kill(Pid::from_raw(self.child.id().try_into().unwrap()), signal).unwrap();
    }

    fn metrics(&self) -> String {
        use std::io::{Read as _, Write as _};
        let mut stream = std::net::TcpStream::connect(&self.admin).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        write!(stream, "GET /metrics HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").unwrap();
        let mut text = String::new();
        stream.read_to_string(&mut text).unwrap();
        text
    }
}

impl Drop for Origin {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

pub(crate) fn request(key: &str) -> Request<FetchRequest> {
    let message = FetchRequest {
        key: key.into(),
        cache_key: key.into(),
        node: "node-1".into(),
        ..FetchRequest::default()
    };
    let mut request = Request::new(message);
    request.set_timeout(Duration::from_secs(60));
    request
}

async fn ledger(channel: &Channel) -> Vec<LedgerEvent> {
    let request = ReadLedgerRequest { from_seq: 1 };
    let mut stream = OriginAdminClient::new(channel.clone()).read_ledger(request).await.unwrap().into_inner();
    let mut events = Vec::new();
    while let Some(chunk) = stream.message().await.unwrap() {
        events.extend(chunk.events);
    }
    assert!(events.iter().map(|event| event.seq).eq(1..=events.len() as u64), "a gap in the ledger");
    events
}

fn outcomes(events: &[LedgerEvent]) -> Vec<FetchOutcome> {
    let ends = events.iter().filter_map(|event| match &event.kind {
        Some(Kind::Ended(end)) => Some(end.outcome()),
        _ => None,
    });
    ends.collect()
}

/// Goal: over the wire each answer has its code, its source and its trace in the ledger, and queries are counted.
#[tokio::test]
async fn answers_over_the_wire() {
    let directory = TempDir::new().unwrap();
    let origin = Origin::start(directory.path(), &["--max-in-flight", "1"]);
    let channel = origin.channel().await;
    let mut client = OriginClient::new(channel.clone());
    let mut traced = request("item-1");
    let traceparent = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
    traced.metadata_mut().insert("traceparent", traceparent.parse().unwrap());
    let row = client.fetch(traced).await.unwrap().into_inner();
    assert_eq!(row.version, 1);

    let refused = client.fetch(request("")).await.unwrap_err();
    assert_eq!(
        (refused.code(), ErrorSource::of(&refused)),
        (Code::InvalidArgument, Some(ErrorSource::Client))
    );
    let missing = client.fetch(request("item-0")).await.unwrap_err();
    assert_eq!((missing.code(), ErrorSource::of(&missing)), (Code::NotFound, Some(ErrorSource::Origin)));
    assert!(!is_retryable(&missing));
    let metrics = origin.metrics();
    assert!(metrics.contains("\ndb_query_total 2\n"), "{metrics}");
    assert!(metrics.contains("\ncache_miss_total 0\n"), "{metrics}");

    let mut admin = OriginAdminClient::new(channel.clone());
    let slow = Latency { model: Model::Fixed.into(), median_ms: 600_000, ..Latency::default() };
    admin.set_latency(slow).await.unwrap();
    let mut hurried = request("item-1");
    hurried.set_timeout(Duration::from_millis(30));
    let late = client.fetch(hurried).await.unwrap_err();
    // Whichever of the two clocks was first, the caller's own or the origin's.
    assert!(matches!(late.code(), Code::DeadlineExceeded | Code::Cancelled), "{late:?}");
    assert_eq!(admin.get_latency(GetLatencyRequest {}).await.unwrap().into_inner(), slow);
    let bad = admin.set_latency(Latency::default()).await.unwrap_err();
    assert_eq!(bad.code(), Code::InvalidArgument);
    let put = PutRowRequest { key: "item-1".into(), value: b"x".to_vec() };
    assert_eq!(admin.put_row(put).await.unwrap().into_inner().version, 2);

    let events = ledger(&channel).await;
    assert!(matches!(&events[0].kind, Some(Kind::Started(start)) if start.trace == traceparent[3..35]));
    assert_eq!(outcomes(&events)[..2], [FetchOutcome::Fetched, FetchOutcome::NoSuchRow]);
}

/// Goal: what the gate refuses says when to come back, what fails on command is the origin's fault and may be repeated, and
/// bad settings are refused whole.
#[tokio::test]
async fn refusals_and_failures_over_the_wire() {
    let directory = TempDir::new().unwrap();
    let origin = Origin::start(directory.path(), &[]);
    let channel = origin.channel().await;
    let (mut client, mut admin) =
        (OriginClient::new(channel.clone()), OriginAdminClient::new(channel.clone()));
    let gate = OriginGate { in_flight_max: 1, queue_max: 0, queue_wait_ms: 0, retry_after_ms: 250 };
    assert_eq!(admin.set_gate(gate).await.unwrap().into_inner(), gate);
    let slow = Latency { model: Model::Fixed.into(), median_ms: 600_000, ..Latency::default() };
    admin.set_latency(slow).await.unwrap();
    let mut inside = client.clone();
    let inside = tokio::spawn(async move { inside.fetch(request("item-1")).await });
    until(&channel, |events| events.len() == 1).await;
    let refused = client.fetch(request("item-2")).await.unwrap_err();
    assert_eq!(
        (refused.code(), ErrorSource::of(&refused)),
        (Code::ResourceExhausted, Some(ErrorSource::Origin))
    );
    assert_eq!(refused.metadata().get("grpc-retry-pushback-ms").unwrap(), "250");
    assert!(is_retryable(&refused));
    inside.abort();
    until(&channel, |events| events.len() == 4).await;

    admin.set_latency(Latency { median_ms: 0, ..slow }).await.unwrap();
    let for_ever = Failures { share: 1.0, for_ms: 600_000 };
    assert_eq!(admin.set_failures(for_ever).await.unwrap().into_inner().share, 1.0);
    let failed = client.fetch(request("item-1")).await.unwrap_err();
    assert_eq!((failed.code(), ErrorSource::of(&failed)), (Code::Unavailable, Some(ErrorSource::Origin)));
    assert!(is_retryable(&failed));
    let ended = outcomes(&ledger(&channel).await);
    assert_eq!(ended, [FetchOutcome::Rejected, FetchOutcome::Cancelled, FetchOutcome::Failed]);

    let bad = admin.set_gate(OriginGate::default()).await.unwrap_err();
    assert!(bad.code() == Code::InvalidArgument && bad.message().contains("retry_after_ms"), "{bad:?}");
    let bad = admin.set_failures(Failures { share: 1.5, for_ms: 1 }).await.unwrap_err();
    assert_eq!(bad.code(), Code::InvalidArgument);
}

/// Goal: a client writes rows, new ones included, and the stream of keys gives out all of them in order.
#[tokio::test]
async fn rows_and_keys_over_the_wire() {
    let directory = TempDir::new().unwrap();
    let origin = Origin::start(directory.path(), &["--rows", "12000"]);
    let mut client = OriginClient::new(origin.channel().await);
    let put = |key: &str, bytes: usize| PutRowRequest { key: key.into(), value: vec![b'x'; bytes] };
    assert_eq!(client.put(put("absent-1", 1 << 20)).await.unwrap().into_inner().version, 1);
    assert_eq!(client.put(put("item-7", 3)).await.unwrap().into_inner().version, 2);
    let too_long = client.put(put("item-7", (1 << 20) + 1)).await.unwrap_err();
    assert_eq!(too_long.code(), Code::InvalidArgument);
    assert_eq!(client.fetch(request("absent-1")).await.unwrap().into_inner().value.len(), 1 << 20);

    let mut stream = client.keys(KeysRequest {}).await.unwrap().into_inner();
    let (mut keys, mut parts) = (Vec::new(), Vec::new());
    while let Some(part) = stream.message().await.unwrap() {
        parts.push(part.keys.len());
        keys.extend(part.keys);
    }
    assert_eq!(parts, [10_000, 2_001]);
    assert!(keys.is_sorted_by(|a, b| a < b) && keys[0] == "absent-1");
    let mut hurried = Request::new(KeysRequest {});
    hurried.set_timeout(Duration::from_millis(1));
    let late = async { client.keys(hurried).await?.into_inner().message().await };
    let late = late.await.unwrap_err();
    // Whichever of the two clocks was first, the caller's own or the origin's.
    assert!(matches!(late.code(), Code::DeadlineExceeded | Code::Cancelled), "{late:?}");
}

/// Goal: callers that hang up are recorded as such, although nobody is left to be answered.
#[tokio::test]
async fn hanging_up_is_recorded() {
    let directory = TempDir::new().unwrap();
    let origin = Origin::start(directory.path(), &["--latency-ms", "600000"]);
    let channel = origin.channel().await;
    let client = OriginClient::new(channel.clone());
    let crowd: Vec<_> = (0..20)
        .map(|_| {
            let mut client = client.clone();
            tokio::spawn(async move { client.fetch(request("item-1")).await.map(drop) })
        })
        .collect();
    until(&channel, |events| events.len() == 20).await;
    for one in &crowd {
        one.abort();
    }
    let events = until(&channel, |events| events.len() == 40).await;
    assert_eq!(outcomes(&events), [FetchOutcome::Cancelled; 20]);
}

/// Goal: SIGTERM lets fetches under way finish, cuts off what is left after the drain time, and records every end.
#[tokio::test]
async fn a_stop_loses_nothing() {
    let directory = TempDir::new().unwrap();
    let mut origin = Origin::start(directory.path(), &["--drain-ms", "200"]);
    let channel = origin.channel().await;
    let client = OriginClient::new(channel.clone());
    let quick = future::join_all((1..=500).map(|n| {
        let mut client = client.clone();
        async move { client.fetch(request(&format!("item-{n}"))).await }
    }));
    assert!(quick.await.iter().all(Result::is_ok));
    let slow = Latency { model: Model::Fixed.into(), median_ms: 600_000, ..Latency::default() };
    OriginAdminClient::new(channel.clone()).set_latency(slow).await.unwrap();
    let mut client = client.clone();
    let endless = tokio::spawn(async move { client.fetch(request("item-1")).await });
    until(&channel, |events| events.len() == 1_001).await;
    origin.signal(Signal::SIGTERM);
    assert!(origin.child.wait().unwrap().success());
    assert!(endless.await.unwrap().is_err());
    drop(origin);

    let origin = Origin::start(directory.path(), &[]);
    let events = ledger(&origin.channel().await).await;
    assert_eq!(events.len(), 1_002);
    assert_eq!(outcomes(&events).last(), Some(&FetchOutcome::Cancelled));
}

/// Goal: after a kill everything that had been read is still there, and the next process goes on with the next number.
#[tokio::test]
async fn a_kill_keeps_what_was_written() {
    let directory = TempDir::new().unwrap();
    let origin = Origin::start(directory.path(), &[]);
    let channel = origin.channel().await;
    let mut client = OriginClient::new(channel.clone());
    for _ in 0..50 {
        client.fetch(request("item-1")).await.unwrap();
    }
    let before = ledger(&channel).await;
    assert_eq!(before.len(), 100);
    client.fetch(request("item-1")).await.unwrap();
    origin.signal(Signal::SIGKILL);
    drop(origin);

    let origin = Origin::start(directory.path(), &[]);
    let channel = origin.channel().await;
    OriginClient::new(channel.clone()).fetch(request("item-1")).await.unwrap();
    let after = ledger(&channel).await;
    assert_eq!(after[..100], before);
    assert!((102..=104).contains(&after.len()), "{}", after.len());
}

/// Goal: every bad setting is named at once.
#[test]
fn bad_settings_are_all_named() {
    let bad = ["--database-url", "mysql://x", "--rows", "-1", "--pool-size", "0", "--latency-ms", "900000"];
    let output = Command::new(env!("CARGO_BIN_EXE_herd-origin")).args(bad).output().unwrap();
    assert_eq!(output.status.code(), Some(64));
    let said = String::from_utf8(output.stderr).unwrap();
    for flag in ["--database-url", "--rows", "--pool-size", "--latency-ms"] {
        assert!(said.contains(flag), "{flag} is missing in:\n{said}");
    }
}

/// Reads the ledger again and again until it looks as it must.
async fn until(channel: &Channel, mut enough: impl FnMut(&[LedgerEvent]) -> bool) -> Vec<LedgerEvent> {
    let reading = async {
        loop {
            let events = ledger(channel).await;
            if enough(&events) {
                return events;
            }
        }
    };
    tokio::time::timeout(Duration::from_secs(60), reading).await.expect("the ledger never looked as it must")
}
