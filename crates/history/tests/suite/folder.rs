use std::fs;
use std::io::Write;
use std::path::Path;

use herd_history::{
    FORMAT_VERSION, FaultPhase, FaultRecord, HistoryError, LINE_BYTES_MAX, Manifest, Reader, Writer,
};

use crate::{insert, manifest, operation, record, row, store_write};

fn written(dir: &Path, operations: u64) -> Writer {
    let mut writer = Writer::create(dir, &manifest()).unwrap();
    writer.begin_rung("none").unwrap();
    for seq in 0..operations {
        writer.operation(&operation(seq)).unwrap();
    }
    writer.ledger_row(&row(1)).unwrap();
    writer.store_write(&store_write(7)).unwrap();
    writer.insert(&insert(0)).unwrap();
    writer.end_rung(record("none")).unwrap();
    writer
}

/// Goal: everything that was written is read back, and only the whole run has its name.
#[test]
fn a_run_reads_back_as_it_was_written() {
    let above = tempfile::tempdir().unwrap();
    let dir = above.path().join("deep/run");
    let mut writer = written(&dir, 3);
    let fault = FaultRecord {
        at_us: 3,
        rung: "none".to_owned(),
        fault: "pause".to_owned(),
        target: "node-2".to_owned(),
        phase: FaultPhase::Confirmed,
        kind: String::new(),
        turn: 0,
        hit: 0,
        note: String::new(),
    };
    writer.fault(&fault).unwrap();
    assert!(!dir.exists() && writer.partial_path().exists());
    writer.begin_rung("lock").unwrap();
    writer.end_rung(record("lock")).unwrap();
    assert_eq!(writer.finish().unwrap(), dir);

    let run = Reader::open(&dir).unwrap().load().unwrap();
    assert_eq!(run.manifest, manifest());
    assert_eq!(run.rungs[0].record, record("none"));
    assert_eq!(run.rungs[0].operations, [operation(0), operation(1), operation(2)]);
    assert_eq!(run.rungs[0].ledger, [row(1)]);
    assert_eq!(run.rungs[0].writes, [store_write(7)]);
    assert_eq!(run.rungs[0].inserts, [insert(0)]);
    assert_eq!(run.faults, [fault]);
    assert!(run.notes.is_empty(), "{:?}", run.notes);
    assert!(!dir.with_extension("partial").exists());
}

/// Goal: however the folder is written, the run is one folder with one partial form beside it, never inside it.
#[test]
fn a_slash_at_the_end_is_no_other_folder() {
    let above = tempfile::tempdir().unwrap();
    let slashed = above.path().join("./run/");
    let mut writer = written(&slashed, 1);
    assert_eq!(writer.partial_path(), above.path().join("run.partial"));
    assert!(matches!(Writer::create(&slashed, &manifest()), Err(HistoryError::Exists { .. })));
    for cut_off in [slashed.clone(), above.path().join("run.partial/"), above.path().join("run.partial/.")] {
        let reader = Reader::open(&cut_off).unwrap();
        assert!(reader.load().unwrap().notes[0].contains("cut off"), "{}", cut_off.display());
    }
    writer.begin_rung("lock").unwrap();
    writer.end_rung(record("lock")).unwrap();
    assert_eq!(writer.finish().unwrap(), above.path().join("run"));
    assert!(Reader::open(&slashed).unwrap().load().unwrap().notes.is_empty());
}

/// Goal: of those that ask for one folder at the same moment, exactly one gets it.
#[test]
fn a_folder_is_given_once() {
    let above = tempfile::tempdir().unwrap();
    let dir = above.path().join("run");
    let given = std::thread::scope(|scope| {
        let asked: Vec<_> =
            (0..8).map(|_| scope.spawn(|| Writer::create(&dir, &manifest()).is_ok())).collect();
        asked.into_iter().map(|asked| asked.join().unwrap()).filter(|given| *given).count()
    });
    assert_eq!(given, 1);
}

