//! Whole rollouts.

use super::stage::{Stage, document};
use rollout::{Command, Outcome, Phase};
use std::time::Duration;
use wire::admin::Role;
use wire::{ByColour, Colour};

#[tokio::test]
async fn a_good_version_takes_over_and_the_old_one_stays_warm() {
    let stage = Stage::stable(document()).await;
    stage.deploy("1.1.0").await;
    let info = stage.finished(1).await;
    stage.assert_sound();
    assert_eq!(info.history[0].outcome, Outcome::Promoted, "{}", info.history[0].reason);
    assert_eq!((info.primary, info.active, info.primary_epoch), (Colour::Green, Colour::Green, 2));
    assert_eq!(info.versions, ByColour::new(Some("1.0.0".into()), Some("1.1.0".into())));
    assert_eq!(info.share_percent, ByColour::new(0, 100));
    let calls = ["green follow 1", "blue seal 2", "green promote 2", "green acknowledges Required", "blue follow 2"];
    // After the watch it is told to acknowledge alone again, perhaps already now.
    assert_eq!(stage.nodes.calls.lock()[..calls.len()], calls);
    assert_eq!(stage.nodes.role(Colour::Green), Role::Primary { epoch: 2 });
    // The shares that the router was told, in order.
    let mut shares: Vec<u8> = stage.platform.worlds.lock().iter().map(|world| world.reads.green).collect();
    shares.dedup();
    assert_eq!(shares, [0, 50, 100]);
    let timing = &info.handovers[0];
    assert_eq!((timing.to, timing.epoch, info.handovers.len()), (Colour::Green, 2, 1));
    assert!(
        timing.seal_to_promote_ms > 0.0 && timing.seal_to_follow_ms.is_some_and(|ms| ms >= timing.seal_to_promote_ms)
    );
    assert!(info.events.iter().any(|event| event.text.contains("blue follows green")), "{:#?}", info.events);
    assert_eq!(info.last_error, None);
}

#[tokio::test]
async fn the_next_release_goes_the_other_way_and_a_late_rollback_returns() {
    let stage = Stage::stable(document()).await;
    for (number, version) in [(1, "1.1.0"), (2, "1.2.0")] {
        stage.deploy(version).await;
        assert_eq!(stage.finished(number).await.history[number - 1].outcome, Outcome::Promoted);
    }
    let before = stage.nodes.lsn(Colour::Blue);
    stage
        .conductor
        .command(Command::Rollback { reason: "a customer called".into(), accept_loss: false })
        .await
        .unwrap();
    let info = stage.finished(3).await;
    stage.assert_sound();
    assert_eq!((info.active, info.primary_epoch), (Colour::Green, 4));
    assert_eq!((info.history[2].outcome, info.history[2].run.id), (Outcome::RolledBack, 2));
    assert_eq!(info.versions, ByColour::new(None, Some("1.1.0".into())));
    assert!(stage.nodes.lsn(Colour::Green) > before, "what was written meanwhile is kept");
}

#[tokio::test]
async fn errors_of_the_candidate_roll_back_and_errors_of_both_do_not() {
    let mut document = document();
    document.spec.rollout.steps[0].requests_min = 1_000_000;
    let stage = Stage::stable(document).await;
    *stage.platform.error_rates.lock() = ByColour::new(0.0, 0.1);
    stage.deploy("1.1.0").await;
    let info = stage.finished(1).await;
    stage.assert_sound();
    let record = &info.history[0];
    assert_eq!(record.outcome, Outcome::RolledBack);
    assert!(record.reason.starts_with("errors: "), "{}", record.reason);
    assert_eq!((info.active, info.versions.green.clone(), info.primary_epoch), (Colour::Blue, None, 1));
    assert_eq!(info.share_percent, ByColour::new(100, 0));

    *stage.platform.error_rates.lock() = ByColour::new(0.1, 0.1);
    stage.deploy("1.2.0").await;
    let info = stage
        .until(|info| {
            let errors = |info: &crate::EvidenceInfo| info.signals[0].candidate.events;
            info.evidence.as_ref().is_some_and(|evidence| errors(evidence) > 100)
        })
        .await;
    assert!(matches!(info.phase, Phase::Shifting { .. }));
}

#[tokio::test]
async fn wrong_results_are_found_before_the_first_reader() {
    let stage = Stage::stable(document()).await;
    stage.nodes.change(Colour::Green, |manners| manners.wrong_results = true);
    stage.deploy("1.1.0").await;
    let info = stage.finished(1).await;
    let record = &info.history[0];
    assert_eq!(record.outcome, Outcome::RolledBack);
    assert!(record.reason.starts_with("results: "), "{}", record.reason);
    assert!(stage.platform.worlds.lock().iter().all(|world| world.reads.green == 0));
}

#[tokio::test]
async fn another_copy_is_found_before_the_first_reader() {
    let stage = Stage::stable(document()).await;
    stage.nodes.change(Colour::Green, |manners| manners.wrong_digest = true);
    stage.deploy("1.1.0").await;
    let record = stage.finished(1).await.history[0].clone();
    assert_eq!(record.outcome, Outcome::RolledBack);
    assert!(record.reason.contains("the copies differ"), "{}", record.reason);
    let named = "; vector `a` of database `db`, written at LSN 1, has another content on blue than on green; vector `b` of \
                 database `db`, written at LSN 1 on blue, is missing on green; vector `c`";
    assert!(record.reason.contains(named), "{}", record.reason);
}

