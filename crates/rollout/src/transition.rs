//! Changes of the state that decisions and commands share.

use crate::state::HISTORY_LENGTH_MAX;
use crate::{Outcome, Phase, Record, Stage, State};
use wire::Colour;
use wire::admin::Epoch;
use wire::document::Step;

/// Gives out the next epoch; each is given once.
pub(crate) fn take_epoch(state: &mut State) -> Epoch {
    state.epoch += 1;
    state.epoch
}

/// Takes a rollout back that has not been committed.
pub(crate) fn roll_back(state: &mut State, reason: &str, now_ms: u64) {
    state.phase = Phase::RollingBack { since_ms: now_ms, reason: reason.into() };
}

/// Begins a handover; `share_percent` of the reads go to `to` until its traffic is moved.
pub(crate) fn hand_over(state: &mut State, to: Colour, share_percent: u8, reason: &str, now_ms: u64) {
    state.phase = Phase::HandingOver {
        to,
        epoch: state.epoch + 1,
        stage: Stage::ProvingWayBack,
        since_ms: now_ms,
        reason: reason.into(),
        share_percent,
        fenced: false,
    };
}

/// Begins to go back without the primary, which does not answer.
pub(crate) fn fence(state: &mut State, reason: &str, now_ms: u64) {
    hand_over(state, state.primary.other(), 100, reason, now_ms);
    if let Phase::HandingOver { stage, fenced, .. } = &mut state.phase {
        *stage = Stage::Fencing;
        *fenced = true;
    }
}

/// Takes a committed rollout back: the same handover with the colours exchanged. Reads follow as soon as the old
/// environment is seen to be fit for them.
pub(crate) fn hand_back(state: &mut State, reason: &str, now_ms: u64) {
    hand_over(state, state.candidate().other(), 0, reason, now_ms);
}

/// Gives up a handover before its commit: the old primary shall reign again, in an epoch of its own.
pub(crate) fn resume_old_primary(state: &mut State, why: &str, ends_rollout: bool) {
    let next = take_epoch(state);
    state.primary_epoch = next;
    state.promoted_at = None;
    if let Phase::HandingOver { epoch, stage, .. } = &mut state.phase {
        *epoch = next;
        *stage = Stage::Resuming { why: why.into(), roll_back: ends_rollout };
    }
}

/// Writes the rollout into the history. A failed version is let go, a replaced one stays warm.
pub(crate) fn finish(state: &mut State, outcome: Outcome, reason: &str, now_ms: u64) {
    if let Some(run) = state.run.take() {
        if outcome == Outcome::RolledBack {
            *state.versions.get_mut(run.candidate) = None;
        }
        state.history.push(Record { run, outcome, reason: reason.into(), ended_ms: now_ms });
        let surplus = state.history.len().saturating_sub(HISTORY_LENGTH_MAX);
        state.history.drain(..surplus);
    }
    state.phase = Phase::Stable;
}

/// The first step that gives the candidate more than `share_percent` of the reads; `None`: all steps are done.
pub(crate) fn step_after(steps: &[Step], share_percent: u8) -> Option<(usize, u8)> {
    let above = steps.iter().enumerate().find(|(_, step)| step.share_percent > share_percent);
    above.map(|(position, step)| (position, step.share_percent))
}

/// The step whose conditions hold for a share between two steps: the last one that does not exceed it.
pub(crate) fn step_of(steps: &[Step], share_percent: u8) -> usize {
    steps.iter().rposition(|step| step.share_percent <= share_percent).unwrap_or(0)
}

/// Where a paused handover continues: with the share of reads that the candidate has.
pub(crate) fn phase_of_share(steps: &[Step], share_percent: u8, now_ms: u64) -> Phase {
    match share_percent {
        0 => Phase::Checking { since_ms: now_ms },
        share_percent => {
            Phase::Shifting { step: step_of(steps, share_percent), share_percent, since_ms: now_ms, promoted: false }
        }
    }
}
