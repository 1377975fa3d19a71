//! Clients that send again what was refused.

use herd_experiment::load::{self, Live, LoadOutcome, LoadSpec};
use herd_history::{OperationRecord, Outcome};
use herd_scenario::{Retry, Workload};
use herd_wire::error::set_pushback;
use herd_wire::v1::{
    GetRequest, GetResponse, InvalidateRequest, InvalidateResponse, PutRequest, PutResponse, WarmRequest,
    WarmResponse, WritesRequest, WritesResponse,
    edge_server::{Edge, EdgeServer},
};
use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};
use tokio::net::TcpListener;
use tokio_stream::wrappers::{ReceiverStream, TcpListenerStream};
use tonic::{Code, Request, Response, Status};

/// Refuses the first `refuses` calls with this code.
#[derive(Clone)]
struct Refusing {
    calls: Arc<AtomicU64>,
    refuses: u64,
    code: Code,
    pushback: Option<Duration>,
}

#[tonic::async_trait]
impl Edge for Refusing {
    async fn get(&self, _: Request<GetRequest>) -> Result<Response<GetResponse>, Status> {
        if self.calls.fetch_add(1, Ordering::Relaxed) >= self.refuses {
            return Ok(Response::new(GetResponse::default()));
        }
        let mut refusal = Status::new(self.code, "full");
        if let Some(pushback) = self.pushback {
            set_pushback(&mut refusal, pushback);
        }
        Err(refusal)
    }

    async fn invalidate(
        &self,
        _: Request<InvalidateRequest>,
    ) -> Result<Response<InvalidateResponse>, Status> {
        Err(Status::unimplemented("not here"))
    }

    async fn put(&self, _: Request<PutRequest>) -> Result<Response<PutResponse>, Status> {
        Err(Status::unimplemented("not here"))
    }

    async fn warm(&self, _: Request<WarmRequest>) -> Result<Response<WarmResponse>, Status> {
        Err(Status::unimplemented("not here"))
    }

    type WritesStream = ReceiverStream<Result<WritesResponse, Status>>;

    async fn writes(&self, _: Request<WritesRequest>) -> Result<Response<Self::WritesStream>, Status> {
        Err(Status::unimplemented("not here"))
    }
}

/// An edge that refuses whatever comes.
fn full() -> Refusing {
    let calls = Arc::default();
    Refusing { calls, refuses: u64::MAX, code: Code::ResourceExhausted, pushback: None }
}

/// Drives 300 ms of about a thousand requests a second.
async fn drive(edge: &Refusing, retry: Retry, in_flight_max: usize) -> (LoadOutcome, Arc<Live>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let at = format!("http://{}", listener.local_addr().unwrap());
    let server = tonic::transport::Server::builder().add_service(EdgeServer::new(edge.clone()));
    let serving = tokio::spawn(server.serve_with_incoming(TcpListenerStream::new(listener)));
    let workload = Workload { retry, ..Workload::default() };
    let spec = LoadSpec { in_flight_max, ..LoadSpec::new(at, workload, 42, Duration::from_millis(300)) };
    let live = Arc::new(Live::default());
    let outcome = load::drive(spec, Arc::clone(&live)).await.unwrap();
    serving.abort();
    (outcome, live)
}

fn records(outcome: &LoadOutcome) -> Vec<OperationRecord> {
    outcome.operations.records().collect()
}

