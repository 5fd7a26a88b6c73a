//! The node itself: one writer thread that owns log, store and role; everyone else reads, or sends it a task.
//!
//! A write's life: [`Node::write`] -> queue -> writer thread (checks, appends a group, one fsync, applies) -> answer.
//! While one group is on its way to the disk the next one gathers: group commit without a timer.

mod acknowledge;
mod indexer;
mod open;
mod role;
mod set_aside;
mod snapshotter;
mod writer;

pub use open::OpenError;
pub use role::{Change, RoleError, RoleFile};
pub(crate) use snapshotter::read_into as read_snapshot;
pub(crate) use snapshotter::{SnapshotHead, SnapshotTail};
pub(crate) use writer::Seed;

use crate::config::Config;
use crate::fault::Faults;
use crate::feed::Incoming;
use crate::record::{Answered, FORMAT_KEYED, Op};
use crate::sample::ReadSample;
use crate::store::{Digest, Store};
use crate::surroundings::Execution;
use acknowledge::{Confirmations, Verdict};
use bytes::Bytes;
use changelog::{DataDir, Frame, LogReader};
use parking_lot::{Mutex, RwLock};
use std::collections::{BTreeMap, VecDeque};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::Instant;
use wire::admin::{
    AcknowledgeBy, Epoch, FeedState, LISTED_RECORDS_MAX, ListedRecords, Lsn, Peer, Role, Sealed, SetAside,
};
use wire::latency::LatencyCounter;
use writer::Task;

/// Writes waiting for the writer thread. With 1,500-byte records that is 12 MB; batches are bounded by their bodies.
const QUEUE_LENGTH: usize = 8_192;
/// Digests remembered at markers.
const MARKERS_KEPT: usize = 64;
/// Sums of all buckets remembered at markers that were asked for, 2 MiB each: for one comparison and another one beside it.
const SUMS_KEPT: usize = 2;

/// A running node; cloning shares it.
#[derive(Clone)]
pub struct Node {
    shared: Arc<Shared>,
}

pub(crate) struct Shared {
    pub config: Config,
    pub store: Store,
    pub log: LogReader,
    tasks: mpsc::Sender<Task>,
    pub status: watch::Sender<Status>,
    pub position: watch::Sender<Position>,
    pub markers: Mutex<VecDeque<(Lsn, Digest)>>,
    pub sums: Mutex<VecDeque<(Lsn, Bytes)>>,
    pub feed: Mutex<FeedState>,
    pub confirmations: Confirmations,
    /// A snapshot of another node, as far as it came.
    pub incoming: Incoming,
    pub followers: Mutex<BTreeMap<String, FollowerSeen>>,
    /// Oldest first.
    pub set_aside: Mutex<Vec<SetAside>>,
    pub counters: RequestCounters,
    sample: ReadSample,
    pub instance: String,
    held_writes: AtomicU64,
    held_bytes: AtomicU64,
    /// Clients are to ask somebody else.
    pub shed: watch::Sender<bool>,
    faults: RwLock<Faults>,
    shutdown: watch::Sender<bool>,
    closed: AtomicBool,
    /// Held until the node is closed.
    dir: Mutex<Option<DataDir>>,
    writer: Mutex<Option<std::thread::JoinHandle<()>>>,
    indexer: Mutex<Option<std::thread::JoinHandle<()>>>,
}

/// Role and what goes with it; changes rarely.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Status {
    pub file: RoleFile,
    /// Why writes are refused for good.
    pub failed: Option<String>,
    /// A seeded follower is complete from this LSN on.
    pub complete_at: Lsn,
    /// The role is primary, and nobody has said so since the start: nothing is admitted.
    pub dormant: bool,
    /// Which `follow` call is in force; what an earlier one still delivers is refused.
    pub session: u64,
}

/// Last record on disk and applied.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Position {
    pub lsn: Lsn,
    pub epoch: Epoch,
}

/// When and how far a follower was last served.
pub(crate) struct FollowerSeen {
    pub sent_lsn: Lsn,
    pub seen: Instant,
}

/// What a node does with a write that arrives now.
#[derive(Debug, Clone, PartialEq)]
pub enum Standing {
    Primary,
    Follower { primary: Peer },
    Sealed,
    Waiting,
}

/// A write that is on disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Applied {
    pub lsn: Lsn,
    /// Records it stored or removed.
    pub affected: usize,
}

