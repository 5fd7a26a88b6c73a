//! Filling an empty (or left-behind) follower from a snapshot of another node.

use super::follow::FollowError;
use crate::engine::{Node, Seed, SnapshotHead, SnapshotTail};
use crate::store::Store;
use changelog::{SnapshotDecoder, SnapshotRecord, SnapshotWriter};
use client::Admin;
use http_body_util::BodyExt;
use std::time::Duration;
use wire::admin::Seeding;

/// Longest silence within a snapshot.
const SILENCE_MAX: Duration = Duration::from_secs(10);

/// Receives a whole snapshot, into memory and onto disk at once, and puts it in the place of what this node has.
///
/// # Errors
/// [`FollowError`]; this node is then as it was.
pub(super) async fn receive(node: &Node, admin: &Admin, session: u64) -> Result<(), FollowError> {
    let result = receive_into(node, admin, session).await;
    node.shared().feed.lock().seeding = None;
    result
}

async fn receive_into(node: &Node, admin: &Admin, session: u64) -> Result<(), FollowError> {
    let peer = admin.address().to_string();
    let failed = |why: String| FollowError::Seed { peer: peer.clone(), why };
    let (node_id, cluster_id) = {
        let file = &node.shared().status.borrow().file;
        (file.node_id.clone(), file.cluster_id.clone())
    };
    let mut body = admin.snapshot(&node_id).await?.into_body();
    let mut decoder = SnapshotDecoder::new();
    let mut incoming: Option<(SnapshotHead, SnapshotWriter)> = None;
    let store = Store::remembering(node.config().index.clone(), node.config().limits.keys);
    let (mut records, mut bytes) = (0, 0);
    loop {
        let piece = match tokio::time::timeout(SILENCE_MAX, body.frame()).await {
            Err(_) => return Err(failed(format!("nothing came for {} s", SILENCE_MAX.as_secs()))),
            Ok(None) => return Err(failed("it ended before it was whole".into())),
            Ok(Some(Err(error))) => return Err(failed(error.to_string())),
            Ok(Some(Ok(frame))) => frame,
        };
        let Ok(piece) = piece.into_data() else { continue };
        bytes += piece.len() as u64;
        decoder.push(&piece);
        while let Some(record) = decoder.next().map_err(|error| failed(error.to_string()))? {
            match (record, incoming.as_mut()) {
                (SnapshotRecord::Header(header), None) => {
                    let mut head = SnapshotHead::from_header(&header).map_err(failed)?;
                    if !cluster_id.is_empty() && head.meta.cluster_id != cluster_id {
                        let why = format!("holds the history `{}`, not `{cluster_id}`", head.meta.cluster_id);
                        return Err(FollowError::Peer { peer, why });
                    }
                    // What this folder had is replaced: a generation of its own.
                    head.start.generation = node.shared().log.renewed().generation() + 1;
                    let dir = node.dir().ok_or_else(|| failed("the node is closing".into()))?;
                    let header = head.to_header().map_err(failed)?;
                    let writer = SnapshotWriter::create(&dir, &header).map_err(|error| failed(error.to_string()))?;
                    incoming = Some((head, writer));
                }
                (SnapshotRecord::Item(item), Some((head, writer))) => {
                    writer.item_encoded(&item).map_err(|error| failed(error.to_string()))?;
                    store.restore(&item.payload()).map_err(|error| failed(error.to_string()))?;
                    records += 1;
                    if records % 256 == 0 {
                        let records_total = head.meta.items.max(records);
                        node.shared().feed.lock().seeding = Some(Seeding { records, records_total, bytes });
                        tokio::task::yield_now().await;
                    }
                }
                (SnapshotRecord::Trailer(trailer), Some(_)) => {
                    let tail = SnapshotTail::from_bytes(&trailer.meta).map_err(failed)?;
                    let Some((head, snapshot)) = incoming.take() else { continue };
                    let complete_at = tail.complete_at;
                    tracing::info!(peer, records, bytes, lsn = head.start.lsn, complete_at, "snapshot received");
                    let seed =
                        Seed { store, cluster_id: head.meta.cluster_id, start: head.start, complete_at, snapshot };
                    return node.install(session, seed).await.map_err(|error| failed(error.to_string()));
                }
                _ => return Err(failed("its parts are out of order".into())),
            }
        }
    }
}
