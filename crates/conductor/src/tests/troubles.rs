//! Stores that fail, another coordinator, nodes that hang.

use super::fake_platform::Fate;
use super::stage::{Stage, document};
use rollout::{Command, Confirmation, Outcome, Phase, RoleWanted};
use std::time::{Duration, Instant};
use wire::Colour;
use wire::admin::Role;

#[tokio::test]
async fn a_store_of_unknown_outcome_is_settled_by_what_is_durable() {
    for fate in [Fate::FailsBefore, Fate::FailsAfter] {
        for generation in [4, 10, 11, 12] {
            let stage = Stage::stable(document()).await;
            *stage.platform.fate.lock() = Some((generation, fate));
            stage.deploy("1.1.0").await;
            let info = stage.finished(1).await;
            stage.assert_sound();
            assert_eq!(info.history[0].outcome, Outcome::Promoted);
            assert!(info.events.iter().any(|event| event.text.contains("the line broke")), "{generation} {fate:?}");
            assert_eq!((info.last_error, info.primary_epoch), (None, 2));
        }
    }
}

#[tokio::test]
async fn another_coordinator_ends_this_one() {
    let stage = Stage::stable(document()).await;
    *stage.platform.fate.lock() = Some((4, Fate::Taken));
    stage.deploy("1.1.0").await;
    let info = stage.until(|info| info.stopped.is_some()).await;
    assert!(info.stopped.is_some_and(|why| why.contains("another coordinator")));
    let refused = stage.conductor.command(Command::Pause).await.unwrap_err();
    assert!(refused.to_string().contains("another coordinator"), "{refused}");
    assert_eq!(stage.platform.state.lock().as_ref().map(|state| state.generation), Some(3));
}

/// Found by seed 115 of the simulation: one that was overtaken while it waited for a node that no longer runs stored nothing,
/// so it never learned that there was nothing to wait for.
#[tokio::test]
async fn a_coordinator_that_waits_learns_from_the_platform_that_it_was_overtaken() {
    let stage = Stage::stable(document()).await;
    *stage.platform.overtaken.lock() = true;
    let info = stage.until(|info| info.stopped.is_some()).await;
    assert!(info.stopped.is_some_and(|why| why.contains("another coordinator")));
}

/// Found by the model of the handover: a coordinator that stood still while another fenced the primary off would have given
/// it the right to write again, with a call that needs nothing to be stored.
#[tokio::test]
async fn the_right_to_write_is_not_given_by_a_coordinator_that_was_overtaken() {
    let stage = Stage::stable(document()).await;
    stage.nodes.change(Colour::Green, |manners| manners.refuses = vec!["promote"]);
    stage.deploy("1.1.0").await;
    stage.until(|info| info.why.contains("green is to be promoted")).await;
    if let Some(state) = &mut *stage.platform.state.lock() {
        state.generation += 1;
    }
    let info = stage.until(|info| info.stopped.is_some()).await;
    assert!(info.stopped.is_some_and(|why| why.contains("another coordinator")));
    assert!(matches!(stage.nodes.role(Colour::Green), Role::Follower { .. }));
}

/// A rollback that waited for a look at a node that stands still came too late.
#[tokio::test]
async fn a_command_does_not_wait_for_a_look_that_waits() {
    let stage = Stage::stable(document()).await;
    *stage.platform.stands_still.lock() = true;
    stage.platform.waiting.notified().await;
    let info = stage.conductor.command(Command::Deploy { version: "1.1.0".into() }).await.unwrap();
    assert_eq!(info.last_error, None, "the look was waited for until it was given up");
    let info = stage.finished(1).await;
    stage.assert_sound();
    assert_eq!(info.history[0].outcome, Outcome::Promoted, "{}", info.history[0].reason);
}

#[tokio::test]
async fn a_candidate_that_is_being_started_is_waited_for_and_people_read_what_for() {
    let stage = Stage::stable(document()).await;
    *stage.platform.green_starts.lock() = Some("its pod has no address yet: ContainerCreating".into());
    stage.deploy("1.1.0").await;
    let info = stage.until(|info| info.why.contains("ContainerCreating")).await;
    assert!(matches!(info.phase, Phase::Preparing { .. }), "{:?}", info.phase);
    let green = &info.nodes.green;
    let said = "version 1.1.0 is being started: its pod has no address yet: ContainerCreating";
    assert!(info.why.contains(said), "{}", info.why);
    assert_eq!((green.why.as_deref(), green.ready, green.admin.clone()), (Some(said), false, None));
    *stage.platform.green_starts.lock() = None;
    let info = stage.finished(1).await;
    stage.assert_sound();
    assert_eq!(info.history[0].outcome, Outcome::Promoted, "{}", info.history[0].reason);
}

/// Its pod was evicted, say: that is a silence like any other.
#[tokio::test]
async fn a_candidate_that_has_to_start_again_too_long_loses_its_reads() {
    let mut document = document();
    document.spec.rollout.steps[0].pause = true;
    let stage = Stage::stable(document).await;
    stage.deploy("1.1.0").await;
    stage.until(|info| info.why.contains("waits for `jadeshift promote`")).await;
    *stage.platform.green_starts.lock() = Some("no pod of it is there".into());
    let info = stage.finished(1).await;
    let record = &info.history[0];
    assert_eq!(record.outcome, Outcome::RolledBack);
    assert!(record.reason.contains("green has not answered"), "{}", record.reason);
    assert!(record.reason.contains("no pod of it is there"), "{}", record.reason);
}

