//! Load shedding: places and queue of an admission gate as plain data. So many are at work at once, so many more wait in order of
//! arrival, and the rest is refused at once. Whoever is let in out of the queue is handed back, for the caller to tell.
//!
//! It bounds what is at work, whatever is asked for; what breaks it are clients that come again at once. How long somebody
//! waits, and what a refusal says, is for the caller to limit: nothing here knows the time.

use std::collections::BTreeMap;

/// What becomes of an arrival.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Arrival {
    /// It has a place.
    Admitted,
    /// It has none, and there is room in the queue.
    MayWait,
    /// Neither.
    Full,
}

/// Who is inside, and who waits. `W` is the way to tell somebody who waits.
///
/// At all times: nobody waits while a place is free.
#[derive(Debug)]
pub struct Line<W> {
    in_flight: u32,
    in_flight_max: u32,
    waiting_max: u32,
    /// By ticket, so that the first is the oldest.
    waiting: BTreeMap<u64, W>,
    tickets: u64,
}

impl<W> Line<W> {
    /// Nobody inside, and nobody waits. With no queue (`waiting_max` 0) who finds no place is refused at once.
    #[must_use]
    pub const fn new(in_flight_max: u32, waiting_max: u32) -> Self {
        Self { in_flight: 0, in_flight_max, waiting_max, waiting: BTreeMap::new(), tickets: 0 }
    }

    /// Takes a place if one is free. It is given back by [`Self::leave`].
    pub fn arrive(&mut self) -> Arrival {
        // With a place free nobody waits: no one is overtaken.
        if self.in_flight < self.in_flight_max {
            self.in_flight += 1;
            Arrival::Admitted
        } else if self.waiting() < self.waiting_max {
            Arrival::MayWait
        } else {
            Arrival::Full
        }
    }

    /// Queues somebody who [may wait](Arrival::MayWait). Answers its ticket.
    pub fn wait(&mut self, who: W) -> u64 {
        let ticket = self.tickets;
        self.tickets += 1;
        self.waiting.insert(ticket, who);
        ticket
    }

    /// Gives a place back, once for each that was taken. Whoever is handed back has it now.
    pub fn leave(&mut self) -> Option<W> {
        self.in_flight = self.in_flight.saturating_sub(1);
        self.let_in()
    }

    /// Somebody gives up waiting: its place in the queue, or the place inside that it was let into meanwhile.
    pub fn give_up(&mut self, ticket: u64) -> Option<W> {
        if self.waiting.remove(&ticket).is_some() { None } else { self.leave() }
    }

    /// Puts other limits in force. Whoever is handed back has a place now.
    pub fn set(&mut self, in_flight_max: u32, waiting_max: u32) -> Vec<W> {
        (self.in_flight_max, self.waiting_max) = (in_flight_max, waiting_max);
        std::iter::from_fn(|| self.let_in()).collect()
    }

    /// How many are inside.
    #[must_use]
    pub const fn in_flight(&self) -> u32 {
        self.in_flight
    }

    /// How many wait.
    #[must_use]
    pub fn waiting(&self) -> u32 {
        u32::try_from(self.waiting.len()).unwrap_or(u32::MAX)
    }

