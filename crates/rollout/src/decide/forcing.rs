//! Going back without the primary, which does not answer or cannot be promoted: it is fenced off first, then the other
//! environment becomes primary with what it has. By itself only when nothing that was acknowledged can be lost by that.

use super::look::{Look, Next};
use crate::text::{self, span};
use crate::transition::{fence, take_epoch};
use crate::{Confirmation, NodeObservation, Phase, Stage};
use wire::Colour;
use wire::admin::Role;

/// The primary does not answer, and the way on needs it. `waiting` is what is said while nothing else can be done.
pub(super) fn without_primary(look: &Look, reason: &str, waiting: String) -> Next {
    let gone = look.state.primary;
    let silent_ms = *look.seen.silent_ms.get(gone);
    if look.up(gone).is_ok() || !look.too_long(silent_ms) {
        return look.stay(waiting);
    }
    instead(look, reason, waiting, format!("{gone} has not answered for {}", span(silent_ms)))
}

/// The primary is committed and answers, and does not become it (its disk may be full), while the other side is sealed:
/// nobody can write. `waiting` is what is said while nothing else can be done.
pub(super) fn without_promotion(look: &Look, since_ms: u64, waiting: String) -> Next {
    let waited_ms = look.elapsed_ms(since_ms);
    if waited_ms <= look.spec.handover.hold_ms_max + look.spec.rollout.silence_ms_max {
        return look.stay(waiting);
    }
    let trouble = format!("{} could not be promoted for {}", look.state.primary, span(waited_ms));
    instead(look, &trouble, waiting, trouble.clone())
}

/// Fences the primary off, if the other environment can take over and that loses nothing, or a person accepted the loss.
fn instead(look: &Look, reason: &str, waiting: String, trouble: String) -> Next {
    let (gone, to) = (look.state.primary, look.state.primary.other());
    if let Err(why) = fit(look, to) {
        return look.stay(format!("{waiting}; {to} cannot take over without it: {why}"));
    }
    let accepted = look.state.run.as_ref().is_some_and(|run| run.accept_loss);
    let because = match look.state.confirmation {
        Confirmation::Held if look.state.replicas.successor.is_none() => {
            format!("{to} has every write that {gone} acknowledged")
        }
        _ if accepted => format!("a person accepted the loss of {}", at_stake(look, gone)),
        _ => {
            return look.stay(format!(
                "{waiting}; going back without {gone} would lose {}: bring {gone} back, or accept that with `jadeshift \
                 rollback --accept-loss`",
                at_stake(look, gone)
            ));
        }
    };
    look.change(format!("{trouble}; {because}; it is fenced off"), |state| fence(state, reason, look.now_ms))
}

/// `to` can be made primary by a call: whole and well, a follower or sealed.
fn fit(look: &Look, to: Colour) -> Result<(), String> {
    let node = look.healthy(to)?;
    let had = *look.seen.lsn_heard.get(to);
    if node.lsn < had {
        return Err(format!("{to} stands at LSN {} and was at {had} before: its storage is not what it was", node.lsn));
    }
    match node.role {
        Role::Follower { .. } | Role::Sealed { .. } => Ok(()),
        Role::Primary { .. } | Role::Waiting => Err(format!("{to} is {}", text::role(&node.role))),
    }
}

/// What only `gone` has, as far as anybody heard.
fn at_stake(look: &Look, gone: Colour) -> String {
    let heard = *look.seen.lsn_heard.get(gone);
    let has = look.up(gone.other()).map_or(0, |node| node.lsn);
    let silence = span(*look.seen.silent_ms.get(gone));
    let records = heard.saturating_sub(has);
    let since = match look.state.confirmation {
        Confirmation::Joining { confirmed_lsn, since_ms } => {
            format!(
                ", and whatever it acknowledged alone after LSN {confirmed_lsn}, {} ago",
                span(look.elapsed_ms(since_ms))
            )
        }
        _ => ", and whatever it acknowledged since".to_string(),
    };
    format!("at least {records} records (it was last heard of {silence} ago at LSN {heard}){since}")
}

/// None of its processes is left: nobody but `to` can write any more, so this is the commit.
pub(super) fn fenced(look: &Look, to: Colour) -> Next {
    let gone = to.other();
    if *look.seen.nodes.get(gone) != NodeObservation::Stopped {
        return look.stay(format!("{gone} is fenced off: its processes are ended before {to} becomes primary"));
    }
    let lsn = match fit(look, to).and_then(|()| look.up(to)) {
        Ok(node) => node.lsn,
        Err(why) => return look.stay(format!("{gone} is fenced off; {to} is to become primary: {why}")),
    };
    let epoch = look.state.epoch + 1;
    look.change(format!("{gone} is gone for certain; {to} is primary in epoch {epoch} from LSN {lsn}"), |state| {
        let taken = take_epoch(state);
        (state.primary, state.primary_epoch, state.promoted_at) = (to, taken, Some(lsn));
        state.active = to;
        state.confirm(Confirmation::Off);
        if let Phase::HandingOver { epoch, stage, since_ms, .. } = &mut state.phase {
            *epoch = taken;
            *since_ms = look.now_ms;
            *stage = Stage::Promoting { lsn, digest: String::new() };
        }
    })
}
