//! What shall be so: the platform and the conductor make it true as often as needed; every part is idempotent.

use crate::{Confirmation, Phase, Stage, State, Successor};
use serde::{Deserialize, Serialize};
use wire::admin::{AcknowledgeMode, Epoch, Lsn};
use wire::{ByColour, Colour, Member};

/// The desired world.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct World {
    pub environments: ByColour<EnvironmentWorld>,
    /// Which node of each environment is its head; the others follow it.
    #[serde(default)]
    pub heads: ByColour<u8>,
    /// This node shall not run.
    #[serde(default)]
    pub fenced: Option<Member>,
    /// Whose word the primary waits for, if it is not the other environment's head.
    #[serde(default)]
    pub successor: Option<Successor>,
    /// Share of reads for each environment, percent; together 100.
    pub reads: ByColour<u8>,
    /// Where the router sends writes first; nodes forward what lands elsewhere.
    pub writes: Colour,
    /// `Some(a)`: environment `a` shall show that it could follow the other one.
    pub prove_way_back: Option<Colour>,
    /// Replay sampled reads against both environments.
    pub replay_reads: bool,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct EnvironmentWorld {
    /// Version that shall run; `None`: nothing shall run.
    pub version: Option<String>,
    /// What its head shall be; `None`: leave it as it is.
    pub role: Option<RoleWanted>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "role", rename_all = "lowercase")]
pub enum RoleWanted {
    /// `promote_at`: promotion of a follower that stands at exactly this LSN. Without it the node is the first primary
    /// or a sealed one that resumes.
    Primary {
        epoch: Epoch,
        promote_at: Option<Lsn>,
        /// What its writes wait for before they are acknowledged, and which word about that it is.
        acknowledge: AcknowledgeMode,
        #[serde(default)]
        number: u64,
    },
    Sealed {
        epoch: Epoch,
    },
    /// Follows the other environment.
    Follower {
        epoch: Epoch,
    },
}

impl World {
    /// The desired world follows from the durable state alone, so a coordinator that starts again wants the same.
    pub fn of(state: &State) -> World {
        World {
            environments: ByColour::from_fn(|colour| EnvironmentWorld {
                version: version(state, colour),
                role: role(state, colour),
            }),
            heads: state.replicas.heads,
            fenced: state.fenced_head(),
            successor: state.replicas.successor.clone(),
            reads: reads(state),
            writes: writes(state),
            prove_way_back: proves_way_back(state),
            replay_reads: matches!(
                state.phase.unpaused(),
                Phase::Checking { .. } | Phase::Shifting { .. } | Phase::Watching { .. }
            ),
        }
    }
}

/// A side that is fenced off runs nothing, whatever it is to run otherwise.
fn version(state: &State, colour: Colour) -> Option<String> {
    match &state.phase {
        Phase::HandingOver { to, fenced: true, .. } if colour != *to => None,
        _ => state.versions.get(colour).clone(),
    }
}

/// What the primary shall wait for.
fn acknowledge(state: &State) -> AcknowledgeMode {
    match state.confirmation {
        Confirmation::Off => AcknowledgeMode::Alone,
        Confirmation::Joining { .. } => AcknowledgeMode::Preferred,
        Confirmation::Locking | Confirmation::Held => AcknowledgeMode::Required,
    }
}

/// Who reigns follows from the committed primary; only a handover under way makes exceptions.
fn role(state: &State, colour: Colour) -> Option<RoleWanted> {
    version(state, colour)?;
    let reigns = colour == state.primary;
    let usual = match reigns {
        true => RoleWanted::Primary {
            epoch: state.primary_epoch,
            promote_at: state.promoted_at,
            acknowledge: acknowledge(state),
            number: state.confirmation_changes,
        },
        false => RoleWanted::Follower { epoch: state.primary_epoch },
    };
    match &state.phase {
        Phase::HandingOver { to, epoch, stage, .. } => match stage {
            // The old primary follows as soon as it can, which is when the new one reigns (see `role_call`): the writes that
            // wait there need not wait for the next state to be stored.
            Stage::ProvingWayBack
            | Stage::Fencing
            | Stage::Promoting { .. }
            | Stage::TurningAround { .. }
            | Stage::MovingTraffic { .. } => Some(usual),
            Stage::Sealing | Stage::CatchingUp { .. } => match colour == *to {
                true => Some(usual),
                false => Some(RoleWanted::Sealed { epoch: *epoch }),
            },
            // It may not learn of the new epoch before the old primary reigns in it.
            Stage::Resuming { .. } => reigns.then_some(usual),
        },
        // Going back must not need the failing side, not even to follow.
        Phase::RollingBack { .. } => reigns.then_some(usual),
        _ => Some(usual),
    }
}

fn reads(state: &State) -> ByColour<u8> {
    let (colour, share) = match state.phase.unpaused() {
        Phase::Shifting { share_percent, .. } => (state.candidate(), *share_percent),
        Phase::HandingOver { to, stage: Stage::MovingTraffic { .. }, .. } => (*to, 100),
        Phase::HandingOver { to, share_percent, .. } => (*to, *share_percent),
        _ => (state.active, 100),
    };
    let share = share.min(100);
    ByColour::from_fn(|each| if each == colour { share } else { 100 - share })
}

/// Until the old primary forwards, the router keeps sending writes there: it is the one that holds them.
fn writes(state: &State) -> Colour {
    match &state.phase {
        Phase::HandingOver { to, fenced: true, .. } => *to,
        Phase::HandingOver { to, stage: Stage::Promoting { .. } | Stage::TurningAround { .. }, .. } => to.other(),
        _ => state.primary,
    }
}

/// Only a rollout proves that there is a way back; a handover that *is* the way back needs no other.
fn proves_way_back(state: &State) -> Option<Colour> {
    match &state.phase {
        Phase::HandingOver { to, stage: Stage::ProvingWayBack, .. } if *to == state.candidate() => Some(to.other()),
        _ => None,
    }
}
