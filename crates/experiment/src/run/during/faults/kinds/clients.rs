//! Clients that send more, and clients that hang up.

use super::{Deed, End, Scene, Seen};
use crate::run::during::faults::select;
use std::time::Instant;

/// The share of what was to be sent that has to have been sent.
const SENT_AT_LEAST: f64 = 0.8;
/// Arrivals are drawn: their number strays by its root, and seldom by so many of them.
const ROOTS: f64 = 4.0;

/// Clients send more than the workload asks for: the arrivals are drawn with it, and here it is seen that they were sent.
pub(super) struct More {
    factor: f64,
    beside_per_s: u32,
    began: Option<(Instant, u64)>,
}

impl More {
    /// So many times the workload's rate.
    pub(super) const fn times(factor: f64) -> Self {
        Self { factor, beside_per_s: 0, began: None }
    }

    /// So many reads per second beside the workload.
    pub(super) const fn beside(rate_per_s: u32) -> Self {
        Self { factor: 1.0, beside_per_s: rate_per_s, began: None }
    }
}

#[tonic::async_trait]
impl Deed for More {
    fn end(&self) -> End {
        End::ByItself("send as before")
    }

    async fn inject(&mut self, scene: Scene<'_>) -> Result<String, String> {
        self.began = Some((Instant::now(), scene.ground.live.sent()));
        Ok(if self.beside_per_s > 0 {
            format!("ask for {} rows per second that do not exist", self.beside_per_s)
        } else {
            format!("send {} times as much", self.factor)
        })
    }

    async fn confirm(&mut self, scene: Scene<'_>) -> Vec<Result<Seen, String>> {
        tokio::time::sleep_until(scene.hold_ends.into()).await;
        let Some((began, before)) = self.began else { return vec![Err("did not begin".to_owned())] };
        let seconds = began.elapsed().as_secs_f64();
        let sent = scene.ground.live.sent().saturating_sub(before);
        let usual = f64::from(scene.ground.stage().plan.scenario.workload.rate_per_s);
        let expected = usual.mul_add(self.factor, f64::from(self.beside_per_s)) * seconds;
        let least = expected.mul_add(SENT_AT_LEAST, -ROOTS * expected.sqrt()).max(1.0);
        let said = format!("sent {sent} requests in {seconds:.2} s, about {expected:.0} were to be sent");
        vec![if sent as f64 >= least { Ok(scene.seen(sent, said)) } else { Err(said) }]
    }
}

/// Clients hang up.
pub(super) struct HangUp {
    share: f64,
    hung_up: u64,
}

impl HangUp {
    pub(super) const fn new(share: f64) -> Self {
        Self { share, hung_up: 0 }
    }
}

#[tonic::async_trait]
impl Deed for HangUp {
    fn end(&self) -> End {
        End::Nothing
    }

    async fn inject(&mut self, scene: Scene<'_>) -> Result<String, String> {
        let seed = scene.ground.stage().plan.scenario.seed;
        let seed = select::stream(seed, &scene.fault.name, scene.turn);
        self.hung_up = scene.ground.live.hang_up(self.share, seed).await;
        Ok(format!("are told to hang up {:.0} % of the requests under way", self.share * 100.0))
    }

    async fn confirm(&mut self, scene: Scene<'_>) -> Vec<Result<Seen, String>> {
        vec![match self.hung_up {
            0 => Err("had no request under way".to_owned()),
            hit => Ok(scene.seen(hit, format!("hung up {hit} requests"))),
        }]
    }
}
