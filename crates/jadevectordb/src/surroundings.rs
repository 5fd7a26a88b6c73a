//! What a node stands on. The real thing unless told otherwise, so that a simulation can run the same node.

use changelog::{Disk, LocalDisk};
use client::Http;
use clock::Clock;
use std::sync::Arc;
use std::time::Duration;
use tokio::task::JoinError;

/// Clock, network, disk and threads of a node.
#[derive(Debug, Clone)]
pub struct Surroundings {
    /// To other nodes.
    pub http: Http,
    /// For what is written down or shown.
    pub clock: Clock,
    /// What its data folder is on.
    pub disk: Arc<dyn Disk>,
    pub execution: Execution,
}

impl Default for Surroundings {
    fn default() -> Self {
        let (http, clock, execution) = (Http::default(), Clock::default(), Execution::default());
        Self { http, clock, disk: Arc::new(LocalDisk), execution }
    }
}

/// On what the parts of a node run that work beside its requests.
#[derive(Clone, Default)]
pub enum Execution {
    /// On threads of their own.
    #[default]
    Threads,
    /// As tasks of the runtime, one step after the other and nothing at the same time, so that a run can be repeated.
    /// A group of writes is begun `pace` after its first task came: as if the disk took so long.
    Tasks { pace: Arc<dyn Fn() -> Duration + Send + Sync> },
}

impl Execution {
    /// Does `work` out of the way of the requests.
    ///
    /// # Errors
    /// It panicked.
    pub async fn aside<T: Send + 'static>(&self, work: impl FnOnce() -> T + Send + 'static) -> Result<T, JoinError> {
        match self {
            Execution::Threads => tokio::task::spawn_blocking(work).await,
            Execution::Tasks { .. } => tokio::spawn(async { work() }).await,
        }
    }
}

impl std::fmt::Debug for Execution {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Execution::Threads => "Threads",
            Execution::Tasks { .. } => "Tasks",
        })
    }
}
