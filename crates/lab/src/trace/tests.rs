//! A made run, and what is shown of it.

use super::*;
use herd_spans::Keeper;
use herd_spans::json::{Attribute, Event, Link, Resource, Span, Status, Value};
use std::path::PathBuf;
use tempfile::TempDir;

const REQUEST: &str = "4bf92f3577b34da6a3ce929d0e0e4736";
const OTHER: &str = "4bf92f3500000000000000000000beef";
const REBUILD: &str = "9c1e000000000000000000000000c0de";
const MS: u64 = 1_000_000;

fn process(service: &str, instance: &str) -> Resource {
    Resource { attributes: vec![text("service.name", service), text("service.instance.id", instance)] }
}

fn text(key: &str, value: &str) -> Attribute {
    Attribute::new(key, Value::StringValue(value.to_owned()))
}

fn whole(key: &str, value: i64) -> Attribute {
    Attribute::new(key, Value::IntValue(value))
}

fn span(
    trace: &str,
    (id, parent): (u64, u64),
    name: &str,
    (start, took): (u64, u64),
    said: Vec<Attribute>,
) -> Span {
    Span {
        trace_id: trace.to_owned(),
        span_id: format!("{id:016x}"),
        parent_span_id: if parent == 0 { String::new() } else { format!("{parent:016x}") },
        name: name.to_owned(),
        start_time_unix_nano: start * MS,
        end_time_unix_nano: (start + took) * MS,
        attributes: said,
        ..Span::default()
    }
}

/// Two requests that waited for one rebuild, whose write was refused.
fn run(dir: &Path) {
    let mut keeper = Keeper::new(dir, vec!["lock".to_owned()], 0.01);
    keeper.begins_at("lock", 0);
    for (trace, start) in [(REQUEST, 1_000), (OTHER, 1_050)] {
        let served = || text("herd.served", "waited");
        let at_edge = vec![text("herd.key", "item-1"), served(), text("rpc.response.status_code", "OK")];
        keeper.keep_spans(
            &process("herd-edge", "edge"),
            [span(trace, (1, 0), "herd.v1.Edge/Get", (start, 200), at_edge)],
        );
        let at_node = vec![served(), text("herd.rebuild.trace_id", REBUILD)];
        let mut node = span(trace, (2, 1), "herd.v1.CacheNode/Get", (start + 1, 198), at_node);
        node.links.push(Link { trace_id: REBUILD.to_owned(), span_id: format!("{:016x}", 1) });
        keeper.keep_spans(&process("herd-cache-node", "cache-node-02"), [node]);
    }
    let mut root = span(
        REBUILD,
        (1, 0),
        "rebuild",
        (990, 205),
        vec![text("herd.rebuild.reason", "lease_holder"), whole("herd.fencing_token", 7)],
    );
    root.events.push(Event {
        time_unix_nano: 1_190 * MS,
        name: "herd.write.rejected".to_owned(),
        attributes: vec![text("herd.write.outcome", "refused_token_old")],
    });
    root.status = Status { code: 2, message: "its write was refused".to_owned() };
    keeper.keep_spans(&process("herd-cache-node", "cache-node-01"), [root]);
    let said = vec![
        text("herd.key", "item-1"),
        whole("herd.generation", 3),
        text("herd.node", "cache-node-01"),
        text("herd.rebuild.reason", "lease_holder"),
        whole("herd.fencing_token", 7),
    ];
    let fetch = span(REBUILD, (2, 1), "herd.v1.Origin/Fetch", (991, 190), said);
    keeper.keep_spans(&process("herd-origin", "origin"), [fetch]);
    keeper.finish();
    let row = r#"{"n":1,"k":"item-1","ck":"p:item-1","g":3,"h":"cache-node-01","w":"lease_holder","s":1}"#;
    let fill = row.replace("lease_holder", "warm").replace("\"n\":1", "\"n\":2");
    std::fs::write(dir.join("ledger-lock.jsonl"), format!("{row}\n{fill}\n")).unwrap();
    std::fs::write(dir.join("manifest.json"), "{}").unwrap();
}

fn made() -> (TempDir, Spans) {
    let dir = tempfile::tempdir().unwrap();
    run(dir.path());
    let spans = Spans::read(dir.path()).unwrap();
    (dir, spans)
}

