//! What is acknowledged is on both disks, or it is known where it is not; and what that allows when a primary is gone.

use super::scene::{Scene, follower, primary, sealed};
use crate::{Command, Confirmation, NodeObservation, Outcome, Phase, RoleWanted, Run, Stage};
use evidence::Verdict;
use wire::admin::{AcknowledgeBy, AcknowledgeMode, AcknowledgeState, Lsn};
use wire::document::Acknowledge;
use wire::{ByColour, Colour};

const JOINING: Confirmation = Confirmation::Joining { confirmed_lsn: 0, since_ms: 0 };

/// Green has taken over at LSN 100 and is watched, blue follows it; both stand at LSN 120.
fn watching(confirmation: Confirmation) -> Scene {
    let mut scene = Scene::new();
    scene.state.versions.green = Some("1.1.0".into());
    scene.state.run = Some(Run {
        id: 1,
        from_version: "1.0.0".into(),
        to_version: "1.1.0".into(),
        candidate: Colour::Green,
        started_ms: 0,
        full: false,
        accept_loss: false,
        committed_ms: Some(0),
    });
    scene.state.phase = Phase::Watching { since_ms: 0 };
    (scene.state.epoch, scene.state.primary_epoch) = (2, 2);
    (scene.state.primary, scene.state.active, scene.state.promoted_at) = (Colour::Green, Colour::Green, Some(100));
    scene.state.confirmation = confirmation;
    scene.up(Colour::Green, primary(2), 120);
    scene.up(Colour::Blue, follower(Colour::Blue, 2), 120);
    scene.seen.lsn_heard = ByColour::new(120, 120);
    scene.seen.judgement.live = Verdict::pass("errors", "errors pass");
    scene.seen.judgement.results = Verdict::pass("results", "results pass");
    scene.seen.reads_in_effect = Some(ByColour::new(0, 100));
    scene
}

/// Green says how it acknowledges.
fn says(scene: &mut Scene, mode: AcknowledgeMode, holds: bool, waiting_ms: u64) {
    let by = AcknowledgeBy { mode, confirmer: "blue".into(), number: 1 };
    let confirmed_lsn = 118;
    scene.node(Colour::Green).acknowledge = Some(AcknowledgeState { by, confirmed_lsn, holds, waiting_ms });
}

#[track_caller]
fn becomes(scene: &mut Scene, expected: Confirmation) {
    let why = scene.step().why;
    assert_eq!(scene.state.confirmation, expected, "{why}");
}

fn stage(scene: &Scene) -> Option<&Stage> {
    match &scene.state.phase {
        Phase::HandingOver { stage, .. } => Some(stage),
        _ => None,
    }
}

/// Green is gone, and it is decided until nothing changes any more.
fn green_is_gone(scene: &mut Scene, silent_ms: u64) -> String {
    scene.silent(Colour::Green, silent_ms);
    let mut last = scene.step();
    for _ in 0..10 {
        let before = scene.state.clone();
        last = scene.step();
        if scene.state == before {
            break;
        }
    }
    last.why
}

#[test]
fn each_step_to_held_waits_for_the_primary_to_show_the_one_before() {
    use AcknowledgeMode::{Alone, Preferred, Required};
    let mut scene = watching(Confirmation::Off);
    becomes(&mut scene, Confirmation::Joining { confirmed_lsn: 0, since_ms: 0 });
    for (mode, holds) in [(Alone, true), (Required, true), (Preferred, false)] {
        says(&mut scene, mode, holds, 0);
        becomes(&mut scene, JOINING);
    }
    says(&mut scene, Preferred, true, 0);
    becomes(&mut scene, Confirmation::Locking);
    for (mode, holds) in [(Preferred, true), (Required, false)] {
        says(&mut scene, mode, holds, 0);
        becomes(&mut scene, Confirmation::Locking);
    }
    says(&mut scene, Required, true, 0);
    becomes(&mut scene, Confirmation::Held);
}

#[test]
fn the_primary_goes_on_alone_only_after_that_is_durable_and_never_when_strict() {
    let mut scene = watching(Confirmation::Held);
    says(&mut scene, AcknowledgeMode::Required, false, 250);
    becomes(&mut scene, Confirmation::Held);
    says(&mut scene, AcknowledgeMode::Required, false, 251);
    scene.spec.handover.strict = true;
    becomes(&mut scene, Confirmation::Held);
    scene.spec.handover.strict = false;
    let decision = scene.decide();
    assert!(decision.why.contains("blue has confirmed nothing for 251 ms: green goes on alone after LSN 118"));
    let acknowledge = AcknowledgeMode::Preferred;
    let wanted = RoleWanted::Primary { epoch: 2, promote_at: Some(100), acknowledge, number: 1 };
    assert_eq!(decision.world.environments.green.role, Some(wanted));
    becomes(&mut scene, Confirmation::Joining { confirmed_lsn: 118, since_ms: 0 });
}

