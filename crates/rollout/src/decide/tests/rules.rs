//! One test for each rule: it fails when the rule is removed.

use super::scene::{Scene, follower, primary, sealed};
use crate::{Command, NodeObservation, Outcome, Phase, RoleWanted, Run, Stage};
use evidence::Verdict;
use wire::admin::{AcknowledgeMode, Epoch, Lsn, Role};
use wire::document::{Acknowledge, OnInconclusive};
use wire::{ByColour, Colour};

const LATE_MS: u64 = 10_000_000;

/// A rollout from blue 1.0.0 to green 1.1.0 in `phase`, both nodes at LSN 100 and well.
fn scene(phase: Phase) -> Scene {
    let mut scene = Scene::new();
    // What it takes to be confirmed by both has its own tests.
    scene.spec.handover.acknowledge = Acknowledge::Primary;
    scene.state.versions.green = Some("1.1.0".into());
    scene.state.phase = phase;
    scene.state.run = Some(Run {
        id: 1,
        from_version: "1.0.0".into(),
        to_version: "1.1.0".into(),
        candidate: Colour::Green,
        started_ms: 0,
        full: false,
        accept_loss: false,
        committed_ms: None,
    });
    scene.up(Colour::Blue, primary(1), 100);
    scene.up(Colour::Green, follower(Colour::Green, 1), 100);
    scene.seen.judgement.live = Verdict::pass("errors", "errors pass");
    scene.seen.judgement.results = Verdict::pass("results", "results pass");
    scene.seen.judgement.data = Verdict::pass("data", "data pass");
    scene.seen.judgement.candidate_reads = 1_000;
    scene.seen.reads_in_effect = Some(crate::World::of(&scene.state).reads);
    scene
}

fn shifting() -> Scene {
    scene(Phase::Shifting { step: 0, share_percent: 50, since_ms: 0, promoted: false })
}

/// A handover from blue to green in `stage`, its epoch taken where it has to be.
fn handover(stage: Stage) -> Scene {
    let taken = stage != Stage::ProvingWayBack;
    let committed = stage.is_committed();
    let mut scene = scene(Phase::HandingOver {
        to: Colour::Green,
        epoch: 2,
        stage,
        since_ms: 0,
        reason: "the steps are done".into(),
        share_percent: 50,
        fenced: false,
    });
    if taken {
        scene.state.epoch = 2;
        scene.up(Colour::Blue, sealed(2, 100), 100);
    }
    if committed {
        scene.state.primary = Colour::Green;
        scene.state.active = Colour::Green;
        scene.state.primary_epoch = 2;
        scene.state.promoted_at = Some(100);
    }
    scene.seen.reads_in_effect = Some(crate::World::of(&scene.state).reads);
    scene
}

fn catching_up() -> Scene {
    let mut scene = handover(Stage::CatchingUp { lsn: 100, digest: "d".into(), sealed_ms: 0 });
    scene.seen.digest_at.green = Some((100, "d".into()));
    scene
}

fn watching() -> Scene {
    let mut scene = handover(Stage::MovingTraffic { lsn: 100 });
    scene.state.phase = Phase::Watching { since_ms: 0 };
    scene.up(Colour::Green, primary(2), 100);
    scene.up(Colour::Blue, follower(Colour::Blue, 2), 100);
    scene.seen.reads_in_effect = Some(crate::World::of(&scene.state).reads);
    scene
}

/// A primary that acknowledges writes alone.
fn reign(epoch: Epoch, promote_at: Option<Lsn>) -> RoleWanted {
    RoleWanted::Primary { epoch, promote_at, acknowledge: AcknowledgeMode::Alone, number: 0 }
}

fn fail(scene: &mut Scene) {
    scene.seen.judgement.live = Verdict::fail("errors", "too many errors");
}

#[track_caller]
fn assert_stays(scene: &Scene, why: &str) {
    let decision = scene.decide();
    assert_eq!(decision.state, scene.state, "{}", decision.why);
    assert!(decision.why.contains(why), "{:?} is not in {:?}", why, decision.why);
}

#[track_caller]
fn assert_rolls_back(scene: &Scene, why: &str) {
    match scene.decide().state.phase {
        Phase::RollingBack { reason, .. } => assert!(reason.contains(why), "{why:?} is not in {reason:?}"),
        phase => panic!("{phase:?}"),
    }
}

