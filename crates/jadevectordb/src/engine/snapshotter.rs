//! Snapshots of this node on its own disk, so that the log can be cut and a restart is quick.

use super::{Position, Shared};
use crate::record::FORMAT_MIN;
use crate::store::Store;
use crate::surroundings::Execution;
use bytes::Bytes;
use changelog::{Access, DataDir, Disk, Log, SnapshotHeader, SnapshotReader, SnapshotWriter, Start};
use serde::{Deserialize, Serialize};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;
use tokio::sync::mpsc;
use tokio::time::Instant;
use wire::admin::Lsn;

use super::writer::Task;

/// A follower that was not heard of for so long is not waited for.
const FOLLOWER_FORGOTTEN_AFTER: Duration = Duration::from_secs(600);
/// Bytes copied at once.
const COPY_BYTES: usize = 1 << 20;
/// After a failed snapshot the next one is tried after so much more log.
const RETRY_LOG_BYTES: u64 = 64 << 20;

/// What stands at the head of a snapshot besides the position of the log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct SnapshotHead {
    pub start: Start,
    pub meta: HeadMeta,
}

#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub(crate) struct HeadMeta {
    pub cluster_id: String,
    /// Records at the time; an estimate, for showing progress.
    pub items: u64,
    /// Whose snapshot it is, and of which history of that node: what a stream that broke off needs to go on. Empty when
    /// that node cannot go on.
    #[serde(default)]
    pub node_id: String,
    #[serde(default)]
    pub generation: u64,
    /// Items that came in streams before; this one goes on behind them.
    #[serde(default)]
    pub resumed_behind: u64,
    /// What an older format cannot say is left out of the items.
    #[serde(default = "first_format")]
    pub record_format: u8,
}

fn first_format() -> u8 {
    FORMAT_MIN
}

/// What stands at its end.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct SnapshotTail {
    /// The items are a state of the history once the log is applied up to here.
    pub complete_at: Lsn,
}

impl SnapshotHead {
    /// Head of a snapshot that begins now. `None` while the log has been replaced under the reader.
    pub fn of(shared: &Shared) -> Option<SnapshotHead> {
        let lsn = shared.position.borrow().lsn;
        SnapshotHead::begun_at(shared, lsn)
    }

    /// Head of a snapshot that began when this node stood at `lsn`.
    pub fn begun_at(shared: &Shared, lsn: Lsn) -> Option<SnapshotHead> {
        let start = shared.log.renewed().start_at(lsn)?;
        let (cluster_id, node_id) = {
            let file = &shared.status.borrow().file;
            (file.cluster_id.clone(), file.node_id.clone())
        };
        let (items, generation) = (shared.store.item_count(), start.generation);
        let record_format = shared.config.record_format;
        let meta = HeadMeta { cluster_id, items, node_id, generation, resumed_behind: 0, record_format };
        Some(SnapshotHead { start, meta })
    }

    pub fn to_header(&self) -> Result<SnapshotHeader, String> {
        let meta = serde_json::to_vec(&self.meta).map_err(|error| error.to_string())?;
        Ok(SnapshotHeader { start: self.start.clone(), meta: meta.into() })
    }

    pub fn from_header(header: &SnapshotHeader) -> Result<SnapshotHead, String> {
        let meta = serde_json::from_slice(&header.meta).map_err(|error| error.to_string())?;
        Ok(SnapshotHead { start: header.start.clone(), meta })
    }
}

impl SnapshotTail {
    /// Tail of a snapshot whose last item was read from the store just now. What the store has is on disk before, and
    /// announced after: the announced position may be that before a group of which half was read.
    pub fn of(shared: &Shared) -> SnapshotTail {
        SnapshotTail { complete_at: shared.log.renewed().durable().0 }
    }

    pub fn to_bytes(self) -> Result<Bytes, String> {
        serde_json::to_vec(&self).map(Bytes::from).map_err(|error| error.to_string())
    }

