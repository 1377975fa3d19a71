//! `herd repair`: what labs that crashed left behind.

use crate::{backend, exit::Exit};

/// Takes away faults and fleets whose lab is gone, and says which.
///
/// # Errors
/// Something could not be removed.
pub(crate) async fn repair() -> anyhow::Result<Exit> {
    backend::repair().await.told("nothing to repair")?;
    Ok(Exit::Expected)
}
