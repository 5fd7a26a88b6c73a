//! The writer: the one owner of log, store and role, on a thread of its own.

use super::role::{Change, RoleError, RoleFile};
use super::snapshotter::{SnapshotTail, Snapshotter, Through};
use super::{Applied, Condition, MARKERS_KEPT, Position, SUMS_KEPT, Shared, WriteError, frame, set_aside};
use crate::record::Op;
use crate::store::{Database, Digest, Store};
use bytes::Bytes;
use changelog::{DataDir, Frame, Log, SnapshotWriter, Start};
use parking_lot::Mutex;
use std::collections::{HashSet, VecDeque};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{mpsc, oneshot};
use wire::admin::{AcknowledgeBy, Epoch, Lsn, Peer, Role, Sealed};

/// Tasks and bytes taken into one group, and so into one fsync.
const GROUP_TASKS_MAX: usize = 1_024;
const GROUP_BYTES_MAX: usize = 16 << 20;

/// The end of a call that is answered by the writer thread.
pub(crate) type Reply<T> = oneshot::Sender<Result<T, RoleError>>;
/// The end of a write.
pub(crate) type WriteReply = oneshot::Sender<Result<Applied, WriteError>>;

pub(crate) enum Task {
    Write { op: Op, payload: Bytes, condition: Condition, reply: WriteReply },
    Replicate { session: u64, records: Vec<(Frame, Op)>, reply: Reply<()> },
    Install { session: u64, seed: Box<Seed>, reply: Reply<()> },
    Seal { epoch: Epoch, reply: Reply<Sealed> },
    Resume { epoch: Epoch, reply: Reply<()> },
    Promote { epoch: Epoch, lsn: Lsn, by: AcknowledgeBy, reply: Reply<()> },
    Acknowledge { epoch: Epoch, by: AcknowledgeBy, reply: Reply<()> },
    Follow { epoch: Epoch, primary: Peer, reply: Reply<()> },
    Digest { reply: Reply<(Position, Digest)> },
    SnapshotWritten { through: Result<Through, String> },
    Close,
}

/// A received snapshot, already on this node's disk.
pub(crate) struct Seed {
    pub store: Store,
    pub cluster_id: String,
    /// The log goes on from here.
    pub start: Start,
    /// The content is a state of the history from this LSN on.
    pub complete_at: Lsn,
    /// The received snapshot, without its end yet.
    pub snapshot: SnapshotWriter,
}

pub(super) struct Writer {
    pub shared: Arc<Shared>,
    pub dir: DataDir,
    pub tasks: mpsc::Receiver<Task>,
    pub log: Log,
    pub role: RoleFile,
    pub position: Position,
    /// Grows with every `follow`; what an earlier session still delivers is refused.
    pub session: u64,
    pub snapshotter: Snapshotter,
    pub group: Group,
}

/// Writes that go to the disk together.
#[derive(Default)]
pub(super) struct Group {
    frames: Vec<Frame>,
    ops: Vec<(Op, Option<WriteReply>)>,
    /// Idempotency keys of these writes.
    keys: HashSet<[u8; 32]>,
    bytes: usize,
}

impl Writer {
    /// Works until it is told to close. Blocking.
    pub fn run(mut self) {
        while let Some(task) = self.tasks.blocking_recv() {
            if !self.turn(task) {
                break;
            }
        }
        self.snapshotter.finish();
    }

    /// As [`Writer::run`], as a task.
    pub async fn run_paced(mut self, pace: Arc<dyn Fn() -> Duration + Send + Sync>) {
        while let Some(task) = self.tasks.recv().await {
            let wait = pace();
            if !wait.is_zero() {
                tokio::time::sleep(wait).await;
            }
            if !self.turn(task) {
                break;
            }
        }
    }

    /// Does `task` and what has queued up behind it as one group; false when one of them was the last.
    fn turn(&mut self, task: Task) -> bool {
        let mut taken = 1;
        let mut open = self.take(task);
        while open && taken < GROUP_TASKS_MAX && self.group.bytes < GROUP_BYTES_MAX {
            let Ok(task) = self.tasks.try_recv() else { break };
            taken += 1;
            open = self.take(task);
        }
        self.commit();
        if open {
            self.snapshotter.consider(&self.shared, self.position);
        }
        open
    }

