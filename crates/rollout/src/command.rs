//! What people may ask for.

use crate::text::span;
use crate::transition::{hand_back, phase_of_share, resume_old_primary, roll_back};
use crate::{Phase, Run, Stage, State};
use serde::{Deserialize, Serialize};
use wire::Colour;
use wire::document::{Spec, version_label};

/// A person's wish; whether it fits the state is decided by [`command`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "command", rename_all = "kebab-case")]
pub enum Command {
    /// Bring in `version` on the candidate environment and shift to it.
    Deploy {
        version: String,
    },
    /// Go on to the next step now; `full`: skip all steps (not the checks) and hand over.
    Promote {
        full: bool,
    },
    Pause,
    Resume,
    /// Back to the environment that served before. `accept_loss`: also when the primary does not answer and what it alone
    /// has is lost by that.
    Rollback {
        reason: String,
        #[serde(default)]
        accept_loss: bool,
    },
    /// Hold the candidate's share of reads at this percentage (and stay there until told otherwise).
    Canary {
        share_percent: u8,
    },
    /// All traffic and the right to write to this environment.
    Switch {
        to: Colour,
    },
}

/// Why a command does not fit; each message says what does.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    #[error("{0}")]
    BadVersion(String),
    #[error("{active} serves version {version} already: deploy another version, or give the changed one another label")]
    AlreadyServed { version: String, active: Colour },
    #[error("the first environment is still starting: wait until `jadeshift info` says stable")]
    Starting,
    #[error(
        "the rollout to version {version} is under way ({phase}): `jadeshift rollback` ends it, `jadeshift promote --full` \
         completes it"
    )]
    UnderWay { version: String, phase: &'static str },
    #[error("no rollout is under way: `jadeshift deploy VERSION` starts one")]
    NoRollout,
    #[error(
        "{candidate} is still {phase} and gets no reads yet: wait, or `jadeshift promote --full` to skip the steps (never \
         the checks)"
    )]
    NotShifting { candidate: Colour, phase: &'static str },
    #[error("{active} serves everything already and is watched for {watch}: nothing is left to promote")]
    NothingToPromote { active: Colour, watch: String },
    #[error("a handover to {to} is under way and is over within seconds: try again then")]
    HandingOver { to: Colour },
    #[error("the rollout is going back already ({reason})")]
    GoingBack { reason: String },
    #[error("the rollout is paused already ({why}): `jadeshift resume` goes on")]
    AlreadyPaused { why: String },
    #[error("nothing is paused: the rollout is {phase}")]
    NotPaused { phase: &'static str },
    #[error(
        "a share of {share_percent} % is not a canary: give 1 to 99; `jadeshift rollback` is 0, `promote --full` is 100"
    )]
    BadShare { share_percent: u8 },
    #[error("{0} is active already")]
    AlreadyActive(Colour),
    #[error("{0} does not run: `jadeshift deploy VERSION` brings a version there")]
    NotRunning(Colour),
    #[error(
        "there is nothing to go back to: {other} does not keep the version from before; `jadeshift deploy VERSION`"
    )]
    NothingToGoBackTo { other: Colour },
}

/// The state after `command`, one generation further. Pure; the caller stores it before anything changes because of it.
///
/// # Errors
/// [`Refused`] when the command does not fit the state; nothing changes then.
pub fn command(spec: &Spec, state: &State, command: &Command, now_ms: u64) -> Result<State, Refused> {
    let mut next = state.clone();
    let ask = Ask { spec, now_ms };
    match command {
        Command::Deploy { version } => ask.deploy(&mut next, version),
        Command::Promote { full } => ask.promote(&mut next, *full),
        Command::Pause => ask.pause(&mut next),
        Command::Resume => ask.resume(&mut next),
        Command::Rollback { reason, accept_loss } => ask.rollback(&mut next, reason, *accept_loss),
        Command::Canary { share_percent } => ask.canary(&mut next, *share_percent),
        Command::Switch { to } => ask.switch(&mut next, *to),
    }?;
    next.generation = state.generation + 1;
    Ok(next)
}

/// What a command needs besides the state.
struct Ask<'a> {
    spec: &'a Spec,
    now_ms: u64,
}

