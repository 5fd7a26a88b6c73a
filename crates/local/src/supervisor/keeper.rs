//! One node's process: started, watched, started again, stopped.

use super::adopt::{Found, find};
use super::begin::{BeginError, Beside, begin};
use super::end::{Manner, end, falls_silent};
use super::record::Started;
use super::{DRAIN_MAX, Drain, Running, Status, Statuses, SupervisorError, SupervisorOptions, Wanted};
use crate::launch::{Addresses, Launch, READY_FLAG, Ready, reachable};
use crate::process::{self, Process};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;
use tokio::time::Instant;
use wire::Member;
use wire::admin::{Lsn, NodeState};

/// Pauses between looks at a process on its way up: short at first, for then it usually takes milliseconds.
const POLL_MIN: Duration = Duration::from_millis(5);
const POLL_MAX: Duration = Duration::from_millis(100);
/// Longest time for one call of a node.
const CALL_TIMEOUT: Duration = Duration::from_secs(2);

/// Owns one node's process.
pub(super) struct Keeper {
    member: Member,
    options: Arc<SupervisorOptions>,
    status: watch::Sender<Status>,
    /// Of all nodes.
    others: Statuses,
    admin_token: String,
    http: client::Http,
    record: Option<Started>,
    kept: Option<Kept>,
    /// Crashes without a long life between them.
    crashes: u32,
    /// Where the process that was found running stood.
    found_lsn: Lsn,
}

/// A process and the time it was first seen by this supervisor.
struct Kept {
    process: Process,
    /// It has said which addresses it got.
    bound: bool,
    ready: bool,
    leaving: bool,
    adopted: bool,
    since: Instant,
}

enum Progress {
    None,
    Bound(Addresses),
    Ready,
}

impl Keeper {
    /// Takes over the process that runs already, if one does and it answers; one that does not is ended.
    pub async fn adopt(
        member: Member,
        options: Arc<SupervisorOptions>,
        status: watch::Sender<Status>,
        others: Statuses,
    ) -> Result<Self, SupervisorError> {
        let admin_token = options.folder.admin_token()?;
        let Found { record, process, strays } = find(&options, member)?;
        let http = client::Http::new();
        let mut keeper =
            Self { member, options, status, others, admin_token, http, record, kept: None, crashes: 0, found_lsn: 0 };
        for stray in strays {
            keeper.end_stray(stray).await?;
        }
        let Some(process) = process else { return Ok(keeper) };
        let pid = process.identity().pid;
        let mut kept =
            Kept { process, bound: false, ready: false, leaving: false, adopted: true, since: Instant::now() };
        let usable = match keeper.read_ready(pid) {
            // It is still on its way up.
            Ok(None) => true,
            Ok(Some(addresses)) => {
                keeper.bind(&mut kept, addresses);
                if keeper.record.as_ref().is_some_and(|record| record.served) {
                    let answer = keeper.wait_for_answer(&mut kept.process).await;
                    kept.ready = answer.as_ref().is_some_and(|state| state.ready);
                    keeper.found_lsn = answer.as_ref().map_or(0, |state| state.lsn);
                    answer.is_some()
                } else {
                    true
                }
            }
            Err(error) => {
                tracing::warn!(%member, %error, "the node that was found running cannot be used");
                false
            }
        };
        if !usable {
            tracing::warn!(%member, pid, "the node that was found running does not answer");
            keeper.end_stray(kept.process).await?;
            return Ok(keeper);
        }
        tracing::info!(%member, pid, "took over the running node");
        keeper.publish_running(&kept);
        keeper.kept = Some(kept);
        Ok(keeper)
    }

    pub fn found_lsn(&self) -> Lsn {
        self.found_lsn
    }

