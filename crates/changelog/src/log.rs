//! The log as its one writer sees it: append a group, sync it, drop what is no longer needed.

use std::error::Error;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::BytesMut;
use parking_lot::RwLock;

use crate::data_dir::DataDir;
use crate::disk::{Disk, DiskFile};
use crate::epochs::{EpochList, Start};
use crate::frame::Frame;
use crate::prepare::{Preparer, write_zeros};
use crate::reader::{Group, LogReader, Segment, Shared, State, Tail};
use crate::recovery::{OpenError, Recovered, Recovery, io_error, recover};
use crate::segment::{self, HEADER_BYTES, MARK_BYTES, SegmentHeader, encode_mark};
use crate::{Epoch, Lsn};

mod errors;
mod space;
#[cfg(test)]
mod tests;

pub use errors::{AppendError, Failure, ResetError, TruncateError};

/// Sizes of a log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogOptions {
    /// Length at which a new segment is begun. A group is never divided, so one that is longer gives a longer segment.
    pub segment_bytes: u64,
    /// How much space is written ahead at once; 0 for none (then each sync takes about twice as long).
    pub prepare_bytes: u64,
    /// How much of the newest frames is kept in memory for readers.
    pub tail_bytes: usize,
}

impl Default for LogOptions {
    fn default() -> LogOptions {
        LogOptions { segment_bytes: 64 << 20, prepare_bytes: 4 << 20, tail_bytes: 8 << 20 }
    }
}

/// The open log; it has one owner, which appends. Holds its data folder.
pub struct Log {
    dir: PathBuf,
    held: DataDir,
    options: LogOptions,
    generation: u64,
    shared: Arc<Shared>,
    active: Active,
    preparer: Preparer,
    /// A file of zeros for the next segment.
    spare: Option<PathBuf>,
    /// Where groups are encoded; its memory is handed on to the tail.
    buffer: BytesMut,
    /// Appended and not synced.
    pending: Vec<Pending>,
    last_lsn: Lsn,
    last_epoch: Epoch,
    failed: Option<Failure>,
}

/// The segment that is appended to.
struct Active {
    file: Arc<dyn DiskFile>,
    path: Arc<Path>,
    salt: u64,
    /// Where the next record goes.
    position: u64,
    /// Up to here space is reserved, and nobody else writes.
    reserved: u64,
    /// Up to here nothing more is asked of the preparer, which found the disk full.
    quiet_until: u64,
    /// A sync came after the last mark: the next group starts with one.
    needs_mark: bool,
}

/// A group that was written and not synced.
struct Pending {
    group: Group,
    offset: u64,
}

impl Log {
    /// Opens the log of `dir`, which continues `start`: what the newest snapshot says, or [`Start::beginning`].
    ///
    /// # Errors
    /// See [`OpenError`]. On damage nothing has been changed.
    pub fn open(dir: &DataDir, options: LogOptions, start: &Start) -> Result<(Log, Recovery), OpenError> {
        Log::open_replaying(dir, options, start, |_| Ok(()))
    }

    /// As [`Log::open`], and hands each record after the snapshot to `replay`, in order, while the log is read. Damage
    /// may be found after records were handed over: what was made of them is then to be dropped.
    ///
    /// # Errors
    /// As [`Log::open`], and [`OpenError::Replay`] with what `replay` returned.
    pub fn open_replaying(
        dir: &DataDir,
        options: LogOptions,
        start: &Start,
        mut replay: impl FnMut(Frame) -> Result<(), Box<dyn Error + Send + Sync>>,
    ) -> Result<(Log, Recovery), OpenError> {
        let log_dir = dir.log_dir();
        let Recovered { mut recovery, mut segments, epochs, active } =
            recover(&**dir.disk(), &log_dir, start, &mut replay)?;
        let active = match (active, segments.last()) {
            (Some(file), Some(last)) => Active::reopened(file, last, &options)?,
            _ => {
                let header = new_header(start.generation, start.lsn, start.epoch());
                let (active, segment) = Active::created(&**dir.disk(), &log_dir, &header, None, &options)
                    .map_err(|error| OpenError::Io { action: error.action, path: error.path, error: error.error })?;
                segments.push(segment);
                recovery.segments = 1;
                active
            }
        };
        let preparer = match options.prepare_bytes {
            0 => Preparer::none(),
            _ => Preparer::start(dir.disk().clone())
                .map_err(io_error("start the thread that prepares space in", &log_dir))?,
        };
        let state = State {
            generation: start.generation,
            durable_lsn: recovery.last_lsn,
            durable_epoch: recovery.last_epoch,
            epochs,
            tail: Tail::new(options.tail_bytes),
            segments: segments.into(),
        };
        let log = Log {
            dir: log_dir,
            held: dir.clone(),
            options,
            generation: start.generation,
            shared: Arc::new(Shared { state: RwLock::new(state) }),
            active,
            preparer,
            spare: None,
            buffer: BytesMut::new(),
            pending: Vec::new(),
            last_lsn: recovery.last_lsn,
            last_epoch: recovery.last_epoch,
            failed: None,
        };
        Ok((log, recovery))
    }

