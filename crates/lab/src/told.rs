//! What a run is about to do, in lines that stay on the screen.

use crate::experiment::nodes;
use herd_experiment::{run::Plan, testbed::Progress};
use herd_scenario::{
    Claim, Expect, Fault, FlightUntil, Gate, Lock, OnOriginError, Retry, Rung, Scenario, Start,
};

/// Says what was chosen and drawn, before anything is done with it.
pub(crate) fn plan(plan: &Plan, progress: &dyn Progress) {
    let scenario = &plan.scenario;
    progress.note(&format!(
        "{} ({}): seed {}, backend {}, {}",
        scenario.name,
        plan.scenario_file,
        scenario.seed,
        plan.backend,
        nodes(scenario.fleet.nodes)
    ));
    let options: Vec<String> =
        plan.options().into_iter().map(|(name, value)| format!("{name}={value}")).collect();
    progress.note(&format!("  {}", options.join(" ")));
    for one in &scenario.rungs {
        progress.note(&format!("  rung {}", rung(one)));
    }
    for line in faults_and_claims(scenario) {
        progress.note(&format!("  {line}"));
    }
}

/// What is done to the fleet, and which claims are about a part of a rung or expected to be refuted.
fn faults_and_claims(scenario: &Scenario) -> Vec<String> {
    let fault = |fault: &Fault| match &fault.rungs {
        None => format!("fault {fault}"),
        Some(rungs) => format!("fault {fault}, in {}", rungs.join(", ")),
    };
    scenario.faults.iter().map(fault).chain(scenario.claims.iter().filter_map(claim)).collect()
}

/// A claim that is not the usual one: of all of a rung, and expected to hold.
fn claim(claim: &Claim) -> Option<String> {
    if claim.phase.is_none() && claim.expect == Expect::default() {
        return None;
    }
    let rung = claim.rung.as_deref().unwrap_or("every rung");
    let mut text = format!("claim {} ({}) of {rung}", claim.property, claim.scope);
    if let Some(phase) = claim.phase {
        text.push_str(&format!(", {phase} its faults"));
    }
    if claim.expect == Expect::Invalid {
        text.push_str(", expected to be refuted");
    }
    Some(text)
}

/// A rung's layers with every setting that is its own.
fn rung(rung: &Rung) -> String {
    let layers: Vec<&str> = rung.layers.iter().map(|layer| layer.name()).collect();
    let layers = if layers.is_empty() { "no layer".to_owned() } else { layers.join(" + ") };
    let mut parts = vec![format!("{}: {layers}, writes {}", rung.name, rung.write_guard)];
    parts.extend(rung.lock.as_ref().map(lock));
    parts.extend(rung.waiter.map(|waiter| format!("waiter wait_ms={} then={}", waiter.wait_ms, waiter.then)));
    parts.extend(
        rung.stale.as_ref().map(|stale| {
            format!("stale grace_ms={} safe_keys={}", stale.grace_ms, stale.safe_keys.join(" "))
        }),
    );
    parts.extend(rung.jitter.map(|spread| format!("jitter spread={spread}")));
    parts.extend(rung.negative_ttl_ms.map(|ttl_ms| format!("negative ttl_ms={ttl_ms}")));
    parts.extend(rung.early_beta.map(|beta| format!("xfetch beta={beta}")));
    if let Some(shed) = rung.shed {
        parts.extend(shed.edge.map(|edge| gate("edge", edge)));
        parts.extend(shed.origin.map(|origin| gate("origin", origin)));
    }
    parts.extend(rung.local.map(|local| {
        format!(
            "l1 ttl_ms={} entries_max={} incoherent={}",
            local.ttl_ms, local.entries_max, local.incoherent
        )
    }));
    parts.extend(start(&rung.start));
    parts.extend(rung.retry.map(retry));
    parts.extend(rung.deploy.as_ref().map(|deploy| {
        format!(
            "deploy at_ms={} strategy={} fill_per_s={} stop_in_flight={}",
            deploy.at_ms, deploy.strategy, deploy.fill_per_s, deploy.stop_in_flight
        )
    }));
    for change in &rung.membership {
        parts.push(format!(
            "owner of {} away at_ms={} for_ms={}",
            change.owner_of, change.at_ms, change.for_ms
        ));
    }
    if !rung.flight_second_look {
        parts.push("flight_second_look=false".to_owned());
    }
    if rung.flight_until != FlightUntil::default() {
        parts.push(format!("flight_until={}", rung.flight_until));
    }
    if rung.on_origin_error != OnOriginError::default() {
        parts.push(format!("on_origin_error={}", rung.on_origin_error));
    }
    parts.join(", ")
}

