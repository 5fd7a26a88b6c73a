//! Environments of several nodes: the head of the active one stands still, another takes its place, and a rollout brings them all
//! to the next version.

use super::super::stage::Stage;
use super::super::traffic::Readers;
use super::service::HASTY;
use crate::writers::Writers;
use anyhow::{Context, Result, ensure};
use rustix::process::{Pid, Signal, kill_process};
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
    let address = stage.main_service().await?;
    let writers = Writers::start(&address, 4).await?;
    writers.until_acknowledged(50, Duration::from_secs(20)).await?;
    let readers = Readers::start(writers.api(), &address, &address);

    let head =
        *stage.processes_of("version=blue,jadevectordb.io/node=0")?.first().context("the head has no process")?;
    let stopped = Instant::now();
    kill_process(pid(head)?, Signal::STOP).context("cannot stop a process")?;
    stage.until("the second node to be the head", |info| info["heads"]["blue"] == 1).await?;
    let before = writers.acknowledged_now();
    writers.until_acknowledged(before + 50, Duration::from_secs(20)).await?;
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
    let found = written.check().await?;
    ensure!(found.lost == 0 && found.duplicated == 0, "{} lost, {} duplicated", found.lost, found.duplicated);
    Ok(format!(
        "{shots}, {} writes, 0 lost; writes again {:.1} s after the head stood still; {}",
        written.acknowledged(),
        written_again.as_secs_f64(),
        verified.lines().next().unwrap_or_default()
    ))
}

fn pid(process: u32) -> Result<Pid> {
    i32::try_from(process).ok().and_then(Pid::from_raw).context("a process without a number")
}
