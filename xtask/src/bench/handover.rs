//! What a writer notices while the right to write moves: a real deployment, real requests, many handovers.

use super::process;
use super::report::{Goal, Report};
use crate::deployment::{Deployment, Pace};
use crate::writers::{Request, Writers};
use anyhow::{Context, Result, ensure};
use hdrhistogram::Histogram;
use serde_json::Value;
use std::path::PathBuf;
use std::time::{Duration, Instant};

const SWITCH_LIMIT: Duration = Duration::from_secs(60);
const LOOK_EVERY: Duration = Duration::from_millis(20);
/// Writes before the first handover.
const WARM_UP: usize = 300;

/// Moves the right to write back and forth under load; prints the pause that writers see.
#[derive(clap::Args)]
#[command(after_long_help = "Examples:\n  cargo xtask bench handover\n  cargo xtask bench handover --handovers 100")]
pub struct Arguments {
    /// How often the right to write moves.
    #[arg(long, default_value_t = 20)]
    handovers: usize,
    /// Folder with a `jadeshift` program that is built already; without it it is built first.
    #[arg(long, value_name = "DIR")]
    bin_dir: Option<PathBuf>,
    /// Exit with an error when a figure misses its goal.
    #[arg(long)]
    pub strict: bool,
}

pub async fn bench(arguments: Arguments) -> Result<Report> {
    let program = process::programs(&["jadeshift"], arguments.bin_dir.as_deref())?.join("jadeshift");
    let folder = process::work_folder(None)?;
    let mut report = Report::new("handover");
    super::environment(&mut report, folder.path())?;
    let mut deployment = Deployment::start(&program, folder.path(), &Pace::hasty()).await?;
    let measured = measure(&deployment, &mut report, arguments.handovers).await;
    let ended = deployment.down();
    measured?;
    ended?;
    Ok(report)
}

async fn measure(deployment: &Deployment, report: &mut Report, handovers: usize) -> Result<()> {
    let writers = Writers::start(&deployment.gateway).await?;
    writers.until_acknowledged(WARM_UP, Duration::from_secs(30)).await?;
    let mut windows = Vec::new();
    for number in 0..handovers {
        let target = if number % 2 == 0 { "green" } else { "blue" };
        let begun = Instant::now();
        match number {
            0 => deployment.line().command(&["deploy", "1.1.0"])?,
            _ => deployment.line().command(&["switch", target])?,
        };
        until_stable_on(deployment, target).await.with_context(|| format!("handover {number} to {target}"))?;
        windows.push((begun, Instant::now()));
        eprintln!("handover {} of {handovers}: {target}", number + 1);
    }
    let info = deployment.line().info()?;
    let written = writers.stop().await?;
    let acknowledged = written.acknowledged();
    let found = written.check().await?;
    deployment.line().verify_equal()?;

    report.section(&format!("{handovers} handovers under load"));
    report.figure("requests", written.requests.len() as f64, "");
    let failed = written.requests.iter().filter(|request| request.failed).count();
    report.goal("requests_failed", failed as f64, "", Goal::AtMost(0.0));
    report.figure("writes_acknowledged", acknowledged as f64, "");
    report.goal("writes_lost", found.lost as f64, "", Goal::AtMost(0.0));
    report.goal("writes_duplicated", found.duplicated as f64, "", Goal::AtMost(0.0));
    let usual = latencies(written.requests.iter().filter(|request| request.write).map(took_ms))?;
    report.figure("write_p50_ms", usual.value_at_quantile(0.5) as f64 / 1e3, "ms");
    report.figure("write_p99_ms", usual.value_at_quantile(0.99) as f64 / 1e3, "ms");
    let pauses = latencies(windows.iter().map(|window| longest_write_ms(&written.requests, *window)))?;
    report.figure("write_pause_p50_ms", pauses.value_at_quantile(0.5) as f64 / 1e3, "ms");
    report.goal("write_pause_p99_ms", pauses.value_at_quantile(0.99) as f64 / 1e3, "ms", Goal::AtMost(100.0));
    report.figure("write_pause_max_ms", pauses.max() as f64 / 1e3, "ms");
    for (figure, field) in [("seal_to_promote", "seal_to_promote_ms"), ("seal_to_follow", "seal_to_follow_ms")] {
        let timings = info.pointer("/handovers").and_then(Value::as_array).context("info has no /handovers")?;
        let timings = latencies(timings.iter().filter_map(|timing| timing.get(field)?.as_f64()))?;
        report.figure(&format!("{figure}_p50_ms"), timings.value_at_quantile(0.5) as f64 / 1e3, "ms");
        report.figure(&format!("{figure}_p99_ms"), timings.value_at_quantile(0.99) as f64 / 1e3, "ms");
    }
    let memory = |colour: &str| {
        let bytes = info.pointer(&format!("/nodes/{colour}/resident_bytes")).and_then(Value::as_f64);
        bytes.unwrap_or(0.0) / 1e6
    };
    report.figure("blue_resident_mb", memory("blue"), "MB");
    report.figure("green_resident_mb", memory("green"), "MB");
    Ok(())
}

pub async fn until_stable_on(deployment: &Deployment, colour: &str) -> Result<()> {
    let begun = Instant::now();
    loop {
        let info = deployment.line().info()?;
        let text = |pointer: &str| info.pointer(pointer).and_then(Value::as_str).unwrap_or_default().to_string();
        if text("/phase/name") == "stable" && text("/active") == colour {
            return Ok(());
        }
        ensure!(begun.elapsed() < SWITCH_LIMIT, "not done after {} s: {}", SWITCH_LIMIT.as_secs(), text("/why"));
        tokio::time::sleep(LOOK_EVERY).await;
    }
}

fn took_ms(request: &Request) -> f64 {
    (request.ended - request.begun).as_secs_f64() * 1e3
}

/// The longest that a write took which was under way in the window: its pause, and its usual time with it.
fn longest_write_ms(requests: &[Request], (from, until): (Instant, Instant)) -> f64 {
    let within = requests.iter().filter(|request| request.write && request.begun < until && request.ended > from);
    within.map(took_ms).fold(0.0, f64::max)
}

/// Microseconds, from milliseconds.
pub fn latencies(values_ms: impl Iterator<Item = f64>) -> Result<Histogram<u64>> {
    let mut histogram = Histogram::new(3)?;
    for value in values_ms {
        histogram.record((value * 1e3) as u64)?;
    }
    Ok(histogram)
}
