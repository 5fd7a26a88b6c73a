//! The thread that moves vectors from the scanned tail into the approximate index.

use super::Shared;
use std::sync::{Arc, Weak};
use std::time::Duration;

/// Vectors moved between two looks at the other databases.
const STRIDE: usize = 256;
/// How long a vector may wait when nothing wakes the thread; it is found by scan meanwhile.
const PAUSE: Duration = Duration::from_millis(20);

/// Runs until the node closes or is gone.
pub(super) fn run(shared: &Weak<Shared>) {
    while let Some(shared) = shared.upgrade() {
        if shared.closed.load(std::sync::atomic::Ordering::SeqCst) {
            return;
        }
        let moved = round(&shared);
        drop(shared);
        if moved == 0 {
            std::thread::sleep(PAUSE);
        }
    }
}

fn round(shared: &Arc<Shared>) -> usize {
    let databases = shared.store.databases();
    let moved = databases.iter().map(|database| match database.index_some(STRIDE) {
        Ok(moved) => moved,
        Err(error) => {
            tracing::error!(%error, database = database.record().database_id, "indexing failed; it is tried again");
            0
        }
    });
    moved.sum()
}
