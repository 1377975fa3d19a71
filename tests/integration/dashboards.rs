//! What an operator sees of a fleet: every target, every metric of the catalogue, every panel of every board, on a real Prometheus
//! that watched a real drill.

use crate::{
    alerts::{loud, quiet, two},
    architecture::root,
    drills::{Drill, Rung},
    prometheus::{http, now},
};
use serde_json::Value;
use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
};

/// What Grafana puts the step of a query in for.
const INTERVAL: &str = "$__interval";
/// Processes of the drill: 6 cache nodes, edge, origin, lock service; and the lab.
const TARGETS: usize = 6 + 3 + 1;

/// Goal: while a fleet is driven, a Prometheus finds all of it by itself and each process shows what the catalogue says; what it has
/// seen fills every panel and leads to traces; parts that fail fire their alerts, but not where readers are shielded from them.
#[test]
fn an_operator_sees_everything() {
    let mut drill = Drill::start("parts");
    let began = now();
    drill.until("all targets are up", || {
        let targets = drill.prometheus.targets();
        targets.len() == TARGETS && targets.iter().all(|(_, _, up)| *up)
    });
    let listed: BTreeSet<_> =
        drill.listed().into_iter().map(|(_, role, instance)| (role, instance)).collect();
    let scraped: BTreeSet<_> =
        drill.prometheus.targets().into_iter().map(|(job, instance, _)| (job, instance)).collect();
    assert_eq!(scraped, listed, "each process is a target, under its role and name");
    catalogue_is_true(&drill);

    let rungs = drill.finish();
    let whole = (began, now());
    assert!(!drill.targets_file().exists(), "a fleet that is down is no target");
    drill.until("nothing is scraped any more", || drill.prometheus.targets().is_empty());
    let [shielded, waiting] = two(rungs, ["shielded", "waiting"]);
    quiet(&drill, &shielded, &["ErrorBudgetBurn", "LockWaitersStarve", "OriginLoadPerRequestHigh"]);
    loud(&drill, &waiting, &["ErrorBudgetBurn", "LockWaitersStarve"]);
    every_panel_has_data(&drill, whole);
    deploys_are_marked_at_any_range(&drill, whole);
    faults_are_shaded(&drill, whole, &waiting);
}

/// Every metric that a process shows stands in the catalogue with its type, its unit and its help; and the other way round.
fn catalogue_is_true(drill: &Drill) {
    let mut shown: BTreeMap<(String, String, String), BTreeSet<String>> = BTreeMap::new();
    for (address, role, _) in drill.listed() {
        let (status, page) = http(address.parse().expect("an address"), "/metrics").expect("it answers");
        assert_eq!(status, 200, "{role}");
        for metric in described(&String::from_utf8(page).expect("text")) {
            shown.entry(metric).or_default().insert(role.clone());
        }
    }
    let row = |((name, kind, help), roles): (_, BTreeSet<String>)| {
        let who = if roles.len() >= 4 { "every process".to_owned() } else { join(roles) };
        format!("| `{name}` | {kind} | {who} | {help} |")
    };
    let shown: BTreeSet<String> = shown.into_iter().map(row).collect();
    let document =
        fs::read_to_string(root().join("dashboards/METRICS.md")).expect("the catalogue is readable");
    let rows = document.lines().filter(|line| line.starts_with("| `"));
    let written: BTreeSet<String> = rows.map(ToOwned::to_owned).collect();
    let lines = |set: Vec<&String>| set.into_iter().cloned().collect::<Vec<_>>().join("\n");
    assert!(
        shown == written,
        "shown by processes and not in dashboards/METRICS.md:\n{}\nin dashboards/METRICS.md and shown by none:\n{}",
        lines(shown.difference(&written).collect()),
        lines(written.difference(&shown).collect())
    );
}

/// Name, type and help of each metric of a page. Counters are named as they are asked for.
fn described(page: &str) -> Vec<(String, String, String)> {
    let mut helps = BTreeMap::new();
    let mut metrics: Vec<(String, String, String)> = Vec::new();
    for line in page.lines() {
        if let Some((name, help)) = line.strip_prefix("# HELP ").and_then(|rest| rest.split_once(' ')) {
            helps.insert(name.to_owned(), help.trim_end_matches('.').to_owned());
        } else if let Some((name, kind)) = line.strip_prefix("# TYPE ").and_then(|rest| rest.split_once(' '))
        {
            let help = helps.get(name).cloned().unwrap_or_default();
            assert!(!help.is_empty(), "{name} says nothing of itself");
            let asked_for = if kind == "counter" { format!("{name}_total") } else { name.to_owned() };
            metrics.push((asked_for, kind.to_owned(), help));
        } else if let Some((_, unit)) = line.strip_prefix("# UNIT ").and_then(|rest| rest.split_once(' ')) {
            let of = metrics.last_mut().expect("a unit follows its metric");
            of.1 = format!("{}, {unit}", of.1);
        }
    }
    metrics
}