    /// Takes one task; false when it was the last.
    fn take(&mut self, task: Task) -> bool {
        match task {
            Task::Write { op, payload, condition, reply } => self.admit(op, payload, condition, reply),
            other => {
                // Everything else is decided upon a state with nothing under way.
                self.commit();
                return self.perform(other);
            }
        }
        true
    }

    fn admit(&mut self, op: Op, payload: Bytes, condition: Condition, reply: WriteReply) {
        // What is decided by looking at the store needs the writes before it applied; vectors need only the
        // description of their database, which changes in groups of its own.
        let alone = !op.is_vector_op() || condition != Condition::None;
        // A retry is judged when it is known what became of the first.
        let retried = op.answered().is_some_and(|answered| self.group.keys.contains(&answered.key));
        if alone || retried {
            self.commit();
        }
        if let Err(error) = self.check(&op, &condition) {
            // A client that went away needs no answer.
            let _ = reply.send(Err(error));
            return;
        }
        self.push(op, payload, Some(reply));
        if alone {
            self.commit();
        }
    }

    fn check(&self, op: &Op, condition: &Condition) -> Result<(), WriteError> {
        if !matches!(self.role.role, Role::Primary { .. }) || self.shared.status.borrow().dormant {
            return Err(WriteError::NotPrimary);
        }
        if let Some(failure) = self.shared.status.borrow().failed.clone() {
            return Err(WriteError::Failed(failure));
        }
        if let Some(answered) = op.answered() {
            super::unless_done(&self.shared.store, &answered.key, &answered.request)?;
        }
        let store = &self.shared.store;
        let unless = |met: bool, otherwise: String| if met { Ok(()) } else { Err(WriteError::Conflict(otherwise)) };
        match condition {
            Condition::None => Ok(()),
            Condition::UsernameFree(name) => {
                unless(store.user_named(name).is_none(), format!("user `{name}` exists already"))
            }
            Condition::UserExists(id) => unless(store.user(id).is_some(), format!("user `{id}` does not exist")),
            Condition::ApiKeyExists(id) => {
                unless(store.api_key(id).is_some(), format!("API key `{id}` does not exist"))
            }
            Condition::DatabaseExists(id) => {
                store.database(id).map(|_| ()).ok_or_else(|| WriteError::UnknownDatabase(id.clone()))
            }
            Condition::VectorExists { database, id } => {
                let found = store.database(database).is_some_and(|database| database.contains(id));
                let unknown = || WriteError::UnknownVector { database: database.clone(), id: id.clone() };
                found.then_some(()).ok_or_else(unknown)
            }
        }?;
        match op.inner() {
            Op::PutVectors { database, vectors } => {
                let record = store.database(database).ok_or_else(|| WriteError::UnknownDatabase(database.clone()))?;
                let expected = record.record().dimension;
                let wrong = vectors.iter().position(|vector| vector.values.len() != expected);
                wrong.map_or(Ok(()), |position| {
                    Err(WriteError::Dimension { expected, got: vectors[position].values.len(), position })
                })
            }
            Op::DeleteVectors { database, .. } | Op::DropDatabase { database } => {
                store.database(database).map(|_| ()).ok_or_else(|| WriteError::UnknownDatabase(database.clone()))
            }
            Op::PutDatabase(record) => {
                let before = store.database(&record.database_id);
                if let Some(before) = before.filter(|before| !before.is_empty()) {
                    let dimension = before.record().dimension;
                    unless(
                        dimension == record.dimension,
                        format!(
                            "vectorDimension: {} is not allowed: the database holds vectors of dimension {dimension}",
                            record.dimension
                        ),
                    )?;
                }
                Database::check(record, &self.shared.config.index)
                    .map_err(|error| WriteError::Conflict(error.to_string()))
            }
            _ => Ok(()),
        }
    }

