//! Vitess's list: published bugs of another system that moves the right to write between two databases. Each kind is a test
//! here, or named with the test that covers it already. Numbers are issues and pull requests of vitessio/vitess.
//!
//! - **Writes under way when the old primary is stopped are acknowledged and left behind** (#9481):
//!   [`writes_under_way_at_the_seal_are_in_the_promoted_history`]; with real nodes
//!   `nothing_fails_while_the_right_to_write_moves_back_and_forth` (`jadevectordb/tests/rest_interface/handover.rs`).
//! - **The position to catch up to is read before the last write is in** (#16563):
//!   [`a_seal_whose_answer_was_lost_is_not_replaced_by_an_older_position`];
//!   `no_commit_before_the_last_record_and_the_same_digest_at_the_seal` (`rollout/src/decide/tests/rules.rs`).
//! - **Reverse replication starts at the wrong place** (#7169): here no position is handed over, a follower begins where its
//!   own history ends. `the_right_to_write_moves_and_comes_back` and `a_history_that_diverged_is_set_aside_and_seeded_anew`
//!   (`jadevectordb/src/engine/tests.rs`); `nobody_follows_a_node_that_does_not_reign_in_that_epoch`
//!   (`rollout/src/role_call.rs`).
//! - **The way back turns out to be broken only after the switch** (#16794): `no_handover_without_a_way_back`
//!   (`rollouts.rs`); when it breaks later, [`a_way_back_that_breaks_after_the_switch_stops_nobody_and_is_used_once_mended`].
//! - **A partial failure leaves nobody writing** (#17616):
//!   [`nobody_is_left_sealed_when_coordinator_and_candidate_die_together`],
//!   [`a_promotion_that_is_refused_for_good_goes_back_to_the_old_primary`]; `crashes.rs`;
//!   `a_new_primary_that_hangs_at_its_promotion_is_promoted_when_it_returns` (`troubles.rs`); real processes: `cargo xtask
//!   crash`.
//! - **Switching reads switches the writes too, unfenced** (#14360): [`writes_stay_with_the_old_primary_while_reads_move`].
//! - **A comparison takes a stream that broke for one that ended, and finds no difference** (#19008):
//!   [`a_comparison_over_a_broken_feed_is_no_comparison`], [`a_list_that_broke_off_names_nothing_and_makes_nothing_equal`], [`a_candidate_whose_feed_broke_is_not_passed_by_the_checks`].

use super::fake_platform::Fate;
use super::stage::{Stage, document, until};
use crate::Conductor;
use rollout::{Command, Outcome, Phase};
use std::time::Duration;
use wire::Colour;
use wire::admin::Role;

/// #9481: they have to be in what the new primary reigns over.
#[tokio::test]
async fn writes_under_way_at_the_seal_are_in_the_promoted_history() {
    let stage = Stage::stable(document()).await;
    stage.nodes.change(Colour::Blue, |manners| manners.finishes_at_seal = 500);
    stage.deploy("1.1.0").await;
    let info = stage.finished(1).await;
    stage.assert_sound();
    assert_eq!(info.history[0].outcome, Outcome::Promoted, "{}", info.history[0].reason);
    let sealed_at = stage.nodes.seals.lock()[0];
    assert!(sealed_at >= 500);
    assert_eq!(stage.platform.state.lock().as_ref().and_then(|state| state.promoted_at), Some(sealed_at));
}

/// #16563: what was seen before the seal is not where the history ends. Here the answer with the position is lost, and a
/// position from before is all that the coordinator has.
#[tokio::test]
async fn a_seal_whose_answer_was_lost_is_not_replaced_by_an_older_position() {
    let stage = Stage::stable(document()).await;
    stage.nodes.change(Colour::Blue, |manners| {
        manners.finishes_at_seal = 500;
        manners.loses_answer_once = vec!["seal"];
    });
    stage.deploy("1.1.0").await;
    let info = stage.finished(1).await;
    stage.assert_sound();
    assert_eq!(info.history[0].outcome, Outcome::Promoted, "{}", info.history[0].reason);
    let seals = stage.nodes.seals.lock().clone();
    assert_eq!(seals.len(), 1, "sealed once, although asked twice");
    assert_eq!(stage.platform.state.lock().as_ref().and_then(|state| state.promoted_at), Some(seals[0]));
}

