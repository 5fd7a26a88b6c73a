//! A follower's word about what it has on disk, and how the primary takes it.

use crate::admin::refuse;
use crate::engine::Node;
use client::Admin;
use std::convert::Infallible;
use std::time::Duration;
use tokio::sync::watch;
use wire::admin::{AdminError, AdminErrorCode, Confirm, Confirmed, Role};

/// Pause after a word that was not taken.
const RETRY_PAUSE: Duration = Duration::from_millis(20);

/// Says after each group how far the disk has the history, for as long as that is `wanted`. One call is under way at a time;
/// what is applied meanwhile is covered by the next.
pub(super) async fn say(node: &Node, admin: &Admin, node_id: &str, mut wanted: watch::Receiver<bool>) -> Infallible {
    let mut position = node.shared().position.subscribe();
    let mut said = None;
    loop {
        // Its sender lives as long as the feed, and so does the position's.
        let _ = wanted.wait_for(|wanted| *wanted).await;
        let here = *position.borrow_and_update();
        if said == Some(here) {
            tokio::select! {
                _ = position.changed() => {}
                // Asked anew, everything is to be said again: the primary may have been told to count from nothing.
                _ = wanted.changed() => said = None,
            }
            continue;
        }
        let word = Confirm { node_id: node_id.to_string(), lsn: here.lsn, lsn_epoch: here.epoch };
        match admin.confirm(&word).await {
            Ok(Confirmed { .. }) => said = Some(here),
            Err(error) => {
                tracing::debug!(%error, lsn = here.lsn, "the primary did not take a confirmation");
                tokio::time::sleep(RETRY_PAUSE).await;
            }
        }
    }
}

/// Takes a follower's word.
///
/// # Errors
/// Refused when the follower's history is not a beginning of this node's, or this node waits for nobody's word.
pub(crate) fn hear(node: &Node, call: &Confirm) -> Result<Confirmed, AdminError> {
    let shared = node.shared();
    if !matches!(shared.status.borrow().file.role, Role::Primary { .. } | Role::Sealed { .. }) {
        return Err(refuse(
            node,
            AdminErrorCode::WrongState,
            "this node is not the primary: nothing is confirmed to it",
        ));
    }
    let here = shared.log.renewed().epoch_at(call.lsn);
    if call.lsn > node.lsn() || here != Some(call.lsn_epoch) {
        let (lsn, epoch) = (call.lsn, call.lsn_epoch);
        let message =
            format!("LSN {lsn} is of epoch {here:?} here, not of epoch {epoch}: nothing is confirmed by that");
        return Err(refuse(node, AdminErrorCode::Diverged, message));
    }
    shared.confirmations.confirm(&call.node_id, call.lsn, || node.lsn());
    Ok(Confirmed { wanted: shared.confirmations.wanted() })
}