/// The handover goes back: a fresh epoch for the old primary, and the new one is told nothing.
#[track_caller]
fn assert_goes_back(scene: &Scene, expected: &str, ends_rollout: bool) {
    let decision = scene.decide();
    let Phase::HandingOver { stage: Stage::Resuming { why, roll_back }, epoch, .. } = &decision.state.phase else {
        panic!("{:?}: {}", decision.state.phase, decision.why)
    };
    assert!(why.contains(expected), "{expected:?} is not in {why:?}");
    assert_eq!(*roll_back, ends_rollout);
    assert_eq!((*epoch, decision.state.epoch, decision.state.primary_epoch), (3, 3, 3));
    assert_eq!(decision.state.primary, Colour::Blue);
    let roles = decision.world.environments.map(|_, environment| environment.role);
    assert_eq!(roles, ByColour::new(Some(reign(3, None)), None));
}

/// The stage of the state itself.
fn stage_of(scene: &Scene) -> Stage {
    match &scene.state.phase {
        Phase::HandingOver { stage, .. } => stage.clone(),
        phase => panic!("{phase:?}"),
    }
}

/// The stage after one decision.
fn stage(scene: &Scene) -> Stage {
    match scene.decide().state.phase {
        Phase::HandingOver { stage, .. } => stage,
        phase => panic!("{phase:?}"),
    }
}

// Step 1.

#[test]
fn no_seal_without_a_proof_of_the_way_back_by_the_old_primary() {
    let mut scene = handover(Stage::ProvingWayBack);
    assert_eq!(scene.decide().world.prove_way_back, Some(Colour::Blue));
    assert_stays(&scene, "blue is asked to prove");
    scene.seen.way_back = Some((Colour::Green, Ok(())));
    assert_stays(&scene, "blue is asked to prove");
    scene.seen.way_back = Some((Colour::Blue, Err("no route".into())));
    assert_stays(&scene, "blue could not follow green: no route");
    scene.seen.way_back = Some((Colour::Blue, Ok(())));
    assert_eq!(stage(&scene), Stage::Sealing);
}

#[test]
fn no_seal_while_the_new_primary_lags_or_is_not_there() {
    let mut scene = handover(Stage::ProvingWayBack);
    scene.seen.way_back = Some((Colour::Blue, Ok(())));
    scene.up(Colour::Blue, primary(1), 1_101);
    assert_stays(&scene, "1001 records behind");
    scene.silent(Colour::Green, 10);
    assert_stays(&scene, "green has not answered");
}

#[test]
fn an_unproven_way_back_pauses_when_time_runs_out() {
    let mut scene = handover(Stage::ProvingWayBack);
    scene.now_ms = LATE_MS;
    let phase = scene.decide().state.phase;
    let Phase::Paused { before, why, .. } = phase else { panic!("{phase:?}") };
    assert!(matches!(*before, Phase::Shifting { step: 0, share_percent: 50, .. }), "{before:?}");
    assert!(why.contains("no handover without a way back"), "{why}");
}

#[test]
fn before_the_seal_a_failing_candidate_is_still_rolled_back() {
    let mut scene = handover(Stage::ProvingWayBack);
    scene.seen.way_back = Some((Colour::Blue, Ok(())));
    fail(&mut scene);
    assert_rolls_back(&scene, "too many errors");
}

// Steps 2 and 3.

#[test]
fn the_epoch_is_taken_with_the_intent_and_only_then_the_seal_is_wanted() {
    let mut scene = handover(Stage::ProvingWayBack);
    let role = |scene: &Scene| scene.decide().world.environments.blue.role;
    assert_eq!(role(&scene), Some(reign(1, None)));
    scene.seen.way_back = Some((Colour::Blue, Ok(())));
    scene.now_ms = 77;
    let decision = scene.decide();
    assert_eq!((decision.state.epoch, decision.state.primary_epoch), (2, 1));
    assert_eq!(decision.world.environments.blue.role, Some(RoleWanted::Sealed { epoch: 2 }));
    assert!(matches!(decision.state.phase, Phase::HandingOver { epoch: 2, since_ms: 77, .. }));
}