/// What must hold at a write's place in the order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Condition {
    None,
    UsernameFree(String),
    DatabaseExists(String),
    UserExists(String),
    ApiKeyExists(String),
    VectorExists { database: String, id: String },
}

/// Why a write was not done. Nothing of it was.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum WriteError {
    #[error("this node is not the primary")]
    NotPrimary,
    #[error("database `{0}` does not exist")]
    UnknownDatabase(String),
    #[error("vectors[{position}].values has {got} numbers, the database has dimension {expected}")]
    Dimension { expected: usize, got: usize, position: usize },
    #[error("vector `{id}` does not exist in database `{database}`")]
    UnknownVector { database: String, id: String },
    #[error("{0}")]
    Conflict(String),
    /// The very same request was done before, with the same idempotency key.
    #[error("the request was done before, at LSN {}", .0.lsn)]
    Repeated(Box<Repeated>),
    #[error(
        "the idempotency key was used before for another request (another method, path or body): \
         a retry must be the same request, and another request needs a key of its own"
    )]
    KeyReused,
    /// The disk is full or failed, or the node is closing; the text says which.
    #[error("{0}")]
    Failed(String),
    #[error("too many writes are waiting; try again")]
    Overloaded,
    /// It is in the log here; a retry may find it done.
    #[error(
        "the write is on this node's disk at LSN {lsn} and the other environment did not confirm it within {waited_ms} ms: \
         whether it lasts is not known; try again, with the same Idempotency-Key if it must be done once"
    )]
    Unconfirmed { lsn: Lsn, waited_ms: u64 },
}

/// What was answered to a request that came again.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Repeated {
    pub lsn: Lsn,
    pub answered: Answered,
}

/// Requests answered since the start.
#[derive(Debug, Default)]
pub struct RequestCounters {
    pub reads: AtomicU64,
    pub read_errors: AtomicU64,
    pub writes: AtomicU64,
    pub write_errors: AtomicU64,
    pub replays: AtomicU64,
    pub forwarded: AtomicU64,
    /// Of what `reads` counts.
    pub read_latency: LatencyCounter,
}

/// A place among the writes that wait at a seal; given back when dropped.
pub struct HeldWrite {
    shared: Arc<Shared>,
    bytes: u64,
}

impl Drop for HeldWrite {
    fn drop(&mut self) {
        self.shared.held_writes.fetch_sub(1, Ordering::Relaxed);
        self.shared.held_bytes.fetch_sub(self.bytes, Ordering::Relaxed);
    }
}

impl Node {
    /// Opens the data folder, recovers, and starts the threads of the node. Blocking; needs a tokio runtime around it.
    ///
    /// # Errors
    /// [`OpenError`] names what is in the way.
    pub fn open(config: Config) -> Result<Node, OpenError> {
        open::open(config)
    }

    pub fn config(&self) -> &Config {
        &self.shared.config
    }

    pub fn store(&self) -> &Store {
        &self.shared.store
    }

    pub fn sample(&self) -> &ReadSample {
        &self.shared.sample
    }

    pub fn faults(&self) -> Faults {
        *self.shared.faults.read()
    }

    /// From now on.
    pub fn set_faults(&self, faults: Faults) {
        *self.shared.faults.write() = faults;
    }

    pub fn counters(&self) -> &RequestCounters {
        &self.shared.counters
    }

    pub(crate) fn shared(&self) -> &Arc<Shared> {
        &self.shared
    }

    /// Writes one record; it is on disk when this returns.
    ///
    /// # Errors
    /// [`WriteError`]; nothing was written then.
    pub async fn write(&self, op: Op) -> Result<Applied, WriteError> {
        self.write_if(op, Condition::None).await
    }

    /// As [`Node::write`], refused with [`WriteError::Conflict`] unless `condition` holds.
    ///
    /// # Errors
    /// [`WriteError`]; nothing was written then.
    pub async fn write_if(&self, op: Op, condition: Condition) -> Result<Applied, WriteError> {
        if self.standing() != Standing::Primary {
            return Err(WriteError::NotPrimary);
        }
        if op.format() > self.shared.config.record_format {
            let (needed, most) = (op.format(), self.shared.config.record_format);
            return Err(WriteError::Failed(format!(
                "this node is held back to record format {most} (--record-format), and the write needs format {needed}"
            )));
        }
        let payload = op.encode();
        if payload.len() > changelog::PAYLOAD_BYTES_MAX {
            let limit = changelog::PAYLOAD_BYTES_MAX;
            return Err(WriteError::Conflict(format!(
                "the write has {} bytes, a record of the log holds at most {limit}: send smaller batches",
                payload.len()
            )));
        }
        let (reply, answer) = oneshot::channel();
        let task = Task::Write { op, payload, condition, reply };
        self.shared.tasks.send(task).await.map_err(|_| WriteError::Failed("the node is closing".into()))?;
        let applied = answer.await.map_err(|_| WriteError::Failed("the node is closing".into()))??;
        self.acknowledged(applied.lsn).await?;
        Ok(applied)
    }

