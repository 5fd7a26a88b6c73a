//! Names of the phases.

use rollout::{Phase, Stage};

/// What goes on, in a word or two.
pub fn name(phase: &Phase) -> String {
    match phase {
        Phase::Starting { .. } => "starting".into(),
        Phase::Stable => "stable".into(),
        Phase::Preparing { .. } => "preparing".into(),
        Phase::Seeding { .. } => "seeding".into(),
        Phase::Following { .. } => "following".into(),
        Phase::Checking { .. } => "checking".into(),
        Phase::Shifting { share_percent, .. } => format!("shifting {share_percent} %"),
        Phase::HandingOver { to, stage, .. } => format!("handing over to {to}, {}", stage_name(stage)),
        Phase::Watching { .. } => "watching".into(),
        Phase::RollingBack { .. } => "rolling back".into(),
        Phase::Paused { before, .. } => format!("paused ({})", name(before)),
    }
}

fn stage_name(stage: &Stage) -> &'static str {
    match stage {
        Stage::ProvingWayBack => "proving the way back",
        Stage::Fencing => "fencing off the one that does not answer",
        Stage::Sealing => "sealing",
        Stage::CatchingUp { .. } => "catching up",
        Stage::Promoting { .. } => "promoting",
        Stage::TurningAround { .. } => "turning around",
        Stage::MovingTraffic { .. } => "moving traffic",
        Stage::Resuming { .. } => "going back",
    }
}

/// When the phase began, ms since 1970; `None`: it is the one without a beginning.
pub fn since_ms(phase: &Phase) -> Option<u64> {
    match phase {
        Phase::Stable => None,
        Phase::Starting { since_ms }
        | Phase::Preparing { since_ms }
        | Phase::Seeding { since_ms }
        | Phase::Following { since_ms }
        | Phase::Checking { since_ms }
        | Phase::Shifting { since_ms, .. }
        | Phase::HandingOver { since_ms, .. }
        | Phase::Watching { since_ms }
        | Phase::RollingBack { since_ms, .. }
        | Phase::Paused { since_ms, .. } => Some(*since_ms),
    }
}
