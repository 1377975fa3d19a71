use herd_report::{explain, rungs};
use herd_scenario::{
    AbsentIds, AbsentReads, Deploy, DeployStrategy, Failing, Fault, FaultAction, FaultPart, Gate, Layer,
    LinkRule, Local, Lock, MembershipChange, OnUnavailable, OnWaitTimeout, Once, Peer, Popularity, Retry,
    Rung, Scenario, Shed, Stale, Start, Target, Waiter, Which, WriteGuard,
};

const TOML: &str = r#"
name = "explained"
hypothesis = "Nothing is run."
[fleet]
nodes = 50
[origin]
latency_ms = 300
[workload]
rate_per_s = 1500
[policy]
ttl_ms = 2000
[[rung]]
name = "none"
layers = []
[[claim]]
property = "rebuilds_per_boundary"
"#;

fn scenario() -> Scenario {
    Scenario::parse("explained.toml", TOML).unwrap_or_else(|mistakes| panic!("{mistakes}"))
}

/// A rung of these layers, each with settings of its own.
fn rung(name: &str, layers: &[Layer]) -> Rung {
    let has = |layer| layers.contains(&layer);
    let gate =
        |in_flight_max| Gate { in_flight_max, queue_max: 100, queue_wait_ms: 200, retry_after_ms: 1_000 };
    let stale = has(Layer::StaleWhileRevalidate) || has(Layer::StaleIfError);
    Rung {
        name: name.to_owned(),
        layers: layers.to_vec(),
        lock: has(Layer::Lock).then(lock),
        write_guard: if has(Layer::Lock) { WriteGuard::Fenced } else { WriteGuard::Unguarded },
        waiter: has(Layer::WaiterTimeout).then_some(Waiter { wait_ms: 100, then: OnWaitTimeout::Origin }),
        stale: stale.then(|| Stale { grace_ms: 1_000, safe_keys: vec!["item-*".to_owned()] }),
        jitter: has(Layer::Jitter).then_some(0.25),
        negative_ttl_ms: has(Layer::Negative).then_some(5_000),
        early_beta: has(Layer::Early).then_some(1.0),
        shed: has(Layer::Shed).then(|| Shed { edge: Some(gate(2_000)), origin: Some(gate(16)) }),
        local: has(Layer::Local).then_some(Local { ttl_ms: 500, entries_max: 10_000, incoherent: false }),
        start: if has(Layer::Prewarm) { Start::Prewarmed { top: 1_000, hit_rate: 0.7 } } else { Start::Warm },
        ..scenario().rungs.remove(0)
    }
}

fn lock() -> Lock {
    Lock {
        expiry_ms: 5_000,
        wait_ms: 5_000,
        renew: false,
        second_look: true,
        on_wait_timeout: OnWaitTimeout::Error,
        on_unavailable: OnUnavailable::FailOpen,
        unconditional_release: false,
        volatile_tokens: false,
    }
}

/// The explanation without the shipped scenarios that show the layer broken: more of them are shipped now and then.
fn told(scenario: &Scenario, rung: &Rung) -> String {
    let text = explain(scenario, rung);
    let Some(from) = text.find("Shown broken by") else { return text };
    let to = text[from..].find("\nWhat it leaves").expect("it follows") + from + 1;
    text[..from].to_owned() + &text[to..]
}

/// Goal: what shows a layer broken is found among the shipped scenarios, by the claim that has to catch it.
#[test]
fn broken_layers_are_shown() {
    let lock = explain(&scenario(), &rung("lock", &LOCKED));
    assert!(
        lock.contains("Shown broken by  chaos/regression/lock-without-second-look.toml: the next holder"),
        "{lock}"
    );
    let owner = explain(&scenario(), &rung("owner-routing", &[FLIGHT, Layer::OwnerRouting]));
    assert!(!owner.contains("Shown broken by"), "{owner}");
}

const FLIGHT: Layer = Layer::SingleFlight;
const LOCKED: [Layer; 2] = [FLIGHT, Layer::Lock];