#[test]
fn only_a_seal_of_this_handover_counts() {
    let mut scene = handover(Stage::Sealing);
    scene.up(Colour::Blue, primary(1), 100);
    assert_stays(&scene, "blue is to be sealed in epoch 2; it is the primary of epoch 1");
    scene.up(Colour::Blue, sealed(1, 100), 100);
    assert_stays(&scene, "it is sealed in epoch 1");
    scene.up(Colour::Blue, sealed(2, 100), 100);
    scene.now_ms = 5;
    assert_eq!(stage(&scene), Stage::CatchingUp { lsn: 100, digest: "d".into(), sealed_ms: 5 });
}

#[test]
fn sealing_goes_back_when_it_takes_too_long_or_the_candidate_vanishes() {
    let mut scene = handover(Stage::Sealing);
    scene.now_ms = 1_001;
    assert_goes_back(&scene, "writes waited 1 s", false);
    let mut scene = handover(Stage::Sealing);
    scene.silent(Colour::Green, 10);
    assert_goes_back(&scene, "green has not answered", false);
}

// Step 4.

#[test]
fn no_commit_before_the_last_record_and_the_same_digest_at_the_seal() {
    let mut scene = catching_up();
    scene.up(Colour::Green, follower(Colour::Green, 1), 99);
    assert_stays(&scene, "green lacks 1 records");
    scene.up(Colour::Green, follower(Colour::Green, 1), 100);
    scene.seen.digest_at.green = None;
    assert_stays(&scene, "its digest there is compared");
    scene.seen.digest_at.green = Some((99, "d".into()));
    assert_stays(&scene, "its digest there is compared");
    scene.seen.digest_at.green = Some((100, "d".into()));
    assert!(matches!(stage(&scene), Stage::Promoting { lsn: 100, .. }));
}

#[test]
fn copies_that_differ_are_never_promoted_and_end_the_rollout() {
    let mut scene = catching_up();
    scene.seen.digest_at.green = Some((100, "other".into()));
    assert_goes_back(&scene, "blue has digest d, green has other", true);
    let mut scene = catching_up();
    scene.up(Colour::Green, follower(Colour::Green, 1), 101);
    assert_goes_back(&scene, "the copies differ", true);
}

#[test]
fn a_handover_never_proceeds_because_time_ran_out() {
    let mut scene = catching_up();
    scene.now_ms = 1_000;
    assert!(matches!(stage(&scene), Stage::Promoting { .. }));
    scene.now_ms = 1_001;
    assert_goes_back(&scene, "longer than the 1 s allowed", false);
}

#[test]
fn catching_up_goes_back_when_the_candidate_cannot_be_promoted() {
    let mut scene = catching_up();
    scene.silent(Colour::Green, 10);
    assert_goes_back(&scene, "green has not answered", false);
    let mut scene = catching_up();
    scene.up(Colour::Green, Role::Waiting, 100);
    assert_goes_back(&scene, "green does not follow any more", false);
    let mut scene = catching_up();
    scene.node(Colour::Green).failed = Some("EIO".into());
    assert_goes_back(&scene, "the disk of green failed: EIO", true);
}

#[test]
fn catching_up_goes_back_when_the_old_primary_is_not_sealed_there_any_more() {
    for role in [primary(1), sealed(2, 101), sealed(1, 100)] {
        let mut scene = catching_up();
        scene.up(Colour::Blue, role, 100);
        assert_goes_back(&scene, "blue is no longer sealed at LSN 100", false);
    }
    // Its silence is no obstacle: the seal is on its disk.
    let mut scene = catching_up();
    scene.silent(Colour::Blue, 10);
    assert!(matches!(stage(&scene), Stage::Promoting { .. }));
}

#[test]
fn who_has_caught_up_is_not_kept_waiting_and_not_judged_less() {
    let sealing = |lsn, digest: &str| {
        let mut scene = handover(Stage::Sealing);
        scene.seen.digest_at.green = Some((lsn, digest.into()));
        scene
    };
    assert!(matches!(stage(&sealing(100, "d")), Stage::Promoting { lsn: 100, .. }));
    assert_eq!(sealing(100, "d").decide().state.promoted_at, Some(100));
    assert_eq!(stage(&sealing(99, "d")), Stage::CatchingUp { lsn: 100, digest: "d".into(), sealed_ms: 0 });
    assert_goes_back(&sealing(100, "other"), "blue has digest d, green has other", true);
    let mut late = sealing(100, "d");
    late.now_ms = 1_001;
    assert_goes_back(&late, "longer than the 1 s allowed", false);
    let mut behind = sealing(100, "d");
    behind.up(Colour::Green, follower(Colour::Green, 1), 99);
    assert_stays(&behind, "green lacks 1 records");
}

