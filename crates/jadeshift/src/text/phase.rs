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
