//! An admission gate: so many are at work at once, so many more wait in order of arrival, and the rest is refused at once.
//!
//! A refusal says when to come back. Without that, and with a queue as long as the crowd, work that nobody waits for any
//! more fills the queue and the crowd's retries keep it full: the loop that a gate is there to break. The limits can be
//! changed while it works.
//!
//! It never looks at what is asked: who is refused is a matter of load alone.
//!
//! - `limits`: what it lets in.
//! - Places and queue, as plain data, are the policy's: [`herd_policy::admission`].

mod limits;

pub use limits::{BadLimits, Limits};

use herd_policy::admission::{Arrival, Line};
use herd_wire::error::{ErrorSource, set_pushback, status};
use prometheus_client::metrics::{counter::Counter, gauge::Gauge};
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};
use tokio::sync::oneshot;
use tokio::time::timeout_at;
use tonic::{Code, Status};

/// What a gate shows. The process registers them under its own names. Cloning shares them.
#[derive(Clone, Debug, Default)]
pub struct GateMetrics {
    /// At work now.
    pub in_flight: Gauge,
    /// Waiting for a place now.
    pub queued: Gauge,
    /// Refused so far.
    pub rejected: Counter,
}

/// Why somebody was not let in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NotAdmitted {
    /// The load is over the limits.
    #[error(transparent)]
    Refused(#[from] Refused),
    /// The caller's own deadline passed in the queue.
    #[error("the caller's deadline passed while it waited for a place")]
    DeadlinePassed,
}

/// A refusal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Refused {
    /// the limits that were in force
    pub limits: Limits,
    /// it was let into the queue, and no place came free in time
    pub after_wait: bool,
}

impl Refused {
    /// The answer: RESOURCE_EXHAUSTED, and when to come back.
    #[must_use]
    pub fn status(&self, source: ErrorSource) -> Status {
        let mut refusal = status(Code::ResourceExhausted, source, self.to_string());
        set_pushback(&mut refusal, Duration::from_millis(self.limits.retry_after_ms.into()));
        refusal
    }
}

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Limits { in_flight_max, queue_wait, .. } = self.limits;
        match (self.limits.waiting_max(), self.after_wait) {
            (_, true) => write!(f, "no place came free within {} ms", queue_wait.as_millis()),
            (0, _) => write!(f, "{in_flight_max} are in flight, and no more are let in"),
            (queue_max, _) => {
                write!(f, "{in_flight_max} are in flight and {queue_max} wait: no more are let in")
            }
        }
    }
}

impl std::error::Error for Refused {}

/// The gate. Cloning shares it.
#[derive(Clone)]
pub struct Gate(Arc<Inner>);

struct Inner {
    state: Mutex<State>,
    metrics: GateMetrics,
}

struct State {
    limits: Limits,
    line: Line<oneshot::Sender<()>>,
}

impl Gate {
    /// A gate with nobody inside.
    #[must_use]
    pub fn new(limits: Limits, metrics: GateMetrics) -> Self {
        let line = Line::new(limits.in_flight_max, limits.waiting_max());
        Self(Arc::new(Inner { state: Mutex::new(State { limits, line }), metrics }))
    }

    /// Takes a place, or waits for one no longer than the limits and the caller's own `deadline` allow. Dropping the
    /// future gives up the place in the queue.
    ///
    /// # Errors
    /// See [`NotAdmitted`].
    pub async fn enter(&self, deadline: Instant) -> Result<Place, NotAdmitted> {
        let (limits, ticket, told) = {
            let mut state = self.lock();
            match state.line.arrive() {
                Arrival::Admitted => {
                    self.show(&state);
                    return Ok(Place(self.clone()));
                }
                Arrival::Full => return Err(self.refuse(state.limits, false)),
                Arrival::MayWait => {
                    let (tell, told) = oneshot::channel();
                    let ticket = state.line.wait(tell);
                    self.show(&state);
                    (state.limits, ticket, told)
                }
            }
        };
        let mut waiting = Waiting { gate: self, ticket, admitted: false };
        let patience_ends = Instant::now() + limits.queue_wait;
        match timeout_at(patience_ends.min(deadline).into(), told).await {
            Ok(Ok(())) => {
                waiting.admitted = true;
                Ok(Place(self.clone()))
            }
            // A gate keeps what it tells the queue with for as long as anybody waits.
            Ok(Err(_)) | Err(_) if patience_ends < deadline => Err(self.refuse(limits, true)),
            Ok(Err(_)) | Err(_) => Err(NotAdmitted::DeadlinePassed),
        }
    }

    /// Puts other limits in force. Who is inside stays, who waits keeps its place and its patience: a lower limit takes
    /// effect as places are given back.
    pub fn set(&self, limits: Limits) {
        let mut state = self.lock();
        state.limits = limits;
        let admitted = state.line.set(limits.in_flight_max, limits.waiting_max());
        self.show(&state);
        drop(state);
        admitted.into_iter().for_each(tell);
    }

    /// The limits in force.
    #[must_use]
    pub fn limits(&self) -> Limits {
        self.lock().limits
    }

    /// How many are inside.
    #[must_use]
    pub fn in_flight(&self) -> u32 {
        self.lock().line.in_flight()
    }

    /// How many wait.
    #[must_use]
    pub fn queued(&self) -> u32 {
        self.lock().line.waiting()
    }

    fn refuse(&self, limits: Limits, after_wait: bool) -> NotAdmitted {
        self.0.metrics.rejected.inc();
        Refused { limits, after_wait }.into()
    }

