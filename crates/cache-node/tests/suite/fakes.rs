//! Small stand-ins for lock service and origin: gRPC servers inside the test that do what they are told.

use herd_wire::error::{ErrorSource, set_pushback, status};
use herd_wire::v1::acquire_response::Outcome;
use herd_wire::v1::lock_service_server::{LockService, LockServiceServer};
use herd_wire::v1::origin_server::{Origin, OriginServer};
use herd_wire::v1::{
    AcquireRequest, AcquireResponse, FetchRequest, FetchResponse, Grant, HolderDone, HolderEnd, HolderFailed,
    InspectRequest, InspectResponse, KeysRequest, KeysResponse, PutRowRequest, PutRowResponse,
    ReleaseRequest, ReleaseResponse, RenewRequest, RenewResponse, WaitTimeout,
};
use std::collections::{BTreeMap, HashMap, HashSet};
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::Duration;
use tokio::sync::{oneshot, watch};
use tokio::time::Instant;
use tokio_stream::wrappers::TcpListenerStream;
use tonic::transport::Server;
use tonic::{Code, Request, Response, Status};

/// A server on a thread and a runtime of its own: dropped, it is gone at once, its connections included.
pub(crate) struct Serving {
    pub(crate) address: SocketAddr,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Serving {
    pub(crate) fn url(&self) -> String {
        format!("http://{}", self.address)
    }
}

impl Drop for Serving {
    fn drop(&mut self) {
        drop(self.stop.take());
        let _ = self.thread.take().map(JoinHandle::join);
    }
}

/// Binds `port` on loopback (0: any free one) and serves there.
pub(crate) fn serve<S>(port: u16, service: S) -> Serving
where
    S: tower_service::Service<
            http::Request<tonic::body::Body>,
            Response = http::Response<tonic::body::Body>,
            Error = std::convert::Infallible,
        > + tonic::server::NamedService
        + Clone
        + Send
        + Sync
        + 'static,
    S::Future: Send + 'static,
{
    let listener = std::net::TcpListener::bind((Ipv4Addr::LOCALHOST, port)).expect("a free port");
    listener.set_nonblocking(true).expect("a fresh socket");
    let address = listener.local_addr().expect("bound");
    let (stop, stopped) = oneshot::channel();
    let thread = std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        runtime.block_on(async move {
            let incoming =
                TcpListenerStream::new(tokio::net::TcpListener::from_std(listener).expect("a runtime"));
            tokio::select! {
                _ = Server::builder().add_service(service).serve_with_incoming(incoming) => {}
                _ = stopped => {}
            }
        });
    });
    Serving { address, stop: Some(stop), thread: Some(thread) }
}

/// Leases in memory, with the moods that a test needs.
#[derive(Clone, Default)]
pub(crate) struct FakeLock(Arc<Mutex<Leases>>);

#[derive(Default)]
struct Leases {
    held: HashMap<String, Held>,
    done: HashMap<String, watch::Sender<Option<Outcome>>>,
    tokens: u64,
    released: Vec<ReleaseRequest>,
    asked: Vec<AcquireRequest>,
    moods: HashSet<Mood>,
}

struct Held {
    owner: String,
    token: u64,
    until: Instant,
}

/// How the fake misbehaves.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Mood {
    /// Grants, and never says so.
    GrantsSilently,
    /// Refuses to take leases back.
    RefusesRelease,
}

impl FakeLock {
    pub(crate) fn serve(&self) -> Serving {
        serve(0, LockServiceServer::new(self.clone()))
    }

    pub(crate) fn mood(&self, mood: Mood, on: bool) {
        let moods = &mut self.0.lock().unwrap().moods;
        if on {
            moods.insert(mood)
        } else {
            moods.remove(&mood)
        };
    }

    /// A holder that will never come back.
    pub(crate) fn hold(&self, name: &str, expiry: Duration) {
        let mut leases = self.0.lock().unwrap();
        leases.tokens += 1;
        let held = Held { owner: "dead".to_owned(), token: leases.tokens, until: Instant::now() + expiry };
        leases.held.insert(name.to_owned(), held);
    }

    pub(crate) fn holder(&self, name: &str) -> Option<String> {
        let leases = self.0.lock().unwrap();
        leases.held.get(name).filter(|held| held.until > Instant::now()).map(|held| held.owner.clone())
    }

    /// Owners whose release came, and how they said that they ended.
    pub(crate) fn released(&self) -> Vec<(String, HolderEnd)> {
        let leases = self.0.lock().unwrap();
        leases.released.iter().map(|release| (release.owner.clone(), release.end())).collect()
    }

    /// What was asked and given back, word for word.
    pub(crate) fn calls(&self) -> (Vec<AcquireRequest>, Vec<ReleaseRequest>) {
        let leases = self.0.lock().unwrap();
        (leases.asked.clone(), leases.released.clone())
    }

    /// How many wait for a lease now.
    pub(crate) fn waiting(&self, name: &str) -> usize {
        self.0.lock().unwrap().done.get(name).map_or(0, watch::Sender::receiver_count)
    }