    /// Last LSN appended, synced or not.
    pub fn last_lsn(&self) -> Lsn {
        self.last_lsn
    }

    /// Epoch of the record at [`Log::last_lsn`].
    pub fn last_epoch(&self) -> Epoch {
        self.last_epoch
    }

    /// See [`Start::generation`].
    pub fn generation(&self) -> u64 {
        self.generation
    }

    /// The first failed write or sync, after which nothing is written any more.
    pub fn failure(&self) -> Option<&Failure> {
        self.failed.as_ref()
    }

    pub fn reader(&self) -> LogReader {
        LogReader::new(self.shared.clone())
    }

    /// Writes the frames, which continue the history, with one write. They are durable, and readers see them, after the
    /// next [`Log::sync`]. What is appended between two syncs is held in memory.
    ///
    /// # Errors
    /// [`AppendError::NotNext`], [`AppendError::EpochFell`], [`AppendError::Frame`] and [`AppendError::DiskFull`] leave
    /// the log as it was, and it may be appended to again. After [`AppendError::Failed`] it may not: each later call
    /// returns [`AppendError::Poisoned`].
    pub fn append(&mut self, frames: &[Frame]) -> Result<(), AppendError> {
        self.check_not_failed()?;
        let (Some(first), Some(last)) = (frames.first(), frames.last()) else { return Ok(()) };
        self.check_history(frames)?;
        let bytes = frames.iter().map(|frame| frame.encoded_len() as u64).sum::<u64>();
        if self.active.has_frames()
            && self.active.position + self.active.mark_bytes() + bytes > self.options.segment_bytes
        {
            self.begin_segment(bytes)?;
        }
        self.reserve(self.active.position + self.active.mark_bytes() + bytes, first.lsn)?;

        self.buffer.reserve(bytes as usize + MARK_BYTES);
        if self.active.needs_mark {
            self.buffer.extend_from_slice(&encode_mark(self.active.salt, self.last_lsn));
        }
        for frame in frames {
            // Cannot fail: the lengths were checked with the history.
            frame.encode_into(&mut self.buffer)?;
        }
        let position = self.active.position;
        if let Err(error) = self.active.file.write_all_at(&self.buffer, position) {
            return Err(self.fail("write", self.active.path.to_path_buf(), error));
        }
        let mut encoded = self.buffer.split().freeze();
        let offset = position + self.active.mark_bytes();
        encoded = encoded.split_off(self.active.mark_bytes() as usize);
        self.active.position = offset + encoded.len() as u64;
        self.active.needs_mark = false;
        self.pending.push(Pending { group: Group { first_lsn: first.lsn, last_lsn: last.lsn, encoded }, offset });
        (self.last_lsn, self.last_epoch) = (last.lsn, last.epoch);
        self.prepare_ahead()
    }

    /// Makes everything appended durable (one fdatasync), then visible to readers.
    ///
    /// # Errors
    /// [`AppendError::Failed`]: what was appended since the last sync may or may not be on disk, and the log takes
    /// nothing any more. It is never synced again: the kernel reports a lost page once.
    pub fn sync(&mut self) -> Result<(), AppendError> {
        self.check_not_failed()?;
        if self.pending.is_empty() {
            return Ok(());
        }
        if let Err(error) = self.active.file.sync_data() {
            return Err(self.fail("sync", self.active.path.to_path_buf(), error));
        }
        self.active.needs_mark = true;
        let mut state = self.shared.state.write();
        let state = &mut *state;
        for Pending { group, offset } in self.pending.drain(..) {
            if let Some(segment) = state.segments.back_mut() {
                note_group(&group, offset, segment, &mut state.epochs);
            }
            state.tail.push(group);
        }
        (state.durable_lsn, state.durable_epoch) = (self.last_lsn, self.last_epoch);
        Ok(())
    }