    /// Gives back a place, or a place in the queue; the next in line is told.
    fn give_back(
        &self,
        give_back: impl FnOnce(&mut Line<oneshot::Sender<()>>) -> Option<oneshot::Sender<()>>,
    ) {
        let mut state = self.lock();
        let next = give_back(&mut state.line);
        self.show(&state);
        drop(state);
        next.into_iter().for_each(tell);
    }

    fn show(&self, state: &State) {
        self.0.metrics.in_flight.set(state.line.in_flight().into());
        self.0.metrics.queued.set(state.line.waiting().into());
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Tells somebody in the queue that it is inside. Gone meanwhile, it has given its place back, or is about to.
fn tell(next: oneshot::Sender<()>) {
    let _ = next.send(());
}

/// A place inside. Dropping it gives it back.
pub struct Place(Gate);

impl Drop for Place {
    fn drop(&mut self) {
        self.0.give_back(|line| line.leave());
    }
}

/// A place in the queue. Dropped before it was told, it is given up; with it the place inside that it may have got
/// meanwhile.
struct Waiting<'a> {
    gate: &'a Gate,
    ticket: u64,
    admitted: bool,
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        if !self.admitted {
            self.gate.give_back(|line| line.give_up(self.ticket));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::pin::{Pin, pin};
    use std::task::{Context, Poll, Waker};

    const LONG: Duration = Duration::from_secs(60);

    fn gate(in_flight_max: u32, queue_max: u32, queue_wait: Duration) -> Gate {
        Gate::new(Limits { in_flight_max, queue_max, queue_wait, retry_after_ms: 70 }, GateMetrics::default())
    }

    fn later() -> Instant {
        Instant::now() + 2 * LONG
    }

    fn poll<F: Future>(future: Pin<&mut F>) -> Poll<F::Output> {
        future.poll(&mut Context::from_waker(Waker::noop()))
    }

    /// Goal: the limit holds, the queue is served in order, what is beyond both is refused at once with its pushback.
    #[tokio::test]
    async fn places_queue_and_refusal() {
        let gate = gate(1, 2, LONG);
        let inside = gate.enter(later()).await.expect("a free place");
        let (mut first, mut second) = (pin!(gate.enter(later())), pin!(gate.enter(later())));
        assert!(poll(first.as_mut()).is_pending() && poll(second.as_mut()).is_pending());
        let Err(NotAdmitted::Refused(refused)) = gate.enter(later()).await else {
            panic!("the queue is full")
        };
        let refusal = refused.status(ErrorSource::Origin);
        assert_eq!(
            (refusal.code(), herd_wire::error::pushback(&refusal)),
            (Code::ResourceExhausted, Some(Duration::from_millis(70)))
        );
        assert_eq!(refusal.message(), "1 are in flight and 2 wait: no more are let in");
        drop(inside);
        assert!(poll(second.as_mut()).is_pending(), "it is not its turn");
        let Poll::Ready(Ok(inside)) = poll(first.as_mut()) else { panic!("it is its turn") };
        assert_eq!((gate.in_flight(), gate.queued()), (1, 1));
        drop(inside);
        assert!(matches!(poll(second.as_mut()), Poll::Ready(Ok(_))));
        assert_eq!((gate.in_flight(), gate.queued(), gate.0.metrics.rejected.get()), (0, 0, 1));
    }

    /// Goal: a wait ends with a refusal when patience ends first, and says whose time it was when the deadline does.
    #[tokio::test]
    async fn a_wait_has_two_ends() {
        let impatient = gate(1, 1, Duration::from_millis(5));
        let _inside = impatient.enter(later()).await.expect("a free place");
        let Err(NotAdmitted::Refused(refused)) = impatient.enter(later()).await else {
            panic!("no place comes free")
        };
        assert!(refused.after_wait, "{refused}");
        let patient = gate(1, 1, LONG);
        let _inside = patient.enter(later()).await.expect("a free place");
        let soon = Instant::now() + Duration::from_millis(5);
        assert!(matches!(patient.enter(soon).await, Err(NotAdmitted::DeadlinePassed)));
        assert_eq!((impatient.queued(), patient.queued()), (0, 0), "who gave up does not stand in the queue");
    }

    /// Goal: who hangs up after its turn came, but before it noticed, hands the place on.
    #[tokio::test]
    async fn a_turn_that_nobody_takes_is_handed_on() {
        let gate = gate(1, 2, LONG);
        let inside = gate.enter(later()).await.expect("a free place");
        let mut gone = Box::pin(gate.enter(later()));
        let mut next = pin!(gate.enter(later()));
        assert!(poll(gone.as_mut()).is_pending() && poll(next.as_mut()).is_pending());
        drop(inside);
        drop(gone);
        assert!(matches!(poll(next.as_mut()), Poll::Ready(Ok(_))), "the wake-up was lost");
        assert_eq!(gate.in_flight(), 0, "a place was leaked");
    }

    /// Goal: limits change while the gate works: a higher one lets in who waits at once, a lower one ends nobody's work.
    #[tokio::test]
    async fn limits_change_at_run_time() {
        let gate = gate(1, 5, LONG);
        let first = gate.enter(later()).await.expect("a free place");
        let mut second = pin!(gate.enter(later()));
        assert!(poll(second.as_mut()).is_pending());
        gate.set(Limits { in_flight_max: 2, ..gate.limits() });
        let Poll::Ready(Ok(second)) = poll(second.as_mut()) else { panic!("there is room now") };
        gate.set(Limits::without_queue(1));
        assert_eq!(gate.in_flight(), 2);
        drop(first);
        assert!(
            matches!(gate.enter(later()).await, Err(NotAdmitted::Refused(_))),
            "one too many is still inside"
        );
        drop(second);
        assert!(gate.enter(later()).await.is_ok());
    }
}