fn join(roles: BTreeSet<String>) -> String {
    roles.into_iter().collect::<Vec<_>>().join(", ")
}

/// Goal: the reader of a metrics page tells what stands there, a metric without help from one with it.
#[test]
#[should_panic(expected = "b says nothing of itself")]
fn a_metric_without_help_is_found() {
    let page = "# HELP a Some words.\n# TYPE a counter\na_total 1\n";
    assert_eq!(described(page), [("a_total".to_owned(), "counter".to_owned(), "Some words".to_owned())]);
    described("# TYPE b gauge\nb 1\n");
}

/// Runs the query of every panel, of every annotation and of every variable; none may come back empty. Panels over histograms lead to
/// traces.
fn every_panel_has_data(drill: &Drill, whole: (f64, f64)) {
    let mut empty = Vec::new();
    let (mut queries, mut leading) = (0, 0);
    for (board, json) in boards() {
        let variables = variables(drill, &json, whole);
        for (title, target) in targets(&json) {
            let written = target["expr"].as_str().expect("a target has an expression");
            for query in substituted(written, &variables) {
                queries += 1;
                if drill.prometheus.range(&query, whole, 1.0).iter().all(|series| series.points.is_empty()) {
                    empty.push(format!("{board}: {title}: {query}"));
                }
                if target["exemplar"] == true {
                    leading += 1;
                    leads_to_traces(drill, &query, whole);
                }
            }
        }
    }
    // What is asked of them can fail.
    assert!(drill.prometheus.range("sum(rate(no_such_metric_total[10s]))", whole, 1.0).is_empty());
    assert!(empty.is_empty(), "queries without data:\n{}", empty.join("\n"));
    assert!(queries >= 40 && leading >= 6, "{queries} queries, {leading} of them with exemplars");
}

/// The boards, by the name of their file.
fn boards() -> Vec<(String, Value)> {
    let folder = root().join("dashboards/grafana/boards");
    let mut boards: Vec<_> = fs::read_dir(folder)
        .expect("boards are readable")
        .map(|entry| entry.expect("an entry").path())
        .map(|path| {
            let json = serde_json::from_slice(&fs::read(&path).expect("readable")).expect("a board is JSON");
            (path.file_name().expect("a name").to_string_lossy().into_owned(), json)
        })
        .collect();
    boards.sort_by(|a, b| a.0.cmp(&b.0));
    assert_eq!(boards.len(), 5);
    boards
}

/// What asks Prometheus something: panels and annotations, by title.
fn targets(board: &Value) -> Vec<(String, &Value)> {
    let title = |of: &Value, key: &str| of[key].as_str().unwrap_or("untitled").to_owned();
    let list = |of: &Value| of.as_array().expect("a list").len();
    let mut targets = Vec::new();
    assert!(list(&board["panels"]) > 0 && list(&board["annotations"]["list"]) >= 3);
    for panel in board["panels"].as_array().into_iter().flatten() {
        let of_panel = panel["targets"].as_array().expect("a panel has targets");
        assert!(!of_panel.is_empty(), "{panel}");
        targets.extend(of_panel.iter().map(|target| (title(panel, "title"), target)));
    }
    let annotations = board["annotations"]["list"].as_array().into_iter().flatten();
    targets.extend(annotations.map(|annotation| (title(annotation, "name"), &annotation["target"])));
    targets
}

/// The values that a board's variables can have: all of them at once, and one.
fn variables(drill: &Drill, board: &Value, (from, to): (f64, f64)) -> BTreeMap<String, [String; 2]> {
    let mut variables = BTreeMap::new();
    for variable in board["templating"]["list"].as_array().into_iter().flatten() {
        let name = variable["name"].as_str().expect("a name").to_owned();
        let query = variable["query"]["query"].as_str().expect("a query");
        let inner = query.strip_prefix("label_values(").and_then(|rest| rest.strip_suffix(')'));
        let (series, label) =
            inner.and_then(|inner| inner.rsplit_once(", ")).expect("label_values(series, label)");
        let (from, to) = (from.to_string(), to.to_string());
        let values = drill
            .prometheus
            .ask(&format!("label/{label}/values"), &[("match[]", series), ("start", &from), ("end", &to)]);
        let one = values[0].as_str().unwrap_or_else(|| panic!("{query} finds nothing")).to_owned();
        let all = variable["allValue"].as_str().expect("a value that stands for all").to_owned();
        variables.insert(name, [all, one]);
    }
    variables
}

