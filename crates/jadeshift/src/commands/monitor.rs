//! `monitor`: events and verdicts as they come, until the rollout has ended.

use super::deploy::sentence;
use super::info::now_ms;
use crate::cli::Globals;
use crate::exit::ExitCode;
use crate::failure::Failure;
use crate::follow::{Events, Looks, ended, line, timed_out};
use crate::output::Printer;
use crate::text::time_of_day;
use conductor::Info;
use rollout::{Outcome, Phase};
use serde_json::json;
use std::collections::BTreeMap;
use std::time::{Duration, Instant};

pub async fn run(globals: &Globals, printer: &Printer, timeout_ms: u64, interval_ms: u64) -> Result<ExitCode, Failure> {
    let deadline = Instant::now() + Duration::from_millis(timeout_ms);
    let mut looks = Looks::at(globals);
    let mut seen = Seen::default();
    let mut run = None;
    let mut last = None;
    while Instant::now() < deadline {
        if let Some(info) = looks.next().await? {
            for (text, value) in seen.news(&info) {
                printer.line(&text, &value);
            }
            run = run.or(info.run.as_ref().map(|run| run.id));
            if let Some(code) = verdict(printer, &info, run) {
                return Ok(code);
            }
            last = Some(line(&info));
        }
        let left = deadline.saturating_duration_since(Instant::now());
        tokio::time::sleep(left.min(Duration::from_millis(interval_ms))).await;
    }
    Err(timed_out("the rollout has not ended", timeout_ms, last.as_deref()))
}

/// The end, if it is reached.
fn verdict(printer: &Printer, info: &Info, run: Option<u64>) -> Option<ExitCode> {
    match run {
        Some(run) => {
            let record = ended(info, run)?;
            printer.line(&format!("{} {}", time_of_day(record.ended_ms), sentence(record)), record);
            Some(match record.outcome {
                Outcome::Promoted => ExitCode::Ok,
                Outcome::RolledBack => ExitCode::Failed,
            })
        }
        None if info.phase == Phase::Stable => {
            let why = format!("no rollout is under way: {}", info.why);
            printer.line(&why, &json!({"at_ms": now_ms(), "phase": info.phase, "text": why}));
            Some(ExitCode::Ok)
        }
        None => None,
    }
}

/// What was shown.
#[derive(Default)]
struct Seen {
    events: Events,
    verdicts: BTreeMap<String, String>,
}

impl Seen {
    /// Events after the last shown one, and verdicts with another outcome, each as text and as JSON.
    fn news(&mut self, info: &Info) -> Vec<(String, serde_json::Value)> {
        let mut news = Vec::new();
        for event in self.events.take(info) {
            let text = format!("{} {}", time_of_day(event.at_ms), event.text);
            news.push((text, json!({"at_ms": event.at_ms, "event": event.text})));
        }
        for verdict in &info.verdicts {
            let outcome = format!("{:?}", verdict.outcome).to_lowercase();
            if self.verdicts.get(&verdict.signal) != Some(&outcome) {
                let at_ms = now_ms();
                let text = format!("{} {}: {outcome}: {}", time_of_day(at_ms), verdict.signal, verdict.why);
                news.push((text, json!({"at_ms": at_ms, "verdict": verdict})));
                self.verdicts.insert(verdict.signal.clone(), outcome);
            }
        }
        news
    }
}
