//! Moving vectors from the scanned tail into the approximate index, on a thread of its own.

use super::Shared;
use std::sync::Weak;
use std::sync::atomic::Ordering;
use std::time::Duration;

/// Vectors moved between two looks at the other databases.
const STRIDE: usize = 256;
/// How long a vector may wait when nothing wakes the thread; it is found by scan meanwhile.
const PAUSE: Duration = Duration::from_millis(20);

/// How much more readily everything else gets a processor that is wanted by several; a tenth of its time is left here.
const NICENESS: i32 = 10;

/// Runs until the node closes or is gone. Blocking.
pub(super) fn run(shared: &Weak<Shared>) {
    // Requests and the feed wait for whoever computes beside them; the index only falls behind a little more.
    if let Err(error) = rustix::process::setpriority_process(None, NICENESS) {
        tracing::debug!(%error, "the indexer competes with requests for the processors");
    }
    while let Some(moved) = round(shared) {
        if moved == 0 {
            std::thread::sleep(PAUSE);
        }
    }
}

/// As [`run`], as a task.
pub(super) async fn run_as_task(shared: Weak<Shared>) {
    while let Some(moved) = round(&shared) {
        match moved {
            0 => tokio::time::sleep(PAUSE).await,
            _ => tokio::task::yield_now().await,
        }
    }
}

/// How many vectors were moved; `None` at the end.
fn round(shared: &Weak<Shared>) -> Option<usize> {
    let shared = shared.upgrade()?;
    if shared.closed.load(Ordering::SeqCst) {
        return None;
    }
    let databases = shared.store.databases();
    let moved = databases.iter().map(|database| match database.index_some(STRIDE) {
        Ok(moved) => moved,
        Err(error) => {
            tracing::error!(%error, database = database.record().database_id, "indexing failed; it is tried again");
            0
        }
    });
    Some(moved.sum())
}