// Step 5.

#[test]
fn the_commit_names_the_primary_its_epoch_and_where_it_begins() {
    let mut scene = catching_up();
    scene.now_ms = 9;
    let state = scene.step().state;
    assert_eq!((state.primary, state.primary_epoch, state.promoted_at), (Colour::Green, 2, Some(100)));
    assert_eq!((state.active, state.epoch), (Colour::Green, 2));
    assert_eq!(state.run.and_then(|run| run.committed_ms), Some(9));
    let world = crate::World::of(&scene.state);
    assert_eq!(world.environments.green.role, Some(reign(2, Some(100))));
    assert_eq!(world.environments.blue.role, Some(RoleWanted::Follower { epoch: 2 }));
    assert_eq!(world.writes, Colour::Blue, "blue holds the writes until it can forward them");
}

// Step 6.

#[test]
fn after_the_commit_nothing_goes_back() {
    let mut scene = handover(Stage::Promoting { lsn: 100, digest: "d".into() });
    scene.now_ms = LATE_MS;
    fail(&mut scene);
    assert_stays(&scene, "green is to be promoted at LSN 100");
    scene.silent(Colour::Green, LATE_MS);
    assert_stays(&scene, "green is primary and cannot be told so");
    assert!(scene.command(&Command::Rollback { reason: String::new(), accept_loss: false }).is_err());
    scene.up(Colour::Green, primary(2), 100);
    assert_eq!(stage(&scene), Stage::TurningAround { lsn: 100 });
    scene.up(Colour::Blue, follower(Colour::Blue, 1), 100);
    assert_eq!(stage(&scene), Stage::TurningAround { lsn: 100 });
    scene.up(Colour::Blue, follower(Colour::Blue, 2), 100);
    assert_eq!(stage(&scene), Stage::MovingTraffic { lsn: 100 });
}

#[test]
fn a_reign_of_an_older_epoch_is_no_promotion() {
    let mut scene = handover(Stage::Promoting { lsn: 100, digest: "d".into() });
    scene.up(Colour::Green, primary(1), 100);
    assert_stays(&scene, "it is the primary of epoch 1");
}

// Step 7.

#[test]
fn traffic_waits_until_the_old_primary_follows_in_the_new_epoch() {
    let mut scene = handover(Stage::TurningAround { lsn: 100 });
    scene.up(Colour::Green, primary(2), 100);
    assert_stays(&scene, "blue is to follow green; it is sealed in epoch 2");
    scene.up(Colour::Blue, follower(Colour::Blue, 1), 100);
    assert_stays(&scene, "it is a follower in epoch 1");
    scene.up(Colour::Blue, follower(Colour::Blue, 2), 100);
    assert_eq!(stage(&scene), Stage::MovingTraffic { lsn: 100 });
}

#[test]
fn traffic_does_not_wait_longer_than_writes_for_an_old_primary_that_cannot_follow() {
    let mut scene = handover(Stage::TurningAround { lsn: 100 });
    scene.up(Colour::Green, primary(2), 100);
    scene.now_ms = 1_000;
    assert_stays(&scene, "blue is to follow green; it is sealed in epoch 2");
    scene.now_ms = 1_001;
    assert_eq!(stage(&scene), Stage::MovingTraffic { lsn: 100 });
}

#[test]
fn traffic_does_not_wait_for_an_old_primary_that_is_gone() {
    let mut scene = handover(Stage::TurningAround { lsn: 100 });
    scene.silent(Colour::Blue, 10);
    assert_stays(&scene, "blue is to follow green");
    scene.now_ms = 1_001;
    assert_eq!(stage(&scene), Stage::MovingTraffic { lsn: 100 });
    scene.now_ms = 0;
    scene.seen.nodes.blue = NodeObservation::Stopped;
    assert_eq!(stage(&scene), Stage::MovingTraffic { lsn: 100 });
}

// Step 8.