    fn let_in(&mut self) -> Option<W> {
        if self.in_flight >= self.in_flight_max {
            return None;
        }
        let (_, who) = self.waiting.pop_first()?;
        self.in_flight += 1;
        Some(who)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::{BTreeSet, VecDeque};

    #[derive(Clone, Debug)]
    enum Step {
        Arrive,
        Leave,
        /// the one at this place of the queue gives up
        GiveUp(prop::sample::Index),
        /// one that was let in out of the queue is gone before it noticed
        Gone(prop::sample::Index),
        Set(u32, u32),
    }

    fn step() -> impl Strategy<Value = Step> {
        prop_oneof![
            4 => Just(Step::Arrive),
            3 => Just(Step::Leave),
            2 => any::<prop::sample::Index>().prop_map(Step::GiveUp),
            1 => any::<prop::sample::Index>().prop_map(Step::Gone),
            1 => (1..6_u32, 0..6_u32).prop_map(|(places, queue)| Step::Set(places, queue)),
        ]
    }

    /// The line beside a model of it: a set of who is inside and a queue.
    struct Beside {
        line: Line<u64>,
        limits: (u32, u32),
        /// everybody has a number, in order of arrival
        next: u64,
        inside: BTreeSet<u64>,
        /// let in out of the queue: number and ticket
        told: Vec<(u64, u64)>,
        queue: VecDeque<(u64, u64)>,
    }

    impl Beside {
        /// Whoever is let in must be the head of the queue.
        fn let_in(&mut self, who: impl IntoIterator<Item = u64>) {
            for who in who {
                let head = self.queue.pop_front().expect("somebody is let in who did not wait");
                assert_eq!(head.0, who, "overtaken");
                self.inside.insert(who);
                self.told.push(head);
            }
        }

        fn arrive(&mut self) {
            let who = self.next;
            self.next += 1;
            match self.line.arrive() {
                Arrival::Admitted => {
                    assert!(self.queue.is_empty(), "the queue was overtaken");
                    assert!((self.inside.len() as u32) < self.limits.0, "over the limit");
                    self.inside.insert(who);
                }
                Arrival::MayWait => {
                    assert!((self.queue.len() as u32) < self.limits.1, "over the queue's limit");
                    let ticket = self.line.wait(who);
                    self.queue.push_back((who, ticket));
                }
                Arrival::Full => {
                    assert!(
                        self.inside.len() as u32 >= self.limits.0 && self.queue.len() as u32 >= self.limits.1
                    );
                }
            }
        }

        fn take(&mut self, step: &Step) {
            match step {
                Step::Arrive => self.arrive(),
                Step::Leave => {
                    if let Some(who) = self.inside.pop_first() {
                        self.told.retain(|(told, _)| *told != who);
                        let next = self.line.leave();
                        self.let_in(next);
                    }
                }
                Step::GiveUp(at) if !self.queue.is_empty() => {
                    let (_, ticket) = self.queue.remove(at.index(self.queue.len())).expect("within");
                    assert_eq!(self.line.give_up(ticket), None, "no place came free");
                }
                Step::Gone(at) if !self.told.is_empty() => {
                    let (who, ticket) = self.told.remove(at.index(self.told.len()));
                    self.inside.remove(&who);
                    let next = self.line.give_up(ticket);
                    self.let_in(next);
                }
                Step::GiveUp(_) | Step::Gone(_) => {}
                Step::Set(places, queue) => {
                    self.limits = (*places, *queue);
                    let admitted = self.line.set(*places, *queue);
                    self.let_in(admitted);
                }
            }
        }
    }

    proptest! {
        /// Nobody is let in above the limit or out of order, no place is lost or leaked, and whenever a place is free
        /// nobody waits: through arrivals, ends, hang-ups in the queue and after it, and changed limits.
        #[test]
        fn limits_order_and_wake_ups_hold(steps in prop::collection::vec(step(), 1..200)) {
            let mut beside = Beside {
                line: Line::new(2, 3),
                limits: (2, 3),
                next: 0,
                inside: BTreeSet::new(),
                told: Vec::new(),
                queue: VecDeque::new(),
            };
            for step in &steps {
                let inside_before = beside.inside.len();
                beside.take(step);
                let inside = beside.inside.len();
                prop_assert_eq!(beside.line.in_flight() as usize, inside);
                prop_assert_eq!(beside.line.waiting() as usize, beside.queue.len());
                let places = beside.limits.0 as usize;
                prop_assert!(inside <= places || inside <= inside_before, "it grew over the limit");
                prop_assert!(beside.queue.is_empty() || inside >= places, "a place is free and somebody waits");
            }
        }
    }
}
