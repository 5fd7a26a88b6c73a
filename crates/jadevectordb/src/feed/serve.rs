//! Serving the feed to other nodes.

use super::{ANNOUNCE_EVERY, Announcement, Follower};
use crate::admin::refuse;
use crate::engine::{FollowerSeen, Node};
use crate::record;
use bytes::{Bytes, BytesMut};
use changelog::{Batch, Frame, LogReader, ReadError};
use http_body::{Body, Frame as BodyFrame};
use std::convert::Infallible;
use std::pin::Pin;
use std::task::{Context, Poll};
use tokio::sync::mpsc;
use tokio::time::Instant;
use wire::admin::{AdminError, AdminErrorCode, Epoch, Lsn, Role};
use wire::headers::WIRE_VERSION;

/// Bytes read from the log at once.
const BATCH_BYTES: usize = 1 << 20;
/// Records behind from which on reading goes to a thread of its own.
const FAR_BEHIND: Lsn = 10_000;
/// Batches on their way to one follower; with the sockets' buffers the most that one slow follower costs is 4 MiB.
const BATCHES_UNDER_WAY: usize = 4;

/// A body that ends when its sender does.
pub struct FeedBody {
    pub(super) pieces: mpsc::Receiver<Bytes>,
}

#[cfg(test)]
impl FeedBody {
    pub(crate) fn of(pieces: mpsc::Receiver<Bytes>) -> Self {
        Self { pieces }
    }
}

impl Body for FeedBody {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<BodyFrame<Bytes>, Infallible>>> {
        self.pieces.poll_recv(context).map(|piece| piece.map(|piece| Ok(BodyFrame::data(piece))))
    }
}

/// Begins a stream of everything after an LSN and its epoch. What the follower has came in `held_format` or newer.
///
/// # Errors
/// Refused when the asking node holds another history, or the log no longer reaches back so far, or it would not be able to
/// read the records.
pub fn serve(
    node: &Node,
    (after, epoch): (Lsn, Epoch),
    cluster: &str,
    follower: Follower,
    held_format: u8,
) -> Result<FeedBody, AdminError> {
    let format = follower.served_in(node)?;
    let cluster_id = node.shared().status.borrow().file.cluster_id.clone();
    if cluster_id.is_empty() || (!cluster.is_empty() && cluster != cluster_id) {
        let message = format!("this node holds the history `{cluster_id}`, not `{cluster}`");
        return Err(refuse(node, AdminErrorCode::WrongState, message));
    }
    let log = node.shared().log.renewed();
    // Not the announced position: followers are sent what is on disk, and may have it before it is applied here.
    let (newest, _) = log.durable();
    if after > newest {
        let message = format!("LSN {after} is ahead of this node, which stands at {newest}");
        return Err(refuse(node, AdminErrorCode::Diverged, message));
    }
    match log.epoch_at(after) {
        Some(here) if here == epoch => {}
        None if after == 0 => {}
        here => {
            let message = format!("LSN {after} is of epoch {here:?} here, not of epoch {epoch}");
            return Err(refuse(node, AdminErrorCode::Diverged, message));
        }
    }
    if let Err(ReadError::Truncated { first_available, .. }) = log.read_after(after, 1) {
        let message = format!("the log begins at LSN {first_available}; seed anew");
        return Err(refuse(node, AdminErrorCode::LogTruncated, message));
    }
    if held_format < format && node.store().answered_count() > 0 {
        let message = format!(
            "what is there came in record format {held_format}, without the idempotency keys that are remembered here; \
             seed anew"
        );
        return Err(refuse(node, AdminErrorCode::LogTruncated, message));
    }
    note(node, &follower.id, after);
    let (sender, pieces) = mpsc::channel(BATCHES_UNDER_WAY);
    tokio::spawn(stream(node.clone(), log, after, follower.id, format, sender));
    Ok(FeedBody { pieces })
}