/// Goal: a run cut off by a crash is readable as far as it came, and says so.
#[test]
fn a_partial_run_is_readable_and_says_so() {
    let above = tempfile::tempdir().unwrap();
    let dir = above.path().join("run");
    let mut writer = written(&dir, 2);
    writer.begin_rung("lock").unwrap();
    drop(writer);

    let run = Reader::open(&dir).unwrap().load().unwrap();
    assert_eq!(run.rungs.len(), 1);
    assert_eq!(run.notes, ["this run was cut off before it was whole", "rung lock was not finished"]);
}

/// Goal: a last line that was cut in the middle is left out with a note, whatever the cut.
#[test]
fn a_torn_last_line_is_left_out_with_a_note() {
    let above = tempfile::tempdir().unwrap();
    let dir = above.path().join("run");
    written(&dir, 2).finish().unwrap();
    let path = dir.join("operations-none.jsonl");
    let whole = fs::read(&path).unwrap();
    let second = whole.iter().position(|byte| *byte == b'\n').unwrap() + 1;
    for length in second + 1..whole.len() {
        fs::write(&path, &whole[..length]).unwrap();
        let run = Reader::open(&dir).unwrap().load().unwrap();
        assert_eq!(run.rungs[0].operations, [operation(0)]);
        assert!(
            run.notes.iter().any(|note| note.contains("operations-none.jsonl was cut off")),
            "{:?}",
            run.notes
        );
    }
}

/// Goal: damage elsewhere is an error that names file and line, not a silent loss.
#[test]
fn damage_is_an_error_with_its_line() {
    let above = tempfile::tempdir().unwrap();
    let dir = above.path().join("run");
    written(&dir, 2).finish().unwrap();
    let path = dir.join("operations-none.jsonl");
    let mut file = fs::OpenOptions::new().append(true).open(&path).unwrap();
    file.write_all(b"{\"n\":3\n{}\n").unwrap();
    let error = Reader::open(&dir).unwrap().load().unwrap_err();
    assert!(matches!(error, HistoryError::Malformed { line: 3, .. }), "{error}");
}

/// Goal: neither side holds more of one line in memory than the limit.
#[test]
fn lines_are_bounded_on_both_sides() {
    let above = tempfile::tempdir().unwrap();
    let dir = above.path().join("run");
    let mut writer = written(&dir, 1);
    writer.begin_rung("lock").unwrap();
    let mut long = operation(0);
    long.error = "x".repeat(LINE_BYTES_MAX);
    assert!(matches!(writer.operation(&long), Err(HistoryError::LineTooLong { .. })));
    writer.end_rung(record("lock")).unwrap();
    writer.finish().unwrap();

    fs::write(dir.join("ledger-none.jsonl"), vec![b' '; LINE_BYTES_MAX * 3]).unwrap();
    let error = Reader::open(&dir).unwrap().load().unwrap_err();
    assert!(matches!(error, HistoryError::LineTooLong { line: 1, .. }), "{error}");
}

/// Goal: a format newer than this build is refused by name, even if nothing else of it is understood.
#[test]
fn a_newer_format_is_refused_by_name() {
    let above = tempfile::tempdir().unwrap();
    let dir = above.path().join("run");
    written(&dir, 1).finish().unwrap();
    fs::write(dir.join("manifest.json"), format!("{{\"format_version\": {}}}", FORMAT_VERSION + 1)).unwrap();
    let error = Reader::open(&dir).unwrap_err();
    assert!(
        matches!(error, HistoryError::NewerFormat { found, .. } if found == FORMAT_VERSION + 1),
        "{error}"
    );
}

/// Goal: an earlier run is never overwritten, nor is one that is being written.
#[test]
fn an_existing_run_is_left_alone() {
    let above = tempfile::tempdir().unwrap();
    let dir = above.path().join("run");
    let writer = written(&dir, 1);
    assert!(matches!(Writer::create(&dir, &manifest()), Err(HistoryError::Exists { .. })));
    writer.finish().unwrap();
    assert!(matches!(Writer::create(&dir, &manifest()), Err(HistoryError::Exists { .. })));
    assert!(matches!(Reader::open(&above.path().join("other")), Err(HistoryError::NoRun { .. })));
}

