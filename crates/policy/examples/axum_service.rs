//! A small web service in front of a slow origin, guarded by the core: everything that an embedding needs, in one file.
//!
//! ```text
//! cargo run -p herd-policy --example axum_service                  # listens on a free port of 127.0.0.1
//! cargo run -p herd-policy --example axum_service -- 8080          # or on this one: curl 127.0.0.1:8080/items/item-1
//! cargo run -p herd-policy --example axum_service -- --demo        # asks itself 200 times at once, says what came of it
//! ```
//!
//! The parts: a [`Store`] that remembers values past their TTL and compares before it writes, an [`Origin`] that is slow,
//! and between them the [`Driver`]. The driver owns a core, does what it asks for and tells it what came of that. There is
//! no lock service here, hence one rebuild a process; a fleet's driver answers `Acquire`, `Renew` and `Release` as well.

use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use herd_policy::{
    Action, Answer, Cause, Coalescing, Config, Core, Error, Failure, FetchOutcome, Life, Limits, LookupId,
    NegativeConfig, ReadOutcome, Refusal, StaleConfig, Time, WriteGuard, WriteOutcome,
};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Notify, oneshot};
use tokio::time::{Instant, sleep, sleep_until, timeout_at};

type Value = Arc<str>;

/// How long after its expiry a value may be served.
const GRACE: Duration = Duration::from_secs(60);

/// Rows from which on the store forgets.
const ROWS_MAX: usize = 10_000;

/// The cache. A real one is shared by the fleet; what counts is what it remembers of a key: a generation that only grows,
/// and the value together with its life, beyond the TTL for as long as it may be served stale.
///
/// From [`ROWS_MAX`] rows on it forgets those that nobody may be served any more, as a cache must: sentinels of random ids would fill
/// it otherwise. A forgotten row begins with generation 0 again, and whoever rebuilt it meanwhile is refused, which is safe.
#[derive(Default)]
struct Store(Mutex<HashMap<Arc<str>, Row>>);

struct Row {
    generation: u64,
    /// `None`: the sentinel of a row that does not exist.
    value: Option<Value>,
    written: Instant,
    ttl: Duration,
    rebuild_took: Duration,
}

impl Store {
    fn read(&self, key: &str) -> ReadOutcome<Value> {
        let rows = self.0.lock().expect("no one panics with the store in hand");
        // Without a filter of existing keys any key may exist.
        let Some(row) = rows.get(key) else { return ReadOutcome::Absent { generation: 0, may_exist: true } };
        let (generation, age) = (row.generation, row.written.elapsed());
        let life = Life { age, ttl: row.ttl, rebuild_took: row.rebuild_took };
        match &row.value {
            Some(value) if age < row.ttl => ReadOutcome::Fresh { value: value.clone(), generation, life },
            Some(value) => ReadOutcome::Expired { value: value.clone(), generation, life },
            None if age < row.ttl => ReadOutcome::Negative { generation },
            None => ReadOutcome::Absent { generation, may_exist: true },
        }
    }

    /// Takes what was rebuilt from `seen`, unless somebody wrote since.
    fn write(&self, key: &Arc<str>, guard: WriteGuard, seen: u64, row: Row) -> WriteOutcome {
        let mut rows = self.0.lock().expect("no one panics with the store in hand");
        let held = rows.get(key).map_or(0, |held| held.generation);
        if guard == WriteGuard::Fenced && held != seen {
            return WriteOutcome::Refused(Refusal::GenerationMoved);
        }
        if rows.len() >= ROWS_MAX {
            rows.retain(|_, row| row.written.elapsed() < row.ttl + GRACE);
        }
        let generation = held.max(seen) + 1;
        rows.insert(Arc::clone(key), Row { generation, ..row });
        WriteOutcome::Written { generation }
    }
}

/// What the cache stands in front of. It knows every row but those called `absent-*`, and counts how often it is asked.
#[derive(Clone)]
struct Origin {
    takes: Duration,
    calls: Arc<AtomicUsize>,
}

impl Origin {
    async fn fetch(self, row: String) -> Option<Value> {
        let call = self.calls.fetch_add(1, Ordering::Relaxed) + 1;
        sleep(self.takes).await;
        (!row.starts_with("absent-")).then(|| format!("{row}, as of call {call}").into())
    }
}

