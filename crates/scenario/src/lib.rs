//! The TOML of an experiment: fleet, origin, workload, layers and claims; validated whole, seeded.
//!
//! A [`Scenario`] is one experiment; with several rungs it is a ladder: the same load, driven once per
//! [`Rung`] of layers over one running fleet. [`Scenario::parse`] reads one file and reports *everything* that is
//! wrong with it at once, each mistake with file, line and the nearest valid name.
//!
//! What it never does: read a clock or entropy, touch a file or the network, know the wire protocol or the policy
//! code. The workload is drawn from the scenario's seed alone ([`Workload::arrivals`]).
//!
//! Map: `model` what an experiment consists of · `claim` what is claimed about it · `fault` what is done to it · `clash` which faults cannot be in force together · `describe` that in words ·
//! `named` names of values · `section` typed
//! access to a TOML table that collects mistakes · `parse` the sections one by one · `mistakes` what is wrong, where · `words` how that is said ·
//! `workload` arrivals and keys drawn from the seed, and how clients come again · `edit` one field of the text
//! changed · `draw` random plans of faults, and smaller ones · `duration` how long a rung must be
//! driven · `presets` the scenarios of the `chaos` folder, embedded.

mod claim;
mod clash;
mod describe;
mod draw;
mod duration;
mod edit;
mod fault;
mod mistakes;
mod model;
mod named;
mod parse;
mod presets;
mod section;
mod words;
mod workload;

pub use claim::{AtMost, Claim, Property, Scope};
pub use draw::{UnderAnyFaults, draw, smaller, under_any_faults};
pub use edit::{EditError, get_field, set_field};
pub use fault::{Fault, FaultAction, FaultKind, FaultPart, LinkRule, Once, Peer, Phase, Target, Which};
pub use mistakes::{Mistake, Mistakes};
pub use model::{
    Deploy, DeployStrategy, Expect, Failing, Fleet, FlightUntil, Gate, Layer, Local, Lock, MembershipChange,
    OnOriginError, OnUnavailable, OnWaitTimeout, Origin, OriginModel, Overrides, PolicyBase, Routing, Rung,
    Scenario, Shed, Slow, Stale, Start, Waiter, WriteGuard,
};
pub use presets::{PRESETS, Preset};
pub use workload::{
    AbsentIds, AbsentReads, Arrival, ArrivalProcess, Arrivals, KeyId, Popularity, Retry, RetryBudget, Shares,
    Workload,
};
