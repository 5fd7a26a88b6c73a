//! Environments of several nodes: who stands in for a head that is gone, and when.

use super::scene::{Scene, follower, node, primary};
use crate::{
    Command, Confirmation, FollowerObservation, NodeObservation, Phase, RoleWanted, Run, SuccessionStage, Successor,
    World,
};
use wire::admin::{AcknowledgeBy, AcknowledgeMode, AcknowledgeState, Lsn, Role};
use wire::document::Acknowledge;
use wire::{ByColour, Colour, Member};

const GONE_MS: u64 = 3_001;

/// Blue reigns at LSN 120 with two followers, and waits for the word of the first.
fn stable(confirmation: Confirmation) -> Scene {
    let mut scene = Scene::new();
    scene.spec.replicas = 3;
    scene.state.phase = Phase::Stable;
    scene.up(Colour::Blue, primary(1), 120);
    scene.seen.lsn_heard = ByColour::new(120, 0);
    scene.seen.followers.blue = vec![beside(Colour::Blue, 1, 118), beside(Colour::Blue, 2, 117)];
    scene.state.confirmation = confirmation;
    if confirmation != Confirmation::Off {
        scene.state.replicas.successor = Some(Successor { number: 1, node_id: "blue-1".into() });
    }
    scene
}

/// A follower of the head of `colour`.
fn beside(colour: Colour, number: u8, lsn: Lsn) -> FollowerObservation {
    let mut state = node(colour, follower(colour.other(), 1), lsn);
    state.node_id = Member::new(colour, number).to_string();
    let node = NodeObservation::Up { state: Box::new(state), version_running: "1.0.0".into() };
    FollowerObservation { number, node, silent_ms: 0, lsn_heard: lsn }
}

fn says(scene: &mut Scene, mode: AcknowledgeMode, confirmer: &str) {
    let by = AcknowledgeBy { mode, confirmer: confirmer.into(), number: 1 };
    scene.node(Colour::Blue).acknowledge =
        Some(AcknowledgeState { by, confirmed_lsn: 118, holds: true, waiting_ms: 0 });
}

/// Blue's head is gone, and no process of it is left once nothing shall run.
fn settle(scene: &mut Scene) -> String {
    scene.silent(Colour::Blue, GONE_MS);
    for _ in 0..10 {
        let before = scene.state.clone();
        let why = scene.step().why;
        if scene.state == before {
            return why;
        }
        if World::of(&scene.state).fenced == Some(Colour::Blue.into()) {
            scene.seen.nodes.blue = NodeObservation::Stopped;
        }
        if scene.state.replicas.heads.blue != 0 {
            return why;
        }
    }
    panic!("no end: {:?}", scene.state)
}

#[test]
fn a_follower_of_the_primary_confirms_while_no_new_version_writes() {
    let mut scene = stable(Confirmation::Off);
    scene.step();
    assert!(matches!(scene.state.confirmation, Confirmation::Joining { .. }));
    assert_eq!(scene.state.confirmer(), Member::new(Colour::Blue, 1), "it is the furthest");
    says(&mut scene, AcknowledgeMode::Preferred, "blue-2");
    scene.step();
    assert!(matches!(scene.state.confirmation, Confirmation::Joining { .. }), "that is another's word");
    says(&mut scene, AcknowledgeMode::Preferred, "blue-1");
    scene.step();
    assert_eq!(scene.state.confirmation, Confirmation::Locking);
    says(&mut scene, AcknowledgeMode::Required, "blue-1");
    scene.step();
    assert_eq!(scene.state.confirmation, Confirmation::Held);

    scene.spec.handover.acknowledge = Acknowledge::Primary;
    scene.step();
    assert_eq!((scene.state.confirmation, &scene.state.replicas.successor), (Confirmation::Off, &None));
}

