//! Which faults can be done to a fleet, by what it is made of. Asked before anything starts: a fault that cannot happen would leave a whole
//! run unknown.

use herd_scenario::{FaultAction, FaultPart, Scenario, Target};

/// Why the database cannot be hurt among local processes.
pub const NO_POSTGRES: &str = "no Postgres was found to run the origin's database as a process: install the package postgresql, name the \
     folder of its programs in HERD_POSTGRES_BIN, or take --backend compose";
/// What is said where there is no testbed.
pub const NO_HANDS: &str = "the fleet was brought up by others: its parts cannot be hurt from here";

/// What brings a fleet up, as far as its faults care.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Means {
    /// Containers.
    Containers,
    /// Local processes.
    Processes {
        /// Whether the origin's database can be one of them.
        postgres: bool,
    },
    /// Others did.
    Others,
}

/// Why this fault cannot be done to a fleet of this kind; `None` if it can.
///
/// Whether the nodes of a fleet of others were started for link faults is not known here: their own word decides.
#[must_use]
pub fn lacks(means: Means, action: &FaultAction) -> Option<&'static str> {
    match (means, action) {
        (
            Means::Processes { postgres: false },
            FaultAction::Pause(Target { part: FaultPart::Database, .. })
            | FaultAction::Kill(Target { part: FaultPart::Database, .. })
            | FaultAction::Stop(Target { part: FaultPart::Database, .. }),
        ) => Some(NO_POSTGRES),
        (
            Means::Others,
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
pub fn refused(means: Means, scenario: &Scenario) -> Vec<String> {
    let told = |fault: &herd_scenario::Fault| {
        let why = lacks(means, &fault.action)?;
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
        let without = Means::Processes { postgres: false };
        assert_eq!(lacks(without, &database), Some(NO_POSTGRES));
        assert_eq!(lacks(Means::Processes { postgres: true }, &database), None);
        assert_eq!(lacks(Means::Containers, &database), None);
        assert_eq!(lacks(Means::Others, &database), Some(NO_HANDS));
        for part in FaultPart::ALL.iter().filter(|part| **part != FaultPart::Database) {
            assert_eq!(lacks(without, &pause(*part)), None, "{part}");
        }
        assert_eq!(lacks(Means::Others, &FaultAction::RedisFlush), Some(NO_HANDS));
        // What clients and the parts' own laboratory doors do needs no hands.
        for action in [
            FaultAction::HangUp { share: 1.0 },
            FaultAction::Burst { factor: 2.0 },
            FaultAction::LockClock { rate: 2.0 },
            FaultAction::StuckQuery { queries: 1 },
        ] {
            assert_eq!(lacks(Means::Others, &action), None);
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
        let told = refused(Means::Processes { postgres: false }, &scenario);
        assert_eq!(told[0], format!("fault \"a\" (pause database) cannot be done: {NO_POSTGRES}"));
        assert_eq!(told.len(), 2);
        scenario.rungs.retain(|rung| rung.name == "none");
        assert_eq!(refused(Means::Processes { postgres: false }, &scenario).len(), 1);
        assert!(refused(Means::Containers, &scenario).is_empty());
    }
}
