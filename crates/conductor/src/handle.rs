//! The handle others hold: commands in, snapshots out.

use crate::engine::{Ask, Engine};
use crate::info::Info;
use crate::report::Report;
use crate::verify::{Directory, VerifyError};
use crate::verify_nodes::verify_all;
use crate::{Platform, PlatformError};
use client::Http;
use clock::Clock;
use parking_lot::Mutex;
use rollout::{Command, Phase, Refused};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::JoinHandle;
use wire::control::Verified;
use wire::document::BlueGreen;

/// Commands that may wait for the engine.
const ASKS_MAX: usize = 16;
/// A handover holds writes for a second at most, unless set otherwise.
const HANDOVER_WAIT: Duration = Duration::from_secs(3);
/// Handovers that a comparison lets pass.
const HANDOVERS_WAITED_MAX: usize = 3;

/// A running conductor. It ends with [`Conductor::stop`], or when the handle is dropped; the nodes run on.
pub struct Conductor {
    asks: mpsc::Sender<Ask>,
    info: watch::Receiver<Info>,
    report: watch::Receiver<Option<Arc<Report>>>,
    directory: watch::Receiver<Directory>,
    http: Http,
    stop: watch::Sender<bool>,
    task: Mutex<Option<JoinHandle<()>>>,
}

/// Why a conductor did not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    #[error("could not read where the rollout stands: {0}")]
    Load(PlatformError),
    #[error("could not store the first state: {0}")]
    Store(PlatformError),
}

/// Why a command was not carried out.
#[derive(Debug, thiserror::Error)]
pub enum CommandError {
    #[error(transparent)]
    Refused(#[from] Refused),
    #[error("the command was not stored, try again: {0}")]
    NotStored(String),
    #[error("the conductor has stopped: {0}")]
    Stopped(String),
}

impl Conductor {
    /// Reads the state, or stores the first one, and begins to work. Needs a tokio runtime.
    ///
    /// # Errors
    /// [`StartError`] when the state can be neither read nor stored.
    pub async fn start<P: Platform>(platform: Arc<P>, document: BlueGreen) -> Result<Conductor, StartError> {
        Self::start_with(platform, document, Http::new(), Clock::system()).await
    }

    /// As [`Conductor::start`], over this network and by this clock.
    ///
    /// # Errors
    /// [`StartError`] when the state can be neither read nor stored.
    pub async fn start_with<P: Platform>(
        platform: Arc<P>,
        document: BlueGreen,
        http: Http,
        clock: Clock,
    ) -> Result<Conductor, StartError> {
        let engine = Engine::open(platform, document, http.clone(), clock).await?;
        let (info, report, directory) = (engine.info(), engine.report(), engine.directory());
        let (asks, asked) = mpsc::channel(ASKS_MAX);
        let (stop, stopping) = watch::channel(false);
        let task = tokio::spawn(engine.run(asked, stopping));
        Ok(Conductor { asks, info, report, directory, http, stop, task: Mutex::new(Some(task)) })
    }

    /// Carries `command` out as far as storing it; the answer shows the new phase.
    ///
    /// # Errors
    /// [`CommandError`] says why not; nothing has changed then.
    pub async fn command(&self, command: Command) -> Result<Info, CommandError> {
        let (reply, answer) = oneshot::channel();
        let stopped = || CommandError::Stopped(self.info.borrow().stopped.clone().unwrap_or_else(|| "it ended".into()));
        self.asks.send(Ask { command, reply }).await.map_err(|_| stopped())?;
        answer.await.unwrap_or_else(|_| Err(stopped()))
    }

    /// The latest snapshot.
    pub fn info(&self) -> Info {
        self.info.borrow().clone()
    }

    /// Tells of every new snapshot.
    pub fn subscribe(&self) -> watch::Receiver<Info> {
        self.info.clone()
    }

    /// The rollout under way, or the last one since this conductor began.
    pub fn report(&self) -> Option<Arc<Report>> {
        self.report.borrow().clone()
    }

    /// Tells whenever a report has grown.
    pub fn subscribe_report(&self) -> watch::Receiver<Option<Arc<Report>>> {
        self.report.clone()
    }

    /// Compares all copies at one LSN; `deep`: each also recomputes its digest from storage. When the other environment
    /// does not follow there is nothing to compare, and `why` says so. A handover that comes in between is waited for.
    ///
    /// # Errors
    /// [`VerifyError`] when a node that should answer does not.
    pub async fn verify(&self, deep: bool) -> Result<Verified, VerifyError> {
        let mut snapshots = self.info.clone();
        for _ in 0..HANDOVERS_WAITED_MAX {
            let generation = snapshots.borrow_and_update().generation;
            let directory = self.directory.borrow().clone();
            let result = verify_all(&self.http, &directory, deep).await;
            let compared =
                result.as_ref().is_ok_and(|verified| verified.environments.iter().all(|(_, seen)| seen.is_some()));
            // What was asked of a node in one role it refuses in another.
            let moved = {
                let now = snapshots.borrow();
                matches!(now.phase, Phase::HandingOver { .. })
                    || now.primary != directory.primary
                    || now.generation != generation
            };
            if compared || !moved {
                return result;
            }
            let over = snapshots.wait_for(|info| !matches!(info.phase, Phase::HandingOver { .. }));
            // One that does not end is told of by what the nodes answer.
            let _ = tokio::time::timeout(HANDOVER_WAIT, over).await;
        }
        let directory = self.directory.borrow().clone();
        verify_all(&self.http, &directory, deep).await
    }

    /// Ends the work and waits for its end, which comes at once, or when writes no longer wait for a handover.
    pub async fn stop(&self) {
        self.stop.send_replace(true);
        let task = self.task.lock().take();
        if let Some(task) = task
            && let Err(error) = task.await
            && error.is_panic()
        {
            tracing::error!("the conductor ended by a panic: {error}");
        }
    }

    /// Ends it as a crash would: in the middle of whatever it does. For tests and simulations.
    pub async fn crash(&self) {
        let task = self.task.lock().take();
        if let Some(task) = task {
            task.abort();
            // Whether it was cancelled or had ended by itself: it is gone.
            let _ = task.await;
        }
    }
}
