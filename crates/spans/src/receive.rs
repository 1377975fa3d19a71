//! The server that processes export to, on a thread of its own: the generator next to it must not feel it.

use crate::keep::{Keeper, Kept};
use opentelemetry_proto::tonic::collector::trace::v1::trace_service_server::{
    TraceService, TraceServiceServer,
};
use opentelemetry_proto::tonic::collector::trace::v1::{
    ExportTraceServiceRequest, ExportTraceServiceResponse,
};
use std::io;
use std::net::{SocketAddr, TcpListener};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;
use tokio::sync::oneshot;
use tonic::transport::Server;
use tonic::transport::server::TcpIncoming;
use tonic::{Request, Response, Status};

/// By how much the receiver's thread gives way to the generator's.
#[cfg(target_os = "linux")]
const NICE: i32 = 10;

/// How long exports under way may take when it ends.
const DRAIN: Duration = Duration::from_secs(1);

/// Receives spans and keeps them. There is no queue: a process is answered when its spans are written, and waits with its own.
#[derive(Debug)]
pub struct Receiver {
    address: SocketAddr,
    keeper: Arc<Mutex<Option<Keeper>>>,
    stop: oneshot::Sender<()>,
    thread: JoinHandle<()>,
}

impl Receiver {
    /// Listens on this address; port 0 takes any free one.
    ///
    /// # Errors
    /// It is taken, or there is no thread.
    pub fn start(listen: SocketAddr, keeper: Keeper) -> io::Result<Self> {
        let listener = TcpListener::bind(listen)?;
        listener.set_nonblocking(true)?;
        let address = listener.local_addr()?;
        let keeper = Arc::new(Mutex::new(Some(keeper)));
        let service = TraceServiceServer::new(Service(Arc::clone(&keeper)));
        let (stop, stopped) = oneshot::channel();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let serving = async move {
            let incoming = TcpIncoming::from(tokio::net::TcpListener::from_std(listener)?);
            let (drain, drains) = oneshot::channel::<()>();
            let server = Server::builder().add_service(service).serve_with_incoming_shutdown(
                incoming.with_nodelay(Some(true)),
                async {
                    // Either way it is over.
                    let _ = drains.await;
                },
            );
            let mut server = std::pin::pin!(server);
            tokio::select! {
                served = &mut server => return served.map_err(io::Error::other),
                _ = stopped => drop(drain),
            }
            // A process that does not let go of its connection is left behind.
            let _ = tokio::time::timeout(DRAIN, server).await;
            Ok(())
        };
        let thread = std::thread::Builder::new().name("spans".to_owned()).spawn(move || {
            // Elsewhere than on Linux this would be the whole process's; where it may not be, spans are as urgent.
            #[cfg(target_os = "linux")]
            let _ = rustix::process::nice(NICE);
            if let Err(error) = runtime.block_on(serving) {
                tracing::warn!(%error, "spans are not received any more");
            }
            runtime.shutdown_background();
        })?;
        Ok(Self { address, keeper, stop, thread })
    }

    /// Where it listens.
    #[must_use]
    pub const fn address(&self) -> SocketAddr {
        self.address
    }

    /// Does something with the files.
    pub fn with(&self, what: impl FnOnce(&mut Keeper)) {
        if let Some(keeper) = &mut *lock(&self.keeper) {
            what(keeper);
        }
    }

    /// Stops listening and ends the files. Blocks for about a second at most.
    #[must_use]
    pub fn finish(self) -> Kept {
        // A thread that ended early has said why.
        let _ = self.stop.send(());
        let _ = self.thread.join();
        let keeper = lock(&self.keeper).take();
        keeper.map(Keeper::finish).unwrap_or_default()
    }
}

struct Service(Arc<Mutex<Option<Keeper>>>);

#[tonic::async_trait]
impl TraceService for Service {
    async fn export(
        &self,
        request: Request<ExportTraceServiceRequest>,
    ) -> Result<Response<ExportTraceServiceResponse>, Status> {
        match &mut *lock(&self.0) {
            Some(keeper) => {
                request.into_inner().resource_spans.into_iter().for_each(|sent| keeper.keep(sent));
            }
            None => return Err(Status::unavailable("the run is over")),
        }
        Ok(Response::new(ExportTraceServiceResponse::default()))
    }
}

fn lock(keeper: &Mutex<Option<Keeper>>) -> MutexGuard<'_, Option<Keeper>> {
    keeper.lock().unwrap_or_else(PoisonError::into_inner)
}
