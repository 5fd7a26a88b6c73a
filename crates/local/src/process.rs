//! Processes that are known by more than their pid, so that one whose pid was given away again is never touched.
//!
//! Linux only: start times come from `/proc`, and signals go through a pidfd where the kernel has them.

use rustix::process::{Pid, PidfdFlags, Signal};
use serde::{Deserialize, Serialize};
use std::fmt;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::OnceLock;
use std::time::Duration;

/// How often a process is looked at: a few microseconds each time.
const POLL: Duration = Duration::from_millis(20);

/// One process of one boot of the machine, for good.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Identity {
    pub pid: u32,
    /// When it started, in clock ticks since boot (`/proc/<pid>/stat`, field 22).
    pub start_ticks: u64,
    pub boot_id: String,
}

/// A process that is watched; dropping it leaves the process running.
#[derive(Debug)]
pub struct Process {
    identity: Identity,
    /// Only if this program started it; then it must also be reaped here.
    child: Option<Child>,
    /// `None` on a kernel without pidfds.
    pidfd: Option<OwnedFd>,
}

/// How a process ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ending {
    Exited(ExitStatus),
    /// It is gone; how it ended is known only to the one who started it.
    Unknown,
}

impl Identity {
    /// The living process that has this pid now; `None` when there is none (a zombie is none).
    ///
    /// # Errors
    /// When `/proc` cannot be read, so that nothing is known.
    pub fn of(pid: u32) -> io::Result<Option<Self>> {
        Ok(match look(pid)? {
            Some(Seen { ended: false, start_ticks }) => Some(Self { pid, start_ticks, boot_id: boot_id()? }),
            _ => None,
        })
    }

    /// Whether exactly this process still lives; one that cannot be looked at counts as living.
    pub fn is_alive(&self) -> bool {
        Self::of(self.pid).map_or(true, |found| found.as_ref() == Some(self))
    }

    /// Resident memory, bytes; `None` when it is not known.
    pub fn resident_bytes(&self) -> Option<u64> {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.pid)).ok()?;
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
        let kib: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
        Some(kib * 1024)
    }
}

/// Starts `command` with nothing to read and in a process group of its own: neither a Ctrl-C at this program's terminal
/// nor this program's death reaches it.
///
/// # Errors
/// What the system says about starting it.
pub fn spawn(command: &mut Command) -> io::Result<(Child, Identity)> {
    let mut child = command.stdin(Stdio::null()).process_group(0).spawn()?;
    // It stays in /proc, as a zombie at least, until it is waited for.
    let pid = child.id();
    let seen =
        look(pid).and_then(|seen| seen.ok_or_else(|| io::Error::other(format!("process {pid} is not in /proc"))));
    match seen.and_then(|Seen { start_ticks, .. }| Ok(Identity { pid, start_ticks, boot_id: boot_id()? })) {
        Ok(identity) => Ok((child, identity)),
        Err(error) => {
            let _ = child.kill();
            let _ = child.wait();
            Err(error)
        }
    }
}

/// Living processes that were started with the two consecutive arguments `flag` and `value`.
///
/// # Errors
/// When `/proc` cannot be listed.
pub fn started_with(flag: &str, value: &Path) -> io::Result<Vec<Identity>> {
    let value = value.as_os_str().as_encoded_bytes();
    let mut found = Vec::new();
    for entry in std::fs::read_dir("/proc")? {
        let name = entry?.file_name();
        let Some(pid) = name.to_str().and_then(|name| name.parse::<u32>().ok()) else { continue };
        // Others' processes and such that just ended cannot be ours.
        let Ok(Some(identity)) = Identity::of(pid) else { continue };
        let Ok(arguments) = std::fs::read(format!("/proc/{pid}/cmdline")) else { continue };
        let arguments: Vec<&[u8]> = arguments.split(|byte| *byte == 0).collect();
        let ours = arguments.windows(2).any(|pair| pair[0] == flag.as_bytes() && pair[1] == value);
        if ours && identity.is_alive() {
            found.push(identity);
        }
    }
    Ok(found)
}

impl Process {
    /// Watches a process that [`spawn`] started.
    pub fn of_child(child: Child, identity: Identity) -> Self {
        let pidfd = open_pidfd(identity.pid);
        Self { identity, child: Some(child), pidfd }
    }

