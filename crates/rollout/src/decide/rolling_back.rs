//! All reads return to the active environment; only then the candidate is let go. Nothing here asks the candidate.

use super::look::{Look, Next};
use crate::Outcome;
use crate::text::span;
use crate::transition::finish;

pub(super) fn decide(look: &Look, since_ms: u64, reason: &str) -> Next {
    let (active, candidate) = (look.state.active, look.candidate());
    if let Err(why) = look.reads_confirmed(active, 100) {
        let elapsed = span(look.elapsed_ms(since_ms));
        return look.stay(format!("rolling back to {active} ({elapsed}): {why}; reason: {reason}"));
    }
    look.change(format!("{active} has all reads again and {candidate} is let go: {reason}"), |state| {
        finish(state, Outcome::RolledBack, reason, look.now_ms);
    })
}