    /// Removes the segments whose records are all before `lsn`; the last one always stays. Returns how many.
    ///
    /// # Errors
    /// A file could not be removed; those before it are, and the log goes on.
    pub fn truncate_before(&mut self, lsn: Lsn) -> Result<usize, TruncateError> {
        let mut removed = 0;
        loop {
            let oldest = {
                let state = self.shared.state.read();
                match state.segments.get(1) {
                    Some(next) if next.first_lsn <= lsn => state.segments[0].path.clone(),
                    _ => return Ok(removed),
                }
            };
            let named = |error| TruncateError { path: oldest.to_path_buf(), error };
            match self.held.disk().remove_file(&oldest) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(named(error)),
                _ => {}
            }
            // One by one, oldest first: a crash may not leave a gap.
            self.held.disk().sync_dir(&self.dir).map_err(named)?;
            self.shared.state.write().segments.pop_front();
            removed += 1;
        }
    }

    /// The oldest LSN from which the segments to the end have at most `bytes` bytes together; the last segment always
    /// counts. For [`Log::truncate_before`] with a bound on space.
    pub fn first_lsn_within(&self, bytes: u64) -> Lsn {
        let state = self.shared.state.read();
        let mut sum = 0;
        let mut first_lsn = self.last_lsn + 1;
        for (index, segment) in state.segments.iter().rev().enumerate() {
            sum += segment.end;
            if index > 0 && sum > bytes {
                break;
            }
            first_lsn = segment.first_lsn;
        }
        first_lsn
    }

    /// Drops all records and goes on after `start`, whose generation must be higher than the log's: the history of this
    /// folder is replaced by another. A durable snapshot with the same `start` must exist before: if a crash comes in
    /// between, opening with that snapshot's start finishes the work.
    ///
    /// # Errors
    /// [`ResetError::Poisoned`], [`ResetError::Start`] and [`ResetError::Generation`] change nothing; after
    /// [`ResetError::Failed`] the log takes nothing any more, and opening it again decides.
    pub fn reset(&mut self, start: &Start) -> Result<(), ResetError> {
        if let Some(first) = &self.failed {
            return Err(ResetError::Poisoned { first: first.clone() });
        }
        start.validate()?;
        if start.generation <= self.generation {
            return Err(ResetError::Generation { log: self.generation, start: start.generation });
        }
        self.settle_for_good();
        let header = new_header(start.generation, start.lsn, start.epoch());
        let (active, segment) =
            match Active::created(&**self.held.disk(), &self.dir, &header, self.spare.take(), &self.options) {
                Ok(created) => created,
                Err(error) => {
                    let failure = Failure { action: error.action, path: error.path, error: Arc::new(error.error) };
                    self.failed = Some(failure.clone());
                    return Err(ResetError::Failed(failure));
                }
            };
        self.pending.clear();
        self.active = active;
        self.generation = start.generation;
        (self.last_lsn, self.last_epoch) = (start.lsn, start.epoch());
        let old = {
            let mut state = self.shared.state.write();
            state.generation = start.generation;
            (state.durable_lsn, state.durable_epoch) = (start.lsn, start.epoch());
            state.epochs = EpochList::new(start.epochs.clone());
            state.tail.clear();
            std::mem::replace(&mut state.segments, [segment].into())
        };
        for segment in old.iter().filter(|segment| segment.path != self.active.path) {
            if let Err(error) = self.held.disk().remove_file(&segment.path) {
                // Harmless: it is of an older generation, and the next open tries again.
                tracing::warn!(path = %segment.path.display(), %error, "an outdated log segment was not removed");
            }
        }
        Ok(())
    }

    fn check_not_failed(&self) -> Result<(), AppendError> {
        match &self.failed {
            Some(first) => Err(AppendError::Poisoned { first: first.clone() }),
            None => Ok(()),
        }
    }

    fn check_history(&self, frames: &[Frame]) -> Result<(), AppendError> {
        let (mut last_lsn, mut last_epoch) = (self.last_lsn, self.last_epoch);
        for frame in frames {
            if frame.lsn != last_lsn + 1 {
                return Err(AppendError::NotNext { expected: last_lsn + 1, found: frame.lsn });
            }
            if frame.epoch < last_epoch || frame.epoch == 0 {
                return Err(AppendError::EpochFell { lsn: frame.lsn, before: last_epoch, found: frame.epoch });
            }
            frame.check_length()?;
            (last_lsn, last_epoch) = (frame.lsn, frame.epoch);
        }
        Ok(())
    }

    /// Poisons the log.
    fn fail(&mut self, action: &'static str, path: PathBuf, error: io::Error) -> AppendError {
        let failure = Failure { action, path, error: Arc::new(error) };
        self.buffer.clear();
        self.pending.clear();
        self.failed = Some(failure.clone());
        AppendError::Failed(failure)
    }
}

