//! The lab's own `/metrics`: what it does to the fleet, so that panels can mark deploys and rungs and shade faults.

use crate::place;
use axum::{Router, http::header, response::IntoResponse, routing::get};
use herd_experiment::{
    control::{Activity, ControlPlane, Observer},
    testbed::{Discovery, FleetSpec, Testbed},
};
use herd_service::{control::CONFIG_VERSION_HELP, metrics::OPEN_METRICS};
use prometheus_client::{
    encoding::{EncodeLabelSet, text},
    metrics::{family::Family, gauge::Gauge},
    registry::Registry,
};
use std::net::SocketAddr;
use tokio::{net::TcpListener, task::JoinHandle};

/// The page of a lab that runs on this machine. Dropping it ends it.
#[derive(Debug)]
pub(crate) struct Page {
    address: SocketAddr,
    serving: JoinHandle<()>,
}

impl Page {
    /// Serves the page at any free port, on the address by which the testbed's parts reach the lab.
    ///
    /// # Errors
    /// Nothing can be listened on.
    pub(crate) async fn start(control: &ControlPlane, testbed: &dyn Testbed) -> std::io::Result<Self> {
        let listener = TcpListener::bind((testbed.control_listen(), 0)).await?;
        let (address, observer) = (listener.local_addr()?, control.observer());
        let serving = tokio::spawn(async move {
            if let Err(error) = axum::serve(listener, router(observer)).await {
                tracing::error!(%error, "the lab's metrics ended");
            }
        });
        Ok(Self { address, serving })
    }

    /// The same fleet, with a file that tells a Prometheus of its processes and of this page.
    pub(crate) fn announced(&self, spec: FleetSpec) -> std::io::Result<FleetSpec> {
        let file = std::path::absolute(place::targets(std::process::id()))?;
        Ok(FleetSpec { discovery: Some(Discovery { file, lab: Some(self.address) }), ..spec })
    }
}

impl Drop for Page {
    fn drop(&mut self) {
        self.serving.abort();
    }
}

/// `/metrics` with what the lab does.
pub(crate) fn router(observer: Observer) -> Router {
    let shown = move || async move {
        ([(header::CONTENT_TYPE, OPEN_METRICS)], encoded(&observer.look())).into_response()
    };
    Router::new().route("/metrics", get(shown))
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct FaultLabel {
    fault: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct RungLabel {
    rung: String,
}

/// In OpenMetrics text. Made anew for each look: label values come from the scenario, and go with it.
fn encoded(activity: &Activity) -> String {
    let (version, faults, rungs) = (
        Gauge::<i64>::default(),
        Family::<FaultLabel, Gauge>::default(),
        Family::<RungLabel, Gauge>::default(),
    );
    version.set(i64::try_from(activity.config_version).unwrap_or(i64::MAX));
    for (fault, times) in &activity.faults {
        faults.get_or_create(&FaultLabel { fault: fault.clone() }).set(i64::from(*times));
    }
    if let Some(rung) = &activity.rung {
        rungs.get_or_create(&RungLabel { rung: rung.clone() }).set(1);
    }
    let mut registry = Registry::default();
    registry.register("herd_config_version", CONFIG_VERSION_HELP, version);
    let help =
        "How often a fault of the scenario is in force, from its injection until the fleet has recovered";
    registry.register("herd_fault_active", help, faults);
    registry.register("herd_rung_active", "The rung that runs", rungs);
    let mut page = String::new();
    // Writing to a String cannot fail.
    let _ = text::encode(&mut page, &registry);
    page
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeMap;

    /// What panels shade by stands on the page by its name; a fault that is over stays there, as 0.
    #[test]
    fn what_panels_shade_by() {
        let faults = BTreeMap::from([("kill".to_owned(), 1), ("pause".to_owned(), 0)]);
        let page = encoded(&Activity { config_version: 7, rung: Some("lock".to_owned()), faults });
        for line in [
            "herd_config_version 7",
            "herd_fault_active{fault=\"kill\"} 1",
            "herd_fault_active{fault=\"pause\"} 0",
            "herd_rung_active{rung=\"lock\"} 1",
        ] {
            assert!(page.lines().any(|there| there == line), "{line} is missing in:\n{page}");
        }
        let quiet = encoded(&Activity::default());
        assert!(
            quiet.contains("herd_config_version 0") && !quiet.contains("fault=") && !quiet.contains("rung=")
        );
    }
}
