//! The admin port: `/metrics`, `/healthz`, `/readyz`.

use crate::kit::Readiness;
use crate::metrics::{Metrics, OPEN_METRICS};
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::IntoResponse;
use axum::routing::get;

pub(crate) fn router(metrics: Metrics, readiness: Readiness) -> axum::Router {
    axum::Router::new()
        .route("/metrics", get(async |State(metrics): State<Metrics>| show(&metrics)))
        .with_state(metrics)
        .route("/healthz", get(async || "alive\n"))
        .route("/readyz", get(async move || ready(&readiness)))
}

fn show(metrics: &Metrics) -> impl IntoResponse + use<> {
    ([(header::CONTENT_TYPE, OPEN_METRICS)], metrics.encode())
}

fn ready(readiness: &Readiness) -> impl IntoResponse + use<> {
    match readiness.why_not() {
        None => (StatusCode::OK, "ready\n".to_owned()),
        Some(why) => (StatusCode::SERVICE_UNAVAILABLE, format!("not ready: {why}\n")),
    }
}
