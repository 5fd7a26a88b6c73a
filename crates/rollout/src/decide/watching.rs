//! The candidate serves everything; a failure still goes back by itself.

use super::look::{Look, Next};
use crate::Outcome;
use crate::text::span;
use crate::transition::{finish, hand_back};

pub(super) fn decide(look: &Look, since_ms: u64) -> Next {
    let active = look.state.active;
    if let Some(reason) = look.harm(active) {
        return back(look, &reason);
    }
    let version = look.state.version_active().to_string();
    let (elapsed_ms, watch_ms) = (look.elapsed_ms(since_ms), look.spec.rollout.watch_ms);
    if elapsed_ms < watch_ms {
        let (elapsed, watch) = (span(elapsed_ms), span(watch_ms));
        let state = match look.healthy(active) {
            Ok(_) => look.seen.judgement.live.why.clone(),
            Err(why) => why,
        };
        return look.stay(format!("{active} serves version {version}, watched for {elapsed} of {watch}: {state}"));
    }
    let reason = format!("version {version} held for {}", span(watch_ms));
    look.change(format!("{reason}; {} stays warm", active.other()), |state| {
        finish(state, Outcome::Promoted, &reason, look.now_ms);
    })
}

/// Hands the right to write back to the old environment, which has been following.
pub(super) fn back(look: &Look, reason: &str) -> Next {
    let old = look.candidate().other();
    look.change(format!("going back to {old}: {reason}"), |state| hand_back(state, reason, look.now_ms))
}
