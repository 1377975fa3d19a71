//! The files of a run.

use crate::made::{process, span, waited};
use herd_spans::json::{Attribute, Value};
use herd_spans::{FETCHES_FILE, Keeper, Kept, Meant, ReadError, SUMMARY_FILE, Spans};

fn keeper(dir: &std::path::Path) -> Keeper {
    Keeper::new(dir, vec!["none".to_owned(), "lock".to_owned()], 0.01)
}

/// Goal: spans stand in the file of the rung in which they began, whenever they came; each file is one JSON object as Jaeger
/// reads it.
#[test]
fn each_rung_has_its_file() {
    let dir = tempfile::tempdir().unwrap();
    let mut keeper = keeper(dir.path());
    keeper.begins_at("none", 1_000);
    keeper.keep_spans(&process("herd-edge", "edge"), [span("aaaa", 1, 0, "herd.v1.Edge/Get", 1_500)]);
    keeper.begins_at("lock", 2_000);
    let late = span("bbbb", 1, 0, "herd.v1.Edge/Get", 1_900);
    let own = span("cccc", 1, 0, "herd.v1.Edge/Get", 2_100);
    keeper.keep_spans(&process("herd-edge", "edge"), [late, own]);
    let kept = keeper.finish();
    let counts: Vec<(&str, u64)> = kept.files.iter().map(|file| (file.rung.as_str(), file.spans)).collect();
    assert_eq!(counts, [("none", 2), ("lock", 1)]);
    for file in &kept.files {
        let text = std::fs::read(dir.path().join(&file.file)).unwrap();
        assert_eq!(text.len() as u64, file.bytes, "{file:?}");
        let json: serde_json::Value = serde_json::from_slice(&text).unwrap();
        let spans = &json["resourceSpans"][0]["scopeSpans"][0]["spans"];
        assert_eq!(spans[0]["traceId"].as_str().unwrap().len(), 32);
    }
    let read = Spans::read(dir.path()).unwrap();
    assert_eq!((read.all().len(), read.kept), (3, Some(kept)));
}

/// Goal: the fetches that the origin tells of stand by themselves, those too that found their file full; not where spans were lost.
#[test]
fn fetches_stand_by_themselves() {
    let told = |lost: i64, bytes_max: u64| {
        let dir = tempfile::tempdir().unwrap();
        let mut keeper = keeper(dir.path()).within(bytes_max);
        keeper.begins_at("none", 0);
        let mut fetch = span("aaaa", 1, 0, "herd.v1.Origin/Fetch", 1);
        fetch.attributes.push(Attribute::new("herd.ledger.rebuild", Value::IntValue(7)));
        let mut word = span("bbbb", 1, 0, "spans dropped", 1);
        word.attributes.push(Attribute::new("herd.spans.dropped", Value::IntValue(lost)));
        keeper.keep_spans(&process("herd-origin", "origin"), [fetch, word]);
        assert_eq!(keeper.finish().lost, u64::try_from(lost).unwrap());
        std::fs::read_to_string(dir.path().join(FETCHES_FILE)).ok()
    };
    let line = format!("{{\"n\":7,\"x\":\"{:0<32}\",\"d\":1000}}\n", "aaaa");
    assert_eq!(told(0, 1 << 20).as_ref(), Some(&line));
    assert_eq!(told(0, 100).as_ref(), Some(&line));
    assert_eq!(told(1, 1 << 20), None);
}

/// Goal: a file that a crash cut off in the middle of a line is read up to there; one with something else in it is refused.
#[test]
fn torn_and_broken_files() {
    let dir = tempfile::tempdir().unwrap();
    let mut keeper = keeper(dir.path());
    keeper.begins_at("none", 0);
    for trace in ["aaaa", "bbbb"] {
        keeper.keep_spans(&process("herd-edge", "edge"), [span(trace, 1, 0, "herd.v1.Edge/Get", 1)]);
    }
    drop(keeper);
    let path = dir.path().join("spans-none.json");
    let text = std::fs::read_to_string(&path).unwrap();
    assert_eq!(Spans::read(dir.path()).unwrap().all().len(), 2, "without its last line");
    std::fs::write(&path, &text[..text.len() - 40]).unwrap();
    assert_eq!(Spans::read(dir.path()).unwrap().all().len(), 1, "cut off inside a line");
    std::fs::write(&path, text.replace("\"spanId\"", "\"spamId\"")).unwrap();
    assert!(matches!(Spans::read(dir.path()), Err(ReadError::Malformed { line: 2, .. })));
    let empty = tempfile::tempdir().unwrap();
    assert!(matches!(Spans::read(empty.path()), Err(ReadError::NoSpans { .. })));
}

/// Goal: a file that fills up leaves out requests before it leaves out rebuilds, keeps the trees that it began, never grows
/// beyond its share, and counts what it leaves out.
#[test]
fn a_full_file_keeps_rebuilds() {
    let dir = tempfile::tempdir().unwrap();
    let mut keeper = keeper(dir.path()).within(40_000);
    keeper.begins_at("none", 0);
    let edge = process("herd-edge", "edge");
    let first = span("f1257", 1, 0, "herd.v1.Edge/Get", 1);
    keeper.keep_spans(&edge, [first]);
    for number in 0..200 {
        let trace = format!("{number:08}");
        keeper.keep_spans(&edge, [span(&trace, 1, 0, "herd.v1.Edge/Get", 1)]);
    }
    let node = process("herd-cache-node", "n1");
    keeper.keep_spans(&node, [span("f1257", 2, 1, "herd.v1.CacheNode/Get", 2)]);
    keeper.keep_spans(&node, [span("ebbbb", 1, 0, "rebuild", 2)]);
    keeper.keep_spans(&node, [span("99999999", 2, 1, "herd.v1.CacheNode/Get", 2)]);
    let kept = keeper.finish();
    let file = &kept.files[0];
    assert!(file.bytes <= 20_000, "{file:?}");
    assert_eq!(file.spans + file.left_out, 204, "{file:?}");
    let read = Spans::read(dir.path()).unwrap();
    let names = |digits: &str| match read.meant(digits) {
        Meant::One(trace) => read.tree(&trace).unwrap().walk().len(),
        _ => 0,
    };
    assert_eq!(names("f1257000"), 2, "a tree that was begun is whole");
    assert_eq!(names("ebbbb000"), 1, "a rebuild is kept");
    assert_eq!(names("99999999"), 0, "a new request is not");
}

