//! `cargo xtask sim`: whole deployments under a seeded clock, network and disk, one seed after the other.
//!
//! Each seed runs in a process of its own: nothing is left over from the one before, so the same seed is the same run,
//! alone or among thousands.

use crate::bench::process;
use anyhow::{Context, Result, bail, ensure};
use clap::Args;
use serde::Deserialize;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::{Duration, Instant};
use tokio::process::Command;
use tokio::task::JoinSet;

/// Longest time of one seed.
const SEED_LIMIT: Duration = Duration::from_secs(300);
/// Failing seeds that are shown with what they violated.
const SHOWN: usize = 10;
/// How often progress is told.
const TELL_EVERY: Duration = Duration::from_secs(15);

/// Runs the real node and conductor with simulated clocks, networks and disks, through handovers under every fault, and
/// checks that no acknowledged write is lost and none is done twice.
#[derive(Args)]
#[command(
    after_long_help = "Examples:\n  cargo xtask sim\n  cargo xtask sim --seeds 10000 --first 50000\n  cargo xtask sim --seed 17 --verbose\n  \
                       cargo xtask sim --seeds 20 --mutation commit-is-not-stored"
)]
pub struct Sim {
    /// Seeds to run.
    #[arg(long, default_value_t = 1_000, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    seeds: u64,
    /// The first of them.
    #[arg(long, default_value_t = 1, value_name = "S")]
    first: u64,
    /// Replays this one seed instead and shows what it came to.
    #[arg(long, value_name = "S", conflicts_with_all = ["seeds", "first"])]
    seed: Option<u64>,
    /// Each seed for a quarter of its time, as the tests run it.
    #[arg(long)]
    brief: bool,
    /// As many handovers a seed as possible.
    #[arg(long)]
    dense: bool,
    /// With `--seed`: prints every event.
    #[arg(long, requires = "seed")]
    verbose: bool,
    /// Breaks something on purpose: then seeds are wanted that find it.
    #[arg(long, value_name = "NAME")]
    mutation: Option<String>,
    /// Seeds at the same time [default: one for each core].
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..=1_024))]
    jobs: Option<u64>,
    /// Folder with a `sim` program, instead of building one.
    #[arg(long, value_name = "DIR")]
    bin_dir: Option<PathBuf>,
}

/// What one seed came to, as `sim --json` says it.
#[derive(Deserialize)]
struct Report {
    seed: u64,
    violations: Vec<String>,
    lost: u64,
    duplicated: u64,
    counts: BTreeMap<String, u64>,
    simulated_ms: u64,
}

/// All seeds together.
#[derive(Default)]
struct Total {
    seeds: u64,
    lost: u64,
    duplicated: u64,
    counts: BTreeMap<String, u64>,
    simulated_ms: u64,
    failed: BTreeMap<u64, Vec<String>>,
}

pub async fn run(options: Sim) -> Result<()> {
    let program = process::programs(&["sim"], options.bin_dir.as_deref())?.join("sim");
    match options.seed {
        Some(seed) => replay(&program, &options, seed).await,
        None => run_all(&program, &options).await,
    }
}

fn command(program: &Path, options: &Sim, seed: u64) -> Command {
    let mut command = Command::new(program);
    command.args(["--seed", &seed.to_string()]).stdin(Stdio::null()).kill_on_drop(true);
    if options.brief {
        command.arg("--brief");
    }
    if options.dense {
        command.arg("--dense");
    }
    if let Some(mutation) = &options.mutation {
        command.args(["--mutation", mutation]);
    }
    command
}

async fn replay(program: &Path, options: &Sim, seed: u64) -> Result<()> {
    let mut command = command(program, options, seed);
    if options.verbose {
        command.arg("--verbose");
    }
    let status = command.status().await.with_context(|| format!("cannot run {}", program.display()))?;
    ensure!(status.success(), "seed {seed} failed");
    Ok(())
}

