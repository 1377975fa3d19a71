//! The store's record of writes, passed through from a node part by part: the edge holds one part at a time, and none for
//! longer than the deadline.

use super::{Forwarder, deadline_within, not_admitted, with_reference};
use crate::metrics::Method;
use crate::node::{InFlight, Node};
use herd_service::gate::Place;
use herd_service::rpc::Deadline;
use herd_service::trace::TraceContext;
use herd_wire::error::{ErrorSource, status};
use herd_wire::v1::{WritesRequest, WritesResponse};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::{Duration, Instant};
use tokio::time::Sleep;
use tokio_stream::Stream;
use tonic::{Code, Status, Streaming};

impl Forwarder {
    /// Has a node read the store's record.
    pub(crate) async fn writes(
        self: &Arc<Self>,
        message: WritesRequest,
        budget: Duration,
        context: TraceContext,
    ) -> Result<Writes, Status> {
        let unanswered = self.metrics.begin(Method::Writes, &context);
        match self.open_writes(message, deadline_within(budget), &context).await {
            Ok((node, parts, deadline, place)) => {
                let began = unanswered.handed_on();
                Ok(Writes {
                    parts,
                    deadline: Box::pin(tokio::time::sleep_until(deadline.instant().into())),
                    forwarder: self.clone(),
                    context,
                    began,
                    ended: false,
                    _in_flight: node.begin(),
                    node,
                    _place: place,
                })
            }
            Err(error) => {
                let error = with_reference(error, &context);
                unanswered.answered(error.code(), true);
                Err(error)
            }
        }
    }

    async fn open_writes(
        self: &Arc<Self>,
        message: WritesRequest,
        deadline: Deadline,
        context: &TraceContext,
    ) -> Result<Opened, Status> {
        use super::Routed as _;
        message.check().map_err(|why| status(Code::InvalidArgument, ErrorSource::Client, why))?;
        let place = self.readers.enter(deadline.instant()).await.map_err(not_admitted)?;
        let (node, parts) = self.reach(message, deadline, context).await?;
        Ok((node, parts, deadline, place))
    }
}

/// A record that a node begins to send, until when, and the reader's place.
type Opened = (Arc<Node>, Streaming<WritesResponse>, Deadline, Place);

/// The record on its way.
pub(crate) struct Writes {
    parts: Streaming<WritesResponse>,
    deadline: Pin<Box<Sleep>>,
    forwarder: Arc<Forwarder>,
    context: TraceContext,
    began: Instant,
    ended: bool,
    _in_flight: InFlight,
    node: Arc<Node>,
    _place: Place,
}

impl Writes {
    fn end(&mut self, code: Code) {
        self.ended = true;
        let (took, failed) = (self.began.elapsed(), code != Code::Ok);
        self.forwarder.metrics.answered(Method::Writes, code, took, &self.context, failed);
    }

    fn fail(&mut self, error: Status) -> Status {
        let error = with_reference(error, &self.context);
        self.end(error.code());
        error
    }
}

impl Stream for Writes {
    type Item = Result<WritesResponse, Status>;

    fn poll_next(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let this = self.get_mut();
        if this.ended {
            return Poll::Ready(None);
        }
        // First: a reader that takes its time does not outlast its deadline either. It says nothing of the node.
        if this.deadline.as_mut().poll(cx).is_ready() {
            let late =
                status(Code::DeadlineExceeded, ErrorSource::Peer, "the deadline passed amid the record");
            return Poll::Ready(Some(Err(this.fail(late))));
        }
        match ready!(Pin::new(&mut this.parts).poll_next(cx)) {
            Some(Ok(part)) => {
                this.node.answered(Instant::now());
                Poll::Ready(Some(Ok(part)))
            }
            Some(Err(error)) => {
                this.forwarder.judge(&this.node, &error, this.began);
                Poll::Ready(Some(Err(this.fail(error))))
            }
            None => {
                this.end(Code::Ok);
                Poll::Ready(None)
            }
        }
    }
}

impl Drop for Writes {
    fn drop(&mut self) {
        if !self.ended {
            self.end(Code::Cancelled);
        }
    }
}