    /// Does what is wanted until nobody can want anything any more; a process that runs then goes on.
    pub async fn run(mut self, mut wishes: watch::Receiver<Wanted>, drain: Arc<dyn Drain>) {
        while wishes.has_changed().is_ok() {
            let wanted = wishes.borrow_and_update().clone();
            match (self.kept.take(), wanted) {
                (None, Wanted::Undecided | Wanted::Nothing) => match self.end_strays().await {
                    Ok(()) => {
                        self.status.send_replace(Status::Stopped);
                        let _ = wishes.changed().await;
                    }
                    Err(error) => {
                        let (version, why) = (self.version(), error.to_string());
                        self.pause(Status::Crashed { version, why, refused: false }, &mut wishes).await;
                    }
                },
                (None, Wanted::Run(launch)) => {
                    self.status.send_replace(Status::Starting { version: launch.version.clone() });
                    // Looked at again after that was said: a wish taken back in between is either seen here, or whoever
                    // took it back sees that a process may come.
                    let wanted = wishes.borrow_and_update().clone();
                    if let Wanted::Run(launch) = wanted {
                        self.start(*launch, &mut wishes).await;
                    }
                }
                (Some(kept), wanted) if self.serves(&wanted) => self.watch(kept, &mut wishes).await,
                (Some(kept), _) => self.stop(kept, &mut wishes, &*drain).await,
            }
        }
    }

    fn serves(&self, wanted: &Wanted) -> bool {
        match wanted {
            Wanted::Undecided => true,
            Wanted::Nothing => false,
            Wanted::Run(wanted) => self.record.as_ref().is_some_and(|record| record.launch.serves_as(wanted)),
        }
    }

    async fn start(&mut self, launch: Launch, wishes: &mut watch::Receiver<Wanted>) {
        // A program that started the node as a child may be gone while that child has the data.
        if let Err(error) = self.end_strays().await {
            let status = Status::Crashed { version: launch.version, why: error.to_string(), refused: true };
            return self.pause(status, wishes).await;
        }
        let (options, member, before, beside) = (self.options.clone(), self.member, self.record.clone(), self.beside());
        let version = launch.version.clone();
        let begun = tokio::task::spawn_blocking(move || begin(&options, member, &launch, before, beside)).await;
        match begun.unwrap_or(Err(BeginError::BrokenOff)) {
            Ok((child, identity, record)) => {
                let process = Process::of_child(child, identity);
                let kept =
                    Kept { process, bound: false, ready: false, leaving: false, adopted: false, since: Instant::now() };
                self.record = Some(record);
                self.publish_running(&kept);
                self.kept = Some(kept);
            }
            Err(error) => {
                let status = Status::Crashed { version, why: error.to_string(), refused: error.is_refusal() };
                self.pause(status, wishes).await;
            }
        }
    }

    /// A node that runs and tells how large this one may become: one of the other environment, if that runs. Those of this
    /// one's environment that do not run yet are about to be started with it.
    fn beside(&self) -> Option<Beside> {
        let runs = |member: &Member| match &*self.others.get(member)?.borrow() {
            Status::Running(running) => Some(running.process.clone()),
            _ => None,
        };
        let colour = self.member.colour;
        let others = self.others.keys().filter(|other| **other != self.member);
        let of_other =
            others.clone().find_map(|other| runs(other).filter(|_| other.colour != colour).map(|it| (other, it)));
        let own = || others.clone().find_map(|other| runs(other).map(|process| (other, process)));
        let (member, process) = of_other.or_else(own)?;
        let more = others
            .clone()
            .filter(|other| other.colour == colour && other.number < self.options.replicas && runs(other).is_none());
        Some(Beside { member: *member, process, more: more.count() as u64 })
    }

