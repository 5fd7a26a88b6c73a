//! `bench node`: what one node does over HTTP: durable inserts, batches and their indexing, searches with their recall,
//! restarts, and memory.

mod restarts;
mod searches;

use super::dataset::Dataset;
use super::load::{Outcome, Plan, Until, run};
use super::process::{self, CpuMeter, CpuUse};
use super::report::{Goal, Report, median};
use super::server::{BATCH, Node, NodeProgram, Requests, TOP_K};
use super::{Common, environment};
use anyhow::{Context, Result, ensure};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Limit of every load that is bounded by a number of requests.
const LOAD_LIMIT: Duration = Duration::from_secs(180);
/// Limit of waiting for the index.
const INDEX_LIMIT: Duration = Duration::from_secs(600);
/// Batches that are each followed by a search for one of their vectors.
const BATCHES_SEARCHED: usize = 30;
const SEED: u64 = 0x6a61_6465;

/// Measures a node over HTTP.
#[derive(clap::Args)]
#[command(after_help = "\
Examples:
  cargo xtask bench node --quick
  cargo xtask bench node --phase search --seconds 20
  cargo xtask bench node --phase batch --phase search -- --expansion-search 80
  cargo xtask bench node --bin-dir target/release --strict")]
pub struct Arguments {
    #[command(flatten)]
    pub common: Common,
    /// Leave out the large data set.
    #[arg(long)]
    quick: bool,
    /// Run only these parts (repeatable).
    #[arg(long = "phase", value_enum)]
    phases: Vec<Phase>,
    /// Duration of each search load.
    #[arg(long, default_value_t = 10.0, value_name = "S", value_parser = super::positive_seconds)]
    seconds: f64,
    /// Clients that send batches and searches.
    #[arg(long, default_value_t = 8, value_parser = clap::value_parser!(u16).range(1..=512))]
    clients: u16,
    /// Clients that insert single vectors.
    #[arg(long, default_value_t = 32, value_parser = clap::value_parser!(u16).range(1..=512))]
    insert_clients: u16,
    /// Vectors of the data set.
    #[arg(long, default_value_t = 10_000, value_parser = clap::value_parser!(u32).range(100..=1_000_000))]
    vectors: u32,
    /// Vectors of the large data set.
    #[arg(long, default_value_t = 100_000, value_parser = clap::value_parser!(u32).range(100..=1_000_000))]
    large_vectors: u32,
    /// Repetitions of inserts, batches and restarts, each on a fresh node; the figures are medians.
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u8).range(1..=20))]
    rounds: u8,
    /// Further arguments for the node, for example `--quantization f16`.
    #[arg(last = true)]
    node_arguments: Vec<String>,
}

#[derive(Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Phase {
    /// Single durable inserts.
    Single,
    /// Durable batches, their indexing, and whether the next search sees them.
    Batch,
    /// Searches and their recall.
    Search,
    /// Time from start to the first correct answer.
    Restart,
    /// The large data set: memory and rates.
    Large,
}

struct Bench {
    arguments: Arguments,
    program: NodeProgram,
    folder: PathBuf,
    data: Arc<Dataset>,
    report: Report,
    nodes_started: u32,
}

pub async fn bench(arguments: Arguments) -> Result<Report> {
    let programs = process::programs(&["jadevectordb"], arguments.common.bin_dir.as_deref())?;
    let folder = process::work_folder(arguments.common.work_dir.as_deref())?;
    let all = Dataset::read(&arguments.common.data)?;
    let mut report = Report::new("node");
    environment(&mut report, folder.path())?;
    report.text("node_arguments", arguments.node_arguments.join(" "));
    let program = NodeProgram { program: programs.join("jadevectordb"), arguments: arguments.node_arguments.clone() };
    let data = Arc::new(all.resized(arguments.vectors as usize, SEED));
    let mut bench = Bench { arguments, program, folder: folder.path().to_path_buf(), data, report, nodes_started: 0 };
    bench.all().await?;
    Ok(bench.report)
}