impl std::fmt::Debug for Log {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Log").field("dir", &self.dir).field("last_lsn", &self.last_lsn).finish_non_exhaustive()
    }
}

impl Drop for Log {
    fn drop(&mut self) {
        self.settle_for_good();
        if let Some(spare) = self.spare.take() {
            // Left behind it is removed by the next open.
            let _ = self.held.disk().remove_file(&spare);
        }
    }
}

impl Active {
    fn reopened(file: Arc<dyn DiskFile>, last: &Segment, options: &LogOptions) -> Result<Active, OpenError> {
        let named = |action| io_error(action, &last.path);
        let mut reserved = file.length().map_err(named("read the size of"))?;
        let wanted = (last.end + options.prepare_bytes).min(options.segment_bytes);
        if reserved < wanted && options.prepare_bytes > 0 {
            match write_zeros(&*file, reserved, wanted) {
                Ok(()) => reserved = wanted,
                // Reading still works; the first append says so.
                Err(error) if crate::durable::is_disk_full(&error) => {}
                Err(error) => return Err(named("prepare space in")(error)),
            }
        }
        Ok(Active {
            file,
            path: last.path.clone(),
            salt: last.salt,
            position: last.end,
            reserved,
            quiet_until: 0,
            needs_mark: last.end > HEADER_BYTES,
        })
    }

    /// Creates a segment; without a spare its space is prepared here.
    fn created(
        disk: &dyn Disk,
        dir: &Path,
        header: &SegmentHeader,
        spare: Option<PathBuf>,
        options: &LogOptions,
    ) -> Result<(Active, Segment), segment::CreateError> {
        let prepare_bytes = options.prepare_bytes.min(options.segment_bytes);
        let created = segment::create(disk, dir, header, spare, prepare_bytes)?;
        let path: Arc<Path> = Arc::from(created.path.as_path());
        let segment = Segment::new(*header, path.clone(), created.file.clone());
        let active = Active {
            file: created.file,
            path,
            salt: header.salt,
            position: HEADER_BYTES,
            reserved: created.bytes,
            quiet_until: 0,
            needs_mark: false,
        };
        Ok((active, segment))
    }

    fn has_frames(&self) -> bool {
        self.position > HEADER_BYTES
    }

    /// Length of the mark that the next group starts with.
    fn mark_bytes(&self) -> u64 {
        if self.needs_mark { MARK_BYTES as u64 } else { 0 }
    }
}

/// Enters the frames of a durable group into the index and the epochs.
fn note_group(group: &Group, offset: u64, segment: &mut Segment, epochs: &mut EpochList) {
    let mut at = 0;
    while at < group.encoded.len() {
        let layout = crate::frame::Layout::read(&group.encoded[at..]);
        let start = offset + at as u64;
        segment.note(layout.lsn, start, start + layout.total as u64);
        epochs.note(layout.epoch, layout.lsn);
        at += layout.total;
    }
}

fn new_header(generation: u64, last_lsn: Lsn, last_epoch: Epoch) -> SegmentHeader {
    // Each `RandomState` has random keys; that is all the salt needs.
    let salt = std::hash::BuildHasher::hash_one(&std::hash::RandomState::new(), last_lsn);
    SegmentHeader { generation, first_lsn: last_lsn + 1, epoch_before: last_epoch, salt }
}
