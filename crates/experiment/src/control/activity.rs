//! What the lab does to the fleet right now, for whoever watches from outside: which rung runs, which faults are in force.

use super::{ControlPlane, Shared};
use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard},
};

/// What the lab does right now.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Activity {
    /// The newest configuration published; 0: none yet.
    pub config_version: u64,
    /// The rung that runs; none between rungs, and where a fleet is only kept up.
    pub rung: Option<String>,
    /// How often each fault of the scenario is in force, by name; 0 before and after. At most the faults of one scenario.
    pub faults: BTreeMap<String, u32>,
}

/// Watches a control plane; it may outlive it. Cloning shares it.
#[derive(Clone, Debug)]
pub struct Observer(Arc<Shared>);

impl Observer {
    /// What the lab does right now.
    #[must_use]
    pub fn look(&self) -> Activity {
        let config_version = self.0.lock().view.config_version;
        Activity { config_version, ..self.0.activity.lock().clone() }
    }
}

impl ControlPlane {
    /// Somebody who may watch what the lab does.
    #[must_use]
    pub fn observer(&self) -> Observer {
        Observer(Arc::clone(&self.shared))
    }

    /// Says that a rung runs and which faults its scenario has, until the answer is dropped.
    pub(crate) fn rung_begins<'n>(&self, name: &str, faults: impl Iterator<Item = &'n str>) -> RungRuns {
        let mut activity = self.shared.activity.lock();
        activity.rung = Some(name.to_owned());
        activity.faults = faults.map(|fault| (fault.to_owned(), 0)).collect();
        drop(activity);
        RungRuns(Arc::clone(&self.shared))
    }

    /// Says that a fault is in force, until the answer is dropped.
    pub(crate) fn fault_begins(&self, name: &str) -> FaultInForce {
        *self.shared.activity.lock().faults.entry(name.to_owned()).or_default() += 1;
        FaultInForce { shared: Arc::clone(&self.shared), name: name.to_owned() }
    }
}

/// A rung that runs.
#[derive(Debug)]
#[must_use = "the rung is over as soon as this is dropped"]
pub(crate) struct RungRuns(Arc<Shared>);

impl Drop for RungRuns {
    fn drop(&mut self) {
        *self.0.activity.lock() = Activity::default();
    }
}

/// A fault that is in force.
#[derive(Debug)]
#[must_use = "the fault is over as soon as this is dropped"]
pub(crate) struct FaultInForce {
    shared: Arc<Shared>,
    name: String,
}

impl Drop for FaultInForce {
    fn drop(&mut self) {
        // The rung may be over, and with it all its faults.
        if let Some(times) = self.shared.activity.lock().faults.get_mut(&self.name) {
            *times = times.saturating_sub(1);
        }
    }
}

/// What the plane and its observers share of it.
#[derive(Debug, Default)]
pub(super) struct Shown(Mutex<Activity>);

impl Shown {
    fn lock(&self) -> MutexGuard<'_, Activity> {
        self.0.lock().expect("nothing panics while it holds what the lab does")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use herd_wire::v1::FleetConfig;
    use std::net::{Ipv4Addr, SocketAddr};

    /// Goal: an observer sees the rung with all its faults at 0, a fault while it is in force and as often as it is, and nothing
    /// any more once the rung is over, whatever is dropped first.
    #[tokio::test]
    async fn what_the_lab_does_can_be_seen() {
        let any = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
        let control = ControlPlane::start(any).await.expect("it listens");
        let observer = control.observer();
        assert_eq!(observer.look(), Activity::default());
        let version = control.publish(FleetConfig::default());
        let rung = control.rung_begins("lock", ["kill", "pause"].into_iter());
        let seen = observer.look();
        assert_eq!((seen.config_version, seen.rung.as_deref()), (version, Some("lock")));
        assert_eq!(seen.faults, BTreeMap::from([("kill".to_owned(), 0), ("pause".to_owned(), 0)]));
        let first = control.fault_begins("kill");
        let second = control.fault_begins("kill");
        assert_eq!(observer.look().faults["kill"], 2);
        drop(first);
        assert_eq!(observer.look().faults["kill"], 1);
        drop(rung);
        assert_eq!(observer.look(), Activity { config_version: version, ..Activity::default() });
        drop(second);
        assert!(observer.look().faults.is_empty());
        control.stop().await;
        assert_eq!(observer.look().config_version, version, "it may outlive the plane");
    }
}
