//! The operator with many deployments at rest: how long it takes to look at one and make it right, what it asks of the API server,
//! and what it needs of the machine. API server, etcd and operator are the real ones; of nodes and their pods there is only what
//! the operator sees of them.

mod cluster;
mod figures;
mod nodes;

use super::process::{self, CpuMeter, Process};
use super::report::{Goal, Report, median};
use crate::cluster::{Place, down, up};
use anyhow::{Context, Result, bail, ensure};
use cluster::Cluster;
use figures::{Figures, Reconciles};
use nodes::Nodes;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

/// Where the operator tells its figures, in a network of its own.
const OPERATOR: &str = "127.0.0.1:18081";
const LOOK_EVERY: Duration = Duration::from_secs(5);
/// Longest wait until all are served, for each thousand of them.
const SETTLED_WITHIN_EACH: Duration = Duration::from_secs(180);
/// After the last one is served, so that what was begun ends.
const SETTLE: Duration = Duration::from_secs(60);
/// Services edited by hand at the end.
const EDITS: usize = 100;
const MB: f64 = 1e6;

#[derive(clap::Args)]
#[command(
    about = "The operator with thousands of deployments at rest: its looks, its calls, its memory (as root)",
    after_help = "Examples:\n  cargo xtask bench operator\n  cargo xtask bench operator --objects 1000 --rest-s 120"
)]
pub struct Arguments {
    /// BlueGreen objects.
    #[arg(long, default_value_t = 10_000, value_parser = clap::value_parser!(u32).range(1..=50_000))]
    objects: u32,
    /// Seconds of rest that are measured.
    #[arg(long, default_value_t = 600, value_parser = clap::value_parser!(u64).range(30..=86_400))]
    rest_s: u64,
    /// Folder with a `jadeshift` program that is built already; without it it is built first.
    #[arg(long, value_name = "DIR")]
    bin_dir: Option<PathBuf>,
    /// Exit with an error when a figure misses its goal.
    #[arg(long)]
    pub strict: bool,
    /// In the network of the cluster already.
    #[arg(long, hide = true)]
    pub inside: bool,
}

/// Starts an API server with a network of its own, and the benchmark in it.
pub fn in_its_network(arguments: &Arguments) -> Result<()> {
    let programs = process::programs(&["jadeshift"], arguments.bin_dir.as_deref())?;
    let place = Place::of_this_workspace()?;
    ensure!(!place.of("pids").exists(), "a cluster of this workspace is there: end it with `cargo xtask cluster down`");
    let measured = up(&place, true).and_then(|()| {
        let mut inside = place.command(std::env::current_exe()?);
        inside.args(["bench", "operator", "--inside", "--bin-dir"]).arg(&programs);
        inside.args(["--objects", &arguments.objects.to_string(), "--rest-s", &arguments.rest_s.to_string()]);
        if arguments.strict {
            inside.arg("--strict");
        }
        let status = inside.status().context("cannot run the benchmark in the network of the cluster")?;
        ensure!(status.success(), "the benchmark ended with {status}");
        Ok(())
    });
    measured.and(down(&place))
}

pub async fn bench(arguments: Arguments) -> Result<Report> {
    let program = process::programs(&["jadeshift"], arguments.bin_dir.as_deref())?.join("jadeshift");
    let folder = process::work_folder(None)?;
    let mut report = Report::new("operator");
    super::environment(&mut report, folder.path())?;
    report.figure("objects", f64::from(arguments.objects), "");

    let nodes = Nodes::start().await?;
    let cluster = Cluster::prepare(&program, arguments.objects).await?;
    let mut operator = start(&program, folder.path())?;
    report.section("All are served for the first time");
    let began = Instant::now();
    cluster.make_deployments().await?;
    let pods = cluster.keep_pods();
    until_all_are_stable(&mut operator, arguments.objects).await?;
    report.figure("served_after_s", began.elapsed().as_secs_f64(), "s");
    tokio::time::sleep(SETTLE).await;

    report.section(&format!("At rest for {} s", arguments.rest_s));
    rest(&mut report, &cluster, &mut operator, &nodes, &arguments).await?;

    report.section("A Service edited by hand is put right");
    let mut took_ms = cluster.edit_services(EDITS).await?;
    took_ms.sort_by(f64::total_cmp);
    report.figure("put_right_p50_ms", median(&took_ms), "ms");
    report.goal("put_right_p99_ms", took_ms[took_ms.len() * 99 / 100], "ms", Goal::AtMost(1_000.0));
    pods.abort();
    operator.kill()?;
    Ok(report)
}