/// The core and those who wait for it. The lock is never held across an await.
struct Driver {
    guarded: Mutex<Guarded>,
    /// Something happened: the core's next timeout may be an earlier one.
    changed: Notify,
    started: Instant,
    store: Store,
    origin: Origin,
}

struct Guarded {
    core: Core<Value>,
    seats: HashMap<LookupId, oneshot::Sender<Result<Answer<Value>, Error>>>,
}

impl Driver {
    fn start(config: Config, origin: Origin) -> Arc<Self> {
        // The seed fixes jitter and early recomputation; a service draws it, or takes it from the clock.
        let core = Core::new(Arc::new(config), Limits::default(), 1);
        let driver = Arc::new(Driver {
            guarded: Mutex::new(Guarded { core, seats: HashMap::new() }),
            changed: Notify::new(),
            started: Instant::now(),
            store: Store::default(),
            origin,
        });
        tokio::spawn(Arc::clone(&driver).keep_time());
        driver
    }

    /// One request. Dropping the future cancels the lookup, and nothing else: the flight belongs to the core.
    async fn get(self: &Arc<Self>, row: &str, within: Duration) -> Result<Answer<Value>, Error> {
        let (seat, answer) = oneshot::channel();
        let lookup = {
            let mut guarded = self.guarded.lock().expect("the core does not panic");
            let key = format!("{}{row}", guarded.core.config().key_prefix);
            let now = self.now();
            let lookup = guarded.core.handle_lookup(now, key.into(), now + within);
            guarded.seats.insert(lookup, seat);
            self.drain(&mut guarded);
            lookup
        };
        let _leaving = Leaving { driver: self, lookup };
        answer.await.expect("every lookup is served once")
    }

    /// Tells the core what happened, then does what it says.
    fn tell(self: &Arc<Self>, what: impl FnOnce(&mut Core<Value>, Time)) {
        let mut guarded = self.guarded.lock().expect("the core does not panic");
        what(&mut guarded.core, self.now());
        self.drain(&mut guarded);
    }

    /// Serves whom the core serves, and starts a task for each operation: it outlives the request that caused it.
    fn drain(self: &Arc<Self>, guarded: &mut Guarded) {
        while let Some(action) = guarded.core.poll_action() {
            match action {
                Action::Serve(serve) => {
                    if let Some(seat) = guarded.seats.remove(&serve.lookup) {
                        // Whoever hung up just now does not mind.
                        let _ = seat.send(serve.result);
                    }
                }
                // Here a service ends the rebuild's span and counts its outcome.
                Action::Ended(_) => {}
                operation => drop(tokio::spawn(Arc::clone(self).perform(operation))),
            }
        }
        self.changed.notify_one();
    }

    /// One operation, answered once, by its deadline.
    async fn perform(self: Arc<Self>, operation: Action<Value>) {
        match operation {
            // In memory a look takes no time; a look at a real store is bounded by its deadline like the fetch below.
            Action::Read { op, key, .. } => {
                let found = self.store.read(&key);
                self.tell(|core, now| core.handle_read(now, op, found));
            }
            Action::Fetch { op, key, config, deadline, .. } => {
                let row = key.strip_prefix(&*config.key_prefix).unwrap_or(&key).to_owned();
                // A task of its own: should it panic, the core learns that the rebuild was lost.
                let work = tokio::spawn(self.origin.clone().fetch(row));
                let outcome = match timeout_at(self.at(deadline), work).await {
                    Ok(Ok(Some(value))) => FetchOutcome::Fetched(value),
                    Ok(Ok(None)) => FetchOutcome::NotFound,
                    Ok(Err(_)) => FetchOutcome::Lost,
                    Err(_) => FetchOutcome::Failed(Failure::retryable(Cause::DeadlineExceeded, "the origin")),
                };
                self.tell(|core, now| core.handle_fetched(now, op, outcome));
            }
            Action::Write { op, key, value, guard, generation, ttl, rebuild_took, .. } => {
                let row = Row { generation, value, written: Instant::now(), ttl, rebuild_took };
                let outcome = self.store.write(&key, guard, generation, row);
                self.tell(|core, now| core.handle_written(now, op, outcome));
            }
            other => unreachable!("{other:?}: without a lock configured the core asks for nothing else"),
        }
    }

