//! The lock service and the origin, as the core sees them: one call in, one outcome out, never later than its deadline.

use crate::errors::peer_failure;
use crate::value::{Maker, Value};
use herd_policy::{
    Cause, Config, Failure, FetchOutcome, HolderEnd, HolderFailure, Lease, LeaseOutcome, Reason, RenewOutcome,
};
use herd_service::rpc::PeerUrl;
use herd_service::trace::conventions::{rpc_ended, rpc_to};
use herd_service::trace::{Span, TraceContext};
use herd_wire::error::ErrorSource;
use herd_wire::v1;
use herd_wire::v1::acquire_response::Outcome;
use herd_wire::v1::lock_service_client::LockServiceClient;
use herd_wire::v1::origin_client::OriginClient;
use std::error::Error as _;
use std::sync::Arc;
use std::time::Duration;
use tonic::transport::Channel;
use tonic::{Code, Request, Status};

/// How long a release may take. It is not waited for; the lease ends by itself at its expiry.
const RELEASE_MAX: Duration = Duration::from_secs(1);

/// How often a lock service that lets a caller wait is asked whether it is still there, and how long it may take to say so.
const PROBE_EVERY: Duration = Duration::from_millis(500);
const PROBE_ANSWER: Duration = Duration::from_secs(1);

/// Instance names are cut to this many bytes in a lease's owner, which has room for 128.
const INSTANCE_BYTES_MAX: usize = 64;

/// What is said of a failure is cut to this many bytes.
const MESSAGE_BYTES_MAX: usize = 256;

/// The fleet's locks.
#[derive(Clone, Debug)]
pub struct Locks {
    client: LockServiceClient<Channel>,
    process: Arc<str>,
    server: Option<PeerUrl>,
}

impl Locks {
    /// Leases are asked for in the name of this process: `<instance>/<number drawn now>/<flight>.<attempt>`, so that neither
    /// another process nor an earlier life of this one is taken for the owner.
    #[must_use]
    pub fn new(channel: Channel, instance: &str) -> Self {
        let short = instance.get(..INSTANCE_BYTES_MAX).unwrap_or(instance);
        let process = format!("{short}/{:016x}", rand::random::<u64>()).into();
        Self { client: LockServiceClient::new(channel), process, server: None }
    }

    /// The same, with the address under which spans name it.
    #[must_use]
    pub fn named(self, server: PeerUrl) -> Self {
        Self { server: Some(server), ..self }
    }

    fn owner(&self, owner: herd_policy::Owner) -> String {
        format!("{}/{owner}", self.process)
    }

    /// Asks for the lease of `name`, waiting up to `wait` in the service. `volatile_token` is the known-bad strategy of
    /// [`LockConfig::volatile_tokens`](herd_policy::LockConfig::volatile_tokens).
    pub async fn acquire(
        &self,
        name: &str,
        owner: herd_policy::Owner,
        (expiry, wait): (Duration, Duration),
        volatile_token: bool,
        call: Call,
    ) -> LeaseOutcome {
        let request = v1::AcquireRequest {
            name: name.to_owned(),
            owner: self.owner(owner),
            expiry_ms: millis(expiry),
            wait_ms: millis(wait),
            volatile_token,
        };
        let (mut client, mut prober) = (self.client.clone(), self.client.clone());
        let asking = async {
            tokio::select! {
                answer = client.acquire(call.request(&self.server, request)) => answer,
                silent = silence(&mut prober, name) => Err(silent),
            }
        };
        match call.limit(asking).await.map(|answer| answer.outcome) {
            Ok(Some(Outcome::Granted(grant))) => {
                LeaseOutcome::Granted(Lease { token: grant.token, epoch: grant.epoch })
            }
            Ok(Some(Outcome::HolderDone(_))) => LeaseOutcome::HolderDone,
            Ok(Some(Outcome::HolderFailed(told))) => LeaseOutcome::HolderFailed(holder_failure(&told)),
            Ok(Some(Outcome::WaitTimeout(_))) => LeaseOutcome::WaitTimeout,
            Ok(None) => {
                let error = Status::internal("the lock service answered without an outcome");
                call.span.fail("malformed", error.message().to_owned());
                LeaseOutcome::Unknown(peer_failure(error, ErrorSource::Lock))
            }
            Err(error) if surely_not_applied(&error) => {
                LeaseOutcome::Unavailable(peer_failure(error, ErrorSource::Lock))
            }
            Err(error) => LeaseOutcome::Unknown(peer_failure(error, ErrorSource::Lock)),
        }
    }

    /// Extends a lease.
    pub async fn renew(
        &self,
        name: &str,
        owner: herd_policy::Owner,
        lease: Lease,
        expiry: Duration,
        call: Call,
    ) -> RenewOutcome {
        let request = v1::RenewRequest {
            name: name.to_owned(),
            owner: self.owner(owner),
            token: lease.token,
            expiry_ms: millis(expiry),
        };
        match call.limit(self.client.clone().renew(call.request(&self.server, request))).await {
            Ok(answer) if answer.held => RenewOutcome::Held,
            Ok(_) => RenewOutcome::Lost,
            Err(_) => RenewOutcome::Unavailable,
        }
    }

