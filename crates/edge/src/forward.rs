//! The way of a request through the edge: its form, admission, deadline, routing, the call, and what its failure says.
//!
//! - `routed`: the requests that go to one node, and their limits.
//! - `writes`: the store's record, passed through from a node.

mod routed;
mod writes;

pub(crate) use routed::{Routed, VALUE_BYTES_MAX};
pub(crate) use writes::Writes;

use crate::fleet::Fleet;
use crate::metrics::{EdgeMetrics, EjectionReason};
use crate::node::{InFlight, Node};
use herd_service::gate::{Gate, GateMetrics, Limits, NotAdmitted};
use herd_service::rpc::{self, CallFailure, Deadline};
use herd_service::trace::TraceContext;
use herd_wire::error::{ErrorSource, status};
use herd_wire::v1::{GetRequest, GetResponse};
use std::sync::Arc;
use std::time::{Duration, Instant};
use tonic::metadata::MetadataValue;
use tonic::{Code, Request, Status};

/// Metadata key and HTTP header that carry the reference id of an error, and of every HTTP answer.
pub const REFERENCE_HEADER: &str = "herd-reference";

/// What is kept back of the caller's time, at most, for the answer's way home.
const RESERVE_MAX: Duration = Duration::from_millis(5);

/// A client that hangs up on a silent node after this long makes the node suspect, as a deadline does.
const PATIENCE_WITH_SILENCE: Duration = Duration::from_millis(250);

/// Readers of the store's record at once. They are the laboratory's and pass by the gate: what a run was must be readable
/// also while its load is being refused.
const READERS_MAX: u32 = 16;

pub(crate) struct Forwarder {
    pub(crate) fleet: Arc<Fleet>,
    pub(crate) metrics: Arc<EdgeMetrics>,
    pub(crate) default_deadline: Duration,
    gate: Gate,
    readers: Gate,
}

impl Forwarder {
    pub(crate) fn new(
        fleet: Arc<Fleet>,
        gate: Gate,
        metrics: Arc<EdgeMetrics>,
        default_deadline: Duration,
    ) -> Self {
        let readers = Gate::new(Limits::without_queue(READERS_MAX), GateMetrics::default());
        Self { fleet, metrics, default_deadline, gate, readers }
    }

    /// Gets a value. The answer's reference is the trace of `context`, as is that of an error.
    pub(crate) async fn get(
        &self,
        key: String,
        budget: Duration,
        context: &TraceContext,
    ) -> Result<GetResponse, Status> {
        let mut answer = self.pass(GetRequest { key }, budget, context).await?;
        if answer.reference.is_empty() {
            answer.reference = context.trace_id();
        }
        Ok(answer)
    }

    /// Passes a request on to a node, and its answer back.
    pub(crate) async fn pass<M: Routed>(
        &self,
        message: M,
        budget: Duration,
        context: &TraceContext,
    ) -> Result<M::Answer, Status> {
        let unanswered = self.metrics.begin(M::METHOD, context);
        let result = self.admitted(message, deadline_within(budget), context).await;
        // What the client is told: until then a call that timed out is a cancelled one.
        let result = result.map_err(|error| with_reference(error, context));
        let code = result.as_ref().map_or_else(Status::code, |_| Code::Ok);
        unanswered.answered(code, M::is_kept(&result));
        result
    }

    async fn admitted<M: Routed>(
        &self,
        message: M,
        deadline: Deadline,
        context: &TraceContext,
    ) -> Result<M::Answer, Status> {
        // First: who asks for nonsense need not wait for the answer.
        message.check().map_err(|why| status(Code::InvalidArgument, ErrorSource::Client, why))?;
        let _place = self.gate.enter(deadline.instant()).await.map_err(not_admitted)?;
        self.reach(message, deadline, context).await.map(|(_, answer)| answer)
    }

    /// Asks the node that routing picks. If it cannot be reached the request never left, and another node may have it, once.
    async fn reach<M: Routed>(
        &self,
        message: M,
        deadline: Deadline,
        context: &TraceContext,
    ) -> Result<(Arc<Node>, M::Answer), Status> {
        let Some(first) = self.fleet.pick(message.key(), None) else {
            return Err(status(Code::Unavailable, ErrorSource::Peer, "no cache node has joined the fleet"));
        };
        let error = match self.call(&first, message.clone(), deadline, context).await {
            Ok(answer) => return Ok((first, answer)),
            Err(error) => error,
        };
        if CallFailure::of(&error) != CallFailure::Unreachable {
            return Err(error);
        }
        let Some(second) = self.fleet.pick(message.key(), Some(&first)) else { return Err(error) };
        self.metrics.second_tries.inc();
        let answer = self.call(&second, message, deadline, context).await?;
        Ok((second, answer))
    }

    /// One call to one node. A failure says whether the node is fit for more.
    async fn call<M: Routed>(
        &self,
        node: &Arc<Node>,
        message: M,
        deadline: Deadline,
        context: &TraceContext,
    ) -> Result<M::Answer, Status> {
        let sent = Instant::now();
        let mut request = Request::new(message);
        deadline.apply(&mut request).map_err(|expired| *expired)?;
        context.inject(request.metadata_mut());
        let mut under_way =
            UnderWay { forwarder: self, node, sent, settled: false, _in_flight: node.begin() };
        // The outer limit also covers the wait for a connection, where the call itself has no timer yet.
        let result =
            tokio::time::timeout_at(deadline.instant().into(), M::send(node.client(), request)).await;
        under_way.settled = true;
        match result {
            Ok(Ok(answer)) => {
                node.answered(Instant::now());
                Ok(answer.into_inner())
            }
            Ok(Err(error)) => {
                self.judge(node, &error, sent);
                Err(error)
            }
            Err(_) => {
                self.timed_out(node, sent);
                Err(status(Code::DeadlineExceeded, ErrorSource::Peer, "no answer before the deadline"))
            }
        }
    }

    /// Notes what the failure of a call that was sent to a node at `sent` says of the node.
    fn judge(&self, node: &Arc<Node>, error: &Status, sent: Instant) {
        match CallFailure::of(error) {
            CallFailure::Answered => node.answered(Instant::now()),
            CallFailure::TimedOut => self.timed_out(node, sent),
            CallFailure::Unreachable => self.fleet.eject(node, EjectionReason::Unreachable),
            CallFailure::Broken => self.fleet.eject(node, EjectionReason::Broken),
        }
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

/// The deadline of a request, with a reserve for its answer.
fn deadline_within(budget: Duration) -> Deadline {
    Deadline::after(budget.saturating_sub(RESERVE_MAX.min(budget / 10)))
}

fn not_admitted(why: NotAdmitted) -> Status {
    match why {
        NotAdmitted::Refused(refused) => refused.status(ErrorSource::Peer),
        NotAdmitted::DeadlinePassed => status(Code::DeadlineExceeded, ErrorSource::Peer, why.to_string()),
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
