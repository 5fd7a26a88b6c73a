//! What a writer notices while the right to write moves: a real deployment, real requests, many handovers.

use super::process;
use super::report::{Goal, Report};
use crate::deployment::{Deployment, Pace};
use crate::writers::{Request, WRITERS, Writers};
use anyhow::{Context, Result, ensure};
use hdrhistogram::Histogram;
use rollout::Phase;
use serde_json::Value;
use std::path::PathBuf;
use std::time::{Duration, Instant};

const SWITCH_LIMIT: Duration = Duration::from_secs(60);
const LOOK_EVERY: Duration = Duration::from_millis(20);
/// Writes before the first handover.
const WARM_UP: usize = 300;
/// Longest time for the requests between two handovers.
const REQUESTS_LIMIT: Duration = Duration::from_secs(60);

/// Moves the right to write back and forth under load; prints the pause that writers see.
#[derive(clap::Args)]
#[command(after_long_help = "Examples:\n  cargo xtask bench handover\n  \
                           cargo xtask bench handover --handovers 1000 --requests 1000000 --writers 8")]
pub struct Arguments {
    /// How often the right to write moves.
    #[arg(long, default_value_t = 20)]
    handovers: usize,
    /// Requests to make in all, spread evenly over the handovers.
    #[arg(long, default_value_t = 0)]
    requests: usize,
    /// Clients that write and search all the time.
    #[arg(long, default_value_t = WRITERS)]
    writers: usize,
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
    let measured = measure(&deployment, &mut report, &arguments).await;
    let ended = deployment.down();
    measured?;
    ended?;
    Ok(report)
}

async fn measure(deployment: &Deployment, report: &mut Report, arguments: &Arguments) -> Result<()> {
    let handovers = arguments.handovers;
    let writers = Writers::start(&deployment.gateway, arguments.writers).await?;
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
        // Every second request is a write.
        let writes = arguments.requests / 2 * (number + 1) / handovers;
        writers.until_acknowledged(writes, REQUESTS_LIMIT).await?;
        eprintln!("handover {} of {handovers}: {target}", number + 1);
    }
    let info = deployment.line().info()?;
    let written = writers.stop().await?;
    let acknowledged = written.acknowledged();
    let found = written.check().await?;
    deployment.line().verify_equal()?;

    report.section(&format!("{handovers} handovers under load"));
    report.figure("requests", written.requests.len() as f64, "");
    report.goal("requests_failed", written.failed() as f64, "", Goal::AtMost(0.0));
    report.figure("writes_acknowledged", acknowledged as f64, "");
    report.goal("writes_lost", found.lost as f64, "", Goal::AtMost(0.0));
    report.goal("writes_duplicated", found.duplicated as f64, "", Goal::AtMost(0.0));
    let usual = latencies(written.requests.iter().filter(|request| request.write).map(took_ms))?;
    report.figure("write_p50_ms", usual.value_at_quantile(0.5) as f64 / 1e3, "ms");
    report.figure("write_p99_ms", usual.value_at_quantile(0.99) as f64 / 1e3, "ms");
    let pauses = pauses_ms(&written.requests, &windows);
    tell_the_longest(&pauses);
    let pauses = latencies(pauses.into_iter())?;
    report.figure("write_pause_p50_ms", pauses.value_at_quantile(0.5) as f64 / 1e3, "ms");
    report.goal("write_pause_p99_ms", pauses.value_at_quantile(0.99) as f64 / 1e3, "ms", Goal::AtMost(20.0));
    report.goal("write_pause_max_ms", pauses.max() as f64 / 1e3, "ms", Goal::AtMost(100.0));
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
        // Read from the folder: a command of its own for each look would take a processor from what is measured.
        let state = deployment.line().state()?;
        if state.phase == Phase::Stable && state.active.as_str() == colour {
            return Ok(());
        }
        ensure!(begun.elapsed() < SWITCH_LIMIT, "not done after {} s: {:?}", SWITCH_LIMIT.as_secs(), state.phase);
        tokio::time::sleep(LOOK_EVERY).await;
    }
}

fn took_ms(request: &Request) -> f64 {
    (request.ended - request.begun).as_secs_f64() * 1e3
}

/// For each window the longest that a write took which was under way in it: its pause, and its usual time with it.
fn pauses_ms(requests: &[Request], windows: &[(Instant, Instant)]) -> Vec<f64> {
    let mut writes: Vec<&Request> = requests.iter().filter(|request| request.write).collect();
    writes.sort_unstable_by_key(|write| write.begun);
    let longest_of_all = writes.iter().map(|write| write.ended - write.begun).max().unwrap_or_default();
    let longest = |&(from, until): &(Instant, Instant)| {
        // What began earlier than that has ended.
        let first = writes.partition_point(|write| write.begun + longest_of_all < from);
        let begun = writes[first..].iter().take_while(|write| write.begun < until);
        begun.filter(|write| write.ended > from).map(|write| took_ms(write)).fold(0.0, f64::max)
    };
    windows.iter().map(longest).collect()
}

fn tell_the_longest(pauses_ms: &[f64]) {
    let mut numbered: Vec<(usize, f64)> = pauses_ms.iter().copied().enumerate().collect();
    numbered.sort_unstable_by(|one, other| other.1.total_cmp(&one.1));
    for (number, pause_ms) in numbered.iter().take(5) {
        eprintln!("handover {}: {pause_ms:.1} ms, among the longest", number + 1);
    }
}

/// Microseconds, from milliseconds.
pub fn latencies(values_ms: impl Iterator<Item = f64>) -> Result<Histogram<u64>> {
    let mut histogram = Histogram::new(3)?;
    for value in values_ms {
        histogram.record((value * 1e3) as u64)?;
    }
    Ok(histogram)
}
