//! The start-up kit of every Herdproof process: settings, telemetry, admin port, control plane, drain.
//!
//! A process is a library and a thin `main`; the main is one call to [`kit::run`], which reads the settings, starts
//! telemetry, binds the ports, and hands a [`kit::Service`] to the process's own story. The story adds its gRPC services
//! and calls [`kit::Service::serve`], which returns when the process has drained.
//!
//! It never decides anything about caching, and it never blocks the one worker thread: what may block (name look-up, the
//! flush of spans) runs elsewhere, and every wait has a limit.
//!
//! - [`kit`]: the common settings, the service, start and drain.
//! - [`settings`]: reads flags and environment and reports every bad setting at once.
//! - [`telemetry`]: logs to standard error; spans over OTLP where there is a collector; `collector`: whether there is.
//! - [`trace`]: W3C trace context, with or without an exporter; which spans are kept; links between spans.
//! - [`metrics`]: the six metrics of every process, and the registry for its own.
//! - [`control`]: the session with the control plane: configuration, membership, the state of links.
//! - [`links`]: links to peers that can be made bad, for faults.
//! - [`rpc`]: channels to peers, and the deadline that every call has.
//! - [`gate`]: admission by load: places, a bounded queue, refusals that say when to come back.

mod admin;
mod collector;
pub mod control;
pub mod gate;
pub mod kit;
pub mod links;
pub mod metrics;
pub mod rpc;
mod run;
pub mod settings;
pub mod telemetry;
pub mod trace;
