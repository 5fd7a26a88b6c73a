//! Searches of a loaded node, and the large data set with its memory.

use super::{Bench, CpuSum, INDEX_LIMIT, LOAD_LIMIT, SEED};
use crate::bench::dataset::{Dataset, ExactAnswer};
use crate::bench::process::CpuMeter;
use crate::bench::report::Goal;
use crate::bench::server::{Node, Requests, TOP_K};
use anyhow::Result;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Queries whose recall is computed in the large set.
const LARGE_QUERIES: usize = 300;
/// Load before a measurement of searches, not counted.
const WARM_UP: Duration = Duration::from_millis(500);

impl Bench {
    pub(super) async fn searches(&mut self, node: &mut Node, requests: &Requests, exact: &[ExactAnswer]) -> Result<()> {
        let (vectors, clients) = (self.data.vectors.rows(), usize::from(self.arguments.clients));
        self.report.section(&format!("Searches, top {TOP_K}: {vectors} vectors, {clients} clients"));
        self.search_figures("search", node, requests, exact, [Some(Goal::AtLeast(4_000.0)), Some(Goal::AtLeast(0.97))])
            .await?;
        let memory = node.process.memory()?;
        self.report.figure("search_resident_mb", memory.resident as f64 / 1e6, "MB");
        self.report.figure("search_resident_peak_mb", memory.peak as f64 / 1e6, "MB");
        Ok(())
    }

    async fn search_figures(
        &mut self,
        name: &str,
        node: &mut Node,
        requests: &Requests,
        exact: &[ExactAnswer],
        [rate_goal, recall_goal]: [Option<Goal>; 2],
    ) -> Result<()> {
        let clients = usize::from(self.arguments.clients);
        node.load_searches(requests, clients, WARM_UP).await?;
        let meter = CpuMeter::start(&[&node.process])?;
        let outcome = node.load_searches(requests, clients, Duration::from_secs_f64(self.arguments.seconds)).await?;
        let mut cpu = CpuSum::default();
        cpu.add(meter.stop()?, outcome.answered);
        let recall = node.recall(requests, exact).await?;
        let mut judged = |key: String, value, unit, goal| match goal {
            Some(goal) => self.report.goal(&key, value, unit, goal),
            None => self.report.figure(&key, value, unit),
        };
        judged(format!("{name}_per_s"), outcome.per_second(), "1/s", rate_goal);
        judged(format!("{name}_recall_at_{TOP_K}"), recall, "", recall_goal);
        self.latencies(name, &outcome);
        cpu.report(&mut self.report, name, "search");
        self.threads(name, node)
    }

    pub(super) async fn large(&mut self) -> Result<()> {
        let vectors = self.arguments.large_vectors as usize;
        let clients = usize::from(self.arguments.clients);
        self.report.section(&format!("Large set: {vectors} vectors (the data set and noisy copies of it)"));
        let data = Arc::new(Dataset::read(&self.arguments.common.data)?.resized(vectors, SEED));
        let (mut node, _folder) = self.fresh_node().await?;
        let requests = node.create_database("large", &data).await?;
        let started = Instant::now();
        let meter = CpuMeter::start(&[&node.process])?;
        let outcome = node.load_batches(&requests, clients, LOAD_LIMIT).await?;
        let after_load = node.process.memory()?;
        node.wait_indexed(INDEX_LIMIT).await?;
        let indexed_s = started.elapsed().as_secs_f64();
        let server_s = meter.stop()?.servers_s[0];
        let memory = node.process.memory()?;
        let raw = data.raw_bytes() as f64;
        let report = &mut self.report;
        report.figure("large_vectors_per_s", vectors as f64 / outcome.elapsed.as_secs_f64(), "1/s");
        report.figure("large_loaded_and_indexed_s", indexed_s, "s");
        report.figure("large_server_cpu_us_per_vector", server_s / vectors as f64 * 1e6, "us");
        report.figure("large_raw_mb", raw / 1e6, "MB");
        report.figure("large_resident_after_load_mb", after_load.resident as f64 / 1e6, "MB");
        report.goal("large_resident_mb", memory.resident as f64 / 1e6, "MB", Goal::AtMost(3.0 * raw / 1e6));
        report.figure("large_resident_not_of_files_mb", memory.anonymous as f64 / 1e6, "MB");
        report.figure("large_resident_peak_mb", memory.peak as f64 / 1e6, "MB");
        let exact = data.exact(LARGE_QUERIES, TOP_K);
        self.search_figures("large_search", &mut node, &requests, &exact, [None, None]).await?;
        let memory = node.process.memory()?;
        self.report.figure("large_resident_after_searches_mb", memory.resident as f64 / 1e6, "MB");
        Ok(())
    }
}
