//! What the demonstration runs on: a deployment of its own, in a folder of its own, of which nothing is left at the end.

use crate::control::Control;
use crate::exit::ExitCode;
use crate::failure::Failure;
use rustix::process::{Pid, Signal, kill_process};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::{Duration, Instant};
use tempfile::TempDir;
use tokio::process::{Child, Command};
use wire::document::{BlueGreen, Fault, Index, LatencyRatios, Mode, Step, Version};

/// How long the deployment may take until it answers.
const START_TIMEOUT: Duration = Duration::from_secs(30);
/// How long it may take to end by itself, before its processes are killed.
const END_TIMEOUT: Duration = Duration::from_secs(20);
/// How long killed processes may take to be gone.
const KILL_TIMEOUT: Duration = Duration::from_secs(5);
const POLL: Duration = Duration::from_millis(50);

/// A running deployment.
pub struct Stage {
    folder: TempDir,
    up: Child,
    keep: bool,
}

impl Stage {
    /// Starts `jadeshift up` (this same program) with the document of the demonstration.
    pub fn start(gateway: SocketAddr, keep: bool) -> Result<Self, Failure> {
        let what = "could not prepare the demonstration";
        let folder = TempDir::with_prefix("jadeshift-demo-").map_err(|error| Failure::failed(what, error))?;
        let document = folder.path().join("bluegreen.yaml");
        let log = folder.path().join("up.log");
        std::fs::write(&document, self::document(gateway).to_yaml()).map_err(|error| Failure::failed(what, error))?;
        let log = std::fs::File::create(log).map_err(|error| Failure::failed(what, error))?;
        let program = std::env::current_exe().map_err(|error| Failure::failed(what, error))?;
        let up = Command::new(program)
            .arg("--dir")
            .arg(folder.path().join("deployment"))
            .args(["-v", "up", "--with-parent", "-f"])
            .arg(&document)
            // As long as this pipe is open the deployment lives: it ends with this process, however that ends.
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(log)
            // Ctrl-C in a terminal reaches a whole group; the deployment is told to end by this process, and in order.
            .process_group(0)
            .spawn()
            .map_err(|error| Failure::failed(what, error))?;
        Ok(Self { folder, up, keep })
    }

    /// Folder of the deployment.
    pub fn dir(&self) -> PathBuf {
        self.folder.path().join("deployment")
    }

    /// Waits until the deployment answers.
    pub async fn control(&mut self) -> Result<Control, Failure> {
        let started = Instant::now();
        loop {
            if let Ok(Some(status)) = self.up.try_wait() {
                return Err(Failure::failed(
                    "the deployment ended at its start",
                    format!("{status}: {}", self.last_words()),
                ));
            }
            let failure = match Control::find(&self.dir()) {
                Ok(control) => match control.info().await {
                    Ok(_) => return Ok(control),
                    Err(failure) => failure,
                },
                Err(failure) => failure,
            };
            if started.elapsed() > START_TIMEOUT {
                let what = format!("the deployment does not answer after {} s", START_TIMEOUT.as_secs());
                return Err(Failure::new(ExitCode::TimedOut, what, failure));
            }
            tokio::time::sleep(POLL).await;
        }
    }

    /// Last lines of the deployment's log.
    pub fn last_words(&self) -> String {
        let log = std::fs::read_to_string(self.folder.path().join("up.log")).unwrap_or_default();
        let lines: Vec<_> = log.lines().rev().take(3).collect();
        lines.into_iter().rev().collect::<Vec<_>>().join(" | ")
    }

    /// Ends every process and removes the folder; says what had to be forced and what is left.
    pub async fn end(mut self) -> Result<(), Failure> {
        let mut forced = Vec::new();
        let graceful = async {
            if let Ok(control) = Control::find(&self.dir()) {
                // If it does not listen, the closed pipe tells it the same.
                let _ = control.down().await;
            }
            drop(self.up.stdin.take());
            self.up.wait().await
        };
        if tokio::time::timeout(END_TIMEOUT, graceful).await.is_err() {
            forced.push(format!("the deployment did not end within {} s", END_TIMEOUT.as_secs()));
            let _ = self.up.kill().await;
        }
        let left = processes_of(self.folder.path());
        if !left.is_empty() {
            forced.push(format!("processes {left:?} were left and have been killed"));
            kill_all(self.folder.path()).await;
        }
        let left = processes_of(self.folder.path());
        if !left.is_empty() {
            forced.push(format!("processes {left:?} cannot be ended"));
        }
        let path = self.folder.path().to_path_buf();
        if self.keep {
            self.folder.disable_cleanup(true);
        } else if let Err(error) = self.folder.close() {
            forced.push(format!("the folder {} is left ({error})", path.display()));
        }
        match forced.as_slice() {
            [] => Ok(()),
            forced => Err(Failure::failed("could not clean up in order", forced.join("; "))),
        }
    }
}