    /// The grant, or what to wait for.
    fn try_acquire(
        &self,
        request: &AcquireRequest,
    ) -> Result<Grant, (watch::Receiver<Option<Outcome>>, Instant, String)> {
        let mut leases = self.0.lock().unwrap();
        let now = Instant::now();
        match leases.held.get(&request.name).filter(|held| held.until > now && held.owner != request.owner) {
            Some(held) => {
                let (until, owner) = (held.until, held.owner.clone());
                let done =
                    leases.done.entry(request.name.clone()).or_insert_with(|| watch::Sender::new(None));
                Err((done.subscribe(), until, owner))
            }
            None => {
                leases.tokens += 1;
                let (token, expiry_ms) = (leases.tokens, request.expiry_ms);
                let until = now + Duration::from_millis(expiry_ms.into());
                leases.held.insert(request.name.clone(), Held { owner: request.owner.clone(), token, until });
                Ok(Grant { token, epoch: 1, expiry_ms, repeated: false })
            }
        }
    }
}

fn outcome(outcome: Outcome) -> Response<AcquireResponse> {
    Response::new(AcquireResponse { outcome: Some(outcome), waited_ms: 0 })
}

#[tonic::async_trait]
impl LockService for FakeLock {
    async fn acquire(&self, request: Request<AcquireRequest>) -> Result<Response<AcquireResponse>, Status> {
        let request = request.into_inner();
        self.0.lock().unwrap().asked.push(request.clone());
        let give_up = Instant::now() + Duration::from_millis(request.wait_ms.into());
        loop {
            let (mut done, until, holder) = match self.try_acquire(&request) {
                Ok(_) if self.0.lock().unwrap().moods.contains(&Mood::GrantsSilently) => {
                    std::future::pending().await
                }
                Ok(grant) => return Ok(outcome(Outcome::Granted(grant))),
                Err(busy) => busy,
            };
            tokio::select! {
                _ = done.changed() => {
                    let told = done.borrow().clone().expect("only an end is sent");
                    return Ok(outcome(told));
                }
                () = tokio::time::sleep_until(until.min(give_up)) => {}
            }
            if Instant::now() >= give_up {
                return Ok(outcome(Outcome::WaitTimeout(WaitTimeout { holder, expires_in_ms: 0 })));
            }
        }
    }

    async fn renew(&self, request: Request<RenewRequest>) -> Result<Response<RenewResponse>, Status> {
        let request = request.into_inner();
        let mut leases = self.0.lock().unwrap();
        let now = Instant::now();
        let held =
            leases.held.get_mut(&request.name).filter(|held| held.owner == request.owner && held.until > now);
        let extended = held.map(|held| held.until = now + Duration::from_millis(request.expiry_ms.into()));
        Ok(Response::new(RenewResponse { held: extended.is_some() }))
    }

    async fn release(&self, request: Request<ReleaseRequest>) -> Result<Response<ReleaseResponse>, Status> {
        let request = request.into_inner();
        let mut leases = self.0.lock().unwrap();
        leases.released.push(request.clone());
        if leases.moods.contains(&Mood::RefusesRelease) {
            return Err(Status::unavailable("told to refuse"));
        }
        let released = leases.held.get(&request.name).is_some_and(|held| held.owner == request.owner);
        if released {
            leases.held.remove(&request.name);
            let told = match request.end() {
                HolderEnd::Abandoned => None,
                HolderEnd::ValueWritten => Some(Outcome::HolderDone(HolderDone {})),
                HolderEnd::NoSuchRow | HolderEnd::Failed => {
                    let ReleaseRequest { end, retryable, message, generation, .. } = request.clone();
                    Some(Outcome::HolderFailed(HolderFailed { end, retryable, message, generation }))
                }
            };
            if let Some(done) = leases.done.get(&request.name).filter(|_| told.is_some()) {
                done.send_replace(told);
            }
        }
        Ok(Response::new(ReleaseResponse { released }))
    }

    async fn inspect(&self, request: Request<InspectRequest>) -> Result<Response<InspectResponse>, Status> {
        let name = request.into_inner().name;
        let leases = self.0.lock().unwrap();
        let (owner, token) =
            leases.held.get(&name).map(|held| (held.owner.clone(), held.token)).unwrap_or_default();
        Ok(Response::new(InspectResponse { held: token > 0, owner, token, epoch: 1, ..Default::default() }))
    }
}

/// An origin whose answers wait until the test lets them go. It has every row but those named `missing*` and `absent*`,
/// which exist once they are put.
#[derive(Clone)]
pub(crate) struct FakeOrigin {
    asked: Arc<watch::Sender<Vec<FetchRequest>>>,
    traces: Arc<Mutex<Vec<String>>>,
    open: Arc<watch::Sender<bool>>,
    version: Arc<Mutex<u64>>,
    rows: Arc<Mutex<Rows>>,
    puts_open: Arc<watch::Sender<bool>>,
}

#[derive(Default)]
struct Rows {
    put: BTreeMap<String, (u64, Vec<u8>)>,
    keys: Vec<String>,
    loads: usize,
}

