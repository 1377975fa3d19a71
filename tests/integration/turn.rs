//! One measured fleet at a time: two on the same few cores would each be measured with the other.

use tokio::sync::{Mutex, MutexGuard};

static TURN: Mutex<()> = Mutex::const_new(());

/// What a test holds while its fleet is measured.
pub(crate) type Turn = MutexGuard<'static, ()>;

/// Waits until no other fleet is measured.
pub(crate) async fn taken() -> Turn {
    TURN.lock().await
}

/// The same in a test without a runtime.
pub(crate) fn taken_blocking() -> Turn {
    TURN.blocking_lock()
}
