//! Programs under test: built, started, measured through /proc, and ended by their own process id.

use anyhow::{Context, Result, bail, ensure};
use rustix::process::{Pid, Signal, kill_process};
use serde::de::DeserializeOwned;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};
use tempfile::TempDir;

/// How often a file or a process is looked at again.
const LOOK_EVERY: Duration = Duration::from_millis(1);
/// How long an ended program may take to go.
const END_LIMIT: Duration = Duration::from_secs(30);
/// Lines of a program's output that an error shows.
const OUTPUT_LINES_SHOWN: usize = 15;

/// A started program; it is killed when this is dropped.
pub struct Process {
    name: String,
    child: Child,
    /// Everything it says.
    output: PathBuf,
}

/// Memory of a process, bytes.
#[derive(Debug, Clone, Copy, Default)]
pub struct Memory {
    /// Resident now.
    pub resident: u64,
    /// Resident at most since it started.
    pub peak: u64,
    /// The part of `resident` that is not a mapped file.
    pub anonymous: u64,
}

/// Measures who used the processors between two moments.
pub struct CpuMeter {
    processes: Vec<u32>,
    started: Instant,
    servers_s: Vec<f64>,
    own_s: f64,
    machine_s: f64,
}

/// Processor time, seconds.
pub struct CpuUse {
    pub wall_s: f64,
    /// Of each process under test.
    pub servers_s: Vec<f64>,
    /// Of this program, that is of the load.
    pub client_s: f64,
    /// Of everything else on the machine: the kernel's own work, and neighbours who disturb the measurement.
    pub others_s: f64,
}

/// Builds `packages` in release mode, or looks into `ready_made`; returns the folder with their programs.
pub fn programs(packages: &[&str], ready_made: Option<&Path>) -> Result<PathBuf> {
    if let Some(folder) = ready_made {
        for package in packages {
            let program = folder.join(package);
            ensure!(program.is_file(), "{} is not there: give --bin-dir a folder with {package}", program.display());
        }
        return Ok(folder.to_path_buf());
    }
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let mut cargo = cargo();
    cargo.current_dir(root).args(["build", "--release", "--message-format=json-render-diagnostics"]);
    for package in packages {
        // Not `--package`, which would choose the features anew and compile again what is there.
        cargo.args(["--bin", package]);
    }
    eprintln!("building {} ...", packages.join(", "));
    let output = cargo.stdin(Stdio::null()).stderr(Stdio::inherit()).output().context("cannot run cargo")?;
    ensure!(output.status.success(), "`cargo build --release` of {} failed", packages.join(", "));
    let last_program = String::from_utf8_lossy(&output.stdout)
        .lines()
        .filter_map(|line| serde_json::from_str::<serde_json::Value>(line).ok())
        .filter_map(|message| Some(PathBuf::from(message.get("executable")?.as_str()?)))
        .next_back();
    let Some(folder) = last_program.as_deref().and_then(Path::parent) else {
        bail!("cargo built no program from {}", packages.join(", "));
    };
    Ok(folder.to_path_buf())
}

/// Cargo, as somebody would call it who was not called by cargo: of what that says of this program, build scripts would conclude
/// that they have to run again.
pub fn cargo() -> Command {
    let mut cargo = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    for (name, _) in std::env::vars_os() {
        let said = ["CARGO_PKG_", "CARGO_MANIFEST_", "CARGO_BIN_", "CARGO_CRATE_"];
        if said.iter().any(|prefix| name.to_string_lossy().starts_with(prefix)) {
            cargo.env_remove(name);
        }
    }
    cargo
}

/// A folder that is removed when dropped, for data that a benchmark writes. By default it is next to the build, because
/// the system's temporary folder may be memory, where nothing is ever really written.
pub fn work_folder(parent: Option<&Path>) -> Result<TempDir> {
    let default = Path::new(env!("CARGO_MANIFEST_DIR")).join("../target/bench");
    let parent = parent.unwrap_or(&default);
    fs::create_dir_all(parent).with_context(|| format!("cannot make {}", parent.display()))?;
    let parent = parent.canonicalize().with_context(|| format!("cannot resolve {}", parent.display()))?;
    tempfile::Builder::new()
        .prefix("bench-")
        .tempdir_in(&parent)
        .with_context(|| format!("cannot make a folder in {}", parent.display()))
}

/// Waits until `file` holds a whole JSON value, or `process` ended, or `limit` is over.
pub async fn wait_for_json<T: DeserializeOwned>(file: &Path, process: &mut Process, limit: Duration) -> Result<T> {
    let started = Instant::now();
    loop {
        if let Ok(text) = fs::read(file) {
            return serde_json::from_slice(&text).with_context(|| format!("{} is not as agreed", file.display()));
        }
        process.must_run()?;
        if started.elapsed() > limit {
            bail!("{} was not ready after {} s; it said:\n{}", process.name, limit.as_secs(), process.last_output());
        }
        tokio::time::sleep(LOOK_EVERY).await;
    }
}