#[test]
fn whether_it_is_asked_for_follows_from_the_document_and_the_phase() {
    let level = |acknowledge, change: &dyn Fn(&mut Scene)| {
        let mut scene = watching(Confirmation::Off);
        scene.spec.handover.acknowledge = acknowledge;
        change(&mut scene);
        scene.step();
        scene.state.confirmation
    };
    let stable = |scene: &mut Scene| (scene.state.phase, scene.state.run) = (Phase::Stable, None);
    assert_eq!(level(Acknowledge::Auto, &|_| ()), JOINING);
    assert_eq!(level(Acknowledge::Auto, &stable), Confirmation::Off);
    assert_eq!(level(Acknowledge::Primary, &|_| ()), Confirmation::Off);
    assert_eq!(level(Acknowledge::Both, &stable), JOINING);
    let alone = |scene: &mut Scene| {
        stable(scene);
        scene.state.versions.blue = None;
    };
    assert_eq!(level(Acknowledge::Both, &alone), Confirmation::Off);
}

#[test]
fn the_new_primary_waits_for_the_old_one_from_its_first_write_on() {
    let mut scene = watching(Confirmation::Off);
    (scene.state.primary, scene.state.active, scene.state.primary_epoch) = (Colour::Blue, Colour::Blue, 1);
    scene.state.phase = Phase::HandingOver {
        to: Colour::Green,
        epoch: 2,
        stage: Stage::CatchingUp { lsn: 120, digest: "d".into(), sealed_ms: 0 },
        since_ms: 0,
        reason: "r".into(),
        share_percent: 100,
        fenced: false,
    };
    scene.up(Colour::Blue, sealed(2, 120), 120);
    scene.up(Colour::Green, follower(Colour::Green, 1), 120);
    scene.seen.digest_at.green = Some((120, "d".into()));
    let mut older = Scene { spec: scene.spec.clone(), state: scene.state.clone(), seen: scene.seen.clone(), now_ms: 0 };
    becomes(&mut scene, Confirmation::Held);
    // A node of a version that cannot wait is not relied upon.
    older.node(Colour::Green).acknowledge = None;
    becomes(&mut older, Confirmation::Off);
}

#[test]
fn a_primary_that_is_gone_is_fenced_off_and_replaced_without_loss() {
    let mut scene = watching(Confirmation::Held);
    let why = green_is_gone(&mut scene, 3_001);
    assert_eq!(stage(&scene), Some(&Stage::Fencing), "{why}");
    let world = scene.decide().world;
    assert_eq!(world.environments.green.version, None, "it must not run");
    assert_eq!((world.reads, world.writes), (ByColour::new(100, 0), Colour::Blue));
    assert_eq!(scene.state.primary, Colour::Green, "it may still write until it is known to be gone");

    // Its process ended by itself is not enough: it would be started again.
    scene.step();
    assert_eq!(stage(&scene), Some(&Stage::Fencing));
    scene.seen.nodes.green = NodeObservation::Stopped;
    let why = scene.step().why;
    assert_eq!(why, "green is gone for certain; blue is primary in epoch 3 from LSN 120");
    let decision = scene.decide();
    let acknowledge = AcknowledgeMode::Alone;
    let wanted = RoleWanted::Primary { epoch: 3, promote_at: Some(120), acknowledge, number: 1 };
    assert_eq!(decision.world.environments.blue.role, Some(wanted));

    scene.up(Colour::Blue, primary(3), 121);
    scene.seen.reads_in_effect = Some(ByColour::new(100, 0));
    for _ in 0..3 {
        scene.step();
    }
    assert_eq!(scene.state.phase, Phase::Stable);
    assert_eq!(scene.state.versions.green, None);
    let record = scene.state.history.last().unwrap();
    assert_eq!((record.outcome, record.reason.contains("has not answered")), (Outcome::RolledBack, true));
}

#[test]
fn what_was_still_on_its_way_to_the_disk_is_kept() {
    let mut scene = watching(Confirmation::Held);
    green_is_gone(&mut scene, 3_001);
    scene.seen.nodes.green = NodeObservation::Stopped;
    scene.step();
    scene.node(Colour::Blue).lsn = 125;
    scene.step();
    assert_eq!(
        (scene.state.promoted_at, stage(&scene)),
        (Some(125), Some(&Stage::Promoting { lsn: 125, digest: String::new() }))
    );
}