#[test]
fn another_folder_in_the_confirmers_place_has_confirmed_nothing() {
    let mut scene = stable(Confirmation::Held);
    says(&mut scene, AcknowledgeMode::Required, "blue-1");
    if let NodeObservation::Up { state, .. } = &mut scene.seen.followers.blue[0].node {
        state.node_id = "emptied".into();
    }
    scene.step();
    assert_eq!(scene.state.confirmation, Confirmation::Off);
    scene.silent(Colour::Blue, GONE_MS);
    scene.seen.followers.blue.truncate(1);
    scene.state.confirmation = Confirmation::Held;
    scene.state.replicas.successor = Some(Successor { number: 1, node_id: "blue-1".into() });
    let why = scene.step().why;
    assert_eq!(scene.state.replicas.succession, None, "{why}");
}

#[test]
fn the_follower_that_has_everything_takes_a_silent_heads_place_in_an_epoch_of_its_own() {
    let mut scene = stable(Confirmation::Held);
    scene.silent(Colour::Blue, GONE_MS - 1);
    scene.step();
    assert_eq!(scene.state.replicas.succession, None, "not yet");

    let why = settle(&mut scene);
    assert!(why.contains("blue-1 is primary in epoch 2 from LSN 118"), "{why}");
    let replicas = &scene.state.replicas;
    assert_eq!(replicas.succession.as_ref().map(|it| it.stage), Some(SuccessionStage::Promoting));
    assert_eq!((replicas.heads.blue, scene.state.confirmation), (1, Confirmation::Off));
    let world = World::of(&scene.state);
    assert_eq!(world.fenced, None, "the old head may run again, and follow");
    let wanted = world.environments.blue.role.unwrap();
    assert!(matches!(wanted, RoleWanted::Primary { epoch: 2, promote_at: Some(118), .. }), "{wanted:?}");
    assert_eq!(crate::check::violations(&scene.state, &World::of(&scene.state)), Vec::<String>::new());

    // What it still had on its way to its disk.
    scene.up(Colour::Blue, follower(Colour::Green, 1), 119);
    scene.step();
    assert_eq!(scene.state.promoted_at, Some(119));
    scene.up(Colour::Blue, primary(2), 120);
    scene.step();
    assert_eq!((&scene.state.replicas.succession, &scene.state.phase), (&None, &Phase::Stable));
}

#[test]
fn of_those_who_have_everything_the_furthest_takes_over() {
    let mut scene = stable(Confirmation::Held);
    scene.seen.followers.blue[1] = beside(Colour::Blue, 2, 119);
    settle(&mut scene);
    assert_eq!(scene.state.replicas.heads.blue, 2);
}

#[test]
fn nobody_takes_over_before_the_old_head_is_known_to_be_gone() {
    let mut scene = stable(Confirmation::Held);
    scene.silent(Colour::Blue, GONE_MS);
    for _ in 0..5 {
        scene.step();
    }
    assert_eq!((scene.state.replicas.heads.blue, scene.state.epoch), (0, 1));
    assert_eq!(World::of(&scene.state).fenced, Some(Colour::Blue.into()));
    // The one who was to take over is gone, too: the old head is let run again.
    scene.seen.followers.blue = vec![FollowerObservation { silent_ms: 1, ..beside(Colour::Blue, 1, 100) }];
    scene.seen.followers.blue[0].node = NodeObservation::Silent { why: "connection refused".into() };
    scene.now_ms += 10_001;
    scene.step();
    assert_eq!(World::of(&scene.state).fenced, None);
}

#[test]
fn what_the_head_may_have_alone_is_given_up_only_by_a_person() {
    for confirmation in
        [Confirmation::Off, Confirmation::Joining { confirmed_lsn: 90, since_ms: 0 }, Confirmation::Locking]
    {
        let mut scene = stable(confirmation);
        scene.spec.handover.acknowledge = match confirmation {
            Confirmation::Off => Acknowledge::Primary,
            _ => Acknowledge::Auto,
        };
        let why = settle(&mut scene);
        assert!(why.contains("at least 2 records") && why.contains("rollback --accept-loss"), "{why}");
        assert_eq!(scene.state.replicas.succession, None);
        scene.command(&Command::Rollback { reason: "r".into(), accept_loss: true }).unwrap();
        settle(&mut scene);
        assert_eq!((scene.state.replicas.heads.blue, scene.state.replicas.loss_accepted), (1, false));
    }
}

