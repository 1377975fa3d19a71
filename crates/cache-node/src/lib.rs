//! One cache node: the policy core driven against Redis, lock service and origin.
//!
//! A request comes in over gRPC ([`grpc`]) and becomes a lookup of the core ([`node`]), which says what to do: look at Redis,
//! get the fleet's lock, ask the origin, write, answer. The node keeps the last configuration when the control plane goes
//! away, and switches to a new one without a restart ([`run`]).
//!
//! It never decides who rebuilds (that is `herd-policy`), never trusts its own clock about a value's age (that is
//! [`store`]: Redis's clock), never holds the core's lock across an await, and never waits without a limit. A flight belongs
//! to the process: no request that goes away takes one with it.
//!
//! - [`settings`]: flags and environment.
//! - [`run`]: from settings to a serving node.
//! - [`grpc`]: the service; statuses, deadlines, the request's span.
//! - [`node`]: the driver.
//! - [`store`]: values in Redis: header, guarded write, deletion; the record of writes; word of changes.
//! - [`local`]: the optional tier in the process, kept coherent by that word.
//! - [`filter`]: the optional filter of existing keys.
//! - [`peers`]: lock service and origin.
//! - [`config`]: from the control plane's configuration to the core's.
//! - [`value`]: the value that the core carries, and the rebuild that made it.
//! - [`errors`]: failures of parts, and the statuses that clients see.
//! - [`metrics`]: what is counted.

pub mod config;
pub mod errors;
pub mod filter;
pub mod grpc;
pub mod local;
pub mod metrics;
pub mod node;
pub mod peers;
pub mod run;
pub mod settings;
pub mod store;
pub mod value;
