//! Benchmarks: programs are built, started as processes and measured from outside, over HTTP, on loopback only.

mod coordinator_loss;
mod dataset;
mod evidence;
mod feed;
mod gateway;
mod handover;
mod index;
mod large;
mod load;
mod node;
mod operator;
pub mod process;
mod report;
mod rollback;
mod seeding;
mod server;

use anyhow::{Context, Result, bail};
use report::Report;
use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::Instant;

/// Threads of the gateway, of HAProxy, and of the backends that do nothing.
pub const PROXY_THREADS: usize = 2;
/// Writes that show what the disk does.
const DISK_WRITES: usize = 64;
/// `f_type` of a file system that lives in memory.
const TMPFS: u64 = 0x0102_1994;

/// Measures the parts; figures as a table on stderr and as one JSON object in the last line of stdout.
#[derive(clap::Subcommand)]
pub enum Bench {
    Node(node::Arguments),
    Gateway(gateway::Arguments),
    Index(index::Arguments),
    Handover(handover::Arguments),
    CoordinatorLoss(coordinator_loss::Arguments),
    Feed(feed::Arguments),
    Seeding(seeding::Arguments),
    Large(large::Arguments),
    Evidence(evidence::Arguments),
    Rollback(rollback::Arguments),
    Operator(operator::Arguments),
}

/// What every benchmark may be told.
#[derive(clap::Args)]
pub struct Common {
    /// Folder with programs that are built already; without it they are built first.
    #[arg(long, value_name = "DIR")]
    bin_dir: Option<PathBuf>,
    /// Where data is written (in a folder that is removed at the end) [default: target/bench].
    #[arg(long, value_name = "DIR")]
    work_dir: Option<PathBuf>,
    /// Folder of the data set.
    #[arg(long, value_name = "DIR", default_value_os_t = dataset::default_folder(), hide_default_value = true)]
    data: PathBuf,
    /// Exit with an error when a figure misses its goal.
    #[arg(long)]
    strict: bool,
}

pub async fn run(bench: Bench) -> Result<()> {
    let (report, strict) = match bench {
        Bench::Node(arguments) => {
            let strict = arguments.common.strict;
            (node::bench(arguments).await?, strict)
        }
        Bench::Gateway(arguments) => {
            let strict = arguments.common.strict;
            (gateway::bench(arguments).await?, strict)
        }
        Bench::Index(arguments) => {
            let strict = arguments.strict;
            (index::bench(arguments).await?, strict)
        }
        Bench::Handover(arguments) => {
            let strict = arguments.strict;
            (handover::bench(arguments).await?, strict)
        }
        Bench::CoordinatorLoss(arguments) => {
            let strict = arguments.strict;
            (coordinator_loss::bench(arguments).await?, strict)
        }
        Bench::Feed(arguments) => {
            let strict = arguments.common.strict;
            (feed::bench(arguments).await?, strict)
        }
        Bench::Seeding(arguments) => {
            let strict = arguments.common.strict;
            (seeding::bench(arguments).await?, strict)
        }
        Bench::Large(arguments) => {
            let strict = arguments.common.strict;
            (large::bench(arguments).await?, strict)
        }
        Bench::Evidence(arguments) => {
            let strict = arguments.strict;
            (evidence::bench(arguments).await?, strict)
        }
        Bench::Rollback(arguments) => {
            let strict = arguments.strict;
            (rollback::bench(arguments).await?, strict)
        }
        Bench::Operator(arguments) if !arguments.inside => return operator::in_its_network(&arguments),
        Bench::Operator(arguments) => {
            let strict = arguments.strict;
            (operator::bench(arguments).await?, strict)
        }
    };
    let missed = report.print();
    if strict && !missed.is_empty() {
        bail!("goals missed: {}", missed.join(", "));
    }
    Ok(())
}

/// What the figures depend on: processors, load, and the disk.
fn environment(report: &mut Report, folder: &Path) -> Result<()> {
    report.section("Machine");
    let processors = std::thread::available_parallelism()?.get();
    report.figure("processors", processors as f64, "");
    let kind = rustix::fs::statfs(folder).context("cannot look at the file system")?.f_type as u64;
    if kind == TMPFS {
        eprintln!("{} is in memory: durable writes cost nothing there; give --work-dir a disk", folder.display());
    }
    report.text("writes_go_to", if kind == TMPFS { "memory" } else { "disk" });
    report.figure("disk_sync_us", disk_sync_us(folder)?, "us");
    Ok(())
}

/// Median time of appending 4 KiB and forcing them to disk.
fn disk_sync_us(folder: &Path) -> Result<f64> {
    let path = folder.join("sync-probe");
    let mut file = fs::File::create(&path).with_context(|| format!("cannot write {}", path.display()))?;
    let mut times = Vec::new();
    for _ in 0..DISK_WRITES {
        let started = Instant::now();
        file.write_all(&[0x5a; 4096])?;
        file.sync_data()?;
        times.push(started.elapsed().as_secs_f64() * 1e6);
    }
    fs::remove_file(&path)?;
    Ok(report::median(&times))
}

fn positive_seconds(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(seconds) if seconds > 0.0 && seconds <= 3600.0 => Ok(seconds),
        _ => Err("it must be a number of seconds above 0 and up to 3600".to_string()),
    }
}