    /// Returns when what is on disk here at `lsn` may be acknowledged.
    ///
    /// # Errors
    /// [`WriteError::Unconfirmed`] when the other environment has to confirm it first, and did not in time.
    pub async fn acknowledged(&self, lsn: Lsn) -> Result<(), WriteError> {
        let waited_ms = self.shared.config.limits.hold_ms;
        match self.shared.confirmations.wait(lsn, Duration::from_millis(waited_ms)).await {
            Verdict::Acknowledge => Ok(()),
            Verdict::Unconfirmed => Err(WriteError::Unconfirmed { lsn, waited_ms }),
        }
    }

    /// Idempotency keys are kept in the log here.
    pub fn keeps_keys(&self) -> bool {
        self.shared.config.record_format >= FORMAT_KEYED
    }

    /// What became of a request with this idempotency key, as far as this node knows. The writer thread asks the same at
    /// the write's place in the order.
    ///
    /// # Errors
    /// [`WriteError::Repeated`] when it was done, [`WriteError::KeyReused`] when another request was.
    pub fn unless_done(&self, key: &[u8; 32], request: &[u8; 32]) -> Result<(), WriteError> {
        unless_done(&self.shared.store, key, request)
    }

    pub fn standing(&self) -> Standing {
        self.shared.status.borrow().standing()
    }

    /// Returns when the standing differs from `seen`, or `at_most` is over.
    pub async fn standing_changed(&self, seen: &Standing, at_most: Duration) {
        let mut status = self.shared.status.subscribe();
        let differs = status.wait_for(|status| status.standing() != *seen);
        // A closed channel or the end of the time are both simply the end of waiting.
        let _ = tokio::time::timeout(at_most, differs).await;
    }

    /// A place among the writes that wait at a seal; `None` when their number or bytes are at the bound.
    pub fn hold(&self, bytes: u64) -> Option<HeldWrite> {
        let limits = &self.shared.config.limits;
        let number = self.shared.held_writes.fetch_add(1, Ordering::Relaxed);
        let before = self.shared.held_bytes.fetch_add(bytes, Ordering::Relaxed);
        let held = HeldWrite { shared: self.shared.clone(), bytes };
        (number < limits.held_writes && before + bytes <= limits.held_bytes).then_some(held)
    }

    /// Whether clients are to ask somebody else; tells about changes.
    pub fn shed(&self) -> watch::Receiver<bool> {
        self.shared.shed.subscribe()
    }

    pub fn sheds(&self) -> bool {
        *self.shared.shed.borrow()
    }

    pub fn held_writes(&self) -> u64 {
        self.shared.held_writes.load(Ordering::Relaxed)
    }

    /// Waits until `lsn` is applied here; false when `at_most` is over first.
    pub async fn applied(&self, lsn: Lsn, at_most: Duration) -> bool {
        if self.lsn() >= lsn {
            return true;
        }
        let mut position = self.shared.position.subscribe();
        let reached = position.wait_for(|position| position.lsn >= lsn);
        matches!(tokio::time::timeout(at_most, reached).await, Ok(Ok(_)))
    }

    pub fn lsn(&self) -> Lsn {
        self.position().lsn
    }

    pub fn position(&self) -> Position {
        *self.shared.position.borrow()
    }

    /// The oldest LSN that is still in the log.
    pub fn log_begins_at(&self) -> Lsn {
        self.shared.log.renewed().first_available()
    }

    /// Recovered, and, if a follower, seeded.
    pub fn ready(&self) -> bool {
        let status = self.shared.status.borrow();
        // The first record of every history opens its epoch: who has none has nothing yet.
        !self.faults().unready && !matches!(status.file.role, Role::Waiting) && self.lsn() >= status.complete_at.max(1)
    }

    /// Why writes are refused for good.
    pub fn failed(&self) -> Option<String> {
        self.shared.status.borrow().failed.clone()
    }

