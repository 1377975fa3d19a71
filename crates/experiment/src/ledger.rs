//! The origin's laboratory side: its latency, gate and failures, and its ledger, which is the ground truth of every run.

mod follow;

pub use follow::{OpenRebuilds, Rebuild, UnderWay};

use herd_history::{Ended, FetchOutcome, LedgerJoiner, LedgerRow, LedgerSpan, Reason};
use herd_wire::v1::{
    self, DeleteRowsRequest, Failures, GetLatencyRequest, KeysRequest, Latency, LedgerEvent, OriginGate,
    PutRowRequest, ReadLedgerRequest, Stuck, ledger_event::Kind, origin_admin_client::OriginAdminClient,
    origin_client::OriginClient,
};
use std::time::{Duration, Instant};
use tonic::{
    Request, Status,
    transport::{Channel, Endpoint},
};

/// Deadline of short calls.
const CALL_LIMIT: Duration = Duration::from_secs(5);
/// Deadline of reading a span of the ledger.
const READ_LIMIT: Duration = Duration::from_secs(60);
/// Pause between looks for rebuilds that are still open.
const LOOK_PAUSE: Duration = Duration::from_millis(100);
/// The largest batch of events that is accepted, bytes.
const BATCH_BYTES_MAX: usize = 32 << 20;

/// Why the origin could not be asked.
#[derive(Debug, thiserror::Error)]
pub enum LedgerError {
    /// The address is not one.
    #[error("{origin} is not an address of an origin")]
    Address {
        /// the address given
        origin: String,
        /// what is wrong with it
        #[source]
        source: tonic::transport::Error,
    },
    /// The origin refused or did not answer in time.
    #[error("{doing} failed: {} ({:?})", status.message(), status.code())]
    Call {
        /// what was asked
        doing: &'static str,
        /// the answer
        status: Box<Status>,
    },
}

/// A connection to the origin's laboratory side. Connects when first used.
#[derive(Clone, Debug)]
pub struct OriginLab {
    client: OriginAdminClient<Channel>,
    rows: OriginClient<Channel>,
}

impl OriginLab {
    /// Prepares a connection to `http://host:port`.
    ///
    /// # Errors
    /// [`LedgerError::Address`].
    pub fn new(origin: &str) -> Result<Self, LedgerError> {
        let endpoint = Endpoint::from_shared(origin.to_owned())
            .map_err(|source| LedgerError::Address { origin: origin.to_owned(), source })?
            .connect_timeout(CALL_LIMIT)
            .tcp_nodelay(true);
        let channel = endpoint.connect_lazy();
        let rows = OriginClient::new(channel.clone()).max_decoding_message_size(BATCH_BYTES_MAX);
        let client = OriginAdminClient::new(channel).max_decoding_message_size(BATCH_BYTES_MAX);
        Ok(Self { client, rows })
    }

    /// Sets the latency of every query from now on; returns what the origin took.
    ///
    /// # Errors
    /// [`LedgerError::Call`].
    pub async fn set_latency(&mut self, latency: Latency) -> Result<Latency, LedgerError> {
        let mut request = Request::new(latency);
        request.set_timeout(CALL_LIMIT);
        bounded("setting the origin's latency", CALL_LIMIT, self.client.set_latency(request)).await
    }

    /// Sets the overload gate from now on; returns what the origin took.
    ///
    /// # Errors
    /// [`LedgerError::Call`].
    pub async fn set_gate(&mut self, gate: OriginGate) -> Result<OriginGate, LedgerError> {
        let mut request = Request::new(gate);
        request.set_timeout(CALL_LIMIT);
        bounded("setting the origin's gate", CALL_LIMIT, self.client.set_gate(request)).await
    }

    /// Makes a share of the fetches, 0 to 1, fail for so many milliseconds from now on (0: none from now on); returns what
    /// the origin took.
    ///
    /// # Errors
    /// [`LedgerError::Call`].
    pub async fn set_failures(&mut self, share: f64, for_ms: u32) -> Result<Failures, LedgerError> {
        let mut request = Request::new(Failures { share, for_ms });
        request.set_timeout(CALL_LIMIT);
        bounded("setting the origin's failures", CALL_LIMIT, self.client.set_failures(request)).await
    }

