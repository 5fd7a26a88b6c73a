//! Whether what is acknowledged is on both disks: brought about beside every phase, one step at a time, and given up durably
//! before the primary may go on alone.

use super::look::Look;
use crate::text::span;
use crate::{Confirmation, Phase, Stage, State};
use wire::admin::{AcknowledgeMode, AcknowledgeState, Role};
use wire::document::{Acknowledge, Spec};

/// Changes `state`, which is otherwise decided, by at most one step; gives the reason for it.
pub(super) fn advance(look: &Look, state: &mut State) -> Option<String> {
    if !wanted(look.spec, state) {
        if state.confirmation == Confirmation::Off {
            return None;
        }
        state.confirm(Confirmation::Off);
        return Some(format!("{} acknowledges writes alone again", state.primary));
    }
    let other = state.primary.other();
    let said = of_primary(look, state);
    let (next, why) = match (state.confirmation, said) {
        (Confirmation::Off, _) => {
            let confirmed_lsn = said.map_or(0, |said| said.confirmed_lsn);
            let joining = Confirmation::Joining { confirmed_lsn, since_ms: look.now_ms };
            (joining, format!("writes are to be confirmed by {other}"))
        }
        (Confirmation::Joining { .. }, Some(said)) if is(said, AcknowledgeMode::Preferred) && said.holds => {
            let why = format!("{other} confirms every write; {} is told to acknowledge none without it", state.primary);
            (Confirmation::Locking, why)
        }
        (Confirmation::Locking, Some(said)) if is(said, AcknowledgeMode::Required) && said.holds => {
            (Confirmation::Held, format!("what {} acknowledges is on the disk of {other} too", state.primary))
        }
        (Confirmation::Locking | Confirmation::Held, Some(said)) => {
            let allowed = look.spec.handover.confirm_ms_max;
            if look.spec.handover.strict || said.waiting_ms <= allowed || !is(said, AcknowledgeMode::Required) {
                return None;
            }
            let confirmed_lsn = said.confirmed_lsn;
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

/// The document, and where the rollout stands, ask for it.
fn wanted(spec: &Spec, state: &State) -> bool {
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
    match can && wanted(look.spec, state) {
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
    node.acknowledge.as_ref().filter(|_| reigns)
}

fn is(said: &AcknowledgeState, mode: AcknowledgeMode) -> bool {
    said.by.mode == mode
}
