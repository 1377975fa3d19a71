//! The ledger over restarts, crashes and crowds.

use futures::TryStreamExt as _;
use herd_origin::ledger::{CHUNK_EVENTS_MAX, Ledger, LedgerError, LedgerOptions, Recovery};
use herd_wire::v1::{FetchOutcome, FetchRequest, LedgerEvent, RebuildEnded, ledger_event::Kind};
use std::fs::OpenOptions;
use std::io::Write as _;
use std::path::PathBuf;
use std::pin::pin;
use tempfile::TempDir;

fn directory() -> (TempDir, PathBuf) {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("origin.ledger");
    (directory, path)
}

fn request(generation: u64) -> FetchRequest {
    FetchRequest { key: "item-1".into(), cache_key: "p:item-1".into(), generation, ..FetchRequest::default() }
}

fn ended() -> RebuildEnded {
    RebuildEnded { outcome: FetchOutcome::Fetched.into(), ..RebuildEnded::default() }
}

/// Opens, records `rebuilds` starts and ends, and closes.
fn record(path: &PathBuf, rebuilds: u64) -> Recovery {
    let (ledger, recovery) = Ledger::open(&LedgerOptions::at(path)).unwrap();
    for generation in 0..rebuilds {
        let rebuild = ledger.start(request(generation), String::new()).unwrap();
        ledger.end(rebuild, ended()).unwrap();
    }
    ledger.close().unwrap();
    recovery
}

async fn read(ledger: &Ledger, from_seq: u64) -> Vec<LedgerEvent> {
    let chunks: Vec<_> = pin!(ledger.barrier(from_seq).await.unwrap().chunks()).try_collect().await.unwrap();
    assert!(chunks.iter().all(|chunk| (1..=CHUNK_EVENTS_MAX).contains(&chunk.len())));
    chunks.concat()
}

/// Goal: numbers go on without a gap over restarts, and what was recorded before is still read.
#[tokio::test]
async fn numbers_go_on_over_restarts() {
    let (_directory, path) = directory();
    assert_eq!(record(&path, 10), Recovery { events: 0, cut_bytes: 0 });
    assert_eq!(record(&path, 5), Recovery { events: 20, cut_bytes: 0 });
    let (ledger, recovery) = Ledger::open(&LedgerOptions::at(&path)).unwrap();
    assert_eq!(recovery, Recovery { events: 30, cut_bytes: 0 });
    assert_eq!(ledger.start(request(1), String::new()).unwrap(), 31);
    let events = read(&ledger, 1).await;
    assert!(events.iter().map(|event| event.seq).eq(1..=31));
}

/// Goal: wherever a crash cut the last record, the whole ones before it stay, it is cut off, and the loss is said.
#[tokio::test]
async fn a_torn_record_is_cut_off() {
    let (_directory, path) = directory();
    record(&path, 3);
    let whole = std::fs::metadata(&path).unwrap().len();
    record(&path, 1);
    let after = std::fs::read(&path).unwrap();
    for torn_at in (whole + 1)..after.len() as u64 {
        std::fs::write(&path, &after[..torn_at as usize]).unwrap();
        let (ledger, recovery) = Ledger::open(&LedgerOptions::at(&path)).unwrap();
        // The start of the fourth rebuild may be whole, its end never is.
        assert!((6..8).contains(&recovery.events), "cut at {torn_at}: {recovery:?}");
        let next = ledger.start(request(9), String::new()).unwrap();
        assert_eq!(next, recovery.events + 1);
        let events = read(&ledger, 1).await;
        assert!(events.iter().map(|event| event.seq).eq(1..=next), "cut at {torn_at}");
    }
    // Zeros are what a file system leaves of pages that it did not write in time.
    std::fs::write(&path, &after[..whole as usize]).unwrap();
    OpenOptions::new().append(true).open(&path).unwrap().write_all(&[0; 300]).unwrap();
    let (_ledger, recovery) = Ledger::open(&LedgerOptions::at(&path)).unwrap();
    assert_eq!(recovery, Recovery { events: 6, cut_bytes: 300 });
}

