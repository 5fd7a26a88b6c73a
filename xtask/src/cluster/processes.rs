//! The processes of the cluster: started apart from this one, found again by their process id and the time they began.

use super::place::Place;
use anyhow::{Context, Result, bail};
use rustix::process::{Pid, Signal, kill_process};
use std::fs::{self, File};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::Stdio;
use std::time::{Duration, Instant};

/// How long a process may take to end when it is asked to.
const END_GRACE: Duration = Duration::from_secs(5);
const POLL: Duration = Duration::from_millis(20);

/// Starts `name`, unless it runs; what it says goes to a file.
pub fn start(place: &Place, name: &str, arguments: &[String]) -> Result<()> {
    if running(place, name).is_some() {
        return Ok(());
    }
    let log = log_file(place, name);
    let file = File::create(&log).with_context(|| format!("cannot write {}", log.display()))?;
    let mut command = place.command(place.program(name));
    command.args(arguments).process_group(0).stdin(Stdio::null()).stdout(file.try_clone()?).stderr(file);
    let child = command.spawn().with_context(|| format!("cannot start {name}"))?;
    let pid = child.id();
    let began = began(pid).with_context(|| format!("{name} ended at once; see {}", log.display()))?;
    fs::write(pid_file(place, name), format!("{pid} {began}")).context("cannot note a process id")
}

/// An error with the end of its log when `name` has ended.
pub fn must_run(place: &Place, name: &str) -> Result<()> {
    if running(place, name).is_some() {
        return Ok(());
    }
    let text = fs::read_to_string(log_file(place, name)).unwrap_or_default();
    let lines: Vec<&str> = text.lines().collect();
    bail!("{name} has ended:\n{}", lines[lines.len().saturating_sub(15)..].join("\n"))
}

/// Ends `name` as a crash would.
pub fn kill(place: &Place, name: &str) -> Result<()> {
    end(running(place, name).with_context(|| format!("{name} does not run"))?, Signal::KILL);
    Ok(())
}

/// Ends every process of the cluster, its containers included.
pub fn end_all(place: &Place) -> Result<()> {
    // The kubelet first: it would start again what ends.
    let mut names: Vec<String> = match fs::read_dir(place.of("pids")) {
        Ok(entries) => entries.flatten().map(|entry| entry.file_name().to_string_lossy().into_owned()).collect(),
        Err(_) => return Ok(()),
    };
    names.sort_by_key(|name| (name != "kubelet", name == "containerd", name.clone()));
    for name in names {
        if name == "containerd" {
            end_containers(place);
        }
        if let Some(pid) = running(place, &name) {
            end(pid, Signal::TERM);
        }
    }
    Ok(())
}

/// Processes of a program in pods, whose uids are said as kubectl prints them: with spaces between.
pub fn in_pods(program: &str, uids: &str) -> Vec<Pid> {
    let is_wanted = |pid: &u32| {
        let groups = fs::read_to_string(format!("/proc/{pid}/cgroup")).unwrap_or_default();
        let name = fs::read_to_string(format!("/proc/{pid}/comm")).unwrap_or_default();
        name.trim() == program && uids.split_whitespace().any(|uid| groups.contains(uid))
    };
    all().filter(is_wanted).filter_map(by_id).collect()
}

/// Each container is a child of a shim, and each shim was told the address of our containerd.
fn end_containers(place: &Place) {
    let socket = place.containerd_socket();
    let shims: Vec<u32> = all().filter(|pid| is_shim(*pid, &socket)).collect();
    for pid in all().filter(|pid| shims.contains(&parent(*pid))).collect::<Vec<_>>() {
        end(pid, Signal::KILL);
    }
    shims.into_iter().for_each(|pid| end(pid, Signal::KILL));
}

fn is_shim(pid: u32, socket: &Path) -> bool {
    let line = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
    let mut words = line.split(|byte| *byte == 0);
    words.next().is_some_and(|name| name.ends_with(b"containerd-shim-runc-v2"))
        && words.any(|word| word == socket.as_os_str().as_encoded_bytes())
}

fn all() -> impl Iterator<Item = u32> {
    let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
    entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok())
}

/// A process as signals are sent to it.
fn by_id(pid: u32) -> Option<Pid> {
    i32::try_from(pid).ok().and_then(Pid::from_raw)
}

fn running(place: &Place, name: &str) -> Option<u32> {
    let noted = fs::read_to_string(pid_file(place, name)).ok()?;
    let (pid, noted) = noted.split_once(' ')?;
    let pid = pid.parse().ok()?;
    (began(pid)? == noted).then_some(pid)
}

fn end(pid: u32, signal: Signal) {
    let Some(noted) = began(pid) else { return };
    let Some(process) = by_id(pid) else { return };
    let (mut signal, until) = (signal, Instant::now() + END_GRACE);
    loop {
        if began(pid).is_none_or(|began| began != noted) {
            return;
        }
        // One that is gone meanwhile is what is wanted.
        let _ = kill_process(process, signal);
        if Instant::now() >= until + END_GRACE {
            return;
        }
        if Instant::now() >= until {
            signal = Signal::KILL;
        }
        std::thread::sleep(POLL);
    }
}

/// When a process began; `None` when there is none, or only what its parent has not looked at yet.
fn began(pid: u32) -> Option<String> {
    let stat = stat(pid)?;
    (stat.first()? != "Z" || has_threads(pid)).then(|| stat.get(19).cloned())?
}

/// The first of its threads may have ended before the others, which still hold what is open.
fn has_threads(pid: u32) -> bool {
    fs::read_dir(format!("/proc/{pid}/task")).is_ok_and(|threads| threads.count() > 1)
}

fn parent(pid: u32) -> u32 {
    stat(pid).and_then(|stat| stat.get(1)?.parse().ok()).unwrap_or(0)
}

/// The fields after the name, which may have spaces and brackets in it.
fn stat(pid: u32) -> Option<Vec<String>> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    Some(stat.rsplit_once(')')?.1.split_whitespace().map(String::from).collect())
}

fn pid_file(place: &Place, name: &str) -> std::path::PathBuf {
    place.of("pids").join(name)
}

fn log_file(place: &Place, name: &str) -> std::path::PathBuf {
    place.of("logs").join(format!("{name}.log"))
}