    /// Calls the core whenever its next timeout comes.
    async fn keep_time(self: Arc<Self>) {
        loop {
            let next = self.guarded.lock().expect("the core does not panic").core.poll_timeout();
            match next {
                None => self.changed.notified().await,
                Some(next) => tokio::select! {
                    () = sleep_until(self.at(next)) => self.tell(|core, now| core.handle_timeout(now)),
                    () = self.changed.notified() => {}
                },
            }
        }
    }

    fn now(&self) -> Time {
        Time::from_micros(u64::try_from(self.started.elapsed().as_micros()).unwrap_or(u64::MAX))
    }

    /// Rounded up, so that the core is never called a little too early for ever.
    fn at(&self, time: Time) -> Instant {
        self.started + Duration::from_micros(time.as_micros() + 1)
    }
}

/// Cancels the lookup of a request that went away before it was served.
struct Leaving<'a> {
    driver: &'a Arc<Driver>,
    lookup: LookupId,
}

impl Drop for Leaving<'_> {
    fn drop(&mut self) {
        let Leaving { driver, lookup } = *self;
        let waits = driver.guarded.lock().expect("the core does not panic").seats.remove(&lookup).is_some();
        if waits {
            driver.tell(|core, now| core.handle_cancel(now, lookup));
        }
    }
}

async fn item(State(driver): State<Arc<Driver>>, Path(row): Path<String>) -> Response {
    match driver.get(&row, Duration::from_secs(5)).await {
        Ok(answer) => {
            ([("x-served", format!("{:?}", answer.served))], answer.value.to_string()).into_response()
        }
        Err(error @ Error::NotFound { .. }) => (StatusCode::NOT_FOUND, error.to_string()).into_response(),
        Err(error @ Error::Deadline) => (StatusCode::GATEWAY_TIMEOUT, error.to_string()).into_response(),
        Err(error) => {
            (StatusCode::SERVICE_UNAVAILABLE, [("retry-after", "1")], error.to_string()).into_response()
        }
    }
}

/// Serves `/items/{row}` until its caller is gone.
async fn serve(listener: TcpListener, driver: Arc<Driver>) -> std::io::Result<()> {
    let routes = axum::Router::new().route("/items/{row}", axum::routing::get(item)).with_state(driver);
    axum::serve(listener, routes).await
}

/// Single-flight with its second look, expired items served while they are refreshed, missing ones remembered.
fn config(coalescing: Coalescing, ttl: Duration) -> Config {
    let safe_keys = vec!["item-*".into()];
    Config {
        version: 1,
        key_prefix: "v1:".into(),
        ttl,
        coalescing,
        stale: Some(StaleConfig { grace: GRACE, while_revalidate: true, if_error: true, safe_keys }),
        negative: Some(NegativeConfig { ttl: Duration::from_secs(5) }),
        ..Config::default()
    }
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> std::io::Result<()> {
    let argument = std::env::args().nth(1).unwrap_or_else(|| "0".to_owned());
    if argument == "--demo" {
        for line in demo(200).await? {
            println!("{line}");
        }
        return Ok(());
    }
    let port: u16 = argument.parse().map_err(|_| std::io::Error::other("[PORT | --demo]"))?;
    let listener = TcpListener::bind(("127.0.0.1", port)).await?;
    println!("http://{}/items/item-1", listener.local_addr()?);
    let origin = Origin { takes: Duration::from_millis(500), calls: Arc::default() };
    serve(listener, Driver::start(config(Coalescing::SingleFlight, Duration::from_secs(10)), origin)).await
}

/// What one herd of requests for one key did to the origin.
struct Herd {
    name: &'static str,
    answered: usize,
    stale: usize,
    calls: usize,
}

impl std::fmt::Display for Herd {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Herd { name, answered, stale, calls } = self;
        write!(f, "{name:>27}: {answered} answers, of them stale: {stale}, calls to the origin: {calls}")
    }
}

