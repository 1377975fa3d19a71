use super::select::{drawn, stream};

fn draw(seed: u64, fault: &str, turn: u32) -> Vec<u32> {
    drawn((0..50).collect(), 5, (seed, fault, turn))
}

/// Who is hit follows from the seed, the fault and its turn, and from nothing else.
#[test]
fn targets_are_drawn_from_the_seed() {
    assert_eq!(draw(1, "a", 0), draw(1, "a", 0));
    assert_ne!(draw(1, "a", 0), draw(2, "a", 0));
    assert_ne!(draw(1, "a", 0), draw(1, "b", 0));
    assert_ne!(draw(1, "a", 0), draw(1, "a", 1));
    assert_ne!(stream(1, "a", 0), stream(1, "a", 1));
}

/// As many as are wanted, each once, in order, out of those that there are.
#[test]
fn what_is_drawn_is_a_choice() {
    for turn in 0..100 {
        let drawn = draw(7, "some", turn);
        assert_eq!(drawn.len(), 5);
        assert!(drawn.is_sorted_by(|a, b| a < b), "{drawn:?}");
    }
    let hit: std::collections::BTreeSet<u32> = (0..200).flat_map(|turn| draw(7, "some", turn)).collect();
    assert_eq!(hit.len(), 50, "each node has its turn");
    assert_eq!(drawn(vec![3, 9], 5, (1, "all", 0)), [3, 9]);
    assert!(drawn(Vec::new(), 5, (1, "none", 0)).is_empty());
}
