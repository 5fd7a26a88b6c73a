//! Versions that are worse, before the switch and after it, while the old side is there: traffic goes back by itself.

use super::super::stage::Stage;
use super::super::traffic::{Readers, Shots};
use super::service::HASTY;
use crate::api::Api;
use anyhow::{Context, Result, ensure};
use rustix::process::{Signal, kill_process};
use serde_json::Value;
use std::time::Duration;
use tokio::time::Instant;
use wire::Colour;

/// From the first bad answer until the old side has the traffic.
const BACK_WITHIN: Duration = Duration::from_secs(8);
/// The same, when a person says so.
const ASKED_BACK_WITHIN: Duration = Duration::from_secs(1);

/// What a version suddenly does.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Fault {
    Errors,
    Unready,
    /// Its processes stand still, and its connections stay open.
    Frozen,
}

const VERSIONS: &str = "  versions:\n    \
    \"1.1.0\": {fault: {errors: 0.2}}\n    \
    \"1.2.0\": {fault: {wrongResults: 0.5}}\n";

/// A version that errs is found by its first requests, one with wrong results before it gets any.
pub async fn from_the_start(stage: &Stage) -> Result<String> {
    stage.deploy_document(&format!("{VERSIONS}{}", HASTY.replace("durationMinMs: 500", "durationMinMs: 20000")))?;
    stage.stable().await?;
    let writers = stage.writers().await?;
    let readers = Readers::start(writers.api());

    let wrong = rolled_back(stage, "1.2.0", 0).await?;
    ensure!(wrong.contains("results"), "another reason than its results: {wrong}");
    let shots = readers.stop().await?;
    let [(kept, _), (passing, _)] = shots.answered_by("1.2.0", shots.began(), Instant::now());
    ensure!(kept == 0.0 && passing == 0.0, "a version with wrong results got requests");
    shots.must_not_fail()?;

    let readers = Readers::start(writers.api());
    let errs = rolled_back(stage, "1.1.0", 1).await?;
    let shots = readers.stop().await?;
    let bad = shots.failed();
    ensure!(bad.iter().all(|shot| shot.by == "1.1.0"), "a read failed that the erring version did not answer: {bad:?}");
    let first = bad.iter().map(|shot| shot.begun).min();
    let last = bad.iter().map(|shot| shot.ended).max();
    // None at all when replayed reads have found it out before.
    let took = first.zip(last).map_or(Duration::ZERO, |(first, last)| last - first);
    ensure!(took < BACK_WITHIN, "bad answers for {:.1} s", took.as_secs_f64());
    writers.stop().await?.nothing_lost().await?;
    Ok(format!("wrong results: no request; errors: bad answers for {} ms ({errs})", took.as_millis()))
}

async fn rolled_back(stage: &Stage, version: &str, before: usize) -> Result<String> {
    stage.jadeshift(&["deploy", version])?;
    let ended = |info: &Value| info["history"][before]["outcome"].is_string();
    let info = stage.until(&format!("the end of the rollout to {version}"), ended).await?;
    let record = &info["history"][before];
    ensure!(record["outcome"] == "rolled_back", "version {version} was promoted");
    Ok(record["reason"].as_str().unwrap_or_default().to_string())
}

/// After the switch the new side errs, turns unready, or stands still.
pub async fn after_the_switch(stage: &Stage) -> Result<String> {
    let settings = HASTY.replace("watchMs: 8000", "watchMs: 120000");
    stage.deploy_document(&settings)?;
    stage.stable().await?;
    let writers = stage.writers().await?;
    let mut measured = Vec::new();
    let cases = [
        (Fault::Errors, false),
        (Fault::Unready, false),
        (Fault::Frozen, false),
        (Fault::Errors, true),
        (Fault::Unready, true),
        (Fault::Frozen, true),
    ];
    for (number, (fault, asked)) in cases.into_iter().enumerate() {
        let back = one(stage, writers.api(), number, fault, asked).await;
        let back = back.with_context(|| format!("{fault:?}, {}", if asked { "asked for" } else { "by itself" }))?;
        measured.push(format!("{fault:?}{} {} ms", if asked { " asked" } else { "" }, back.as_millis()));
    }
    writers.stop().await?.nothing_lost().await?;
    Ok(measured.join(", "))
}

async fn one(stage: &Stage, api: &Api, number: usize, fault: Fault, asked: bool) -> Result<Duration> {
    let version = ["1.1.0", "1.2.0"][number % 2];
    stage.jadeshift(&["deploy", version])?;
    let info = stage.until("the new version to be watched", |info| info["phase"]["name"] == "watching").await?;
    ensure!(info["active"] == "green", "{} is active", info["active"]);
    let readers = Readers::impatient(api, Duration::from_millis(300));
    tokio::time::sleep(Duration::from_secs(2)).await;
    let from = Instant::now();
    make(stage, fault).await?;
    let from = match asked {
        false => from,
        true => {
            let from = Instant::now();
            let said = stage.try_jadeshift(&["rollback", "--reason", "a person saw it"])?;
            let said_why = String::from_utf8_lossy(&said.stderr);
            // It may have been quicker by itself.
            let too_late = ["going back already", "nothing to go back to"].iter().any(|text| said_why.contains(text));
            ensure!(said.status.success() || too_late, "{said_why}");
            from
        }
    };
    stage.until("the rollback", |info| info["history"][number]["outcome"] == "rolled_back").await?;
    tokio::time::sleep(Duration::from_secs(1)).await;
    let shots = readers.stop().await?;
    let back = back_after(&shots, from).context("nobody answered as the old side does")?;
    if asked && fault == Fault::Frozen {
        // Who keeps a connection to a process that stands still waits until that is ended; who makes one need not.
        let passing = Shots(shots.0.iter().filter(|shot| !shot.keeps && shot.begun >= from).cloned().collect());
        let back = passing.0.iter().filter(|shot| shot.by == "1.0.0").map(|shot| shot.ended - from).min();
        let back = back.context("no new connection reached the old side")?;
        ensure!(back <= ASKED_BACK_WITHIN, "new connections reached the old side after {} ms", back.as_millis());
    }
    let within = if asked && fault != Fault::Frozen { ASKED_BACK_WITHIN } else { BACK_WITHIN };
    ensure!(back <= within, "the old side had the traffic after {} ms", back.as_millis());
    Ok(back)
}

/// From then on every answer is good and of the old side.
fn back_after(shots: &Shots, from: Instant) -> Option<Duration> {
    let bad = |shot: &&super::super::traffic::Shot| shot.failed.is_some() || shot.by != "1.0.0";
    let last_bad = shots.0.iter().filter(|shot| shot.ended >= from).filter(bad).map(|shot| shot.ended).max();
    let good_after = shots.0.iter().any(|shot| shot.by == "1.0.0" && last_bad.is_none_or(|last| shot.begun > last));
    good_after.then(|| last_bad.map_or(Duration::ZERO, |last| last - from))
}

async fn make(stage: &Stage, fault: Fault) -> Result<()> {
    match fault {
        Fault::Errors => stage.admin(Colour::Green)?.fault("errors=1").await.map(|_| ())?,
        Fault::Unready => stage.admin(Colour::Green)?.fault("unready").await.map(|_| ())?,
        Fault::Frozen => {
            let processes = stage.processes(Colour::Green)?;
            ensure!(!processes.is_empty(), "no process of green was found");
            for process in processes {
                kill_process(process, Signal::STOP).context("cannot stop a process")?;
            }
        }
    }
    Ok(())
}
