//! A small OTLP receiver: keeps the spans that processes export, for tests to ask about.

use opentelemetry_proto::tonic::collector::trace::v1::trace_service_server::{
    TraceService, TraceServiceServer,
};
use opentelemetry_proto::tonic::collector::trace::v1::{
    ExportTraceServiceRequest, ExportTraceServiceResponse,
};
use opentelemetry_proto::tonic::common::v1::any_value::Value;
use opentelemetry_proto::tonic::trace::v1::Span;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use tokio::net::TcpListener;
use tokio::sync::Notify;
use tokio_stream::wrappers::TcpListenerStream;
use tonic::{Request, Response, Status};

/// A span and the `service.name` of the process that sent it.
#[derive(Clone, Debug)]
pub(crate) struct Received {
    pub(crate) service: String,
    pub(crate) span: Span,
}

impl Received {
    /// The value of a string attribute.
    pub(crate) fn text(&self, key: &str) -> Option<&str> {
        let found = self.span.attributes.iter().find(|attribute| attribute.key == key)?;
        match found.value.as_ref()?.value.as_ref()? {
            Value::StringValue(text) => Some(text),
            _ => None,
        }
    }
}

/// Everything received so far.
#[derive(Clone, Default)]
pub(crate) struct Collector {
    spans: Arc<Mutex<Vec<Received>>>,
    arrived: Arc<Notify>,
}

impl Collector {
    /// Listens on a free local port until the test's runtime ends.
    pub(crate) async fn start() -> (Self, SocketAddr) {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let address = listener.local_addr().expect("a bound address");
        let collector = Self::default();
        let service = TraceServiceServer::new(collector.clone());
        let serving = tonic::transport::Server::builder().add_service(service);
        tokio::spawn(serving.serve_with_incoming(TcpListenerStream::new(listener)));
        (collector, address)
    }

    /// Waits until what has arrived satisfies the predicate, and returns all of it.
    pub(crate) async fn wait_for(&self, what: &str, enough: impl Fn(&[Received]) -> bool) -> Vec<Received> {
        let waiting = async {
            loop {
                let arrived = self.arrived.notified();
                let spans = self.spans.lock().expect("no holder panics").clone();
                if enough(&spans) {
                    return spans;
                }
                arrived.await;
            }
        };
        match tokio::time::timeout(std::time::Duration::from_secs(30), waiting).await {
            Ok(spans) => spans,
            Err(_) => {
                let spans = self.spans.lock().expect("no holder panics");
                let seen: Vec<_> = spans.iter().map(|r| format!("{} {}", r.service, r.span.name)).collect();
                panic!("spans never showed {what}; seen: {seen:#?}");
            }
        }
    }
}

#[tonic::async_trait]
impl TraceService for Collector {
    async fn export(
        &self,
        request: Request<ExportTraceServiceRequest>,
    ) -> Result<Response<ExportTraceServiceResponse>, Status> {
        let mut kept = self.spans.lock().expect("no holder panics");
        for batch in request.into_inner().resource_spans {
            let attributes = batch.resource.map(|resource| resource.attributes).unwrap_or_default();
            let service = attributes.into_iter().find(|attribute| attribute.key == "service.name");
            let service = match service.and_then(|attribute| attribute.value).and_then(|any| any.value) {
                Some(Value::StringValue(name)) => name,
                _ => String::from("unnamed"),
            };
            for span in batch.scope_spans.into_iter().flat_map(|scope| scope.spans) {
                kept.push(Received { service: service.clone(), span });
            }
        }
        drop(kept);
        self.arrived.notify_waiters();
        Ok(Response::new(ExportTraceServiceResponse::default()))
    }
}
