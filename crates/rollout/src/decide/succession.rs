//! Replacing the head of an environment of several nodes by another one of it.
//!
//! The head of an environment that is not primary is a follower like the others: whoever is fit stands in. The head that is
//! the primary is fenced off first; then the node that has everything it acknowledged reigns in an epoch of its own, from its
//! own last LSN. By itself only when it is durable that some node of the environment has all of that.

use super::look::{Look, Next};
use crate::state::{Succession, SuccessionStage, Successor};
use crate::text::{self, span};
use crate::transition::take_epoch;
use crate::{Confirmation, FollowerObservation, NodeObservation, Phase, Stage, State};
use wire::admin::{NodeState, Role};
use wire::{Colour, Member};

/// A head that was fenced off for a node that then cannot take over is let run again after this time, ms.
const FENCING_MS_MAX: u64 = 10_000;

/// What is due because a head is gone; `None`: nothing.
pub(super) fn due(look: &Look) -> Option<Next> {
    let of_other = || follower_head(look, look.state.primary.other());
    primary_head(look).or_else(of_other)
}

/// The head that does not answer can be replaced by another node of its environment, so the environment is not lost.
pub(super) fn has_stand_in(look: &Look, colour: Colour) -> bool {
    colour != look.state.primary && may_change_head(look.state) && stand_in(look, colour).is_some()
}

fn follower_head(look: &Look, colour: Colour) -> Option<Next> {
    let gone = look.state.head(colour);
    if look.up(colour).is_ok() || !look.too_long(*look.seen.silent_ms.get(colour)) || !may_change_head(look.state) {
        return None;
    }
    let (number, _) = stand_in(look, colour)?;
    let (new, silence) = (Member::new(colour, number), span(*look.seen.silent_ms.get(colour)));
    Some(look.change(
        format!("{gone} has not answered for {silence}; {new} is the head of {colour} instead"),
        |state| {
            *state.replicas.heads.get_mut(colour) = number;
            if state.replicas.successor.is_none() {
                // It was the old head whose word counted.
                state.confirm(Confirmation::Off);
            }
        },
    ))
}

/// While the right to write is moving, each environment is who it was when that began.
fn may_change_head(state: &State) -> bool {
    match &state.phase {
        Phase::HandingOver { stage, .. } => *stage == Stage::ProvingWayBack,
        Phase::RollingBack { .. } => false,
        _ => true,
    }
}

/// Of the environment's nodes that are fit to be followed, the one that is furthest.
fn stand_in<'a>(look: &'a Look, colour: Colour) -> Option<(u8, &'a NodeState)> {
    let version = look.state.versions.get(colour).as_ref()?;
    let fit = look.seen.followers.get(colour).iter().filter_map(|seen| {
        let node = fit(Member::new(colour, seen.number), seen).ok()?;
        let current = matches!(&seen.node, NodeObservation::Up { version_running, .. } if version_running == version);
        current.then_some((seen.number, node))
    });
    fit.max_by_key(|(number, node)| (node.lsn, u8::MAX - number))
}

/// Whole and well, and a follower.
fn fit(member: Member, seen: &FollowerObservation) -> Result<&NodeState, String> {
    let node = match &seen.node {
        NodeObservation::Up { state, .. } => state,
        NodeObservation::Stopped => return Err(format!("{member} does not run")),
        NodeObservation::Silent { why } => {
            return Err(format!("{member} has not answered for {} ({why})", span(seen.silent_ms)));
        }
    };
    if let Some(failure) = &node.failed {
        return Err(format!("the disk of {member} failed: {failure}"));
    }
    if !node.ready {
        return Err(format!("{member} is not ready"));
    }
    if node.lsn < seen.lsn_heard {
        let (at, had) = (node.lsn, seen.lsn_heard);
        return Err(format!("{member} stands at LSN {at} and was at {had} before: its storage is not what it was"));
    }
    match node.role {
        Role::Follower { .. } => Ok(node),
        _ => Err(format!("{member} is {}", text::role(&node.role))),
    }
}

