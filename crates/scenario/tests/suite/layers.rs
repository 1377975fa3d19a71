//! What the tables of the layers say, and what they say when they are left out.

use herd_scenario::{
    AbsentIds, AbsentReads, Deploy, DeployStrategy, Failing, FlightUntil, Gate, Layer, Local, Lock,
    OnOriginError, OnUnavailable, OnWaitTimeout, Popularity, Retry, Rung, Scenario, Stale, Start, Waiter,
    WriteGuard,
};

use crate::SMALL;

fn parsed(text: &str) -> Scenario {
    Scenario::parse("t.toml", text).unwrap_or_else(|mistakes| panic!("{mistakes}"))
}

/// The small scenario with another rung.
fn rung(layers: &str, tables: &str) -> Rung {
    let old = "[[rung]]\nname = \"lock\"\nlayers = [\"single-flight\", \"lock\"]\n";
    let new = format!("[[rung]]\nname = \"lock\"\nlayers = [{layers}]\n{tables}\n");
    parsed(&SMALL.replace(old, &new)).rungs.remove(0)
}

/// The small scenario with more in a section.
fn with(section: &str, more: &str) -> Scenario {
    parsed(&SMALL.replace(&format!("[{section}]"), &format!("[{section}]\n{more}")))
}

/// Goal: every key of every table is read, and lands where it belongs.
#[test]
fn every_table_is_read() {
    let all = Layer::ALL.iter().map(|layer| format!("\"{layer}\"")).collect::<Vec<_>>().join(", ");
    let tables = r#"
flight_second_look = false
flight_until = "fetched"
on_origin_error = "serial-retry"
write_guard = "unguarded"
lock = { expiry_ms = 1, wait_ms = 2, renew = true, second_look = false, on_wait_timeout = "stale", on_unavailable = "fail-closed", unconditional_release = true, volatile_tokens = true }
waiter = { wait_ms = 3, then = "origin" }
stale = { grace_ms = 4, safe_keys = ["item-1", "item-*"] }
jitter = { spread = 0.5 }
negative = { ttl_ms = 6 }
xfetch = { beta = 2 }
shed.edge = { in_flight_max = 7, queue_max = 8, queue_wait_ms = 9, retry_after_ms = 10 }
shed.origin = { in_flight_max = 11 }
l1 = { ttl_ms = 12, entries_max = 13, incoherent = true }
pre-warm = { top = 14, hit_rate = 0.8 }
retry = { policy = "fixed", attempts = 4, backoff_ms = 15 }
deploy = { at_ms = 100, strategy = "versioned", fill_per_s = 16, stop_in_flight = 17 }
membership = [{ at_ms = 200, for_ms = 18, owner_of = "item-1" }, { at_ms = 300, owner_of = "item-1" }]
"#;
    let rung = rung(&all, tables);
    assert_eq!(rung.layers, Layer::ALL);
    assert!(!rung.flight_second_look);
    assert_eq!((rung.flight_until, rung.on_origin_error), (FlightUntil::Fetched, OnOriginError::SerialRetry));
    assert_eq!(rung.write_guard, WriteGuard::Unguarded);
    let lock = Lock {
        expiry_ms: 1,
        wait_ms: 2,
        renew: true,
        second_look: false,
        on_wait_timeout: OnWaitTimeout::Stale,
        on_unavailable: OnUnavailable::FailClosed,
        unconditional_release: true,
        volatile_tokens: true,
    };
    assert_eq!(rung.lock, Some(lock));
    assert_eq!(rung.waiter, Some(Waiter { wait_ms: 3, then: OnWaitTimeout::Origin }));
    assert_eq!(
        rung.stale,
        Some(Stale { grace_ms: 4, safe_keys: vec!["item-1".to_owned(), "item-*".to_owned()] })
    );
    assert_eq!((rung.jitter, rung.negative_ttl_ms, rung.early_beta), (Some(0.5), Some(6), Some(2.0)));
    let shed = rung.shed.unwrap();
    assert_eq!(
        shed.edge,
        Some(Gate { in_flight_max: 7, queue_max: 8, queue_wait_ms: 9, retry_after_ms: 10 })
    );
    assert_eq!(
        shed.origin,
        Some(Gate { in_flight_max: 11, queue_max: 0, queue_wait_ms: 0, retry_after_ms: 1_000 })
    );
    assert_eq!(rung.local, Some(Local { ttl_ms: 12, entries_max: 13, incoherent: true }));
    assert_eq!(rung.start, Start::Prewarmed { top: 14, hit_rate: 0.8 });
    assert_eq!(rung.retry, Some(Retry::Fixed { attempts: 4, backoff_ms: 15 }));
    let deploy =
        Deploy { at_ms: 100, strategy: DeployStrategy::Versioned, fill_per_s: 16, stop_in_flight: 17 };
    assert_eq!(rung.deploy, Some(deploy));
    let changes: Vec<(u32, u32)> =
        rung.membership.iter().map(|change| (change.at_ms, change.for_ms)).collect();
    assert_eq!(changes, [(200, 18), (300, 0)]);
}