#[tokio::test]
async fn a_handover_that_cannot_catch_up_goes_back_and_can_be_repeated() {
    let mut document = document();
    document.spec.handover.hold_ms_max = 100;
    document.spec.rollout.watch_ms = 100_000;
    let stage = Stage::stable(document).await;
    stage.deploy("1.1.0").await;
    stage.until(|info| matches!(info.phase, Phase::Shifting { .. })).await;
    let here = stage.nodes.lsn(Colour::Green);
    stage.nodes.change(Colour::Green, |manners| manners.frozen_at = Some(here));
    let info = stage.until(|info| matches!(info.phase, Phase::Paused { .. })).await;
    assert!(info.why.contains("went back"), "{}", info.why);
    assert_eq!((info.primary, info.primary_epoch, info.epoch), (Colour::Blue, 3, 3));
    assert_eq!(stage.nodes.role(Colour::Blue), Role::Primary { epoch: 3 });
    assert_eq!(info.share_percent, ByColour::new(0, 100), "the pause keeps the share");
    stage.until(|info| matches!(&info.nodes.green.role, Some(Role::Follower { epoch: 3, .. }))).await;

    stage.nodes.change(Colour::Green, |manners| manners.frozen_at = None);
    stage.conductor.command(Command::Promote { full: true }).await.unwrap();
    let info = stage.until(|info| matches!(info.phase, Phase::Watching { .. })).await;
    stage.assert_sound();
    assert_eq!((info.primary, info.primary_epoch), (Colour::Green, 4));
    assert_eq!(info.handovers.len(), 1, "a seal without a promotion is no handover");

    // The failing new version goes back by itself.
    *stage.platform.error_rates.lock() = ByColour::new(0.0, 0.5);
    let info = stage.finished(1).await;
    stage.assert_sound();
    assert_eq!((info.primary, info.primary_epoch), (Colour::Blue, 5));
    assert_eq!(info.history[0].outcome, Outcome::RolledBack);
}

#[tokio::test]
async fn no_handover_without_a_way_back() {
    let stage = Stage::stable(document()).await;
    stage.nodes.change(Colour::Blue, |manners| manners.refuses_proof = true);
    stage.deploy("1.1.0").await;
    let info = stage.until(|info| info.last_error.is_some()).await;
    assert!(info.last_error.as_ref().is_some_and(|error| error.contains("no route")), "{:?}", info.last_error);
    assert_eq!(info.epoch, 1);
    stage.nodes.change(Colour::Blue, |manners| manners.refuses_proof = false);
    assert_eq!(stage.finished(1).await.history[0].outcome, Outcome::Promoted);
}

#[tokio::test]
async fn both_copies_are_compared_at_one_position() {
    let stage = Stage::stable(document()).await;
    let verified = stage.conductor.verify(false).await.unwrap();
    assert!(!verified.equal && verified.why.contains("green does not run"), "{}", verified.why);
    stage.deploy("1.1.0").await;
    stage.finished(1).await;
    let verified = stage.conductor.verify(true).await.unwrap();
    assert!(verified.equal, "{}", verified.why);
    assert_eq!(verified.primary, Colour::Green);
    let (blue, green) = (verified.environments.blue.unwrap(), verified.environments.green.unwrap());
    assert_eq!((blue.digest.clone(), blue.deep.is_some()), (green.digest, true));
    assert_eq!(blue.digest, format!("digest-{}", verified.lsn));
    stage.nodes.change(Colour::Blue, |manners| manners.wrong_digest = true);
    let verified = stage.conductor.verify(true).await.unwrap();
    assert!(!verified.equal && verified.why.contains("in storage"), "{}", verified.why);
    let verified = stage.conductor.verify(false).await.unwrap();
    assert!(!verified.equal && verified.why.contains("the copies differ"), "{}", verified.why);
    let found = verified.differences.unwrap();
    assert_eq!((found.buckets_differing, found.buckets_searched, found.count, found.error), (1, 1, 3, None));
    let missing = found.records.iter().filter(|difference| difference.versions.blue.is_none()).count();
    assert_eq!((found.records.len(), missing), (3, 2));
}

#[tokio::test]
async fn a_person_steers_and_is_told_what_does_not_fit() {
    let mut document = document();
    document.spec.rollout.steps[0].pause = true;
    let stage = Stage::stable(document).await;
    let refused = stage.conductor.command(Command::Promote { full: false }).await.unwrap_err();
    assert!(refused.to_string().contains("jadeshift deploy"), "{refused}");
    stage.deploy("1.1.0").await;
    stage.until(|info| info.why.contains("waits for `jadeshift promote`")).await;
    let info = stage.conductor.command(Command::Canary { share_percent: 7 }).await.unwrap();
    assert_eq!(info.share_percent, ByColour::new(93, 7));
    stage.until(|info| info.share_in_effect == Some(ByColour::new(93, 7))).await;
    stage.conductor.command(Command::Promote { full: true }).await.unwrap();
    assert_eq!(stage.finished(1).await.history[0].outcome, Outcome::Promoted);
    tokio::time::timeout(Duration::from_secs(10), stage.conductor.stop()).await.unwrap();
    let stopped = stage.conductor.command(Command::Pause).await.unwrap_err();
    assert!(stopped.to_string().contains("stopped"), "{stopped}");
}
