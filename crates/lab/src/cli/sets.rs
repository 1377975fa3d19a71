//! The command line of `chaos` and `zoo`.

use super::EachFleet;
use clap::Args;
use std::path::PathBuf;

pub(super) const CHAOS_HELP: &str = "\
Each scenario under chaos/regression/ gets a fleet of its own, is judged, and leaves a folder. Some expect `valid`, some are known bad and
expect `invalid`. Without names and without --all those run whose load lasts at most 25 s; the others are named, with the time
that all take. One with a fault that the backend cannot do is left out, and that is said. Whatever ends it early, what has run is kept: summary.md, junit.xml and results.json are written after each.

Exit status: 0 each came out as expected, 1 one did not, 2 nothing can be said of one, 64 a name is wrong or the backend cannot do what was named, 130 interrupted.

Examples:
  herd chaos                                    the quick ones
  herd chaos --all --out runs/chaos             all of them
  herd chaos lock-without-fence no-jitter       these two, however long they take
  herd chaos --all --until-failure --backend processes --nodes 12";

pub(super) const ZOO_HELP: &str = "\
Each is a scenario under chaos/regression/ that expects `invalid`: its first claim has to be refuted. A judge that has never said no has
proved nothing. It is `herd chaos` over those alone, with the same options, files and exit status: 0 each was caught, 1 one was
not, 2 nothing can be said of one.

Examples:
  herd zoo                                      those whose load lasts at most 25 s
  herd zoo --all --out runs/zoo                 also the long ones
  herd zoo lock-without-second-look --backend processes";

/// `herd chaos`, `herd zoo`
#[derive(Clone, Debug, Args)]
pub struct SetArgs {
    /// Only these, by name, with or without `regression/` before it
    #[arg(value_name = "NAME")]
    pub names: Vec<String>,
    /// Also those whose load lasts longer than 25 s
    #[arg(long, conflicts_with = "names")]
    pub all: bool,
    /// Go on after a scenario that did not come out as expected (the default)
    #[arg(long, conflicts_with = "until_failure")]
    pub keep_going: bool,
    /// End after the first scenario that did not come out as expected, unknown ones included
    #[arg(long)]
    pub until_failure: bool,
    /// The fleets.
    #[command(flatten)]
    pub fleet: EachFleet,
    /// The folder for the runs' folders and the summary; it must not exist or be empty [default: runs/<time>-chaos or -zoo]
    #[arg(long, value_name = "DIR")]
    pub out: Option<PathBuf>,
}