/// Goal: a crash while the header was written leaves an empty ledger, not a useless file.
#[test]
fn a_torn_header_is_written_again() {
    let (_directory, path) = directory();
    record(&path, 0);
    let header = std::fs::read(&path).unwrap();
    for length in 0..header.len() {
        std::fs::write(&path, &header[..length]).unwrap();
        assert_eq!(record(&path, 1), Recovery { events: 0, cut_bytes: 0 }, "{length} bytes of header");
        assert_eq!(record(&path, 0).events, 2);
    }
}

/// Goal: damage that is more than a torn write is never silently cut off; nor is another file taken for a ledger.
#[test]
fn what_cannot_be_trusted_is_refused() {
    let (_directory, path) = directory();
    record(&path, 10_000);
    let good = std::fs::read(&path).unwrap();
    assert!(good.len() > 1 << 20, "the damage must be larger than one write");
    let mut damaged = good.clone();
    damaged[100] ^= 1;
    std::fs::write(&path, &damaged).unwrap();
    assert!(matches!(Ledger::open(&LedgerOptions::at(&path)), Err(LedgerError::Damaged { .. })));
    assert_eq!(std::fs::read(&path).unwrap(), damaged, "a refused file is left as it is");

    let mut newer = good;
    newer[8] = 3;
    std::fs::write(&path, newer).unwrap();
    assert!(matches!(Ledger::open(&LedgerOptions::at(&path)), Err(LedgerError::Version { found: 3, .. })));
    std::fs::write(&path, "a letter to someone").unwrap();
    assert!(matches!(Ledger::open(&LedgerOptions::at(&path)), Err(LedgerError::NotALedger { .. })));
}

/// One rebuild as the first format wrote it: a header, a start and an end.
const FORMAT_1: &str = "484552444c4544470100000000000000510000008f323d9101010000000000000000401e18240a06002900000000\
    0000000700000000000000030000000000000009000000000000000300000006006974656d2d310800703a6974656d2d3106006e6f64652d3100\
    0035000000c7bfe4fa020200000000000000e0d32218240a060001000000000000000100000005000000000000001400000000000000e0930400\
    00000000";

/// Goal: a file of the first format is read as it was meant, goes on in the present one, and says so in its header: a
/// program that only knows the first would cut off what is appended.
#[tokio::test]
async fn the_first_format_is_still_read() {
    let (_directory, path) = directory();
    let byte = |at: usize| u8::from_str_radix(&FORMAT_1[at..at + 2], 16).unwrap();
    let old: Vec<u8> = (0..FORMAT_1.len()).step_by(2).map(byte).collect();
    std::fs::write(&path, &old).unwrap();
    let (ledger, recovery) = Ledger::open(&LedgerOptions::at(&path)).unwrap();
    assert_eq!(recovery, Recovery { events: 2, cut_bytes: 0 });
    let rebuild = ledger.start(request(42), String::new()).unwrap();
    let waited = RebuildEnded { gate_us: 1_234, ..ended() };
    ledger.end(rebuild, waited).unwrap();

    let events = read(&ledger, 1).await;
    let ends: Vec<&RebuildEnded> = events
        .iter()
        .filter_map(|event| match &event.kind {
            Some(Kind::Ended(end)) => Some(end),
            _ => None,
        })
        .collect();
    let then = RebuildEnded { version: 5, queued_us: 20, worked_us: 300_000, ..ended() };
    assert_eq!(ends, [&then, &waited]);
    assert!(
        matches!(&events[0].kind, Some(Kind::Started(start)) if start.request.as_ref().unwrap().generation == 41)
    );
    drop(ledger);
    let now = std::fs::read(&path).unwrap();
    assert_eq!((now[8], &now[16..old.len()]), (2, &old[16..]), "what was recorded is left as it is");
    assert_eq!(record(&path, 0), Recovery { events: 4, cut_bytes: 0 });
}

/// Goal: two processes never write one ledger.
#[test]
fn a_ledger_has_one_owner() {
    let (_directory, path) = directory();
    let (first, _) = Ledger::open(&LedgerOptions::at(&path)).unwrap();
    assert!(matches!(Ledger::open(&LedgerOptions::at(&path)), Err(LedgerError::InUse { .. })));
    drop(first);
    assert!(Ledger::open(&LedgerOptions::at(&path)).is_ok());
}