/// Every attempt reaches the edge and is counted; arrivals come when they would have come without.
#[tokio::test]
async fn attempts_are_counted_and_the_loop_stays_open() {
    let edge = full();
    let (outcome, live) = drive(&edge, Retry::Fixed { attempts: 3, backoff_ms: 20 }, 20_000).await;
    let drawn = Workload::default().arrivals(42).take_while(|arrival| arrival.at_us < 300_000).count() as u64;
    assert_eq!((outcome.record.offered, outcome.record.sent), (drawn, drawn));
    assert_eq!(edge.calls.load(Ordering::Relaxed), 3 * drawn);
    let records = records(&outcome);
    assert_eq!(records.len() as u64, drawn);
    for record in &records {
        assert_eq!((record.attempts, record.outcome), (3, Outcome::ResourceExhausted));
        assert!(record.done_us - record.sent_us >= 40_000, "two pauses lie between: {record:?}");
    }
    let now = live.look();
    assert_eq!((now.sent, now.again, now.in_flight, now.errors), (drawn, 2 * drawn, 0, drawn));
    // The lag is that of the first attempt; the histogram keeps three digits.
    let lag_us = records.iter().map(|record| record.sent_us - record.intended_us).max().unwrap();
    assert!(outcome.record.lag_max_us <= lag_us + lag_us / 500 + 1, "{:?}, not {lag_us}", outcome.record);
}

/// Who is refused at first and then answered has an answer, and its latency holds the wait.
#[tokio::test]
async fn a_second_attempt_may_be_answered() {
    let edge = Refusing { refuses: 50, ..full() };
    let retry = Retry::Exponential { attempts: 100, backoff_ms: 1, backoff_ms_max: 8 };
    let (outcome, _) = drive(&edge, retry, 20_000).await;
    let records = records(&outcome);
    assert!(records.iter().all(|record| record.outcome == Outcome::Answered));
    let again: u64 = records.iter().map(|record| u64::from(record.attempts) - 1).sum();
    assert_eq!(again, 50);
    assert_eq!(edge.calls.load(Ordering::Relaxed), outcome.record.sent + 50);
}

/// All clients together stay within the budget, however many are refused.
#[tokio::test]
async fn a_budget_bounds_the_sends() {
    let edge = full();
    let retry = Retry::Budget { attempts: 5, backoff_ms: 1, backoff_ms_max: 8, share: 0.1 };
    let (outcome, _) = drive(&edge, retry, 20_000).await;
    let (calls, sent) = (edge.calls.load(Ordering::Relaxed), outcome.record.sent);
    assert!(calls > sent && calls as f64 <= 1.1 * sent as f64, "{calls} sends of {sent} requests");
}

/// What cannot succeed is not sent again.
#[tokio::test]
async fn hopeless_requests_are_sent_once() {
    let edge = Refusing { code: Code::InvalidArgument, ..full() };
    let (outcome, _) = drive(&edge, Retry::Fixed { attempts: 9, backoff_ms: 1 }, 20_000).await;
    assert_eq!(edge.calls.load(Ordering::Relaxed), outcome.record.sent);
    assert!(records(&outcome).iter().all(|record| record.attempts == 1));
}

/// Who backs off waits as long as the refusal asks for; the rude client does not.
#[tokio::test]
async fn pushback_is_honoured_by_who_backs_off() {
    let edge = Refusing { pushback: Some(Duration::from_millis(120)), ..full() };
    let polite = Retry::Exponential { attempts: 2, backoff_ms: 1, backoff_ms_max: 1 };
    let (outcome, _) = drive(&edge, polite, 20_000).await;
    assert!(records(&outcome).iter().all(|record| record.done_us - record.sent_us >= 120_000));
    let (outcome, _) = drive(&edge, Retry::Fixed { attempts: 2, backoff_ms: 1 }, 20_000).await;
    let soonest = records(&outcome).iter().map(|record| record.done_us - record.sent_us).min().unwrap();
    assert!(soonest < 120_000, "the soonest came again within {soonest} us");
}

/// A request that waits to be sent again is under way: what does not fit beside it is counted as unsent.
#[tokio::test]
async fn who_waits_is_under_way() {
    let edge = full();
    let (outcome, live) = drive(&edge, Retry::Fixed { attempts: 2, backoff_ms: 150 }, 10).await;
    assert!(outcome.record.sent >= 10 && outcome.record.unsent > 0, "{:?}", outcome.record);
    assert_eq!(outcome.record.sent + outcome.record.unsent, outcome.record.offered);
    assert!(outcome.record.sent <= 30, "ten at once, each for 150 ms of the 300: {:?}", outcome.record);
    assert_eq!(live.look().in_flight, 0);
}