impl Bench {
    async fn all(&mut self) -> Result<()> {
        if self.runs(Phase::Single) {
            self.single_inserts().await?;
        }
        if self.runs(Phase::Batch) {
            self.batches().await?;
        }
        if self.runs(Phase::Search) || self.runs(Phase::Restart) {
            let (mut node, requests, folder) = self.loaded_node(&self.data.clone()).await?;
            let exact = self.data.exact(usize::MAX, TOP_K);
            if self.runs(Phase::Search) {
                self.searches(&mut node, &requests, &exact).await?;
            }
            if self.runs(Phase::Restart) {
                self.restarts(node, requests, &exact[0], &folder).await?;
            }
        }
        if self.runs(Phase::Large) {
            self.large().await?;
        }
        Ok(())
    }

    fn runs(&self, phase: Phase) -> bool {
        match self.arguments.phases.as_slice() {
            [] => phase != Phase::Large || !self.arguments.quick,
            some => some.contains(&phase),
        }
    }

    /// A node on an empty folder, with a user.
    async fn fresh_node(&mut self) -> Result<(Node, PathBuf)> {
        self.nodes_started += 1;
        let folder = self.folder.join(format!("node-{}", self.nodes_started));
        let mut node = self.program.start(&folder).await?;
        node.sign_in().await?;
        Ok((node, folder))
    }

    async fn loaded_node(&mut self, data: &Arc<Dataset>) -> Result<(Node, Requests, PathBuf)> {
        let (mut node, folder) = self.fresh_node().await?;
        let requests = node.create_database("bench", data).await?;
        node.load_batches(&requests, self.arguments.clients.into(), LOAD_LIMIT).await?;
        node.wait_indexed(INDEX_LIMIT).await?;
        Ok((node, requests, folder))
    }

    async fn single_inserts(&mut self) -> Result<()> {
        let (vectors, clients) = (self.data.vectors.rows(), usize::from(self.arguments.insert_clients));
        self.report.section(&format!("Single durable inserts: {vectors} vectors, {clients} clients"));
        let mut rates = Vec::new();
        let mut total: Option<Outcome> = None;
        let mut cpu = CpuSum::default();
        for _ in 0..self.arguments.rounds {
            let (node, folder) = self.fresh_node().await?;
            let requests = node.create_database("bench", &self.data).await?;
            let plan = Plan {
                addresses: vec![node.http],
                clients,
                until: Until::Requests(vectors as u64, LOAD_LIMIT),
                expected_status: 201,
            };
            let meter = CpuMeter::start(&[&node.process])?;
            let write = move |number: u64, out: &mut Vec<u8>| requests.write_insert(number as usize, out);
            let outcome = run(&plan, write).await?.all_answered("inserts")?;
            cpu.add(meter.stop()?, outcome.answered);
            self.threads("single", &node)?;
            rates.push(outcome.per_second());
            match &mut total {
                Some(total) => total.add(&outcome),
                None => total = Some(outcome),
            }
            drop(node);
            std::fs::remove_dir_all(folder)?;
        }
        self.report.goal("single_inserts_per_s", median(&rates), "1/s", Goal::AtLeast(5_000.0));
        self.report.text("single_rounds_per_s", rounded(&rates));
        if let Some(total) = total {
            self.latencies("single", &total);
        }
        cpu.report(&mut self.report, "single", "insert");
        Ok(())
    }

    async fn batches(&mut self) -> Result<()> {
        let (vectors, clients) = (self.data.vectors.rows(), usize::from(self.arguments.clients));
        self.report.section(&format!("Batches of {BATCH}: {vectors} vectors, {clients} clients"));
        let (mut rates, mut overall, mut per_cpu, mut drains) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
        let mut total: Option<Outcome> = None;
        let mut cpu = CpuSum::default();
        for round in 0..self.arguments.rounds {
            let (mut node, folder) = self.fresh_node().await?;
            let requests = node.create_database("bench", &self.data).await?;
            let started = Instant::now();
            let meter = CpuMeter::start(&[&node.process])?;
            let outcome = node.load_batches(&requests, clients, LOAD_LIMIT).await?;
            cpu.add(meter.stop()?, vectors as u64);
            let backlog = node.state().await?.unindexed as f64;
            let meter = CpuMeter::start(&[&node.process])?;
            let drain = node.wait_indexed(INDEX_LIMIT).await?;
            per_cpu.push(backlog / meter.stop()?.servers_s[0].max(0.01));
            drains.push(backlog / drain.as_secs_f64());
            overall.push(vectors as f64 / started.elapsed().as_secs_f64());
            rates.push(vectors as f64 / outcome.elapsed.as_secs_f64());
            self.threads("batch", &node)?;
            match &mut total {
                Some(total) => total.add(&outcome),
                None => total = Some(outcome),
            }
            if round == 0 {
                self.visible_at_once(&mut node, clients).await?;
            }
            drop(node);
            std::fs::remove_dir_all(folder)?;
        }
        self.report.goal("batch_vectors_per_s", median(&rates), "1/s", Goal::AtLeast(30_000.0));
        self.report.text("batch_rounds_per_s", rounded(&rates));
        if let Some(total) = total {
            self.latencies("batch", &total);
        }
        cpu.report(&mut self.report, "batch", "vector");
        self.report.goal("indexed_per_cpu_s", median(&per_cpu), "1/s", Goal::AtLeast(4_640.0));
        self.report.text("indexed_per_cpu_s_rounds", rounded(&per_cpu));
        self.report.figure("index_backlog_drained_per_s", median(&drains), "1/s");
        self.report.figure("loaded_and_indexed_per_s", median(&overall), "1/s");
        Ok(())
    }