    fn push(&mut self, op: Op, payload: Bytes, reply: Option<WriteReply>) {
        let lsn = self.position.lsn + self.group.frames.len() as Lsn + 1;
        self.group.bytes += payload.len();
        self.group.keys.extend(op.answered().map(|answered| answered.key));
        self.group.frames.push(frame(Position { lsn, epoch: self.position.epoch }, payload));
        self.group.ops.push((op, reply));
    }

    /// Puts the group on disk, applies it, and only then answers.
    fn commit(&mut self) {
        // Whoever waits for an answer is told what went wrong by the answer.
        let _ = self.try_commit();
    }

    fn try_commit(&mut self) -> Result<(), String> {
        if self.group.frames.is_empty() {
            return Ok(());
        }
        let group = std::mem::take(&mut self.group);
        if let Err(error) = self.persist(&group.frames) {
            for (_, reply) in group.ops {
                if let Some(reply) = reply {
                    let _ = reply.send(Err(WriteError::Failed(error.clone())));
                }
            }
            return Err(error);
        }
        let mut answers = Vec::with_capacity(group.ops.len());
        for (frame, (op, reply)) in group.frames.iter().zip(group.ops) {
            let applied = Applied { lsn: frame.lsn, affected: self.apply(frame, op) };
            answers.push((reply, applied));
        }
        self.announce(group.bytes);
        for (reply, applied) in answers {
            if let Some(reply) = reply {
                let _ = reply.send(Ok(applied));
            }
        }
        Ok(())
    }

    fn persist(&mut self, frames: &[Frame]) -> Result<(), String> {
        let Err(error) = self.log.append(frames).and_then(|()| self.log.sync()) else { return Ok(()) };
        let text = error.to_string();
        if error.is_final() {
            tracing::error!(error = text, "the log cannot be written; writes are refused from now on");
            self.shared.status.send_modify(|status| status.failed = Some(text.clone()));
        } else {
            tracing::warn!(error = text, "a group of writes was refused");
        }
        Err(text)
    }

    fn apply(&mut self, frame: &Frame, op: Op) -> usize {
        let asked = op == Op::Marker;
        let remember = asked || op == Op::OpenEpoch;
        let affected = self.shared.store.apply(frame.lsn, op);
        self.position = Position { lsn: frame.lsn, epoch: frame.epoch };
        if asked {
            keep_last(&self.shared.sums, SUMS_KEPT, (frame.lsn, self.shared.store.sums()));
        }
        if remember {
            keep_last(&self.shared.markers, MARKERS_KEPT, (frame.lsn, self.shared.store.digest()));
        }
        affected
    }

    fn announce(&mut self, bytes: usize) {
        self.snapshotter.log_bytes += bytes as u64;
        self.shared.position.send_replace(self.position);
    }

    /// Does one task that is no write; false when it was the last.
    fn perform(&mut self, task: Task) -> bool {
        match task {
            Task::Write { .. } => {}
            Task::Replicate { session, records, reply } => answer(reply, self.replicate(session, records)),
            Task::Install { session, seed, reply } => answer(reply, self.install(session, *seed)),
            Task::Seal { epoch, reply } => answer(reply, self.seal(epoch)),
            Task::Resume { epoch, reply } => {
                let change = self.role.judge_resume(epoch);
                answer(reply, change.and_then(|change| self.reign(change, epoch, None)));
            }
            Task::Promote { epoch, lsn, by, reply } => {
                let change =
                    self.role.judge_promote(epoch, lsn, self.position.lsn).and_then(|change| self.whole(change));
                answer(reply, change.and_then(|change| self.reign(change, epoch, Some((by, lsn)))));
            }
            Task::Acknowledge { epoch, by, reply } => answer(reply, self.acknowledge(epoch, by)),
            Task::Follow { epoch, primary, reply } => answer(reply, self.follow(epoch, &primary)),
            Task::Digest { reply } => answer(reply, Ok((self.position, self.shared.store.digest()))),
            Task::SnapshotWritten { through } => self.snapshotter.written(&self.shared, &mut self.log, through),
            Task::Close => return false,
        }
        true
    }

