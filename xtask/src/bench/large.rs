//! `bench large`: how one node does with a million vectors.

use super::Common;
use super::dataset::{Dataset, ExactAnswer};
use super::process;
use super::report::{Goal, Report};
use super::server::{Node, NodeProgram, Requests, TOP_K};
use anyhow::{Result, ensure};
use std::sync::Arc;
use std::time::{Duration, Instant};

const LOAD_LIMIT: Duration = Duration::from_secs(900);
const INDEX_LIMIT: Duration = Duration::from_secs(3_600);
/// How long a started node may take until it answers correctly.
const CORRECT_LIMIT: Duration = Duration::from_secs(300);
const QUERIES: usize = 200;
const WARM_UP: Duration = Duration::from_millis(500);
const SEED: u64 = 0x6a61_6465;

/// Inserts, restart, searches and memory of one node with many vectors.
#[derive(clap::Args)]
#[command(after_help = "\
Examples:
  cargo xtask bench large
  cargo xtask bench large --vectors 50000 --bin-dir target/release")]
pub struct Arguments {
    #[command(flatten)]
    pub common: Common,
    #[arg(long, default_value_t = 1_000_000, value_parser = clap::value_parser!(u32).range(1_000..=5_000_000))]
    vectors: u32,
    #[arg(long, default_value_t = 100, value_parser = clap::value_parser!(u16).range(2..=384))]
    dimension: u16,
    /// Clients that send batches and searches.
    #[arg(long, default_value_t = 8, value_parser = clap::value_parser!(u16).range(1..=512))]
    clients: u16,
    /// Duration of the search load.
    #[arg(long, default_value_t = 10.0, value_name = "S", value_parser = super::positive_seconds)]
    seconds: f64,
}

pub async fn bench(arguments: Arguments) -> Result<Report> {
    let programs = process::programs(&["jadevectordb"], arguments.common.bin_dir.as_deref())?;
    let folder = process::work_folder(arguments.common.work_dir.as_deref())?;
    let mut report = Report::new("large");
    super::environment(&mut report, folder.path())?;
    let (vectors, clients) = (arguments.vectors as usize, usize::from(arguments.clients));
    let all = Dataset::read(&arguments.common.data)?.narrowed(arguments.dimension.into());
    let data = Arc::new(all.resized(vectors, SEED));
    let exact = data.exact(QUERIES, TOP_K);
    let program = NodeProgram { program: programs.join("jadevectordb"), arguments: Vec::new() };
    report.section(&format!("{vectors} x {} on one node, {clients} clients", arguments.dimension));
    let mut node = program.start(folder.path()).await?;
    node.sign_in().await?;
    let requests = node.create_database("large", &data).await?;
    let started = Instant::now();
    let loaded = node.load_batches(&requests, clients, LOAD_LIMIT).await?;
    report.figure("vectors", vectors as f64, "");
    report.figure("inserts_per_s", vectors as f64 / loaded.elapsed.as_secs_f64(), "1/s");
    report.figure("batch_p99_ms", loaded.latency_ms(0.99), "ms");
    report.figure("resident_after_load_mb", node.process.memory()?.resident as f64 / 1e6, "MB");
    node.wait_indexed(INDEX_LIMIT).await?;
    report.figure("loaded_and_indexed_s", started.elapsed().as_secs_f64(), "s");
    searches(&mut report, "search", &node, &requests, &exact, &arguments).await?;
    let memory = node.process.memory()?;
    let raw_mb = data.raw_bytes() as f64 / 1e6;
    report.figure("raw_mb", raw_mb, "MB");
    report.figure("resident_mb", memory.resident as f64 / 1e6, "MB");
    report.figure("resident_peak_mb", memory.peak as f64 / 1e6, "MB");

    report.section("Restart");
    ensure!(node.process.terminate().await?.success(), "the node did not end well");
    let started = Instant::now();
    let mut node = program.start(folder.path()).await?;
    report.figure("restart_to_ready_s", started.elapsed().as_secs_f64(), "s");
    let requests = requests.moved_to(node.http);
    until_correct(&mut node, &requests, &exact).await?;
    report.figure("restart_to_first_correct_answer_s", started.elapsed().as_secs_f64(), "s");
    node.wait_indexed(INDEX_LIMIT).await?;
    report.figure("restart_to_indexed_s", started.elapsed().as_secs_f64(), "s");
    searches(&mut report, "restarted_search", &node, &requests, &exact, &arguments).await?;
    report.figure("restarted_resident_peak_mb", node.process.memory()?.peak as f64 / 1e6, "MB");
    Ok(report)
}

async fn searches(
    report: &mut Report,
    name: &str,
    node: &Node,
    requests: &Requests,
    exact: &[ExactAnswer],
    arguments: &Arguments,
) -> Result<()> {
    let clients = arguments.clients.into();
    node.load_searches(requests, clients, WARM_UP).await?;
    let outcome = node.load_searches(requests, clients, Duration::from_secs_f64(arguments.seconds)).await?;
    report.figure(&format!("{name}_per_s"), outcome.per_second(), "1/s");
    report.figure(&format!("{name}_p99_ms"), outcome.latency_ms(0.99), "ms");
    let recall = node.recall(requests, exact).await?;
    report.goal(&format!("{name}_recall_at_{TOP_K}"), recall, "", Goal::AtLeast(0.9));
    Ok(())
}

/// Until a search gives what an exact one does, nearly.
async fn until_correct(node: &mut Node, requests: &Requests, exact: &[ExactAnswer]) -> Result<()> {
    let started = Instant::now();
    loop {
        // Refusals while the node recovers are expected here.
        let recall = node.recall(requests, &exact[..1]).await;
        if recall.as_ref().is_ok_and(|recall| *recall >= 0.9) {
            return Ok(());
        }
        node.process.must_run()?;
        ensure!(started.elapsed() < CORRECT_LIMIT, "no correct search after a restart; the last was {recall:?}");
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
}
