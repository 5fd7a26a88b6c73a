//! Following another node: one task that holds the feed open for as long as the role says so.

use super::seed::{self, IncomingError};
use super::{confirm, receive};
use crate::engine::Node;
use client::{Admin, CallError};
use std::time::Duration;
use tokio::sync::watch;
use tokio::time::Instant;
use wire::admin::{AdminErrorCode, Lsn, Peer, Role};

/// How long the other node may take to begin an answer.
const CALL_TIMEOUT: Duration = Duration::from_secs(5);
/// Pauses between attempts double from the first to the last.
const PAUSE_MIN: Duration = Duration::from_millis(20);
const PAUSE_MAX: Duration = Duration::from_secs(1);

/// Follows whomever the role names, until the node closes.
pub(crate) async fn supervise(node: Node) {
    let mut status = node.shared().status.subscribe();
    let http = node.config().surroundings.http.clone();
    let mut pause = PAUSE_MIN;
    let mut stuck = Stuck::default();
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
        let admin = Admin::new(http.clone(), &primary.admin, &node.config().admin_token, CALL_TIMEOUT)
            .reading_records(node.config().record_format);
        if stuck.session != session {
            stuck = Stuck { session, at: None };
        }
        let began = Instant::now();
        tokio::select! {
            () = changed => {
                node.shared().feed.lock().seeding = None;
                pause = PAUSE_MIN;
                continue;
            }
            () = node.until_shutdown() => return,
            end = follow(&node, &admin, &primary, &mut stuck) => {
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

/// A record that this node cannot get past, of the primary of one session. While it is there, a connection that stands is
/// no connection: it would be taken for one in the moments until the record comes again.
#[derive(Default)]
pub(super) struct Stuck {
    pub session: u64,
    at: Option<Lsn>,
}

impl Stuck {
    pub fn passed(&self, here: Lsn, primary: Lsn) -> bool {
        self.at.is_none_or(|at| here >= at || primary < at)
    }
}

/// Why following ended.
#[derive(Debug, thiserror::Error)]
pub(super) enum FollowError {
    #[error("{0}")]
    Call(#[from] CallError),
    #[error("{peer} {why}")]
    Peer { peer: String, why: String },
    #[error("what {peer} sent cannot be used: {why}")]
    Unusable { peer: String, why: String },
    #[error("the record of {peer} at LSN {lsn} cannot be read: {why}")]
    Unreadable { peer: String, lsn: Lsn, why: String },
    #[error("a record in the snapshot of {peer} cannot be read: {why}")]
    UnreadableSnapshot { peer: String, why: String },
    #[error("{peer} cannot go on behind LSN {lsn}: {why}")]
    Ends { peer: String, lsn: Lsn, why: String },
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
            IncomingError::Record(_) => FollowError::UnreadableSnapshot { peer, why },
            IncomingError::Head(_) | IncomingError::Format(_) | IncomingError::OutOfOrder => {
                FollowError::Unusable { peer, why: format!("its snapshot: {why}") }
            }
            _ => FollowError::Seed { peer, why },
        }
    }
}

async fn follow(node: &Node, admin: &Admin, primary: &Peer, stuck: &mut Stuck) -> Result<String, FollowError> {
    let session = stuck.session;
    let (cluster_id, node_id, held_format) = {
        let status = node.shared().status.borrow();
        (status.file.cluster_id.clone(), status.file.node_id.clone(), status.file.held_format)
    };
    let position = node.position();
    if position.lsn == 0 {
        seed::receive(node, admin, session).await?;
        stuck.at = None;
        return Ok("seeded; following begins".into());
    }
    let stream = match admin.feed((position.lsn, position.epoch), &cluster_id, &node_id, held_format).await {
        Err(error) if error.code() == Some(AdminErrorCode::LogTruncated) => {
            tracing::info!(%error, "this node cannot go on from here: it is seeded anew");
            seed::receive(node, admin, session).await?;
            stuck.at = None;
            return Ok("seeded anew; following begins".into());
        }
        Err(error) if error.code() == Some(AdminErrorCode::Diverged) => {
            tracing::warn!(%error, "this node's history is not the primary's: it is set aside and seeded anew");
            seed::receive(node, admin, session).await?;
            stuck.at = None;
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
        end = receive::receive(node, primary, &cluster_id, stuck, stream, &wanted) => {
            if let Err(FollowError::Unreadable { lsn, .. }) = &end {
                stuck.at = Some(*lsn);
            }
            if let Err(FollowError::Ends { lsn, .. }) = &end {
                stuck.at = Some(lsn + 1);
            }
            end
        }
        never = confirm::say(node, admin, &node_id, wanted.subscribe()) => match never {},
    }
}
