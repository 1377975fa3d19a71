//! A control plane for tests. It runs on a runtime of its own, so that dropping it kills it with all its connections.

use herd_wire::v1::control_server::{Control, ControlServer};
use herd_wire::v1::{ControlUpdate, MemberReport};
use std::net::{Ipv4Addr, SocketAddr};
use std::pin::Pin;
use std::time::Duration;
use tokio::sync::{mpsc, watch};
use tokio_stream::wrappers::WatchStream;
use tokio_stream::{Stream, StreamExt as _};
use tonic::{Request, Response, Status, Streaming};

/// No wait in a test lasts longer.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);

pub(crate) struct FakeControl {
    pub(crate) address: SocketAddr,
    updates: watch::Sender<ControlUpdate>,
    reports: mpsc::UnboundedReceiver<MemberReport>,
    runtime: Option<tokio::runtime::Runtime>,
}

struct Sessions {
    updates: watch::Receiver<ControlUpdate>,
    reports: mpsc::UnboundedSender<MemberReport>,
}

#[tonic::async_trait]
impl Control for Sessions {
    type SessionStream = Pin<Box<dyn Stream<Item = Result<ControlUpdate, Status>> + Send>>;

    async fn session(
        &self,
        request: Request<Streaming<MemberReport>>,
    ) -> Result<Response<Self::SessionStream>, Status> {
        let (mut inbound, reports) = (request.into_inner(), self.reports.clone());
        tokio::spawn(async move {
            while let Some(Ok(report)) = inbound.next().await {
                let _ = reports.send(report);
            }
        });
        let updates = WatchStream::new(self.updates.clone()).map(Ok);
        Ok(Response::new(Box::pin(updates)))
    }
}

impl FakeControl {
    /// Listens on a free port, or on that of an earlier one.
    pub(crate) fn start(again_at: Option<SocketAddr>, first: ControlUpdate) -> Self {
        let runtime = own_runtime();
        let (updates, updates_seen) = watch::channel(first);
        let (reports_tx, reports) = mpsc::unbounded_channel();
        let at = again_at.unwrap_or(SocketAddr::from((Ipv4Addr::LOCALHOST, 0)));
        let listener = {
            let _inside = runtime.enter();
            let socket = tokio::net::TcpSocket::new_v4().unwrap();
            socket.set_reuseaddr(true).unwrap();
            socket.bind(at).unwrap();
            socket.listen(128).unwrap()
        };
        let address = listener.local_addr().unwrap();
        let sessions = Sessions { updates: updates_seen, reports: reports_tx };
        runtime.spawn(
            tonic::transport::Server::builder()
                .add_service(ControlServer::new(sessions))
                .serve_with_incoming(tonic::transport::server::TcpIncoming::from(listener)),
        );
        Self { address, updates, reports, runtime: Some(runtime) }
    }

    pub(crate) fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Sends an update to everybody.
    #[allow(dead_code, reason = "not every suite changes the configuration")]
    pub(crate) fn update(&self, update: ControlUpdate) {
        self.updates.send_replace(update);
    }

    /// Waits for a report for which `fits` holds.
    pub(crate) async fn report(&mut self, fits: impl Fn(&MemberReport) -> bool) -> MemberReport {
        let wait = async {
            loop {
                let report = self.reports.recv().await.expect("the control plane runs");
                if fits(&report) {
                    return report;
                }
            }
        };
        tokio::time::timeout(PATIENCE, wait).await.expect("the report never came")
    }
}

impl Drop for FakeControl {
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            crash(runtime);
        }
    }
}

/// Ends a runtime with everything on it, and waits until its sockets are closed. A runtime may not be ended where another one
/// runs, hence the thread.
pub(crate) fn crash(runtime: tokio::runtime::Runtime) {
    std::thread::spawn(move || runtime.shutdown_timeout(PATIENCE))
        .join()
        .expect("ending a runtime does not panic");
}

/// A runtime whose end is a crash: everything on it stops at once.
pub(crate) fn own_runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap()
}
