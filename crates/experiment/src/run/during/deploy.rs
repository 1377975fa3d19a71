//! A change of the key prefix in the middle of a rung: at once, or the safe way (fill the new keys, switch, retire the old).

use super::{
    Window,
    fill::{Fill, Filled},
};
use crate::{
    edge::EdgeLab,
    fleet_config,
    ledger::{LedgerError, OriginLab, UnderWay},
    run::{RunError, rung::Stage},
};
use herd_history::DeployRecord;
use herd_scenario::{Deploy, DeployStrategy, KeyId};
use std::time::{Duration, Instant};

/// Share of the keys that must be filled before traffic is switched onto them.
const FILLED_AT_LEAST: f64 = 0.99;

/// Does the rung's deploy, if it has one, and says how it went. Nothing of it begins after the window's end.
pub(super) async fn deploy(
    stage: &Stage<'_>,
    window: Window,
    origin: OriginLab,
    ledger_from: u64,
) -> Result<Option<DeployRecord>, RunError> {
    let Some(deploy) = &stage.rung.deploy else {
        return Ok(None);
    };
    let prefix = fleet_config::next_prefix(stage.plan.started_us, &stage.rung.name);
    let record = DeployRecord {
        strategy: deploy.strategy.to_string(),
        prefix,
        announced_version: 0,
        config_version: 0,
        fill_began_us: None,
        switched_us: None,
        retired_us: None,
        fill_keys: 0,
        filled: 0,
        pauses: 0,
        why: String::new(),
    };
    let under_way = UnderWay::since(ledger_from);
    let mut deploying = Deploying { stage, deploy, window, origin, under_way, record };
    deploying.run().await?;
    Ok(Some(deploying.record))
}

struct Deploying<'a> {
    stage: &'a Stage<'a>,
    deploy: &'a Deploy,
    window: Window,
    origin: OriginLab,
    under_way: UnderWay,
    record: DeployRecord,
}

