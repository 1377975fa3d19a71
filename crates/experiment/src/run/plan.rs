//! Everything that is decided before a run begins.

use crate::prewarm::DRAWN_READS;
use herd_history::{FORMAT_VERSION, Manifest};
use herd_scenario::{AbsentIds, OriginModel, Popularity, Retry, Scenario, Start};
use std::{
    collections::BTreeMap,
    path::PathBuf,
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
    /// The access log of rungs that are pre-warmed; without one it is drawn as the workload's reads are spread.
    pub access_log: Option<PathBuf>,
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
            access_log: None,
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
        let mut options = self.extra.clone();
        let mut option = |name: &str, value: String| {
            options.insert(name.to_owned(), value);
        };
        option("routing", scenario.fleet.routing.to_string());
        option("origin_pool", scenario.fleet.origin_pool.to_string());
        option("origin_latency", latency(scenario.origin.model));
        option("origin_holds_connection", scenario.origin.holds_connection.to_string());
        option("keys", workload.keys.to_string());
        option("popularity", popularity(workload.popularity));
        option("rate_per_s", workload.rate_per_s.to_string());
        option("arrivals", workload.arrivals.to_string());
        option("boundaries", workload.boundaries.to_string());
        option("request_deadline_ms", workload.request_deadline_ms.to_string());
        option("ttl_ms", scenario.policy.ttl_ms.to_string());
        option("rebuild_deadline_ms", scenario.policy.rebuild_deadline_ms.to_string());
        option("window_ms", scenario.rung_duration().as_millis().to_string());
        option("connections", self.connections.to_string());
        option("in_flight_max", self.in_flight_max.to_string());
        option("retry", retry(workload.retry));
        if let Some(failing) = scenario.origin.failing {
            let percent = failing.share * 100.0;
            option(
                "origin_failing",
                format!("{percent} % for {} ms at {} ms", failing.for_ms, failing.at_ms),
            );
        }
        if let Some(slow) = scenario.origin.slow {
            option(
                "origin_slow",
                format!("{} times for {} ms at {} ms", slow.factor, slow.for_ms, slow.at_ms),
            );
        }
        if let Some(absent) = workload.absent {
            let ids = match absent.ids {
                AbsentIds::Fixed { count } => format!("{count} fixed ids"),
                AbsentIds::Random => "random ids".to_owned(),
            };
            option("absent_reads", format!("{} of {ids}", absent.share));
        }
        if let Some(every_ms) = workload.insert_every_ms {
            option("insert_every_ms", every_ms.to_string());
        }
        if let Some(every_ms) = workload.update_every_ms {
            option("update_every_ms", every_ms.to_string());
        }
        for fault in &scenario.faults {
            let rungs = fault.rungs.as_ref().map(|rungs| format!(" (in {})", rungs.join(", ")));
            option(&format!("fault.{}", fault.name), format!("{fault}{}", rungs.unwrap_or_default()));
        }
        for rung in &scenario.rungs {
            if let Some(own) = rung.retry {
                option(&format!("retry.{}", rung.name), retry(own));
            }
        }
        if scenario.rungs.iter().any(|rung| matches!(rung.start, Start::Prewarmed { .. })) {
            let drawn = || format!("drawn, {DRAWN_READS} reads");
            let log = self.access_log.as_ref().map_or_else(drawn, |path| path.display().to_string());
            option("access_log", log);
        }
        options
    }
}

fn latency(model: OriginModel) -> String {
    match model {
        OriginModel::Fixed { latency_ms } => format!("fixed {latency_ms} ms"),
        OriginModel::LogNormal { median_ms, sigma, max_ms } => {
            format!("log-normal median {median_ms} ms, sigma {sigma}, max {max_ms} ms")
        }
    }
}

fn popularity(popularity: Popularity) -> String {
    match popularity {
        Popularity::One => "one".to_owned(),
        Popularity::Hot { share } => format!("hot {share}"),
        Popularity::Uniform => "uniform".to_owned(),
        Popularity::Zipf { exponent } => format!("zipf {exponent}"),
    }
}

fn retry(retry: Retry) -> String {
    match retry {
        Retry::Never => "never".to_owned(),
        Retry::Fixed { attempts, backoff_ms } => format!("fixed {backoff_ms} ms, {attempts} attempts"),
        Retry::Exponential { attempts, backoff_ms, backoff_ms_max } => {
            format!("exponential {backoff_ms} to {backoff_ms_max} ms, {attempts} attempts")
        }
        Retry::Budget { attempts, backoff_ms, backoff_ms_max, share } => {
            format!("budget {share}, {backoff_ms} to {backoff_ms_max} ms, {attempts} attempts")
        }
    }
}
