//! Routers that give each side a share: each step is what was asked for, and what is worse goes back by itself.

use super::super::edge;
use super::super::stage::Stage;
use super::super::traffic::{Readers, Shots};
use super::service::Clock;
use crate::api::Api;
use crate::writers::{WRITERS, Writers};
use anyhow::{Context, Result, ensure};
use serde_json::Value;
use std::time::Duration;
use tokio::time::Instant;

/// From a decision until the router does what was decided.
const ACTUATION_MAX: Duration = Duration::from_secs(1);
/// Of a chi-square with one degree of freedom, exceeded once in ten thousand.
const CHI_SQUARE_MAX: f64 = 15.14;

const STEPS: [u8; 4] = [10, 50, 90, 100];

fn settings(router: &str) -> String {
    let steps =
        STEPS.map(|share| format!("{{sharePercent: {share}, durationMinMs: 3000, requestsMin: 20}}")).join(", ");
    format!(
        "  versions: {{\"1.2.0\": {{fault: {{latencyMs: 0, errors: 0}}}}}}\n  \
         rollout: {{watchMs: 4000, steps: [{steps}]}}\n  \
         evidence: {{evidenceMin: 0, replaysMin: 5, replaysPerSecond: 200, latencyRatioMax: {{p50: 9, p90: 9, p99: 9, limit: 9}}}}\n  \
         cluster:\n    storage: {{size: 1Gi}}\n    resources: {{requests: {{cpu: 10m, memory: 64Mi}}}}\n    {router}\n"
    )
}

/// Our own gateway, in front of the Service that clients use.
pub async fn gateway(stage: &Stage) -> Result<String> {
    stage.deploy_document(&settings("router: {kind: gateway}\n    gateway: {resources: {requests: {cpu: 10m}}}"))?;
    stage.stable().await?;
    let address = stage.main_service().await?;
    rollout(stage, &address, &address).await
}

/// Weights of an HTTPRoute, which Contour takes up and Envoy does.
pub async fn http_route(stage: &Stage) -> Result<String> {
    let host = format!("{}.example.org", stage.namespace);
    // The operator asks from its pod, so it is the machine's address.
    let machine = "jsonpath={.items[0].status.addresses[?(@.type==\"InternalIP\")].address}";
    let address = format!("{}:{}", stage.kubectl(&["get", "nodes", "-o", machine])?, edge::HTTP_PORT);
    stage.deploy_document(&settings(&format!(
        "router: {{kind: httpRoute, hostnames: [{host}], parent: {{name: {}, namespace: default}}, probeUrl: 'http://{address}'}}",
        edge::GATEWAY
    )))?;
    stage.stable().await?;
    rollout(stage, &address, &host).await
}

/// A rollout through every step, and one whose version errs when it is served.
pub async fn rollout(stage: &Stage, address: &str, host: &str) -> Result<String> {
    let writers = Writers::at_work(address, host, WRITERS).await?;
    let readers = Readers::start(writers.api());
    let clock = Clock::now();
    stage.jadeshift(&["deploy", "1.1.0"])?;
    let info = stage.until("1.1.0 to be promoted", |info| info["history"][0]["outcome"] == "promoted").await?;
    tokio::time::sleep(Duration::from_secs(1)).await;
    let shots = readers.stop().await?;
    shots.must_not_fail()?;
    let shares = shares(&shots, &clock, &info)?;
    let worst = errs(stage, writers.api()).await?;
    let written = writers.stop().await?;
    written.nothing_lost().await?;
    Ok(format!("{shots}, {} writes, 0 lost; {shares}; {worst}", written.acknowledged()))
}

/// What each step was like, from the moment on in which the router confirmed it.
fn shares(shots: &Shots, clock: &Clock, info: &Value) -> Result<String> {
    let mut said = Vec::new();
    let handed_over = clock.of_event(info, "handing over to")?;
    for (position, share) in STEPS.iter().enumerate() {
        let decided = clock.of_event(info, &format!("gets {share} % of the reads"))?;
        let until = match STEPS.get(position + 1) {
            Some(next) => clock.of_event(info, &format!("gets {next} % of the reads"))?,
            None => handed_over,
        };
        // Traffic is what moves: the first request that the new share explains, and no other after a second.
        let [(kept, kept_count), (passing, passing_count)] = shots.answered_by("1.1.0", decided + ACTUATION_MAX, until);
        let count = (kept_count + passing_count) as f64;
        let green = kept * kept_count as f64 + passing * passing_count as f64;
        ensure!(count >= 200.0, "only {count} requests at {share} %");
        let part = f64::from(*share) / 100.0;
        let chi_square = match share {
            100 => (count - green) * CHI_SQUARE_MAX,
            _ => (green - count * part).powi(2) / (count * part * (1.0 - part)),
        };
        let found = green / count * 100.0;
        ensure!(chi_square <= CHI_SQUARE_MAX, "{found:.1} % of {count} reads at the step of {share} %");
        said.push(format!("{share} %: {found:.1}"));
    }
    Ok(said.join(", "))
}

/// It begins to err when it has half of the reads.
async fn errs(stage: &Stage, api: &Api) -> Result<String> {
    stage.jadeshift(&["deploy", "1.2.0"])?;
    let info = stage.until("half of the reads", |info| info["phase"]["share_percent"] == 50).await?;
    let candidate = if info["active"] == "blue" { wire::Colour::Green } else { wire::Colour::Blue };
    let readers = Readers::start(api);
    let from = Instant::now();
    stage.admin(candidate)?.fault("errors=0.5").await?;
    stage.until("the rollback", |info| info["history"][1]["outcome"] == "rolled_back").await?;
    tokio::time::sleep(Duration::from_secs(2)).await;
    let shots = readers.stop().await?;
    let bad = shots.failed();
    ensure!(bad.iter().all(|shot| shot.by == "1.2.0"), "a failure of another version: {:?}", bad.first());
    // A router may have asked the other side in the place of one that erred.
    let last = shots.0.iter().filter(|shot| shot.by == "1.2.0").map(|shot| shot.ended).max();
    let last = last.context("the erring version answered nothing")?;
    ensure!(last - from < Duration::from_secs(8), "bad answers for {:.1} s", (last - from).as_secs_f64());
    Ok(format!("an erring version answered for {} ms, {} bad answers", (last - from).as_millis(), bad.len()))
}
