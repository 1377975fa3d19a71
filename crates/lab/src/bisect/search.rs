//! The search itself: it knows values and outcomes, and neither fleets nor files.

use super::number::Number;
use herd_judge::Outcome;

/// How often a value of which nothing can be said is asked about.
const ASKED_MAX: u32 = 2;

/// What was seen at a value.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Look {
    pub(super) outcome: Outcome,
    /// Why it is unknown, where it is.
    pub(super) why: String,
}

/// A value with its outcome, which is never unknown.
pub(super) type Point = (Number, Outcome);

/// How a search ended.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Found {
    /// Between these two the outcome tips.
    Tips {
        /// Nearer to where the search began.
        before: Point,
        /// Nearer to where it was to end.
        after: Point,
        /// Whether they are as close as is asked for; else the steps were used up.
        close: bool,
    },
    /// Both ends have this outcome.
    Alike(Outcome),
    /// Nothing could be said of this value, twice.
    Unknown {
        at: Number,
        why: String,
        /// Where it is known to tip by then.
        within: Option<(Point, Point)>,
    },
    /// `ask` had no answer.
    Interrupted {
        /// Where it is known to tip by then.
        within: Option<(Point, Point)>,
    },
}

/// Searches between two values with at most `steps` halvings. `ask` runs an experiment with a value, the count of asking from 1;
/// `None` if it was interrupted.
///
/// # Errors
/// What `ask` says.
pub(super) async fn search(
    (from, to): (Number, Number),
    steps: u8,
    mut ask: impl AsyncFnMut(Number, u32) -> anyhow::Result<Option<Look>>,
) -> anyhow::Result<Found> {
    let mut within = None;
    let mut before = match at(from, &mut ask, within).await? {
        Err(found) => return Ok(found),
        Ok(point) => point,
    };
    let mut after = match at(to, &mut ask, within).await? {
        Err(found) => return Ok(found),
        Ok(point) => point,
    };
    if before.1 == after.1 {
        return Ok(Found::Alike(before.1));
    }
    for _ in 0..steps {
        let Some(middle) = before.0.middle(after.0).filter(|_| !before.0.is_close(after.0)) else { break };
        within = Some((before, after));
        match at(middle, &mut ask, within).await? {
            Err(found) => return Ok(found),
            Ok(point) if point.1 == before.1 => before = point,
            Ok(point) => after = point,
        }
    }
    Ok(Found::Tips { before, after, close: before.0.is_close(after.0) })
}

