//! Serving a snapshot to another node: the store is walked as fast as the other side takes the records, and nothing is
//! held while it does not.

use super::serve::{FeedBody, note};
use crate::admin::refuse;
use crate::engine::{Node, SnapshotHead, SnapshotTail};
use bytes::{Bytes, BytesMut};
use changelog::{SnapshotEncoder, SnapshotFormatError};
use tokio::sync::mpsc;
use wire::admin::{AdminError, AdminErrorCode};

/// Bytes of records gathered under one lock into one piece of the body: some hundred microseconds of work.
const PIECE_BYTES: usize = 256 << 10;
/// Room for a piece with what encoding adds, so that it seldom has to grow.
const PIECE_CAPACITY: usize = PIECE_BYTES + PIECE_BYTES / 2;
/// Pieces on their way to one follower; with the one in the making and the sockets' buffers the most that one slow
/// follower costs is 2 MiB.
const PIECES_UNDER_WAY: usize = 4;

/// Begins a stream of all records: a snapshot in the encoding of snapshot files.
///
/// # Errors
/// Refused while this node is not complete itself.
pub fn serve_snapshot(node: &Node, follower: &str) -> Result<FeedBody, AdminError> {
    let unavailable = |why: &str| refuse(node, AdminErrorCode::Unavailable, why);
    if !node.ready() {
        return Err(unavailable("this node is not complete itself"));
    }
    let head = SnapshotHead::of(node.shared()).ok_or_else(|| unavailable("the log was replaced meanwhile"))?;
    // From here on the log is kept for this follower.
    note(node, follower, head.start.lsn);
    let (sender, pieces) = mpsc::channel(PIECES_UNDER_WAY);
    let (node, follower) = (node.clone(), follower.to_string());
    tokio::spawn(async move {
        if let Err(why) = send(&node, &follower, &head, sender).await {
            tracing::warn!(why, follower, "the snapshot ends early");
        }
    });
    Ok(FeedBody { pieces })
}

async fn send(node: &Node, follower: &str, head: &SnapshotHead, sender: mpsc::Sender<Bytes>) -> Result<(), String> {
    let text = |error: SnapshotFormatError| error.to_string();
    let mut encoder = SnapshotEncoder::new();
    let mut piece = BytesMut::with_capacity(PIECE_CAPACITY);
    encoder.header(&head.to_header()?, &mut piece).map_err(text)?;
    let (mut place, mut more) = (None, true);
    while more {
        let mut encoded = Ok(());
        more = node.store().stride(&mut place, PIECE_BYTES, |item| {
            if encoded.is_ok() {
                encoded = encoder.item(item, &mut piece);
            }
        });
        encoded.map_err(text)?;
        // The log is replaced before the store: what was just read is of the history that the head names.
        if node.shared().log.renewed().generation() != head.start.generation {
            return Err("this node was seeded anew meanwhile".into());
        }
        if node.shutdown_requested() {
            return Err("this node is closing".into());
        }
        if !more {
            encoder.trailer(&SnapshotTail::of(node.shared()).to_bytes()?, &mut piece).map_err(text)?;
        }
        note(node, follower, head.start.lsn);
        sender.send(piece.split().freeze()).await.map_err(|_| "the follower went away".to_string())?;
        piece.reserve(PIECE_CAPACITY);
        // A quick receiver shall not keep everybody else from this thread.
        tokio::task::yield_now().await;
    }
    Ok(())
}