    /// Gives a lease back, and says how its holder ended. `unconditional` is the known-bad strategy of
    /// [`LockConfig::unconditional_release`](herd_policy::LockConfig::unconditional_release).
    ///
    /// # Errors
    /// The service did not answer in time. Nobody waits for it: the lease then ends at its expiry.
    pub async fn release(
        &self,
        name: &str,
        owner: herd_policy::Owner,
        end: &HolderEnd,
        unconditional: bool,
        trace: TraceContext,
        span: Span,
    ) -> Result<(), Status> {
        let call = Call { remaining: RELEASE_MAX, trace, span };
        let (name, owner) = (name.to_owned(), self.owner(owner));
        let request = v1::ReleaseRequest { name, owner, unconditional, ..wire_end(end) };
        call.limit(self.client.clone().release(call.request(&self.server, request))).await?;
        Ok(())
    }
}

/// Ends when the lock service says nothing at all any more. A call that waits for a lease is silent for as long as the holder
/// works; over a link that swallows everything, or before a process that is stopped, it would be for the whole wait. So the
/// service is asked something that it answers at once, again and again; that is what bounds how long a leader waits before
/// it fails open (or closed): [`PROBE_EVERY`] and [`PROBE_ANSWER`], 1.5 s. Nothing of it is remembered: at the next boundary
/// every leader waits so long again. Any answer will do, an error included.
async fn silence(client: &mut LockServiceClient<Channel>, name: &str) -> Status {
    loop {
        tokio::time::sleep(PROBE_EVERY).await;
        let probe = client.inspect(v1::InspectRequest { name: name.to_owned() });
        if tokio::time::timeout(PROBE_ANSWER, probe).await.is_err() {
            return Status::deadline_exceeded("it is silent");
        }
    }
}

/// The slow origin.
#[derive(Clone, Debug)]
pub struct Origin {
    client: OriginClient<Channel>,
    node: Arc<str>,
    server: Option<PeerUrl>,
}

/// What to ask the origin for.
#[derive(Clone, Debug)]
pub struct Wanted {
    /// The full cache key.
    pub cache_key: Arc<str>,
    /// The generation seen expired.
    pub generation: u64,
    /// Why this node asks.
    pub reason: Reason,
    /// The lease under which it asks.
    pub lease: Option<Lease>,
    /// The configuration of the flight.
    pub config: Arc<Config>,
}

impl Wanted {
    /// The row's key, without the prefix.
    #[must_use]
    pub fn row(&self) -> &str {
        self.cache_key.strip_prefix(&*self.config.key_prefix).unwrap_or(&self.cache_key)
    }
}

impl Origin {
    /// Asks in the name of the node `instance`.
    #[must_use]
    pub fn new(channel: Channel, instance: &Arc<str>) -> Self {
        Self { client: OriginClient::new(channel), node: instance.clone(), server: None }
    }

    /// The same, with the address under which spans name it.
    #[must_use]
    pub fn named(self, server: PeerUrl) -> Self {
        Self { server: Some(server), ..self }
    }

    /// Fetches a row. The value carries its `maker`, the rebuild that asked for it.
    pub async fn fetch(&self, wanted: &Wanted, maker: Maker, call: Call) -> Fetched {
        let (token, epoch) = wanted.lease.map_or((0, 0), |lease| (lease.token, lease.epoch));
        let request = v1::FetchRequest {
            key: wanted.row().to_owned(),
            cache_key: wanted.cache_key.as_ref().to_owned(),
            generation: wanted.generation,
            node: self.node.as_ref().to_owned(),
            reason: wire_reason(wanted.reason).into(),
            token,
            epoch,
            config_version: wanted.config.version,
        };
        let error = match call.limit(self.client.clone().fetch(call.request(&self.server, request))).await {
            Ok(row) => {
                let value = Value { body: row.value, version: row.version, age_ms: 0, maker };
                return Fetched { outcome: FetchOutcome::Fetched(value), pushback: None };
            }
            Err(error) => error,
        };
        let pushback = herd_wire::error::pushback(&error);
        let outcome = match error.code() {
            Code::NotFound => FetchOutcome::NotFound,
            _ => FetchOutcome::Failed(peer_failure(error, ErrorSource::Origin)),
        };
        Fetched { outcome, pushback }
    }

    /// Writes a row, and returns its new version.
    ///
    /// # Errors
    /// The origin's status. Unless [`surely_not_applied`], the row may have been written all the same.
    pub async fn put(&self, key: &str, value: Vec<u8>, call: Call) -> Result<u64, Status> {
        let request = v1::PutRowRequest { key: key.to_owned(), value };
        let answer = call.limit(self.client.clone().put(call.request(&self.server, request))).await;
        answer.map(|row| row.version)
    }