/// Goal: with many threads and a tiny queue nothing is lost, numbers have no gap, and each rebuild ends after it starts.
#[tokio::test]
async fn a_crowd_loses_nothing() {
    const THREADS: u64 = 8;
    const REBUILDS: u64 = 2_000;
    let (_directory, path) = directory();
    let options = LedgerOptions { queue_events_max: 16, ..LedgerOptions::at(&path) };
    let (ledger, _) = Ledger::open(&options).unwrap();
    std::thread::scope(|scope| {
        for thread in 0..THREADS {
            let ledger = &ledger;
            scope.spawn(move || {
                let mut last = 0;
                for _ in 0..REBUILDS {
                    let rebuild = ledger.start(request(thread), String::new()).unwrap();
                    assert!(rebuild > last, "the order of numbers is the order of calls");
                    last = ledger.end(rebuild, ended()).unwrap();
                    assert!(last > rebuild);
                }
            });
        }
    });
    let events = read(&ledger, 1).await;
    assert!(events.iter().map(|event| event.seq).eq(1..=THREADS * REBUILDS * 2));
    let mut open = std::collections::BTreeSet::new();
    for event in &events {
        match &event.kind {
            Some(Kind::Started(_)) => assert!(open.insert(event.rebuild)),
            Some(Kind::Ended(_)) => assert!(open.remove(&event.rebuild)),
            None => panic!("an event without a kind"),
        }
    }
    assert!(open.is_empty());
}

/// Goal: a reader gets everything recorded before it asked, from where it wants, and nothing after, while writing goes on.
#[tokio::test]
async fn readers_see_all_that_was_before() {
    let (_directory, path) = directory();
    let (ledger, _) = Ledger::open(&LedgerOptions::at(&path)).unwrap();
    assert_eq!(read(&ledger, 1).await, []);
    for generation in 0..10_000 {
        ledger.start(request(generation), String::new()).unwrap();
    }
    let extent = ledger.barrier(1).await.unwrap();
    assert_eq!(extent.last_seq(), 10_000);
    ledger.start(request(10_000), String::new()).unwrap();
    let chunks: Vec<_> = pin!(extent.chunks()).try_collect().await.unwrap();
    assert!(chunks.concat().iter().map(|event| event.seq).eq(1..=10_000));
    for from_seq in [2, 4_096, 4_097, 4_098, 10_000, 10_001] {
        let events = read(&ledger, from_seq).await;
        assert!(events.iter().map(|event| event.seq).eq(from_seq..=10_001), "from {from_seq}");
    }
    assert_eq!(read(&ledger, 10_002).await, []);
    assert_eq!(read(&ledger, u64::MAX).await, []);
    assert_eq!(read(&ledger, 0).await.len(), 10_001);
}

/// Goal: a ledger at its limit takes no rebuild and lets those under way end.
#[tokio::test]
async fn a_full_ledger_takes_no_rebuild() {
    let (_directory, path) = directory();
    let options = LedgerOptions { file_bytes_max: 100, ..LedgerOptions::at(&path) };
    let (ledger, _) = Ledger::open(&options).unwrap();
    let rebuild = ledger.start(request(1), String::new()).unwrap();
    ledger.start(request(2), String::new()).unwrap();
    ledger.barrier(1).await.unwrap();
    assert!(matches!(ledger.start(request(3), String::new()), Err(LedgerError::Full)));
    assert!(!ledger.is_open());
    ledger.end(rebuild, ended()).unwrap();
    assert_eq!(read(&ledger, 1).await.len(), 3);
}

/// Goal: a text that would not fit a record is refused with the limit, before it is queued.
#[test]
fn texts_have_limits() {
    let (_directory, path) = directory();
    let (ledger, _) = Ledger::open(&LedgerOptions::at(&path)).unwrap();
    let long = FetchRequest { node: "n".repeat(129), ..request(1) };
    let error = ledger.start(long, String::new()).unwrap_err();
    assert_eq!(error.to_string(), "the node's name has 129 bytes: at most 128 are allowed");
    assert_eq!(ledger.last_seq(), 0);
}
