//! Which faults can be done to a fleet, by what it is made of. Asked before anything starts: a fault that cannot happen would leave a whole
//! run unknown.

use crate::testbed::Backend;
use herd_scenario::{FaultAction, FaultPart, Scenario, Target};

/// Why the database cannot be hurt among local processes.
pub const DATABASE_IS_A_FILE: &str =
    "the origin's database is a file here, and no process: take --backend compose";
/// What is said where there is no testbed.
pub const NO_HANDS: &str = "the fleet was brought up by others: its parts cannot be hurt from here";

/// Why this fault cannot be done to a fleet of this kind; `None` if it can. `backend`: what brings it up, nothing if others did.
///
/// Whether the nodes of a fleet of others were started for link faults is not known here: their own word decides.
#[must_use]
pub fn lacks(backend: Option<Backend>, action: &FaultAction) -> Option<&'static str> {
    match (backend, action) {
        (
            Some(Backend::Processes),
            FaultAction::Pause(Target { part: FaultPart::Database, .. })
            | FaultAction::Kill(Target { part: FaultPart::Database, .. })
            | FaultAction::Stop(Target { part: FaultPart::Database, .. }),
        ) => Some(DATABASE_IS_A_FILE),
        (
            None,
            FaultAction::Pause(_)
            | FaultAction::Kill(_)
            | FaultAction::Stop(_)
            | FaultAction::RollingRestart
            | FaultAction::ScaleOut { .. }
            | FaultAction::RedisRestartEmpty
            | FaultAction::RedisRestartAof
            | FaultAction::RedisFlush
            | FaultAction::RedisEvict { .. }
            | FaultAction::RedisPromote,
        ) => Some(NO_HANDS),
        _ => None,
    }
}

/// Each fault of the scenario's rungs that cannot be done, with the reason, a line each; empty if all can.
#[must_use]
pub fn refused(backend: Option<Backend>, scenario: &Scenario) -> Vec<String> {
    let told = |fault: &herd_scenario::Fault| {
        let why = lacks(backend, &fault.action)?;
        Some(format!("fault {:?} ({}) cannot be done: {why}", fault.name, fault.action))
    };
    scenario.live_faults().filter_map(told).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use herd_scenario::Which;

    /// Goal: what a backend cannot do is known, and nothing else is refused.
    #[test]
    fn each_backend_knows_its_limits() {
        let pause = |part| FaultAction::Pause(Target { part, which: Which::All });
        let database = pause(FaultPart::Database);
        assert_eq!(lacks(Some(Backend::Processes), &database), Some(DATABASE_IS_A_FILE));
        assert_eq!(lacks(Some(Backend::Compose), &database), None);
        assert_eq!(lacks(None, &database), Some(NO_HANDS));
        for part in FaultPart::ALL.iter().filter(|part| **part != FaultPart::Database) {
            assert_eq!(lacks(Some(Backend::Processes), &pause(*part)), None, "{part}");
        }
        assert_eq!(lacks(None, &FaultAction::RedisFlush), Some(NO_HANDS));
        // What clients and the parts' own laboratory doors do needs no hands.
        for action in [
            FaultAction::HangUp { share: 1.0 },
            FaultAction::Burst { factor: 2.0 },
            FaultAction::LockClock { rate: 2.0 },
            FaultAction::StuckQuery { queries: 1 },
        ] {
            assert_eq!(lacks(None, &action), None);
        }
    }

    /// Goal: every fault that cannot be done is told by name; one of a rung that is not driven is not.
    #[test]
    fn all_refused_faults_are_told() {
        let text = herd_scenario::Preset::named("ladder-quick").map_or("", |preset| preset.text);
        let fault = |name: &str, kind: &str, rung: &str| {
            format!(
                "\n[[fault]]\nname = \"{name}\"\nkind = \"{kind}\"\npart = \"database\"\nrungs = [\"{rung}\"]\nat_ms = 1000\nfor_ms = 5\n"
            )
        };
        let text = format!("{text}{}{}", fault("a", "pause", "lock"), fault("b", "kill", "none"));
        let mut scenario = Scenario::parse("t.toml", &text).unwrap_or_else(|mistakes| panic!("{mistakes}"));
        let told = refused(Some(Backend::Processes), &scenario);
        assert_eq!(told[0], format!("fault \"a\" (pause database) cannot be done: {DATABASE_IS_A_FILE}"));
        assert_eq!(told.len(), 2);
        scenario.rungs.retain(|rung| rung.name == "none");
        assert_eq!(refused(Some(Backend::Processes), &scenario).len(), 1);
        assert!(refused(Some(Backend::Compose), &scenario).is_empty());
    }
}
