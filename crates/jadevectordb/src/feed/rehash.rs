//! Recomputing the digest from what is on disk, independently of the store in memory.

use crate::engine::Node;
use crate::record::Op;
use crate::store::Store;
use changelog::SnapshotReader;
use wire::admin::{Lsn, Rehash};
use wire::document::{Index, IndexKind};

/// Bytes of log read at once.
const BATCH_BYTES: usize = 1 << 20;
/// Attempts before giving up: a snapshot may be replaced, and the log cut, while they are read.
const ATTEMPTS: usize = 3;

/// Reads snapshot and log files again and compares the digest with the one in memory, at one LSN.
///
/// # Errors
/// A text that names the damaged or missing file.
pub async fn rehash(node: &Node) -> Result<Rehash, String> {
    let mut last = String::new();
    for _ in 0..ATTEMPTS {
        let (position, digest) = node.digest_now().await.map_err(|error| error.to_string())?;
        let worker = node.clone();
        let reading = node.config().surroundings.execution.aside(move || from_storage(&worker, position.lsn));
        match reading.await.map_err(|error| error.to_string())? {
            Ok(store) => {
                let storage = store.digest();
                return Ok(Rehash {
                    lsn: position.lsn,
                    from_memory: digest.root,
                    from_storage: storage.root,
                    records: storage.records,
                });
            }
            Err(error) => last = error,
        }
    }
    Err(last)
}

/// The state at `lsn`, built anew from files.
fn from_storage(node: &Node, lsn: Lsn) -> Result<Store, String> {
    let dir = node.dir().ok_or("the node is closing")?;
    // Only records and digest matter here: no graph is built.
    let store = Store::new(Index { kind: IndexKind::Flat, ..Index::default() });
    let mut after = 0;
    if let Some(reader) = SnapshotReader::open_latest(&dir).map_err(|error| error.to_string())? {
        let (head, _) = crate::engine::read_snapshot(reader, &store)?;
        after = head.start.lsn;
    }
    let log = node.shared().log.renewed();
    while after < lsn {
        let batch = log.read_stored_after(after, BATCH_BYTES).map_err(|error| error.to_string())?;
        for frame in batch.frames() {
            if frame.lsn > lsn {
                return Ok(store);
            }
            let op = Op::decode_up_to(&frame.payload, node.config().record_format)
                .map_err(|error| format!("LSN {}: {error}", frame.lsn))?;
            store.apply(frame.lsn, op);
        }
        if batch.last_lsn == 0 {
            return Err(format!("the log ends at LSN {after}, before {lsn}"));
        }
        after = batch.last_lsn;
    }
    Ok(store)
}
