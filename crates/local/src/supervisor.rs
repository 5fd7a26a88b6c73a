//! Keeps one process per node running as wanted, and finds the ones that an earlier supervisor left.
//!
//! **Invariant.** [`Status::Stopped`] is told only when the process is known to be gone and none is wanted: who sees it may
//! rely on nothing of that node writing any more.
//! **Invariant.** The supervisor's own end, however it comes, ends no process.

mod adopt;
mod begin;
mod end;
mod keeper;
mod record;

use crate::folder::{Folder, FolderError};
use crate::launch::{Addresses, Launch};
use crate::process::Identity;
pub(crate) use begin::check_addresses;
use keeper::Keeper;
use std::collections::BTreeMap;
use std::future::Future;
use std::path::PathBuf;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;
use tokio::task::{JoinHandle, JoinSet};
use wire::Member;
use wire::admin::Lsn;
use wire::document::Local;

/// What shall run as one node.
#[derive(Debug, Clone, PartialEq)]
pub enum Wanted {
    /// Nobody said yet: what runs goes on, nothing is started.
    Undecided,
    Nothing,
    Run(Box<Launch>),
}

/// What runs as one node.
#[derive(Debug, Clone, PartialEq)]
pub enum Status {
    /// Nothing, and nothing will be started; confirmed.
    Stopped,
    /// A process may exist at any moment.
    Starting {
        version: String,
    },
    Running(Running),
    /// It ended by itself or could not be started; the next attempt comes after a pause.
    Crashed {
        version: String,
        why: String,
        refused: bool,
    },
}

#[derive(Debug, Clone, PartialEq)]
pub struct Running {
    pub version: String,
    pub process: Identity,
    /// Where it listens; a port of 0 until the process has told which one it got.
    pub addresses: Addresses,
    /// It has said once that it accepts requests.
    pub ready: bool,
    /// It is about to be ended: nothing new should be sent there.
    pub leaving: bool,
    /// It was found running, not started by this supervisor.
    pub adopted: bool,
}

/// Waits until no request is under way at a node that is about to end; bounded by the implementation.
pub trait Drain: Send + Sync + 'static {
    fn drain(&self, member: Member) -> Pin<Box<dyn Future<Output = ()> + Send + '_>>;

    /// Breaks off what is left, or what cannot be waited for because the process hangs.
    fn cut(&self, member: Member);
}

/// Nothing is in front of the nodes.
#[derive(Debug, Clone, Copy)]
pub struct NoDrain;

impl Drain for NoDrain {
    fn drain(&self, _: Member) -> Pin<Box<dyn Future<Output = ()> + Send + '_>> {
        Box::pin(std::future::ready(()))
    }

    fn cut(&self, _: Member) {}
}

/// How long each thing may take.
#[derive(Debug, Clone, Copy)]
pub struct Patience {
    /// For a node that agreed to stop, and then again after SIGTERM, and after SIGKILL.
    pub stop: Duration,
    pub terminate: Duration,
    pub kill: Duration,
    /// For a node that was found running to answer.
    pub answer: Duration,
    /// For a node that is to end to answer a question: one that does not is not waited for, because a rollback may wait
    /// until it is known to be gone.
    pub silent: Duration,
    /// Pause after the first crash; each further one doubles it, up to `restart_max`.
    pub restart_min: Duration,
    pub restart_max: Duration,
    /// A process that lived this long begins with the shortest pause again.
    pub lived: Duration,
}

impl Default for Patience {
    fn default() -> Self {
        Self {
            stop: Duration::from_secs(10),
            terminate: Duration::from_secs(5),
            kill: Duration::from_secs(5),
            answer: Duration::from_secs(5),
            silent: Duration::from_secs(1),
            restart_min: Duration::from_millis(100),
            restart_max: Duration::from_secs(5),
            lived: Duration::from_secs(30),
        }
    }
}

impl Patience {
    /// Longest time that stopping one process takes, drain excluded.
    pub fn stop_max(&self) -> Duration {
        self.stop + self.terminate + self.kill
    }
}

/// Everything the keepers of all nodes share.
pub struct SupervisorOptions {
    pub folder: Folder,
    /// Addresses from the document.
    pub local: Local,
    /// Nodes of each environment.
    pub replicas: u8,
    /// Program started as `<node_program> node` for versions without a program of their own.
    pub node_program: PathBuf,
    pub patience: Patience,
}

#[derive(Debug, thiserror::Error)]
pub enum SupervisorError {
    #[error(transparent)]
    Folder(#[from] FolderError),
    #[error("{0}")]
    Address(String),
    #[error("could not look for running nodes: {0}")]
    Look(std::io::Error),
    #[error(
        "the {member} node is process {ready}, but process {started} was started: a program that wraps the node must replace \
         itself by it (`exec`)"
    )]
    WrongProcess { member: Member, started: u32, ready: u32 },
    #[error(
        "the {member} node (process {pid}) does not end, not even by SIGKILL: look at it with `ps -o stat,wchan -p {pid}`"
    )]
    Unstoppable { member: Member, pid: u32 },
}

/// The processes that an earlier supervisor left; nobody watches them yet.
pub struct Adopted {
    keepers: BTreeMap<Member, Keeper>,
    status: Statuses,
    stop_max: Duration,
}

/// The processes of all nodes.
pub struct Supervisor {
    wanted: BTreeMap<Member, watch::Sender<Wanted>>,
    status: Statuses,
    keepers: Vec<JoinHandle<()>>,
    stop_max: Duration,
}

