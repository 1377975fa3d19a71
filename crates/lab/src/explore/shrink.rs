//! Reducing a plan that fails to the smallest that still does: it knows texts and whether they fail, and neither fleets nor files.

use std::collections::HashSet;

/// A candidate that passes this often is believed to pass: real fleets scatter.
const PASSES: u32 = 2;

/// How a run of a candidate ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Ended {
    /// Not as expected.
    Fails,
    /// As expected.
    Passes,
    /// Nothing can be said: it does not count as failing, nor as passing.
    Unknown,
    /// No further run begins: interrupted, or out of time.
    Stop,
}

/// What is left of a plan.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Smallest {
    /// The smallest that was seen to fail.
    pub(super) text: String,
    /// Runs that it took.
    pub(super) runs: u32,
    /// Whether every smaller plan was seen to pass; else the runs were used up, it was told to stop, or of one nothing could be said.
    pub(super) minimal: bool,
}

/// Goes from `text`, which fails, to smaller plans that fail, as long as there are some and `runs` are left.
///
/// # Errors
/// What `run` says.
pub(super) async fn shrink(
    text: String,
    runs_max: u32,
    smaller: impl Fn(&str) -> Vec<String>,
    mut run: impl AsyncFnMut(&str) -> anyhow::Result<Ended>,
) -> anyhow::Result<Smallest> {
    let mut smallest = Smallest { text, runs: 0, minimal: false };
    let mut seen = HashSet::from([smallest.text.clone()]);
    'smaller: loop {
        let mut all_judged = true;
        for candidate in smaller(&smallest.text) {
            if !seen.insert(candidate.clone()) {
                continue;
            }
            for _ in 0..PASSES {
                if smallest.runs >= runs_max {
                    return Ok(smallest);
                }
                smallest.runs += 1;
                match run(&candidate).await? {
                    Ended::Passes => {}
                    Ended::Unknown => all_judged = false,
                    Ended::Fails => {
                        smallest.text = candidate;
                        continue 'smaller;
                    }
                    Ended::Stop => return Ok(smallest),
                }
            }
        }
        smallest.minimal = all_judged;
        return Ok(smallest);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Plans are words. Without one of them, each in turn.
    fn without_one(plan: &str) -> Vec<String> {
        let words: Vec<&str> = plan.split_whitespace().collect();
        let without = |gone: usize| {
            let left = words.iter().enumerate().filter(|(place, _)| *place != gone);
            left.map(|(_, word)| *word).collect::<Vec<_>>().join(" ")
        };
        (0..words.len()).map(without).collect()
    }

    /// A fake runner: a plan fails if it holds both culprits. Gives the smallest plan and what was run.
    async fn with_fake_runner(
        runs_max: u32,
        ended: impl Fn(&str, usize) -> Ended,
    ) -> (Smallest, Vec<String>) {
        let mut asked: Vec<String> = Vec::new();
        let plan = "flush kill pause delay burst".to_owned();
        let smallest = shrink(plan, runs_max, without_one, async |plan| {
            asked.push(plan.to_owned());
            Ok(ended(plan, asked.len()))
        });
        let smallest = smallest.await.unwrap();
        (smallest, asked)
    }

    fn fails_with_both(plan: &str) -> Ended {
        if plan.contains("kill") && plan.contains("delay") { Ended::Fails } else { Ended::Passes }
    }

    /// Goal: what is left is what it takes to fail, and each smaller plan was seen to pass twice.
    #[tokio::test]
    async fn the_smallest_plan_is_found() {
        let (smallest, asked) = with_fake_runner(100, |plan, _| fails_with_both(plan)).await;
        assert_eq!((smallest.text.as_str(), smallest.minimal), ("kill delay", true));
        assert_eq!(smallest.runs as usize, asked.len());
        for smaller in ["kill", "delay"] {
            assert_eq!(asked.iter().filter(|plan| *plan == smaller).count(), 2, "{asked:?}");
        }
        let twice = asked.iter().filter(|plan| fails_with_both(plan) == Ended::Fails);
        assert_eq!(twice.collect::<HashSet<_>>().len(), 3, "one that fails runs once: {asked:?}");
    }

    /// Goal: what could not be judged is not taken for passed.
    #[tokio::test]
    async fn what_nothing_can_be_said_of_did_not_pass() {
        let judged = |plan: &str, _| match fails_with_both(plan) {
            Ended::Passes if plan == "kill" => Ended::Unknown,
            other => other,
        };
        let (smallest, _) = with_fake_runner(100, judged).await;
        assert_eq!((smallest.text.as_str(), smallest.minimal), ("kill delay", false));
    }

    /// Goal: one that fails only at its second run is still found.
    #[tokio::test]
    async fn a_pass_is_not_believed_at_once() {
        let (smallest, _) =
            with_fake_runner(
                100,
                |plan, count| {
                    if count % 2 == 1 { Ended::Passes } else { fails_with_both(plan) }
                },
            )
            .await;
        assert_eq!(smallest.text, "kill delay");
    }

    /// Goal: runs are limited, also to none; what failed by then is kept, and not called minimal.
    #[tokio::test]
    async fn runs_are_limited() {
        let (smallest, asked) = with_fake_runner(1, |plan, _| fails_with_both(plan)).await;
        assert_eq!((smallest.text.as_str(), smallest.minimal), ("kill pause delay burst", false));
        assert_eq!(asked.len(), 1);
        let (smallest, asked) = with_fake_runner(0, |plan, _| fails_with_both(plan)).await;
        assert!(asked.is_empty() && !smallest.minimal && smallest.text.starts_with("flush"));
    }

    /// Goal: who is told to stop keeps what failed by then.
    #[tokio::test]
    async fn it_stops_when_told() {
        let (smallest, asked) =
            with_fake_runner(100, |plan, count| if count == 2 { Ended::Stop } else { fails_with_both(plan) })
                .await;
        assert_eq!(
            (smallest.text.as_str(), smallest.minimal, asked.len()),
            ("kill pause delay burst", false, 2)
        );
    }
}