async fn run_all(program: &Path, options: &Sim) -> Result<()> {
    let cores = std::thread::available_parallelism().map_or(1, usize::from) as u64;
    let jobs = options.jobs.unwrap_or(cores);
    let (mut next, end) = (options.first, options.first.saturating_add(options.seeds));
    let (mut total, mut running) = (Total::default(), JoinSet::new());
    let began = Instant::now();
    let mut told = Instant::now();
    loop {
        while next < end && (running.len() as u64) < jobs {
            let mut command = command(program, options, next);
            command.arg("--json").stdout(Stdio::piped()).stderr(Stdio::piped());
            running.spawn(run_one(command, next));
            next += 1;
        }
        let Some(ended) = running.join_next().await else { break };
        total.add(ended.context("a seed was not run to its end")??);
        if told.elapsed() > TELL_EVERY {
            told = Instant::now();
            eprintln!("{} of {} seeds, {} handovers", total.seeds, options.seeds, total.count("handovers"));
        }
    }
    total.print(began.elapsed(), jobs);
    let verdict = total.verdict(options);
    println!("{}", total.json(began.elapsed()));
    verdict
}

/// A seed whose process fails in any other way than by saying so has failed too.
async fn run_one(mut command: Command, seed: u64) -> Result<Report> {
    let output = tokio::time::timeout(SEED_LIMIT, command.output()).await;
    let failed = |why: String| Report {
        seed,
        violations: vec![why],
        lost: 0,
        duplicated: 0,
        counts: BTreeMap::new(),
        simulated_ms: 0,
    };
    let Ok(output) = output else { return Ok(failed(format!("it did not end within {} s", SEED_LIMIT.as_secs()))) };
    let output = output.context("cannot run the simulation")?;
    match serde_json::from_slice(&output.stdout) {
        Ok(report) => Ok(report),
        Err(_) => {
            let said = String::from_utf8_lossy(&output.stderr);
            let last = said.lines().next_back().unwrap_or_default();
            Ok(failed(format!("it ended with {} and said: {last}", output.status)))
        }
    }
}

impl Total {
    fn add(&mut self, report: Report) {
        self.seeds += 1;
        self.lost += report.lost;
        self.duplicated += report.duplicated;
        self.simulated_ms += report.simulated_ms;
        for (words, count) in report.counts {
            *self.counts.entry(words).or_default() += count;
        }
        if !report.violations.is_empty() {
            self.failed.insert(report.seed, report.violations);
        }
    }

    fn count(&self, words: &str) -> u64 {
        self.counts.get(words).copied().unwrap_or(0)
    }

    fn print(&self, took: Duration, jobs: u64) {
        let seconds = took.as_secs_f64();
        println!("{:>12} seeds in {seconds:.1} s, {jobs} at a time", self.seeds);
        println!("{:>12} simulated seconds", self.simulated_ms / 1_000);
        for (words, count) in &self.counts {
            println!("{count:>12} {words}");
        }
        let per_second = self.count("handovers") as f64 / seconds.max(0.001);
        println!("{per_second:>12.0} handovers per second");
        println!("{:>12} lost", self.lost);
        println!("{:>12} duplicated", self.duplicated);
    }

    /// All of it on one line, for programs.
    fn json(&self, took: Duration) -> serde_json::Value {
        serde_json::json!({
            "seeds": self.seeds,
            "seconds": took.as_secs_f64(),
            "simulated_ms": self.simulated_ms,
            "counts": self.counts,
            "lost": self.lost,
            "duplicated": self.duplicated,
            "failed_seeds": self.failed.keys().collect::<Vec<_>>(),
        })
    }

    fn verdict(&self, options: &Sim) -> Result<()> {
        for (seed, violations) in self.failed.iter().take(SHOWN) {
            println!("\nseed {seed} failed:");
            for violation in violations {
                println!("  {violation}");
            }
            let mutation = options.mutation.as_ref().map_or(String::new(), |name| format!(" --mutation {name}"));
            let brief = if options.brief { " --brief" } else { "" };
            let dense = if options.dense { " --dense" } else { "" };
            println!("  replay: cargo xtask sim{brief}{dense} --seed {seed}{mutation} --verbose");
        }
        match (self.failed.len(), &options.mutation) {
            (0, Some(name)) => bail!("no seed found the mutation {name}"),
            (0, None) => Ok(()),
            (found, Some(_)) => {
                println!("\n{found} of {} seeds found it", self.seeds);
                Ok(())
            }
            (failed, None) => bail!("{failed} of {} seeds failed", self.seeds),
        }
    }
}