/// An expression with its variables put in: with all values at once, and if it has variables, with one as well. Grafana's own is the step
/// of a query, which is a second here.
fn substituted(expression: &str, variables: &BTreeMap<String, [String; 2]>) -> BTreeSet<String> {
    let with = |which: usize| {
        let put_in = |text: String, (name, values): (&String, &[String; 2])| {
            text.replace(&format!("${name}"), &values[which])
        };
        variables.iter().fold(expression.replace(INTERVAL, "1s"), put_in)
    };
    let queries = BTreeSet::from([with(0), with(1)]);
    assert!(queries.iter().all(|query| !query.contains('$')), "a variable is left in {queries:?}");
    queries
}

/// A query's exemplars name traces.
fn leads_to_traces(drill: &Drill, query: &str, (from, to): (f64, f64)) {
    let (from, to) = (from.to_string(), to.to_string());
    let found = drill.prometheus.ask("query_exemplars", &[("query", query), ("start", &from), ("end", &to)]);
    let series = found.as_array().expect("a list of series");
    let exemplars = series.iter().flat_map(|series| series["exemplars"].as_array().into_iter().flatten());
    let traces: Vec<&str> =
        exemplars.filter_map(|exemplar| exemplar["labels"]["trace_id"].as_str()).collect();
    assert!(!traces.is_empty(), "{query} leads to no trace: {found}");
    for trace in traces {
        let sound = trace.len() == 32 && u128::from_str_radix(trace, 16).is_ok_and(|id| id != 0);
        assert!(sound, "{trace:?} is no trace id");
    }
}

/// A new configuration is marked whatever range is looked at: the wider it is, the further apart are the moments that Grafana asks for.
/// Each board marks deploys by the same query.
fn deploys_are_marked_at_any_range(drill: &Drill, whole: (f64, f64)) {
    let mut marking = BTreeSet::new();
    for (board, json) in boards() {
        let annotations = json["annotations"]["list"].as_array().expect("a list");
        let deploys = annotations.iter().find(|annotation| annotation["name"] == "Deploys");
        let deploys = deploys.unwrap_or_else(|| panic!("{board} marks no deploy"));
        marking.insert(deploys["target"]["expr"].as_str().expect("an expression").to_owned());
    }
    assert_eq!(marking.len(), 1, "{marking:?}");
    let marking = marking.first().expect("one");
    for step in [1_u8, 5, 10] {
        let query = marking.replace(INTERVAL, &format!("{step}s"));
        let marks = drill.prometheus.range(&query, whole, step.into());
        assert!(marks.iter().any(|series| !series.points.is_empty()), "no mark {step} s apart: {query}");
    }
}

/// Faults and rungs are shown when they happened, and only then.
fn faults_are_shaded(drill: &Drill, whole: (f64, f64), waiting: &Rung) {
    let kills = drill.prometheus.range("max(herd_fault_active{fault=\"kill-holder\"}) > 0", whole, 0.5);
    let at: Vec<f64> = kills.iter().flat_map(|series| series.points.iter().map(|(at, _)| *at)).collect();
    assert!(
        !at.is_empty() && at.iter().all(|at| (waiting.from..waiting.to + 5.0).contains(at)),
        "{at:?} {waiting:?}"
    );
    let rungs = drill.prometheus.range("max by (rung) (herd_rung_active)", whole, 0.5);
    let names: BTreeSet<&str> = rungs.iter().filter_map(|series| series.labels["rung"].as_str()).collect();
    assert_eq!(names, BTreeSet::from(["shielded", "waiting"]));
}

/// Goal: exemplars lead where Grafana can follow: their label is the one that the data source links to Jaeger by.
#[test]
fn exemplars_are_linked_to_jaeger() {
    let file = root().join("dashboards/grafana/provisioning/datasources/herdproof.yml");
    let text = fs::read_to_string(file).expect("the data sources are readable");
    assert!(text.contains("{ name: trace_id, datasourceUid: jaeger,"), "{text}");
    assert!(text.contains("uid: jaeger\n"), "{text}");
}
