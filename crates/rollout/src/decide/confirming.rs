//! Whether what is acknowledged is on both disks: brought about beside every phase, one step at a time, and given up durably
//! before the primary may go on alone.
//!
//! Whose disk the other one is: while a new version may write, the other environment's head, to which a failure goes back. In
//! an environment of several nodes that is otherwise one of the primary's followers, which takes its place if need be.

use super::{look::Look, succession};
use crate::text::span;
use crate::{Confirmation, Phase, Stage, State, Successor};
use wire::admin::{AcknowledgeMode, AcknowledgeState, Role};
use wire::document::{Acknowledge, Spec};

/// Whose word shall count.
#[derive(Debug, Clone, PartialEq)]
enum Wanted {
    Nobodys,
    OfOtherEnvironment,
    OfFollower(Successor),
}

/// Changes `state`, which is otherwise decided, by at most one step; gives the reason for it.
pub(super) fn advance(look: &Look, state: &mut State) -> Option<String> {
    let successor = match wanted(look, state) {
        Wanted::Nobodys if state.confirmation == Confirmation::Off => return None,
        Wanted::Nobodys => {
            state.confirm(Confirmation::Off);
            return Some(format!("{} acknowledges writes alone again", state.head(state.primary)));
        }
        Wanted::OfOtherEnvironment => None,
        Wanted::OfFollower(successor) => Some(successor),
    };
    if state.confirmation != Confirmation::Off && state.replicas.successor != successor {
        // What one has confirmed says nothing about another: it begins anew.
        let before = state.confirmer();
        state.confirm(Confirmation::Off);
        return Some(format!("writes are no longer confirmed by {before}"));
    }
    let said = of_primary(look, state);
    let (next, why) = match (state.confirmation, said) {
        (Confirmation::Off, _) => {
            let confirmed_lsn = said.map_or(0, |said| said.confirmed_lsn);
            let joining = Confirmation::Joining { confirmed_lsn, since_ms: look.now_ms };
            state.replicas.successor = successor;
            (joining, format!("writes are to be confirmed by {}", state.confirmer()))
        }
        (Confirmation::Joining { .. }, Some(said)) if is(said, AcknowledgeMode::Preferred) && said.holds => {
            let other = state.confirmer();
            let why = format!("{other} confirms every write; {} is told to acknowledge none without it", state.primary);
            (Confirmation::Locking, why)
        }
        (Confirmation::Locking, Some(said)) if is(said, AcknowledgeMode::Required) && said.holds => {
            let (primary, other) = (state.head(state.primary), state.confirmer());
            (Confirmation::Held, format!("what {primary} acknowledges is on the disk of {other} too"))
        }
        (Confirmation::Locking | Confirmation::Held, Some(said)) => {
            let allowed = look.spec.handover.confirm_ms_max;
            if look.spec.handover.strict || said.waiting_ms <= allowed || !is(said, AcknowledgeMode::Required) {
                return None;
            }
            let (confirmed_lsn, other) = (said.confirmed_lsn, state.confirmer());
            let why = format!(
                "{other} has confirmed nothing for {}: {} goes on alone after LSN {confirmed_lsn}",
                span(said.waiting_ms),
                state.primary
            );
            (Confirmation::Joining { confirmed_lsn, since_ms: look.now_ms }, why)
        }
        _ => return None,
    };
    state.confirm(next);
    Some(why)
}

/// What the document, and where the rollout stands, ask for.
fn wanted(look: &Look, state: &State) -> Wanted {
    let new_version_writes = state.run.as_ref().is_some_and(|run| run.candidate == state.primary);
    let among_own =
        look.spec.replicas > 1 && !new_version_writes && look.spec.handover.acknowledge != Acknowledge::Primary;
    let successor = if among_own { succession::successor(look, state) } else { None };
    match successor {
        Some(successor) => Wanted::OfFollower(successor),
        None if of_other(look.spec, state) => Wanted::OfOtherEnvironment,
        None => Wanted::Nobodys,
    }
}

fn of_other(spec: &Spec, state: &State) -> bool {
    let both_run = state.versions.get(state.primary.other()).is_some();
    let fenced = matches!(state.phase, Phase::HandingOver { fenced: true, .. });
    let letting_go = matches!(state.phase, Phase::RollingBack { .. });
    let new_version_writes = state.run.as_ref().is_some_and(|run| run.candidate == state.primary);
    let asked = match spec.handover.acknowledge {
        Acknowledge::Primary => false,
        Acknowledge::Both => true,
        Acknowledge::Auto => new_version_writes,
    };
    asked && both_run && !fenced && !letting_go
}

/// At a commit: the new primary, which holds everything and is about to be told, waits for the old one from its first write on.
pub(super) fn at_commit(look: &Look, state: &State) -> Confirmation {
    let can = look.up(state.primary).is_ok_and(|node| node.acknowledge.is_some());
    match can && wanted(look, state) == Wanted::OfOtherEnvironment {
        true => Confirmation::Held,
        false => Confirmation::Off,
    }
}

/// What the primary says, unless its right to write is about to move.
fn of_primary<'a>(look: &'a Look, state: &State) -> Option<&'a AcknowledgeState> {
    if let Phase::HandingOver { stage: Stage::Sealing | Stage::CatchingUp { .. } | Stage::Resuming { .. }, .. } =
        state.phase
    {
        return None;
    }
    let node = look.up(state.primary).ok()?;
    let reigns = matches!(node.role, Role::Primary { epoch } if epoch == state.primary_epoch);
    let said = node.acknowledge.as_ref().filter(|_| reigns)?;
    // Of several whose word may count, it is to be about the one that is meant.
    let meant = state.replicas.successor.as_ref().is_none_or(|successor| successor.node_id == said.by.confirmer);
    meant.then_some(said)
}

fn is(said: &AcknowledgeState, mode: AcknowledgeMode) -> bool {
    said.by.mode == mode
}