/// Remembers how far a follower was served: the log is kept for it, up to a bound.
pub(super) fn note(node: &Node, follower: &str, sent_lsn: Lsn) {
    let seen = FollowerSeen { sent_lsn, seen: Instant::now() };
    node.shared().followers.lock().insert(follower.to_string(), seen);
}

async fn stream(node: Node, log: LogReader, mut after: Lsn, follower: String, format: u8, sender: mpsc::Sender<Bytes>) {
    let mut position = node.shared().position.subscribe();
    let mut announced = None;
    loop {
        let batch = read(&log, after, node.lsn()).await;
        let batch = batch.and_then(|batch| Ok((batch.last_lsn, in_format(batch, format)?)));
        let (last_lsn, mut pieces) = match batch {
            Ok(batch) => batch,
            Err(error) => {
                tracing::warn!(error, follower, "the feed ends");
                // So that it is known at the other end too; if that has gone, nobody needs to know.
                if let Some(last) = announcement(&node, &follower, Some(error)) {
                    let _ = sender.send(last).await;
                }
                return;
            }
        };
        let due = announced.is_none_or(|at: Instant| at.elapsed() >= ANNOUNCE_EVERY);
        if due && let Some(piece) = announcement(&node, &follower, None) {
            announced = Some(Instant::now());
            pieces.insert(0, piece);
        }
        for piece in pieces {
            if sender.send(piece).await.is_err() {
                node.shared().followers.lock().remove(&follower);
                return;
            }
        }
        if last_lsn > 0 {
            after = last_lsn;
            note(&node, &follower, after);
            continue;
        }
        tokio::select! {
            _ = position.wait_for(|position| position.lsn > after) => {}
            () = tokio::time::sleep(ANNOUNCE_EVERY) => {}
            () = node.until_shutdown() => return,
            () = sender.closed() => {
                node.shared().followers.lock().remove(&follower);
                return;
            }
        }
    }
}

/// The next batch after `after`. Far behind, it comes from files and may take a moment; the tail is in memory.
async fn read(log: &LogReader, after: Lsn, newest: Lsn) -> Result<Batch, String> {
    if newest.saturating_sub(after) < FAR_BEHIND {
        return log.read_encoded_after(after, BATCH_BYTES).map_err(|error| error.to_string());
    }
    let log = log.clone();
    let reading = tokio::task::spawn_blocking(move || log.read_encoded_after(after, BATCH_BYTES));
    reading.await.map_err(|error| error.to_string())?.map_err(|error| error.to_string())
}

/// The frames of a batch with records of at most this format. Most are so already, and stay as they are.
fn in_format(batch: Batch, format: u8) -> Result<Vec<Bytes>, String> {
    if format >= record::FORMAT_MAX {
        return Ok(batch.pieces);
    }
    let mut out = BytesMut::with_capacity(batch.bytes);
    for frame in batch.frames() {
        let payload =
            record::in_format(&frame.payload, format).map_err(|error| format!("LSN {}: {error}", frame.lsn))?;
        Frame { payload, ..frame }.encode_into(&mut out).map_err(|error| error.to_string())?;
    }
    Ok(if out.is_empty() { Vec::new() } else { vec![out.freeze()] })
}

/// `ends`: why nothing follows.
fn announcement(node: &Node, follower: &str, ends: Option<String>) -> Option<Bytes> {
    // A follower that serves others does not count what they have.
    let counts = matches!(node.shared().status.borrow().file.role, Role::Primary { .. } | Role::Sealed { .. });
    let announcement = Announcement {
        cluster_id: node.shared().status.borrow().file.cluster_id.clone(),
        wire_version: WIRE_VERSION,
        lsn: node.lsn(),
        confirm: counts && node.shared().confirmations.wanted_of(follower),
        records: record::formats(node.config().record_format),
        ends,
    };
    let payload = serde_json::to_vec(&announcement).ok()?;
    let mut piece = BytesMut::new();
    Frame { lsn: 0, epoch: 0, payload: payload.into() }.encode_into(&mut piece).ok()?;
    Some(piece.freeze())
}
