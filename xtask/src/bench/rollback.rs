//! How long clients are exposed to a bad version: from its first bad answer until it gets no read any more. A real deployment,
//! real processes, and reads at a fixed rate.

use super::process;
use super::report::{Goal, Report, median};
use crate::api::Api;
use crate::deployment::{CommandLine, Deployment, Pace};
use anyhow::{Context, Result, bail, ensure};
use client::{Admin, Http};
use rollout::{Outcome, Phase};
use serde_json::json;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};
use tokio::task::JoinHandle;
use tokio::time::MissedTickBehavior;
use wire::Colour;

const DIMENSION: usize = 16;
const VECTORS: usize = 1_000;
/// Clients that share the rate.
const READERS: u64 = 16;
const LOOK_EVERY: Duration = Duration::from_millis(5);
const CALL_TIMEOUT: Duration = Duration::from_secs(2);
/// Longest time for a rollout to come to its first reader, and from there back.
const ROUND_LIMIT: Duration = Duration::from_secs(60);
/// Versions with a fault each; the reads of clients are what finds it.
const VERSIONS: &str = "    \"bad-5\": {fault: {errors: 0.05}}\n    \"bad-50\": {fault: {errors: 0.5}}\n";
const PACE: Pace = Pace { step_ms: 60_000, watch_ms: 50, replays_min: 0, replays_per_second: 1, versions: VERSIONS };

/// Deploys versions that answer errors under load; prints how long they were exposed, and what their rollback cost.
#[derive(clap::Args)]
#[command(
    after_long_help = "Examples:\n  cargo xtask bench rollback\n  cargo xtask bench rollback --rounds 20 --reads-per-s 2000"
)]
pub struct Arguments {
    /// Rollouts with each fault.
    #[arg(long, default_value_t = 10, value_parser = clap::value_parser!(u64).range(1..=1_000))]
    rounds: u64,
    /// Searches per second.
    #[arg(long, default_value_t = 1_000, value_parser = clap::value_parser!(u64).range(16..=100_000))]
    reads_per_s: u64,
    /// Folder with a `jadeshift` program that is built already; without it it is built first.
    #[arg(long, value_name = "DIR")]
    bin_dir: Option<PathBuf>,
    /// Exit with an error when a figure misses its goal.
    #[arg(long)]
    pub strict: bool,
}

/// When a bad version did what.
struct Round {
    first_bad: Instant,
    decided: Instant,
    last_read: Instant,
}

pub async fn bench(arguments: Arguments) -> Result<Report> {
    let program = process::programs(&["jadeshift"], arguments.bin_dir.as_deref())?.join("jadeshift");
    let folder = process::work_folder(None)?;
    let mut report = Report::new("rollback");
    super::environment(&mut report, folder.path())?;
    let mut deployment = Deployment::start(&program, folder.path(), &PACE).await?;
    let measured = measure(&deployment, &mut report, &arguments).await;
    let ended = deployment.down();
    measured?;
    ended?;
    Ok(report)
}

async fn measure(deployment: &Deployment, report: &mut Report, arguments: &Arguments) -> Result<()> {
    let api = Api::open(&deployment.gateway, DIMENSION).await?;
    for number in 0..VECTORS {
        let body = json!({"id": format!("v{number}"), "values": values(number)});
        api.json("POST", &api.path("/vectors"), &body, 201).await?;
    }
    let readers = Readers::start(&api, arguments.reads_per_s);
    for (name, version) in [("errors_5_percent", "bad-5"), ("errors_50_percent", "bad-50")] {
        report.section(&format!("{name}: share 10 %"));
        let (mut exposed, mut actuation) = (Vec::new(), Vec::new());
        for number in 1..=arguments.rounds {
            let round =
                round(deployment.line(), version).await.with_context(|| format!("{version}, round {number}"))?;
            exposed.push((round.last_read - round.first_bad).as_secs_f64());
            actuation.push(round.last_read.saturating_duration_since(round.decided).as_secs_f64());
            eprintln!("  round {number}: {:.2} s", exposed[exposed.len() - 1]);
        }
        let max = |values: &[f64]| values.iter().copied().fold(f64::NAN, f64::max);
        report.figure(&format!("{name}_first_bad_to_zero_p50_s"), median(&exposed), "s");
        report.goal(&format!("{name}_first_bad_to_zero_max_s"), max(&exposed), "s", Goal::AtMost(8.0));
        report.figure(&format!("{name}_decision_to_zero_p50_s"), median(&actuation), "s");
        report.goal(&format!("{name}_decision_to_zero_max_s"), max(&actuation), "s", Goal::AtMost(1.0));
    }
    let (reads, failed, elapsed) = readers.stop().await;
    report.section("Reads of clients");
    report.figure("reads", reads as f64, "");
    report.figure("reads_per_s", reads as f64 / elapsed.as_secs_f64(), "1/s");
    report.goal("reads_failed", failed as f64, "", Goal::AtMost(0.0));
    Ok(())
}