impl Process {
    /// Starts `command`; what it says goes to the file `output`. Its standard input stays open as long as this lives.
    pub fn start(name: &str, command: &mut Command, output: &Path) -> Result<Process> {
        let file = fs::OpenOptions::new()
            .create(true)
            .append(true)
            .open(output)
            .with_context(|| format!("cannot open {}", output.display()))?;
        let child = command
            .stdin(Stdio::piped())
            .stdout(file.try_clone()?)
            .stderr(file)
            .spawn()
            .with_context(|| format!("cannot start {name} ({})", command.get_program().to_string_lossy()))?;
        Ok(Process { name: name.to_string(), child, output: output.to_path_buf() })
    }

    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// An error with its last words when it has ended.
    pub fn must_run(&mut self) -> Result<()> {
        if let Some(status) = self.child.try_wait()? {
            bail!("{} ended by itself ({status}); it said:\n{}", self.name, self.last_output());
        }
        Ok(())
    }

    /// Asks it to end and waits until it has.
    pub async fn terminate(&mut self) -> Result<ExitStatus> {
        kill_process(Pid::from_child(&self.child), Signal::TERM)
            .with_context(|| format!("cannot signal {}", self.name))?;
        let started = Instant::now();
        loop {
            if let Some(status) = self.child.try_wait()? {
                return Ok(status);
            }
            if started.elapsed() > END_LIMIT {
                bail!("{} did not end within {} s after SIGTERM", self.name, END_LIMIT.as_secs());
            }
            tokio::time::sleep(LOOK_EVERY).await;
        }
    }

    /// Ends it without giving it a chance, as `kill -9` does.
    pub fn kill(&mut self) -> Result<()> {
        self.child.kill().with_context(|| format!("cannot kill {}", self.name))?;
        self.child.wait()?;
        Ok(())
    }

    pub fn memory(&self) -> Result<Memory> {
        memory_of(self.id())
    }

    /// Processor time by name of thread, seconds, the largest first; threads that ended are not in it.
    pub fn threads_cpu_s(&self) -> Result<Vec<(String, f64)>> {
        let mut by_name: Vec<(String, f64)> = Vec::new();
        for task in fs::read_dir(format!("/proc/{}/task", self.id()))? {
            let folder = task?.path();
            // A thread may end while it is looked at.
            let (Ok(name), Ok(stat)) =
                (fs::read_to_string(folder.join("comm")), fs::read_to_string(folder.join("stat")))
            else {
                continue;
            };
            // Threads of a pool differ in a number at the end.
            let name = name.trim().trim_end_matches(|c: char| c.is_ascii_digit() || c == '-').to_string();
            let seconds = parse_cpu_s(&stat).unwrap_or_default();
            match by_name.iter_mut().find(|(other, _)| *other == name) {
                Some((_, sum)) => *sum += seconds,
                None => by_name.push((name, seconds)),
            }
        }
        by_name.sort_by(|a, b| b.1.total_cmp(&a.1));
        Ok(by_name)
    }

    pub fn last_output(&self) -> String {
        let text = fs::read_to_string(&self.output).unwrap_or_default();
        let lines: Vec<&str> = text.lines().collect();
        lines[lines.len().saturating_sub(OUTPUT_LINES_SHOWN)..].join("\n")
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // It fails only when the process has ended already, and then the wait returns at once.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl CpuMeter {
    pub fn start(processes: &[&Process]) -> Result<CpuMeter> {
        let processes: Vec<u32> = processes.iter().map(|process| process.id()).collect();
        Ok(CpuMeter {
            servers_s: processes.iter().map(|id| process_cpu_s(*id)).collect::<Result<_>>()?,
            processes,
            started: Instant::now(),
            own_s: process_cpu_s(std::process::id())?,
            machine_s: machine_cpu_s()?,
        })
    }

    pub fn stop(self) -> Result<CpuUse> {
        let wall_s = self.started.elapsed().as_secs_f64();
        let mut servers_s = Vec::new();
        for (id, before) in self.processes.iter().zip(&self.servers_s) {
            servers_s.push(process_cpu_s(*id)? - before);
        }
        let client_s = process_cpu_s(std::process::id())? - self.own_s;
        let known: f64 = servers_s.iter().sum::<f64>() + client_s;
        let others_s = (machine_cpu_s()? - self.machine_s - known).max(0.0);
        Ok(CpuUse { wall_s, servers_s, client_s, others_s })
    }
}

/// Processor time of the calling thread since it started.
pub fn thread_cpu() -> Duration {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::ThreadCPUTime);
    Duration::new(time.tv_sec as u64, time.tv_nsec as u32)
}