    /// Returns when the process ended or something else is wanted.
    async fn watch(&mut self, mut kept: Kept, wishes: &mut watch::Receiver<Wanted>) {
        let mut poll = POLL_MIN;
        let why = loop {
            let (bound, pid) = (kept.bound, kept.process.identity().pid);
            tokio::select! {
                ending = kept.process.ended() => break self.last_words(&format!("process {pid} {ending}")),
                _ = wishes.changed() => {
                    self.kept = Some(kept);
                    return;
                }
                progress = self.progress(pid, bound, poll), if !kept.ready => match progress {
                    Ok(Progress::None) => poll = (poll * 2).min(POLL_MAX),
                    Ok(Progress::Bound(addresses)) => {
                        self.bind(&mut kept, addresses);
                        self.publish_running(&kept);
                        poll = POLL_MIN;
                    }
                    Ok(Progress::Ready) => {
                        kept.ready = true;
                        self.publish_running(&kept);
                        self.note_served();
                    }
                    Err(error) => {
                        if !end(&mut kept.process, Manner::Told, &self.options.patience).await {
                            self.kept = Some(kept);
                            return;
                        }
                        break error.to_string();
                    }
                }
            }
        };
        if kept.since.elapsed() >= self.options.patience.lived {
            self.crashes = 0;
        }
        let version = self.version();
        self.pause(Status::Crashed { version, why, refused: false }, wishes).await;
    }

    /// What a process on its way up has reached after `poll`.
    async fn progress(&self, pid: u32, bound: bool, poll: Duration) -> Result<Progress, SupervisorError> {
        tokio::time::sleep(poll).await;
        if !bound {
            return Ok(self.read_ready(pid)?.map_or(Progress::None, Progress::Bound));
        }
        Ok(match self.ask_state().await {
            Some(state) if state.ready => Progress::Ready,
            _ => Progress::None,
        })
    }

    /// Publishes a crash and waits before the next attempt, unless something else is wanted first.
    async fn pause(&mut self, crashed: Status, wishes: &mut watch::Receiver<Wanted>) {
        let doubled = self.options.patience.restart_min.saturating_mul(1 << self.crashes.min(16));
        let pause = doubled.min(self.options.patience.restart_max);
        self.crashes = self.crashes.saturating_add(1);
        if let Status::Crashed { version, why, .. } = &crashed {
            let pause_ms = pause.as_millis() as u64;
            tracing::warn!(member = %self.member, version, why, pause_ms, "the node does not run");
        }
        self.status.send_replace(crashed);
        tokio::select! {
            () = tokio::time::sleep(pause) => {}
            _ = wishes.changed() => self.crashes = 0,
        }
    }

    async fn stop(&mut self, mut kept: Kept, wishes: &mut watch::Receiver<Wanted>, drain: &dyn Drain) {
        kept.leaving = true;
        self.publish_running(&kept);
        let patience = self.options.patience;
        let admin = if kept.bound { self.admin() } else { None };
        let mut answers = admin.is_some();
        let silent = async {
            match &admin {
                Some(admin) => falls_silent(admin, &patience).await,
                // It has no address yet, so it has no requests.
                None => std::future::ready(()).await,
            }
        };
        tokio::select! {
            _ = tokio::time::timeout(DRAIN_MAX, drain.drain(self.member)) => {}
            _ = kept.process.ended() => {}
            () = silent => answers = false,
        }
        // It may be wanted again by now.
        let wanted = wishes.borrow().clone();
        if self.serves(&wanted) {
            kept.leaving = false;
            self.publish_running(&kept);
            self.kept = Some(kept);
            return;
        }
        drain.cut(self.member);
        let pid = kept.process.identity().pid;
        let manner = match &admin {
            Some(admin) if answers => Manner::Asked(admin),
            _ => Manner::Silent,
        };
        if !end(&mut kept.process, manner, &patience).await {
            tracing::error!(member = %self.member, pid, "the node does not end, not even by SIGKILL; trying again");
            self.kept = Some(kept);
            return;
        }
        tracing::info!(member = %self.member, pid, "the node has ended");
        self.forget();
        self.crashes = 0;
    }