    /// Stops admitting writes; those in the queue are finished first. Repeating the call gives the same answer.
    ///
    /// # Errors
    /// [`RoleError`] when the epoch is old or the node is no primary.
    pub async fn seal(&self, epoch: Epoch) -> Result<Sealed, RoleError> {
        self.task(|reply| Task::Seal { epoch, reply }).await
    }

    /// Admits writes again, in a higher epoch.
    ///
    /// # Errors
    /// [`RoleError`] when the epoch is old or the node is neither sealed nor primary.
    pub async fn resume(&self, epoch: Epoch) -> Result<(), RoleError> {
        self.task(|reply| Task::Resume { epoch, reply }).await
    }

    /// Makes this follower, which stands at exactly `lsn`, the primary; it acknowledges writes alone.
    ///
    /// # Errors
    /// [`RoleError`] when the epoch is old or the position another.
    pub async fn promote(&self, epoch: Epoch, lsn: Lsn) -> Result<(), RoleError> {
        self.promote_acknowledging(epoch, lsn, AcknowledgeBy::default()).await
    }

    /// As [`Node::promote`], with what each write waits for before it is acknowledged.
    ///
    /// # Errors
    /// [`RoleError`] when the epoch is old or the position another.
    pub async fn promote_acknowledging(&self, epoch: Epoch, lsn: Lsn, by: AcknowledgeBy) -> Result<(), RoleError> {
        self.task(|reply| Task::Promote { epoch, lsn, by, reply }).await
    }

    /// Says what each write of this primary waits for from now on.
    ///
    /// # Errors
    /// [`RoleError`] unless this node is the primary of `epoch`.
    pub async fn acknowledge(&self, epoch: Epoch, by: AcknowledgeBy) -> Result<(), RoleError> {
        self.task(|reply| Task::Acknowledge { epoch, by, reply }).await
    }

    /// Follows `primary` from now on.
    ///
    /// # Errors
    /// [`RoleError`] when the epoch is old or this node is the primary of it.
    pub async fn follow(&self, epoch: Epoch, primary: Peer) -> Result<(), RoleError> {
        self.task(|reply| Task::Follow { epoch, primary, reply }).await
    }

    /// Writes a marker: every node remembers its digest there.
    ///
    /// # Errors
    /// [`WriteError::NotPrimary`] on any but the primary.
    pub async fn marker(&self) -> Result<Lsn, WriteError> {
        Ok(self.write(Op::Marker).await?.lsn)
    }

    /// The digest at marker `lsn`, waiting for it at most `at_most`.
    pub async fn digest_at(&self, lsn: Lsn, at_most: Duration) -> Option<Digest> {
        self.applied(lsn, at_most).await;
        let found = self.shared.markers.lock().iter().find(|(marker, _)| *marker == lsn).map(|(_, d)| d.clone());
        if found.is_some() || self.lsn() != lsn {
            return found;
        }
        let (position, digest) = self.digest_now().await.ok()?;
        (position.lsn == lsn).then_some(digest)
    }

    /// The sums of all buckets at marker `lsn`, if it is one of the last.
    pub fn sums_at(&self, lsn: Lsn) -> Option<Bytes> {
        self.shared.sums.lock().iter().find(|(marker, _)| *marker == lsn).map(|(_, sums)| sums.clone())
    }

    /// The records in some buckets, as they are while writes go on.
    ///
    /// # Errors
    /// A text, when there is no state of the history to list, or too many records.
    pub async fn records_in(&self, buckets: Vec<u16>) -> Result<ListedRecords, String> {
        let content = || {
            let status = self.shared.status.borrow();
            (status.session, status.complete_at)
        };
        let before = content();
        if !self.ready() {
            return Err("this node is still receiving its data".into());
        }
        let from_lsn = self.lsn();
        let node = self.clone();
        let listing = move || node.store().records_in(&buckets, LISTED_RECORDS_MAX);
        let listed = self.config().surroundings.execution.aside(listing).await.map_err(|error| error.to_string())?;
        let records = listed.ok_or_else(|| format!("more than {LISTED_RECORDS_MAX} records: ask for fewer buckets"))?;
        // What was seen may be applied and not announced yet; a task of the writer has all of it behind itself.
        let (position, _) = self.digest_now().await.map_err(|error| error.to_string())?;
        if content() != before {
            return Err("this node began to follow another one, or was seeded anew, meanwhile: ask again".into());
        }
        Ok(ListedRecords { from_lsn, to_lsn: position.lsn, records })
    }

