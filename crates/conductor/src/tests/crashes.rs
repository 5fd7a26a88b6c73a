//! The conductor ends at every stored generation of a rollout, before and after the store took effect, and another one
//! goes on to the same end.

use super::fake_nodes::FakeNodes;
use super::fake_platform::{FakePlatform, Fate};
use super::stage::{Stage, document, until};
use crate::{Conductor, Info};
use rollout::{Command, Outcome, Phase};
use std::sync::Arc;
use std::time::Duration;
use tokio::task::JoinSet;
use wire::Colour;
use wire::admin::Role;

#[tokio::test]
async fn a_restart_at_every_stored_generation_ends_in_the_same_place() {
    let mut runs = JoinSet::new();
    for stumbling in [false, true] {
        let last = whole_rollout(stumbling).await;
        assert_eq!(last, if stumbling { 16 } else { 14 }, "generations of the good path");
        for generation in 1..=last {
            for fate in [Fate::HangsBefore, Fate::HangsAfter] {
                runs.spawn(crash_at(generation, fate, stumbling));
            }
        }
    }
    runs.join_all().await;
}

/// Generations of a rollout that nothing disturbs.
async fn whole_rollout(stumbling: bool) -> u64 {
    let stage = Stage::stable(document()).await;
    if stumbling {
        stumble(&stage.nodes);
    }
    stage.deploy("1.1.0").await;
    stage.finished(1).await.generation
}

/// Refusals in the middle of the handover: the stages that are otherwise passed in one turn are stored as well.
fn stumble(nodes: &FakeNodes) {
    nodes.change(Colour::Green, |manners| manners.refuses_once = vec!["digest"]);
    nodes.change(Colour::Blue, |manners| manners.refuses_once = vec!["follow"]);
}

async fn crash_at(generation: u64, fate: Fate, stumbling: bool) {
    let nodes = FakeNodes::start().await;
    if stumbling {
        stumble(&nodes);
    }
    let platform = Arc::new(FakePlatform::new(nodes.clone()));
    *platform.fate.lock() = Some((generation, fate));
    crash(&platform).await;
    *platform.fate.lock() = None;

    let conductor = Conductor::start(platform.clone(), document()).await.unwrap();
    deploy_once(&conductor).await;
    let info = until(&conductor, |info| info.history.len() == 1 && info.phase == Phase::Stable).await;
    let when = format!("crashed at {generation} {fate:?}, stumbling: {stumbling}");
    assert_eq!(*nodes.broken.lock(), Vec::<String>::new(), "{when}");
    assert_eq!(info.history[0].outcome, Outcome::Promoted, "{when}: {:#?}", info.events);
    assert_eq!((info.primary, info.primary_epoch), (Colour::Green, 2), "{when}");
    assert_eq!(nodes.role(Colour::Green), Role::Primary { epoch: 2 }, "{when}");
    until(&conductor, |info| matches!(info.nodes.blue.role, Some(Role::Follower { epoch: 2, .. }))).await;
    conductor.stop().await;
}

/// Runs a conductor until a store hangs, and ends it there.
async fn crash(platform: &Arc<FakePlatform>) {
    let hanging = async || {
        let hangs = tokio::time::timeout(Duration::from_secs(60), platform.hanging.notified()).await;
        hangs.expect("the generation never came");
    };
    let conductor = tokio::select! {
        started = Conductor::start(platform.clone(), document()) => started.unwrap(),
        () = hanging() => return,
    };
    tokio::select! {
        () = deploy_once(&conductor) => hanging().await,
        () = hanging() => (),
    }
    conductor.crash().await;
}

/// Deploys when that did not happen before.
async fn deploy_once(conductor: &Conductor) {
    let untouched = |info: &Info| info.run.is_none() && info.history.is_empty();
    until(conductor, |info| info.phase == Phase::Stable || !untouched(info)).await;
    if untouched(&conductor.info()) {
        conductor.command(Command::Deploy { version: "1.1.0".into() }).await.unwrap();
    }
}