/// Whose word may count: the present one as long as it can, or else whoever is fit and furthest.
pub(super) fn successor(look: &Look, state: &State) -> Option<Successor> {
    let colour = state.primary;
    if look.seen.followers.get(colour).is_empty() {
        return None;
    }
    let seen = |number: u8| look.seen.followers.get(colour).iter().find(|seen| seen.number == number);
    let best = || {
        let connected = |node: &NodeState| node.feed.as_ref().is_some_and(|feed| feed.connected);
        let (number, node) = stand_in(look, colour).filter(|(_, node)| connected(node))?;
        Some(Successor { number, node_id: node.node_id.clone() })
    };
    let Some(now) = &state.replicas.successor else { return best() };
    match seen(now.number) {
        // Another folder in its place has confirmed nothing.
        Some(FollowerObservation { node: NodeObservation::Up { state, .. }, .. }) if state.node_id != now.node_id => {
            best()
        }
        Some(seen) if fit(Member::new(colour, now.number), seen).is_ok() => Some(now.clone()),
        // What is relied on is not given up for a silence; while nothing is, another one may do.
        Some(_) if matches!(state.confirmation, Confirmation::Locking | Confirmation::Held) => Some(now.clone()),
        _ => best().or_else(|| Some(now.clone())),
    }
}

fn primary_head(look: &Look) -> Option<Next> {
    let (state, colour) = (look.state, look.state.primary);
    if look.up(colour).is_ok() {
        let forget =
            || look.change("it answers again, so nothing need be lost", |state| state.replicas.loss_accepted = false);
        return state.replicas.loss_accepted.then(forget);
    }
    let silent_ms = *look.seen.silent_ms.get(colour);
    if look.seen.followers.get(colour).is_empty() || !look.too_long(silent_ms) || !may_succeed(state) {
        return None;
    }
    let gone = state.head(colour);
    let trouble = format!("{gone} has not answered for {}", span(silent_ms));
    let (to, because) = match heir(look) {
        Ok(heir) => heir,
        Err(why) => return Some(look.stay(format!("{trouble}; {why}"))),
    };
    let new = Member::new(colour, to);
    Some(look.change(format!("{trouble}; {because}; it is fenced off, and {new} takes its place"), |state| {
        let (since_ms, reason) = (look.now_ms, trouble.clone());
        state.replicas.succession = Some(Succession { to, stage: SuccessionStage::Fencing, since_ms, reason });
    }))
}

/// Only while the other environment is not the one to go to: until its watch ends, that takes a new version's place.
fn may_succeed(state: &State) -> bool {
    let new_version_writes = state.run.as_ref().is_some_and(|run| run.candidate == state.primary);
    let settled = match &state.phase {
        Phase::Starting { .. } => false,
        Phase::HandingOver { stage, .. } => matches!(stage, Stage::ProvingWayBack | Stage::Resuming { .. }),
        _ => true,
    };
    settled && !new_version_writes
}

/// Who takes the primary's place, and why that loses nothing, or is allowed to.
fn heir(look: &Look) -> Result<(u8, String), String> {
    let (state, colour) = (look.state, look.state.primary);
    let gone = state.head(colour);
    match (&state.confirmation, &state.replicas.successor) {
        (Confirmation::Held, Some(successor)) => {
            let (member, node) = relied_on(look, successor)?;
            // Whoever is further in the same reign has all of that, and more.
            let further =
                stand_in(look, colour).filter(|(_, other)| other.lsn_epoch == node.lsn_epoch && other.lsn > node.lsn);
            let number = further.map_or(member.number, |(number, _)| number);
            Ok((number, format!("{member} has every write that {gone} acknowledged")))
        }
        _ if state.replicas.loss_accepted => {
            let (number, _) =
                stand_in(look, colour).ok_or_else(|| format!("no other node of {colour} can take its place"))?;
            Ok((number, "a person accepted the loss of what it alone has".into()))
        }
        _ => {
            let has = stand_in(look, colour).map_or(0, |(_, node)| node.lsn);
            let heard = *look.seen.lsn_heard.get(colour);
            Err(format!(
                "replacing it would lose what it alone has, at least {} records and whatever it acknowledged since: bring \
                 it back, or accept that with `jadeshift rollback --accept-loss`",
                heard.saturating_sub(has)
            ))
        }
    }
}

