//! The yardstick of the hit path: the thinnest tonic service that carries the same messages over the same two hops,
//! each hop a process of its own with one worker thread, as edge and node are.

use anyhow::Context;
use herd_wire::v1::echo_client::EchoClient;
use herd_wire::v1::echo_server::{Echo, EchoServer};
use herd_wire::v1::{EchoRequest, EchoResponse};
use std::net::SocketAddr;
use tokio::net::TcpListener;
use tonic::transport::server::TcpIncoming;
use tonic::transport::{Channel, Endpoint, Server};
use tonic::{Request, Response, Status};

/// As large as a row of the origin.
const VALUE_BYTES: usize = 200;

/// Serves the back hop, or the front hop if there is an upstream, until its parent closes standard input.
/// Prints its address on a line of its own.
///
/// # Errors
/// No port can be bound.
pub(crate) async fn serve(upstream: Option<String>) -> anyhow::Result<()> {
    let listener = TcpListener::bind(SocketAddr::from(([127, 0, 0, 1], 0))).await?;
    println!("{}", listener.local_addr()?);
    let upstream = upstream.map(|to| Endpoint::from_shared(to).map(|to| to.connect_lazy())).transpose()?;
    let service = EchoServer::new(Hop {
        upstream: upstream.map(EchoClient::new),
        value: vec![b'x'; VALUE_BYTES].into(),
    });
    let incoming = TcpIncoming::from(listener).with_nodelay(Some(true));
    let serving = Server::builder().add_service(service).serve_with_incoming(incoming);
    tokio::select! {
        ended = serving => ended.context("the echo hop ended"),
        () = parent_gone() => Ok(()),
    }
}

/// Resolves once standard input is closed. A thread of its own: a blocking task would hold up the runtime's end.
async fn parent_gone() {
    let (gone, told) = tokio::sync::oneshot::channel::<()>();
    std::thread::spawn(move || {
        let ended = std::io::copy(&mut std::io::stdin(), &mut std::io::sink());
        drop((ended, gone));
    });
    drop(told.await);
}

struct Hop {
    upstream: Option<EchoClient<Channel>>,
    value: bytes::Bytes,
}

#[tonic::async_trait]
impl Echo for Hop {
    async fn echo(&self, request: Request<EchoRequest>) -> Result<Response<EchoResponse>, Status> {
        match &self.upstream {
            Some(upstream) => upstream.clone().echo(request.into_inner()).await,
            None => Ok(Response::new(EchoResponse { value: self.value.clone() })),
        }
    }
}