/// #16794: proven before the switch, broken after it. Whoever may write goes on; the way back is not taken while it would
/// lose something, says why, and is taken as soon as it is mended.
#[tokio::test]
async fn a_way_back_that_breaks_after_the_switch_stops_nobody_and_is_used_once_mended() {
    let mut document = document();
    document.spec.rollout.watch_ms = 100_000;
    document.spec.handover.hold_ms_max = 300;
    let stage = Stage::stable(document).await;
    // Its disk is full, say: it is sealed and cannot note whom it follows.
    stage.nodes.change(Colour::Blue, |manners| manners.refuses = vec!["follow"]);
    stage.deploy("1.1.0").await;
    let info = stage.until(|info| matches!(info.phase, Phase::Watching { .. })).await;
    assert_eq!((info.primary, info.primary_epoch), (Colour::Green, 2));
    assert!(matches!(stage.nodes.role(Colour::Blue), Role::Sealed { .. }));
    let told = stage.platform.worlds.lock().last().cloned().unwrap();
    assert_eq!(told.writes, Colour::Green, "nobody waits at a node that may never admit a write again");

    stage.conductor.command(Command::Rollback { reason: "worse".into(), accept_loss: false }).await.unwrap();
    let info = stage.until(|info| info.why.contains("goes back to blue as soon as it can")).await;
    assert!(info.why.contains("blue does not follow green yet"), "{}", info.why);
    assert_eq!(stage.nodes.role(Colour::Green), Role::Primary { epoch: 2 }, "somebody writes meanwhile");
    let written = stage.nodes.lsn(Colour::Green);

    stage.nodes.change(Colour::Blue, |manners| manners.refuses = Vec::new());
    let info = stage.finished(1).await;
    stage.assert_sound();
    assert_eq!((info.history[0].outcome, info.primary), (Outcome::RolledBack, Colour::Blue));
    assert!(stage.nodes.lsn(Colour::Blue) >= written, "what was written meanwhile came along");
}

