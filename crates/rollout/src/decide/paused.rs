//! Nothing moves until a person says so, except away from harm.

use super::look::{Look, Next};
use super::watching;
use crate::Phase;

pub(super) fn decide(look: &Look, before: &Phase, why: &str) -> Next {
    match before {
        Phase::Shifting { share_percent, .. } => match look.harm(look.candidate()) {
            Some(reason) => look.roll_back(reason),
            None => paused(look, &format!("with {share_percent} % of the reads at {}", look.candidate()), why),
        },
        Phase::Watching { .. } => match look.harm(look.state.active) {
            Some(reason) => watching::back(look, &reason),
            None => paused(look, "while watching", why),
        },
        other => paused(look, &format!("while {}", other.name()), why),
    }
}

fn paused(look: &Look, place: &str, why: &str) -> Next {
    look.stay(format!("paused {place} ({why}); `jadeshift resume` goes on, `jadeshift rollback` goes back"))
}
