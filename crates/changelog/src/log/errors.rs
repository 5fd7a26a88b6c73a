//! Why the log did not do what its writer asked.

use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use thiserror::Error;

use crate::epochs::StartError;
use crate::frame::FrameError;
use crate::{Epoch, Lsn};

/// A write or sync that failed: the log takes nothing any more until it is opened again.
#[derive(Debug, Clone, Error)]
#[error("cannot {action} {}: {error}", path.display())]
pub struct Failure {
    /// What was attempted.
    pub action: &'static str,
    pub path: PathBuf,
    pub error: Arc<io::Error>,
}

/// Why frames were not appended or not synced.
#[derive(Debug, Clone, Error)]
pub enum AppendError {
    #[error("LSN {found} does not continue the log: LSN {expected} is next")]
    NotNext { expected: Lsn, found: Lsn },
    #[error("LSN {lsn} has epoch {found}: it must be at least 1 and at least that of the record before, {before}")]
    EpochFell { lsn: Lsn, before: Epoch, found: Epoch },
    #[error(transparent)]
    Frame(#[from] FrameError),
    /// Nothing was written. The same frames may be appended once space was freed.
    #[error(
        "the disk of {} is full: the {bytes} bytes from LSN {lsn} on were not written; free space and try again",
        path.display()
    )]
    DiskFull { path: PathBuf, lsn: Lsn, bytes: u64 },
    /// The first failure.
    #[error("the log stops: {0}; repair the disk and start again")]
    Failed(Failure),
    /// There was a failure before; nothing was attempted.
    #[error("the log has stopped: {first}; repair the disk and start again")]
    Poisoned { first: Failure },
}

impl AppendError {
    /// Whether the log has stopped for good: only opening it again helps.
    pub fn is_final(&self) -> bool {
        matches!(self, AppendError::Failed(_) | AppendError::Poisoned { .. })
    }
}

/// A segment was not removed.
#[derive(Debug, Error)]
#[error("cannot remove the log segment {}: {error}", path.display())]
pub struct TruncateError {
    pub path: PathBuf,
    pub error: io::Error,
}

/// Why the log was not reset.
#[derive(Debug, Error)]
pub enum ResetError {
    #[error("the log has stopped: {first}; repair the disk and start again")]
    Poisoned { first: Failure },
    #[error("cannot reset the log: {0}")]
    Start(#[from] StartError),
    #[error("cannot reset a log of generation {log} to generation {start}: it must be higher")]
    Generation { log: u64, start: u64 },
    #[error("cannot reset the log: {0}")]
    Failed(Failure),
}
