//! Watching a deployment until something happens, also across a restart of its `up`.

use crate::cli::Globals;
use crate::deployment::Deployment;
use crate::exit::ExitCode;
use crate::failure::Failure;
use crate::text::{phase_name, shape};
use conductor::{Event, Info};
use rollout::Record;
use std::time::{Duration, Instant};

/// How long an `up` may be away, to be started again, before watching it ends.
const AWAY_MAX: Duration = Duration::from_secs(15);

/// Looks at a deployment again and again.
pub struct Looks {
    globals: Globals,
    deployment: Option<Deployment>,
    away_since: Option<Instant>,
}

impl Looks {
    pub fn at(globals: &Globals) -> Self {
        Self { globals: globals.clone(), deployment: None, away_since: None }
    }

    /// The state now; `None`: it does not answer at the moment.
    ///
    /// # Errors
    /// When it has not answered for [`AWAY_MAX`], or never did.
    pub async fn next(&mut self) -> Result<Option<Info>, Failure> {
        let seen_before = self.deployment.is_some() || self.away_since.is_some();
        let failure = match self.ask().await {
            Ok(info) => {
                self.away_since = None;
                return Ok(Some(info));
            }
            Err(failure) => failure,
        };
        // Another `up` of this folder has another address.
        self.deployment = None;
        let away_since = *self.away_since.get_or_insert_with(Instant::now);
        match seen_before && away_since.elapsed() < AWAY_MAX {
            true => Ok(None),
            false => Err(failure),
        }
    }

    async fn ask(&mut self) -> Result<Info, Failure> {
        let deployment = match self.deployment.take() {
            Some(deployment) => deployment,
            None => Deployment::find(&self.globals).await?,
        };
        let info = deployment.info().await?;
        self.deployment = Some(deployment);
        Ok(info)
    }
}

/// Says only what is new.
#[derive(Default)]
pub struct News {
    shown: String,
}

impl News {
    /// Phase and reason in a line, if they are others than before; numbers that moved are no news.
    pub fn line(&mut self, info: &Info) -> Option<String> {
        let line = line(info);
        let shape = shape(&line);
        if shape == self.shown {
            return None;
        }
        self.shown = shape;
        Some(line)
    }
}

/// Tells events once.
#[derive(Default)]
pub struct Events {
    last: Option<Event>,
}

impl Events {
    /// Begins after what happened until `at_ms`.
    pub fn after(info: &Info, at_ms: u64) -> Self {
        Self { last: info.events.iter().rev().find(|event| event.at_ms < at_ms).cloned() }
    }

    /// What happened since the last call, oldest first; the first call tells the last event only, so that it is known
    /// where things stand.
    pub fn take<'a>(&mut self, info: &'a Info) -> &'a [Event] {
        let first = match &self.last {
            None => info.events.len().saturating_sub(1),
            // A shown event that is gone already: so many happened since that all are new.
            Some(last) => info.events.iter().rposition(|event| event == last).map_or(0, |position| position + 1),
        };
        let new = &info.events[first..];
        if let Some(event) = new.last() {
            self.last = Some(event.clone());
        }
        new
    }
}

/// Phase and reason in a line.
pub fn line(info: &Info) -> String {
    let phase = phase_name(&info.phase);
    // Some reasons begin with the phase's name themselves.
    let why = info.why.strip_prefix(&phase).map_or(info.why.as_str(), |rest| rest.trim_start_matches([':', ' ']));
    format!("{phase}: {why}")
}

/// How rollout `run` ended, if it has.
pub fn ended(info: &Info, run: u64) -> Option<&Record> {
    info.history.iter().rev().find(|record| record.run.id == run)
}

/// A wait that is over without a result.
pub fn timed_out(what: &str, timeout_ms: u64, last: Option<&str>) -> Failure {
    let why = format!("not within {timeout_ms} ms; last seen: {}", last.unwrap_or("nothing"));
    Failure::new(ExitCode::TimedOut, what, why).advise("the deployment goes on; see `jadeshift info`")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn info(events: &[u64]) -> Info {
        let node = serde_json::json!({
            "status": "stopped", "why": null, "version_running": null, "http": null, "admin": null, "role": null,
            "epoch_seen": 0, "lsn": 0, "lag_records": null, "lag_ms": null, "ready": false, "failed": null,
            "held_writes": 0, "databases": 0, "vectors": 0, "unindexed": 0, "resident_bytes": 0
        });
        let events: Vec<_> =
            events.iter().map(|at_ms| serde_json::json!({"number": at_ms, "at_ms": at_ms, "text": "e"})).collect();
        serde_json::from_value(serde_json::json!({
            "name": "shop", "phase": {"name": "rolling_back", "since_ms": 1, "reason": "r"},
            "why": "rolling back: 5 of 9 reads failed", "generation": 1, "epoch": 1, "primary": "blue",
            "primary_epoch": 1, "active": "blue", "versions": {"blue": null, "green": null},
            "share_percent": {"blue": 100, "green": 0}, "share_in_effect": null,
            "nodes": {"blue": node, "green": node}, "traffic": null, "verdicts": [], "run": null, "history": [],
            "handovers": [], "events": events, "last_error": null, "stopped": null
        }))
        .unwrap()
    }

    fn times(events: &[Event]) -> Vec<u64> {
        events.iter().map(|event| event.at_ms).collect()
    }

    #[test]
    fn each_event_is_told_once_also_when_old_ones_are_forgotten() {
        let mut events = Events::default();
        assert_eq!(times(events.take(&info(&[1, 2]))), [2]);
        assert_eq!(times(events.take(&info(&[1, 2]))), Vec::<u64>::new());
        assert_eq!(times(events.take(&info(&[2, 3, 4]))), [3, 4]);
        assert_eq!(times(events.take(&info(&[8, 9]))), [8, 9]);
        let mut events = Events::after(&info(&[1, 2, 3]), 2);
        assert_eq!(times(events.take(&info(&[1, 2, 3]))), [2, 3]);
    }

    #[test]
    fn moved_numbers_are_no_news_and_the_phase_is_not_said_twice() {
        let mut news = News::default();
        let mut now = info(&[]);
        assert_eq!(news.line(&now).as_deref(), Some("rolling back: 5 of 9 reads failed"));
        now.why = "rolling back: 6 of 11 reads failed".into();
        assert_eq!(news.line(&now), None);
        now.why = "blue has all reads again".into();
        assert_eq!(news.line(&now).as_deref(), Some("rolling back: blue has all reads again"));
    }
}
