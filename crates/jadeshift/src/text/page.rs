//! A report as a page that needs no other file, no script and no network.

use super::plot::{Axis, Line, Scale, escaped, svg};
use super::report::{QUANTILES, likeness, outcome, quantile_ms, signal_cells, spans};
use super::{short_digests, span, time_of_day};
use conductor::{Moment, Report};
use evidence::band_half_width;
use wire::Latency;

const CANDIDATE: &str = "#0a7d4f";
const ACTIVE: &str = "#2457c5";
/// Bands cover the true distributions with this probability, at every moment.
const BAND_ALPHA: f64 = 0.05;
const STYLE: &str = "body{font:15px/1.5 system-ui,sans-serif;max-width:60rem;margin:2rem auto;padding:0 1rem;color:#1b1f24}\
h1{font-size:1.4rem}h2{font-size:1.05rem;margin-top:2rem}table{border-collapse:collapse;font-size:.9rem}\
td,th{padding:.15rem .8rem .15rem 0;text-align:right;vertical-align:top}td:first-child,th:first-child{text-align:left}\
td.text{text-align:left}svg{width:100%;height:auto}svg text{font-size:11px;fill:#57606a}\
svg .x{text-anchor:middle}svg .y,svg .markname{text-anchor:end}svg .grid{stroke:#e4e7eb}\
svg .mark{stroke:#c62828;stroke-dasharray:5 4}svg .markname{fill:#c62828}.bad{color:#c62828}";

/// The whole page.
pub fn page(report: &Report) -> String {
    let run = &report.run;
    let title = format!("Rollout {}: {} to {} on {}", run.id, run.from_version, run.to_version, run.candidate);
    let mut body = format!("<h1>{}</h1>\n<p>{}</p>\n", escaped(&title), escaped(&outcome(report)));
    body.push_str(&shares(report));
    body.push_str(&evidence(report));
    body.push_str(&errors(report));
    body.push_str(&latencies(report));
    body.push_str(&events(report));
    format!(
        "<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\"><title>{}</title>\n<style>{STYLE}</style></head>\n\
         <body>\n{body}</body></html>\n",
        escaped(&title)
    )
}

/// Seconds since the rollout began.
fn seconds(report: &Report, moment: &Moment) -> f64 {
    moment.at_ms.saturating_sub(report.run.started_ms) as f64 / 1e3
}

fn time_axis(report: &Report) -> Axis {
    let seconds: Vec<f64> = report.moments.iter().map(|moment| seconds(report, moment)).collect();
    Axis::around("seconds since the rollout began", Scale::Linear, seconds.into_iter())
}

fn shares(report: &Report) -> String {
    let points = |of: fn(&Moment) -> u8| -> Vec<(f64, f64)> {
        report.moments.iter().map(|moment| (seconds(report, moment), f64::from(of(moment)))).collect()
    };
    let line = Line { steps: true, ..Line::new("", CANDIDATE, points(|moment| moment.share_percent)) };
    let y = Axis { label: "reads of the candidate, %".into(), from: 0.0, until: 100.0, scale: Scale::Linear };
    let mut rows = String::new();
    for (first, last) in spans(&report.moments) {
        let took = span(last.at_ms.saturating_sub(first.at_ms));
        rows.push_str(&format!("<tr><td>{}</td><td>{took}</td></tr>\n", escaped(&first.phase)));
    }
    format!("<h2>Shares and phases</h2>\n{}<table>\n{rows}</table>\n", svg(&time_axis(report), &y, &[line], &[]))
}

fn evidence(report: &Report) -> String {
    let Some(evidence) = &report.evidence else { return String::new() };
    let points: Vec<(f64, f64)> =
        report.moments.iter().filter_map(|moment| Some((seconds(report, moment), moment.e_value?))).collect();
    let values = points.iter().map(|(_, e)| e.clamp(1e-6, 1e12)).chain([evidence.e_needed * 2.0, 0.5]);
    let y = Axis::around("E against the candidate", Scale::Log, values.collect::<Vec<_>>().into_iter());
    let plot = svg(&time_axis(report), &y, &[Line::new("", CANDIDATE, points)], &[("it goes back", evidence.e_needed)]);
    let mut rows =
        String::from("<tr><th>signal</th><th>candidate</th><th>active</th><th>E against</th><th>E for</th></tr>\n");
    for signal in &evidence.signals {
        let cells: String = signal_cells(signal).iter().map(|cell| format!("<td>{}</td>", escaped(cell))).collect();
        rows.push_str(&format!("<tr>{cells}</tr>\n"));
    }
    let results = likeness(&evidence.results)
        .map_or_else(String::new, |text| format!("<p>Results of replayed searches: {text}.</p>\n"));
    format!(
        "<h2>Evidence</h2>\n<p>E says how many times as likely what was seen is if the candidate is worse. A version that is not \
         worse reaches the red line with a probability of {} at most, however often one looks.</p>\n{plot}<table>\n{rows}</table>\n{results}",
        1.0 / evidence.e_needed
    )
}

