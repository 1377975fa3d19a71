use herd_experiment::load::{self, Live, LoadError, LoadSpec};
use herd_history::{OperationRecord, Outcome, Served};
use herd_scenario::{ArrivalProcess, Popularity, Workload};
use herd_wire::absent;
use herd_wire::v1::{
    self, GetRequest, GetResponse, InvalidateRequest, InvalidateResponse, PutRequest, PutResponse,
    WarmRequest, WarmResponse, WritesRequest, WritesResponse,
    edge_server::{Edge, EdgeServer},
};
use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};
use tokio::{net::TcpListener, sync::Semaphore};
use tokio_stream::wrappers::{ReceiverStream, TcpListenerStream};
use tonic::{Request, Response, Status};

/// Answers once a permit is there; then gives one permit more to whoever comes next.
struct FakeEdge {
    calls: Arc<AtomicU64>,
    open_at: u64,
    gate: Arc<Semaphore>,
}

#[tonic::async_trait]
impl Edge for FakeEdge {
    async fn get(&self, request: Request<GetRequest>) -> Result<Response<GetResponse>, Status> {
        let call = self.calls.fetch_add(1, Ordering::Relaxed) + 1;
        if call == self.open_at {
            self.gate.add_permits(Semaphore::MAX_PERMITS / 2);
        }
        let _open = self.gate.acquire().await.map_err(|_| Status::internal("the gate is gone"))?;
        if request.into_inner().key == "item-2" {
            let mut absent = Status::not_found("no such row");
            absent::describe(&mut absent, v1::Served::Negative, "node-9", 5, 2);
            return Err(absent);
        }
        let served = [v1::Served::Hit, v1::Served::Led, v1::Served::HitLocal][call as usize % 3];
        Ok(Response::new(GetResponse {
            served: served.into(),
            generation: 1,
            node: format!("node-{}", call % 3),
            reference: "4bf92f3577b34da6a3ce929d0e0e4736".to_owned(),
            ..GetResponse::default()
        }))
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

/// Serves a fake edge that lets nobody through until `open_at` calls have come.
async fn edge(open_at: u64) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let at = listener.local_addr().unwrap();
    let fake = FakeEdge { calls: Arc::default(), open_at, gate: Arc::new(Semaphore::new(0)) };
    let server = tonic::transport::Server::builder().add_service(EdgeServer::new(fake));
    tokio::spawn(server.serve_with_incoming(TcpListenerStream::new(listener)));
    format!("http://{at}")
}

fn spec(edge: String, rate_per_s: u32, window_ms: u64, request_deadline_ms: u32) -> LoadSpec {
    let workload = Workload {
        keys: 2,
        popularity: Popularity::Uniform,
        rate_per_s,
        arrivals: ArrivalProcess::Poisson,
        boundaries: 1,
        request_deadline_ms,
        ..Workload::default()
    };
    LoadSpec::new(edge, workload, 42, Duration::from_millis(window_ms))
}

/// Every arrival of the window is sent once and recorded once, with what the answer said.
#[tokio::test]
async fn every_arrival_is_sent_and_recorded() {
    let spec = spec(edge(1).await, 1_000, 500, 5_000);
    let drawn: Vec<_> = spec.workload.arrivals(42).take_while(|arrival| arrival.at_us < 500_000).collect();
    let outcome = load::drive(spec, Arc::new(Live::default())).await.unwrap();
    assert_eq!(outcome.record.offered, drawn.len() as u64);
    assert_eq!((outcome.record.sent, outcome.record.unsent), (outcome.record.offered, 0));
    assert_eq!(outcome.latency_us.len(), outcome.record.sent);
    assert_eq!(outcome.window_end_us - outcome.window_start_us, 500_000);
    let mut records: Vec<OperationRecord> = outcome.operations.records().collect();
    records.sort_by_key(|record| record.seq);
    for (record, arrival) in records.iter().zip(&drawn) {
        assert_eq!(record.seq, arrival.seq);
        assert_eq!(record.intended_us, outcome.window_start_us + arrival.at_us);
        assert!(record.intended_us <= record.sent_us && record.sent_us <= record.done_us);
        match record.key.as_str() {
            "item-2" => {
                assert_eq!((record.outcome, record.error.as_str()), (Outcome::NotFound, "no such row"));
                assert_eq!((record.served, record.node.as_str()), (Served::Negative, "node-9"));
                assert_eq!((record.config_version, record.generation), (5, 2));
            }
            _ => assert_eq!(record.outcome, Outcome::Answered),
        }
        // Plain hits are many, and nobody asks for their traces.
        assert_eq!(record.reference.is_empty(), record.served != Served::Led);
    }
    assert_eq!(records.len(), drawn.len());
}

/// The loop is open: arrivals do not wait for answers. A generator that waited would never reach the call that opens the
/// gate. And what waited behind the gate shows in the latency.
#[tokio::test]
async fn arrivals_do_not_wait_for_answers() {
    let outcome =
        load::drive(spec(edge(300).await, 1_000, 500, 10_000), Arc::new(Live::default())).await.unwrap();
    assert!(outcome.record.sent > 300, "the seed draws about 500");
    assert!(outcome.operations.records().all(|record| record.outcome != Outcome::DeadlineExceeded));
    // The first arrivals were held for about 300 ms by the gate.
    assert!(outcome.latency_us.max() > 200_000, "longest {} us", outcome.latency_us.max());
}

/// What cannot be sent is counted, never silently left out or sent late; what is stuck ends at its deadline.
#[tokio::test]
async fn the_bound_in_flight_counts_what_it_refuses() {
    let spec = LoadSpec { in_flight_max: 10, ..spec(edge(u64::MAX).await, 500, 300, 200) };
    let live = Arc::new(Live::default());
    let outcome = load::drive(spec, Arc::clone(&live)).await.unwrap();
    let record = &outcome.record;
    assert!(record.unsent > 0);
    assert_eq!(record.sent + record.unsent, record.offered);
    assert!(outcome.operations.records().all(|record| record.outcome == Outcome::DeadlineExceeded));
    let now = live.look();
    assert_eq!((now.sent, now.unsent, now.in_flight), (record.sent, record.unsent, 0));
    assert_eq!(now.errors, record.sent);
}

/// A load that nobody records counts the same and keeps nothing.
#[tokio::test]
async fn what_is_not_kept_is_counted() {
    let spec = LoadSpec { keep_operations: false, ..spec(edge(1).await, 1_000, 200, 5_000) };
    let outcome = load::drive(spec, Arc::new(Live::default())).await.unwrap();
    assert!(outcome.record.sent > 0 && outcome.record.sent == outcome.record.offered);
    assert_eq!(outcome.latency_us.len(), outcome.record.sent);
    assert!(outcome.operations.is_empty());
}

/// Without an edge there is an error that names it, at once.
#[tokio::test]
async fn no_edge_is_an_error() {
    let free = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    let error = load::drive(spec(format!("http://{free}"), 10, 100, 100), Arc::new(Live::default()))
        .await
        .unwrap_err();
    assert!(
        matches!(&error, LoadError::Connect { edge, .. } if edge.contains(&free.to_string())),
        "{error:?}"
    );
}
