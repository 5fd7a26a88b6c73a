//! Environments of several nodes: the head of the active one stands still, another takes its place, and a rollout brings them all
//! to the next version.

use super::super::stage::Stage;
use super::super::traffic::Readers;
use super::service::HASTY;
use anyhow::{Context, Result, ensure};
use rustix::process::{Signal, kill_process};
use std::time::Duration;
use tokio::time::Instant;

const NODES: usize = 2;

pub async fn head_lost(stage: &Stage) -> Result<String> {
    let router = "router: {kind: gateway}, gateway: {resources: {requests: {cpu: 10m}}}, ";
    let document = HASTY.replace("cluster: {", &format!("cluster: {{{router}"));
    stage.deploy_document(&format!("  replicas: {NODES}\n{document}"))?;
    stage.stable().await?;
    let follows = |info: &serde_json::Value| info["followers"]["blue"][0]["role"]["role"] == "follower";
    // From here on what is acknowledged is on both disks.
    let held = |info: &serde_json::Value| follows(info) && info["confirmation"]["level"] == "held";
    stage.until("the second node to confirm writes", held).await?;
    let writers = stage.writers().await?;
    let readers = Readers::start(writers.api());

    let head =
        *stage.processes_of("version=blue,jadevectordb.io/node=0")?.first().context("the head has no process")?;
    let stopped = Instant::now();
    kill_process(head, Signal::STOP).context("cannot stop a process")?;
    stage.until("the second node to be the head", |info| info["heads"]["blue"] == 1).await?;
    writers.until_written_again(Duration::from_secs(20)).await?;
    let written_again = stopped.elapsed();
    // The lost one comes back as a follower, with the records that it had.
    stage.until("the first node to follow", follows).await?;

    stage.jadeshift(&["deploy", "1.1.0"])?;
    let info = stage.until("1.1.0 to be promoted", |info| info["history"][0]["outcome"] == "promoted").await?;
    ensure!(info["followers"]["green"].as_array().is_some_and(|all| all.len() == NODES - 1), "{}", info["followers"]);
    let verified = stage.jadeshift(&["verify", "--deep"])?;

    let shots = readers.stop().await?;
    let written = writers.stop().await?;
    shots.must_not_fail()?;
    written.nothing_lost().await?;
    Ok(format!(
        "{shots}, {} writes, 0 lost; writes again {:.1} s after the head stood still; {}",
        written.acknowledged(),
        written_again.as_secs_f64(),
        verified.lines().next().unwrap_or_default()
    ))
}