/// The node whose word counted, if it is what it was.
fn relied_on<'a>(look: &'a Look, successor: &Successor) -> Result<(Member, &'a NodeState), String> {
    let member = Member::new(look.state.primary, successor.number);
    let seen = look.seen.followers.get(member.colour).iter().find(|seen| seen.number == successor.number);
    let seen = seen.ok_or_else(|| format!("{member}, which has every acknowledged write, does not run"))?;
    let node = fit(member, seen).map_err(|why| format!("{member} has every acknowledged write, but {why}"))?;
    match node.node_id == successor.node_id {
        true => Ok((member, node)),
        false => Err(format!("{member} has every acknowledged write, but its data folder is another one now")),
    }
}

/// A head is being replaced; nothing else is decided meanwhile.
pub(super) fn under_way(look: &Look, succession: &Succession) -> Next {
    match succession.stage {
        SuccessionStage::Fencing => fencing(look, succession),
        SuccessionStage::Promoting => promoting(look),
    }
}

fn fencing(look: &Look, succession: &Succession) -> Next {
    let colour = look.state.primary;
    let gone = look.state.head(colour);
    let to = match heir(look) {
        Ok((to, _)) => to,
        Err(why) if look.elapsed_ms(succession.since_ms) > FENCING_MS_MAX => {
            return look.change(format!("{gone} is let run again: {why}"), |state| state.replicas.succession = None);
        }
        Err(why) => return look.stay(format!("{gone} is fenced off: {why}")),
    };
    let new = Member::new(colour, to);
    if *look.seen.nodes.get(colour) != NodeObservation::Stopped {
        return look.stay(format!("{gone} is fenced off: its process is ended before {new} becomes primary"));
    }
    let heir = look.seen.followers.get(colour).iter().find(|seen| seen.number == to);
    let lsn = match heir.map(|seen| &seen.node) {
        Some(NodeObservation::Up { state, .. }) => state.lsn,
        _ => return look.stay(format!("{gone} is fenced off; {new} is to become primary and does not answer")),
    };
    let epoch = look.state.epoch + 1;
    look.change(format!("{gone} is gone for certain; {new} is primary in epoch {epoch} from LSN {lsn}"), |state| {
        let taken = take_epoch(state);
        (state.primary_epoch, state.promoted_at) = (taken, Some(lsn));
        *state.replicas.heads.get_mut(colour) = to;
        state.replicas.loss_accepted = false;
        state.confirm(Confirmation::Off);
        if let Some(succession) = &mut state.replicas.succession {
            (succession.to, succession.stage, succession.since_ms) = (to, SuccessionStage::Promoting, look.now_ms);
        }
        if let Phase::HandingOver { epoch, stage, .. } = &mut state.phase {
            // A handover that has begun is in the highest epoch, one that has not in the next.
            *epoch = if *stage == Stage::ProvingWayBack { taken + 1 } else { taken };
        }
    })
}

fn promoting(look: &Look) -> Next {
    let (state, colour) = (look.state, look.state.primary);
    let new = state.head(colour);
    match look.up(colour) {
        Ok(node) => match (&node.role, state.promoted_at) {
            (Role::Primary { epoch }, _) if *epoch >= state.primary_epoch => {
                look.change(format!("{new} admits writes in epoch {epoch}, and the others follow it"), |state| {
                    state.replicas.succession = None;
                })
            }
            // What it still had on its way to the disk when its primary was fenced off: nobody else can add to that.
            (Role::Follower { .. }, Some(lsn)) if node.lsn > lsn => {
                let here = node.lsn;
                look.change(format!("{new} had more on its way to the disk; it is primary from LSN {here}"), |state| {
                    state.promoted_at = Some(here);
                })
            }
            (role, _) => look.stay(format!("{new} is to be promoted; it is {}", text::role(role))),
        },
        Err(why) => look.stay(format!("{new} is to be promoted: {why}")),
    }
}