fn process_cpu_s(id: u32) -> Result<f64> {
    let path = format!("/proc/{id}/stat");
    let text = fs::read_to_string(&path).with_context(|| format!("cannot read {path}"))?;
    parse_cpu_s(&text).with_context(|| format!("{path} is not understood"))
}

/// Processor time of the whole machine, seconds.
fn machine_cpu_s() -> Result<f64> {
    let text = fs::read_to_string("/proc/stat").context("cannot read /proc/stat")?;
    let fields: Vec<u64> =
        text.lines().next().unwrap_or_default().split_whitespace().skip(1).filter_map(|f| f.parse().ok()).collect();
    // user, nice, system, (idle, iowait,) irq, softirq, steal; guests are counted in user already.
    ensure!(fields.len() >= 8, "/proc/stat is not understood");
    Ok([0, 1, 2, 5, 6, 7].iter().map(|index| fields[*index]).sum::<u64>() as f64 / ticks_per_s())
}

/// The user and system time in the `stat` file of a process or thread, seconds.
fn parse_cpu_s(stat: &str) -> Option<f64> {
    // The name, in parentheses, may contain anything; the fields after it begin with the third, the state.
    let mut fields = stat.rsplit_once(')')?.1.split_whitespace().skip(11);
    let ticks = fields.next()?.parse::<u64>().ok()? + fields.next()?.parse::<u64>().ok()?;
    Some(ticks as f64 / ticks_per_s())
}

fn ticks_per_s() -> f64 {
    rustix::param::clock_ticks_per_second() as f64
}

/// Memory of any process, by its id.
pub fn memory_of(id: u32) -> Result<Memory> {
    let path = format!("/proc/{id}/status");
    let text = fs::read_to_string(&path).with_context(|| format!("cannot read {path}"))?;
    Ok(parse_memory(&text))
}

fn parse_memory(status: &str) -> Memory {
    let bytes = |name: &str| {
        let line = status.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
        let number = line.and_then(|rest| rest.trim().strip_suffix("kB")).and_then(|number| number.trim().parse().ok());
        number.unwrap_or(0u64) * 1024
    };
    Memory { resident: bytes("VmRSS"), peak: bytes("VmHWM"), anonymous: bytes("RssAnon") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn proc_files_are_read() {
        let stat = "17 (a) b (c) S 1 17 17 0 -1 4194560 100 0 0 0 250 50 0 0 20 0 8 0 12345";
        assert_eq!(parse_cpu_s(stat), Some(300.0 / ticks_per_s()));
        let memory = parse_memory("Name:\tx\nVmHWM:\t    2048 kB\nVmRSS:\t 1024 kB\nRssAnon:\t 512 kB\n");
        assert_eq!((memory.peak, memory.resident, memory.anonymous), (2 << 20, 1 << 20, 1 << 19));
    }

    #[test]
    fn own_processor_time_is_seen() {
        let meter = CpuMeter::start(&[]).unwrap();
        let mut sum = 0u64;
        while process_cpu_s(std::process::id()).unwrap() < meter.own_s + 0.05 {
            sum = (0..1_000_000u64).fold(sum, |sum, n| sum ^ n.wrapping_mul(sum | 1));
        }
        assert!(meter.stop().unwrap().client_s >= 0.04, "{sum}");
    }

    #[tokio::test]
    async fn a_program_that_ends_early_is_quoted() {
        let folder = tempfile::tempdir().unwrap();
        let output = folder.path().join("output");
        let mut command = Command::new("sh");
        command.args(["-c", "echo no such option >&2; exit 3"]);
        let mut process = Process::start("sh", &mut command, &output).unwrap();
        let file = folder.path().join("ready");
        let error = wait_for_json::<serde_json::Value>(&file, &mut process, Duration::from_secs(20)).await.unwrap_err();
        assert!(error.to_string().contains("no such option") && error.to_string().contains('3'), "{error}");
    }

    #[tokio::test]
    async fn a_program_is_terminated_and_killed() {
        let folder = tempfile::tempdir().unwrap();
        let output = folder.path().join("output");
        let mut process = Process::start("sleep", Command::new("sleep").arg("60"), &output).unwrap();
        assert!(process.memory().unwrap().resident > 0);
        assert!(!process.terminate().await.unwrap().success());
        let mut process = Process::start("sleep", Command::new("sleep").arg("60"), &output).unwrap();
        process.kill().unwrap();
        assert!(process.must_run().is_err());
    }
}