#[test]
fn the_watch_begins_when_the_router_confirms() {
    let mut scene = handover(Stage::MovingTraffic { lsn: 100 });
    assert_eq!(scene.decide().world.reads, ByColour::new(0, 100));
    scene.seen.reads_in_effect = Some(ByColour::new(50, 50));
    assert_stays(&scene, "the router sends 50 %");
    scene.seen.reads_in_effect = None;
    assert_stays(&scene, "the router has not confirmed");
    scene.seen.reads_in_effect = Some(ByColour::new(0, 100));
    assert!(matches!(scene.decide().state.phase, Phase::Watching { .. }));
}

// Going back.

#[test]
fn going_back_is_over_when_the_old_primary_reigns_in_the_new_epoch() {
    let mut scene = catching_up();
    scene.seen.digest_at.green = None;
    scene.now_ms = 1_001;
    scene.step();
    assert_stays(&scene, "blue is to admit writes again in epoch 3; it is sealed in epoch 2");
    scene.up(Colour::Blue, primary(1), 100);
    assert_stays(&scene, "it is the primary of epoch 1");
    scene.silent(Colour::Blue, 10);
    assert_stays(&scene, "blue has not answered");
    scene.up(Colour::Blue, primary(3), 100);
    let decision = scene.step();
    assert!(matches!(decision.state.phase, Phase::Paused { .. }), "{}", decision.why);
    assert_eq!(decision.world.environments.green.role, Some(RoleWanted::Follower { epoch: 3 }));
}

#[test]
fn a_person_may_end_the_rollout_while_the_handover_can_still_go_back() {
    let mut scene = catching_up();
    scene.command(&Command::Rollback { reason: "enough".into(), accept_loss: false }).unwrap();
    scene.up(Colour::Blue, primary(3), 100);
    assert_rolls_back(&scene, "enough");
}

#[test]
fn taking_a_committed_rollout_back_is_tried_again_but_lets_writes_through_in_between() {
    let mut scene = watching();
    fail(&mut scene);
    scene.step(); // back
    scene.step(); // reads
    scene.step(); // intent
    assert!(matches!(stage(&scene), Stage::Sealing));
    scene.now_ms = 1_001;
    scene.step();
    scene.up(Colour::Green, primary(4), 100);
    scene.step();
    assert_eq!(stage(&scene), Stage::ProvingWayBack);
    assert_stays(&scene, "writes get through");
    scene.now_ms += 2_000;
    scene.up(Colour::Blue, follower(Colour::Blue, 4), 100);
    assert_eq!(stage(&scene), Stage::Sealing);
    assert_eq!(scene.decide().state.epoch, 5);
}

#[test]
fn reads_leave_a_failing_primary_before_it_is_sealed_but_only_to_a_fit_environment() {
    let mut scene = watching();
    fail(&mut scene);
    scene.silent(Colour::Blue, 10);
    assert_eq!(scene.step().world.reads, ByColour::new(0, 100));
    assert_stays(&scene, "the right to write goes back to blue as soon as it can");
    scene.up(Colour::Blue, follower(Colour::Blue, 2), 100);
    assert_eq!(scene.step().world.reads, ByColour::new(100, 0));
    // The failing side proves nothing: nobody will return to it.
    assert_eq!(stage_of(&scene), Stage::ProvingWayBack);
    assert_eq!(crate::World::of(&scene.state).prove_way_back, None);
}

#[test]
fn a_primary_that_does_not_answer_keeps_the_right_to_write() {
    let mut scene = watching();
    scene.silent(Colour::Green, 3_001);
    assert_eq!(scene.step().why, "going back to blue: green has not answered for 3 s (connection refused)");
    assert_eq!(scene.step().world.reads, ByColour::new(100, 0));
    scene.now_ms = LATE_MS;
    assert_stays(&scene, "green has not answered");
    assert_eq!(scene.state.epoch, 2, "no epoch is taken for a seal that nobody can answer");
}

// Shifting.

