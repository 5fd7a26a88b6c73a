//! Filling an empty (or left-behind) follower from a snapshot of another node.
//!
//! The stream may break off as often as it likes: the next one goes on behind what came, also after a restart of either
//! side, as long as the sender's log reaches back to where the first one began.

mod incoming;
mod progress;

pub(crate) use incoming::Incoming;
pub(super) use incoming::IncomingError;

use super::follow::FollowError;
use crate::engine::{Node, Seed};
use bytes::Bytes;
use client::{Admin, StreamingResponse};
use http_body_util::BodyExt;
use incoming::Came;
use progress::Progress;
use std::time::Duration;
use wire::admin::AdminErrorCode;

/// Longest silence within a snapshot.
const SILENCE_MAX: Duration = Duration::from_secs(10);
/// Bytes that wait while those before are taken in. With the two of a stride and the buffer of the file, receiving costs
/// about 6 MiB besides the records.
const WAITING_BYTES_MAX: usize = 2 << 20;

/// Receives a whole snapshot, into memory and onto disk at once, and puts it in the place of what this node has.
///
/// # Errors
/// [`FollowError`]; this node is then as it was, and what came is kept for the next call.
pub(super) async fn receive(node: &Node, admin: &Admin, session: u64) -> Result<(), FollowError> {
    let peer = admin.address().to_string();
    let seed = receive_all(node, admin, &peer).await;
    if seed.is_err() {
        Progress::pause(node);
    }
    let installed = node.install(session, *seed?).await;
    node.shared().feed.lock().seeding = None;
    installed.map_err(|error| FollowError::Seed { peer, why: error.to_string() })
}

async fn receive_all(node: &Node, admin: &Admin, peer: &str) -> Result<Box<Seed>, FollowError> {
    let named = |error: IncomingError| FollowError::incoming(peer, error);
    let incoming = &node.shared().incoming;
    let execution = &node.config().surroundings.execution;
    let (attempt, stream) = connect(node, admin, peer).await?;
    let mut body = stream.into_body();
    let mut progress = Progress::new(node, peer, incoming.came());
    let (mut waiting, mut waiting_bytes, mut ended) = (Vec::<Bytes>::new(), 0, None);
    // One portion is taken in while the next one comes.
    let mut work = None;
    loop {
        if work.is_none() && !waiting.is_empty() {
            let (worker, pieces) = (node.clone(), std::mem::take(&mut waiting));
            waiting_bytes = 0;
            let take_in = move || worker.shared().incoming.take_in(&worker, attempt, &pieces);
            work = Some(Box::pin(execution.aside(take_in)));
        }
        if work.is_none()
            && let Some(why) = ended
        {
            return Err(FollowError::Seed { peer: peer.into(), why });
        }
        let taking_in = async {
            match work.as_mut() {
                Some(work) => work.await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            taken = taking_in => {
                work = None;
                let taken = taken.map_err(|error| FollowError::Seed { peer: peer.into(), why: error.to_string() })?;
                let (came, seed) = taken.map_err(named)?;
                progress.note(came);
                if let Some(seed) = seed {
                    progress.finished(seed.complete_at);
                    return Ok(seed);
                }
            }
            piece = tokio::time::timeout(SILENCE_MAX, body.frame()),
                if ended.is_none() && waiting_bytes < WAITING_BYTES_MAX =>
            {
                match piece {
                    Err(_) => ended = Some(format!("nothing came for {} s", SILENCE_MAX.as_secs())),
                    Ok(None) => ended = Some("it ended before it was whole".into()),
                    Ok(Some(Err(error))) => ended = Some(error.to_string()),
                    Ok(Some(Ok(frame))) => {
                        let Ok(piece) = frame.into_data() else { continue };
                        waiting_bytes += piece.len();
                        waiting.push(piece);
                    }
                }
            }
        }
    }
}

/// Opens a stream that goes on where the last one broke off, or a new one where that cannot be.
async fn connect(node: &Node, admin: &Admin, peer: &str) -> Result<(u64, StreamingResponse), FollowError> {
    let failed = |why: String| FollowError::Seed { peer: peer.into(), why };
    let incoming = &node.shared().incoming;
    let node_id = node.shared().status.borrow().file.node_id.clone();
    let begin = async || {
        let worker = node.clone();
        let begin = move || worker.shared().incoming.begin(&worker);
        let begun = node.config().surroundings.execution.aside(begin).await;
        begun.map_err(|error| failed(error.to_string()))?.map_err(|error| FollowError::incoming(peer, error))
    };
    let (attempt, resume) = begin().await?;
    let refused = match admin.snapshot(&node_id, resume.as_ref()).await {
        Err(error) if resume.is_some() && anew(error.code()) => error,
        other => return Ok((attempt, other?)),
    };
    let Came { records, bytes, .. } = incoming.came();
    tracing::warn!(peer, error = %refused, records, bytes, "what came of the snapshot is dropped");
    discard(node).await;
    let (attempt, _) = begin().await?;
    Ok((attempt, admin.snapshot(&node_id, None).await?))
}

/// The sender cannot go on where the stream broke off, now or ever.
fn anew(code: Option<AdminErrorCode>) -> bool {
    matches!(code, Some(AdminErrorCode::BadRequest | AdminErrorCode::Diverged | AdminErrorCode::LogTruncated))
}

/// Drops what came of a snapshot that is not needed any more.
pub(super) async fn discard(node: &Node) {
    let worker = node.clone();
    let discard = move || worker.shared().incoming.discard(&worker);
    let discarded = node.config().surroundings.execution.aside(discard).await;
    if let Ok(Err(error)) = discarded {
        tracing::warn!(%error, "a part of a snapshot that nobody needs was not removed");
    }
}