macro_rules! explains {
    ($($test:ident: $layers:expr;)+) => {$(
        /// Goal: the layer's text reads well, with the scenario's numbers in it.
        #[test]
        fn $test() {
            let name = stringify!($test).replace('_', "-");
            insta::assert_snapshot!(told(&scenario(), &rung(&name, &$layers)));
        }
    )+};
}

explains! {
    none: [];
    single_flight: [FLIGHT];
    lock_outlives_rebuild: LOCKED;
    lock_alone: [Layer::Lock];
    waiter_timeout: [FLIGHT, Layer::Lock, Layer::WaiterTimeout];
    stale_while_revalidate: [FLIGHT, Layer::Lock, Layer::StaleWhileRevalidate];
    stale_per_process: [FLIGHT, Layer::StaleWhileRevalidate];
    stale_if_error: [FLIGHT, Layer::StaleIfError];
    xfetch: [FLIGHT, Layer::Early];
    owner_routing: [FLIGHT, Layer::OwnerRouting];
    shed: [FLIGHT, Layer::Shed];
    pre_warm: [FLIGHT, Layer::Lock, Layer::Prewarm];
    l1: [FLIGHT, Layer::Lock, Layer::Local];
    jitter_of_one_key: [FLIGHT, Layer::Jitter];
    full: [
        FLIGHT, Layer::Lock, Layer::Negative, Layer::KeyFilter, Layer::Jitter, Layer::Local, Layer::Early,
        Layer::StaleIfError, Layer::StaleWhileRevalidate,
    ];
}

/// Goal: five thousand keys of 300 s, the lesson's own figures: 225 s to 375 s, and the highest second of them.
#[test]
fn jitter() {
    let mut many = scenario();
    many.workload.keys = 5_000;
    many.workload.popularity = Popularity::Uniform;
    many.policy.ttl_ms = 300_000;
    insta::assert_snapshot!(told(&many, &rung("jitter", &[FLIGHT, Layer::Jitter])));
}

/// Goal: short TTLs have a highest bucket as well, of the width that the judge counts by; below that nothing spreads them.
#[test]
fn jitter_of_short_lives() {
    let mut many = scenario();
    (many.workload.keys, many.workload.popularity) = (5_000, Popularity::Uniform);
    let of = |spread: f64| {
        let text = told(&many, &Rung { jitter: Some(spread), ..rung("jitter", &[FLIGHT, Layer::Jitter]) });
        text.split_whitespace().collect::<Vec<_>>().join(" ")
    };
    // T = 2 s: buckets of 200 ms, five of them in 2jT = 1 s; 1,000 + sqrt(2,000 ln 5).
    let quarter = of(0.25);
    assert!(quarter.contains("L = K * 200 ms/(2jT) = 1,000 on average over 1 s"), "{quarter}");
    assert!(quarter.contains("m buckets of 200 ms about L + sqrt(2 L ln m) = 1,057;"), "{quarter}");
    assert!(of(0.05).contains("expire within 2jT = 0.2 s instead of at one moment"), "{}", of(0.05));
}

/// Goal: what rests on the lock quotes what this lock leaves, which is not always one.
#[test]
fn what_rests_on_a_lock_that_leaves_more() {
    let of = |change: &dyn Fn(&mut Lock), layers: &[Layer]| {
        let mut rung = rung("rung", layers);
        change(rung.lock.as_mut().expect("it has a lock"));
        told(&scenario(), &rung).split_whitespace().collect::<Vec<_>>().join(" ")
    };
    let short = |lock: &mut Lock| lock.expiry_ms = 120;
    let hasty = |lock: &mut Lock| (lock.wait_ms, lock.on_wait_timeout) = (100, OnWaitTimeout::Origin);
    for layer in [Layer::StaleWhileRevalidate, Layer::Early] {
        let layers = [FLIGHT, Layer::Lock, layer];
        let text = of(&short, &layers);
        assert!(text.contains("ceil(D/E) = 3 for the fleet (the lock's lease ends before D)"), "{text}");
        let text = of(&hasty, &layers);
        assert!(text.contains("N = 50 for the fleet (waiters give up the lock before D)"), "{text}");
        for one in [&|lock: &mut Lock| (lock.expiry_ms, lock.renew) = (120, true), &|_: &mut Lock| ()]
            as [&dyn Fn(&mut Lock); 2]
        {
            assert!(of(one, &layers).contains("1 for the fleet (the lock)"), "{}", of(one, &layers));
        }
    }
    let negative = of(&short, &[FLIGHT, Layer::Lock, Layer::Negative]);
    assert!(negative.contains("queries: ceil(D/E) = 3 for the fleet"), "{negative}");
}

