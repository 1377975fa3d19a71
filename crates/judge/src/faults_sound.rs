//! Assumptions about faults: each that was planned took effect at each of its turns, and was repaired. A fault that did not bite has
//! put nothing to the test, and one whose records are missing is not known to have bitten.

use herd_history::{FaultPhase, LedgerRow};
use herd_scenario::{Fault, FaultKind, Slow};

use crate::Case;
use crate::assumptions::{Assumption, found};
use crate::boundary::own_rows;
use crate::fault_plan;
use crate::turns::Turn;

/// The share of the promised slowness that a fetch must show to count as slow.
const SHOWN: f64 = 0.9;

pub(crate) fn took_effect(case: &Case<'_>) -> Assumption {
    let name = "faults took effect";
    let mut lacks: Vec<String> = Vec::new();
    for record in &case.faults {
        match record.phase {
            FaultPhase::Unconfirmed => {
                lacks.push(format!("{} of {} was not seen to take effect", record.fault, record.target));
            }
            FaultPhase::Unrecovered => {
                lacks.push(format!("{} of {} was not seen to be repaired", record.fault, record.target));
            }
            _ => {}
        }
    }
    let mut planned = 0_u64;
    for fault in case.scenario.faults_of(&case.rung.name) {
        for number in 0..u64::from(fault.times.max(1)) {
            planned += 1;
            lacks.extend(lack(case, fault, number));
        }
    }
    if case.scenario.origin.failing.is_some() {
        planned += 1;
        let failing = case.turns.iter().find(|turn| turn.name == "origin.failing");
        let lack = match failing {
            None => Some("origin.failing has no record"),
            Some(turn) if turn.confirmed_us.is_none() => Some("origin.failing was not confirmed"),
            Some(turn) if turn.repaired_us.is_none() => Some("origin.failing was not ended"),
            Some(_) => None,
        };
        lacks.extend(lack.map(str::to_owned));
    }
    let why = if lacks.is_empty() {
        match planned {
            0 => "no fault failed to take effect".to_owned(),
            _ => format!(
                "each of {planned} planned faults took effect, and was repaired where it has a repair"
            ),
        }
    } else {
        lacks.dedup();
        format!("faults did not take effect as planned: {}", lacks.join(", "))
    };
    found(name, lacks.is_empty(), why)
}

/// What is missing of one turn of a planned fault.
fn lack(case: &Case<'_>, fault: &Fault, number: u64) -> Option<String> {
    let turns: Vec<&Turn<'_>> =
        case.turns.iter().filter(|turn| turn.name == fault.name && turn.turn == number).collect();
    let name = &fault.name;
    if turns.is_empty() {
        return Some(format!("turn {number} of {name} has no record"));
    }
    let repaired = |turn: &Turn<'_>| {
        !FaultKind::name_has_repair(turn.kind) || turn.repaired_us.is_some() && turn.recovered_us.is_some()
    };
    let of_turn = turns.iter().find_map(|turn| {
        let what = if turn.injected_us.is_none() || turn.confirmed_us.is_none() {
            "was not confirmed".to_owned()
        } else if !repaired(turn) {
            "was not seen to recover".to_owned()
        } else {
            fault_plan::departs(fault, turn)?
        };
        Some(format!("turn {number} of {name} at {} {what}", turn.target))
    });
    of_turn.or_else(|| {
        let what = fault_plan::wrong_targets(case, fault, &turns)?;
        Some(format!("turn {number} of {name} {what}"))
    })
}

/// Whether a fetch took as long as was asked for, its waits for the gate and for a connection aside: a queue makes every fetch long.
pub(crate) fn origin_slowed(case: &Case<'_>, slow: Slow) -> Assumption {
    let name = "origin slowed as planned";
    let turn = case.turns.iter().find(|turn| turn.name == "origin.slow");
    let Some((turn, from_us)) = turn.and_then(|turn| Some((turn, turn.injected_us?))) else {
        return found(name, false, "no slow time of the origin was recorded".to_owned());
    };
    if turn.confirmed_us.is_none() {
        return found(name, false, "no slow fetch was confirmed".to_owned());
    }
    let until_us = turn.repaired_us.unwrap_or(u64::MAX);
    let least_us = f64::from(case.scenario.origin.model.typical_ms()) * 1e3 * slow.factor * SHOWN;
    let is_slow = |row: &&LedgerRow| {
        let waits_us = row.queued_us.saturating_add(row.gate_us);
        let took = row.end_us.map(|end_us| end_us.saturating_sub(row.start_us).saturating_sub(waits_us));
        (from_us..=until_us).contains(&row.start_us) && took.is_some_and(|us| us as f64 >= least_us)
    };
    let slowed = own_rows(case.history).filter(is_slow).count();
    let why = format!("{slowed} fetches took {:.0} ms or longer at work while it lasted", least_us / 1e3);
    found(name, slowed > 0, why)
}
