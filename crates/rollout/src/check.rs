//! An independent opinion on what may be wanted: the invariants of a state and its world, written apart from the code
//! that decides, and not used by it.

use crate::state::HISTORY_LENGTH_MAX;
use crate::{Phase, RoleWanted, Stage, State, World};
use wire::Colour;

/// Every invariant that `state` and `world` break, in words; empty when all hold.
pub fn violations(state: &State, world: &World) -> Vec<String> {
    let mut found = Vec::new();
    found.extend(traffic(state, world));
    found.extend(right_to_write(state, world));
    found.extend(epochs(state, world));
    found.extend(bookkeeping(state));
    found
}

/// Reads and writes go to environments that run.
fn traffic(state: &State, world: &World) -> Vec<String> {
    let mut found = Vec::new();
    let sum = u32::from(world.reads.blue) + u32::from(world.reads.green);
    if sum != 100 {
        found.push(format!("the shares of reads add up to {sum}"));
    }
    for (colour, environment) in world.environments.iter() {
        let runs = environment.version.is_some();
        let fenced = matches!(&state.phase, Phase::HandingOver { to, fenced: true, .. } if colour != *to);
        if fenced && runs {
            found.push(format!("{colour} is fenced off and shall run"));
        }
        if !fenced && environment.version != *state.versions.get(colour) {
            found.push(format!("{colour} is wanted at another version than the state says"));
        }
        if !runs && *world.reads.get(colour) > 0 {
            found.push(format!("{colour} gets reads and does not run"));
        }
        if !runs && world.writes == colour {
            found.push(format!("{colour} gets writes and does not run"));
        }
        if let Some(fenced) = state.fenced_head()
            && (fenced.colour != state.primary
                || state.replicas.succession.as_ref().is_some_and(|to| to.to == fenced.number))
        {
            found.push(format!("{fenced} is fenced off for itself"));
        }
        if !runs && environment.role.is_some() {
            found.push(format!("{colour} has a role and does not run"));
        }
    }
    found
}

/// At most one environment may admit writes: the committed one.
fn right_to_write(state: &State, world: &World) -> Vec<String> {
    let mut found = Vec::new();
    let role = |colour| world.environments.get(colour).role.as_ref();
    let reigning: Vec<Colour> =
        Colour::BOTH.into_iter().filter(|colour| matches!(role(*colour), Some(RoleWanted::Primary { .. }))).collect();
    if reigning.len() > 1 {
        found.push("both shall be primary".to_string());
    }
    if reigning.iter().any(|colour| *colour != state.primary) {
        found.push(format!("{} shall be primary, but {} is the committed one", state.primary.other(), state.primary));
    }
    if state.versions.get(state.primary).is_none() {
        found.push(format!("{}, the primary, shall not run", state.primary));
    }
    if state.active != state.primary {
        found.push(format!("{} is active and {} is primary", state.active, state.primary));
    }
    let resuming = matches!(state.phase, Phase::HandingOver { stage: Stage::Resuming { .. }, .. });
    if resuming && matches!(role(state.primary.other()), Some(RoleWanted::Follower { .. })) {
        found.push("the candidate is told of an epoch before the old primary reigns in it".into());
    }
    match &state.phase {
        Phase::HandingOver { to, epoch, stage, .. } => {
            let old = to.other();
            if stage.is_committed() != (state.primary == *to) {
                found.push(format!("{stage:?} does not fit {} being primary", state.primary));
            }
            let sealed = role(old) == Some(&RoleWanted::Sealed { epoch: *epoch });
            let shall = matches!(stage, Stage::Sealing | Stage::CatchingUp { .. });
            if sealed != shall {
                found.push(format!("{old} shall{} be sealed while {stage:?}", if sealed { "" } else { " not" }));
            }
            if let Stage::Promoting { lsn, .. } | Stage::TurningAround { lsn } | Stage::MovingTraffic { lsn } = stage
                && state.promoted_at != Some(*lsn)
            {
                found.push(format!("promoted at {:?}, not at the seal's LSN {lsn}", state.promoted_at));
            }
        }
        _ => {
            if Colour::BOTH.iter().any(|colour| matches!(role(*colour), Some(RoleWanted::Sealed { .. }))) {
                found.push("an environment shall be sealed outside of a handover".into());
            }
        }
    }
    found
}

