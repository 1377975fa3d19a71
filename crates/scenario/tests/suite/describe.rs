//! Faults in words.

use herd_scenario::{Fault, FaultAction, FaultPart, LinkRule, Once, Peer, Target, Which};

fn fault(action: FaultAction) -> Fault {
    Fault {
        name: "f".to_owned(),
        rungs: None,
        at_ms: 1_234_567,
        once: Once::Now,
        for_ms: 1_000,
        times: 1,
        every_ms: 0,
        action,
    }
}

/// Goal: a line that says what, to whom, when, for how long, and how often.
#[test]
fn one_line_says_it_all() {
    let key = || "item-1".to_owned();
    let target = Target { part: FaultPart::CacheNode, which: Which::Holder { key: key() } };
    let holder = Fault {
        name: "holder-paused".to_owned(),
        at_ms: 2_000,
        once: Once::Rebuild { key: key(), after_ms: 0 },
        for_ms: 1_500,
        times: 3,
        every_ms: 4_000,
        ..fault(FaultAction::Pause(target))
    };
    assert_eq!(
        holder.to_string(),
        "holder-paused: pause cache-node (holder of item-1) at 2,000 ms once a rebuild runs, for 1,500 ms, 3 times, \
         every 4,000 ms"
    );
    let waits = Fault { once: Once::Rebuild { key: key(), after_ms: 0 }, ..fault(FaultAction::RedisFlush) };
    assert_eq!(waits.to_string(), "f: redis-flush at 1,234,567 ms once a rebuild of item-1 runs");
    let later =
        Fault { once: Once::Rebuild { key: key(), after_ms: 1_200 }, ..fault(FaultAction::RedisFlush) };
    assert_eq!(later.to_string(), "f: redis-flush at 1,234,567 ms once 1,200 ms into a rebuild of item-1");
}

/// Goal: each kind says what is particular to it.
#[test]
fn each_kind_in_words() {
    let link = |nodes, rule| FaultAction::Link { nodes, to: Peer::Redis, rule };
    let part = |part, which| Target { part, which };
    for (action, words) in [
        (FaultAction::Kill(part(FaultPart::Redis, Which::All)), "kill redis"),
        (FaultAction::Stop(part(FaultPart::CacheNode, Which::All)), "stop cache-node (all)"),
        (FaultAction::Stop(part(FaultPart::CacheNode, Which::Minority)), "stop cache-node (minority)"),
        (FaultAction::RollingRestart, "rolling-restart"),
        (FaultAction::ScaleOut { from: 25 }, "scale-out from 25 nodes"),
        (FaultAction::RedisRestartEmpty, "redis-restart-empty"),
        (FaultAction::RedisEvict { room_kb: 1_024 }, "redis-evict (1,024 kB of room)"),
        (link(Which::Some(3), LinkRule::BlackHole), "link of cache-node (3 drawn) to redis: black hole"),
        (link(Which::Index(vec![0, 4]), LinkRule::Reset), "link of cache-node (number 0, 4) to redis: reset"),
        (
            link(Which::All, LinkRule::Delay { delay_ms: 50, jitter_ms: 0 }),
            "link of cache-node (all) to redis: 50 ms later",
        ),
        (
            link(Which::All, LinkRule::Delay { delay_ms: 50, jitter_ms: 10 }),
            "link of cache-node (all) to redis: 50 to 60 ms later",
        ),
        (link(Which::All, LinkRule::Loss { share: 0.25 }), "link of cache-node (all) to redis: 25 % lost"),
        (FaultAction::StuckQuery { queries: 1 }, "stuck-query (1 query)"),
        (FaultAction::StuckQuery { queries: 2 }, "stuck-query (2 queries)"),
        (FaultAction::LockClock { rate: 4.0 }, "lock-clock at 4 times its rate"),
        (FaultAction::Burst { factor: 2.5 }, "burst of 2.5 times the load"),
        (FaultAction::Flood { rate_per_s: 5_000 }, "flood of 5,000 absent ids a second"),
        (FaultAction::HangUp { share: 0.5 }, "hang-up of 50 % of the requests"),
    ] {
        assert_eq!(action.to_string(), words);
        assert!(words.starts_with(action.kind().name()));
        assert_eq!(fault(action.clone()).to_string().contains(", for 1,000 ms"), action.has_repair());
    }
}