/// Goal: what remembering an absence bounds, and that it does not bound ids that nobody asks for twice.
#[test]
fn negative() {
    let mut absent = scenario();
    absent.workload.absent = Some(AbsentReads { share: 0.2, ids: AbsentIds::Fixed { count: 10 } });
    let layers = [FLIGHT, Layer::Lock, Layer::Negative];
    insta::assert_snapshot!(told(&absent, &rung("negative", &layers)));
    absent.workload.absent = Some(AbsentReads { share: 0.2, ids: AbsentIds::Random });
    insta::assert_snapshot!("negative_flood", told(&absent, &rung("negative", &layers)));
    let layers = [FLIGHT, Layer::Lock, Layer::Negative, Layer::KeyFilter];
    insta::assert_snapshot!("key_filter", told(&absent, &rung("key-filter", &layers)));
}

/// Goal: the lock's cases are told apart by their numbers: E < D with its exact count, renewal, waiters that give up, knobs of
/// known-bad strategies.
#[test]
fn cases_of_the_lock() {
    let of = |lock: Lock, write_guard| {
        let text = explain(&scenario(), &Rung { lock: Some(lock), write_guard, ..rung("lock", &LOCKED) });
        text.split_whitespace().collect::<Vec<_>>().join(" ")
    };
    let short = of(Lock { expiry_ms: 100, ..lock() }, WriteGuard::Fenced);
    assert!(
        short.contains("Exactly ceil(D/E) = ceil(300/100) = 3 starts") && short.contains("accepts 1 write"),
        "{short}"
    );
    let unfenced = of(Lock { expiry_ms: 100, ..lock() }, WriteGuard::Unguarded);
    assert!(
        unfenced.contains("each of them writes") && unfenced.contains("Known bad: writes are not fenced"),
        "{unfenced}"
    );
    let renewed = of(Lock { renew: true, expiry_ms: 100, ..lock() }, WriteGuard::Fenced);
    assert!(
        renewed.contains("plus 1 for each pause or partition")
            && renewed.contains("renewed while it rebuilds"),
        "{renewed}"
    );
    let impatient = Lock { wait_ms: 100, on_wait_timeout: OnWaitTimeout::Origin, ..lock() };
    assert!(of(impatient, WriteGuard::Fenced).contains("up to N = 50 starts"));
    let bad = Lock { second_look: false, unconditional_release: true, volatile_tokens: true, ..lock() };
    assert_eq!(of(bad, WriteGuard::Fenced).matches("Known bad:").count(), 3);
    let closed = Lock { on_unavailable: OnUnavailable::FailClosed, ..lock() };
    assert!(of(closed, WriteGuard::Fenced).contains("nobody rebuilds (fail-closed)"));
}

/// Goal: a reader's patience is told by its end: an error, a rebuild of its own, a stale value, or never.
#[test]
fn cases_of_patience() {
    let of = |wait_ms, then| {
        let rung = rung("patience", &[FLIGHT, Layer::Lock, Layer::WaiterTimeout, Layer::StaleIfError]);
        let mut rung = Rung { waiter: Some(Waiter { wait_ms, then }), ..rung };
        rung.layers.pop();
        explain(&scenario(), &rung).split_whitespace().collect::<Vec<_>>().join(" ")
    };
    assert!(
        of(100, OnWaitTimeout::Origin)
            .contains("adds about r*(D-W) = 1,500/s * (300 - 100) ms = 300 rebuilds")
    );
    assert!(of(100, OnWaitTimeout::Error).contains("About r*(D-W) = 300 readers get an error"));
    assert!(
        of(100, OnWaitTimeout::Stale).contains("no answer is older than T + G = 2,000 + 1,000 = 3,000 ms")
    );
    assert!(of(400, OnWaitTimeout::Origin).contains("W >= D = 300 ms"));
}

