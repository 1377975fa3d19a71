//! The command line of `trace`.

use clap::Args;
use std::path::PathBuf;

pub(super) const TRACE_HELP: &str = "\
A reference id is the trace id that every answer and error carries (herd-reference). Its first 8 digits will do where they are unique.
A request is shown with the rebuild that it waited for, a rebuild with everybody who waited for it. Attributes are shown without
their `herd.`; times are milliseconds. The same spans can be loaded into Jaeger: its search page takes spans-<rung>.json as a file.

Exit status: 0 it is shown, 2 the run has no such span, 64 there is no such run, or no such id.

Examples:
  herd trace 4bf92f35                                   in the newest run under runs/
  herd trace 4bf92f3577b34da6a3ce929d0e0e4736 --run runs/20260131T235959Z-ladder --json
  herd trace --rebuilds                                 how many rebuilds at each boundary, rung by rung
  herd trace --rebuilds --key item-1 --generation 3     each rebuild of one boundary, with its id";

/// `herd trace`
#[derive(Clone, Debug, Args)]
pub struct TraceArgs {
    /// A reference id, or at least its first 8 digits
    #[arg(value_name = "REF", required_unless_present = "rebuilds", conflicts_with = "rebuilds")]
    pub reference: Option<String>,
    /// The run's folder [default: the newest under runs/]
    #[arg(long, value_name = "DIR")]
    pub run: Option<PathBuf>,
    /// List the rebuilds, boundary by boundary
    #[arg(long)]
    pub rebuilds: bool,
    /// Of this rung only
    #[arg(long, value_name = "NAME", conflicts_with = "reference")]
    pub rung: Option<String>,
    /// Of this row only
    #[arg(long, value_name = "KEY", conflicts_with = "reference")]
    pub key: Option<String>,
    /// Of the boundaries at which this generation expired, each rebuild on a line
    #[arg(long, value_name = "N", conflicts_with = "reference")]
    pub generation: Option<i64>,
    /// JSON instead of text
    #[arg(long)]
    pub json: bool,
}
