//! Following another node: one task that holds the feed open for as long as the role says so.

use super::seed::{self, IncomingError};
use super::{Announcement, confirm};
use crate::engine::Node;
use crate::record::Op;
use changelog::{Frame, FrameDecoder};
use client::{Admin, CallError};
use http_body_util::BodyExt;
use std::time::Duration;
use tokio::sync::watch;
use tokio::time::Instant;
use wire::admin::{AdminErrorCode, Peer, Role};
use wire::headers::{WIRE_VERSION, WIRE_VERSION_MIN};

/// How long the other node may take to begin an answer.
const CALL_TIMEOUT: Duration = Duration::from_secs(5);
/// Thirty announcements missed.
const SILENCE_MAX: Duration = Duration::from_secs(3);
/// Pauses between attempts double from the first to the last.
const PAUSE_MIN: Duration = Duration::from_millis(20);
const PAUSE_MAX: Duration = Duration::from_secs(1);

/// Follows whomever the role names, until the node closes.
pub(crate) async fn supervise(node: Node) {
    let mut status = node.shared().status.subscribe();
    let http = node.config().surroundings.http.clone();
    let mut pause = PAUSE_MIN;
    loop {
        let (role, session) = {
            let status = status.borrow_and_update();
            (status.file.role.clone(), status.session)
        };
        let changed = async {
            // The sender lives as long as the node.
            let _ = status.wait_for(|status| status.session != session).await;
        };
        let Role::Follower { primary, .. } = role else {
            if !matches!(role, Role::Waiting) {
                seed::discard(&node).await;
            }
            tokio::select! {
                () = changed => continue,
                () = node.until_shutdown() => return,
            }
        };
        let admin = Admin::new(http.clone(), &primary.admin, &node.config().admin_token, CALL_TIMEOUT);
        let began = Instant::now();
        tokio::select! {
            () = changed => {
                node.shared().feed.lock().seeding = None;
                pause = PAUSE_MIN;
                continue;
            }
            () = node.until_shutdown() => return,
            end = follow(&node, &admin, &primary, session) => {
                let why = end.unwrap_or_else(|error| error.to_string());
                tracing::warn!(primary = primary.admin, why, "the feed broke off");
                let mut feed = node.shared().feed.lock();
                feed.connected = false;
                feed.error = Some(why);
            }
        }
        if began.elapsed() > PAUSE_MAX {
            pause = PAUSE_MIN;
        }
        tokio::select! {
            () = tokio::time::sleep(pause) => {}
            () = node.until_shutdown() => return,
        }
        pause = (pause * 2).min(PAUSE_MAX);
    }
}