/// Goal: what happens to a rung while it runs is told with it.
#[test]
fn events_of_a_rung() {
    let mut scenario = scenario();
    scenario.origin.failing = Some(Failing { at_ms: 3_000, for_ms: 2_000, share: 1.0 });
    let rung = Rung {
        start: Start::Cold,
        retry: Some(Retry::Fixed { attempts: 5, backoff_ms: 10 }),
        deploy: Some(Deploy {
            at_ms: 4_000,
            strategy: DeployStrategy::Versioned,
            fill_per_s: 100,
            stop_in_flight: 8,
        }),
        membership: vec![MembershipChange { at_ms: 1_000, for_ms: 500, owner_of: "item-1".to_owned() }],
        ..rung("events", &[FLIGHT, Layer::Shed])
    };
    insta::assert_snapshot!(told(&scenario, &rung));
}

/// Goal: without a rung's name the list shows what there is to explain, one line each.
#[test]
fn list_of_rungs() {
    let mut ladder = scenario();
    ladder.rungs = vec![
        rung("none", &[]),
        rung("single-flight", &[FLIGHT]),
        rung("lock", &LOCKED),
        rung("stale-while-revalidate", &[FLIGHT, Layer::Lock, Layer::StaleWhileRevalidate]),
    ];
    insta::assert_snapshot!(rungs(&ladder));
}

/// A fault with everything else as usual.
fn fault(name: &str, action: FaultAction) -> Fault {
    let for_ms = if action.has_repair() { 2_000 } else { 0 };
    let (name, rungs, once) = (name.to_owned(), None, Once::Now);
    Fault { name, rungs, at_ms: 3_000, once, for_ms, times: 1, every_ms: 0, action }
}

/// What is said of these faults in this rung.
fn faults_told(rung: &Rung, faults: Vec<Fault>) -> String {
    let scenario = Scenario { faults, rungs: vec![rung.clone()], ..scenario() };
    let text = explain(&scenario, rung);
    let from = text.find("Its faults").expect("they are told");
    let to = text[from..].find("\nWhat it leaves").map_or(text.len(), |to| from + to + 1);
    let to = text[from..to].find("\nShown broken by").map_or(to, |shown| from + shown + 1);
    text[from..to].to_owned()
}

fn nodes(which: Which) -> Target {
    Target { part: FaultPart::CacheNode, which }
}

fn part(part: FaultPart) -> Target {
    Target { part, which: Which::All }
}

fn link(nodes: Which, to: Peer, rule: LinkRule) -> FaultAction {
    FaultAction::Link { nodes, to, rule }
}

fn holder() -> Which {
    Which::Holder { key: "item-1".to_owned() }
}

/// Goal: what ends or freezes a process is told with what it leaves and what breaks that, part by part.
#[test]
fn faults_of_processes() {
    let pause = |target| FaultAction::Pause(target);
    let kill = |target| FaultAction::Kill(target);
    let faults = vec![
        Fault { for_ms: 6_000, ..fault("holder-paused", pause(nodes(holder()))) },
        fault("holder-paused-briefly", pause(nodes(holder()))),
        Fault {
            once: Once::Rebuild { key: "item-1".to_owned(), after_ms: 100 },
            times: 3,
            every_ms: 4_000,
            ..fault("holder-killed", kill(nodes(holder())))
        },
        fault("two-killed", kill(nodes(Which::Index(vec![3, 7])))),
        fault("one-stopped", FaultAction::Stop(nodes(Which::Some(1)))),
        fault("edge-paused", pause(part(FaultPart::Edge))),
        fault("lock-service-killed", kill(part(FaultPart::LockService))),
        fault("origin-stopped", FaultAction::Stop(part(FaultPart::Origin))),
        fault("database-paused", pause(part(FaultPart::Database))),
        fault("redis-paused", pause(part(FaultPart::Redis))),
        fault("redis-killed", kill(part(FaultPart::Redis))),
        fault("rolling-restart", FaultAction::RollingRestart),
        fault("scale-out", FaultAction::ScaleOut { from: 25 }),
    ];
    insta::assert_snapshot!(
        "faults_of_processes_with_the_lock",
        faults_told(&rung("lock", &LOCKED), faults.clone())
    );
    let some: Vec<Fault> = faults.into_iter().skip(2).filter(|fault| fault.times == 1).collect();
    insta::assert_snapshot!(
        "faults_of_processes_alone",
        faults_told(&rung("alone", &[FLIGHT, Layer::StaleIfError]), some)
    );
}