    pub fn from_bytes(bytes: &[u8]) -> Result<SnapshotTail, String> {
        serde_json::from_slice(bytes).map_err(|error| error.to_string())
    }
}

/// What a snapshot of this node stands for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Through {
    /// Which history of this folder: see [`Start::generation`].
    pub generation: u64,
    /// Its last LSN that the snapshot stands for.
    pub lsn: Lsn,
}

/// Reads the newest snapshot into `store`.
///
/// # Errors
/// A text that names the file and the damage.
pub(super) fn load(dir: &DataDir, store: &Store) -> Result<(Option<SnapshotHead>, Option<SnapshotTail>), String> {
    let Some(reader) = SnapshotReader::open_latest(dir).map_err(|error| error.to_string())? else {
        return Ok((None, None));
    };
    let (head, tail) = read_into(reader, store)?;
    Ok((Some(head), Some(tail)))
}

/// Reads a whole snapshot into `store`.
///
/// # Errors
/// A text that names the file and the damage; `store` is then to be dropped.
pub(crate) fn read_into(mut reader: SnapshotReader, store: &Store) -> Result<(SnapshotHead, SnapshotTail), String> {
    let path = reader.path().display().to_string();
    while let Some(item) = reader.next_item().map_err(|error| error.to_string())? {
        store.restore(&item).map_err(|error| format!("{path}: {error}"))?;
    }
    let named = |error: String| format!("{path}: {error}");
    let head = SnapshotHead::from_header(reader.header()).map_err(named)?;
    let tail = reader.trailer().ok_or_else(|| format!("{path}: it has no end"))?;
    Ok((head, SnapshotTail::from_bytes(&tail.meta).map_err(named)?))
}

/// Decides when a snapshot is due, has it written beside the writer, and cuts the log afterwards.
pub(super) struct Snapshotter {
    /// Log written since the last snapshot.
    pub log_bytes: u64,
    due_bytes: u64,
    dir: DataDir,
    tasks: mpsc::WeakSender<Task>,
    writing: Option<Writing>,
}

/// Who writes a snapshot.
enum Writing {
    Thread(std::thread::JoinHandle<()>),
    Task,
}

impl Snapshotter {
    pub fn new(log_bytes: u64, due_bytes: u64, dir: DataDir, tasks: mpsc::WeakSender<Task>) -> Self {
        Self { log_bytes, due_bytes, dir, tasks, writing: None }
    }

    /// Begins a snapshot if enough log was written since the last.
    pub fn consider(&mut self, shared: &Arc<Shared>, position: Position) {
        let complete = position.lsn >= shared.status.borrow().complete_at;
        if self.writing.is_some() || self.log_bytes < self.due_bytes || !complete {
            return;
        }
        self.log_bytes = 0;
        let execution = shared.config.surroundings.execution.clone();
        let (shared, dir, tasks) = (shared.clone(), self.dir.clone(), self.tasks.clone());
        // When the node closes meanwhile, there is nobody to be told; the snapshot is used at the next start all the same.
        match execution {
            Execution::Threads => {
                let write = move || {
                    let through = write(&shared, &dir);
                    if let Some(tasks) = tasks.upgrade() {
                        let _ = tasks.blocking_send(Task::SnapshotWritten { through });
                    }
                };
                match std::thread::Builder::new().name("snapshot".into()).spawn(write) {
                    Ok(thread) => self.writing = Some(Writing::Thread(thread)),
                    Err(error) => tracing::error!(%error, "no thread for a snapshot; the next one is tried later"),
                }
            }
            Execution::Tasks { .. } => {
                self.writing = Some(Writing::Task);
                tokio::spawn(async move {
                    let through = write(&shared, &dir);
                    if let Some(tasks) = tasks.upgrade() {
                        let _ = tasks.send(Task::SnapshotWritten { through }).await;
                    }
                });
            }
        }
    }