#[test]
fn a_loss_is_accepted_for_this_time_only() {
    let mut scene = stable(Confirmation::Off);
    scene.spec.handover.acknowledge = Acknowledge::Primary;
    scene.command(&Command::Rollback { reason: "r".into(), accept_loss: true }).unwrap();
    scene.step();
    assert!(!scene.state.replicas.loss_accepted, "blue answers");
}

/// Green is the candidate, with a second node; `role` is its head's.
fn shifting() -> Scene {
    let mut scene = stable(Confirmation::Held);
    says(&mut scene, AcknowledgeMode::Required, "blue-1");
    scene.state.versions.green = Some("1.0.0".into());
    scene.state.run = Some(Run {
        id: 1,
        from_version: "1.0.0".into(),
        to_version: "1.0.0".into(),
        candidate: Colour::Green,
        started_ms: 0,
        full: false,
        accept_loss: false,
        committed_ms: None,
    });
    scene.state.phase = Phase::Shifting { step: 0, share_percent: 50, since_ms: 0, promoted: false };
    scene.up(Colour::Green, follower(Colour::Green, 1), 120);
    scene.seen.followers.green = vec![beside(Colour::Green, 1, 119)];
    scene
}

#[test]
fn a_candidate_goes_on_with_another_head() {
    let mut scene = shifting();
    scene.silent(Colour::Green, GONE_MS);
    scene.step();
    assert_eq!(scene.state.replicas.heads, ByColour::new(0, 1));
    assert!(matches!(scene.state.phase, Phase::Shifting { .. }));
    assert_eq!(scene.state.confirmation, Confirmation::Held, "that was not about the candidate");
    // Without anybody to stand in it is the candidate that is gone.
    let mut scene = shifting();
    scene.seen.followers.green[0].node = NodeObservation::Stopped;
    scene.silent(Colour::Green, GONE_MS);
    scene.step();
    assert!(matches!(scene.state.phase, Phase::RollingBack { .. }));
}

#[test]
fn while_a_new_version_is_watched_a_lost_head_goes_back_to_the_other_environment() {
    let mut scene = shifting();
    scene.state.phase = Phase::Watching { since_ms: 0 };
    (scene.state.primary, scene.state.active) = (Colour::Green, Colour::Green);
    (scene.state.epoch, scene.state.primary_epoch, scene.state.promoted_at) = (2, 2, Some(100));
    scene.state.confirmation = Confirmation::Held;
    scene.state.replicas.successor = None;
    scene.up(Colour::Blue, follower(Colour::Blue, 2), 120);
    scene.silent(Colour::Green, GONE_MS);
    for _ in 0..3 {
        scene.step();
    }
    assert_eq!(scene.state.replicas.succession, None);
    assert!(
        matches!(scene.state.phase, Phase::HandingOver { to: Colour::Blue, fenced: true, .. }),
        "{:?}",
        scene.state
    );
}

#[test]
fn a_follower_is_told_whom_to_follow_once_that_is_ahead_of_it() {
    let address = super::scene::peer(Colour::Blue);
    let mut head = node(Colour::Blue, primary(1), 120);
    let told = follower(Colour::Green, 1);
    let other = Role::Follower { epoch: 1, primary: super::scene::peer(Colour::Green) };
    let asks = |head: &wire::admin::NodeState, role: &Role, lsn, epoch| {
        crate::follows_head_of(epoch, &node(Colour::Blue, role.clone(), lsn), (head, &address))
    };
    assert!(asks(&head, &Role::Waiting, 0, 1));
    assert!(!asks(&head, &told, 100, 1), "it does");
    assert!(asks(&head, &told, 100, 1) != asks(&head, &other, 100, 1), "another address");
    assert!(!asks(&head, &other, 100, 2), "the head does not reign in that epoch");
    head.dormant = true;
    assert!(!asks(&head, &other, 100, 1));

    let mut head = node(Colour::Blue, follower(Colour::Blue, 2), 120);
    assert!(asks(&head, &told, 100, 2), "in the new reign");
    assert!(asks(&head, &told, 130, 2), "a head that has everything has what there is");
    head.feed.as_mut().unwrap().primary_lsn = 140;
    assert!(!asks(&head, &told, 130, 2), "it catches up first");
}