fn start(program: &Path, folder: &Path) -> Result<Process> {
    let mut command = Command::new(program);
    command.args(["operator", "--listen", OPERATOR]);
    Process::start("the operator", &mut command, &folder.join("operator.log"))
}

async fn until_all_are_stable(operator: &mut Process, objects: u32) -> Result<()> {
    let (began, limit) = (Instant::now(), SETTLED_WITHIN_EACH * objects.div_ceil(1_000));
    loop {
        operator.must_run()?;
        let stable = match Figures::of(OPERATOR).await {
            Ok(figures) => figures.stable(),
            // It has not begun to listen.
            Err(_) if began.elapsed() < LOOK_EVERY * 2 => 0,
            Err(error) => return Err(error),
        };
        eprintln!("  {stable} of {objects} are served after {:.0} s", began.elapsed().as_secs_f64());
        if stable >= objects as usize {
            return Ok(());
        }
        if began.elapsed() > limit {
            bail!("{stable} of {objects} are served after {} s; {}", limit.as_secs(), operator.last_output());
        }
        tokio::time::sleep(LOOK_EVERY).await;
    }
}

async fn rest(
    report: &mut Report,
    cluster: &Cluster,
    operator: &mut Process,
    nodes: &Nodes,
    arguments: &Arguments,
) -> Result<()> {
    let calls_before = cluster.calls().await?;
    let reconciles_before = Figures::of(OPERATOR).await?.reconciles();
    let asked_before = nodes.asked();
    let meter = CpuMeter::start(&[operator])?;
    let (began, rest) = (Instant::now(), Duration::from_secs(arguments.rest_s));
    let mut memory = Vec::new();
    while began.elapsed() < rest {
        operator.must_run()?;
        memory.push(operator.memory()?.resident as f64 / MB);
        tokio::time::sleep(LOOK_EVERY.min(rest)).await;
    }
    let cpu = meter.stop()?;
    let hours = began.elapsed().as_secs_f64() / 3_600.0;
    let asked = nodes.asked() - asked_before;
    let calls = cluster.calls().await?.since(&calls_before);
    let reconciles = Figures::of(OPERATOR).await?.reconciles().since(&reconciles_before);
    report_reconciles(report, &reconciles, began.elapsed());
    let per_object = f64::from(arguments.objects) * hours;
    report.figure("api_calls_per_object_and_hour", calls.total() / per_object, "1/h");
    for (what, count) in calls.most(4) {
        report.text(&format!("api_calls: {what}"), format!("{count:.0} in all"));
    }
    report.figure("node_calls_per_object_and_hour", asked as f64 / per_object, "1/h");
    report.figure("processor_share", cpu.servers_s.iter().sum::<f64>() / cpu.wall_s, "of one");
    let third = memory.len().div_ceil(3);
    let mean = |part: &[f64]| part.iter().sum::<f64>() / part.len() as f64;
    let (first, last) = (mean(&memory[..third]), mean(&memory[memory.len() - third..]));
    report.figure("memory_mb", last, "MB");
    report.figure("memory_max_mb", memory.iter().copied().fold(0.0, f64::max), "MB");
    report.goal("memory_grown_percent", (last / first - 1.0) * 100.0, "%", Goal::AtMost(2.0));
    Ok(())
}

fn report_reconciles(report: &mut Report, reconciles: &Reconciles, took: Duration) {
    report.figure("reconciles_per_s", reconciles.count() / took.as_secs_f64(), "1/s");
    report.figure("reconcile_p50_at_most_ms", reconciles.at_most(0.5) * 1e3, "ms");
    report.goal("reconcile_p99_at_most_ms", reconciles.at_most(0.99) * 1e3, "ms", Goal::AtMost(1_000.0));
}
