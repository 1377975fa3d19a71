//! The way of a request through the edge: admission, key check, deadline, routing, the call, and what its failure says.

use crate::fleet::Fleet;
use crate::metrics::{EdgeMetrics, EjectionReason, Method};
use crate::node::{InFlight, Node};
use herd_service::rpc::{self, CallFailure, Deadline};
use herd_service::trace::TraceContext;
use herd_wire::error::{ErrorSource, status};
use herd_wire::key::check_key;
use herd_wire::v1::cache_node_client::CacheNodeClient;
use herd_wire::v1::{GetRequest, GetResponse, InvalidateRequest, InvalidateResponse};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};
use tonic::metadata::MetadataValue;
use tonic::transport::Channel;
use tonic::{Code, Request, Response, Status};

/// Metadata key and HTTP header that carry the reference id of an error, and of every HTTP answer.
pub const REFERENCE_HEADER: &str = "herd-reference";

/// What is kept back of the caller's time, at most, for the answer's way home.
const RESERVE_MAX: Duration = Duration::from_millis(5);

/// A client that hangs up on a silent node after this long makes the node suspect, as a deadline does.
const PATIENCE_WITH_SILENCE: Duration = Duration::from_millis(250);

pub(crate) struct Forwarder {
    pub(crate) fleet: Arc<Fleet>,
    pub(crate) metrics: Arc<EdgeMetrics>,
    pub(crate) default_deadline: Duration,
    in_flight: AtomicU32,
    in_flight_max: u32,
}

/// A request in flight at this edge.
struct Admitted<'a>(&'a Forwarder);

impl Drop for Admitted<'_> {
    fn drop(&mut self) {
        self.0.in_flight.fetch_sub(1, Ordering::Relaxed);
        self.0.metrics.in_flight.dec();
    }
}

impl Forwarder {
    pub(crate) fn new(
        fleet: Arc<Fleet>,
        metrics: Arc<EdgeMetrics>,
        default_deadline: Duration,
        in_flight_max: u32,
    ) -> Self {
        Self { fleet, metrics, default_deadline, in_flight: AtomicU32::new(0), in_flight_max }
    }

    /// Gets a value. The answer's reference is the trace of `context`, as is that of an error.
    pub(crate) async fn get(
        &self,
        key: String,
        budget: Duration,
        context: &TraceContext,
    ) -> Result<GetResponse, Status> {
        let send = async |mut client: CacheNodeClient<Channel>, request: Request<GetRequest>| {
            client.get(request).await
        };
        let message = GetRequest { key };
        let mut answer = self.run(Method::Get, message, budget, context, |m| &m.key, send).await?;
        if answer.reference.is_empty() {
            answer.reference = context.trace_id();
        }
        Ok(answer)
    }

    /// Deletes a key's value.
    pub(crate) async fn invalidate(
        &self,
        key: String,
        budget: Duration,
        context: &TraceContext,
    ) -> Result<InvalidateResponse, Status> {
        let send = async |mut client: CacheNodeClient<Channel>, request: Request<InvalidateRequest>| {
            client.invalidate(request).await
        };
        self.run(Method::Invalidate, InvalidateRequest { key }, budget, context, |m| &m.key, send).await
    }

    async fn run<M: Clone, A>(
        &self,
        method: Method,
        message: M,
        budget: Duration,
        context: &TraceContext,
        key_of: impl Fn(&M) -> &str,
        send: impl AsyncFn(CacheNodeClient<Channel>, Request<M>) -> Result<Response<A>, Status>,
    ) -> Result<A, Status> {
        let began = Instant::now();
        let deadline = Deadline::after(budget.saturating_sub(RESERVE_MAX.min(budget / 10)));
        let result = self.forward(message, deadline, began, context, key_of, send).await;
        let code = result.as_ref().map_or_else(Status::code, |_| Code::Ok);
        self.metrics.answered(method, code, began.elapsed());
        result.map_err(|error| with_reference(error, context))
    }