/// Goal: the waiters of the first rebuild do not take the room of those of the later ones, and trees stay whole.
#[test]
fn every_boundary_has_waiters() {
    use herd_spans::json::{Attribute, Value};
    let dir = tempfile::tempdir().unwrap();
    let mut keeper = keeper(dir.path()).within(2_000_000);
    keeper.begins_at("none", 0);
    for rebuild in ["aaaa", "bbbb", "cccc", "dddd"] {
        for number in 0..1_500 {
            let trace = format!("{rebuild}1{number:04}");
            let mut request = span(&trace, 2, 1, "herd.v1.CacheNode/Get", 5);
            let of = Value::StringValue(format!("{rebuild:0<32}"));
            request.attributes.push(Attribute::new("herd.rebuild.trace_id", of));
            let look = span(&trace, 3, 2, "GET", 5);
            keeper.keep_spans(&process("herd-cache-node", "n1"), [look, request.clone()]);
            (request.span_id, request.parent_span_id) = (format!("{:016x}", 1), String::new());
            keeper.keep_spans(&process("herd-edge", "edge"), [request]);
        }
    }
    keeper.finish();
    let read = Spans::read(dir.path()).unwrap();
    let of = |rebuild: &str| read.linking_to(&format!("{rebuild:0<32}")).count();
    assert!(of("aaaa") > 100, "{}", of("aaaa"));
    assert_eq!(["bbbb", "cccc", "dddd"].map(of), [100, 100, 100]);
    for trace in read.linking_to(&format!("{:0<32}", "dddd")) {
        assert_eq!(read.tree(trace).unwrap().walk().len(), 3);
    }
}

/// Goal: what processes say they lost is added up.
#[test]
fn losses_are_told() {
    use herd_spans::json::{Attribute, Value};
    let dir = tempfile::tempdir().unwrap();
    let mut keeper = keeper(dir.path());
    keeper.begins_at("none", 0);
    for lost in [3, 4] {
        let mut says = span("aaaa", 1, 0, "spans dropped", 1);
        says.attributes.push(Attribute::new("herd.spans.dropped", Value::IntValue(lost)));
        keeper.keep_spans(&process("herd-origin", "origin"), [says]);
    }
    keeper.finish();
    let text = std::fs::read(dir.path().join(SUMMARY_FILE)).unwrap();
    assert_eq!(serde_json::from_slice::<Kept>(&text).unwrap().lost, 7);
}

/// Goal: ids are found by their beginnings, links are found from either end, and trees stand even if ids go round in circles.
#[test]
fn ids_links_and_trees() {
    let dir = tempfile::tempdir().unwrap();
    let mut keeper = keeper(dir.path());
    keeper.begins_at("none", 0);
    let spans = [
        waited(span("aaaabbbb1", 2, 1, "herd.v1.CacheNode/Get", 20), "cccc"),
        span("aaaabbbb1", 1, 0, "herd.v1.Edge/Get", 10),
        span("aaaabbbb2", 1, 9, "herd.v1.Edge/Get", 10),
        span("cccc", 1, 0, "rebuild", 15),
        span("dddd", 1, 2, "a", 1),
        span("dddd", 2, 1, "b", 1),
    ];
    keeper.keep_spans(&process("herd-cache-node", "n1"), spans);
    keeper.finish();
    let read = Spans::read(dir.path()).unwrap();
    let whole = format!("{:0<32}", "aaaabbbb1");
    assert_eq!(read.meant(" AAAABBBB1 "), Meant::One(whole.clone()));
    assert!(matches!(read.meant("aaaabbbb"), Meant::Several(traces) if traces.len() == 2));
    assert_eq!(read.meant("12345678"), Meant::Nothing);
    for bad in ["aaaabbb", "", "xyzxyzxyz", &"a".repeat(33)] {
        assert_eq!(read.meant(bad), Meant::NoId, "{bad}");
    }
    let rebuild = format!("{:0<32}", "cccc");
    assert_eq!(read.linking_to(&rebuild).collect::<Vec<_>>(), [whole.as_str()]);
    let tree = read.tree(&whole).unwrap();
    let rows: Vec<(usize, &str)> =
        tree.walk().into_iter().map(|(depth, f)| (depth, f.span.name.as_str())).collect();
    assert_eq!(rows, [(0, "herd.v1.Edge/Get"), (1, "herd.v1.CacheNode/Get")]);
    let orphan = read.tree(&format!("{:0<32}", "aaaabbbb2")).unwrap();
    assert_eq!(orphan.walk().len(), 1, "whose parent was not kept stands at the top");
    assert!(read.tree(&format!("{:0<32}", "dddd")).unwrap().walk().is_empty(), "nobody's root");
}