#[tokio::test]
async fn a_candidate_that_hangs_loses_its_reads_and_holds_nobody_up() {
    let mut document = document();
    document.spec.rollout.steps[0].pause = true;
    let stage = Stage::stable(document).await;
    stage.deploy("1.1.0").await;
    stage.until(|info| info.why.contains("waits for `jadeshift promote`")).await;
    stage.nodes.change(Colour::Green, |manners| manners.hangs = true);
    stage.until(|info| info.why.contains("green has not answered")).await;
    // Commands are answered while a node hangs.
    let asked = Instant::now();
    stage.conductor.command(Command::Pause).await.unwrap();
    assert!(asked.elapsed() < Duration::from_secs(10));
    let info = stage.finished(1).await;
    assert_eq!(info.history[0].outcome, Outcome::RolledBack);
    assert!(info.history[0].reason.contains("green has not answered"), "{}", info.history[0].reason);
}

#[tokio::test]
async fn an_active_environment_that_hangs_rolls_nothing_back() {
    let mut document = document();
    document.spec.rollout.steps[0].requests_min = 1_000_000;
    let stage = Stage::stable(document).await;
    stage.deploy("1.1.0").await;
    stage.until(|info| matches!(info.phase, Phase::Shifting { .. })).await;
    stage.nodes.change(Colour::Blue, |manners| manners.hangs = true);
    let info = stage.until(|info| info.why.contains("blue has not answered for 4")).await;
    assert!(matches!(info.phase, Phase::Shifting { .. }), "{:?}", info.phase);
}

#[tokio::test]
async fn a_new_primary_that_hangs_is_fenced_off_and_the_old_one_takes_over_by_itself() {
    let mut document = document();
    document.spec.rollout.watch_ms = 600_000;
    let stage = Stage::stable(document).await;
    stage.deploy("1.1.0").await;
    let info = stage.until(|info| matches!(info.phase, Phase::Watching { .. })).await;
    assert_eq!(info.confirmation, Confirmation::Held);
    stage.nodes.change(Colour::Green, |manners| manners.hangs = true);
    let info = stage.finished(1).await;
    assert_eq!((info.history[0].outcome, info.primary, info.primary_epoch), (Outcome::RolledBack, Colour::Blue, 3));
    let calls = stage.nodes.calls.lock().clone();
    assert!(calls.contains(&"blue promote 3".to_string()), "{calls:?}");
    // Green was to be gone before blue was to be promoted.
    let worlds = stage.platform.worlds.lock().clone();
    let promoted = worlds
        .iter()
        .position(|world| matches!(world.environments.blue.role, Some(RoleWanted::Primary { epoch: 3, .. })))
        .unwrap();
    let before = &worlds[promoted - 1].environments;
    assert!(matches!(before.blue.role, Some(RoleWanted::Follower { epoch: 2 })), "{before:?}");
    assert_eq!(before.green.version, None);
}

#[tokio::test]
async fn a_primary_whose_writes_nobody_confirms_goes_on_alone_and_is_not_replaced_by_itself() {
    let mut document = document();
    document.spec.rollout.watch_ms = 600_000;
    let stage = Stage::stable(document).await;
    stage.nodes.change(Colour::Blue, |manners| manners.confirms_nothing = true);
    stage.deploy("1.1.0").await;
    stage.until(|info| matches!(info.confirmation, Confirmation::Joining { .. })).await;
    let calls = stage.nodes.calls.lock().clone();
    assert!(calls.contains(&"green acknowledges Preferred".to_string()), "{calls:?}");
    stage.nodes.change(Colour::Green, |manners| manners.hangs = true);
    let info = stage.until(|info| info.why.contains("jadeshift rollback --accept-loss")).await;
    assert_eq!(info.primary, Colour::Green);
    let accept = Command::Rollback { reason: "it is gone".into(), accept_loss: true };
    stage.conductor.command(accept).await.unwrap();
    let info = stage.finished(1).await;
    assert_eq!((info.history[0].outcome, info.primary), (Outcome::RolledBack, Colour::Blue));
}

#[tokio::test]
async fn a_new_primary_that_hangs_at_its_promotion_is_promoted_when_it_returns() {
    let mut document = document();
    document.spec.handover.hold_ms_max = 200;
    let stage = Stage::stable(document).await;
    // The commit is generation 11; the node hangs before it can be told.
    *stage.platform.fate.lock() = Some((11, Fate::HangsAfter));
    stage.deploy("1.1.0").await;
    stage.platform.hanging.notified().await;
    stage.nodes.change(Colour::Green, |manners| manners.hangs = true);
    stage.conductor.crash().await;
    *stage.platform.fate.lock() = None;
    let conductor = crate::Conductor::start(stage.platform.clone(), stage.document.clone()).await.unwrap();
    let info =
        super::stage::until(&conductor, |info| info.why.contains("green is primary and cannot be told so")).await;
    assert_eq!((info.primary, info.primary_epoch), (Colour::Green, 2));
    stage.nodes.change(Colour::Green, |manners| manners.hangs = false);
    let info = super::stage::until(&conductor, |info| info.history.len() == 1).await;
    stage.assert_sound();
    assert_eq!((info.history[0].outcome, info.primary_epoch), (Outcome::Promoted, 2));
}