    /// What this node had alone and keeps in files, oldest first, as long as the files are there.
    pub fn set_aside(&self) -> Vec<SetAside> {
        let mut kept = self.shared.set_aside.lock();
        let disk = &self.shared.config.surroundings.disk;
        kept.retain(|aside| disk.exists(Path::new(&aside.path)));
        kept.clone()
    }

    /// Position and digest at one moment between two groups of writes.
    ///
    /// # Errors
    /// [`RoleError::Closing`] when the node is closing.
    pub async fn digest_now(&self) -> Result<(Position, Digest), RoleError> {
        self.task(|reply| Task::Digest { reply }).await
    }

    /// Appends and applies what a primary sent.
    pub(crate) async fn replicate(&self, session: u64, records: Vec<(Frame, Op)>) -> Result<(), RoleError> {
        self.task(|reply| Task::Replicate { session, records, reply }).await
    }

    /// Puts a received snapshot in the place of everything this node has.
    pub(crate) async fn install(&self, session: u64, seed: Seed) -> Result<(), RoleError> {
        self.task(|reply| Task::Install { session, seed: Box::new(seed), reply }).await
    }

    async fn task<T>(&self, task: impl FnOnce(oneshot::Sender<Result<T, RoleError>>) -> Task) -> Result<T, RoleError> {
        let (reply, answer) = oneshot::channel();
        self.shared.tasks.send(task(reply)).await.map_err(|_| RoleError::Closing)?;
        answer.await.map_err(|_| RoleError::Closing)?
    }

    pub fn request_shutdown(&self) {
        self.shared.shutdown.send_replace(true);
    }

    pub fn shutdown_requested(&self) -> bool {
        *self.shared.shutdown.borrow()
    }

    /// Returns when [`Node::request_shutdown`] was called.
    pub async fn until_shutdown(&self) {
        let mut shutdown = self.shared.shutdown.subscribe();
        // The sender lives as long as `self`.
        let _ = shutdown.wait_for(|asked| *asked).await;
    }

    /// Finishes what is queued and ends the threads. Blocking; tasks instead of threads end after it returned.
    pub fn close(&self) {
        self.request_shutdown();
        if self.shared.closed.swap(true, Ordering::SeqCst) {
            return;
        }
        // A full queue is drained by the writer, which leaves when it comes to this task.
        let mut task = Task::Close;
        if matches!(self.shared.config.surroundings.execution, Execution::Tasks { .. }) {
            let tasks = self.shared.tasks.clone();
            // It may have ended already.
            tokio::spawn(async move { tasks.send(task).await.is_ok() });
            self.shared.dir.lock().take();
            return;
        }
        while let Err(mpsc::error::TrySendError::Full(back)) = self.shared.tasks.try_send(task) {
            task = back;
            std::thread::sleep(Duration::from_millis(1));
        }
        for thread in [&self.shared.writer, &self.shared.indexer] {
            if let Some(thread) = thread.lock().take()
                && thread.join().is_err()
            {
                tracing::error!("a thread of the node had panicked");
            }
        }
        self.shared.dir.lock().take();
        self.shared.incoming.close();
    }

    /// The data folder, while the node is open.
    pub(crate) fn dir(&self) -> Option<DataDir> {
        self.shared.dir.lock().clone()
    }
}

impl Status {
    fn standing(&self) -> Standing {
        match &self.file.role {
            Role::Primary { .. } if self.dormant => Standing::Sealed,
            Role::Primary { .. } => Standing::Primary,
            Role::Follower { primary, .. } => Standing::Follower { primary: primary.clone() },
            Role::Sealed { .. } => Standing::Sealed,
            Role::Waiting => Standing::Waiting,
        }
    }
}

fn unless_done(store: &Store, key: &[u8; 32], request: &[u8; 32]) -> Result<(), WriteError> {
    match store.answered(key) {
        None => Ok(()),
        Some((lsn, answered)) if answered.request == *request => {
            Err(WriteError::Repeated(Box::new(Repeated { lsn, answered })))
        }
        Some(_) => Err(WriteError::KeyReused),
    }
}

/// Frame of one op at its place.
fn frame(position: Position, payload: Bytes) -> Frame {
    Frame { lsn: position.lsn, epoch: position.epoch, payload }
}

#[cfg(test)]
pub(crate) mod tests;
