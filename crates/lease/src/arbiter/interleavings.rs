//! The arbiter over the pure lease table, under random interleavings.

use super::tests::World;
use super::*;
use proptest::prelude::*;

const OWNERS: [&str; 4] = ["a", "b", "c", "d"];
const NAMES: [&str; 2] = ["k", "l"];

/// Whom a delivered grant made holder: by name, the owner and token last delivered and not released since.
type Holders = BTreeMap<&'static str, (&'static str, Token)>;

fn deliver(
    world: &mut World,
    calls: &BTreeMap<CallId, (&'static str, &'static str)>,
    call: CallId,
    holders: &mut Holders,
) {
    if let Some(token) = world.token_of(call) {
        let (name, owner) = calls[&call];
        if holders.get(name).is_none_or(|(_, held)| *held < token) {
            holders.insert(name, (owner, token));
        }
        world.arbiter.handle_delivered(world.now, call);
        world.collect();
    }
}

fn interleave(steps: Vec<(u8, u8, u8, u16)>) -> Result<(), TestCaseError> {
    let mut world = World::new();
    let mut calls: BTreeMap<CallId, (&'static str, &'static str)> = BTreeMap::new();
    let (mut open, mut cancelled, mut holders) = (BTreeSet::new(), BTreeSet::new(), Holders::new());
    for (step, x, y, ms) in steps {
        let (name, owner) = (NAMES[usize::from(x) % 2], OWNERS[usize::from(y) % 4]);
        let picked = open.iter().copied().nth(usize::from(x) % open.len().max(1));
        let index = usize::from(x) % world.pending.len().max(1);
        match step {
            0..=3 => {
                let call = world.acquire(name, owner, u32::from(ms) + 1, u32::from(ms) * 2);
                calls.insert(call, (name, owner));
                open.insert(call);
            }
            4..=7 if !world.pending.is_empty() => world.perform(index),
            8 if !world.pending.is_empty() => world.fail(index, y % 2 == 0),
            9 if !world.late.is_empty() => world.apply_late(usize::from(x) % world.late.len()),
            10 => {
                let end = match y / 4 % 4 {
                    0 => HolderEnd::ValueWritten,
                    1 => HolderEnd::Failed(HolderFailure::NoSuchRow { generation: 7 }),
                    _ => HolderEnd::Abandoned,
                };
                if world.release(name, owner, &end) {
                    holders.remove(name);
                }
            }
            11 => {
                if let Some(call) = picked {
                    open.remove(&call);
                    cancelled.insert(call);
                    world.cancel(call);
                }
            }
            12 | 13 => {
                if let Some(call) = picked
                    && world.replies.contains_key(&call)
                {
                    open.remove(&call);
                    deliver(&mut world, &calls, call, &mut holders);
                }
            }
            _ => {
                world.now = world.now.plus_ms(ms.into());
                world.arbiter.handle_timeout(world.now);
                world.collect();
            }
        }
        for name in NAMES {
            let tries =
                world.pending.iter().filter(|a| matches!(a, Action::Try { name: n, .. } if **n == *name));
            prop_assert!(tries.count() <= 1, "one asks for a lease at a time");
        }
    }
    // From here the store answers, every caller takes its answer, and time passes in small steps, so that leases end
    // only when their time has come.
    for _ in 0..2_000 {
        world.perform_all();
        for call in std::mem::take(&mut open) {
            if world.replies.contains_key(&call) {
                deliver(&mut world, &calls, call, &mut holders);
            } else {
                open.insert(call);
            }
        }
        world.perform_all();
        if open.is_empty() && world.arbiter.is_idle() {
            break;
        }
        world.advance_ms(100);
    }
    prop_assert!(
        open.is_empty(),
        "calls without an answer: {open:?} {:?} now {:?}",
        world.arbiter,
        world.now
    );
    prop_assert!(world.arbiter.is_idle(), "left behind: {:?}", world.arbiter);
    while !world.late.is_empty() {
        world.apply_late(0);
    }
    for name in NAMES {
        if let Some(view) = world.table.inspect(world.now, name) {
            let holder = holders.get(name).map(|(owner, token)| ((*owner).to_owned(), *token));
            prop_assert_eq!(holder, Some((view.owner, view.token)), "an orphan lease");
        }
    }
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2_000, ..ProptestConfig::default() })]

    /// However acquires, hang-ups, releases, lost answers, late applications and time interleave: one try a name at a
    /// time, every call answered, nothing left behind, and no lease that nobody was told of.
    #[test]
    fn no_call_is_lost_and_no_lease_is_orphaned(
        steps in prop::collection::vec((0_u8..18, any::<u8>(), any::<u8>(), 0_u16..700), 1..120)
    ) {
        interleave(steps)?;
    }
}