    /// Makes the next `queries` fetches hang for so many milliseconds each, with their connections of the pool; 0 lets go those
    /// that hang. The answer says how many hang now.
    ///
    /// # Errors
    /// [`LedgerError::Call`].
    pub async fn set_stuck(&mut self, queries: u32, for_ms: u32) -> Result<Stuck, LedgerError> {
        let mut request = Request::new(Stuck { queries, for_ms, hang_now: 0 });
        request.set_timeout(CALL_LIMIT);
        bounded("making the origin's queries hang", CALL_LIMIT, self.client.set_stuck(request)).await
    }

    /// Writes a row, behind the back of every cache; its new version.
    ///
    /// # Errors
    /// [`LedgerError::Call`].
    pub async fn put_row(&mut self, key: String, value: Vec<u8>) -> Result<u64, LedgerError> {
        let mut request = Request::new(PutRowRequest { key, value });
        request.set_timeout(CALL_LIMIT);
        Ok(bounded("writing a row", CALL_LIMIT, self.client.put_row(request)).await?.version)
    }

    /// Whether it answers at all, within `limit`.
    ///
    /// # Errors
    /// [`LedgerError::Call`].
    pub async fn answers(&mut self, limit: Duration) -> Result<(), LedgerError> {
        let mut request = Request::new(GetLatencyRequest {});
        request.set_timeout(limit);
        bounded("asking the origin", limit, self.client.get_latency(request)).await.map(drop)
    }

    /// Whether it reaches its rows, within `limit`: it has to read some of the database for that.
    ///
    /// # Errors
    /// [`LedgerError::Call`].
    pub async fn reaches_rows(&mut self, limit: Duration) -> Result<(), LedgerError> {
        let mut request = Request::new(KeysRequest {});
        request.set_timeout(limit);
        let first = async {
            let mut keys = self.rows.keys(request).await?.into_inner();
            keys.message().await.map(tonic::Response::new)
        };
        bounded("reading rows", limit, first).await.map(drop)
    }

    /// The sequence number that the next event will have at the earliest.
    ///
    /// # Errors
    /// [`LedgerError::Call`].
    pub async fn next_seq(&mut self) -> Result<u64, LedgerError> {
        let mut next = 1;
        self.read(1, |event| next = next.max(event.seq + 1)).await?;
        Ok(next)
    }

    /// Reads the span of the ledger from `from_seq`, waiting up to `settle` for rebuilds that have not ended. What is
    /// still open then is recorded without an end.
    ///
    /// # Errors
    /// [`LedgerError::Call`].
    pub async fn read_span(
        &mut self,
        from_seq: u64,
        settle: Duration,
    ) -> Result<(Vec<LedgerRow>, LedgerSpan), LedgerError> {
        let mut joiner = LedgerJoiner::new(from_seq);
        let mut next = from_seq;
        let limit = Instant::now() + settle;
        loop {
            self.read(next, |event| {
                next = next.max(event.seq + 1);
                join(&mut joiner, event);
            })
            .await?;
            if joiner.open() == 0 || Instant::now() >= limit {
                return Ok(joiner.finish());
            }
            tokio::time::sleep(LOOK_PAUSE).await;
        }
    }

    /// How many rebuilds of cache keys under a prefix have started, from a sequence number on.
    ///
    /// # Errors
    /// [`LedgerError::Call`].
    pub async fn started_under(&mut self, prefix: &str, from_seq: u64) -> Result<u64, LedgerError> {
        let mut started = 0;
        let each = |event: LedgerEvent| {
            if let Some(Kind::Started(v1::RebuildStarted { request: Some(request), .. })) = event.kind {
                started += u64::from(request.cache_key.starts_with(prefix));
            }
        };
        self.read(from_seq, each).await?;
        Ok(started)
    }

