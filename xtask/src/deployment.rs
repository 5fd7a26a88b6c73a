//! One deployment on this machine, driven through the command line like a user would.

use crate::bench::process::Process;
use anyhow::{Context, Result, bail, ensure};
use local::Folder;
use rand::RngExt;
use rollout::State;
use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};
use serde_json::Value;
use std::net::TcpListener;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};
use wire::Colour;

const UP_LIMIT: Duration = Duration::from_secs(30);
const LOOK_EVERY: Duration = Duration::from_millis(50);

/// How fast a rollout may go, and what its versions are.
pub struct Pace {
    pub step_ms: u64,
    pub watch_ms: u64,
    pub replays_min: u64,
    pub replays_per_second: u64,
    /// Entries of the document's `versions`, as YAML, four spaces in.
    pub versions: &'static str,
}

impl Pace {
    /// Nothing but the handover takes time.
    pub fn hasty() -> Pace {
        Pace { step_ms: 1, watch_ms: 50, replays_min: 5, replays_per_second: 500, versions: "" }
    }
}

/// A deployment that this program started; whatever of it still runs is killed when this is dropped.
pub struct Deployment {
    /// `host:port` of the gateway.
    pub gateway: String,
    line: CommandLine,
    up: Option<Process>,
}

/// The commands of one deployment; cloning names the same one.
#[derive(Clone)]
pub struct CommandLine {
    program: PathBuf,
    /// Holds the document, what `up` says, and the deployment's own folder.
    folder: PathBuf,
}

/// A node's process, held so that no other one can be taken for it.
pub struct NodeProcess {
    pub pid: u32,
    handle: OwnedFd,
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
        let Pace { step_ms, watch_ms, replays_min, replays_per_second, versions } = pace;
        let steps: Vec<String> = [10, 50, 90, 100]
            .map(|share| format!("{{sharePercent: {share}, durationMinMs: {step_ms}, requestsMin: 5}}"))
            .to_vec();
        let document = format!(
            "apiVersion: jadevectordb.io/v1alpha1\nkind: BlueGreen\nmetadata: {{name: bench}}\nspec:\n  mode: development\n  \
             versions:\n    \"1.1.0\": {{index: {{connectivity: 24}}}}\n{versions}  rollout:\n    steps: [{}]\n    \
             watchMs: {watch_ms}\n  evidence: {{evidenceMin: 0, replaysMin: {replays_min}, replaysPerSecond: {replays_per_second}, \
             latencyRatioMax: {{p50: 9, p90: 9, p99: 9}}}}\n  \
             local: {{gateway: \"{gateway}\"}}\n",
            steps.join(", ")
        );
        std::fs::write(folder.join("bluegreen.yaml"), document)?;
        let line = CommandLine { program: program.to_path_buf(), folder: folder.to_path_buf() };
        let mut deployment = Deployment { gateway, line, up: None };
        deployment.up().await?;
        Ok(deployment)
    }

    pub fn line(&self) -> &CommandLine {
        &self.line
    }

    /// Starts `jadeshift up` and waits until it answers as stable or busy.
    pub async fn up(&mut self) -> Result<()> {
        self.begin_up()?;
        let began = Instant::now();
        while !self.line.phase().is_ok_and(|phase| phase != "starting") {
            self.must_run()?;
            ensure!(began.elapsed() < UP_LIMIT, "`jadeshift up` was not there after {} s", UP_LIMIT.as_secs());
            tokio::time::sleep(LOOK_EVERY).await;
        }
        Ok(())
    }

    /// Starts `jadeshift up` and does not wait. It ends with this program, whatever happens to that.
    pub fn begin_up(&mut self) -> Result<()> {
        let mut command = self.line.jadeshift();
        command.args(["up", "--with-parent", "-f"]).arg(self.line.folder.join("bluegreen.yaml"));
        self.up = Some(Process::start("jadeshift up", &mut command, &self.line.folder.join("up.log"))?);
        Ok(())
    }

    /// An error with its last words when `jadeshift up` has ended by itself.
    pub fn must_run(&mut self) -> Result<()> {
        self.up.as_mut().map_or(Ok(()), Process::must_run)
    }

    /// SIGKILL to `jadeshift up`.
    pub fn kill(&mut self) -> Result<()> {
        let mut up = self.up.take().context("`jadeshift up` does not run")?;
        up.kill()
    }

    /// Ends everything.
    pub fn down(&mut self) -> Result<()> {
        self.line.command(&["down"]).map(|_| ())
    }
}