/// Goal: a request reads as one tree, with the rebuild that it waited for below it and that rebuild's events.
#[test]
fn a_request_with_its_rebuild() {
    let (_dir, spans) = made();
    let shown = text::of(&picture::Picture::of(&spans, REQUEST));
    let expected = "\
request 4bf92f3577b34da6a3ce929d0e0e4736 · rung lock

  offset ms    took ms  process          span
       0.00     200.00  edge             herd.v1.Edge/Get       key=item-1 served=waited
       1.00     198.00    cache-node-02  herd.v1.CacheNode/Get  rebuild.trace_id=9c1e000000000000000000000000c0de served=waited

waited on rebuild 9c1e000000000000000000000000c0de

  offset ms    took ms  process        span
     -10.00     205.00  cache-node-01  rebuild               fencing_token=7 rebuild.reason=lease_holder
                                       ! error: its write was refused
     190.00                            * herd.write.rejected  write.outcome=refused_token_old
      -9.00     190.00    origin       herd.v1.Origin/Fetch  fencing_token=7 generation=3 key=item-1 node=cache-node-01 rebuild.reason=lease_holder
";
    assert_eq!(shown, expected, "{shown}");
}

/// Goal: a rebuild names everybody who waited for it.
#[test]
fn a_rebuild_with_its_waiters() {
    let (_dir, spans) = made();
    let picture = picture::Picture::of(&spans, REBUILD);
    let waiters: Vec<&str> = picture.waiters.iter().map(|waiter| waiter.trace.as_str()).collect();
    assert_eq!((picture.kind, waiters), (picture::Kind::Rebuild, vec![REQUEST, OTHER]));
    let shown = text::of(&picture);
    assert!(shown.contains("led or waited for by 2 requests of those kept\n"), "{shown}");
    assert!(shown.contains("cache-node-02  waited"), "{shown}");
    let json = serde_json::to_value(&picture).unwrap();
    assert_eq!(json["waiters"][0]["served"], "waited");
    assert_eq!(json["spans"][0]["children"][0]["attributes"]["herd.generation"], 3);
}

/// Goal: ids that cannot be found are told apart, by words and by the exit status.
#[test]
fn ids_that_are_not_found() {
    let (dir, spans) = made();
    let usage = |reference: &str| {
        let error = one(reference, dir.path(), &spans, false).unwrap_err();
        assert_eq!(crate::exit::of_error(&error), Exit::Usage, "{error}");
        error.to_string()
    };
    assert!(usage("4bf92f").contains("8 to 32"));
    assert!(usage("not-an-id").contains("no reference id"));
    assert!(usage("4bf92f35").contains(OTHER));
    assert_eq!(one("4bf92f3577", dir.path(), &spans, false).unwrap(), Exit::Expected);
    assert_eq!(one("00000000ffff", dir.path(), &spans, false).unwrap(), Exit::Unknown);
    let why = not_kept("00000000ffff", dir.path(), &spans);
    assert!(why.contains("1 % are kept") && why.contains("--sample-hits 1"), "{why}");
}

/// Goal: the newest run is found, also inside a set of runs, and what is not there is said.
#[test]
fn the_newest_run() {
    let above = tempfile::tempdir().unwrap();
    let told = find::run(None, above.path()).unwrap_err().to_string();
    assert!(told.contains("there is no run"), "{told}");
    let old = above.path().join("20260101T000000Z-ladder");
    let new = above.path().join("20260102T000000Z-chaos/lock-away");
    for (dir, seconds) in [(&old, 100), (&new, 200)] {
        std::fs::create_dir_all(dir).unwrap();
        let file = std::fs::File::create(dir.join("manifest.json")).unwrap();
        file.set_modified(std::time::UNIX_EPOCH + std::time::Duration::from_secs(seconds)).unwrap();
    }
    assert_eq!(find::run(None, above.path()).unwrap(), new);
    assert_eq!(find::run(Some(&old), above.path()).unwrap(), old);
    let absent: PathBuf = above.path().join("absent");
    assert!(find::run(Some(&absent), above.path()).is_err());
}

/// Goal: rebuilds are counted as the ledger counts them, fills on command left out of both.
#[test]
fn rebuilds_beside_the_ledger() {
    let (dir, spans) = made();
    let boundaries = serde_json::to_value(rebuilds::of(dir.path(), &spans)).unwrap();
    assert_eq!(boundaries.as_array().unwrap().len(), 1);
    let boundary = &boundaries[0];
    assert_eq!((&boundary["rung"], &boundary["generation"]), (&"lock".into(), &3.into()));
    assert_eq!((&boundary["in_ledger"], &boundary["requests"]), (&1.into(), &2.into()));
    assert_eq!(boundary["rebuilds"][0]["trace"], REBUILD);
}