    /// Deletes the rows whose keys begin like this, and says how many there were.
    ///
    /// # Errors
    /// [`LedgerError::Call`].
    pub async fn delete_rows(&mut self, beginning: &str) -> Result<u64, LedgerError> {
        let mut request = Request::new(DeleteRowsRequest { beginning: beginning.to_owned() });
        request.set_timeout(CALL_LIMIT);
        let deleted = bounded("deleting rows", CALL_LIMIT, self.client.delete_rows(request)).await?;
        Ok(deleted.rows)
    }

    async fn read(&mut self, from_seq: u64, mut each: impl FnMut(LedgerEvent)) -> Result<(), LedgerError> {
        let doing = "reading the ledger";
        let mut request = Request::new(ReadLedgerRequest { from_seq });
        request.set_timeout(READ_LIMIT);
        let whole = async {
            let mut batches = self.client.read_ledger(request).await?.into_inner();
            while let Some(batch) = batches.message().await? {
                batch.events.into_iter().for_each(&mut each);
            }
            Ok(())
        };
        let read = tokio::time::timeout(READ_LIMIT, whole).await;
        read.unwrap_or_else(|_| Err(Status::deadline_exceeded("no end of the stream in time")))
            .map_err(|status| LedgerError::Call { doing, status: Box::new(status) })
    }
}

async fn bounded<T>(
    doing: &'static str,
    limit: Duration,
    call: impl Future<Output = Result<tonic::Response<T>, Status>>,
) -> Result<T, LedgerError> {
    let answer = tokio::time::timeout(limit, call).await;
    answer
        .unwrap_or_else(|_| Err(Status::deadline_exceeded("no answer in time")))
        .map(tonic::Response::into_inner)
        .map_err(|status| LedgerError::Call { doing, status: Box::new(status) })
}

fn join(joiner: &mut LedgerJoiner, event: LedgerEvent) {
    match event.kind {
        Some(Kind::Started(started)) => {
            let request = started.request.unwrap_or_default();
            joiner.started(LedgerRow {
                rebuild: event.rebuild,
                end_seq: None,
                reason: reason(request.reason()),
                key: request.key,
                cache_key: request.cache_key,
                generation: request.generation,
                node: request.node,
                token: request.token,
                epoch: request.epoch,
                config_version: request.config_version,
                trace: started.trace,
                start_us: event.at_us,
                end_us: None,
                outcome: None,
                version: 0,
                queued_us: 0,
                worked_us: 0,
                gate_us: 0,
            });
        }
        Some(Kind::Ended(ended)) => joiner.ended(Ended {
            seq: event.seq,
            rebuild: event.rebuild,
            at_us: event.at_us,
            outcome: outcome(ended.outcome()),
            version: ended.version,
            queued_us: ended.queued_us,
            worked_us: ended.worked_us,
            gate_us: ended.gate_us,
        }),
        // An event of a newer origin: its sequence number is missing from the span, which the judge notices.
        None => {}
    }
}

const fn reason(reason: v1::Reason) -> Reason {
    match reason {
        v1::Reason::Unspecified => Reason::Unknown,
        v1::Reason::Uncoordinated => Reason::Uncoordinated,
        v1::Reason::FlightLeader => Reason::FlightLeader,
        v1::Reason::LeaseHolder => Reason::LeaseHolder,
        v1::Reason::FailOpen => Reason::FailOpen,
        v1::Reason::WaitTimeout => Reason::WaitTimeout,
        v1::Reason::Retry => Reason::Retry,
        v1::Reason::Refresh => Reason::Refresh,
        v1::Reason::Early => Reason::Early,
        v1::Reason::Warm => Reason::Warm,
    }
}

const fn outcome(outcome: v1::FetchOutcome) -> FetchOutcome {
    match outcome {
        v1::FetchOutcome::Fetched => FetchOutcome::Fetched,
        v1::FetchOutcome::NoSuchRow => FetchOutcome::NoSuchRow,
        v1::FetchOutcome::Cancelled => FetchOutcome::Cancelled,
        v1::FetchOutcome::Rejected => FetchOutcome::Rejected,
        v1::FetchOutcome::Failed | v1::FetchOutcome::Unspecified => FetchOutcome::Failed,
    }
}