/// Every epoch that is wanted was given out, and the reign is the highest unless a handover is under way.
fn epochs(state: &State, world: &World) -> Vec<String> {
    let mut found = Vec::new();
    if state.primary_epoch > state.epoch {
        found.push(format!("reign {} was never given out; the highest is {}", state.primary_epoch, state.epoch));
    }
    for (colour, environment) in world.environments.iter() {
        let wanted = match environment.role {
            None => continue,
            Some(RoleWanted::Primary { epoch, .. } | RoleWanted::Follower { epoch }) => {
                if epoch != state.primary_epoch {
                    found
                        .push(format!("{colour} is wanted in epoch {epoch}, not in the reign {}", state.primary_epoch));
                }
                epoch
            }
            Some(RoleWanted::Sealed { epoch }) => {
                let of_old_reign = state.primary == colour && epoch <= state.primary_epoch;
                if of_old_reign {
                    found.push(format!("{colour} is to be sealed in epoch {epoch}, which is its own reign or older"));
                }
                epoch
            }
        };
        if wanted > state.epoch {
            found.push(format!("epoch {wanted} was never given out; the highest is {}", state.epoch));
        }
    }
    if let Phase::HandingOver { epoch, stage, .. } = &state.phase {
        let begun = !matches!(stage, Stage::ProvingWayBack | Stage::Fencing);
        let right = if begun { state.epoch } else { state.epoch + 1 };
        if *epoch != right {
            found.push(format!("the handover is in epoch {epoch}, it should be {right}"));
        }
    } else if state.primary_epoch != state.epoch {
        found.push(format!("epoch {} was given out and nobody reigns in it", state.epoch));
    }
    found
}

/// A rollout has a run, its candidate runs, and the history is bounded.
fn bookkeeping(state: &State) -> Vec<String> {
    let mut found = Vec::new();
    match (state.phase.unpaused(), &state.run) {
        (Phase::Starting { .. } | Phase::Stable, Some(run)) => found.push(format!("run {} has no phase", run.id)),
        (Phase::Starting { .. } | Phase::Stable, None) => (),
        (phase, None) => found.push(format!("{} without a run", phase.name())),
        (phase, Some(run)) => {
            if state.versions.get(run.candidate).is_none() {
                found.push(format!("the candidate shall not run while {}", phase.name()));
            }
            let committed = match phase {
                Phase::Watching { .. } => true,
                Phase::HandingOver { .. } => state.active == run.candidate,
                _ => false,
            };
            if (state.active == run.candidate) != committed {
                found.push(format!("{} and {} is active", phase.name(), state.active));
            }
        }
    }
    if let Phase::Paused { before, .. } = &state.phase
        && !matches!(
            **before,
            Phase::Preparing { .. }
                | Phase::Seeding { .. }
                | Phase::Following { .. }
                | Phase::Checking { .. }
                | Phase::Shifting { .. }
                | Phase::Watching { .. }
        )
    {
        found.push(format!("paused while {}", before.name()));
    }
    if state.history.len() > HISTORY_LENGTH_MAX {
        found.push(format!("{} rollouts in the history", state.history.len()));
    }
    found
}

#[cfg(test)]
mod tests {
    use super::violations;
    use crate::{RoleWanted, State, World};
    use wire::admin::AcknowledgeMode;
    use wire::document::Spec;
    use wire::{ByColour, Colour};

    /// Breaks a sound state or world by `break_it` and expects to hear of it.
    fn check(expected: &str, break_it: impl Fn(&mut State, &mut World)) {
        let mut state = State::first(&Spec::default(), 0);
        let mut world = World::of(&state);
        assert_eq!(violations(&state, &world), Vec::<String>::new());
        break_it(&mut state, &mut world);
        let found = violations(&state, &world);
        assert!(found.iter().any(|text| text.contains(expected)), "{expected:?} is not in {found:?}");
    }

    #[test]
    fn each_broken_invariant_is_named() {
        check("add up to 90", |_, world| world.reads = ByColour::new(90, 0));
        check("green gets reads and does not run", |_, world| world.reads = ByColour::new(50, 50));
        check("green gets writes and does not run", |_, world| world.writes = Colour::Green);
        check("both shall be primary", |_, world| {
            world.environments.green = world.environments.blue.clone();
        });
        check("green shall be primary, but blue is the committed one", |_, world| {
            world.environments.green.role = world.environments.blue.role.take();
        });
        check("blue, the primary, shall not run", |state, _| state.versions.blue = None);
        check("sealed outside of a handover", |_, world| {
            world.environments.blue.role = Some(RoleWanted::Sealed { epoch: 2 });
        });
        check("epoch 7 was never given out", |_, world| {
            let acknowledge = AcknowledgeMode::Alone;
            world.environments.blue.role =
                Some(RoleWanted::Primary { epoch: 7, promote_at: None, acknowledge, number: 0 });
        });
        check("nobody reigns in it", |state, _| state.epoch = 2);
    }
}
