//! `jadeshift report`, for a terminal.

use super::table::{Table, grouped};
use super::{short_digests, span, time_of_day};
use conductor::{Moment, Report, SignalInfo};
use evidence::{Likeness, e_value, percent};
use rollout::Outcome;
use wire::Latency;

/// Quantiles that are shown.
pub const QUANTILES: [(&str, f64); 4] = [("p50", 0.5), ("p90", 0.9), ("p99", 0.99), ("p99.9", 0.999)];

/// What happened in a rollout.
pub fn report(report: &Report) -> String {
    let mut parts = vec![head(report), phases(report)];
    parts.extend(signals(report));
    parts.extend(latencies(report));
    parts.push(events(report));
    parts.join("\n")
}

/// How it ended, in a line.
pub fn outcome(report: &Report) -> String {
    match &report.record {
        None => "under way".into(),
        Some(record) => {
            let took = span(record.ended_ms.saturating_sub(report.run.started_ms));
            let word = match record.outcome {
                Outcome::Promoted => "promoted",
                Outcome::RolledBack => "rolled back",
            };
            format!("{word} after {took}: {}", record.reason)
        }
    }
}

fn head(report: &Report) -> String {
    let run = &report.run;
    let (id, from, to, candidate) = (run.id, &run.from_version, &run.to_version, run.candidate);
    format!(
        "rollout {id}, {from} to {to} on {candidate}, began at {} UTC\n{}\n",
        time_of_day(run.started_ms),
        outcome(report)
    )
}

/// Each phase with what happened in it.
fn phases(report: &Report) -> String {
    let mut table = Table::with_header(&[
        "phase",
        "took",
        "reads (active)",
        "errors",
        "reads (candidate)",
        "errors",
        "E at its end",
    ])
    .align_right(&[1, 2, 3, 4, 5, 6]);
    for (first, last) in spans(&report.moments) {
        let reads = |of: fn(&Moment) -> u64| grouped(of(last).saturating_sub(of(first)));
        let e = last.e_value.map_or_else(|| "-".to_string(), |e| e_value(e.ln()));
        table.row([
            first.phase.clone(),
            span(last.at_ms.saturating_sub(first.at_ms)),
            reads(|moment| moment.reads.active),
            reads(|moment| moment.read_errors.active),
            reads(|moment| moment.reads.candidate),
            reads(|moment| moment.read_errors.candidate),
            e,
        ]);
    }
    table.render()
}

/// The first moment of each phase, and the first one after it.
pub fn spans(moments: &[Moment]) -> Vec<(&Moment, &Moment)> {
    let mut spans: Vec<(&Moment, &Moment)> = Vec::new();
    for moment in moments {
        if let Some((first, last)) = spans.last_mut() {
            *last = moment;
            if first.phase == moment.phase {
                continue;
            }
        }
        spans.push((moment, moment));
    }
    spans
}

fn signals(report: &Report) -> Option<String> {
    let evidence = report.evidence.as_ref()?;
    let mut table =
        Table::with_header(&["signal", "candidate", "active", "E against", "E for"]).align_right(&[1, 2, 3, 4]);
    for signal in &evidence.signals {
        table.row(signal_cells(signal));
    }
    let (e, needed) = (e_value(evidence.e_value.ln()), e_value(evidence.e_needed.ln()));
    let results = likeness(&evidence.results).map_or_else(String::new, |text| format!("results: {text}\n"));
    Some(format!("E against the candidate: {e}; at {needed} it goes back\n{}{results}", table.render()))
}

/// How alike the results of replayed searches are; `None` when none were compared.
pub fn likeness(results: &Likeness) -> Option<String> {
    let overlap = percent(results.overlap.mean()?);
    let mut parts = vec![format!("{overlap} the same in {} searches", grouped(results.overlap.count))];
    parts.extend(results.rank_correlation.mean().map(|tau| format!("rank correlation {tau:.3}")));
    parts.extend(results.score_drift.mean().map(|drift| format!("score drift {}", percent(drift))));
    let recall = |lost| format!("recall lost {} in {}", percent(lost), grouped(results.recall_lost.count));
    parts.extend(results.recall_lost.mean().map(recall));
    Some(parts.join(", "))
}

/// Name, events of each side, and E.
pub fn signal_cells(signal: &SignalInfo) -> [String; 5] {
    let counts = |counts: evidence::Counts| match counts.requests {
        0 => "-".to_string(),
        _ => format!("{} of {} ({})", grouped(counts.events), grouped(counts.requests), percent(counts.rate())),
    };
    let SignalInfo { name, candidate, active, e_against, e_for, .. } = signal;
    [name.clone(), counts(*candidate), counts(*active), e_value(e_against.ln()), e_value(e_for.ln())]
}

fn latencies(report: &Report) -> Option<String> {
    let sides = report.latency.as_ref().filter(|sides| sides.candidate.count() > 0)?;
    let mut table =
        Table::with_header(&["latency of reads", "count", "p50", "p90", "p99", "p99.9"]).align_right(&[1, 2, 3, 4, 5]);
    for (name, latency) in [("candidate", &sides.candidate), ("active", &sides.active)] {
        let count = grouped(latency.count());
        table.row(
            [name.to_string(), count].into_iter().chain(QUANTILES.map(|(_, quantile)| quantile_ms(latency, quantile))),
        );
    }
    Some(table.render())
}

pub fn quantile_ms(latency: &Latency, quantile: f64) -> String {
    latency.quantile_us(quantile).map_or_else(|| "-".into(), |us| format!("{:.2} ms", us as f64 / 1e3))
}

fn events(report: &Report) -> String {
    let mut text = String::new();
    for event in &report.events {
        text.push_str(&format!("{}  {}\n", time_of_day(event.at_ms), short_digests(&event.text)));
    }
    text
}