fn errors(report: &Report) -> String {
    type Count = fn(&Moment) -> u64;
    let rate = |errors: Count, reads: Count| -> Vec<(f64, f64)> {
        let pairs = report.moments.iter().zip(report.moments.iter().skip(1));
        let rates = pairs.filter_map(|(before, after)| {
            let reads = reads(after).checked_sub(reads(before)).filter(|reads| *reads > 0)?;
            let errors = errors(after).saturating_sub(errors(before));
            Some((seconds(report, after), errors as f64 / reads as f64 * 100.0))
        });
        rates.collect()
    };
    let candidate = rate(|moment| moment.read_errors.candidate, |moment| moment.reads.candidate);
    let active = rate(|moment| moment.read_errors.active, |moment| moment.reads.active);
    if candidate.is_empty() && active.is_empty() {
        return String::new();
    }
    let values: Vec<f64> = candidate.iter().chain(&active).map(|(_, rate)| *rate).chain([0.1]).collect();
    let y = Axis::around("errors, % of the reads", Scale::Linear, values.into_iter());
    let lines = [Line::new("active", ACTIVE, active), Line::new("candidate", CANDIDATE, candidate)];
    format!("<h2>Errors</h2>\n{}", svg(&time_axis(report), &y, &lines, &[]))
}

fn latencies(report: &Report) -> String {
    let Some(sides) = report.latency.as_ref().filter(|sides| sides.candidate.count() > 0) else { return String::new() };
    let line = |name: &str, colour, latency: &Latency| {
        let total = latency.count().max(1) as f64;
        let mut below = 0;
        let points = latency.bounds_us.iter().zip(&latency.counts).map(|(bound_us, count)| {
            below += count;
            (*bound_us as f64 / 1e3, below as f64 / total)
        });
        let points = points.filter(|(_, part)| (0.0005..0.9999).contains(part)).collect();
        Line { band: Some(band_half_width(latency.count(), BAND_ALPHA)), ..Line::new(name, colour, points) }
    };
    let lines = [line("active", ACTIVE, &sides.active), line("candidate", CANDIDATE, &sides.candidate)];
    let bounds: Vec<f64> = lines.iter().flat_map(|line| line.points.iter().map(|(ms, _)| *ms)).collect();
    let x = Axis::around("milliseconds", Scale::Log, bounds.into_iter());
    let y = Axis { label: "part of the reads answered within".into(), from: 0.0, until: 1.0, scale: Scale::Linear };
    let mut rows = String::from("<tr><th></th><th>reads</th><th>p50</th><th>p90</th><th>p99</th><th>p99.9</th></tr>\n");
    for (name, latency) in [("candidate", &sides.candidate), ("active", &sides.active)] {
        let cells: String =
            QUANTILES.iter().map(|(_, quantile)| format!("<td>{}</td>", quantile_ms(latency, *quantile))).collect();
        rows.push_str(&format!("<tr><td>{name}</td><td>{}</td>{cells}</tr>\n", super::table::grouped(latency.count())));
    }
    format!(
        "<h2>Latencies</h2>\n<p>The bands cover the true distributions with a probability of 95 %, at every moment of the \
         rollout.</p>\n{}<table>\n{rows}</table>\n",
        svg(&x, &y, &lines, &[])
    )
}

fn events(report: &Report) -> String {
    let rows = report.events.iter().map(|event| {
        let text = escaped(&short_digests(&event.text));
        format!("<tr><td>{}</td><td class=\"text\">{text}</td></tr>\n", time_of_day(event.at_ms))
    });
    format!("<h2>Events (UTC)</h2>\n<table>\n{}</table>\n", rows.collect::<String>())
}
