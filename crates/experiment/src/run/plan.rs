//! Everything that is decided before a run begins.

use herd_history::{FORMAT_VERSION, Manifest};
use herd_scenario::{OriginModel, Popularity, Scenario};
use std::{
    collections::BTreeMap,
    time::{SystemTime, UNIX_EPOCH},
};

/// One run: the experiment with its overrides applied, and how it is driven.
#[derive(Clone, Debug)]
pub struct Plan {
    /// The experiment, overrides applied.
    pub scenario: Scenario,
    /// The scenario's file as the user named it.
    pub scenario_file: String,
    /// The scenario's text, before overrides.
    pub scenario_text: String,
    /// `processes` or `compose`.
    pub backend: String,
    /// Version of the program.
    pub herd_version: String,
    /// When the run began, Unix microseconds; also makes its key prefixes unique.
    pub started_us: u64,
    /// HTTP/2 connections from the generator to the edge, 1 to 64.
    pub connections: usize,
    /// Requests under way at most.
    pub in_flight_max: usize,
    /// Further options to be kept with the run, by name.
    pub extra: BTreeMap<String, String>,
}

impl Plan {
    /// A plan that begins now, with the usual settings of the generator.
    #[must_use]
    pub fn new(scenario: Scenario, file: &str, text: &str, backend: &str) -> Self {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Self {
            scenario,
            scenario_file: file.to_owned(),
            scenario_text: text.to_owned(),
            backend: backend.to_owned(),
            herd_version: env!("CARGO_PKG_VERSION").to_owned(),
            started_us: u64::try_from(now.as_micros()).unwrap_or(u64::MAX),
            connections: 4,
            in_flight_max: 20_000,
            extra: BTreeMap::new(),
        }
    }

    /// What is written first.
    #[must_use]
    pub fn manifest(&self) -> Manifest {
        Manifest {
            format_version: FORMAT_VERSION,
            herd_version: self.herd_version.clone(),
            name: self.scenario.name.clone(),
            scenario_file: self.scenario_file.clone(),
            scenario_text: self.scenario_text.clone(),
            seed: self.scenario.seed,
            backend: self.backend.clone(),
            nodes: self.scenario.fleet.nodes,
            rungs: self.scenario.rungs.iter().map(|rung| rung.name.clone()).collect(),
            started_us: self.started_us,
            options: self.options(),
        }
    }

    /// Every drawn or chosen option, by name, for the screen and for the manifest.
    #[must_use]
    pub fn options(&self) -> BTreeMap<String, String> {
        let Self { scenario, .. } = self;
        let workload = &scenario.workload;
        let latency = match scenario.origin.model {
            OriginModel::Fixed { latency_ms } => format!("fixed {latency_ms} ms"),
            OriginModel::LogNormal { median_ms, sigma, max_ms } => {
                format!("log-normal median {median_ms} ms, sigma {sigma}, max {max_ms} ms")
            }
        };
        let popularity = match workload.popularity {
            Popularity::One => "one".to_owned(),
            Popularity::Hot { share } => format!("hot {share}"),
            Popularity::Uniform => "uniform".to_owned(),
            Popularity::Zipf { exponent } => format!("zipf {exponent}"),
        };
        let mut options = self.extra.clone();
        let mut option = |name: &str, value: String| {
            options.insert(name.to_owned(), value);
        };
        option("routing", scenario.fleet.routing.to_string());
        option("origin_pool", scenario.fleet.origin_pool.to_string());
        option("origin_latency", latency);
        option("origin_holds_connection", scenario.origin.holds_connection.to_string());
        option("keys", workload.keys.to_string());
        option("popularity", popularity);
        option("rate_per_s", workload.rate_per_s.to_string());
        option("arrivals", workload.arrivals.to_string());
        option("boundaries", workload.boundaries.to_string());
        option("request_deadline_ms", workload.request_deadline_ms.to_string());
        option("ttl_ms", scenario.policy.ttl_ms.to_string());
        option("rebuild_deadline_ms", scenario.policy.rebuild_deadline_ms.to_string());
        option("window_ms", scenario.rung_duration().as_millis().to_string());
        option("connections", self.connections.to_string());
        option("in_flight_max", self.in_flight_max.to_string());
        options
    }
}
