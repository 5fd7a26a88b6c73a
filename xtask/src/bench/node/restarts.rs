//! From the start of a node that has data to its first correct answer, and what a kill loses.

use super::{Bench, LOAD_LIMIT, SEED};
use crate::bench::dataset::ExactAnswer;
use crate::bench::load::{Plan, Until, run};
use crate::bench::report::{Goal, median};
use crate::bench::server::{Node, Requests};
use anyhow::{Result, ensure};
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// How long a started node may take until it answers correctly.
const CORRECT_LIMIT: Duration = Duration::from_secs(60);
/// Single inserts right before a kill.
const INSERTS_BEFORE_KILL: usize = 100;

impl Bench {
    pub(super) async fn restarts(
        &mut self,
        mut node: Node,
        requests: Requests,
        exact: &ExactAnswer,
        folder: &Path,
    ) -> Result<()> {
        self.report.section(&format!("Restart with {} vectors, to the first correct search", self.data.vectors.rows()));
        for (name, gently) in [("restart_after_sigterm", true), ("restart_after_sigkill", false)] {
            let mut times = Vec::new();
            for _ in 0..self.arguments.rounds {
                if gently {
                    let status = node.process.terminate().await?;
                    ensure!(status.success(), "the node ended with {status} after SIGTERM");
                } else {
                    node.process.kill()?;
                }
                let started = Instant::now();
                node = self.program.start(folder).await?;
                self.wait_correct(&node, &requests.moved_to(node.http), exact).await?;
                times.push(started.elapsed().as_secs_f64());
            }
            self.report.goal(&format!("{name}_s"), median(&times), "s", Goal::AtMost(1.0));
            let worst = times.iter().copied().fold(0.0, f64::max);
            self.report.figure(&format!("{name}_worst_s"), worst, "s");
        }
        self.kill_after_writes(node, &requests, folder).await
    }

    async fn wait_correct(&self, node: &Node, requests: &Requests, exact: &ExactAnswer) -> Result<()> {
        let rows = self.data.rows_by_name();
        let started = Instant::now();
        loop {
            // Refusals while the node recovers are expected here.
            let answer = node.search(requests, self.data.queries.row(0)).await;
            if let Ok(ids) = &answer {
                let found: Vec<usize> = ids.iter().filter_map(|id| rows.get(id.as_str()).copied()).collect();
                if found.len() == exact.rows.len() && self.data.recall(0, exact, &found) >= 0.9 {
                    return Ok(());
                }
            }
            ensure!(
                started.elapsed() < CORRECT_LIMIT,
                "no correct search within {} s after a restart; the last answer was {answer:?}",
                CORRECT_LIMIT.as_secs()
            );
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    }

    /// Kills the node in the moment in which the last of some inserts was acknowledged, and looks for all of them.
    async fn kill_after_writes(&mut self, mut node: Node, requests: &Requests, folder: &Path) -> Result<()> {
        let stored = self.data.vectors.rows();
        let larger = Arc::new(self.data.with_copies(INSERTS_BEFORE_KILL, SEED));
        let requests = requests.moved_to(node.http).with_data(&larger);
        let plan = Plan {
            addresses: vec![node.http],
            clients: self.arguments.clients.into(),
            until: Until::Requests(INSERTS_BEFORE_KILL as u64, LOAD_LIMIT),
            expected_status: 201,
        };
        let writer = requests.clone();
        let write = move |number: u64, out: &mut Vec<u8>| writer.write_insert(stored + number as usize, out);
        run(&plan, write).await?.all_answered("inserts before a kill")?;
        node.process.kill()?;
        let started = Instant::now();
        let mut node = self.program.start(folder).await?;
        node.use_token_of(&requests);
        let ids = serde_json::json!({ "ids": &larger.names[stored..] });
        let (status, answer) = node.call("POST", &format!("{}/vectors/batch-get", requests.base()), Some(&ids)).await?;
        let seconds = started.elapsed().as_secs_f64();
        ensure!(status == 200, "batch-get after a restart answered {status}: {answer}");
        let found = answer["vectors"].as_array().map_or(0, Vec::len);
        self.report.figure("restart_after_writes_and_sigkill_s", seconds, "s");
        self.report.goal("lost_by_sigkill", (INSERTS_BEFORE_KILL - found) as f64, "vectors", Goal::AtMost(0.0));
        Ok(())
    }
}
