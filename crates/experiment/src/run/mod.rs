//! The run loop: bring a fleet up, then for each rung reconfigure it, start its keys, drive the load and what happens
//! beside it, read the ledger and the store's record, record.
//!
//! A rung whose pre-warm gate stays shut is recorded with an empty window: traffic that the gate keeps out must not come,
//! and a rung without load shows nothing (its claims are unknown).
//!
//! Map: `fleet` bringing a fleet up · `hands` what faults are done with · `plan` what is decided before · `rung` one rung · `start` how its keys begin · `during`
//! what happens while its load runs · `writes` the store's record.
//!
//! Nothing is judged here. Every future may be dropped at any time (Ctrl-C): the folder then stays partial and
//! readable, and the caller takes the testbed down.

mod during;
mod fleet;
mod hands;
mod plan;
mod rung;
mod start;
mod writes;

pub use fleet::{Fleet, await_nodes, bring_up};
pub use plan::Plan;

use crate::{
    control::{ControlError, ControlPlane},
    ledger::{LedgerError, OriginLab},
    load::LoadError,
    prewarm::AccessLog,
    testbed::{Endpoints, Progress, Testbed, TestbedError},
};
use hands::{Hands as _, Held};
use herd_history::{HistoryError, Writer};
use herd_scenario::Start;
use std::{fs::File, io::BufReader, path::PathBuf, time::Duration};
use tracing::Instrument as _;

/// Why a run ended before its last rung. What was recorded until then stays in the partial folder.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// The fleet could not be brought up or hurt as asked.
    #[error("the fleet could not be brought up")]
    Testbed(#[from] TestbedError),
    /// Control plane.
    #[error("the control plane failed")]
    Control(#[from] ControlError),
    /// No node or no edge joined, so that there is nothing to drive.
    #[error("no fleet joined the control plane within {waited:?}: {nodes} nodes and {edges} edges{seen}")]
    NobodyJoined {
        /// how long was waited
        waited: Duration,
        /// nodes joined
        nodes: u32,
        /// edges joined
        edges: u32,
        /// what ended unasked, on lines of its own
        seen: String,
    },
    /// The origin's laboratory side.
    #[error("the origin's ledger or latency could not be used")]
    Origin(#[from] LedgerError),
    /// Load.
    #[error("no load could be driven")]
    Load(#[from] LoadError),
    /// The access log that was given.
    #[error("the access log {} cannot be read", path.display())]
    AccessLog {
        /// the file
        path: PathBuf,
        /// the system's words
        #[source]
        source: std::io::Error,
    },
    /// The folder.
    #[error("the run could not be recorded")]
    History(#[from] HistoryError),
    /// The thread that records ended early; it has said why on stderr.
    #[error("recording ended early")]
    Recorder,
}

/// Drives every rung of the plan over a fleet that is up, does its faults with the testbed (without one, those that need it are
/// not confirmed), and returns the writer for [`Writer::finish`], which the caller
/// calls once the fleet is down.
///
/// # Errors
/// The first thing that failed. A fleet that is too small, or nodes that do not acknowledge, are recorded and not errors.
pub async fn drive(
    plan: &Plan,
    endpoints: &Endpoints,
    control: &ControlPlane,
    testbed: Option<&mut dyn Testbed>,
    mut writer: Writer,
    progress: &dyn Progress,
) -> Result<Writer, RunError> {
    let access_log = access_log(plan).await?;
    let hands = Held::new(testbed, endpoints);
    let mut next_seq = OriginLab::new(&endpoints.origin_grpc)?.next_seq().await?;
    for rung in &plan.scenario.rungs {
        progress.begins(&rung.name);
        let access_log = access_log.as_ref();
        // What a fault started again may have moved.
        let endpoints = &hands.endpoints();
        let mut origin = OriginLab::new(&endpoints.origin_grpc)?;
        let stage = rung::Stage { plan, rung, endpoints, control, hands: &hands, access_log, progress };
        let own = tracing::info_span!("herd.rung", herd.rung = %rung.name);
        let measured = stage.measure(&mut origin, next_seq).instrument(own).await?;
        next_seq = measured.record.ledger.last_seq + 1;
        writer = record(writer, measured).await?;
    }
    Ok(writer)
}

/// Reads the log that was given, if a rung needs one: before anything is driven.
async fn access_log(plan: &Plan) -> Result<Option<AccessLog>, RunError> {
    let needed = plan.scenario.rungs.iter().any(|rung| matches!(rung.start, Start::Prewarmed { .. }));
    let Some(path) = plan.access_log.clone().filter(|_| needed) else {
        return Ok(None);
    };
    let file = path.clone();
    let read = tokio::task::spawn_blocking(move || AccessLog::parse(BufReader::new(File::open(file)?)));
    let read = read.await.map_err(|_| RunError::Recorder)?;
    read.map(Some).map_err(|source| RunError::AccessLog { path, source })
}

/// Writes a rung on a thread of its own: the control plane goes on hearing its members meanwhile.
async fn record(mut writer: Writer, measured: rung::Measured) -> Result<Writer, RunError> {
    let written = tokio::task::spawn_blocking(move || {
        writer.begin_rung(&measured.record.name)?;
        for operation in measured.operations() {
            writer.operation(&operation)?;
        }
        for row in &measured.ledger {
            writer.ledger_row(row)?;
        }
        for write in &measured.writes {
            writer.store_write(write)?;
        }
        for insert in &measured.inserts {
            writer.insert(insert)?;
        }
        for fault in &measured.faults {
            writer.fault(fault)?;
        }
        writer.end_rung(measured.record)?;
        Ok::<_, HistoryError>(writer)
    });
    Ok(written.await.map_err(|_| RunError::Recorder)??)
}
