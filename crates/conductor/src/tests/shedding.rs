//! Clients that keep their connections are sent after the reads, and away from a follower that does not answer.

use super::stage::{Stage, document};
use rollout::{Command, Outcome, Phase};
use std::sync::atomic::Ordering;
use wire::document::BlueGreen;
use wire::{Colour, Member};

/// Blue serves, and its clients' connections end at the node.
async fn reached(document: BlueGreen) -> Stage {
    let stage = Stage::stable(document).await;
    *stage.platform.clients_reach_nodes.lock() = true;
    stage
}

/// Lets the conductor look at the world a few times more, and act on what it saw.
async fn look_around(stage: &Stage) {
    let looks = || stage.platform.looks.load(Ordering::Relaxed);
    let before = looks();
    stage.until(|_| looks() > before + 3).await;
}

#[tokio::test]
async fn the_side_that_lost_its_reads_sheds_its_clients_and_the_one_that_serves_keeps_its_own() {
    let stage = reached(document()).await;
    stage.deploy("1.1.0").await;
    let info = stage.finished(1).await;
    assert_eq!(info.history[0].outcome, Outcome::Promoted, "{}", info.history[0].reason);
    stage.until(|_| stage.nodes.told_to_shed(Colour::Blue) == [true]).await;
    // Green was of no use to clients while it was filled.
    assert_eq!(stage.nodes.told_to_shed(Colour::Green), [true, false]);
    // Who was told once is not told again.
    look_around(&stage).await;
    assert_eq!(stage.nodes.told_to_shed(Colour::Blue), [true]);
    assert_eq!(stage.nodes.told_to_shed(Colour::Green), [true, false]);
    assert_eq!(*stage.platform.ended.lock(), Vec::<Member>::new());
}

#[tokio::test]
async fn a_side_that_gets_its_reads_back_keeps_its_clients_again() {
    let mut document = document();
    document.spec.rollout.watch_ms = 600_000;
    let stage = reached(document).await;
    stage.deploy("1.1.0").await;
    stage.until(|info| matches!(info.phase, Phase::Watching { .. })).await;
    stage.until(|_| stage.nodes.told_to_shed(Colour::Blue) == [true]).await;
    stage.conductor.command(Command::Rollback { reason: "worse".into(), accept_loss: false }).await.unwrap();
    assert_eq!(stage.finished(1).await.history[0].outcome, Outcome::RolledBack);
    stage.until(|_| stage.nodes.told_to_shed(Colour::Blue) == [true, false]).await;
}

#[tokio::test]
async fn before_the_router_leads_elsewhere_nobody_is_sent_there() {
    let stage = reached(document()).await;
    *stage.platform.router_lags.lock() = true;
    stage.deploy("1.1.0").await;
    stage.until(|info| info.share_in_effect.is_some_and(|shares| shares.blue == 1)).await;
    look_around(&stage).await;
    assert_eq!(stage.nodes.told_to_shed(Colour::Blue), Vec::<bool>::new());
    *stage.platform.router_lags.lock() = false;
    stage.until(|_| stage.nodes.told_to_shed(Colour::Blue) == [true]).await;
}

#[tokio::test]
async fn nobody_is_told_anything_where_clients_do_not_reach_the_nodes() {
    let stage = Stage::stable(document()).await;
    stage.deploy("1.1.0").await;
    let info = stage.finished(1).await;
    assert_eq!(info.history[0].outcome, Outcome::Promoted, "{}", info.history[0].reason);
    look_around(&stage).await;
    for colour in Colour::BOTH {
        assert_eq!(stage.nodes.told_to_shed(colour), Vec::<bool>::new(), "{colour}");
    }
}

#[tokio::test]
async fn a_node_that_could_not_be_told_is_told_again_and_people_read_so_meanwhile() {
    let stage = reached(document()).await;
    stage.nodes.change(Colour::Blue, |manners| manners.refuses_once = vec!["shed"]);
    stage.deploy("1.1.0").await;
    let said = "blue did not send its clients elsewhere: ";
    stage.until(|info| info.events.iter().any(|event| event.text.starts_with(said))).await;
    let told = |info: &crate::Info| info.last_error.is_none() && stage.nodes.told_to_shed(Colour::Blue) == [true];
    stage.until(told).await;
    assert_eq!(stage.finished(1).await.history[0].outcome, Outcome::Promoted);
}

#[tokio::test]
async fn a_follower_that_falls_silent_without_reads_has_its_process_ended() {
    let mut document = document();
    document.spec.rollout.watch_ms = 600_000;
    let stage = reached(document).await;
    stage.deploy("1.1.0").await;
    stage.until(|info| matches!(info.phase, Phase::Watching { .. })).await;
    stage.nodes.change(Colour::Blue, |manners| manners.hangs = true);
    stage.until(|_| !stage.platform.ended.lock().is_empty()).await;
    let info = stage.conductor.info();
    assert!(matches!(info.phase, Phase::Watching { .. }), "{:?}", info.phase);
    let ended = stage.platform.ended.lock().clone();
    assert!(ended.iter().all(|member| *member == Member::from(Colour::Blue)), "{ended:?}");
}
