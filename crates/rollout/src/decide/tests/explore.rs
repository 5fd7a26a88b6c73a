//! Every state that can be reached, with every observation, however absurd, and every command: what is wanted stays sound.
//!
//! Epochs are counted from the reign, versions are named by who serves, and times are forgotten, which leaves finitely many states; the search visits all of
//! them.

use super::scene::{follower, node, nothing_seen, primary, sealed};
use crate::{
    Command, Confirmation, Decision, NodeObservation, Observation, Phase, Stage, State, World, check, command, decide,
};
use evidence::{Outcome, Verdict};
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::fmt::Debug;
use wire::admin::{AcknowledgeBy, AcknowledgeMode, AcknowledgeState, Role};
use wire::document::{Spec, Step};
use wire::{ByColour, Colour};

/// The LSN at which everything is sealed here.
const LSN: u64 = 100;
const LATE_MS: u64 = 1_000_000_000;

#[test]
fn nothing_unsound_is_ever_wanted() {
    let mut spec = Spec { version: "a".into(), ..Spec::default() };
    spec.rollout.steps = [50, 100].map(Step::of_share).to_vec();
    let first = forget(State::first(&spec, 0));
    let mut reached = BTreeMap::from([(format!("{first:?}"), first.clone())]);
    let mut open = VecDeque::from([first]);
    while let Some(state) = open.pop_front() {
        let mut visit = |next: State| {
            let next = forget(next);
            if let std::collections::btree_map::Entry::Vacant(entry) = reached.entry(format!("{next:?}")) {
                entry.insert(next.clone());
                open.push_back(next);
            }
        };
        for wish in commands(&state) {
            for now_ms in [0, LATE_MS] {
                let Ok(next) = command(&spec, &state, &wish, now_ms) else { continue };
                assert_sound(&state, &next, &World::of(&next), &wish);
                visit(next);
            }
        }
        for seen in observations(&state) {
            for now_ms in [0, LATE_MS] {
                let decision = decide(&spec, &state, &seen, now_ms);
                assert_sound(&state, &decision.state, &decision.world, &(&seen, now_ms));
                assert_justified(&state, &decision, &seen);
                if decision.state != state {
                    visit(decision.state);
                }
            }
        }
    }
    let phases: BTreeSet<String> = reached.values().map(place).collect();
    let expected = [
        "starting",
        "stable",
        "preparing",
        "seeding",
        "following",
        "checking",
        "shifting",
        "watching",
        "rolling back",
        "paused",
        "proving",
        "sealing",
        "catching up",
        "promoting",
        "turning",
        "moving",
        "resuming",
        "fencing",
    ];
    assert_eq!(phases, expected.map(String::from).into(), "of {} states", reached.len());
}

fn place(state: &State) -> String {
    match &state.phase {
        Phase::HandingOver { stage, .. } => match stage {
            Stage::ProvingWayBack => "proving",
            Stage::Sealing => "sealing",
            Stage::CatchingUp { .. } => "catching up",
            Stage::Promoting { .. } => "promoting",
            Stage::TurningAround { .. } => "turning",
            Stage::MovingTraffic { .. } => "moving",
            Stage::Resuming { .. } => "resuming",
            Stage::Fencing => "fencing",
        },
        phase => phase.name(),
    }
    .to_string()
}

fn assert_sound(before: &State, after: &State, world: &World, by: &dyn Debug) {
    let mut broken = check::violations(after, world);
    let changed = before != after;
    if after.generation != before.generation + u64::from(changed) {
        broken.push(format!("generation {} became {}", before.generation, after.generation));
    }
    if after.epoch < before.epoch || after.epoch > before.epoch + 1 {
        broken.push(format!("epoch {} became {}", before.epoch, after.epoch));
    }
    if after.primary_epoch < before.primary_epoch {
        broken.push(format!("reign {} became {}", before.primary_epoch, after.primary_epoch));
    }
    if after.primary != before.primary {
        let committing = matches!(
            &before.phase,
            Phase::HandingOver { to, epoch, stage: Stage::Sealing | Stage::CatchingUp { .. }, .. }
                if *to == after.primary && *epoch == after.primary_epoch
        );
        // Without the consent of the old one the epoch is taken with the commit.
        let forcing = matches!(
            &before.phase,
            Phase::HandingOver { to, stage: Stage::Fencing, fenced: true, .. }
                if *to == after.primary && after.primary_epoch == after.epoch
        ) && after.epoch == before.epoch + 1;
        if !forcing && (!committing || after.epoch != before.epoch) {
            broken.push("the primary changed without a commit of the handover's own epoch".into());
        }
    } else if after.primary_epoch != before.primary_epoch && after.primary_epoch != before.epoch + 1 {
        broken.push(format!("reign {} was given out before", after.primary_epoch));
    }
    assert!(broken.is_empty(), "{broken:#?}\nfrom {before:#?}\nto {after:#?}\nby {by:#?}");
}

