//! A plain Service: it knows all or nothing, and clients keep their connections.

use super::super::stage::Stage;
use super::super::traffic::{Readers, Shots};
use anyhow::{Context, Result, ensure};
use std::time::{Duration, SystemTime, UNIX_EPOCH};
use tokio::time::Instant;
use wire::Colour;

/// From a switch on, this is how long the other side may still be asked.
const MOVED_WITHIN: Duration = Duration::from_secs(1);

/// What is quick, and nothing else than the default.
pub const HASTY: &str = "  \
  rollout: {watchMs: 8000, steps: [{sharePercent: 100, durationMinMs: 500, requestsMin: 20}]}\n  \
  evidence: {evidenceMin: 0, replaysMin: 5, replaysPerSecond: 500, latencyRatioMax: {p50: 9, p90: 9, p99: 9, limit: 9}}\n  \
  cluster: {storage: {size: 1Gi}, resources: {requests: {cpu: 10m, memory: 64Mi}}}\n";

pub async fn there_and_back(stage: &Stage) -> Result<String> {
    stage.deploy_document(&HASTY.replace("rollout: {", "rollout: {holdBeforeSteps: true, "))?;
    stage.stable().await?;
    let writers = stage.writers().await?;
    let readers = Readers::start(writers.api());
    let clock = Clock::now();

    // There, and kept.
    switch_to(stage, "1.1.0", Colour::Green).await?;
    let info = stage.until("1.1.0 to be promoted", |info| info["history"][0]["outcome"] == "promoted").await?;
    let there = clock.of_event(&info, "gets 100 % of the reads")?;

    // The colours are exchanged; a person says no after the switch.
    switch_to(stage, "1.2.0", Colour::Blue).await?;
    stage.until("1.2.0 to be watched", |info| info["phase"]["name"] == "watching").await?;
    tokio::time::sleep(MOVED_WITHIN * 2).await;
    let back = Instant::now();
    stage.jadeshift(&["rollback", "--reason", "as the test wants it"])?;
    stage.until("1.1.0 to be back", |info| info["history"][1]["outcome"] == "rolled_back").await?;
    tokio::time::sleep(MOVED_WITHIN * 2).await;

    let shots = readers.stop().await?;
    let written = writers.stop().await?;
    shots.must_not_fail()?;
    written.none_failed()?;
    written.nothing_lost().await?;
    let moved_there = moved(&shots, "1.1.0", there)?;
    let moved_back = moved(&shots, "1.1.0", back)?;
    Ok(format!(
        "{shots}, {} writes, 0 lost; last at the old side after a switch {} ms, after a rollback {} ms",
        written.acknowledged(),
        moved_there.as_millis(),
        moved_back.as_millis()
    ))
}

/// Brings a version up, and switches when the cluster knows that it is ready, as it does long before in earnest.
async fn switch_to(stage: &Stage, version: &str, candidate: Colour) -> Result<()> {
    stage.jadeshift(&["deploy", version])?;
    let waits = |info: &serde_json::Value| {
        info["why"].as_str().is_some_and(|why| why.contains("waits for `jadeshift promote`"))
    };
    stage.until("the candidate to wait", waits).await?;
    let pods = format!("version={candidate}");
    stage.kubectl(&["wait", "pod", "--for=condition=Ready", "--selector", &pods, "--timeout=30s"])?;
    stage.jadeshift(&["promote"])?;
    Ok(())
}

/// From `at` on, requests go to `version`: all but one in a hundred after a second. How long any still went elsewhere.
pub fn moved(shots: &Shots, version: &str, at: Instant) -> Result<Duration> {
    let (from, to) = (at + MOVED_WITHIN, at + MOVED_WITHIN * 2);
    for (part, count) in shots.answered_by(version, from, to) {
        ensure!(count > 20, "only {count} requests in the second after a switch");
        ensure!(part >= 0.99, "a second after the switch {version} answered {:.1} % of {count} requests", part * 100.0);
    }
    Ok(shots.last_other_than(version, at, to).unwrap_or_default())
}

/// Both clocks of this machine at one moment: events tell the time of day.
pub struct Clock {
    here: Instant,
    ms: u64,
}

impl Clock {
    pub fn now() -> Clock {
        let ms = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_millis() as u64);
        Clock { here: Instant::now(), ms }
    }

    /// When the first event happened that says `text`.
    pub fn of_event(&self, info: &serde_json::Value, text: &str) -> Result<Instant> {
        let events = info["events"].as_array().context("no events")?;
        let event = events.iter().find(|event| event["text"].as_str().is_some_and(|said| said.contains(text)));
        let event = event.with_context(|| format!("no event says `{text}`: {events:?}"))?;
        let at_ms = event["at_ms"].as_u64().context("an event without time")?;
        Ok(self.here + Duration::from_millis(at_ms.saturating_sub(self.ms)))
    }
}
