//! The run loop over a fleet: bring up, reconfigure, warm, drive, record.
//!
//! It judges nothing and knows no process crate: it talks to a fleet through the wire protocol, and to whatever
//! brought it up through the [`testbed::Testbed`] port. What happened goes to `herd-history` before anybody judges it.
//!
//! - [`testbed`]: the port to a fleet.
//! - [`able`]: which faults can be done to which fleet.
//! - [`control`]: the control plane that the fleet joins.
//! - [`fleet_config`]: a scenario's rung as the fleet is told it.
//! - [`load`]: the open-loop load generator.
//! - [`ledger`]: the origin's laboratory side: latency, gate, failures and ledger.
//! - [`prewarm`]: the keys of an access log filled before traffic comes, and the gate that decides whether it may.
//! - [`run`]: the run loop.

pub mod able;
pub mod control;
mod edge;
pub mod fleet_config;
pub mod ledger;
pub mod load;
mod locks;
pub mod prewarm;
pub mod run;
pub mod testbed;