/// What a decision may only do with proof in front of it.
fn assert_justified(before: &State, decision: &Decision, seen: &Observation) {
    let after = &decision.state;
    assert!(!decision.why.is_empty());
    let fencing = |state: &State| place(state) == "fencing";
    if fencing(after) && !fencing(before) {
        let accepted = before.run.as_ref().is_some_and(|run| run.accept_loss);
        assert!(before.confirmation == Confirmation::Held || accepted, "something may be lost: {before:#?}");
        let reigns = |node: &NodeObservation| match node {
            NodeObservation::Up { state, .. } => {
                matches!(state.role, Role::Primary { epoch } if epoch >= before.primary_epoch)
            }
            _ => false,
        };
        let unpromoted = place(before) == "promoting" && !reigns(seen.nodes.get(before.primary));
        assert!(*seen.silent_ms.get(before.primary) > 3_000 || unpromoted, "{before:#?}");
    }
    if after.primary != before.primary && fencing(before) {
        assert_eq!(*seen.nodes.get(before.primary), NodeObservation::Stopped, "it may still write");
        let NodeObservation::Up { state, .. } = seen.nodes.get(after.primary) else { panic!("forced on nobody") };
        assert_eq!(after.promoted_at, Some(state.lsn));
    } else if after.primary != before.primary {
        let old = seen.nodes.get(before.primary);
        let (lsn, digest) = match (&before.phase, old) {
            (Phase::HandingOver { stage: Stage::CatchingUp { lsn, digest, .. }, .. }, _) => (lsn, digest),
            (Phase::HandingOver { stage: Stage::Sealing, epoch, .. }, NodeObservation::Up { state, .. }) => {
                let Role::Sealed { epoch: sealed, lsn, digest } = &state.role else { panic!("not sealed") };
                assert_eq!(sealed, epoch);
                (lsn, digest)
            }
            _ => panic!("no commit"),
        };
        assert_eq!(seen.digest_at.get(after.primary).as_ref(), Some(&(*lsn, digest.clone())), "{before:#?}");
        let NodeObservation::Up { state, .. } = seen.nodes.get(after.primary) else { panic!("committed to nobody") };
        assert_eq!(state.lsn, *lsn);
    }
    for colour in Colour::BOTH {
        if before.versions.get(colour).is_some() && after.versions.get(colour).is_none() {
            let shares =
                seen.reads_in_effect.as_ref().unwrap_or_else(|| panic!("{colour} stopped blindly: {before:#?}"));
            assert_eq!(*shares.get(colour), 0, "{colour} is stopped while it gets reads: {before:#?}");
        }
    }
    // A side that may be the only one with an acknowledged write is not sealed unless the other can take over.
    if place(after) == "sealing" && place(before) == "proving" {
        let Phase::HandingOver { to, .. } = &after.phase else { unreachable!() };
        assert!(matches!(seen.nodes.get(*to), NodeObservation::Up { .. }));
    }
}

fn commands(state: &State) -> Vec<Command> {
    let version = if state.version_active() == "a" { "b" } else { "a" };
    vec![
        Command::Deploy { version: version.into() },
        Command::Promote { full: false },
        Command::Promote { full: true },
        Command::Pause,
        Command::Resume,
        Command::Rollback { reason: String::new(), accept_loss: false },
        Command::Rollback { reason: String::new(), accept_loss: true },
        Command::Canary { share_percent: 10 },
        Command::Canary { share_percent: 60 },
        Command::Switch { to: Colour::Blue },
        Command::Switch { to: Colour::Green },
    ]
}