impl Ask<'_> {
    fn deploy(&self, state: &mut State, version: &str) -> Result<(), Refused> {
        version_label(version).map_err(|error| Refused::BadVersion(error.to_string()))?;
        idle(state)?;
        if state.version_active() == version {
            return Err(Refused::AlreadyServed { version: version.into(), active: state.active });
        }
        let candidate = state.active.other();
        self.start_run(state, version, false);
        *state.versions.get_mut(candidate) = Some(version.into());
        state.phase = Phase::Preparing { since_ms: self.now_ms };
        Ok(())
    }

    fn start_run(&self, state: &mut State, version: &str, full: bool) {
        let id = state.history.iter().map(|record| record.run.id).max().unwrap_or(0) + 1;
        state.run = Some(Run {
            id,
            from_version: state.version_active().into(),
            to_version: version.into(),
            candidate: state.active.other(),
            started_ms: self.now_ms,
            full,
            accept_loss: false,
            committed_ms: None,
        });
    }

    fn promote(&self, state: &mut State, full: bool) -> Result<(), Refused> {
        let candidate = state.candidate();
        match state.phase.unpaused() {
            Phase::Starting { .. } => return Err(Refused::Starting),
            Phase::Stable => return Err(Refused::NoRollout),
            Phase::RollingBack { reason, .. } => return Err(Refused::GoingBack { reason: reason.clone() }),
            Phase::HandingOver { to, .. } => return Err(Refused::HandingOver { to: *to }),
            Phase::Watching { .. } => {
                if !matches!(state.phase, Phase::Paused { .. }) {
                    let watch = span(self.spec.rollout.watch_ms);
                    return Err(Refused::NothingToPromote { active: state.active, watch });
                }
            }
            // `unpaused` never gives a pause.
            Phase::Shifting { .. } | Phase::Paused { .. } => (),
            phase @ (Phase::Preparing { .. }
            | Phase::Seeding { .. }
            | Phase::Following { .. }
            | Phase::Checking { .. }) => {
                if !full && !matches!(state.phase, Phase::Paused { .. }) {
                    return Err(Refused::NotShifting { candidate, phase: phase.name() });
                }
            }
        }
        self.unpause(state);
        if let Phase::Shifting { promoted, .. } = &mut state.phase {
            *promoted = true;
        }
        if full && let Some(run) = &mut state.run {
            run.full = true;
        }
        Ok(())
    }

    fn pause(&self, state: &mut State) -> Result<(), Refused> {
        match &state.phase {
            Phase::Starting { .. } => Err(Refused::Starting),
            Phase::Stable => Err(Refused::NoRollout),
            Phase::RollingBack { reason, .. } => Err(Refused::GoingBack { reason: reason.clone() }),
            Phase::HandingOver { to, .. } => Err(Refused::HandingOver { to: *to }),
            Phase::Paused { why, .. } => Err(Refused::AlreadyPaused { why: why.clone() }),
            Phase::Preparing { .. }
            | Phase::Seeding { .. }
            | Phase::Following { .. }
            | Phase::Checking { .. }
            | Phase::Shifting { .. }
            | Phase::Watching { .. } => {
                self.pause_at(state, state.phase.clone(), "by a person");
                Ok(())
            }
        }
    }

    fn pause_at(&self, state: &mut State, before: Phase, why: &str) {
        state.phase = Phase::Paused { since_ms: self.now_ms, before: Box::new(before), why: why.into() };
    }

    fn resume(&self, state: &mut State) -> Result<(), Refused> {
        if !matches!(state.phase, Phase::Paused { .. }) {
            return Err(Refused::NotPaused { phase: state.phase.name() });
        }
        self.unpause(state);
        Ok(())
    }

    /// Goes on where the pause began; its times begin anew.
    fn unpause(&self, state: &mut State) {
        if let Phase::Paused { before, .. } = &state.phase {
            let mut phase = (**before).clone();
            for time_ms in phase.times_ms() {
                *time_ms = self.now_ms;
            }
            state.phase = phase;
        }
    }

    /// Accepting a loss is an answer of its own where going back is under way already and waits for just that.
    fn rollback(&self, state: &mut State, reason: &str, accept_loss: bool) -> Result<(), Refused> {
        let accepts = |state: &mut State| {
            if accept_loss && let Some(run) = &mut state.run {
                run.accept_loss = true;
            }
        };
        let committed = state.run.as_ref().is_some_and(|run| run.candidate == state.primary);
        let waits = accept_loss && committed && matches!(state.phase, Phase::HandingOver { .. });
        // A head that is gone is replaced by another node of its environment where there is one.
        if accept_loss && self.spec.replicas > 1 && !committed {
            state.replicas.loss_accepted = true;
        }
        match self.go_back(state, reason) {
            Err(Refused::NothingToGoBackTo { .. }) if state.replicas.loss_accepted => Ok(()),
            Err(Refused::GoingBack { .. } | Refused::HandingOver { .. }) if waits => {
                accepts(state);
                Ok(())
            }
            Ok(()) => {
                accepts(state);
                Ok(())
            }
            refused => refused,
        }
    }

    fn go_back(&self, state: &mut State, reason: &str) -> Result<(), Refused> {
        let candidate = state.candidate();
        match state.phase.unpaused().clone() {
            Phase::Starting { .. } => Err(Refused::Starting),
            Phase::RollingBack { reason, .. } => Err(Refused::GoingBack { reason }),
            Phase::Preparing { .. }
            | Phase::Seeding { .. }
            | Phase::Following { .. }
            | Phase::Checking { .. }
            | Phase::Shifting { .. } => {
                roll_back(state, reason, self.now_ms);
                Ok(())
            }
            Phase::HandingOver { to, reason, .. } if to != candidate => Err(Refused::GoingBack { reason }),
            Phase::HandingOver { to, stage, .. } => match stage {
                Stage::ProvingWayBack => {
                    roll_back(state, reason, self.now_ms);
                    Ok(())
                }
                Stage::Sealing | Stage::CatchingUp { .. } => {
                    resume_old_primary(state, reason, true);
                    Ok(())
                }
                Stage::Resuming { .. } => {
                    if let Phase::HandingOver { stage, .. } = &mut state.phase {
                        *stage = Stage::Resuming { why: reason.into(), roll_back: true };
                    }
                    Ok(())
                }
                Stage::Fencing | Stage::Promoting { .. } | Stage::TurningAround { .. } => {
                    Err(Refused::HandingOver { to })
                }
                Stage::MovingTraffic { .. } => {
                    hand_back(state, reason, self.now_ms);
                    Ok(())
                }
            },
            Phase::Watching { .. } => {
                hand_back(state, reason, self.now_ms);
                Ok(())
            }
            Phase::Stable => {
                let Some(record) = state.reversible() else {
                    return Err(Refused::NothingToGoBackTo { other: state.active.other() });
                };
                state.run = Some(record.run.clone());
                hand_back(state, reason, self.now_ms);
                Ok(())
            }
            // `unpaused` never gives a pause.
            Phase::Paused { why, .. } => Err(Refused::AlreadyPaused { why }),
        }
    }

    fn canary(&self, state: &mut State, share_percent: u8) -> Result<(), Refused> {
        if !(1..=99).contains(&share_percent) {
            return Err(Refused::BadShare { share_percent });
        }
        match state.phase.unpaused() {
            Phase::Starting { .. } => Err(Refused::Starting),
            Phase::Stable => Err(Refused::NoRollout),
            Phase::RollingBack { reason, .. } => Err(Refused::GoingBack { reason: reason.clone() }),
            Phase::HandingOver { to, .. } => Err(Refused::HandingOver { to: *to }),
            Phase::Shifting { .. } => {
                let before = phase_of_share(&self.spec.rollout.steps, share_percent, self.now_ms);
                self.pause_at(state, before, &format!("held at {share_percent} % by a person"));
                Ok(())
            }
            Phase::Watching { .. } => {
                let watch = span(self.spec.rollout.watch_ms);
                Err(Refused::NothingToPromote { active: state.active, watch })
            }
            phase => Err(Refused::NotShifting { candidate: state.candidate(), phase: phase.name() }),
        }
    }

    fn switch(&self, state: &mut State, to: Colour) -> Result<(), Refused> {
        let under_way = !matches!(state.phase, Phase::Starting { .. } | Phase::Stable);
        if under_way {
            return match to == state.candidate() && to != state.active {
                true => self.promote(state, true),
                false if to == state.candidate() => Err(Refused::AlreadyActive(to)),
                false => self.go_back(state, &format!("a person switched to {to}")),
            };
        }
        idle(state)?;
        if to == state.active {
            return Err(Refused::AlreadyActive(to));
        }
        let Some(version) = state.versions.get(to).clone() else { return Err(Refused::NotRunning(to)) };
        self.start_run(state, &version, true);
        state.phase = Phase::Checking { since_ms: self.now_ms };
        Ok(())
    }
}

/// Nothing is under way.
fn idle(state: &State) -> Result<(), Refused> {
    match &state.phase {
        Phase::Stable => Ok(()),
        Phase::Starting { .. } => Err(Refused::Starting),
        phase => {
            let version = state.run.as_ref().map_or_else(String::new, |run| run.to_version.clone());
            Err(Refused::UnderWay { version, phase: phase.name() })
        }
    }
}

#[cfg(test)]
mod tests;
