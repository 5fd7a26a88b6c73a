//! `analyze`: what would a rollout have decided about what was recorded?

mod recording;

use crate::cli::Analyze;
use crate::exit::ExitCode;
use crate::failure::Failure;
use crate::output::Printer;
use conductor::policy;
use evidence::{Conclusion, DryRun, Outcome, StepRule, Threshold};
use recording::{Recording, RecordingError, Row};
use serde::Serialize;
use std::cmp::Ordering;
use std::fs::File;
use std::io::BufReader;
use wire::document::{BlueGreen, Step};

/// How far the counted share may be from the one that was named before it is worth a word.
const SHARE_TOLERANCE: f64 = 0.05;

/// The result, as it is printed.
#[derive(Debug, Serialize)]
struct Analysis {
    verdict: Outcome,
    /// When it failed, or from when on it passed.
    at_second: Option<u64>,
    /// Which signal decided, or is not decided.
    signal: String,
    /// Against the candidate when it failed, for it otherwise.
    e_value: Option<f64>,
    reason: String,
    /// Seconds that both files have.
    seconds_compared: u64,
    /// Seconds that only one file has.
    seconds_missing: u64,
    /// The candidate's part of the requests that were compared.
    share: Option<f64>,
    warnings: Vec<String>,
}

pub fn run(printer: &Printer, arguments: &Analyze) -> Result<ExitCode, Failure> {
    let spec = match &arguments.policy {
        Some(file) => crate::document::read(file)?.document.spec,
        None => BlueGreen::named("recorded").spec,
    };
    let (blue, green) = (open(&arguments.blue)?, open(&arguments.green)?);
    let mut warnings = Vec::new();
    let mut slow = blue.slow();
    for threshold in Threshold::ALL {
        let (name, both) = (threshold.name(), (blue.slow()[threshold as usize], green.slow()[threshold as usize]));
        slow[threshold as usize] = both == (true, true);
        if both.0 != both.1 {
            warnings.push(format!("only one file has the column {name}: it is not compared"));
        }
    }
    let rule = step_rule(&spec.rollout.steps, spec.evidence.evidence_min, arguments.share);
    let mut run = DryRun::new(&policy(&spec.evidence), rule, slow);
    let seconds_missing = compare(&mut run, blue, green)?;
    let Conclusion { verdict, at_second } = run.conclude();
    let share = run.share();
    if let (Some(named), Some(counted)) = (arguments.share, share)
        && (named - counted).abs() > SHARE_TOLERANCE
    {
        warnings.push(format!("the candidate had {counted:.3} of the requests, not {named}: what was counted is used"));
    }
    if seconds_missing > 0 {
        warnings.push(format!("{seconds_missing} seconds are in one file only: they are missing data"));
    }
    let analysis = Analysis {
        verdict: verdict.outcome,
        at_second,
        signal: verdict.signal,
        e_value: verdict.e_value,
        reason: verdict.why,
        seconds_compared: run.seconds(),
        seconds_missing,
        share,
        warnings,
    };
    if !printer.json {
        analysis.warnings.iter().for_each(|warning| printer.progress(&format!("jadeshift: {warning}")));
    }
    printer.result(|| text(&analysis), &analysis);
    Ok(match analysis.verdict {
        Outcome::Pass => ExitCode::Ok,
        Outcome::Fail => ExitCode::Failed,
        // Neither good nor bad.
        Outcome::Inconclusive => ExitCode::Refused,
    })
}

fn open(path: &std::path::Path) -> Result<Recording<BufReader<File>>, Failure> {
    Recording::open(path).map_err(unreadable)
}

fn unreadable(error: RecordingError) -> Failure {
    Failure::usage("could not read a recording", error)
}

/// Feeds the seconds that both have; returns how many only one has. Nothing is read after a failure.
fn compare(
    run: &mut DryRun,
    mut blue: impl Iterator<Item = Result<Row, RecordingError>>,
    mut green: impl Iterator<Item = Result<Row, RecordingError>>,
) -> Result<u64, Failure> {
    let next =
        |side: &mut dyn Iterator<Item = Result<Row, RecordingError>>| side.next().transpose().map_err(unreadable);
    let mut missing = 0;
    let (mut active, mut candidate) = (next(&mut blue)?, next(&mut green)?);
    loop {
        match (active, candidate) {
            (Some(one), Some(other)) => match one.second.cmp(&other.second) {
                Ordering::Less => (missing, active) = (missing + 1, next(&mut blue)?),
                Ordering::Greater => (missing, candidate) = (missing + 1, next(&mut green)?),
                Ordering::Equal => {
                    run.observe(one.second, other.side, one.side);
                    if run.has_failed() {
                        return Ok(missing);
                    }
                    (active, candidate) = (next(&mut blue)?, next(&mut green)?);
                }
            },
            (Some(_), None) => (missing, active) = (missing + 1, next(&mut blue)?),
            (None, Some(_)) => (missing, candidate) = (missing + 1, next(&mut green)?),
            (None, None) => return Ok(missing),
        }
    }
}

/// The step with the named share, or else the first.
fn step_rule(steps: &[Step], evidence_min: f64, share: Option<f64>) -> StepRule {
    let named = share.map(|share| (share * 100.0).round());
    let found = steps.iter().find(|step| named == Some(f64::from(step.share_percent))).or(steps.first());
    let default = Step::of_share(100);
    let step = found.unwrap_or(&default);
    StepRule {
        duration_min_s: step.duration_min_ms as f64 / 1_000.0,
        requests_min: step.requests_min,
        evidence_min: step.evidence_min.unwrap_or(evidence_min),
    }
}

fn text(analysis: &Analysis) -> String {
    let verdict = match (analysis.verdict, analysis.at_second) {
        (Outcome::Fail, Some(second)) => format!("fail: it would have been rolled back at second {second}"),
        (Outcome::Fail, None) => "fail".to_string(),
        (Outcome::Pass, Some(second)) => format!("pass: the step would have been done at second {second}"),
        (Outcome::Pass, None) => "pass".to_string(),
        (Outcome::Inconclusive, _) => "inconclusive: no decision by the end of the recording".to_string(),
    };
    let share =
        analysis.share.map_or(String::new(), |share| format!(", {:.1} % of the requests at green", share * 100.0));
    format!("{verdict}\n{}\n{} seconds compared{share}", analysis.reason, analysis.seconds_compared)
}
