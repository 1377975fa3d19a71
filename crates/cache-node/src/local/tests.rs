use super::*;
use crate::store::header::Header;
use bytes::Bytes;

const MINUTE: Duration = Duration::from_secs(60);

fn tier(ttl: Duration) -> Local {
    Local::new("p:".into(), &LocalConfig { ttl, entries_max: 16, incoherent: false })
}

fn fresh(generation: u64, ttl_ms: u32, age_ms: u64) -> Look {
    let header = Header { generation, ttl_ms, ..Header::default() };
    Look::Fresh { stored: Stored { header, body: Bytes::from_static(b"body") }, age_ms }
}

fn ticket(local: &Local, key: &str, now: Instant) -> Ticket {
    match local.look(key, now) {
        Known::Ask(ticket) => ticket,
        other => panic!("a ticket, not {other:?}"),
    }
}

/// The generation and age that the tier has for a key.
fn held(local: &Local, key: &str, now: Instant) -> Option<(u64, u64)> {
    match local.look(key, now) {
        Known::Fresh(Look::Fresh { stored, age_ms }) => Some((stored.header.generation, age_ms)),
        Known::Ask(_) | Known::Bypassed => None,
        other @ Known::Fresh(_) => panic!("only fresh values are held, not {other:?}"),
    }
}

fn put(local: &Local, key: &str, now: Instant, look: &Look) {
    let ticket = ticket(local, key, now);
    local.offer(ticket, &key.into(), look);
}

/// An entry is served, older by the time that it lay here, until the tier's time or the value's own is up, whichever is
/// first, counted from before Redis was asked.
#[test]
fn entries_end_with_the_shorter_time() {
    let (start, millis) = (Instant::now(), Duration::from_millis);
    for (tier_ms, ttl_ms, age_ms, ends_ms) in [(100, 60_000, 0, 100), (60_000, 1_000, 950, 50)] {
        let local = tier(millis(tier_ms));
        local.open();
        put(&local, "p:a", start, &fresh(7, ttl_ms, age_ms));
        assert_eq!(held(&local, "p:a", start), Some((7, age_ms)));
        let last = start + millis(ends_ms - 1);
        assert_eq!(held(&local, "p:a", last), Some((7, age_ms + ends_ms - 1)));
        assert_eq!(held(&local, "p:a", start + millis(ends_ms)), None);
    }
}

/// Only fresh values are kept: what is expired or absent is asked about every time.
#[test]
fn only_fresh_values_are_kept() {
    let (local, now) = (tier(MINUTE), Instant::now());
    local.open();
    let Look::Fresh { stored, age_ms } = fresh(1, 1, 2) else { unreachable!() };
    for look in
        [Look::Expired { stored, age_ms }, Look::Negative { generation: 1 }, Look::Absent { generation: 1 }]
    {
        put(&local, "p:a", now, &look);
        assert_eq!(held(&local, "p:a", now), None, "{look:?}");
    }
}

/// The race that would keep an old value for its whole time: the value is read, the word of its change comes, and then the
/// old answer is offered. It must not be kept. The next look's is.
#[test]
fn an_answer_overtaken_by_a_change_is_not_kept() {
    let (local, now) = (tier(MINUTE), Instant::now());
    local.open();
    let overtaken = ticket(&local, "p:a", now);
    local.forget("p:a");
    local.offer(overtaken, &"p:a".into(), &fresh(1, 60_000, 0));
    assert_eq!(held(&local, "p:a", now), None);
    put(&local, "p:a", now, &fresh(2, 60_000, 0));
    assert_eq!(held(&local, "p:a", now), Some((2, 0)));
    local.forget("p:a");
    assert_eq!(held(&local, "p:a", now), None, "and a change takes out what was kept");
}

/// Closed, the tier serves nothing and keeps nothing: neither what it held, nor answers to looks from before it closed, nor
/// (opened again) anything of an earlier session. A session that is over cannot close a later one.
#[test]
fn a_session_that_is_over_leaves_nothing() {
    let (local, now) = (tier(MINUTE), Instant::now());
    assert!(matches!(local.look("p:a", now), Known::Bypassed), "it begins closed");
    let first = local.open();
    put(&local, "p:a", now, &fresh(1, 60_000, 0));
    let under_way = ticket(&local, "p:b", now);
    assert!(local.close(first));
    assert!(matches!(local.look("p:a", now), Known::Bypassed));
    local.offer(under_way, &"p:b".into(), &fresh(1, 60_000, 0));
    let second = local.open();
    assert_eq!((held(&local, "p:a", now), held(&local, "p:b", now)), (None, None));
    local.offer(under_way, &"p:b".into(), &fresh(1, 60_000, 0));
    assert_eq!(held(&local, "p:b", now), None, "the answer is of the first session");
    assert!(!local.close(first), "a late word of the first connection's end");
    put(&local, "p:a", now, &fresh(2, 60_000, 0));
    assert_eq!(held(&local, "p:a", now), Some((2, 0)));
    assert!(local.close(second) && !local.close(second));
}

/// Keys under another prefix are nobody's business here: no changes are told of them.
#[test]
fn other_prefixes_are_bypassed() {
    let local = tier(MINUTE);
    local.open();
    assert!(matches!(local.look("q:a", Instant::now()), Known::Bypassed));
}