/// Why following ended.
#[derive(Debug, thiserror::Error)]
pub(super) enum FollowError {
    #[error("{0}")]
    Call(#[from] CallError),
    #[error("{peer} {why}")]
    Peer { peer: String, why: String },
    #[error("a record from {peer} cannot be read: {why}")]
    Record { peer: String, why: String },
    #[error("could not apply what {peer} sent: {why}")]
    Apply { peer: String, why: String },
    #[error("could not keep the snapshot of {peer}: {why}")]
    Seed { peer: String, why: String },
}

impl FollowError {
    pub(super) fn incoming(peer: &str, error: IncomingError) -> FollowError {
        let (peer, why) = (peer.to_string(), error.to_string());
        match error {
            IncomingError::OtherHistory { .. } => FollowError::Peer { peer, why },
            IncomingError::Record(_) => FollowError::Record { peer, why },
            _ => FollowError::Seed { peer, why },
        }
    }
}

async fn follow(node: &Node, admin: &Admin, primary: &Peer, session: u64) -> Result<String, FollowError> {
    let (cluster_id, node_id) = {
        let status = node.shared().status.borrow();
        (status.file.cluster_id.clone(), status.file.node_id.clone())
    };
    let position = node.position();
    if position.lsn == 0 {
        seed::receive(node, admin, session).await?;
        return Ok("seeded; following begins".into());
    }
    let stream = match admin.feed(position.lsn, position.epoch, &cluster_id, &node_id).await {
        Err(error) if error.code() == Some(AdminErrorCode::LogTruncated) => {
            tracing::info!(%error, "this node is too far behind: it is seeded anew");
            seed::receive(node, admin, session).await?;
            return Ok("seeded anew; following begins".into());
        }
        Err(error) if error.code() == Some(AdminErrorCode::Diverged) => {
            tracing::warn!(%error, "this node's history is not the primary's: it is set aside and seeded anew");
            seed::receive(node, admin, session).await?;
            return Ok("seeded anew after a divergence; following begins".into());
        }
        other => other?,
    };
    // The primary serves on from here, so everything before is in its history too.
    node.shared().confirmations.accepted(position.lsn);
    // Whatever came of a snapshot before is not needed.
    seed::discard(node).await;
    node.shared().feed.lock().seeding = None;
    let wanted = watch::Sender::new(false);
    tokio::select! {
        end = receive(node, primary, &cluster_id, session, stream, &wanted) => end,
        never = confirm::say(node, admin, &node_id, wanted.subscribe()) => match never {},
    }
}

/// Applies what comes, until it ends.
async fn receive(
    node: &Node,
    primary: &Peer,
    cluster_id: &str,
    session: u64,
    stream: client::StreamingResponse,
    confirm_wanted: &watch::Sender<bool>,
) -> Result<String, FollowError> {
    let mut body = stream.into_body();
    let mut decoder = FrameDecoder::new();
    let mut caught_up = Instant::now();
    loop {
        let piece = match tokio::time::timeout(SILENCE_MAX, body.frame()).await {
            Err(_) => return Ok(format!("{} was silent for {} ms", primary.admin, SILENCE_MAX.as_millis())),
            Ok(None) => return Ok(format!("{} ended the feed", primary.admin)),
            Ok(Some(Err(error))) => return Ok(format!("{} broke off: {error}", primary.admin)),
            Ok(Some(Ok(frame))) => frame,
        };
        let Ok(piece) = piece.into_data() else { continue };
        decoder.push(&piece);
        let mut records = Vec::new();
        while let Some(frame) = decoder
            .next()
            .map_err(|error| FollowError::Record { peer: primary.admin.clone(), why: error.to_string() })?
        {
            if frame.lsn == 0 {
                let said = hear(node, primary, cluster_id, &frame)?;
                confirm_wanted.send_if_modified(|wanted| std::mem::replace(wanted, said.confirm) != said.confirm);
                continue;
            }
            let op = Op::decode(&frame.payload)
                .map_err(|error| FollowError::Record { peer: primary.admin.clone(), why: error.to_string() })?;
            records.push((frame, op));
        }
        let newest = records.last().map(|(frame, _)| frame.lsn);
        if !records.is_empty() {
            node.replicate(session, records)
                .await
                .map_err(|error| FollowError::Apply { peer: primary.admin.clone(), why: error.to_string() })?;
        }
        let mut feed = node.shared().feed.lock();
        feed.connected = true;
        feed.error = None;
        feed.primary_lsn = feed.primary_lsn.max(newest.unwrap_or(0));
        if node.lsn() >= feed.primary_lsn {
            caught_up = Instant::now();
        }
        feed.lag_ms = caught_up.elapsed().as_millis() as u64;
    }
}

/// Takes in an announcement.
fn hear(node: &Node, primary: &Peer, cluster_id: &str, frame: &Frame) -> Result<Announcement, FollowError> {
    let said: Announcement = serde_json::from_slice(&frame.payload)
        .map_err(|error| FollowError::Record { peer: primary.admin.clone(), why: error.to_string() })?;
    if said.cluster_id != cluster_id {
        let why = format!("holds another history (`{}`, not `{cluster_id}`)", said.cluster_id);
        return Err(FollowError::Peer { peer: primary.admin.clone(), why });
    }
    if !(WIRE_VERSION_MIN..=WIRE_VERSION).contains(&said.wire_version) {
        let why =
            format!("speaks wire version {}, this node reads {WIRE_VERSION_MIN} to {WIRE_VERSION}", said.wire_version);
        return Err(FollowError::Peer { peer: primary.admin.clone(), why });
    }
    let mut feed = node.shared().feed.lock();
    feed.primary_lsn = said.lsn;
    drop(feed);
    Ok(said)
}