#[test]
fn a_step_needs_its_time_its_reads_and_evidence() {
    let mut scene = shifting();
    scene.now_ms = 9_999;
    assert_stays(&scene, "9.9 s of 10 s passed");
    scene.now_ms = 10_000;
    assert!(matches!(scene.decide().state.phase, Phase::Shifting { step: 1, share_percent: 100, .. }));
    scene.seen.judgement.candidate_reads = 99;
    assert_stays(&scene, "99 of the 100 reads");
    scene.seen.judgement.candidate_reads = 100;
    scene.seen.judgement.results = Verdict::inconclusive("results", "no replays");
    assert_stays(&scene, "no replays");
    scene.seen.judgement.results = Verdict::pass("results", "");
    scene.seen.judgement.live = Verdict::inconclusive("errors", "no counts");
    assert_stays(&scene, "no counts");
    scene.seen.judgement.live = Verdict::pass("errors", "");
    scene.seen.reads_in_effect = Some(ByColour::new(90, 10));
    assert_stays(&scene, "10 % of the reads to green, not 50 %");
    scene.seen.reads_in_effect = Some(ByColour::new(50, 50));
    scene.up(Colour::Blue, primary(1), 5_000);
    assert_stays(&scene, "4900 records behind");
}

#[test]
fn a_signal_of_the_user_counts_like_the_others() {
    let mut scene = shifting();
    scene.now_ms = 10_000;
    scene.seen.judgement.sources = vec![Verdict::pass("one", ""), Verdict::inconclusive("two", "two is broken")];
    assert_stays(&scene, "two is broken");
    scene.seen.judgement.sources[1] = Verdict::fail("two", "two is too high");
    assert_rolls_back(&scene, "two is too high");
    scene.seen.judgement.sources[1] = Verdict::pass("two", "");
    assert!(matches!(scene.decide().state.phase, Phase::Shifting { step: 1, share_percent: 100, .. }));
}

#[test]
fn how_long_silence_is_borne_is_the_documents() {
    let mut scene = shifting();
    scene.spec.rollout.silence_ms_max = 20_000;
    scene.silent(Colour::Green, 20_000);
    assert_stays(&scene, "connection refused");
    scene.silent(Colour::Green, 20_001);
    assert_rolls_back(&scene, "green has not answered for 20 s");
}

#[test]
fn either_verdict_rolls_back_at_any_moment() {
    let mut scene = shifting();
    fail(&mut scene);
    assert_rolls_back(&scene, "too many errors");
    let mut scene = shifting();
    scene.seen.judgement.results = Verdict::fail("results", "wrong results");
    assert_rolls_back(&scene, "wrong results");
    let mut scene = shifting();
    scene.command(&Command::Promote { full: true }).unwrap();
    fail(&mut scene);
    assert_rolls_back(&scene, "too many errors");
}

#[test]
fn a_candidate_may_be_silent_for_three_seconds() {
    let mut scene = shifting();
    scene.silent(Colour::Green, 3_000);
    assert_stays(&scene, "green has not answered for 3 s");
    scene.silent(Colour::Green, 3_001);
    assert_rolls_back(&scene, "green has not answered for 3 s (connection refused)");
    let mut scene = shifting();
    scene.node(Colour::Green).failed = Some("EIO".into());
    assert_rolls_back(&scene, "the disk of green failed: EIO");
}

#[test]
fn trouble_of_the_active_environment_is_no_reason_to_go_back() {
    let mut scene = shifting();
    scene.now_ms = LATE_MS;
    scene.spec.rollout.on_inconclusive = OnInconclusive::Rollback;
    scene.silent(Colour::Blue, LATE_MS);
    scene.seen.judgement.live = Verdict::inconclusive("errors", "no counts");
    assert_stays(&scene, "blue is the active environment, so green keeps 50 %");
    // When neither answers there is nowhere to go.
    scene.silent(Colour::Green, LATE_MS);
    scene.spec.rollout.on_inconclusive = OnInconclusive::Pause;
    assert!(!matches!(scene.decide().state.phase, Phase::RollingBack { .. }));
    // The checks wait as well, however long it takes.
    for phase in [
        Phase::Preparing { since_ms: 0 },
        Phase::Seeding { since_ms: 0 },
        Phase::Following { since_ms: 0 },
        Phase::Checking { since_ms: 0 },
    ] {
        let mut scene = self::scene(phase);
        scene.now_ms = LATE_MS;
        scene.silent(Colour::Blue, LATE_MS);
        scene.silent(Colour::Green, 10);
        assert_stays(&scene, "nothing is decided until it answers");
    }
}

