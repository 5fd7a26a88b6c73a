//! Whole rollouts that are judged by a source.

use super::counters::Prometheus;
use super::source;
use crate::tests::stage::{Stage, document};
use rollout::{Outcome, Phase};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use wire::document::{BlueGreen, Source};

fn judged_by(source: Source) -> BlueGreen {
    let mut document = document();
    document.spec.rollout.timeout_ms = 2_000;
    document.spec.evidence.sources = vec![Source { interval_ms: 100, ..source }];
    document
}

/// Requests and errors of both colours grow with each scrape: so many errors of 100 requests.
async fn shop(errors_of_green: u64) -> (Prometheus, Source) {
    let scrapes = AtomicU64::new(0);
    let server = Prometheus::scraping(Arc::new(move || {
        let scrapes = scrapes.fetch_add(1, Ordering::Relaxed);
        let line = |name, colour, each| format!("{name}_total{{colour=\"{colour}\"}} {}\n", each * scrapes);
        let errors = line("errors", "blue", 1) + &line("errors", "green", errors_of_green);
        line("requests", "blue", 100) + &line("requests", "green", 100) + &errors
    }));
    let server = server.await;
    let url = &server.url;
    let query = |name: &str| format!("sum({name}_total{{colour=\"$colour\"}})");
    let (requests, events) = (query("requests"), query("errors"));
    let source = source(&format!("prometheus: {{url: '{url}', requests: '{requests}', events: '{events}'}}"));
    (server, source)
}

#[tokio::test]
async fn what_prometheus_counts_takes_a_bad_candidate_back() {
    let (_server, source) = shop(20).await;
    let mut document = judged_by(source);
    document.spec.rollout.steps[0].duration_min_ms = 60_000;
    let stage = Stage::stable(document).await;
    stage.deploy("1.1.0").await;
    let info = stage.finished(1).await;
    let record = &info.history[0];
    assert_eq!(record.outcome, Outcome::RolledBack);
    assert!(record.reason.contains("mine: ") && record.reason.contains("of the candidate"), "{}", record.reason);
    stage.assert_sound();
}

#[tokio::test]
async fn and_lets_a_good_one_pass() {
    let (_server, source) = shop(1).await;
    let mut document = judged_by(source);
    document.spec.evidence.sources[0].evidence_min = Some(5.0);
    document.spec.rollout.timeout_ms = 60_000;
    let stage = Stage::stable(document).await;
    stage.deploy("1.1.0").await;
    let info = stage.finished(1).await;
    assert_eq!(info.history[0].outcome, Outcome::Promoted, "{}", info.history[0].reason);
    let passed = info.events.iter().any(|event| event.text.contains("gets 100 % of the reads"));
    assert!(passed, "{:#?}", info.events);
    let evidence = stage.conductor.report().unwrap().evidence.clone().unwrap();
    let signal = evidence.signals.iter().find(|signal| signal.name == "mine").unwrap();
    assert!(signal.candidate.requests > 0 && signal.active.requests > 0, "its counts were taken in: {signal:?}");
}

#[tokio::test]
async fn a_program_is_asked_before_the_first_reader_comes() {
    let mut source = source("failuresInARow: 1, command: {program: sh, args: ['-c', 'echo $JADESHIFT_PHASE; exit 1']}");
    let stage = Stage::stable(judged_by(source.clone())).await;
    stage.deploy("1.1.0").await;
    let info = stage.finished(1).await;
    assert_eq!(info.history[0].outcome, Outcome::RolledBack);
    assert!(info.history[0].reason.contains("mine: checking; bad "), "{}", info.history[0].reason);
    let read = stage.platform.worlds.lock().iter().any(|world| world.reads.green > 0);
    assert!(!read, "nobody read from it");

    // It passes until half of the reads move.
    let late = r#"test "$JADESHIFT_PHASE" = checking || { echo too many baskets lost; exit 1; }"#;
    source.command.as_mut().unwrap().args[1] = late.into();
    let stage = Stage::stable(judged_by(source)).await;
    stage.deploy("1.1.0").await;
    let info = stage.finished(1).await;
    assert_eq!(info.history[0].outcome, Outcome::RolledBack);
    assert!(info.history[0].reason.contains("mine: too many baskets lost"), "{}", info.history[0].reason);
    let read = stage.platform.worlds.lock().iter().any(|world| world.reads.green == 50);
    assert!(read, "half of the reads moved before");
}

#[tokio::test]
async fn a_source_that_is_gone_holds_the_rollout_and_takes_nobody_back() {
    let stage = Stage::stable(judged_by(source("max: 1, prometheus: {url: 'http://127.0.0.1:1', value: x}"))).await;
    stage.deploy("1.1.0").await;
    let info = stage.until(|info| matches!(info.phase, Phase::Paused { .. })).await;
    assert!(info.why.contains("mine: could not connect to 127.0.0.1:1"), "{}", info.why);
    assert!(info.verdicts.iter().any(|verdict| verdict.signal == "mine"), "{:?}", info.verdicts);
}