    /// Cuts the log after a snapshot, but not what followers still need, up to a bound.
    pub fn written(&mut self, shared: &Shared, log: &mut Log, through: Result<Through, String>) {
        self.writing = None;
        let lsn = match through {
            // Of the history that was replaced while it was written: it says nothing about this log.
            Ok(Through { generation, .. }) if generation != log.generation() => return,
            Ok(Through { lsn, .. }) => lsn,
            Err(error) => {
                tracing::error!(error, "a snapshot could not be written; the log is kept and grows");
                self.log_bytes = self.due_bytes.saturating_sub(RETRY_LOG_BYTES);
                return;
            }
        };
        let needed = {
            let mut followers = shared.followers.lock();
            followers.retain(|_, follower| follower.seen.elapsed() < FOLLOWER_FORGOTTEN_AFTER);
            followers.values().map(|follower| follower.sent_lsn).min().unwrap_or(lsn)
        };
        let bound = log.first_lsn_within(shared.config.limits.retained_log_bytes);
        let before = needed.max(bound.saturating_sub(1)).min(lsn) + 1;
        match log.truncate_before(before) {
            Ok(0) => {}
            Ok(removed) => tracing::info!(removed, before, "log segments removed"),
            Err(error) => tracing::warn!(%error, "the log was not cut"),
        }
    }

    /// Waits for a snapshot that is being written.
    pub fn finish(&mut self) {
        if let Some(Writing::Thread(thread)) = self.writing.take()
            && thread.join().is_err()
        {
            tracing::error!("writing a snapshot panicked");
        }
    }
}

fn write(shared: &Shared, dir: &DataDir) -> Result<Through, String> {
    let began = Instant::now();
    let head = SnapshotHead::of(shared).ok_or("the log was replaced meanwhile")?;
    let mut writer = SnapshotWriter::create(dir, &head.to_header()?).map_err(|error| error.to_string())?;
    shared.store.snapshot(|item| {
        if shared.closed.load(Ordering::SeqCst) {
            return Err("the node closes".to_string());
        }
        writer.item(&item).map_err(|error| error.to_string())
    })?;
    let tail = SnapshotTail::of(shared);
    let items = writer.items();
    writer.finish(&tail.to_bytes()?).map_err(|error| error.to_string())?;
    tracing::info!(lsn = head.start.lsn, items, ms = began.elapsed().as_millis() as u64, "snapshot written");
    Ok(Through { generation: head.start.generation, lsn: head.start.lsn })
}

/// Copies the files of one folder (no folders below) into another, durably.
pub(super) fn copy_folder(disk: &dyn Disk, from: &Path, to: &Path) -> Result<(), String> {
    let failed = |path: &Path, error: std::io::Error| format!("{}: {error}", path.display());
    disk.create_dir(to).map_err(|error| failed(to, error))?;
    let entries = match disk.list(from) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(()),
        other => other.map_err(|error| failed(from, error))?,
    };
    for entry in entries {
        let Some(name) = entry.file_name() else { continue };
        copy_file(disk, &entry, &to.join(name))?;
    }
    disk.sync_dir(to).map_err(|error| failed(to, error))
}

fn copy_file(disk: &dyn Disk, from: &Path, to: &Path) -> Result<(), String> {
    let failed = |path: &Path, error: std::io::Error| format!("{}: {error}", path.display());
    let source = disk.open(from, Access::Read).map_err(|error| failed(from, error))?;
    let target = disk.open(to, Access::Create).map_err(|error| failed(to, error))?;
    let mut block = vec![0; COPY_BYTES];
    let mut at = 0;
    loop {
        let count = match source.read_at(&mut block, at) {
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => continue,
            other => other.map_err(|error| failed(from, error))?,
        };
        if count == 0 {
            return target.sync_all().map_err(|error| failed(to, error));
        }
        target.write_all_at(&block[..count], at).map_err(|error| failed(to, error))?;
        at += count as u64;
    }
}