/// #17616: the coordinator ends right after the seal, and the candidate is gone when the next one looks. Nobody may be left
/// sealed.
#[tokio::test]
async fn nobody_is_left_sealed_when_coordinator_and_candidate_die_together() {
    let mut document = document();
    document.spec.handover.hold_ms_max = 500;
    let stage = Stage::stable(document).await;
    // The digest is refused, so that the state between the seal and the commit is stored: that store is the last deed.
    stage.nodes.change(Colour::Green, |manners| manners.refuses_once = vec!["digest"]);
    *stage.platform.fate.lock() = Some((11, Fate::HangsAfter));
    stage.deploy("1.1.0").await;
    stage.platform.hanging.notified().await;
    assert!(matches!(stage.nodes.role(Colour::Blue), Role::Sealed { epoch: 2, .. }));
    assert_eq!(stage.platform.state.lock().as_ref().map(|state| state.primary), Some(Colour::Blue), "not committed");
    stage.nodes.change(Colour::Green, |manners| manners.hangs = true);
    stage.conductor.crash().await;
    *stage.platform.fate.lock() = None;

    let conductor = Conductor::start(stage.platform.clone(), stage.document.clone()).await.unwrap();
    until(&conductor, |info| info.primary_epoch == 3).await;
    let reigns = async {
        while stage.nodes.role(Colour::Blue) != (Role::Primary { epoch: 3 }) {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(30), reigns).await.expect("nobody writes any more");
    stage.assert_sound();
}

/// #17616: the commit is stored, and the new primary refuses its promotion for good (its disk may be full). The old one is
/// sealed, so nobody could write any more; it takes over again, once the new one is known to be fenced off.
#[tokio::test]
async fn a_promotion_that_is_refused_for_good_goes_back_to_the_old_primary() {
    let mut document = document();
    document.spec.handover.hold_ms_max = 200;
    let stage = Stage::stable(document).await;
    stage.nodes.change(Colour::Green, |manners| manners.refuses = vec!["promote"]);
    stage.deploy("1.1.0").await;
    let info = stage.finished(1).await;
    stage.assert_sound();
    assert_eq!(info.history[0].outcome, Outcome::RolledBack);
    assert!(info.history[0].reason.contains("green could not be promoted"), "{}", info.history[0].reason);
    assert_eq!((info.primary, info.primary_epoch), (Colour::Blue, 3));
    assert_eq!(stage.nodes.role(Colour::Blue), Role::Primary { epoch: 3 });
    let stopped = |world: &rollout::World| world.environments.green.version.is_none();
    assert!(stage.platform.worlds.lock().iter().any(stopped), "green was ended before blue took over");
}

/// #14360: all reads may be with the candidate while every write goes to the old primary; they move with the promotion only.
#[tokio::test]
async fn writes_stay_with_the_old_primary_while_reads_move() {
    let mut document = document();
    document.spec.rollout.steps[1].pause = true;
    let stage = Stage::stable(document).await;
    stage.deploy("1.1.0").await;
    let info = stage.until(|info| info.share_in_effect.is_some_and(|shares| shares.green == 100)).await;
    assert_eq!((info.primary, info.epoch), (Colour::Blue, 1));
    let worlds = stage.platform.worlds.lock().clone();
    assert!(worlds.iter().any(|world| world.reads.green == 100));
    assert!(worlds.iter().all(|world| world.writes == Colour::Blue));
    assert_eq!(stage.nodes.role(Colour::Blue), Role::Primary { epoch: 1 });
    stage.conductor.command(Command::Promote { full: false }).await.unwrap();
    stage.finished(1).await;
    stage.assert_sound();
}

/// #19008: the follower's records end where its feed broke, and are all equal up to there. That is no equality.
#[tokio::test]
async fn a_comparison_over_a_broken_feed_is_no_comparison() {
    let stage = Stage::stable(document()).await;
    stage.deploy("1.1.0").await;
    stage.finished(1).await;
    assert!(stage.conductor.verify(false).await.unwrap().equal);
    let here = stage.nodes.lsn(Colour::Blue);
    stage.nodes.change(Colour::Blue, |manners| manners.frozen_at = Some(here));
    for deep in [false, true] {
        let refused = stage.conductor.verify(deep).await.unwrap_err();
        assert!(refused.to_string().contains("blue did not say its digest"), "{refused}");
    }
}

/// #19008 where it is looked for the differing records: a list that broke off says nothing of what is not in it.
#[tokio::test]
async fn a_list_that_broke_off_names_nothing_and_makes_nothing_equal() {
    let stage = Stage::stable(document()).await;
    stage.deploy("1.1.0").await;
    stage.finished(1).await;
    stage.nodes.change(Colour::Blue, |manners| manners.wrong_digest = true);
    for (colour, sums) in [(Colour::Blue, true), (Colour::Green, true), (Colour::Blue, false), (Colour::Green, false)] {
        stage.nodes.change(colour, |manners| (manners.breaks_sums, manners.breaks_records) = (sums, !sums));
        let verified = stage.conductor.verify(false).await.unwrap();
        let found = verified.differences.unwrap();
        let error = found.error.unwrap();
        let what = if sums { "did not give the sums of its buckets" } else { "did not list its records" };
        assert!(error.starts_with(&format!("{colour} {what}: ")) && error.contains("broke off"), "{error}");
        assert!(!verified.equal && found.records.is_empty() && verified.why.contains(&error), "{}", verified.why);
        stage.nodes.change(colour, |manners| (manners.breaks_sums, manners.breaks_records) = (false, false));
    }
    assert_eq!(stage.conductor.verify(false).await.unwrap().differences.unwrap().count, 3);
}

/// #19008 once more, where the machine decides: the checks before the first reader wait, and pass nothing.
#[tokio::test]
async fn a_candidate_whose_feed_broke_is_not_passed_by_the_checks() {
    let stage = Stage::stable(document()).await;
    stage.nodes.change(Colour::Green, |manners| manners.frozen_at = Some(1));
    stage.deploy("1.1.0").await;
    let info = stage.until(|info| info.why.contains("could not be compared")).await;
    assert!(matches!(info.phase, Phase::Checking { .. }), "{:?}", info.phase);
    assert!(stage.platform.worlds.lock().iter().all(|world| world.reads.green == 0));
    stage.nodes.change(Colour::Green, |manners| manners.frozen_at = None);
    assert_eq!(stage.finished(1).await.history[0].outcome, Outcome::Promoted);
}
