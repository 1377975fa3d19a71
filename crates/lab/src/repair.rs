//! `herd repair`: what labs that crashed left behind.

use crate::{backend, exit::Exit, out, place};

/// Takes away faults and fleets whose lab is gone, and says which.
///
/// # Errors
/// Something could not be removed.
pub(crate) async fn repair() -> anyhow::Result<Exit> {
    let lines = backend::repair().await?;
    let lines: Vec<String> = lines.into_iter().chain(place::sweep_logs(&place::state_dir())).collect();
    if lines.is_empty() {
        out::say("nothing to repair");
    }
    lines.iter().for_each(|line| {
        out::say(line);
    });
    Ok(Exit::Expected)
}