    /// Watches a process that something else started; `None` when exactly this one does not live any more.
    pub fn attach(identity: Identity) -> Option<Self> {
        // First the handle, then the look: if the process lives afterwards, the handle is its own.
        let pidfd = open_pidfd(identity.pid);
        identity.is_alive().then_some(Self { identity, child: None, pidfd })
    }

    pub fn identity(&self) -> &Identity {
        &self.identity
    }

    /// Waits until the process is gone. May be dropped and called again.
    pub async fn ended(&mut self) -> Ending {
        loop {
            if let Some(child) = &mut self.child {
                if let Ok(Some(status)) = child.try_wait() {
                    return Ending::Exited(status);
                }
            } else if !self.identity.is_alive() {
                return Ending::Unknown;
            }
            tokio::time::sleep(POLL).await;
        }
    }

    /// Waits for the end, at most for `limit`; `None`: it still lives.
    pub async fn ended_within(&mut self, limit: Duration) -> Option<Ending> {
        tokio::time::timeout(limit, self.ended()).await.ok()
    }

    /// Asks it to end (SIGTERM). One that is gone already is no error.
    ///
    /// # Errors
    /// What the system says, such as a missing permission.
    pub fn terminate(&self) -> io::Result<()> {
        self.send(Signal::TERM)
    }

    /// Ends it (SIGKILL). One that is gone already is no error.
    ///
    /// # Errors
    /// What the system says, such as a missing permission.
    pub fn kill(&self) -> io::Result<()> {
        self.send(Signal::KILL)
    }

    fn send(&self, signal: Signal) -> io::Result<()> {
        let sent = match (&self.pidfd, Pid::from_raw(self.identity.pid.cast_signed())) {
            (Some(pidfd), _) => rustix::process::pidfd_send_signal(pidfd, signal),
            (None, Some(pid)) if self.identity.is_alive() => rustix::process::kill_process(pid, signal),
            (None, _) => Ok(()),
        };
        match sent {
            Err(rustix::io::Errno::SRCH) => Ok(()),
            sent => Ok(sent?),
        }
    }
}

impl fmt::Display for Ending {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Ending::Unknown => f.write_str("ended"),
            Ending::Exited(status) => match (status.code(), status.signal()) {
                (Some(code), _) => write!(f, "ended with exit code {code}"),
                (None, Some(signal)) => write!(f, "ended by signal {signal}"),
                (None, None) => f.write_str("ended"),
            },
        }
    }
}

fn open_pidfd(pid: u32) -> Option<OwnedFd> {
    rustix::process::pidfd_open(Pid::from_raw(pid.cast_signed())?, PidfdFlags::empty()).ok()
}

/// A line of `/proc/<pid>/stat`.
#[derive(Debug, PartialEq, Eq)]
struct Seen {
    /// It has ended and only waits for its parent to notice.
    ended: bool,
    start_ticks: u64,
}

/// `None`: there is no such process, not even an ended one.
fn look(pid: u32) -> io::Result<Option<Seen>> {
    match std::fs::read_to_string(format!("/proc/{pid}/stat")) {
        Ok(stat) => match parse(&stat) {
            Some(seen) => Ok(Some(seen)),
            None => Err(io::Error::other(format!("/proc/{pid}/stat has an unknown shape: {stat:?}"))),
        },
        Err(error) if is_no_process(&error) => Ok(None),
        Err(error) => Err(error),
    }
}

/// The name, in parentheses, may hold spaces and parentheses itself.
fn parse(stat: &str) -> Option<Seen> {
    let mut fields = stat.get(stat.rfind(')')? + 1..)?.split_ascii_whitespace();
    let state = fields.next()?; // field 3
    let threads: i64 = fields.nth(16)?.parse().ok()?; // field 20
    let start_ticks = fields.nth(1)?.parse().ok()?; // field 22
    // A leader that ended is shown as a zombie while its other threads still run.
    Some(Seen { ended: matches!(state, "Z" | "X" | "x") && threads <= 1, start_ticks })
}

fn boot_id() -> io::Result<String> {
    static BOOT_ID: OnceLock<String> = OnceLock::new();
    if let Some(id) = BOOT_ID.get() {
        return Ok(id.clone());
    }
    let id = std::fs::read_to_string("/proc/sys/kernel/random/boot_id")?;
    Ok(BOOT_ID.get_or_init(|| id.trim().to_string()).clone())
}

