//! The map: each phase has its own file, and the desired world follows from the next state.

mod bringing_up;
mod checking;
mod confirming;
mod forcing;
mod handover;
mod look;
mod paused;
mod rolling_back;
mod settled;
mod shifting;
mod succession;
mod watching;

use crate::{Observation, Phase, State, World};
use look::{Look, Next};
use wire::document::Spec;

/// Differences of clocks that are no matter: those of coordinators on two machines, ms.
const CLOCK_SKEW_MS_MAX: u64 = 1_000;

/// What to store, what to make so, and the reason.
#[derive(Debug, Clone, PartialEq)]
pub struct Decision {
    /// Equal to the given one when nothing changes; otherwise one generation further.
    pub state: State,
    pub world: World,
    /// One sentence for people, never empty.
    pub why: String,
}

/// Decides what comes next. Pure: the same arguments give the same decision.
pub fn decide(spec: &Spec, state: &State, observation: &Observation, now_ms: u64) -> Decision {
    if let Some(state) = clock_set_back(state, now_ms) {
        let why = "the clock was set back: what takes time is measured from now on".to_string();
        return Decision { world: World::of(&state), state, why };
    }
    let look = Look { spec, state, seen: observation, now_ms };
    let next = match &state.replicas.succession {
        Some(succession) => succession::under_way(&look, succession),
        None => of_phase(&look),
    };
    let (mut state_next, mut why) = (next.state, next.why);
    // One thing at a time: what else is due comes with the next decision, which follows at once.
    let free = state.replicas.succession.is_none();
    if free
        && state_next == *state
        && let Some(next) = succession::due(&look)
    {
        (state_next, why) = (next.state, format!("{}; {why}", next.why));
    }
    if free
        && state_next == *state
        && let Some(also) = confirming::advance(&look, &mut state_next)
    {
        why = format!("{also}; {why}");
    }
    if state_next != *state {
        state_next.generation = state.generation + 1;
    }
    Decision { world: World::of(&state_next), state: state_next, why }
}

/// The state with times of the future made those of now. Without that, a hold, a pause or a watch would last as much longer
/// as the clock was set back.
fn clock_set_back(state: &State, now_ms: u64) -> Option<State> {
    let mut phase = state.phase.clone();
    let mut is_ahead = false;
    for time_ms in phase.times_ms() {
        if *time_ms > now_ms.saturating_add(CLOCK_SKEW_MS_MAX) {
            (*time_ms, is_ahead) = (now_ms, true);
        }
    }
    is_ahead.then(|| State { phase, generation: state.generation + 1, ..state.clone() })
}

fn of_phase(look: &Look) -> Next {
    match &look.state.phase {
        Phase::Starting { since_ms } => settled::starting(look, *since_ms),
        Phase::Stable => settled::stable(look),
        Phase::Preparing { since_ms } => bringing_up::preparing(look, *since_ms),
        Phase::Seeding { since_ms } => bringing_up::seeding(look, *since_ms),
        Phase::Following { since_ms } => bringing_up::following(look, *since_ms),
        Phase::Checking { since_ms } => checking::decide(look, *since_ms),
        Phase::Shifting { step, share_percent, since_ms, promoted } => {
            shifting::decide(look, *step, *share_percent, *since_ms, *promoted)
        }
        Phase::HandingOver { to, epoch, stage, since_ms, reason, share_percent, fenced } => {
            let handover = handover::Handover {
                look,
                to: *to,
                epoch: *epoch,
                since_ms: *since_ms,
                reason,
                share_percent: *share_percent,
                fenced: *fenced,
            };
            handover.decide(stage)
        }
        Phase::Watching { since_ms } => watching::decide(look, *since_ms),
        Phase::RollingBack { since_ms, reason } => rolling_back::decide(look, *since_ms, reason),
        Phase::Paused { before, why, .. } => paused::decide(look, before, why),
    }
}

#[cfg(test)]
pub(crate) mod tests;