/// What runs, by node; a node that is not in it was never wanted.
pub(crate) type Statuses = BTreeMap<Member, watch::Receiver<Status>>;

/// Longest time that [`Drain::drain`] is waited for.
const DRAIN_MAX: Duration = Duration::from_secs(6);

pub(crate) fn status_of(statuses: &Statuses, member: Member) -> Status {
    statuses.get(&member).map_or(Status::Stopped, |status| status.borrow().clone())
}

impl Adopted {
    /// Takes over what runs already. Starts nothing.
    ///
    /// # Errors
    /// When the folder cannot be read, or a process that does not answer cannot be ended.
    pub async fn find(options: SupervisorOptions) -> Result<Self, SupervisorError> {
        let stop_max = options.patience.stop_max();
        let options = Arc::new(options);
        // Made now if it never was: the keepers read it at the same time.
        options.folder.admin_token()?;
        let members = options.folder.members(options.replicas);
        let (senders, status): (Vec<_>, Statuses) = members
            .into_iter()
            .map(|member| {
                let (sender, seen) = watch::channel(Status::Stopped);
                ((member, sender), (member, seen))
            })
            .unzip();
        let mut adopting = JoinSet::new();
        for (member, sender) in senders {
            let (options, status) = (options.clone(), status.clone());
            adopting.spawn(async move { (member, Keeper::adopt(member, options, sender, status).await) });
        }
        let mut keepers = BTreeMap::new();
        while let Some(adopted) = adopting.join_next().await {
            let (member, keeper) =
                adopted.map_err(|error| SupervisorError::Look(std::io::Error::other(error.to_string())))?;
            keepers.insert(member, keeper?);
        }
        Ok(Self { keepers, status, stop_max })
    }

    pub fn status(&self, of: impl Into<Member>) -> Status {
        status_of(&self.status, of.into())
    }

    /// Every node that runs or may come to run.
    pub fn members(&self) -> Vec<Member> {
        self.status.keys().copied().collect()
    }

    /// Tells about changes of all nodes, also later, under supervision.
    pub(crate) fn watch(&self) -> Statuses {
        self.status.clone()
    }

    /// Last LSN of the nodes that were found running: all that an earlier gateway acknowledged is at most that.
    pub fn last_lsn(&self) -> Lsn {
        self.keepers.values().map(Keeper::found_lsn).max().unwrap_or(0)
    }

    /// Begins to watch. Before a process ends, `drain` waits for the requests at it.
    pub fn supervise(self, drain: Arc<dyn Drain>) -> Supervisor {
        let mut wanted = BTreeMap::new();
        let mut keepers = Vec::new();
        for (member, keeper) in self.keepers {
            let wish = watch::Sender::new(Wanted::Undecided);
            keepers.push(tokio::spawn(keeper.run(wish.subscribe(), drain.clone())));
            wanted.insert(member, wish);
        }
        Supervisor { wanted, status: self.status, keepers, stop_max: self.stop_max }
    }
}

impl Supervisor {
    /// Says what shall run. Returns at once; nothing happens when it was said before.
    pub fn want(&self, of: impl Into<Member>, wanted: Wanted) {
        let Some(wish) = self.wanted.get(&of.into()) else { return };
        wish.send_if_modified(|said| {
            let changed = *said != wanted;
            if changed {
                *said = wanted;
            }
            changed
        });
    }

    /// Every node that runs or may come to run.
    pub fn members(&self) -> Vec<Member> {
        self.wanted.keys().copied().collect()
    }

    pub fn status(&self, of: impl Into<Member>) -> Status {
        let member = of.into();
        match (status_of(&self.status, member), self.wanted.get(&member).map(|wish| wish.borrow().clone())) {
            // The keeper has not heard of the wish yet.
            (Status::Stopped, Some(Wanted::Run(launch))) => Status::Starting { version: launch.version },
            (status, _) => status,
        }
    }

    /// Tells about changes of one node; `None`: there is no such node.
    pub fn watch(&self, of: impl Into<Member>) -> Option<watch::Receiver<Status>> {
        self.status.get(&of.into()).cloned()
    }

    /// Ends the processes that `which` picks, gracefully at first, and waits until they are gone.
    ///
    /// # Errors
    /// [`SupervisorError::Unstoppable`] when one outlives SIGKILL.
    pub async fn stop(&self, which: impl Fn(&Running) -> bool) -> Result<(), SupervisorError> {
        let mut chosen = Vec::new();
        for member in self.members() {
            let keep = matches!(self.status(member), Status::Running(running) if !which(&running));
            if !keep {
                self.want(member, Wanted::Nothing);
                chosen.push(member);
            }
        }
        for member in chosen {
            let Some(mut status) = self.watch(member) else { continue };
            let stopped = status.wait_for(|status| matches!(status, Status::Stopped));
            // Twice: a process may be on its way up at the moment of the wish.
            let limit = 2 * (DRAIN_MAX + self.stop_max);
            if tokio::time::timeout(limit, stopped).await.is_err()
                && let Status::Running(running) = self.status(member)
            {
                return Err(SupervisorError::Unstoppable { member, pid: running.process.pid });
            }
        }
        Ok(())
    }

    /// Ends the supervision; what runs goes on.
    pub async fn leave(self) {
        drop(self.wanted);
        for keeper in self.keepers {
            // A keeper in the middle of a start finishes it, so that the folder tells what runs.
            if let Err(error) = keeper.await {
                tracing::error!(%error, "the keeper of a node broke off");
            }
        }
    }
}