fn lock(lock: &Lock) -> String {
    let mut text = format!(
        "lock expiry_ms={} wait_ms={} renew={} second_look={} on_wait_timeout={} on_unavailable={}",
        lock.expiry_ms, lock.wait_ms, lock.renew, lock.second_look, lock.on_wait_timeout, lock.on_unavailable
    );
    if lock.unconditional_release {
        text.push_str(" unconditional_release=true");
    }
    if lock.volatile_tokens {
        text.push_str(" volatile_tokens=true");
    }
    text
}

fn gate(at: &str, gate: Gate) -> String {
    let Gate { in_flight_max, queue_max, queue_wait_ms, retry_after_ms } = gate;
    format!(
        "gate at the {at} in_flight_max={in_flight_max} queue_max={queue_max} queue_wait_ms={queue_wait_ms} \
         retry_after_ms={retry_after_ms}"
    )
}

fn start(start: &Start) -> Option<String> {
    match start {
        Start::Warm => None,
        Start::Cold => Some("start=cold".to_owned()),
        Start::Prewarmed { top, hit_rate } => Some(format!("pre-warm top={top} hit_rate={hit_rate}")),
    }
}

fn retry(retry: Retry) -> String {
    match retry {
        Retry::Never => "retry never".to_owned(),
        Retry::Fixed { attempts, backoff_ms } => {
            format!("retry fixed attempts={attempts} backoff_ms={backoff_ms}")
        }
        Retry::Exponential { attempts, backoff_ms, backoff_ms_max } => {
            format!(
                "retry exponential attempts={attempts} backoff_ms={backoff_ms} backoff_ms_max={backoff_ms_max}"
            )
        }
        Retry::Budget { attempts, backoff_ms, backoff_ms_max, share } => format!(
            "retry budget attempts={attempts} backoff_ms={backoff_ms} backoff_ms_max={backoff_ms_max} share={share}"
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::{faults_and_claims, rung};
    use herd_scenario::{Claim, Expect, PRESETS, Phase, Scenario};

    /// Goal: faults are told with the rungs they happen in, contrasts and phases with the claim; ordinary claims are not.
    #[test]
    fn faults_and_odd_claims_are_told() {
        let preset = herd_scenario::Preset::named("ladder-quick").unwrap();
        let text = format!(
            "{}\n[[fault]]\nname = \"frozen\"\nrungs = [\"lock\"]\nat_ms = 2000\nfor_ms = 500\nkind = \"pause\"\n\
             part = \"cache-node\"\nwhich = \"holder\"\n",
            preset.text
        );
        let mut scenario = Scenario::parse("ladder-quick", &text).unwrap();
        let told = faults_and_claims(&scenario);
        let shipped = "claim sawtooth (fleet) of none, expected to be refuted";
        assert!(told[0].starts_with("fault frozen: pause") && told[0].ends_with(", in lock"), "{told:?}");
        assert_eq!(told[1..], [shipped], "what holds for the whole run is not told");
        let odd = Claim {
            rung: Some("lock".to_owned()),
            phase: Some(Phase::During),
            expect: Expect::Invalid,
            ..scenario.claims[0].clone()
        };
        let what = format!("{} ({})", odd.property, odd.scope);
        scenario.claims.push(odd);
        let told = faults_and_claims(&scenario);
        assert_eq!(told[2], format!("claim {what} of lock, during its faults, expected to be refuted"));
    }

    /// Goal: whatever a shipped rung says about itself is said again before it is driven: none of its own settings stays silent.
    #[test]
    fn every_layer_with_a_setting_is_told() {
        let mut told = String::new();
        for preset in PRESETS {
            let scenario = crate::pick::preset(preset.name).unwrap().scenario;
            for one in &scenario.rungs {
                told.push_str(&rung(one));
                told.push('\n');
            }
        }
        for setting in [
            "lock expiry_ms=",
            "waiter wait_ms=",
            "stale grace_ms=",
            "jitter spread=",
            "negative ttl_ms=",
            "xfetch beta=",
            "gate at the origin",
            "l1 ttl_ms=",
            "pre-warm top=",
            "start=cold",
            "retry fixed",
            "deploy at_ms=",
            "owner of item-1 away",
            "flight_until=fetched",
            "on_origin_error=serial-retry",
            "unconditional_release=true",
            "flight_second_look=false",
        ] {
            assert!(told.contains(setting), "{setting}: {told}");
        }
    }
}