    /// A follower whose snapshot is not yet followed up to its end has no state of the history at all.
    fn whole(&self, change: Change) -> Result<Change, RoleError> {
        let complete_at = self.shared.status.borrow().complete_at;
        if self.position.lsn < complete_at {
            return Err(RoleError::WrongPosition { here: self.position.lsn, wanted: complete_at });
        }
        Ok(change)
    }

    fn seal(&mut self, epoch: Epoch) -> Result<Sealed, RoleError> {
        if self.role.judge_seal(epoch)? {
            let digest = self.shared.store.digest().root;
            let role = Role::Sealed { epoch, lsn: self.position.lsn, digest };
            self.keep(RoleFile { role, epoch_seen: epoch, ..self.role.clone() })?;
            self.publish();
        }
        match &self.role.role {
            Role::Sealed { epoch, lsn, digest } => Ok(Sealed { epoch: *epoch, lsn: *lsn, digest: digest.clone() }),
            // It has just been made so.
            _ => Err(RoleError::Closing),
        }
    }

    /// Becomes primary of `epoch`: durable first, then the record that opens the epoch, then writes.
    /// `new`: a follower is promoted at this LSN, with what it waits for before it acknowledges.
    fn reign(&mut self, change: Change, epoch: Epoch, new: Option<(AcknowledgeBy, Lsn)>) -> Result<(), RoleError> {
        if let Change::To(role) = change {
            let mut file = RoleFile { role, epoch_seen: epoch, ..self.role.clone() };
            if let Some((by, _)) = &new {
                file.acknowledge = by.clone();
            }
            self.keep(file)?;
            self.session += 1;
        }
        // Said again, it goes on where it got stuck, be it because the disk was full or because it was waiting for the word.
        self.open_epoch(epoch)?;
        if self.shared.status.borrow().file.role != self.role.role
            && let Some((_, lsn)) = new
        {
            self.shared.confirmations.begin(self.role.acknowledge.clone(), lsn);
        }
        self.publish();
        Ok(())
    }

    /// Makes `file` durable; it holds from then on. When nobody knows whether it is durable, no write may rely on the role
    /// that this node has now: after a crash it may have the other one.
    fn keep(&mut self, file: RoleFile) -> Result<(), RoleError> {
        if let Err(error) = file.store(&self.dir) {
            let text = error.to_string();
            if error.in_doubt {
                tracing::error!(error = text, "the role may or may not be stored; writes are refused from now on");
                self.shared.status.send_modify(|status| status.failed = Some(text.clone()));
            }
            return Err(RoleError::Disk(text));
        }
        self.role = file;
        Ok(())
    }

    /// Writes the first record of the epoch unless it is there (a crash may have come between role and record).
    pub fn open_epoch(&mut self, epoch: Epoch) -> Result<(), RoleError> {
        if self.position.epoch >= epoch {
            return Ok(());
        }
        let before = std::mem::replace(&mut self.position.epoch, epoch);
        self.push(Op::OpenEpoch, Op::OpenEpoch.encode(), None);
        self.try_commit().map_err(|error| {
            self.position.epoch = before;
            RoleError::Disk(error)
        })
    }

    /// Durable before it holds: a primary that starts again waits for the same.
    fn acknowledge(&mut self, epoch: Epoch, by: AcknowledgeBy) -> Result<(), RoleError> {
        self.role.judge_acknowledge(epoch, &by)?;
        if self.role.acknowledge != by {
            self.keep(RoleFile { acknowledge: by.clone(), ..self.role.clone() })?;
        }
        self.shared.confirmations.set(by);
        Ok(())
    }

    fn follow(&mut self, epoch: Epoch, primary: &Peer) -> Result<(), RoleError> {
        if let Change::To(role) = self.role.judge_follow(epoch, primary)? {
            self.keep(RoleFile { role, epoch_seen: epoch, ..self.role.clone() })?;
            self.session += 1;
            self.publish();
        }
        Ok(())
    }

