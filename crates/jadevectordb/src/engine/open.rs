//! Starting a node: hold the folder, recover snapshot and log, then let the threads run.

use super::RoleError;
use super::acknowledge::Confirmations;
use super::role::{RoleFile, new_id};
use super::snapshotter::{self, SnapshotTail, Snapshotter};
use super::writer::{Group, Writer};
use super::{Node, Position, QUEUE_LENGTH, RequestCounters, Shared, Status, indexer, set_aside};
use crate::config::Config;
use crate::feed::Incoming;
use crate::record::Op;
use crate::sample::ReadSample;
use crate::store::Store;
use crate::surroundings::Execution;
use changelog::{DataDir, DataDirError, Log, LogOptions, Recovery, Start};
use parking_lot::{Mutex, RwLock};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{mpsc, watch};
use wire::admin::{FeedState, Role};

/// Why a node does not start. Nothing was changed.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    #[error("{0}")]
    Folder(#[from] DataDirError),
    #[error("{0}")]
    Role(String),
    #[error("the snapshot cannot be used: {0}")]
    Snapshot(String),
    #[error("the log cannot be used: {0}")]
    Log(#[from] changelog::OpenError),
    #[error("{0}")]
    Begin(#[from] super::RoleError),
    #[error("could not start a thread: {0}")]
    Thread(std::io::Error),
    #[error("a node needs a tokio runtime around it")]
    Runtime,
}

pub(super) fn open(config: Config) -> Result<Node, OpenError> {
    let runtime = tokio::runtime::Handle::try_current().map_err(|_| OpenError::Runtime)?;
    let dir = DataDir::open_on(config.surroundings.disk.clone(), &config.data_dir)?;
    let role = RoleFile::load(&dir).map_err(OpenError::Role)?;
    let store = Store::of(&config);
    let (head, tail) = snapshotter::load(&dir, &store).map_err(OpenError::Snapshot)?;
    let start = head.as_ref().map_or_else(Start::beginning, |head| head.start.clone());
    // Log behind the newest snapshot, so that a restart does not begin counting anew.
    let mut log_bytes = 0;
    let replay = |frame: changelog::Frame| -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
        log_bytes += frame.payload.len() as u64;
        store.apply(frame.lsn, Op::decode_up_to(&frame.payload, config.record_format)?);
        Ok(())
    };
    let mut options = LogOptions { segment_bytes: config.limits.segment_bytes, ..LogOptions::default() };
    if matches!(config.surroundings.execution, Execution::Tasks { .. }) {
        // Space is prepared by a thread.
        options.prepare_bytes = 0;
    }
    let (log, recovery) = Log::open_replaying(&dir, options, &start, replay)?;
    report(&recovery);
    let position = Position { lsn: recovery.last_lsn, epoch: recovery.last_epoch };
    let (mut role, first) = match role {
        Some(role) => (role, false),
        None => (RoleFile::first(config.join), true),
    };
    // Before anything comes: from here on it comes in no newer format.
    let lowered = role.held_format > config.record_format;
    role.held_format = role.held_format.min(config.record_format);
    let status = Status {
        file: role.clone(),
        failed: None,
        complete_at: tail.map_or(0, |tail: SnapshotTail| tail.complete_at),
        // Who was primary once and is not said to be it now may have been replaced while it was gone.
        dormant: config.join && matches!(role.role, Role::Primary { .. }),
        session: 0,
    };
    let dormant = status.dormant;
    let due_bytes = config.limits.snapshot_log_bytes;
    let (tasks, queue) = mpsc::channel(QUEUE_LENGTH);
    let shared = Arc::new(Shared {
        log: log.reader(),
        store,
        tasks: tasks.clone(),
        status: watch::Sender::new(status),
        position: watch::Sender::new(position),
        markers: Mutex::default(),
        sums: Mutex::default(),
        feed: Mutex::new(FeedState { connected: false, primary_lsn: 0, lag_ms: 0, seeding: None, error: None }),
        confirmations: Confirmations::new(role.acknowledge.clone(), Duration::from_millis(config.limits.confirm_ms)),
        incoming: Incoming::default(),
        followers: Mutex::default(),
        set_aside: Mutex::new(set_aside::kept(&dir)),
        counters: RequestCounters::default(),
        sample: ReadSample::default(),
        instance: new_id(),
        held_writes: 0.into(),
        held_bytes: 0.into(),
        shed: watch::Sender::new(false),
        faults: RwLock::new(config.faults),
        shutdown: watch::Sender::new(false),
        closed: false.into(),
        dir: Mutex::new(Some(dir.clone())),
        writer: Mutex::new(None),
        indexer: Mutex::new(None),
        config,
    });
    let mut writer = Writer {
        shared: shared.clone(),
        dir: dir.clone(),
        tasks: queue,
        log,
        role,
        position,
        session: 0,
        snapshotter: Snapshotter::new(log_bytes, due_bytes, dir.clone(), tasks.downgrade()),
        group: Group::default(),
    };
    if first || lowered {
        writer.role.store(&writer.dir).map_err(|error| RoleError::Disk(error.to_string()))?;
    }
    if let Role::Primary { epoch } = writer.role.role
        && !dormant
    {
        writer.open_epoch(epoch)?;
    }
    let thread = |name: &str| std::thread::Builder::new().name(name.into());
    let weak = Arc::downgrade(&shared);
    match shared.config.surroundings.execution.clone() {
        Execution::Threads => {
            let writing = thread("writer").spawn(move || run_or_abort(writer)).map_err(OpenError::Thread)?;
            *shared.writer.lock() = Some(writing);
            let indexing = thread("indexer").spawn(move || indexer::run(&weak)).map_err(OpenError::Thread)?;
            *shared.indexer.lock() = Some(indexing);
        }
        Execution::Tasks { pace } => {
            runtime.spawn(writer.run_paced(pace));
            runtime.spawn(indexer::run_as_task(weak));
        }
    }
    let node = Node { shared };
    runtime.spawn(crate::feed::supervise(node.clone()));
    Ok(node)
}

/// A writer that panicked may have applied half a record. Nothing is better then than the state on disk: the process ends,
/// and whoever starts it again recovers.
fn run_or_abort(writer: Writer) {
    if std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| writer.run())).is_err() {
        tracing::error!("the writer thread panicked; the process ends, to recover from its log");
        std::process::abort();
    }
}

fn report(recovery: &Recovery) {
    if let Some(cut) = &recovery.cut {
        tracing::warn!(
            file = %cut.path.display(),
            bytes = recovery.truncated_bytes,
            "an unfinished, never acknowledged group was cut off the log"
        );
    }
    tracing::info!(lsn = recovery.last_lsn, epoch = recovery.last_epoch, records = recovery.frames, "recovered");
}