    /// Ends whatever else was started for this environment's data. While one lives, nothing counts as stopped.
    async fn end_strays(&mut self) -> Result<(), SupervisorError> {
        let ready_path = self.options.folder.ready_path(self.member);
        let found = tokio::task::spawn_blocking(move || process::started_with(READY_FLAG, &ready_path)).await;
        let found = found.map_err(std::io::Error::other).flatten().map_err(SupervisorError::Look)?;
        for stray in found.into_iter().filter_map(Process::attach) {
            self.end_stray(stray).await?;
        }
        Ok(())
    }

    async fn end_stray(&mut self, mut stray: Process) -> Result<(), SupervisorError> {
        let (member, pid) = (self.member, stray.identity().pid);
        tracing::warn!(%member, pid, "ending a process on this environment's data that should not be there");
        if end(&mut stray, Manner::Told, &self.options.patience).await {
            Ok(())
        } else {
            Err(SupervisorError::Unstoppable { member, pid })
        }
    }

    /// Notes a confirmed end.
    fn forget(&mut self) {
        if let Some(record) = &mut self.record {
            record.process = None;
            record.note(&self.options.folder, self.member);
        }
    }

    /// The answer of a node that was found running; `None`: it gave none in time.
    async fn wait_for_answer(&self, process: &mut Process) -> Option<NodeState> {
        let asking = async {
            loop {
                if let Some(state) = self.ask_state().await {
                    return Some(state);
                }
                tokio::time::sleep(POLL_MAX).await;
            }
        };
        tokio::select! {
            _ = process.ended() => None,
            answer = tokio::time::timeout(self.options.patience.answer, asking) => answer.ok().flatten(),
        }
    }

    async fn ask_state(&self) -> Option<NodeState> {
        match self.admin()?.state().await {
            Ok(state) => Some(state),
            Err(error) => {
                tracing::debug!(member = %self.member, %error, "no answer yet");
                None
            }
        }
    }

    /// Reads which addresses process `pid` got, if it has said so.
    fn read_ready(&self, pid: u32) -> Result<Option<Addresses>, SupervisorError> {
        let Some(ready) = self.options.folder.load_ready::<Ready>(self.member)? else { return Ok(None) };
        if ready.pid != pid {
            return Err(SupervisorError::WrongProcess { member: self.member, started: pid, ready: ready.pid });
        }
        Ok(Some(Addresses { http: ready.http, admin: ready.admin }))
    }

    fn bind(&mut self, kept: &mut Kept, addresses: Addresses) {
        kept.bound = true;
        if let Some(record) = &mut self.record
            && record.addresses != addresses
        {
            record.addresses = addresses;
            record.note(&self.options.folder, self.member);
        }
    }

    fn note_served(&mut self) {
        if let Some(record) = &mut self.record
            && !record.served
        {
            record.served = true;
            record.note(&self.options.folder, self.member);
        }
    }

    /// `what` with the last line of the node's log, which usually says why.
    fn last_words(&self, what: &str) -> String {
        match self.options.folder.last_log_line(self.member) {
            Some(line) => format!("{what}; its log ends: {line}"),
            None => what.to_string(),
        }
    }

    fn admin(&self) -> Option<client::Admin> {
        let address = reachable(self.record.as_ref()?.addresses.admin).to_string();
        Some(client::Admin::new(self.http.clone(), &address, &self.admin_token, CALL_TIMEOUT))
    }

    fn version(&self) -> String {
        self.record.as_ref().map(|record| record.launch.version.clone()).unwrap_or_default()
    }

    fn publish_running(&self, kept: &Kept) {
        let Some(Started { launch, addresses, .. }) = &self.record else { return };
        self.status.send_replace(Status::Running(Running {
            version: launch.version.clone(),
            process: kept.process.identity().clone(),
            addresses: Addresses { http: reachable(addresses.http), admin: reachable(addresses.admin) },
            ready: kept.ready,
            leaving: kept.leaving,
            adopted: kept.adopted,
        }));
    }
}