/// Resident memory of a process, bytes.
pub fn resident_bytes(pid: u32) -> Option<u64> {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    let kib: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(kib * 1024)
}

async fn kill_all(folder: &Path) {
    let started = Instant::now();
    loop {
        let left = processes_of(folder);
        if left.is_empty() || started.elapsed() > KILL_TIMEOUT {
            return;
        }
        for pid in left.into_iter().filter_map(Pid::from_raw) {
            // One that ended meanwhile is what was wanted.
            let _ = kill_process(pid, Signal::KILL);
        }
        tokio::time::sleep(POLL).await;
    }
}

/// Living processes that have a path in `folder` among their arguments: the folder's last name is random, so they are the
/// demonstration's own (whichever way the path to it is written).
fn processes_of(folder: &Path) -> Vec<i32> {
    let name = folder.file_name().unwrap_or(folder.as_os_str()).as_encoded_bytes();
    let mut found = Vec::new();
    for entry in std::fs::read_dir("/proc").into_iter().flatten().flatten() {
        let Some(pid) = entry.file_name().to_str().and_then(|name| name.parse::<i32>().ok()) else { continue };
        // An ended process that nobody has waited for yet has no arguments any more.
        let arguments = std::fs::read(entry.path().join("cmdline")).unwrap_or_default();
        if pid != std::process::id().cast_signed() && arguments.windows(name.len()).any(|part| part == name) {
            found.push(pid);
        }
    }
    found
}

/// Four releases after the first, each with another index than 1.0.0, two of them with a fault; steps of about two seconds.
fn document(gateway: SocketAddr) -> BlueGreen {
    let mut document = BlueGreen::named("demo");
    let spec = &mut document.spec;
    let index = Index { connectivity: 24, expansion_search: 128, ..Index::default() };
    let release = |fault| Version { index: index.clone(), fault, ..Version::default() };
    spec.mode = Mode::Development;
    spec.versions.insert("1.0.0".into(), Version::default());
    spec.versions.insert("1.1.0".into(), release(Fault::default()));
    spec.versions.insert("1.2.0".into(), release(Fault { errors: 0.05, ..Fault::default() }));
    spec.versions.insert("1.3.0".into(), release(Fault { wrong_results: 0.1, ..Fault::default() }));
    spec.versions.insert("1.4.0".into(), release(Fault::default()));
    spec.rollout.steps = [10, 50, 90, 100]
        .map(|share_percent| Step { duration_min_ms: 1_800, requests_min: 30, ..Step::of_share(share_percent) })
        .to_vec();
    spec.rollout.watch_ms = 6_000;
    spec.rollout.timeout_ms = 40_000;
    spec.evidence.replays_per_second = 100;
    // The new index looks at more, which takes longer. That is known, and wanted.
    spec.evidence.latency_ratio_max = LatencyRatios::all(4.0);
    spec.local.gateway = gateway.to_string();
    document
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_document_of_the_demonstration_is_a_good_one() {
        let document = document("127.0.0.1:0".parse().unwrap());
        assert_eq!(BlueGreen::from_yaml(&document.to_yaml()), Ok(document));
    }

    #[tokio::test]
    async fn what_is_left_in_the_folder_is_found_and_ended() {
        let folder = TempDir::with_prefix("jadeshift-demo-").unwrap();
        assert_eq!(processes_of(folder.path()), Vec::<i32>::new());
        let mut command = Command::new("sh");
        command.args(["-c", "sleep 600 & wait", "sh"]).arg(folder.path().join("blue.ready")).process_group(0);
        let mut child = command.kill_on_drop(true).spawn().unwrap();
        let pid = child.id().unwrap().cast_signed();
        let bound = Instant::now() + Duration::from_secs(10);
        while processes_of(folder.path()) != [pid] {
            assert!(Instant::now() < bound, "the process is not found");
            tokio::time::sleep(POLL).await;
        }
        // The shell is the only one with the folder among its arguments; its child goes with the group.
        rustix::process::kill_process_group(Pid::from_raw(pid).unwrap(), Signal::KILL).unwrap();
        kill_all(folder.path()).await;
        child.wait().await.unwrap();
        assert_eq!(processes_of(folder.path()), Vec::<i32>::new());
    }
}