impl FakeOrigin {
    /// With its gate open: it answers at once.
    pub(crate) fn new() -> Self {
        Self {
            asked: Arc::new(watch::Sender::new(Vec::new())),
            traces: Arc::default(),
            open: Arc::new(watch::Sender::new(true)),
            version: Arc::new(Mutex::new(1)),
            rows: Arc::default(),
            puts_open: Arc::new(watch::Sender::new(true)),
        }
    }

    pub(crate) fn serve(&self) -> Serving {
        serve(0, OriginServer::new(self.clone()))
    }

    /// From now on requests wait at the gate.
    pub(crate) fn close_gate(&self) {
        self.open.send_replace(false);
    }

    /// Lets everybody at the gate go, each with the row as it was when it asked.
    pub(crate) fn open_gate(&self) {
        self.open.send_replace(true);
    }

    /// From now on (or no longer) puts are applied and not answered.
    pub(crate) fn hold_puts(&self, hold: bool) {
        self.puts_open.send_replace(!hold);
    }

    /// Changes every row.
    pub(crate) fn new_version(&self) {
        *self.version.lock().unwrap() += 1;
    }

    /// What filters of existing keys are told, beside the rows that were put.
    pub(crate) fn set_keys(&self, keys: &[&str]) {
        self.rows.lock().unwrap().keys = keys.iter().map(|key| (*key).to_owned()).collect();
    }

    /// How often the keys were read.
    pub(crate) fn loads(&self) -> usize {
        self.rows.lock().unwrap().loads
    }

    /// Whether a client wrote this row.
    pub(crate) fn has_put(&self, key: &str) -> bool {
        self.rows.lock().unwrap().put.contains_key(key)
    }

    /// What was asked so far.
    pub(crate) fn asked(&self) -> Vec<FetchRequest> {
        self.asked.borrow().clone()
    }

    /// The `traceparent` that came with each.
    pub(crate) fn traces(&self) -> Vec<String> {
        self.traces.lock().unwrap().clone()
    }

    /// Waits until it was asked `count` times.
    pub(crate) async fn asked_times(&self, count: usize) {
        let mut asked = self.asked.subscribe();
        let wait = asked.wait_for(|asked| asked.len() >= count);
        tokio::time::timeout(Duration::from_secs(5), wait)
            .await
            .expect("asked within 5 s")
            .expect("the sender lives");
    }

    fn row(&self, key: &str) -> Result<FetchResponse, Status> {
        if let Some((version, value)) = self.rows.lock().unwrap().put.get(key) {
            return Ok(FetchResponse { value: value.clone().into(), version: *version, took_ms: 0 });
        }
        let version = *self.version.lock().unwrap();
        match key.split('-').next() {
            Some("missing" | "absent") => Err(Status::not_found("no such row")),
            Some("failing") => Err(Status::unavailable("the database is away")),
            Some("refused") => {
                let mut refused = status(Code::ResourceExhausted, ErrorSource::Origin, "too many at once");
                set_pushback(&mut refused, Duration::from_millis(1_234));
                Err(refused)
            }
            _ => Ok(FetchResponse { value: format!("{key}@{version}").into(), version, took_ms: 0 }),
        }
    }
}

#[tonic::async_trait]
impl Origin for FakeOrigin {
    async fn fetch(&self, request: Request<FetchRequest>) -> Result<Response<FetchResponse>, Status> {
        let trace = request.metadata().get("traceparent").and_then(|trace| trace.to_str().ok());
        self.traces.lock().unwrap().push(trace.unwrap_or_default().to_owned());
        let request = request.into_inner();
        let row = self.row(&request.key);
        self.asked.send_modify(|asked| asked.push(request));
        let mut open = self.open.subscribe();
        open.wait_for(|open| *open).await.map_err(|_| Status::internal("the test ended"))?;
        row.map(Response::new)
    }

    async fn put(&self, request: Request<PutRowRequest>) -> Result<Response<PutRowResponse>, Status> {
        let PutRowRequest { key, value } = request.into_inner();
        if key.starts_with("failing") {
            return Err(Status::unavailable("the database is away"));
        }
        let version = {
            let mut rows = self.rows.lock().unwrap();
            let version = rows.put.get(&key).map_or(1, |(version, _)| version + 1);
            rows.put.insert(key, (version, value));
            version
        };
        let mut open = self.puts_open.subscribe();
        open.wait_for(|open| *open).await.map_err(|_| Status::internal("the test ended"))?;
        Ok(Response::new(PutRowResponse { version }))
    }

    type KeysStream = tokio_stream::Iter<std::vec::IntoIter<Result<KeysResponse, Status>>>;

    async fn keys(&self, _: Request<KeysRequest>) -> Result<Response<Self::KeysStream>, Status> {
        let mut rows = self.rows.lock().unwrap();
        rows.loads += 1;
        let keys: Vec<_> = rows.keys.iter().chain(rows.put.keys()).cloned().collect();
        // In several chunks, as in life.
        let chunks: Vec<_> = keys.chunks(2).map(|keys| Ok(KeysResponse { keys: keys.to_vec() })).collect();
        Ok(Response::new(tokio_stream::iter(chunks)))
    }
}