/// Goal: a folder that is no run's is told from a run that has lost its manifest.
#[test]
fn a_folder_without_a_run_is_told_apart() {
    let above = tempfile::tempdir().unwrap();
    assert!(matches!(Reader::open(above.path()), Err(HistoryError::NotARun { .. })));
    let dir = above.path().join("run");
    written(&dir, 1).finish().unwrap();
    fs::remove_file(dir.join("manifest.json")).unwrap();
    assert!(matches!(Reader::open(&dir), Err(HistoryError::Io { .. })));
}

/// Goal: rung names cannot leave the folder, neither when written nor when a foreign folder is read.
#[test]
fn rung_names_stay_inside_the_folder() {
    let above = tempfile::tempdir().unwrap();
    let dir = above.path().join("run");
    let mut writer = Writer::create(&dir, &manifest()).unwrap();
    for name in ["", "../x", "A", "a b", &"a".repeat(41)] {
        assert!(matches!(writer.begin_rung(name), Err(HistoryError::RungName { .. })), "{name}");
    }
    writer.finish().unwrap();
    let evil = vec![record("../../etc/passwd")];
    fs::write(dir.join("rungs.json"), serde_json::to_vec(&evil).unwrap()).unwrap();
    assert!(matches!(Reader::open(&dir), Err(HistoryError::RungName { .. })));
}

/// Goal: a writer that is used out of order says so instead of writing rows where they do not belong.
#[test]
fn calls_out_of_order_are_errors() {
    let above = tempfile::tempdir().unwrap();
    let mut writer = Writer::create(&above.path().join("run"), &manifest()).unwrap();
    assert!(matches!(writer.operation(&operation(0)), Err(HistoryError::OutOfOrder { .. })));
    writer.begin_rung("none").unwrap();
    assert!(matches!(writer.begin_rung("lock"), Err(HistoryError::OutOfOrder { .. })));
    assert!(matches!(writer.end_rung(record("lock")), Err(HistoryError::OutOfOrder { .. })));
    assert!(matches!(writer.finish(), Err(HistoryError::OutOfOrder { .. })));
}

/// Goal: a manifest of this format that lacks optional parts, or has parts of a later build, stays readable.
#[test]
fn unknown_and_missing_optional_fields_are_tolerated() {
    let mut value = serde_json::to_value(manifest()).unwrap();
    let fields = value.as_object_mut().unwrap();
    fields.remove("options");
    fields.insert("later".to_owned(), true.into());
    let read: Manifest = serde_json::from_value(value).unwrap();
    assert!(read.options.is_empty());
}

/// Goal: a record of a build that did not record the membership at the end still reads, and its note tells.
#[test]
fn a_record_without_the_membership_at_the_end_reads() {
    let mut old = serde_json::to_value(record("none")).unwrap();
    let fields = old.as_object_mut().unwrap();
    fields.remove("nodes_joined_end").unwrap();
    fields.remove("membership_changed").unwrap();
    let mut read: herd_history::RungRecord = serde_json::from_value(old).unwrap();
    assert_eq!((read.nodes_joined_end, read.membership_changed), (None, None));
    assert!(!read.has_changed_membership());
    read.notes.push("the membership changed while the load ran: 3 nodes before, 2 after".to_owned());
    assert!(read.has_changed_membership());
}

/// Goal: a run of a build that recorded neither writes nor inserts reads as one without them, and does not claim to have all writes.
#[test]
fn a_run_without_writes_and_inserts_reads() {
    let above = tempfile::tempdir().unwrap();
    let dir = above.path().join("run");
    written(&dir, 1).finish().unwrap();
    for file in ["writes-none.jsonl", "inserts-none.jsonl"] {
        fs::remove_file(dir.join(file)).unwrap();
    }
    let mut old = serde_json::to_value(vec![record("none")]).unwrap();
    for field in ["start", "membership", "deploy", "writes_complete"] {
        old[0].as_object_mut().unwrap().remove(field).unwrap();
    }
    fs::write(dir.join("rungs.json"), serde_json::to_vec(&old).unwrap()).unwrap();
    let run = Reader::open(&dir).unwrap().load().unwrap();
    assert!(run.rungs[0].writes.is_empty() && run.rungs[0].inserts.is_empty());
    let read = &run.rungs[0].record;
    assert!(!read.writes_complete && read.deploy.is_none() && read.membership.is_empty());
    assert_eq!(read.start, herd_history::StartRecord::Warm);
}