fn observations(state: &State) -> Vec<Observation> {
    let version = |colour| state.versions.get(colour).clone().unwrap_or_default();
    let sides = ByColour::from_fn(|colour: Colour| {
        let reign = state.primary_epoch;
        let handover = match state.phase {
            Phase::HandingOver { epoch, .. } => epoch,
            _ => state.epoch,
        };
        let roles = [
            (primary(reign), LSN),
            (primary(handover), LSN),
            (follower(colour, reign), LSN),
            (follower(colour, handover), LSN - 1),
            (follower(colour, reign), LSN + 1),
            (sealed(handover, LSN), LSN),
            (Role::Waiting, 0),
        ];
        let mut sides: Vec<(NodeObservation, u64)> = roles
            .map(|(role, lsn)| {
                let state = Box::new(node(colour, role, lsn));
                (NodeObservation::Up { state, version_running: version(colour) }, 0)
            })
            .into();
        let told = match state.confirmation {
            Confirmation::Joining { .. } => Some(AcknowledgeMode::Preferred),
            Confirmation::Locking | Confirmation::Held => Some(AcknowledgeMode::Required),
            Confirmation::Off => None,
        };
        if let Some(mode) = told.filter(|_| colour == state.primary) {
            for holds in [true, false] {
                let mut state = node(colour, primary(reign), LSN);
                let by = AcknowledgeBy { mode, confirmer: colour.other().to_string(), number: 0 };
                let waiting_ms = if holds { 0 } else { 60_000 };
                state.acknowledge = Some(AcknowledgeState { by, confirmed_lsn: LSN, holds, waiting_ms });
                let up = NodeObservation::Up { state: Box::new(state), version_running: version(colour) };
                sides.push((up, 0));
            }
        }
        let mut failed = node(colour, follower(colour, reign), LSN);
        failed.failed = Some("EIO".into());
        sides.push((NodeObservation::Up { state: Box::new(failed), version_running: version(colour) }, 0));
        let silent = NodeObservation::Silent { why: "x".into() };
        sides.extend([(silent.clone(), 10), (silent, 60_000), (NodeObservation::Stopped, 60_000)]);
        sides
    });
    let world = World::of(state);
    let proving = world.prove_way_back;
    let digests: &[Option<&str>] = match state.phase {
        Phase::HandingOver { stage: Stage::Sealing | Stage::CatchingUp { .. }, .. } => {
            &[None, Some("d"), Some("other")]
        }
        _ => &[None],
    };
    let proofs: &[Option<Result<(), String>>] = match proving {
        Some(_) => &[None, Some(Ok(())), Some(Err(String::new()))],
        None => &[None],
    };
    let mut all = Vec::new();
    for blue in &sides.blue {
        for green in &sides.green {
            for outcome in [Outcome::Pass, Outcome::Fail, Outcome::Inconclusive] {
                for reads in [Some(world.reads), Some(ByColour::new(0, 100)), None] {
                    for digest in digests {
                        for proof in proofs {
                            let mut seen = nothing_seen();
                            seen.nodes = ByColour::new(blue.0.clone(), green.0.clone());
                            seen.silent_ms = ByColour::new(blue.1, green.1);
                            seen.reads_in_effect = reads;
                            let verdict = Verdict { outcome, signal: "s".into(), why: "w".into(), e_value: None };
                            seen.judgement.live = verdict.clone();
                            seen.judgement.results = verdict.clone();
                            seen.judgement.data = verdict;
                            seen.judgement.candidate_reads = LATE_MS;
                            seen.digest_at = ByColour::from_fn(|_| digest.map(|digest| (LSN, digest.to_string())));
                            seen.way_back = proof.clone().zip(proving).map(|(proof, colour)| (colour, proof));
                            all.push(seen);
                        }
                    }
                }
            }
        }
    }
    all
}

/// Forgets what only grows: times, texts, generations and all but the last finished rollout; epochs count from the reign.
fn forget(mut state: State) -> State {
    let base = state.primary_epoch - 1;
    (state.generation, state.confirmation_changes) = (0, 0);
    if let Confirmation::Joining { confirmed_lsn, since_ms } = &mut state.confirmation {
        (*confirmed_lsn, *since_ms) = (0, 0);
    }
    state.epoch -= base;
    state.primary_epoch -= base;
    forget_phase(&mut state.phase, base);
    // Every rollout ends with a record of its own, so only a settled state reads an older one.
    let kept = state.phase == Phase::Stable && state.reversible().is_some();
    state.history.drain(..state.history.len().saturating_sub(usize::from(kept)));
    for record in &mut state.history {
        (record.ended_ms, record.reason) = (0, String::new());
    }
    let active = state.version_active().to_string();
    let named = |version: &String| if *version == active { "a" } else { "b" }.to_string();
    state.versions = ByColour::from_fn(|colour| state.versions.get(colour).as_ref().map(named));
    let runs = state.history.iter_mut().map(|record| &mut record.run).chain(&mut state.run);
    for run in runs {
        (run.id, run.started_ms) = (1, 0);
        (run.from_version, run.to_version) = (named(&run.from_version), named(&run.to_version));
        run.committed_ms = run.committed_ms.map(|_| 0);
    }
    // Read only where a primary may be gone.
    if let (Some(run), false) = (&mut state.run, matches!(state.phase, Phase::HandingOver { .. })) {
        run.accept_loss = false;
    }
    state
}

/// Forgets times and texts of a phase, and counts its epoch from `base`.
fn forget_phase(phase: &mut Phase, base: u64) {
    match phase {
        Phase::Stable => (),
        Phase::Starting { since_ms }
        | Phase::Preparing { since_ms }
        | Phase::Seeding { since_ms }
        | Phase::Following { since_ms }
        | Phase::Checking { since_ms }
        | Phase::Shifting { since_ms, .. }
        | Phase::Watching { since_ms } => *since_ms = 0,
        Phase::RollingBack { since_ms, reason } => (*since_ms, *reason) = (0, String::new()),
        Phase::HandingOver { epoch, since_ms, reason, stage, .. } => {
            *epoch -= base;
            (*since_ms, *reason) = (0, String::new());
            match stage {
                Stage::CatchingUp { sealed_ms, .. } => *sealed_ms = 0,
                Stage::Resuming { why, .. } => *why = String::new(),
                _ => (),
            }
        }
        Phase::Paused { since_ms, before, why } => {
            (*since_ms, *why) = (0, String::new());
            forget_phase(before, base);
        }
    }
}
