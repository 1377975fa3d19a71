//! Ctrl-C and SIGTERM: the first asks everything to end, the second ends the program at once.

use std::time::{Duration, Instant};
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio_util::sync::CancellationToken;

/// Signals within this time of the first are the same wish.
const ONE_WISH: Duration = Duration::from_secs(1);

/// Cancelled by the first SIGINT, SIGTERM or SIGHUP from now on. Must be called inside a tokio runtime.
///
/// # Errors
/// The system refuses to tell about signals.
pub(crate) fn watch() -> std::io::Result<CancellationToken> {
    let mut kinds = [SignalKind::interrupt(), SignalKind::terminate(), SignalKind::hangup()]
        .into_iter()
        .map(signal)
        .collect::<Result<Vec<Signal>, _>>()?;
    let token = CancellationToken::new();
    let told = token.clone();
    tokio::spawn(async move {
        any(&mut kinds).await;
        let first = Instant::now();
        crate::out::warn(
            "\ninterrupted: taking everything down (again: end at once, then `herd down` removes what is left)",
        );
        told.cancel();
        // Wrappers such as timeout(1) signal the process and then its group: one wish, heard twice.
        while first.elapsed() < ONE_WISH {
            any(&mut kinds).await;
        }
        std::process::exit(130);
    });
    Ok(token)
}

async fn any(signals: &mut [Signal]) {
    let waits = signals.iter_mut().map(|signal| Box::pin(signal.recv()));
    futures::future::select_all(waits).await;
}
