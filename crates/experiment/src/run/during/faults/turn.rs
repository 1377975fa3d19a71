//! One fault from its time to its recovery, as often as it happens.

use super::{
    Ground, RECOVER_LIMIT,
    kinds::{Deed, End, Scene, Seen, deed},
    select::{self, Target},
    steps::{Step, Steps},
    witness,
};
use herd_history::{FaultPhase, FaultRecord};
use herd_scenario::{Fault, FaultAction, Once};
use std::time::{Duration, Instant};

/// Lets a fault happen in all its turns, one after the other; the steps that were taken.
pub(super) async fn all_turns(ground: Ground<'_>, fault: &Fault) -> Vec<FaultRecord> {
    let mut steps = Steps::new(ground, fault);
    for turn in 0..fault.times.max(1) {
        steps.begin(turn);
        let at_ms = u64::from(fault.at_ms) + u64::from(turn) * u64::from(fault.every_ms);
        if let Err(why) = one_turn(ground, fault, turn, at_ms, &mut steps).await {
            steps.did_not_happen(select::part_name(&fault.action), why);
        }
    }
    steps.into_records()
}

/// One turn.
///
/// # Errors
/// It did not begin, and why.
async fn one_turn(
    ground: Ground<'_>,
    fault: &Fault,
    turn: u32,
    at_ms: u64,
    steps: &mut Steps<'_>,
) -> Result<(), String> {
    if !ground.window.reach(Duration::from_millis(at_ms)).await {
        return Err("the window ended before".to_owned());
    }
    let seen = match &fault.once {
        Once::Now => None,
        Once::Rebuild { key, after_ms } => {
            let lead = witness::new_rebuild(ground, key).await?;
            if *after_ms > 0 && !ground.window.spend(Duration::from_millis((*after_ms).into())).await {
                return Err(format!("the window ended less than {after_ms} ms into the rebuild"));
            }
            Some(lead)
        }
    };
    let targets = select::targets(ground, fault, turn, seen).await?;
    let hold = Duration::from_millis(fault.for_ms.into());
    if fault.action != FaultAction::RollingRestart {
        cycle(ground, fault, turn, targets, hold, steps).await;
        return Ok(());
    }
    for target in targets {
        if ground.window.is_over() {
            steps.did_not_happen(target.name, "was not restarted before the window ended".to_owned());
        } else if !cycle(ground, fault, turn, vec![target], hold, steps).await {
            return Err("the others were not restarted: the last one does not work again".to_owned());
        }
    }
    Ok(())
}

/// Injects, confirms, holds, repairs, and confirms the repair; whether it could be done and undone.
async fn cycle(
    ground: Ground<'_>,
    fault: &Fault,
    turn: u32,
    targets: Vec<Target>,
    hold: Duration,
    steps: &mut Steps<'_>,
) -> bool {
    let _shown = ground.stage().control.fault_begins(&fault.name);
    let mut deed = deed(ground, fault, &targets);
    let end = deed.end();
    let in_force = match &end {
        End::Undo(undo) => {
            let words = targets.iter().map(|target| format!("{} of {}", fault.action.kind(), target.name));
            Some(ground.faults.in_force.add(undo.clone(), words.collect()))
        }
        End::Nothing | End::ByItself(_) => None,
    };
    if in_force.is_some() {
        ground.faults.journal().await;
    }
    let mut scene = Scene { ground, fault, turn, targets: &targets, hold_ends: ground.window.end };
    let now_us = || ground.window.now_us();
    let injected_us = now_us();
    let injected = deed.inject(scene).await;
    scene.hold_ends = (Instant::now() + hold).min(ground.window.end);
    let done = injected.is_ok();
    let seen = match injected {
        Ok(note) => {
            steps.add(same(&targets, injected_us, FaultPhase::Injected, &note));
            let held = tokio::time::sleep_until(scene.hold_ends.into());
            let (seen, ()) = futures::join!(deed.confirm(scene), held);
            confirmed(seen, &mut *deed)
        }
        Err(why) => targets.iter().map(|_| Err(why.clone())).collect(),
    };
    let bit = seen.iter().all(Result::is_ok);
    steps.add(told(&targets, seen, injected_us, now_us()));
    let repaired = match &end {
        End::Nothing => return done && bit,
        End::ByItself(words) => Ok((*words).to_owned()),
        End::Undo(undo) => undo.apply(ground.faults).await,
    };
    let repaired_us = now_us();
    match repaired {
        // What was not done needs no word that it was undone, but it is made sure: it may have been done to some.
        Ok(_) if !done => {}
        // Who has no hands to undo it had none to do it.
        Err(_) if !done && !ground.hands().are_there() => {}
        Ok(note) => {
            steps.add(same(&targets, repaired_us, FaultPhase::Repaired, &note));
        }
        Err(why) => {
            // Stays in force: it is tried once more when the rung ends.
            steps.add(same(&targets, repaired_us, FaultPhase::Unrecovered, &why));
            return false;
        }
    }
    if let Some(id) = in_force {
        ground.faults.in_force.remove(id);
        ground.faults.journal().await;
    }
    if !done {
        return false;
    }
    let recovered = deed.recovered(scene, Instant::now() + RECOVER_LIMIT).await;
    let (well, hit) = (recovered.iter().all(Result::is_ok), deed.hit_in_all());
    let at_us = now_us();
    let step = |(target, seen): (&Target, Result<String, String>)| {
        let (phase, note) = match seen {
            Ok(note) => (FaultPhase::Recovered, note),
            Err(why) => (FaultPhase::Unrecovered, why),
        };
        Step { at_us, target: target.name.clone(), phase, hit, note }
    };
    steps.add(targets.iter().zip(recovered).map(step).collect());
    well
}

/// A fault that bit none of its targets is not confirmed for any; one that bit some is in force for all of them.
fn confirmed(seen: Vec<Result<Seen, String>>, deed: &mut dyn Deed) -> Vec<Result<Seen, String>> {
    let bit = seen.iter().any(|seen| seen.as_ref().is_ok_and(|seen| seen.bit));
    if bit {
        return seen;
    }
    seen.into_iter().map(|seen| seen.and_then(|_| Err(deed.no_bite().to_owned()))).collect()
}

fn same(targets: &[Target], at_us: u64, phase: FaultPhase, note: &str) -> Vec<Step> {
    let step =
        |target: &Target| Step { at_us, target: target.name.clone(), phase, hit: 0, note: note.to_owned() };
    targets.iter().map(step).collect()
}

/// The confirmations; one that is missing stands at the injection's time.
fn told(targets: &[Target], seen: Vec<Result<Seen, String>>, injected_us: u64, now_us: u64) -> Vec<Step> {
    let step = |(target, seen): (&Target, Result<Seen, String>)| {
        let target = target.name.clone();
        match seen {
            Ok(Seen { at_us, hit, note, .. }) => {
                Step { at_us: at_us.min(now_us), target, phase: FaultPhase::Confirmed, hit, note }
            }
            Err(note) => Step { at_us: injected_us, target, phase: FaultPhase::Unconfirmed, hit: 0, note },
        }
    };
    targets.iter().zip(seen).map(step).collect()
}