    /// Reads the keys of all rows, chunk by chunk, until `take` has enough (says false).
    ///
    /// # Errors
    /// The origin's status, or DEADLINE_EXCEEDED after `limit`.
    pub async fn keys(
        &self,
        limit: Duration,
        mut take: impl FnMut(Vec<String>) -> bool,
    ) -> Result<(), Status> {
        let call = Call { remaining: limit, trace: TraceContext::root(), span: Span::none() };
        let reading = async {
            let request = call.request(&self.server, v1::KeysRequest {});
            let mut chunks = self.client.clone().keys(request).await?.into_inner();
            while let Some(chunk) = chunks.message().await? {
                if !take(chunk.keys) {
                    break;
                }
            }
            Ok(tonic::Response::new(()))
        };
        call.limit(reading).await
    }
}

/// What became of a fetch.
#[derive(Debug)]
pub struct Fetched {
    /// What the core is told.
    pub outcome: FetchOutcome<Value>,
    /// How long the origin, refusing for load, said to wait before it is asked again.
    pub pushback: Option<Duration>,
}

/// The limits and the trace of one call.
#[derive(Debug)]
pub struct Call {
    /// What is left until its deadline.
    pub remaining: Duration,
    /// What it continues: a part of the rebuild on whose behalf it is made, or of the request.
    pub trace: TraceContext,
    /// Its own span, which is told whom it calls and how it ends.
    pub span: Span,
}

impl Call {
    fn request<T>(&self, to: &Option<PeerUrl>, message: T) -> Request<T> {
        if let Some(server) = to {
            rpc_to(&self.span, server);
        }
        let mut request = Request::new(message);
        request.set_timeout(self.remaining);
        self.trace.inject(request.metadata_mut());
        request
    }

    /// Ends the call here at its deadline, whatever the other side and the connection do.
    async fn limit<T>(
        &self,
        call: impl Future<Output = Result<tonic::Response<T>, Status>>,
    ) -> Result<T, Status> {
        let answer = tokio::time::timeout(self.remaining, call).await;
        let answer =
            answer.unwrap_or_else(|_| Err(Status::deadline_exceeded("no answer before the deadline")));
        rpc_ended(&self.span, false, answer.as_ref().err());
        Ok(answer?.into_inner())
    }
}

/// Whether the call never reached the service: it could not connect, or it refused the request by its form or its limits.
/// Whatever else went wrong, the lease may have been granted, the row may have been written.
#[must_use]
pub fn surely_not_applied(error: &Status) -> bool {
    if matches!(error.code(), Code::InvalidArgument | Code::ResourceExhausted | Code::Unimplemented) {
        return true;
    }
    let mut cause = error.source();
    while let Some(error) = cause {
        if error.is::<tonic::ConnectError>() {
            return true;
        }
        cause = error.source();
    }
    false
}

/// The part of a release that says how its holder ended.
fn wire_end(end: &HolderEnd) -> v1::ReleaseRequest {
    let of = |end: v1::HolderEnd| v1::ReleaseRequest { end: end.into(), ..v1::ReleaseRequest::default() };
    match end {
        HolderEnd::Abandoned => of(v1::HolderEnd::Abandoned),
        HolderEnd::ValueWritten => of(v1::HolderEnd::ValueWritten),
        &HolderEnd::Failed(HolderFailure::NoSuchRow { generation }) => {
            v1::ReleaseRequest { generation, ..of(v1::HolderEnd::NoSuchRow) }
        }
        HolderEnd::Failed(HolderFailure::Failed(failure)) => {
            let detail = &failure.detail;
            let message = detail[..detail.floor_char_boundary(MESSAGE_BYTES_MAX)].to_owned();
            let retryable = failure.retryable;
            v1::ReleaseRequest { retryable, message, ..of(v1::HolderEnd::Failed) }
        }
    }
}

/// What another node had from the origin, as if this one had asked. Of its kind it crosses only whether a retry makes
/// sense: the others see an origin that is away, or one that is broken.
fn holder_failure(told: &v1::HolderFailed) -> HolderFailure {
    let cause = if told.retryable { Cause::Unavailable } else { Cause::Internal };
    match told.end() {
        v1::HolderEnd::NoSuchRow => HolderFailure::NoSuchRow { generation: told.generation },
        _ => HolderFailure::Failed(Failure {
            cause,
            retryable: told.retryable,
            detail: told.message.as_str().into(),
        }),
    }
}

fn wire_reason(reason: Reason) -> v1::Reason {
    match reason {
        Reason::Uncoordinated => v1::Reason::Uncoordinated,
        Reason::FlightLeader => v1::Reason::FlightLeader,
        Reason::LeaseHolder => v1::Reason::LeaseHolder,
        Reason::FailOpen => v1::Reason::FailOpen,
        Reason::WaitTimeout => v1::Reason::WaitTimeout,
        Reason::Retry => v1::Reason::Retry,
        Reason::Refresh => v1::Reason::Refresh,
        Reason::Early => v1::Reason::Early,
        Reason::Warm => v1::Reason::Warm,
    }
}

fn millis(duration: Duration) -> u32 {
    u32::try_from(duration.as_millis()).unwrap_or(u32::MAX)
}
