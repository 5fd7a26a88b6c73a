//! One deployment on this machine, driven through the command line like a user would.

use crate::bench::process::Process;
use anyhow::{Context, Result, bail, ensure};
use rand::RngExt;
use serde_json::Value;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

const UP_LIMIT: Duration = Duration::from_secs(30);
const LOOK_EVERY: Duration = Duration::from_millis(50);

/// How fast a rollout may go.
pub struct Pace {
    pub step_ms: u64,
    pub watch_ms: u64,
    pub replays_min: u64,
    pub replays_per_second: u64,
}

impl Pace {
    /// Every phase is there, and short.
    pub fn brisk() -> Pace {
        Pace { step_ms: 400, watch_ms: 500, replays_min: 50, replays_per_second: 50 }
    }

    /// Nothing but the handover takes time.
    pub fn hasty() -> Pace {
        Pace { step_ms: 1, watch_ms: 50, replays_min: 5, replays_per_second: 500 }
    }
}

pub struct Deployment {
    program: PathBuf,
    folder: PathBuf,
    /// `host:port` of the gateway.
    pub gateway: String,
    up: Option<Process>,
}

/// A free address that is the same after a restart: below the ports that the system gives to outgoing connections, one of
/// which could take it in between.
fn lasting_address() -> Result<String> {
    for _ in 0..100 {
        let port: u16 = rand::rng().random_range(20_000..30_000);
        if let Ok(listener) = TcpListener::bind(("127.0.0.1", port)) {
            return Ok(listener.local_addr()?.to_string());
        }
    }
    bail!("no free port from 20000 to 29999")
}

impl Deployment {
    /// Writes a document with short steps and brings it up.
    pub async fn start(program: &Path, folder: &Path, pace: &Pace) -> Result<Deployment> {
        let gateway = lasting_address()?;
        let Pace { step_ms, watch_ms, replays_min, replays_per_second } = pace;
        let steps: Vec<String> = [10, 50, 90, 100]
            .map(|share| format!("{{sharePercent: {share}, durationMinMs: {step_ms}, requestsMin: 5}}"))
            .to_vec();
        let document = format!(
            "apiVersion: jadeshift.io/v1alpha1\nkind: BlueGreen\nmetadata: {{name: bench}}\nspec:\n  mode: development\n  \
             versions:\n    \"1.1.0\": {{index: {{connectivity: 24}}}}\n  rollout:\n    steps: [{}]\n    watchMs: {watch_ms}\n  \
             evidence: {{replaysMin: {replays_min}, replaysPerSecond: {replays_per_second}}}\n  \
             local: {{gateway: \"{gateway}\"}}\n",
            steps.join(", ")
        );
        std::fs::write(folder.join("bluegreen.yaml"), document)?;
        let mut deployment =
            Deployment { program: program.to_path_buf(), folder: folder.to_path_buf(), gateway, up: None };
        deployment.up().await?;
        Ok(deployment)
    }

    /// Starts `jadeshift up` and waits until it answers as stable or busy.
    pub async fn up(&mut self) -> Result<()> {
        let mut command = self.jadeshift();
        command.args(["up", "-f"]).arg(self.folder.join("bluegreen.yaml"));
        let mut process = Process::start("jadeshift up", &mut command, &self.folder.join("up.log"))?;
        let began = Instant::now();
        while !self.phase().is_ok_and(|phase| phase != "starting") {
            process.must_run()?;
            ensure!(began.elapsed() < UP_LIMIT, "`jadeshift up` was not there after {} s", UP_LIMIT.as_secs());
            tokio::time::sleep(LOOK_EVERY).await;
        }
        self.up = Some(process);
        Ok(())
    }

    /// SIGKILL.
    pub fn kill(&mut self) -> Result<()> {
        let mut up = self.up.take().context("`jadeshift up` does not run")?;
        up.kill()
    }

    /// Runs a command and fails with what it said when it fails.
    pub fn command(&self, arguments: &[&str]) -> Result<Output> {
        let output = self.jadeshift().args(arguments).stdin(Stdio::null()).output()?;
        ensure!(
            output.status.success(),
            "`jadeshift {}` ended with {}: {}{}",
            arguments.join(" "),
            output.status,
            String::from_utf8_lossy(&output.stdout),
            String::from_utf8_lossy(&output.stderr)
        );
        Ok(output)
    }

    pub fn phase(&self) -> Result<String> {
        let info = self.info()?;
        let name = info.pointer("/phase/name").and_then(Value::as_str).context("info has no /phase/name")?;
        Ok(name.to_string())
    }

    pub fn info(&self) -> Result<Value> {
        let output = self.command(&["info", "--output", "json"])?;
        serde_json::from_slice(&output.stdout).context("`info --output json` is no JSON")
    }

    /// Waits until the rollout to `version` is over, and fails unless it was promoted.
    pub async fn until_promoted(&self, version: &str, limit: Duration) -> Result<()> {
        let began = Instant::now();
        loop {
            let info = self.info()?;
            let last = info.pointer("/history").and_then(Value::as_array).and_then(|history| history.last());
            if let Some(record) = last {
                let outcome = record.get("outcome").and_then(Value::as_str).unwrap_or_default();
                let to = record.pointer("/run/to_version").and_then(Value::as_str).unwrap_or_default();
                ensure!(outcome == "promoted" && to == version, "the rollout ended otherwise: {record}");
                return Ok(());
            }
            let why = info.pointer("/why").and_then(Value::as_str).unwrap_or_default().to_string();
            if began.elapsed() > limit {
                bail!("the rollout was not over after {} s: {why}", limit.as_secs());
            }
            tokio::time::sleep(LOOK_EVERY).await;
        }
    }

    /// Both colours have the same records, in memory and on disk.
    pub fn verify_equal(&self) -> Result<()> {
        self.command(&["verify", "--deep"]).map(|_| ())
    }

    /// Ends everything.
    pub fn down(&mut self) -> Result<()> {
        self.command(&["down"]).map(|_| ())
    }

    fn jadeshift(&self) -> Command {
        let mut command = Command::new(&self.program);
        command.arg("--dir").arg(self.folder.join("deployment"));
        command
    }
}