impl Drop for Deployment {
    fn drop(&mut self) {
        // The supervisor first: it would start the nodes again.
        drop(self.up.take());
        for colour in Colour::BOTH {
            for node in self.line.nodes(colour).unwrap_or_default() {
                node.kill();
            }
        }
    }
}

impl CommandLine {
    /// Runs a command and fails with what it said when it fails.
    pub fn command(&self, arguments: &[&str]) -> Result<Output> {
        let output = self.output(arguments)?;
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

    /// Runs a command, however it ends.
    pub fn output(&self, arguments: &[&str]) -> Result<Output> {
        Ok(self.jadeshift().args(arguments).stdin(Stdio::null()).output()?)
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

    /// Both colours have the same records, in memory and on disk.
    pub fn verify_equal(&self) -> Result<()> {
        self.command(&["verify", "--deep"]).map(|_| ())
    }

    /// What is durable; read from the folder, so it is known whether or not anything runs.
    pub fn state(&self) -> Result<State> {
        let folder = Folder::open_existing(&self.deployment())?.context("no deployment lives there")?;
        folder.load_state()?.context("the deployment has no state")
    }

    /// The token of the nodes' admin protocol.
    pub fn admin_token(&self) -> Result<String> {
        let path = self.deployment().join("admin-token");
        let text = std::fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))?;
        Ok(text.trim().to_string())
    }

    /// Where the node of a colour listens. `None` while none has said so.
    pub fn ready(&self, colour: Colour) -> Option<Ready> {
        let text = std::fs::read(self.ready_path(colour)).ok()?;
        serde_json::from_slice(&text).ok()
    }

    /// The living processes that were started for a colour.
    ///
    /// # Errors
    /// When `/proc` cannot be listed.
    pub fn nodes(&self, colour: Colour) -> Result<Vec<NodeProcess>> {
        let ready = self.ready_path(colour);
        let mut found = Vec::new();
        for entry in std::fs::read_dir("/proc")? {
            let Some(pid) = entry?.file_name().to_str().and_then(|name| name.parse::<i32>().ok()) else { continue };
            // The handle comes first: what is read afterwards is about the process that it names. One that has just
            // ended has neither handle nor arguments.
            let Some(handle) = Pid::from_raw(pid).and_then(|pid| pidfd_open(pid, PidfdFlags::empty()).ok()) else {
                continue;
            };
            let Ok(arguments) = std::fs::read(format!("/proc/{pid}/cmdline")) else { continue };
            if arguments.split(|byte| *byte == 0).any(|argument| argument == ready.as_os_str().as_encoded_bytes()) {
                found.push(NodeProcess { pid: pid.cast_unsigned(), handle });
            }
        }
        Ok(found)
    }

    /// Files in which nodes and `up` say what happens to them.
    pub fn logs(&self) -> Vec<PathBuf> {
        let logs = std::fs::read_dir(self.deployment().join("logs"));
        let logs = logs.into_iter().flatten().flatten().map(|entry| entry.path());
        logs.chain([self.folder.join("up.log")]).collect()
    }

    fn ready_path(&self, colour: Colour) -> PathBuf {
        self.deployment().join(format!("{colour}.ready"))
    }

    fn deployment(&self) -> PathBuf {
        self.folder.join("deployment")
    }

    fn jadeshift(&self) -> Command {
        let mut command = Command::new(&self.program);
        command.arg("--dir").arg(self.deployment());
        command
    }
}

/// What a node tells about itself once its sockets are bound.
#[derive(serde::Deserialize)]
pub struct Ready {
    pub http: String,
    pub admin: String,
}

impl NodeProcess {
    /// SIGKILL; false when it was gone already.
    pub fn kill(&self) -> bool {
        pidfd_send_signal(&self.handle, Signal::KILL).is_ok()
    }
}
