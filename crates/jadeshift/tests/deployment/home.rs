//! A deployment in a folder of its own, used through the command line.

use serde_json::Value;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::time::{Duration, Instant};
use tempfile::TempDir;

/// Nothing here may take longer.
pub const BOUND: Duration = Duration::from_secs(60);

/// Several deployments run beside each other here on few processors: how quick they are is no sign of anything.
const DOCUMENT: &str = "\
apiVersion: jadevectordb.io/v1alpha1
kind: BlueGreen
metadata: {name: shop}
spec:
  mode: development
  rollout:
    watchMs: 300
    timeoutMs: 30000
    steps:
    - {sharePercent: 50, durationMinMs: 100, requestsMin: 0}
    - {sharePercent: 100, durationMinMs: 100, requestsMin: 0, pause: true}
  evidence: {latencyRatioMax: {p50: 9, p90: 9, p99: 9}}
  local: {gateway: '127.0.0.1:0'}
";

/// A folder whose deployment is ended with it, however the test ends.
pub struct Home {
    pub folder: TempDir,
}

impl Home {
    pub fn new() -> Self {
        Self::with(DOCUMENT)
    }

    pub fn with(document: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("shop.yaml"), document).unwrap();
        Self { folder }
    }

    pub fn dir(&self) -> PathBuf {
        self.folder.path().join("deployment")
    }

    pub fn command(&self, words: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_jadeshift"));
        command
            .env("JADESHIFT_DIR", self.dir())
            .env_remove("JADESHIFT_LOG")
            .current_dir(self.folder.path())
            .args(words);
        command
    }

    pub fn run(&self, words: &[&str]) -> Output {
        self.command(words).output().unwrap()
    }

    #[track_caller]
    pub fn succeeds(&self, words: &[&str]) -> String {
        let output = self.run(words);
        assert_eq!(output.status.code(), Some(0), "{words:?}: {}{}", text(&output.stderr), self.log());
        text(&output.stdout)
    }

    #[track_caller]
    pub fn json(&self, words: &[&str]) -> Value {
        let words = [words, &["--output", "json"]].concat();
        serde_json::from_str(&self.succeeds(&words)).unwrap()
    }

    #[track_caller]
    pub fn fails(&self, words: &[&str], code: i32, part: &str) {
        let output = self.run(words);
        let message = text(&output.stderr);
        assert_eq!(output.status.code(), Some(code), "{words:?}: {message}{}", text(&output.stdout));
        assert!(message.contains(part), "`{part}` is missing in: {message}");
    }

    pub fn log(&self) -> String {
        std::fs::read_to_string(self.dir().join("logs/up.log")).unwrap_or_default()
    }

    /// What one needs to know about a deployment whose test failed.
    fn tell(&self) {
        eprintln!("{}", text(&self.run(&["info", "--output", "json"]).stdout));
        for entry in std::fs::read_dir(self.dir().join("logs")).into_iter().flatten().flatten() {
            let log = std::fs::read_to_string(entry.path()).unwrap_or_default();
            let lines: Vec<&str> = log.lines().collect();
            let last = &lines[lines.len().saturating_sub(60)..];
            eprintln!("{}:\n{}", entry.file_name().display(), last.join("\n"));
        }
    }
}

impl Drop for Home {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.tell();
        }
        let _ = self.run(&["down"]);
        for pid in processes_below(self.folder.path()) {
            let _ = Command::new("kill").args(["-KILL", &pid.to_string()]).status();
        }
    }
}

pub fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// Processes with a path in `folder` among their arguments.
pub fn processes_below(folder: &Path) -> Vec<u32> {
    let name = folder.as_os_str().as_encoded_bytes();
    let entries = std::fs::read_dir("/proc").unwrap().flatten();
    let pids = entries.filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok());
    pids.filter(|pid| {
        let arguments = std::fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        arguments.windows(name.len()).any(|part| part == name)
    })
    .collect()
}

#[track_caller]
pub fn until(what: &str, mut holds: impl FnMut() -> bool) {
    let deadline = Instant::now() + BOUND;
    while !holds() {
        assert!(Instant::now() < deadline, "{what}: not within {} s", BOUND.as_secs());
        std::thread::sleep(Duration::from_millis(20));
    }
}

pub fn signal(name: &str, pid: u64) {
    assert!(Command::new("kill").args([&format!("-{name}"), &pid.to_string()]).status().unwrap().success());
}
