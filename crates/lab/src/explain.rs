//! `--explain`: what a rung does, in words. Nothing is started.

use crate::{exit::Exit, exit::UsageError, out, pick};
use herd_scenario::{Rung, Scenario};

/// Explains the rung of that name, or lists the rungs.
///
/// # Errors
/// There is no such rung; the nearest name and all names are said.
pub(crate) fn explain(scenario: &Scenario, asked: Option<&str>) -> anyhow::Result<Exit> {
    match asked {
        Some(name) => out::say(herd_report::explain(scenario, named(scenario, name)?).trim_end()),
        None => out::say(format_args!("{}\nmore about one: --explain RUNG", herd_report::rungs(scenario))),
    };
    Ok(Exit::Expected)
}

/// The rung of this name; else the first one of which the layer of this name is the outermost, or that has it at all.
fn named<'a>(scenario: &'a Scenario, name: &str) -> Result<&'a Rung, UsageError> {
    let rungs = &scenario.rungs;
    let is_outermost = |rung: &&Rung| rung.layers.last().is_some_and(|layer| layer.name() == name);
    let has = |rung: &&Rung| rung.layers.iter().any(|layer| layer.name() == name);
    let found = rungs.iter().find(|rung| rung.name == name);
    found.or_else(|| rungs.iter().find(is_outermost)).or_else(|| rungs.iter().find(has)).ok_or_else(|| {
        let names: Vec<&str> = rungs.iter().map(|rung| rung.name.as_str()).collect();
        let hint = pick::nearest(name, &names);
        UsageError(format!("{} has no rung {name:?}{hint}; its rungs: {}", scenario.name, names.join(", ")))
    })
}

#[cfg(test)]
mod tests {
    use super::named;

    /// Goal: a rung is found by its own name first, then by its outermost layer, then by any; else the nearest name is offered.
    #[test]
    fn names() {
        let mut scenario = crate::pick::preset("ladder-quick").unwrap().scenario;
        scenario.rungs[2].name = "fleet".to_owned();
        let found =
            |name| named(&scenario, name).map(|rung| rung.name.as_str()).map_err(|error| error.to_string());
        assert_eq!(found("none"), Ok("none"));
        assert_eq!(found("lock"), Ok("fleet"));
        assert_eq!(found("single-flight"), Ok("single-flight"));
        scenario.rungs.remove(1);
        assert_eq!(named(&scenario, "single-flight").unwrap().name, "fleet");
        let wrong = named(&scenario, "flete").unwrap_err().to_string();
        assert!(wrong.contains("did you mean \"fleet\"?; its rungs: none, fleet"), "{wrong}");
    }
}