/// Goal: what is done to Redis is told by what it loses: nothing, everything, what was written since, what there is no room for.
#[test]
fn faults_of_redis() {
    let faults = vec![
        Fault { times: 10, every_ms: 200, for_ms: 100, ..fault("empty", FaultAction::RedisRestartEmpty) },
        fault("aof", FaultAction::RedisRestartAof),
        Fault {
            once: Once::Rebuild { key: "item-1".to_owned(), after_ms: 0 },
            ..fault("flush", FaultAction::RedisFlush)
        },
        fault("evict", FaultAction::RedisEvict { room_kb: 64 }),
        fault("promote", FaultAction::RedisPromote),
    ];
    insta::assert_snapshot!(
        "faults_of_redis_with_the_lock",
        faults_told(&rung("lock", &LOCKED), faults.clone())
    );
    insta::assert_snapshot!("faults_of_redis_uncoordinated", faults_told(&rung("none", &[]), faults));
}

/// Goal: a link that is slow is told from one that is cut, for each far end.
#[test]
fn faults_of_links() {
    let all = [Peer::Redis, Peer::LockService, Peer::Origin];
    let slow = LinkRule::Delay { delay_ms: 40, jitter_ms: 10 };
    let mut faults: Vec<Fault> = Vec::new();
    for to in all {
        faults.push(fault(&format!("cut-{to}"), link(Which::Some(3), to, LinkRule::BlackHole)));
        faults.push(fault(&format!("slow-{to}"), link(Which::All, to, slow)));
    }
    faults.push(fault("lossy", link(Which::Minority, Peer::Redis, LinkRule::Loss { share: 0.1 })));
    faults.push(fault("reset", link(Which::Index(vec![0]), Peer::Origin, LinkRule::Reset)));
    insta::assert_snapshot!("faults_of_links", faults_told(&rung("lock", &LOCKED), faults));
    let closed = Rung {
        lock: Some(Lock { on_unavailable: OnUnavailable::FailClosed, ..lock() }),
        ..rung("fail-closed", &[FLIGHT, Layer::Lock, Layer::StaleIfError])
    };
    let cut = vec![fault("cut", link(Which::All, Peer::LockService, LinkRule::BlackHole))];
    insta::assert_snapshot!("a_cut_link_fail_closed", faults_told(&closed, cut));
    let cut = vec![fault("cut", link(Which::Some(1), Peer::Origin, LinkRule::BlackHole))];
    insta::assert_snapshot!("a_cut_link_without_the_lock", faults_told(&rung("alone", &[FLIGHT]), cut));
}

/// Goal: what is done to the origin, the lock's clock and the load is told in numbers.
#[test]
fn faults_of_load_and_clocks() {
    let faults = vec![
        fault("stuck", FaultAction::StuckQuery { queries: 1 }),
        fault("all-stuck", FaultAction::StuckQuery { queries: 16 }),
        fault("fast-clock", FaultAction::LockClock { rate: 50.0 }),
        fault("burst", FaultAction::Burst { factor: 2.5 }),
        fault("flood", FaultAction::Flood { rate_per_s: 500 }),
        fault("hang-up", FaultAction::HangUp { share: 0.5 }),
    ];
    insta::assert_snapshot!(
        "faults_of_load_with_the_lock",
        faults_told(&rung("lock", &LOCKED), faults.clone())
    );
    let layers = [FLIGHT, Layer::Negative, Layer::KeyFilter];
    insta::assert_snapshot!("faults_of_load_with_a_filter", faults_told(&rung("filter", &layers), faults));
}
