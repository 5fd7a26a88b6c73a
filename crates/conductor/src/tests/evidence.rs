//! Where evidence comes from, and what happens when there is none.

use super::stage::{Stage, document, until};
use super::{fake_nodes::FakeNodes, fake_platform::FakePlatform};
use crate::Conductor;
use client::Http;
use clock::Clock;
use rollout::{Command, Outcome, Phase};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use wire::Colour;
use wire::document::BlueGreen;

/// A first step that asks for evidence and lasts until there is some.
fn evidence_needed() -> BlueGreen {
    let mut document = document();
    document.spec.evidence.evidence_min = 20.0;
    document
}

#[tokio::test]
async fn slow_answers_are_found_by_what_the_nodes_measure_where_the_router_counts_nothing() {
    let stage = Stage::stable(evidence_needed()).await;
    *stage.platform.counts_nothing.lock() = true;
    for (colour, read_us) in [(Colour::Blue, 1_000), (Colour::Green, 50_000)] {
        stage.nodes.change(colour, |manners| manners.read_us = Some(read_us));
    }
    stage.deploy("1.1.0").await;
    let info = stage.finished(1).await;
    let record = &info.history[0];
    assert_eq!(record.outcome, Outcome::RolledBack);
    assert!(record.reason.starts_with("over_p"), "{}", record.reason);
    let report = stage.conductor.report().unwrap();
    let latency = report.latency.as_ref().unwrap();
    assert!(latency.candidate.quantile_us(0.5) > latency.active.quantile_us(0.9), "{latency:?}");
    assert!(report.moments.last().unwrap().reads.candidate > 0);
}

#[tokio::test]
async fn a_candidate_without_requests_is_not_decided_and_the_rollout_pauses_with_the_reason() {
    let mut document = evidence_needed();
    document.spec.rollout.timeout_ms = 1_000;
    let stage = Stage::stable(document).await;
    *stage.platform.starves_green.lock() = true;
    stage.deploy("1.1.0").await;
    let info = stage.until(|info| matches!(info.phase, Phase::Paused { .. })).await;
    let Phase::Paused { why, .. } = &info.phase else { unreachable!() };
    assert!(why.contains("green answered 0 of the 20 reads that step 1 (50 %) needs"), "{why}");
    assert!(info.history.is_empty());
}

#[tokio::test]
async fn results_in_the_wrong_order_are_found_before_the_first_reader() {
    let stage = Stage::stable(document()).await;
    stage.nodes.change(Colour::Green, |manners| manners.reversed_results = true);
    stage.deploy("1.1.0").await;
    let info = stage.finished(1).await;
    assert_eq!(info.history[0].outcome, Outcome::RolledBack);
    assert!(info.history[0].reason.starts_with("results: "), "{}", info.history[0].reason);
    let report = stage.conductor.report().unwrap();
    let results = report.evidence.as_ref().unwrap().results;
    let means = [results.overlap, results.rank_correlation, results.recall_lost].map(|mean| mean.mean());
    assert_eq!(means, [Some(1.0), Some(-1.0), Some(0.0)], "everything was found");
    assert!(stage.platform.worlds.lock().iter().all(|world| world.reads.green == 0));
}

#[tokio::test]
async fn a_clock_that_jumps_ends_no_step_and_is_told() {
    let mut document = document();
    document.spec.rollout.steps[0].duration_min_ms = 600_000;
    document.spec.rollout.timeout_ms = 1_200_000;
    let (nodes, ahead_s) = (FakeNodes::start().await, Arc::new(AtomicU64::new(0)));
    let platform = Arc::new(FakePlatform::new(nodes.clone()));
    let (ahead, system) = (ahead_s.clone(), Clock::system());
    let clock = Clock::told(move || system.since_1970() + Duration::from_secs(ahead.load(Ordering::Relaxed)));
    let conductor = Conductor::start_with(platform.clone(), document, Http::new(), clock).await.unwrap();
    until(&conductor, |info| info.phase == Phase::Stable).await;
    conductor.command(Command::Deploy { version: "1.1.0".into() }).await.unwrap();
    until(&conductor, |info| matches!(info.phase, Phase::Shifting { .. })).await;
    ahead_s.store(3_600, Ordering::Relaxed);
    let told = |info: &crate::Info| info.events.iter().any(|event| event.text.contains("went ahead by 3600 s"));
    until(&conductor, told).await;
    let looks = platform.looks.load(Ordering::Relaxed);
    let info = until(&conductor, |_| platform.looks.load(Ordering::Relaxed) > looks + 5).await;
    assert!(matches!(info.phase, Phase::Shifting { step: 0, .. }), "{:?}", info.phase);
}

#[tokio::test]
async fn environments_are_looked_at_as_often_as_the_document_says() {
    let mut document = document();
    document.spec.rollout.steps[0].duration_min_ms = 600_000;
    document.spec.rollout.interval_ms = 700;
    let stage = Stage::stable(document).await;
    stage.deploy("1.1.0").await;
    stage.until(|info| matches!(info.phase, Phase::Shifting { .. })).await;
    let before = stage.platform.looks.load(Ordering::Relaxed);
    tokio::time::sleep(Duration::from_millis(2_100)).await;
    let looks = stage.platform.looks.load(Ordering::Relaxed) - before;
    // A slow machine looks less often, and never more.
    assert!((1..=4).contains(&looks), "{looks}");
}