#[test]
fn nobody_is_replaced_while_it_answers_or_is_only_slow_or_has_writes_of_its_own() {
    let check = |confirmation, silent_ms: u64, expected: &str| {
        let mut scene = watching(confirmation);
        scene.seen.lsn_heard.green = 131;
        scene.command(&Command::Rollback { reason: "r".into(), accept_loss: false }).unwrap();
        let why = green_is_gone(&mut scene, silent_ms);
        assert!(why.contains(expected), "{expected:?} is not in {why:?}");
        assert_eq!(stage(&scene), Some(&Stage::ProvingWayBack));
        scene
    };
    check(Confirmation::Held, 3_000, "green has not answered for 3 s");
    check(Confirmation::Locking, 60_000, "would lose at least 11 records (it was last heard of 60 s ago at LSN 131)");
    check(Confirmation::Off, 60_000, "jadeshift rollback --accept-loss");
    let joining = Confirmation::Joining { confirmed_lsn: 118, since_ms: 0 };
    let mut scene = check(joining, 60_000, "whatever it acknowledged alone after LSN 118");

    // It returns: what it has comes with it.
    scene.up(Colour::Green, primary(2), 131);
    scene.node(Colour::Blue).lsn = 131;
    scene.step();
    assert_eq!(stage(&scene), Some(&Stage::Sealing));
}

#[test]
fn a_person_may_accept_the_loss_before_and_while_it_is_waited_for() {
    let accept = Command::Rollback { reason: "r".into(), accept_loss: true };
    let mut at_once = watching(Confirmation::Off);
    at_once.command(&accept).unwrap();
    green_is_gone(&mut at_once, 3_001);
    assert_eq!(stage(&at_once), Some(&Stage::Fencing));

    let mut later = watching(Confirmation::Off);
    green_is_gone(&mut later, 3_001);
    assert_eq!(stage(&later), Some(&Stage::ProvingWayBack));
    later.command(&accept).unwrap();
    let why = later.step().why;
    assert!(why.contains("a person accepted the loss of at least 0 records"), "{why}");
    assert_eq!(stage(&later), Some(&Stage::Fencing));
}

#[test]
fn only_a_copy_that_is_what_it_was_takes_over() {
    let check = |expected: &str, change: &dyn Fn(&mut Scene)| {
        let mut scene = watching(Confirmation::Held);
        change(&mut scene);
        let why = green_is_gone(&mut scene, 60_000);
        assert!(why.contains(expected), "{expected:?} is not in {why:?}");
        assert!(!matches!(stage(&scene), Some(Stage::Fencing)));
    };
    let older: Lsn = 119;
    check("blue stands at LSN 119 and was at 120 before", &|scene| scene.node(Colour::Blue).lsn = older);
    check("blue is not ready", &|scene| scene.node(Colour::Blue).ready = false);
    check("the disk of blue failed", &|scene| scene.node(Colour::Blue).failed = Some("EIO".into()));
}

/// Green is committed at LSN 100 and not promoted yet; blue is sealed there.
fn promoting(confirmation: Confirmation) -> Scene {
    let mut scene = watching(confirmation);
    scene.state.phase = Phase::HandingOver {
        to: Colour::Green,
        epoch: 2,
        stage: Stage::Promoting { lsn: 100, digest: "d".into() },
        since_ms: 0,
        reason: "r".into(),
        share_percent: 100,
        fenced: false,
    };
    scene.up(Colour::Green, follower(Colour::Green, 1), 100);
    scene.up(Colour::Blue, sealed(2, 100), 100);
    scene.seen.lsn_heard = ByColour::new(100, 100);
    scene
}

#[test]
fn a_new_primary_that_dies_before_anybody_told_it_gives_way_to_the_sealed_one() {
    let mut scene = promoting(Confirmation::Held);
    green_is_gone(&mut scene, 3_001);
    assert_eq!(stage(&scene), Some(&Stage::Fencing));
    scene.seen.nodes.green = NodeObservation::Stopped;
    scene.step();
    assert_eq!((scene.state.primary, scene.state.primary_epoch), (Colour::Blue, 3));
}

#[test]
fn a_new_primary_that_answers_and_cannot_be_promoted_gives_way_too_unless_that_may_lose_something() {
    let mut scene = promoting(Confirmation::Held);
    scene.now_ms = 4_000;
    assert_eq!(scene.step().why, "green is to be promoted at LSN 100; it is a follower in epoch 1");
    scene.now_ms = 4_001;
    let why = scene.step().why;
    assert!(why.starts_with("green could not be promoted for 4 s; blue has every write"), "{why}");
    assert_eq!(stage(&scene), Some(&Stage::Fencing));
    scene.step();
    assert_eq!(stage(&scene), Some(&Stage::Fencing), "a call that is on its way could promote it while it runs");
    scene.seen.nodes.green = NodeObservation::Stopped;
    scene.step();
    assert_eq!((scene.state.primary, scene.state.primary_epoch), (Colour::Blue, 3));

    let mut scene = promoting(Confirmation::Off);
    scene.now_ms = 10_000;
    let why = scene.step().why;
    assert!(why.contains("--accept-loss"), "{why}");
    assert!(matches!(stage(&scene), Some(Stage::Promoting { .. })));
}