impl Deploying<'_> {
    async fn run(&mut self) -> Result<(), RunError> {
        if !self.window.reach_ms(self.deploy.at_ms).await {
            self.say("the window ended before the deploy began");
            return Ok(());
        }
        match self.deploy.strategy {
            DeployStrategy::Bump => {
                self.switch().await;
            }
            DeployStrategy::Versioned => {
                if self.announce().await && self.fill().await? && self.switch().await {
                    self.retire().await?;
                }
            }
        }
        Ok(())
    }

    /// Tells every member of the new prefix before it is filled: a row that is written from then on is cleared under both, lest
    /// the fill should keep what was there before. False: not every member knows it, so that nothing is filled.
    async fn announce(&mut self) -> bool {
        let Self { stage, .. } = *self;
        let mut config = fleet_config::of_rung(&stage.plan.scenario, stage.rung, &self.old_prefix());
        config.other_key_prefix.clone_from(&self.record.prefix);
        let nodes = stage.control.view().nodes_joined();
        let version = stage.control.publish(config);
        self.record.announced_version = version;
        let applied = stage.control.wait_applied(version, nodes, crate::control::APPLY_LIMIT).await;
        if let Err(error) = &applied {
            self.say(&format!("the new prefix could not be announced: {error}"));
        }
        applied.is_ok()
    }

    fn old_prefix(&self) -> String {
        fleet_config::prefix(self.stage.plan.started_us, &self.stage.rung.name)
    }

    /// Fills the new prefix. False: too little of it came about, so that nothing is switched.
    async fn fill(&mut self) -> Result<bool, RunError> {
        let Self { stage, deploy, window, .. } = *self;
        let workload = &stage.plan.scenario.workload;
        let keys: Vec<String> = (0..workload.keys).map(|key| workload.key_name(KeyId::Row(key))).collect();
        self.record.fill_keys = keys.len() as u64;
        self.record.fill_began_us = Some(window.now_us());
        let edge = EdgeLab::new(&stage.endpoints.edge_grpc, stage.fill_deadline())?;
        let fill = Fill {
            edge: &edge,
            prefix: &self.record.prefix,
            per_s: deploy.fill_per_s,
            stop_in_flight: deploy.stop_in_flight,
            window,
        };
        let began = Instant::now();
        let filled = fill.run(keys, &mut self.origin, &mut self.under_way).await;
        let Filled { keys, pauses, busiest, error } = match filled {
            Ok(filled) => filled,
            Err(error) => {
                self.say(&format!("the fill stopped, as the origin's load could not be seen: {error}"));
                return Ok(false);
            }
        };
        (self.record.filled, self.record.pauses) = (keys, pauses);
        let took = began.elapsed();
        self.say(&format!(
            "{keys} of {} keys filled in {:.1} s, {pauses} pauses, at most {busiest} fetches under way at the origin",
            self.record.fill_keys,
            took.as_secs_f64()
        ));
        if let Some(error) = error {
            self.say(&format!("the first key that could not be filled: {error}"));
        }
        if window.is_over() {
            self.say("the window ended before the switch");
            return Ok(false);
        }
        if (keys as f64) < FILLED_AT_LEAST * self.record.fill_keys as f64 {
            self.say("too few for a switch");
            return Ok(false);
        }
        if took > Duration::from_millis(stage.plan.scenario.policy.ttl_ms.into()) {
            self.say("that is longer than the TTL: the first keys had expired again");
        }
        Ok(true)
    }

    /// Publishes the new prefix. True: every member has it.
    async fn switch(&mut self) -> bool {
        let Self { stage, window, .. } = *self;
        let (scenario, control) = (&stage.plan.scenario, stage.control);
        let mut config = fleet_config::of_rung(scenario, stage.rung, &self.record.prefix);
        // Until the last member is switched, some read the old keys.
        config.other_key_prefix = self.old_prefix();
        let nodes = control.view().nodes_joined();
        let version = control.publish(config);
        self.record.config_version = version;
        self.record.switched_us = Some(window.now_us());
        let began = Instant::now();
        let applied = control.wait_applied(version, nodes, crate::control::APPLY_LIMIT).await;
        match &applied {
            Ok(()) => self.say(&format!(
                "every member had the new prefix {:.0} ms after the switch",
                began.elapsed().as_secs_f64() * 1e3
            )),
            Err(error) => self.say(&error.to_string()),
        }
        applied.is_ok()
    }

    /// Retires the old keys: nobody looks at them any more, and after one whole life none of them is left in the store.
    /// They are retired when that time has passed without a rebuild of one.
    async fn retire(&mut self) -> Result<(), RunError> {
        // The ledger up to the switch may hold old keys.
        if self.under_way.look(&mut self.origin).await.is_err() {
            return Ok(());
        }
        let switched = Instant::now();
        let since_start = switched.saturating_duration_since(self.window.start.at);
        if !self.window.reach(since_start + self.longest_life()).await {
            self.say("the old keys were left to expire: the window ended before the last of them did");
            return Ok(());
        }
        match self.rebuilt_under_old_prefix().await {
            Ok(0) => {
                self.record.retired_us = Some(self.window.now_us());
                self.say("the old keys have expired, and none was rebuilt since the switch");
            }
            Ok(rebuilt) => self.say(&format!(
                "the old keys are not retired: {rebuilt} rebuilds of them began after every member had the new prefix"
            )),
            Err(error) => self.say(&format!("whether old keys are still read could not be seen: {error}")),
        }
        Ok(())
    }

    async fn rebuilt_under_old_prefix(&mut self) -> Result<u64, LedgerError> {
        let old = self.old_prefix();
        let from = self.under_way.next_seq();
        self.origin.started_under(&old, from).await
    }

    /// The longest that a value of this rung stays in the store.
    fn longest_life(&self) -> Duration {
        let Self { stage, .. } = self;
        let spread = 1.0 + stage.rung.jitter.unwrap_or(0.0);
        let ttl = Duration::from_millis(stage.plan.scenario.policy.ttl_ms.into()).mul_f64(spread);
        let grace_ms = stage.rung.stale.as_ref().map_or(0, |stale| stale.grace_ms);
        ttl + Duration::from_millis(grace_ms.into())
    }

    fn say(&mut self, words: &str) {
        let why = &mut self.record.why;
        if !why.is_empty() {
            why.push_str("; ");
        }
        why.push_str(words);
    }
}
