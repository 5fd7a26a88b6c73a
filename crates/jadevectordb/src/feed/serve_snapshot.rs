//! Serving a snapshot to another node: the store is walked as fast as the other side takes the records, and nothing is
//! held while it does not. A stream that broke off can be gone on with.

use super::Follower;
use super::serve::{FeedBody, note};
use crate::admin::refuse;
use crate::engine::{Node, SnapshotHead, SnapshotTail};
use crate::{record, store};
use bytes::{Bytes, BytesMut};
use changelog::{ReadError, SnapshotEncoder, SnapshotFormatError};
use tokio::sync::mpsc;
use wire::admin::{AdminError, AdminErrorCode};
use wire::snapshot::{Place, Resume};

/// Bytes of records gathered under one lock into one piece of the body: some hundred microseconds of work.
const PIECE_BYTES: usize = 256 << 10;
/// Room for a piece with what encoding adds, so that it seldom has to grow.
const PIECE_CAPACITY: usize = PIECE_BYTES + PIECE_BYTES / 2;
/// Pieces on their way to one follower; with the one in the making and the sockets' buffers the most that one slow
/// follower costs is 2 MiB.
const PIECES_UNDER_WAY: usize = 4;

/// Begins a stream of all records: a snapshot in the encoding of snapshot files. With a token ([`Resume`]) it goes on with
/// a stream that broke off.
///
/// # Errors
/// Refused while this node is not complete itself, when the other would not be able to read the records, and when it cannot
/// go on with the stream: then the other side begins anew.
pub fn serve_snapshot(node: &Node, follower: Follower, token: Option<&str>) -> Result<FeedBody, AdminError> {
    let format = follower.served_in(node)?;
    let unavailable = |why: &str| refuse(node, AdminErrorCode::Unavailable, why);
    if !node.ready() {
        return Err(unavailable("this node is not complete itself"));
    }
    let (mut head, place) = match token {
        None => (SnapshotHead::of(node.shared()).ok_or_else(|| unavailable("the log was replaced meanwhile"))?, None),
        Some(token) => {
            let Some(resume) = Resume::from_token(token) else {
                return Err(refuse(node, AdminErrorCode::BadRequest, "resume: not a token of this version"));
            };
            // Before it is looked whether the log reaches back so far, so that it still does afterwards.
            note(node, &follower.id, resume.lsn);
            (resumed(node, &resume, format)?, Some(resume.after))
        }
    };
    head.meta.record_format = format;
    // From here on the log is kept for this follower.
    note(node, &follower.id, head.start.lsn);
    let (lsn, behind) = (head.start.lsn, head.meta.resumed_behind);
    tracing::info!(follower = follower.id, lsn, behind, "a follower is being seeded");
    let (sender, pieces) = mpsc::channel(PIECES_UNDER_WAY);
    let (node, follower) = (node.clone(), follower.id);
    tokio::spawn(async move {
        if let Err(why) = send(&node, &follower, &head, (place, format), sender).await {
            tracing::warn!(why, follower, "the snapshot ends early");
        }
    });
    Ok(FeedBody { pieces })
}

/// The head of a stream that goes on where another broke off.
fn resumed(node: &Node, resume: &Resume, format: u8) -> Result<SnapshotHead, AdminError> {
    let anew = |code, why: String| refuse(node, code, format!("{why}: the snapshot is to be begun anew"));
    let log = node.shared().log.renewed();
    let head = SnapshotHead::begun_at(node.shared(), resume.lsn);
    let Some(mut head) = head.filter(|head| {
        let begun_here = (&head.meta.cluster_id, &head.meta.node_id) == (&resume.cluster_id, &resume.node_id);
        begun_here && head.meta.generation == resume.generation && head.start.epoch() == resume.epoch
    }) else {
        let why = "the part was sent by another node, or from a history that was replaced since".to_string();
        return Err(anew(AdminErrorCode::Diverged, why));
    };
    if resume.record_format != format {
        let why = format!("the part is in record format {}, the rest would be in {format}", resume.record_format);
        return Err(anew(AdminErrorCode::Diverged, why));
    }
    match log.read_after(resume.lsn, 1) {
        Ok(_) => {}
        Err(ReadError::Truncated { first_available, .. }) => {
            let why = format!("the part was begun at LSN {}, the log begins at {first_available}", resume.lsn);
            return Err(anew(AdminErrorCode::LogTruncated, why));
        }
        Err(error) => return Err(refuse(node, AdminErrorCode::Unavailable, error.to_string())),
    }
    head.meta.resumed_behind = resume.items;
    Ok(head)
}

async fn send(
    node: &Node,
    follower: &str,
    head: &SnapshotHead,
    (mut place, format): (Option<Place>, u8),
    sender: mpsc::Sender<Bytes>,
) -> Result<(), String> {
    let text = |error: SnapshotFormatError| error.to_string();
    // A node that knows no keys gets none.
    let for_it = |item: &[u8]| format >= record::FORMAT_KEYED || !store::is_only_a_key(item);
    let mut encoder = SnapshotEncoder::resuming(head.meta.resumed_behind);
    let mut piece = BytesMut::with_capacity(PIECE_CAPACITY);
    encoder.header(&head.to_header()?, &mut piece).map_err(text)?;
    let mut more = true;
    while more {
        let mut encoded = Ok(());
        more = node.store().stride(&mut place, PIECE_BYTES, |item| {
            if encoded.is_ok() && for_it(item) {
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