fn is_no_process(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::NotFound || error.raw_os_error() == Some(rustix::io::Errno::SRCH.raw_os_error())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sleeper() -> Command {
        let mut command = Command::new("sleep");
        command.arg("600");
        command
    }

    #[test]
    fn the_start_time_is_found_behind_a_name_with_parentheses() {
        let stat = "77 (a) b (c)) S 1 77 77 0 -1 4194560 1 2 3 4 5 6 7 8 20 0 3 0 987654 1 2";
        let start_ticks = 987_654;
        assert_eq!(parse(stat), Some(Seen { ended: false, start_ticks }));
        let threads_left = stat.replace(" S ", " Z ");
        assert_eq!(parse(&threads_left), Some(Seen { ended: false, start_ticks }));
        assert_eq!(parse(&threads_left.replace(" 3 0 98", " 1 0 98")), Some(Seen { ended: true, start_ticks }));
        assert_eq!(parse("77 (short) S 1"), None);
    }

    #[tokio::test]
    async fn a_process_that_ends_at_once_is_started_all_the_same() {
        // Sometimes it is a zombie already at the first look.
        for _ in 0..20 {
            let (child, identity) = spawn(&mut Command::new("false")).unwrap();
            let ending = Process::of_child(child, identity).ended_within(Duration::from_secs(10)).await.unwrap();
            assert_eq!(ending.to_string(), "ended with exit code 1");
        }
    }

    #[tokio::test]
    async fn an_end_is_noticed_and_says_how() {
        let (child, identity) = spawn(&mut sleeper()).unwrap();
        let mut process = Process::of_child(child, identity.clone());
        assert!(identity.is_alive() && identity.resident_bytes().is_some());
        assert_eq!(process.ended_within(Duration::from_millis(1)).await, None);
        process.kill().unwrap();
        let ending = process.ended_within(Duration::from_secs(10)).await.unwrap();
        assert_eq!(ending.to_string(), "ended by signal 9");
        assert!(!identity.is_alive());
        process.kill().unwrap();
    }

    #[tokio::test]
    async fn a_process_without_a_pidfd_gets_its_signals_all_the_same() {
        let (child, identity) = spawn(&mut sleeper()).unwrap();
        let mut process = Process { identity: identity.clone(), child: Some(child), pidfd: None };
        process.terminate().unwrap();
        assert_eq!(process.ended_within(Duration::from_secs(10)).await.unwrap().to_string(), "ended by signal 15");
    }

    #[tokio::test]
    async fn a_pid_that_belongs_to_another_process_now_is_not_touched() {
        let (child, identity) = spawn(&mut sleeper()).unwrap();
        let former = Identity { start_ticks: identity.start_ticks + 1, ..identity.clone() };
        assert!(Process::attach(former.clone()).is_none());
        // Even a handle that was made for it sends nothing.
        Process { identity: former, child: None, pidfd: None }.kill().unwrap();
        let before_reboot = Identity { boot_id: "another".into(), ..identity.clone() };
        assert!(Process::attach(before_reboot).is_none());
        assert!(identity.is_alive());
        let mut process = Process::of_child(child, identity);
        process.kill().unwrap();
        process.ended_within(Duration::from_secs(10)).await.unwrap();
    }

    #[tokio::test]
    async fn processes_are_found_by_their_arguments() {
        let folder = tempfile::tempdir().unwrap();
        let mut command = Command::new("sh");
        command.args(["-c", "sleep 600 & wait", "sh", "--ready-file"]).arg(folder.path());
        let (child, identity) = spawn(&mut command).unwrap();
        // The shell's child has its parent's arguments until it becomes `sleep`.
        let mut found = Vec::new();
        for _ in 0..2_000 {
            found = started_with("--ready-file", folder.path()).unwrap();
            if found.len() == 1 {
                break;
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        assert_eq!(found, std::slice::from_ref(&identity));
        assert!(started_with("--ready-file", &folder.path().join("other")).unwrap().is_empty());
        let group = Pid::from_child(&child);
        rustix::process::kill_process_group(group, Signal::KILL).unwrap();
        Process::of_child(child, identity).ended_within(Duration::from_secs(10)).await.unwrap();
    }
}