/// The same herd three times: on a cold key without and with coalescing, then on the key that expired meanwhile.
async fn demo(requests: usize) -> std::io::Result<Vec<Herd>> {
    let ttl = Duration::from_secs(1);
    let mut herds = Vec::new();
    for (name, coalescing) in
        [("uncoordinated", Coalescing::Uncoordinated), ("single-flight", Coalescing::SingleFlight)]
    {
        let origin = Origin { takes: Duration::from_millis(300), calls: Arc::default() };
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let address = listener.local_addr()?;
        let service = tokio::spawn(serve(listener, Driver::start(config(coalescing, ttl), origin.clone())));
        herds.push(herd(name, address, requests, &origin).await?);
        if coalescing == Coalescing::SingleFlight {
            sleep(ttl).await;
            herds.push(herd("single-flight, just expired", address, requests, &origin).await?);
        }
        service.abort();
    }
    Ok(herds)
}

async fn herd(
    name: &'static str,
    address: std::net::SocketAddr,
    requests: usize,
    origin: &Origin,
) -> std::io::Result<Herd> {
    let before = origin.calls.load(Ordering::Relaxed);
    // All connections first: the herd is to arrive at once.
    let mut connections = Vec::new();
    for _ in 0..requests {
        connections.push(TcpStream::connect(address).await?);
    }
    let asking: Vec<_> = connections.into_iter().map(|stream| tokio::spawn(ask(stream))).collect();
    let mut herd = Herd { name, answered: 0, stale: 0, calls: 0 };
    for answer in asking {
        let answer = answer.await??;
        herd.answered += usize::from(answer.starts_with("HTTP/1.1 200"));
        herd.stale += usize::from(answer.contains("x-served: Stale"));
    }
    herd.calls = origin.calls.load(Ordering::Relaxed) - before;
    Ok(herd)
}

async fn ask(mut stream: TcpStream) -> std::io::Result<String> {
    stream.write_all(b"GET /items/item-1 HTTP/1.1\r\nhost: demo\r\nconnection: close\r\n\r\n").await?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await?;
    Ok(answer)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Goal: the demo shows what it is there for: everybody is answered; without coalescing the herd reaches the origin,
    /// with it one call does; and when the value expires nobody waits for that call.
    #[tokio::test]
    async fn the_demo_tells_the_layers_apart() {
        let herds = demo(200).await.expect("the service answers itself");
        let [alone, together, expired] = herds.as_slice() else { panic!("three herds") };
        assert!(herds.iter().all(|herd| herd.answered == 200));
        assert!(alone.calls > 1, "{alone}");
        assert_eq!((together.calls, together.stale), (1, 0), "{together}");
        assert!(expired.stale > 0 && expired.calls <= 1, "{expired}");
    }

    /// Goal: a missing row is a 404 that is remembered: the second request asks the origin for nothing.
    #[tokio::test]
    async fn a_missing_row_is_remembered() {
        let origin = Origin { takes: Duration::ZERO, calls: Arc::default() };
        let driver = Driver::start(config(Coalescing::SingleFlight, Duration::from_secs(1)), origin.clone());
        for _ in 0..2 {
            let error = driver.get("absent-1", Duration::from_secs(5)).await.expect_err("no such row");
            assert!(matches!(error, Error::NotFound { .. }), "{error}");
        }
        assert_eq!(origin.calls.load(Ordering::Relaxed), 1);
    }

    /// Goal: a request that goes away leaves nothing behind but the rebuild, which others then find.
    #[tokio::test]
    async fn a_request_that_goes_away_cancels_its_lookup() {
        let origin = Origin { takes: Duration::from_millis(50), calls: Arc::default() };
        let driver = Driver::start(config(Coalescing::SingleFlight, Duration::from_secs(60)), origin.clone());
        {
            let request = driver.get("item-1", Duration::from_secs(5));
            tokio::select! {
                biased;
                _ = request => panic!("served before it could be"),
                () = tokio::task::yield_now() => {}
            }
        }
        let lookups = driver.guarded.lock().expect("not poisoned").core.lookups();
        assert_eq!(lookups, 0, "cancelled");
        driver.get("item-1", Duration::from_secs(5)).await.expect("a value");
        assert_eq!(origin.calls.load(Ordering::Relaxed), 1);
    }
}
