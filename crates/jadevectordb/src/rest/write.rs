//! Whose turn a write is: done here, held, or forwarded.
//!
//! The request is whole and may be routed again: a write that found its primary sealed is held, and goes to whoever is
//! primary afterwards. All waiting together is bounded by the hold time, in number and in bytes.

use super::answer::{Outcome, Problem};
use super::call::Call;
use super::forward::{self, Forwarding};
use super::{Rest, once};
use crate::auth::{Access, Caller};
use crate::engine::Standing;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::Instant;

/// What a held write takes beside its body: headers and the place itself.
const OVERHEAD_BYTES: usize = 1_024;
/// How long to wait before a primary that cannot be reached is tried again.
const RETRY: Duration = Duration::from_millis(25);

/// Answers a write.
pub async fn routed<H, F>(rest: &Arc<Rest>, access: Access, handler: &H, call: &Arc<Call>) -> Outcome
where
    H: Fn(Arc<Rest>, Arc<Call>, Caller) -> F,
    F: Future<Output = Outcome>,
{
    let node = &rest.node;
    let hold_ms = node.config().limits.hold_ms;
    let deadline = Instant::now() + Duration::from_millis(hold_ms);
    let mut held = None;
    loop {
        let standing = node.standing();
        let (reason, at_most) = match &standing {
            Standing::Primary => match once::run(rest, access, handler, call).await {
                Err(Problem::NotPrimary) => ("the right to write is moving between nodes".to_owned(), RETRY),
                outcome => return outcome,
            },
            Standing::Follower { primary } => match forward::to(rest, primary, call).await {
                Forwarding::Done(outcome) => return outcome,
                Forwarding::NeverSent(why) => (format!("the primary cannot be reached: {why}"), RETRY),
            },
            Standing::Sealed => ("the right to write is moving between nodes".to_owned(), Duration::MAX),
            Standing::Waiting => return Err(Problem::unavailable("this node was not told yet whom to follow")),
        };
        if held.is_none() {
            held = node.hold((call.body.len() + OVERHEAD_BYTES) as u64);
            if held.is_none() {
                return Err(Problem::unavailable(format!("{reason}, and too many writes wait for that; try again")));
            }
        }
        let left = deadline.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Err(Problem::unavailable(format!("{reason}; waited {hold_ms} ms, try again")));
        }
        node.standing_changed(&standing, left.min(at_most)).await;
    }
}