/// Goal: a layer that is named needs no table where a default makes sense; what is not named is off.
#[test]
fn tables_have_defaults() {
    let all =
        r#""single-flight", "jitter", "negative", "xfetch", "l1", "pre-warm", "key-filter", "owner-routing""#;
    let on = rung(all, "");
    assert_eq!((on.jitter, on.negative_ttl_ms, on.early_beta), (Some(0.25), Some(5_000), Some(1.0)));
    assert_eq!(on.local, Some(Local { ttl_ms: 1_000, entries_max: 10_000, incoherent: false }));
    assert_eq!(on.start, Start::Prewarmed { top: 1_000, hit_rate: 0.7 });
    let off = rung("", "");
    assert_eq!((off.jitter, off.negative_ttl_ms, off.early_beta), (None, None, None));
    assert_eq!((off.local, off.shed, off.waiter, off.stale), (None, None, None, None));
    assert_eq!((off.start, off.lock, off.retry, off.deploy), (Start::Warm, None, None, None));
    assert_eq!(rung("", "start = \"cold\"").start, Start::Cold);
    // As long again as it lived.
    assert_eq!(
        rung("\"stale-if-error\"", "stale = { safe_keys = [\"item-1\"] }").stale.unwrap().grace_ms,
        500
    );
}

/// Goal: writes are fenced by default where a layer promises something about what is written, and nowhere else.
#[test]
fn which_layers_fence() {
    for layer in Layer::ALL {
        let tables = match layer {
            Layer::WaiterTimeout => "waiter = { wait_ms = 3 }",
            Layer::StaleWhileRevalidate | Layer::StaleIfError => "stale = { safe_keys = [\"item-1\"] }",
            Layer::Shed => "shed.edge = { in_flight_max = 1 }",
            _ => "",
        };
        let fenced = rung(&format!("\"{layer}\""), tables).write_guard == WriteGuard::Fenced;
        let promises = [Layer::Lock, Layer::Negative, Layer::StaleWhileRevalidate].contains(layer);
        assert_eq!(fenced, promises, "{layer}");
    }
}

/// Goal: a wait that ends in serving stale brings the table with it, without any other layer.
#[test]
fn a_wait_may_end_in_serving_stale() {
    let stale = "stale = { safe_keys = [\"item-1\"] }";
    let waiter =
        rung("\"waiter-timeout\"", &format!("waiter = {{ wait_ms = 3, then = \"stale\" }}\n{stale}"));
    assert!(waiter.stale.is_some());
    let lock = format!("lock = {{ on_wait_timeout = \"stale\" }}\n{stale}");
    assert!(rung("\"lock\"", &lock).stale.is_some());
    // Who waits for the lock may leave it for the origin, with a flight under it or without.
    let leaves = rung("\"lock\", \"waiter-timeout\"", "waiter = { wait_ms = 3, then = \"origin\" }");
    assert_eq!(leaves.waiter.unwrap().then, OnWaitTimeout::Origin);
}

/// Goal: the load's own tables are read.
#[test]
fn the_load_is_read() {
    let hot = with("workload", "keys = 40\npopularity = \"hot\"\nhot_share = 0.8").workload;
    assert_eq!(hot.popularity, Popularity::Hot { share: 0.8 });
    let window = with("workload", "boundaries = 0\nwindow_ms = 2500").workload;
    assert_eq!((window.boundaries, window.window_ms), (0, Some(2_500)));
    let fixed =
        with("workload", "insert_every_ms = 50\nabsent = { share = 1, ids = \"fixed\", count = 3 }").workload;
    assert_eq!(fixed.absent, Some(AbsentReads { share: 1.0, ids: AbsentIds::Fixed { count: 3 } }));
    assert_eq!(fixed.insert_every_ms, Some(50));
    let random = with("workload", "absent = { share = 0.5, ids = \"random\" }").workload;
    assert_eq!(random.absent, Some(AbsentReads { share: 0.5, ids: AbsentIds::Random }));
    let failing = with("origin", "failing = { at_ms = 100, for_ms = 200 }").origin.failing;
    assert_eq!(failing, Some(Failing { at_ms: 100, for_ms: 200, share: 1.0 }));
}

/// Goal: each way to come again is read, with defaults for everything but its name.
#[test]
fn retries_are_read() {
    let retry = |table: &str| with("workload", &format!("retry = {{ {table} }}")).workload.retry;
    assert_eq!(retry("policy = \"never\""), Retry::Never);
    assert_eq!(retry("policy = \"fixed\""), Retry::Fixed { attempts: 3, backoff_ms: 100 });
    assert_eq!(
        retry("policy = \"exponential\", backoff_ms = 20"),
        Retry::Exponential { attempts: 3, backoff_ms: 20, backoff_ms_max: 200 }
    );
    assert_eq!(
        retry("policy = \"budget\", attempts = 5, backoff_ms_max = 700, share = 0.2"),
        Retry::Budget { attempts: 5, backoff_ms: 100, backoff_ms_max: 700, share: 0.2 }
    );
}