#[test]
fn a_promoted_step_skips_time_and_reads() {
    let mut scene = shifting();
    scene.seen.judgement.candidate_reads = 0;
    scene.command(&Command::Promote { full: false }).unwrap();
    assert!(matches!(scene.decide().state.phase, Phase::Shifting { step: 1, promoted: false, .. }));
    scene.command(&Command::Promote { full: true }).unwrap();
    let phase = scene.decide().state.phase;
    assert!(matches!(phase, Phase::HandingOver { share_percent: 50, .. }), "{phase:?}");
}

#[test]
fn a_step_that_pauses_waits_for_a_person_without_a_limit() {
    let mut scene = shifting();
    scene.spec.rollout.steps[0].pause = true;
    scene.now_ms = LATE_MS;
    assert_stays(&scene, "step 1 (50 %) is done and waits for `jadeshift promote`");
    scene.command(&Command::Promote { full: false }).unwrap();
    assert!(matches!(scene.decide().state.phase, Phase::Shifting { step: 1, .. }));
}

#[test]
fn what_inconclusive_evidence_does_is_the_documents_choice() {
    let late = |choice| {
        let mut scene = shifting();
        scene.spec.rollout.on_inconclusive = choice;
        scene.seen.judgement.candidate_reads = 3;
        scene.now_ms = scene.spec.rollout.timeout_ms;
        assert_stays(&scene, "3 of the 100 reads");
        scene.now_ms += 1;
        scene
    };
    assert_rolls_back(&late(OnInconclusive::Rollback), "3 of the 100 reads");
    let paused = late(OnInconclusive::Pause).decide();
    assert!(matches!(&paused.state.phase, Phase::Paused { why, .. } if why.contains("inconclusive")));
    assert_eq!(paused.world.reads, ByColour::new(50, 50), "a pause keeps the shares");
    let promoted = late(OnInconclusive::Promote).decide();
    assert!(matches!(promoted.state.phase, Phase::Shifting { step: 1, .. }));
}

// The other phases.

#[test]
fn bringing_up_goes_back_when_time_runs_out() {
    for phase in [
        Phase::Preparing { since_ms: 0 },
        Phase::Seeding { since_ms: 0 },
        Phase::Following { since_ms: 0 },
        Phase::Checking { since_ms: 0 },
    ] {
        let mut scene = scene(phase);
        scene.silent(Colour::Green, 10);
        scene.now_ms = scene.spec.rollout.timeout_ms;
        assert_stays(&scene, "green has not answered");
        scene.now_ms += 1;
        assert_rolls_back(&scene, "for longer than 10 min");
    }
}

#[test]
fn another_version_or_an_older_protocol_is_not_the_candidate() {
    let mut scene = scene(Phase::Preparing { since_ms: 0 });
    if let NodeObservation::Up { version_running, .. } = &mut scene.seen.nodes.green {
        *version_running = "0.9.0".into();
    }
    assert_stays(&scene, "green still runs version 0.9.0");
    scene.up(Colour::Green, Role::Waiting, 0);
    scene.node(Colour::Green).wire_version = 0;
    assert_rolls_back(&scene, "wire version 0");
}

#[test]
fn the_checks_need_equal_data_and_equal_results() {
    for signal in ["data", "results", "smoke"] {
        let mut scene = scene(Phase::Checking { since_ms: 0 });
        let verdict = |scene: &mut Scene, verdict: Verdict| match signal {
            "data" => scene.seen.judgement.data = verdict,
            "smoke" => scene.seen.judgement.sources = vec![verdict],
            _ => scene.seen.judgement.results = verdict,
        };
        verdict(&mut scene, Verdict::inconclusive(signal, "not yet"));
        assert_stays(&scene, "green is checked: not yet");
        verdict(&mut scene, Verdict::fail(signal, "they differ"));
        assert_rolls_back(&scene, "they differ");
        verdict(&mut scene, Verdict::pass(signal, ""));
        assert!(matches!(scene.decide().state.phase, Phase::Shifting { step: 0, share_percent: 50, .. }));
        // Also when all steps are skipped.
        scene.command(&Command::Promote { full: true }).unwrap();
        assert!(matches!(scene.decide().state.phase, Phase::HandingOver { share_percent: 0, .. }));
        verdict(&mut scene, Verdict::fail(signal, "they differ"));
        assert_rolls_back(&scene, "they differ");
    }
}