    /// Fills a database so that its index lags behind, then asks after every further acknowledged batch for one of its
    /// vectors.
    async fn visible_at_once(&mut self, node: &mut Node, clients: usize) -> Result<()> {
        let stored = self.data.vectors.rows();
        let larger = Arc::new(self.data.with_copies(BATCHES_SEARCHED * BATCH, SEED));
        let first = node.create_database("visible", &self.data).await?;
        node.load_batches(&first, clients, LOAD_LIMIT).await?;
        let backlog = node.state().await?.unindexed;
        let requests = first.with_data(&larger);
        let mut missing = 0;
        let mut connection = super::load::Connection::open(node.http).await?;
        for number in 0..BATCHES_SEARCHED {
            let mut batch = Vec::new();
            let from = stored + number * BATCH;
            requests.write_batch(from..from + BATCH, &mut batch);
            let (status, _) = connection.exchange(&batch).await?;
            ensure!(status == 201, "a batch answered {status}");
            let row = from + (number * 37) % BATCH;
            let found = node.search(&requests, larger.vectors.row(row)).await?;
            missing += usize::from(!found.contains(&larger.names[row]));
        }
        self.report.goal("acknowledged_but_not_found", missing as f64, "", Goal::AtMost(0.0));
        self.report.figure("unindexed_when_looking_began", backlog as f64, "vectors");
        Ok(())
    }

    fn latencies(&mut self, name: &str, outcome: &Outcome) {
        for (quantile, label) in [(0.5, "p50"), (0.99, "p99"), (1.0, "max")] {
            self.report.figure(&format!("{name}_{label}_ms"), outcome.latency_ms(quantile), "ms");
        }
    }

    /// Which threads of the node worked since it started.
    fn threads(&mut self, name: &str, node: &Node) -> Result<()> {
        let threads = node.process.threads_cpu_s().context("cannot look at the threads of the node")?;
        let busiest: Vec<String> =
            threads.iter().take(5).map(|(name, seconds)| format!("{name} {seconds:.2}")).collect();
        self.report.text(&format!("{name}_threads_cpu_s"), busiest.join(", "));
        Ok(())
    }
}

/// Processor time of several rounds.
#[derive(Default)]
struct CpuSum {
    wall_s: f64,
    server_s: f64,
    client_s: f64,
    others_s: f64,
    operations: u64,
}

impl CpuSum {
    fn add(&mut self, cpu: CpuUse, operations: u64) {
        self.wall_s += cpu.wall_s;
        self.server_s += cpu.servers_s.iter().sum::<f64>();
        self.client_s += cpu.client_s;
        self.others_s += cpu.others_s;
        self.operations += operations;
    }

    fn report(&self, report: &mut Report, name: &str, operation: &str) {
        let per_operation_us = |seconds: f64| seconds / self.operations.max(1) as f64 * 1e6;
        report.figure(&format!("{name}_server_cpu_us_per_{operation}"), per_operation_us(self.server_s), "us");
        report.figure(&format!("{name}_client_cpu_us_per_{operation}"), per_operation_us(self.client_s), "us");
        report.figure(&format!("{name}_cores_used_by_others"), self.others_s / self.wall_s.max(1e-9), "");
    }
}

fn rounded(values: &[f64]) -> String {
    values.iter().map(|value| format!("{value:.0}")).collect::<Vec<_>>().join(" ")
}