/// The outcome at a value, or how the search ends there.
async fn at(
    value: Number,
    ask: &mut impl AsyncFnMut(Number, u32) -> anyhow::Result<Option<Look>>,
    within: Option<(Point, Point)>,
) -> anyhow::Result<Result<Point, Found>> {
    let mut why = String::new();
    for asked in 1..=ASKED_MAX {
        match ask(value, asked).await? {
            None => return Ok(Err(Found::Interrupted { within })),
            Some(look) if look.outcome == Outcome::Unknown => why = look.why,
            Some(look) => return Ok(Ok((value, look.outcome))),
        }
    }
    Ok(Err(Found::Unknown { at: value, why, within }))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A fake runner: valid below the tipping point, invalid from there on. Gives how the search ended and what was asked.
    async fn with_fake_runner(
        ends: (i64, i64),
        steps: u8,
        outcome: impl Fn(i64, u32) -> Option<Outcome>,
    ) -> (Found, Vec<i64>) {
        let mut asked = Vec::new();
        let ends = (Number::Whole(ends.0), Number::Whole(ends.1));
        let found = search(ends, steps, async |value, count| {
            let Number::Whole(value) = value else { panic!("whole numbers stay whole") };
            asked.push(value);
            Ok(outcome(value, count).map(|outcome| Look { outcome, why: format!("seen at {value}") }))
        });
        let found = found.await.unwrap();
        (found, asked)
    }

    fn tips_at(tipping: i64) -> impl Fn(i64, u32) -> Option<Outcome> {
        move |value, _| Some(if value < tipping { Outcome::Valid } else { Outcome::Invalid })
    }

    /// Goal: both ends first, then halves, until the interval that holds the tipping point is within a sixteenth; downwards alike.
    #[tokio::test]
    async fn the_tipping_point_is_found() {
        let (found, asked) = with_fake_runner((100, 1_000), 8, tips_at(700)).await;
        // 718 - 662 = 56 is still more than a sixteenth of 718; 718 - 690 = 28 is less.
        assert_eq!(asked, [100, 1_000, 550, 775, 662, 718, 690]);
        let (before, after) = ((Number::Whole(690), Outcome::Valid), (Number::Whole(718), Outcome::Invalid));
        assert_eq!(found, Found::Tips { before, after, close: true });
        let (found, _) = with_fake_runner((1_000, 100), 8, tips_at(700)).await;
        let Found::Tips { before, after, close: true } = found else { panic!("{found:?}") };
        assert_eq!((before.1, after.1), (Outcome::Invalid, Outcome::Valid));
        let (Number::Whole(high), Number::Whole(low)) = (before.0, after.0) else { panic!("{before:?}") };
        assert!(low < 700 && 700 <= high && (high - low) * 16 <= high, "{low} {high}");
    }

    /// Goal: the steps are a limit, and an interval that is still wide is told as such.
    #[tokio::test]
    async fn steps_are_limited() {
        let (found, asked) = with_fake_runner((0, 1_000_000), 3, tips_at(5)).await;
        assert_eq!(asked, [0, 1_000_000, 500_000, 250_000, 125_000]);
        assert!(matches!(found, Found::Tips { close: false, .. }), "{found:?}");
    }

    /// Goal: neighbours end the search however wide they are by share.
    #[tokio::test]
    async fn neighbours_end_it() {
        let (found, asked) = with_fake_runner((0, 4), 8, tips_at(1)).await;
        assert_eq!(asked, [0, 4, 2, 1]);
        assert!(matches!(found, Found::Tips { before: (Number::Whole(0), _), close: true, .. }), "{found:?}");
    }

    /// Goal: ends that come out alike are refused after both were run, and nothing else is.
    #[tokio::test]
    async fn ends_that_agree_are_refused() {
        let (found, asked) = with_fake_runner((1, 9), 8, tips_at(100)).await;
        assert_eq!((found, asked), (Found::Alike(Outcome::Valid), vec![1, 9]));
    }

    /// Goal: what is unknown is asked once more; a second time it ends the search with the reason and with what is known by then.
    #[tokio::test]
    async fn an_unknown_outcome_is_asked_again_once() {
        let once = |value: i64, count: u32| match (value, count) {
            (500, 1) => Some(Outcome::Unknown),
            _ => tips_at(990)(value, count),
        };
        let (found, asked) = with_fake_runner((0, 1_000), 1, once).await;
        assert_eq!(asked, [0, 1_000, 500, 500]);
        assert!(matches!(found, Found::Tips { before: (Number::Whole(500), _), .. }), "{found:?}");
        let twice = |value: i64, count: u32| match value {
            500 => Some(Outcome::Unknown),
            _ => tips_at(990)(value, count),
        };
        let (found, _) = with_fake_runner((0, 1_000), 8, twice).await;
        let Found::Unknown { at, why, within: Some(_) } = found else { panic!("{found:?}") };
        assert_eq!((at, why.as_str()), (Number::Whole(500), "seen at 500"));
        let (found, asked) = with_fake_runner((0, 9), 8, |_, _| Some(Outcome::Unknown)).await;
        assert!(
            matches!(found, Found::Unknown { within: None, .. }) && asked == [0, 0],
            "{found:?} {asked:?}"
        );
    }

    /// Goal: an interruption ends it at once, with what is known by then.
    #[tokio::test]
    async fn an_interruption_ends_it() {
        let (found, asked) = with_fake_runner((0, 1_000), 8, |value, count| {
            tips_at(990)(value, count).filter(|_| value != 500)
        })
        .await;
        assert!(matches!(found, Found::Interrupted { within: Some(_) }) && asked.len() == 3, "{found:?}");
    }
}