#[test]
fn rolling_back_asks_nothing_of_the_candidate_and_stops_it_only_without_reads() {
    let mut scene = scene(Phase::RollingBack { since_ms: 0, reason: "bad".into() });
    scene.seen.nodes.green = NodeObservation::Silent { why: "hangs".into() };
    assert_eq!(scene.decide().world.environments.green.role, None);
    for unconfirmed in [None, Some(ByColour::new(99, 1))] {
        scene.seen.reads_in_effect = unconfirmed;
        scene.now_ms = LATE_MS;
        assert_stays(&scene, "reason: bad");
        assert_eq!(scene.state.versions.green.as_deref(), Some("1.1.0"));
    }
    scene.seen.reads_in_effect = Some(ByColour::new(100, 0));
    let state = scene.step().state;
    assert_eq!((state.phase, state.versions.green), (Phase::Stable, None));
    assert_eq!((state.history[0].outcome, state.history[0].reason.as_str()), (Outcome::RolledBack, "bad"));
}

#[test]
fn a_pause_keeps_the_world_but_not_the_harm() {
    let mut scene = shifting();
    let before = scene.decide().world;
    scene.command(&Command::Pause).unwrap();
    scene.now_ms = LATE_MS;
    assert_stays(&scene, "paused with 50 % of the reads at green (by a person)");
    assert_eq!(scene.decide().world, before);
    fail(&mut scene);
    assert_rolls_back(&scene, "too many errors");

    let mut scene = watching();
    scene.command(&Command::Pause).unwrap();
    scene.now_ms = LATE_MS;
    assert_stays(&scene, "paused while watching");
    fail(&mut scene);
    assert!(matches!(scene.decide().state.phase, Phase::HandingOver { to: Colour::Blue, .. }));
}

#[test]
fn the_watch_ends_with_the_old_environment_warm_or_goes_back() {
    let mut scene = watching();
    scene.now_ms = 299_999;
    assert_stays(&scene, "watched for 299 s of 300 s");
    let mut failing = watching();
    failing.seen.judgement.results = Verdict::fail("results", "wrong results");
    assert!(matches!(failing.decide().state.phase, Phase::HandingOver { to: Colour::Blue, .. }));
    scene.now_ms = 300_000;
    let state = scene.step().state;
    assert_eq!(state.versions, ByColour::new(Some("1.0.0".into()), Some("1.1.0".into())));
    assert_eq!(state.history[0].outcome, Outcome::Promoted);
    // And can be taken back later as well.
    scene.command(&Command::Rollback { reason: "late".into(), accept_loss: false }).unwrap();
    assert!(matches!(scene.state.phase, Phase::HandingOver { to: Colour::Blue, .. }));
}

#[test]
fn missing_data_changes_nothing() {
    for mut scene in [shifting(), watching()] {
        scene.seen.judgement.live = Verdict::inconclusive("errors", "the source is broken");
        scene.seen.judgement.results = Verdict::inconclusive("results", "the source is broken");
        scene.seen.judgement.candidate_reads = 0;
        scene.now_ms = 20_000;
        let decision = scene.decide();
        assert_eq!(decision.state, scene.state, "{}", decision.why);
    }
}

/// Found by seed 65 for the pause between two attempts; the same held for every other time.
#[test]
fn a_clock_that_was_set_back_lengthens_nothing() {
    // The candidate never catches up: writes wait.
    let mut scene = handover(Stage::CatchingUp { lsn: 100, digest: "d".into(), sealed_ms: LATE_MS });
    if let Phase::HandingOver { since_ms, .. } = &mut scene.state.phase {
        *since_ms = LATE_MS;
    }
    scene.up(Colour::Green, follower(Colour::Green, 1), 99);
    scene.now_ms = 5_000;
    let decision = scene.step();
    assert!(decision.why.contains("the clock was set back"), "{}", decision.why);
    assert_eq!(stage(&scene), Stage::CatchingUp { lsn: 100, digest: "d".into(), sealed_ms: 5_000 });
    assert_stays(&scene, "green");
    scene.now_ms += scene.spec.handover.hold_ms_max + 1;
    scene.step();
    assert!(matches!(stage(&scene), Stage::Resuming { .. }), "{:?}", scene.state.phase);

    // A little is the difference of two machines.
    let mut scene = watching();
    scene.state.phase = Phase::Watching { since_ms: 1_000 };
    scene.now_ms = 0;
    assert_eq!(scene.decide().state.phase, scene.state.phase);
}