    async fn forward<M: Clone, A>(
        &self,
        message: M,
        deadline: Deadline,
        began: Instant,
        context: &TraceContext,
        key_of: impl Fn(&M) -> &str,
        send: impl AsyncFn(CacheNodeClient<Channel>, Request<M>) -> Result<Response<A>, Status>,
    ) -> Result<A, Status> {
        let _admitted = self.admit()?;
        let key = key_of(&message);
        check_key(key).map_err(|bad| status(Code::InvalidArgument, ErrorSource::Client, bad.to_string()))?;
        let Some(first) = self.fleet.pick(key, None) else {
            return Err(status(Code::Unavailable, ErrorSource::Peer, "no cache node has joined the fleet"));
        };
        let error = match self.call(&first, message.clone(), deadline, began, context, &send).await {
            Ok(answer) => return Ok(answer),
            Err(error) => error,
        };
        if CallFailure::of(&error) != CallFailure::Unreachable {
            return Err(error);
        }
        // The request never left: another node may have it, once.
        let Some(second) = self.fleet.pick(key_of(&message), Some(&first)) else { return Err(error) };
        self.metrics.second_tries.inc();
        self.call(&second, message, deadline, Instant::now(), context, &send).await
    }

    fn admit(&self) -> Result<Admitted<'_>, Status> {
        self.metrics.in_flight.inc();
        let before = self.in_flight.fetch_add(1, Ordering::Relaxed);
        let admitted = Admitted(self);
        if before < self.in_flight_max {
            return Ok(admitted);
        }
        let message = format!("{} requests are in flight, the most this edge allows", self.in_flight_max);
        Err(status(Code::ResourceExhausted, ErrorSource::Peer, message))
    }

    /// One call to one node. A failure says whether the node is fit for more.
    async fn call<M, A>(
        &self,
        node: &Arc<Node>,
        message: M,
        deadline: Deadline,
        sent: Instant,
        context: &TraceContext,
        send: &impl AsyncFn(CacheNodeClient<Channel>, Request<M>) -> Result<Response<A>, Status>,
    ) -> Result<A, Status> {
        let mut request = Request::new(message);
        deadline.apply(&mut request).map_err(|expired| *expired)?;
        context.inject(request.metadata_mut());
        let mut under_way =
            UnderWay { forwarder: self, node, sent, settled: false, _in_flight: node.begin() };
        // The outer limit also covers the wait for a connection, where the call itself has no timer yet.
        let result = tokio::time::timeout_at(deadline.instant().into(), send(node.client(), request)).await;
        under_way.settled = true;
        let error = match result {
            Ok(Ok(answer)) => {
                node.answered(Instant::now());
                return Ok(answer.into_inner());
            }
            Ok(Err(error)) => error,
            Err(_) => {
                self.timed_out(node, sent);
                return Err(status(
                    Code::DeadlineExceeded,
                    ErrorSource::Peer,
                    "no answer before the deadline",
                ));
            }
        };
        match CallFailure::of(&error) {
            CallFailure::Answered => node.answered(Instant::now()),
            CallFailure::TimedOut => self.timed_out(node, sent),
            CallFailure::Unreachable => self.fleet.eject(node, EjectionReason::Unreachable),
            CallFailure::Broken => self.fleet.eject(node, EjectionReason::Broken),
        }
        Err(error)
    }

    fn timed_out(&self, node: &Arc<Node>, sent: Instant) {
        if node.silent_since(sent) {
            self.fleet.eject(node, EjectionReason::Silent);
        }
    }
}

/// A call that has not ended. Dropped before its end, as its client hung up, it still says something: clients that never wait
/// for the deadline must not hide a hanging node.
struct UnderWay<'a> {
    forwarder: &'a Forwarder,
    node: &'a Arc<Node>,
    sent: Instant,
    settled: bool,
    _in_flight: InFlight,
}

impl Drop for UnderWay<'_> {
    fn drop(&mut self) {
        let hung_up = !self.settled && self.sent.elapsed() >= PATIENCE_WITH_SILENCE;
        // Without a runtime the process is ending, and who is ejected matters no more.
        if hung_up && tokio::runtime::Handle::try_current().is_ok() {
            self.forwarder.timed_out(self.node, self.sent);
        }
    }
}

/// Makes an error fit for the client: whose fault it is, and the reference id.
pub(crate) fn with_reference(error: Status, context: &TraceContext) -> Status {
    let mut error = rpc::peer_status(error, ErrorSource::Peer);
    if let Ok(reference) = MetadataValue::try_from(context.trace_id()) {
        error.metadata_mut().insert(REFERENCE_HEADER, reference);
    }
    error
}