    pub fn publish(&self) {
        let (file, session) = (self.role.clone(), self.session);
        self.shared.status.send_modify(|status| {
            status.file = file;
            // Whatever it is now, somebody said so.
            status.dormant = false;
            status.session = session;
        });
    }

    fn current(&self, session: u64) -> Result<(), RoleError> {
        if session == self.session && matches!(self.role.role, Role::Follower { .. }) {
            return Ok(());
        }
        Err(RoleError::WrongState {
            role: "no longer following that primary".into(),
            why: "its records came late".into(),
        })
    }

    fn replicate(&mut self, session: u64, records: Vec<(Frame, Op)>) -> Result<(), RoleError> {
        self.current(session)?;
        if let Some(failure) = self.shared.status.borrow().failed.clone() {
            return Err(RoleError::Disk(failure));
        }
        let mut expected = self.position;
        for (frame, _) in &records {
            if frame.lsn != expected.lsn + 1 || frame.epoch < expected.epoch {
                return Err(RoleError::Discontinuous(format!(
                    "LSN {} of epoch {} after LSN {} of epoch {}",
                    frame.lsn, frame.epoch, expected.lsn, expected.epoch
                )));
            }
            expected = Position { lsn: frame.lsn, epoch: frame.epoch };
        }
        let (frames, ops): (Vec<Frame>, Vec<Op>) = records.into_iter().unzip();
        self.persist(&frames).map_err(RoleError::Disk)?;
        let mut bytes = 0;
        for (frame, op) in frames.iter().zip(ops) {
            bytes += frame.payload.len();
            self.apply(frame, op);
        }
        self.announce(bytes);
        Ok(())
    }

    fn install(&mut self, session: u64, seed: Seed) -> Result<(), RoleError> {
        self.current(session)?;
        let disk = |error: String| RoleError::Disk(error);
        self.set_aside(&seed.start).map_err(disk)?;
        // Identity before content: a crash in between leaves an empty folder of this history, which seeds again.
        let held_format = self.shared.config.record_format;
        self.keep(RoleFile { cluster_id: seed.cluster_id, held_format, ..self.role.clone() })?;
        let tail = SnapshotTail { complete_at: seed.complete_at }.to_bytes().map_err(disk)?;
        seed.snapshot.finish(&tail).map_err(|error| disk(error.to_string()))?;
        self.log.reset(&seed.start).map_err(|error| disk(error.to_string()))?;
        self.shared.store.replace_by(seed.store);
        self.shared.markers.lock().clear();
        self.shared.sums.lock().clear();
        self.position = Position { lsn: seed.start.lsn, epoch: seed.start.epoch() };
        self.shared.status.send_modify(|status| status.complete_at = seed.complete_at);
        self.publish();
        self.shared.position.send_replace(self.position);
        Ok(())
    }

    /// Keeps what this node has and the primary of `start` has not. A history that is only shorter has nothing to keep.
    fn set_aside(&mut self, start: &Start) -> Result<(), String> {
        let log = self.log.reader();
        let common = set_aside::common_end(&log.epochs(), self.position.lsn, start);
        if common >= self.position.lsn {
            return Ok(());
        }
        let aside = set_aside::set_aside(&self.dir, &log, &self.shared.store, common, self.position)?;
        tracing::warn!(
            file = aside.path,
            records = aside.records,
            first_lsn = aside.first_lsn,
            last_lsn = aside.last_lsn,
            "what this node had and its primary has not was set aside before seeding anew"
        );
        let mut kept = self.shared.set_aside.lock();
        kept.retain(|other| other.path != aside.path);
        kept.push(aside);
        Ok(())
    }
}

/// Adds `item`, and forgets the first beyond `max`.
fn keep_last<T>(items: &Mutex<VecDeque<T>>, max: usize, item: T) {
    let mut items = items.lock();
    if items.len() == max {
        items.pop_front();
    }
    items.push_back(item);
}

/// A caller that went away needs no answer.
fn answer<T>(reply: Reply<T>, result: Result<T, RoleError>) {
    let _ = reply.send(result);
}