/// One rollout of a bad version, from the command until it is gone.
async fn round(line: &CommandLine, version: &str) -> Result<Round> {
    let before = line.state()?.history.len();
    line.command(&["deploy", version])?;
    let began = Instant::now();
    while !matches!(line.state()?.phase, Phase::Shifting { .. }) {
        ensure!(began.elapsed() < ROUND_LIMIT, "it had no reader after {} s", ROUND_LIMIT.as_secs());
        tokio::time::sleep(LOOK_EVERY).await;
    }
    let ready = line.ready(Colour::Green).context("green has no address")?;
    let green = Admin::new(Http::new(), &ready.admin, &line.admin_token()?, CALL_TIMEOUT);
    let (mut first_bad, mut decided, mut last_read) = (None, None, None);
    let mut reads = 0;
    loop {
        // Once it is let go its process ends.
        if let Ok(node) = green.state().await {
            if node.counters.read_errors > 0 {
                first_bad.get_or_insert_with(Instant::now);
            }
            if node.counters.reads > reads {
                (reads, last_read) = (node.counters.reads, Some(Instant::now()));
            }
        }
        let state = line.state()?;
        match state.phase {
            Phase::Shifting { .. } => (),
            Phase::RollingBack { .. } => _ = decided.get_or_insert_with(Instant::now),
            Phase::Stable => {
                let record = state.history.get(before).context("the rollout left no record")?;
                ensure!(record.outcome == Outcome::RolledBack, "it ended as {:?}: {}", record.outcome, record.reason);
                let first_bad = first_bad.context("it answered nothing badly")?;
                let last_read = last_read.context("it answered nothing")?;
                return Ok(Round { first_bad, decided: decided.unwrap_or(last_read), last_read });
            }
            other => bail!("it is in {other:?}"),
        }
        ensure!(began.elapsed() < ROUND_LIMIT, "it was not taken back after {} s", ROUND_LIMIT.as_secs());
        tokio::time::sleep(LOOK_EVERY).await;
    }
}

/// Clients that search at a fixed rate, however the answers come.
struct Readers {
    stop: Arc<AtomicBool>,
    reads: Arc<AtomicU64>,
    failed: Arc<AtomicU64>,
    began: Instant,
    tasks: Vec<JoinHandle<()>>,
}

impl Readers {
    fn start(api: &Api, reads_per_s: u64) -> Readers {
        let (stop, reads, failed) = (Arc::default(), Arc::default(), Arc::default());
        let mut readers = Readers { stop, reads, failed, began: Instant::now(), tasks: Vec::new() };
        for reader in 0..READERS {
            let (api, stop) = (api.clone(), readers.stop.clone());
            let (reads, failed) = (readers.reads.clone(), readers.failed.clone());
            let mut ticks = tokio::time::interval(Duration::from_secs_f64(READERS as f64 / reads_per_s as f64));
            ticks.set_missed_tick_behavior(MissedTickBehavior::Burst);
            readers.tasks.push(tokio::spawn(async move {
                let path = api.path("/search");
                let mut number = reader as usize;
                while !stop.load(Ordering::Relaxed) {
                    ticks.tick().await;
                    number += READERS as usize;
                    let query = json!({"queryVector": values(number % VECTORS), "topK": 10});
                    let found = api.call("POST", &path, &query).await.is_ok_and(|answer| answer.status == 200);
                    reads.fetch_add(1, Ordering::Relaxed);
                    failed.fetch_add(u64::from(!found), Ordering::Relaxed);
                }
            }));
        }
        readers
    }

    async fn stop(self) -> (u64, u64, Duration) {
        self.stop.store(true, Ordering::Relaxed);
        let elapsed = self.began.elapsed();
        for task in self.tasks {
            // One that panicked has read less, which the rate shows.
            let _ = task.await;
        }
        (self.reads.load(Ordering::Relaxed), self.failed.load(Ordering::Relaxed), elapsed)
    }
}

/// A vector of its own for each number.
fn values(number: usize) -> Vec<f32> {
    (0..DIMENSION).map(|place| ((number * 31 + place * place * 17) % 101) as f32 / 101.0).collect()
}
