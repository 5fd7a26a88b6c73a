//! What is told of a rollout afterwards.

use super::stage::{Stage, document, run};
use crate::report::{Gathered, Reporter};
use rollout::{Outcome, State};
use wire::ByColour;

#[tokio::test]
async fn a_rollout_is_told_from_its_beginning_to_its_end() {
    let stage = Stage::stable(document()).await;
    assert_eq!(stage.conductor.report(), None);
    stage.deploy("1.1.0").await;
    stage.finished(1).await;
    let report = stage.conductor.report().unwrap();
    let record = report.record.as_ref().unwrap();
    assert_eq!((record.outcome, report.run.to_version.as_str()), (Outcome::Promoted, "1.1.0"));
    let mut phases: Vec<&str> = report.moments.iter().map(|moment| moment.phase.as_str()).collect();
    phases.dedup();
    let wanted = ["checking", "shifting 50 %", "shifting 100 %", "watching"];
    assert!(wanted.iter().all(|phase| phases.contains(phase)), "{phases:?}");
    assert!(report.moments.is_sorted_by_key(|moment| moment.at_ms));
    let shifting = report.moments.iter().find(|moment| moment.phase == "shifting 50 %").unwrap();
    assert_eq!((shifting.share_percent, shifting.e_value.is_some()), (50, true));
    let texts: Vec<&str> = report.events.iter().map(|event| event.text.as_str()).collect();
    assert!(texts[0].contains("deploy 1.1.0") && texts.iter().any(|text| text.contains("held for")), "{texts:#?}");
    assert!(report.evidence.as_ref().is_some_and(|evidence| !evidence.signals.is_empty()));

    // The next one begins a report of its own.
    *stage.platform.error_rates.lock() = ByColour::new(0.9, 0.0);
    stage.deploy("1.2.0").await;
    stage.finished(2).await;
    let next = stage.conductor.report().unwrap();
    assert_eq!((next.run.id, next.record.as_ref().map(|record| record.outcome)), (2, Some(Outcome::RolledBack)));
    let last = next.moments.iter().rfind(|moment| moment.phase == "rolling back").unwrap();
    let needed = next.evidence.as_ref().unwrap().e_needed;
    assert!(last.e_value.is_some_and(|e| e >= needed), "E that made it go back is told: {last:?}");
    assert!(next.events.iter().all(|event| !event.text.contains("1.1.0 held")));
}

#[tokio::test]
async fn a_long_rollout_is_told_in_fewer_moments() {
    let stage = Stage::stable(document()).await;
    let info = stage.conductor.info();
    let mut state = State::first(&stage.document.spec, 0);
    state.run = Some(run(9));
    let mut reporter = Reporter::new();
    let reports = reporter.subscribe();
    for now_ms in (0..3_600_000).step_by(100) {
        reporter.note(&state, &info, Gathered::default, now_ms);
    }
    let report = reports.borrow().clone().unwrap();
    assert!((600..=1_200).contains(&report.moments.len()), "{}", report.moments.len());
    assert!(report.moments.last().unwrap().at_ms > 3_590_000 && report.moments[0].at_ms == 0);
    let before = report.events.len();
    reporter.note(&state, &info, Gathered::default, 3_700_000);
    assert_eq!(reports.borrow().as_ref().unwrap().events.len(), before, "an event is told once");
}
