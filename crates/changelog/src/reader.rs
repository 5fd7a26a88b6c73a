//! Reading durable frames while the log is written.
//!
//! The last groups are kept in memory as they were written, so that followers that keep up read no file. Older
//! frames are read from the segments, found by an index of one entry for each 64 KiB.

use std::collections::VecDeque;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;
use parking_lot::RwLock;
use thiserror::Error;

use crate::disk::DiskFile;
use crate::epochs::{EpochList, Start};
use crate::frame::{Frame, Layout};
use crate::segment::{HEADER_BYTES, Record, RecordError, Scanner, SegmentHeader};
use crate::{Epoch, Lsn};

mod tail;
#[cfg(test)]
mod tests;

pub(crate) use tail::{Group, Tail};

/// Distance of index entries: what is read in vain at most.
const INDEX_STRIDE_BYTES: u64 = 64 << 10;
const BLOCK_BYTES: usize = 256 << 10;

/// Reads durable frames; cheap to clone, and used by any number of threads.
#[derive(Clone)]
pub struct LogReader {
    shared: Arc<Shared>,
    generation: u64,
}

/// Durable frames in order, encoded as they are on disk and on the feed.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Batch {
    /// LSN of the last frame; 0 if there is none.
    pub last_lsn: Lsn,
    /// Whole frames, one or more in each piece.
    pub pieces: Vec<Bytes>,
    /// Sum of the pieces' lengths.
    pub bytes: usize,
}

/// Why frames cannot be read.
#[derive(Debug, Error)]
pub enum ReadError {
    #[error("LSN {} is no longer in the log, which starts at LSN {first_available}: a snapshot is needed", after + 1)]
    Truncated { after: Lsn, first_available: Lsn },
    #[error("the history was replaced while it was read: compare epochs and start again")]
    Reset,
    #[error("cannot read log segment {}: {error}", path.display())]
    Io { path: PathBuf, error: io::Error },
    #[error("log segment {} is damaged where LSN {lsn} is expected: {error}", path.display())]
    Damaged { path: PathBuf, lsn: Lsn, error: RecordError },
    #[error("log segment {} is damaged: LSN {lsn} is expected, {found} is there (0: nothing)", path.display())]
    Disorder { path: PathBuf, lsn: Lsn, found: Lsn },
}

/// What the log and its readers share. The log alone changes it.
pub(crate) struct Shared {
    pub state: RwLock<State>,
}

pub(crate) struct State {
    pub generation: u64,
    pub durable_lsn: Lsn,
    pub durable_epoch: Epoch,
    pub epochs: EpochList,
    pub tail: Tail,
    /// Ascending, never empty.
    pub segments: VecDeque<Segment>,
}

/// A segment as readers know it.
pub(crate) struct Segment {
    pub first_lsn: Lsn,
    pub salt: u64,
    pub path: Arc<Path>,
    pub file: Arc<dyn DiskFile>,
    /// Some frames and where they start, ascending.
    index: Vec<(Lsn, u64)>,
    /// End of the last durable frame.
    pub end: u64,
}

impl Segment {
    pub(crate) fn new(header: SegmentHeader, path: Arc<Path>, file: Arc<dyn DiskFile>) -> Segment {
        Segment { first_lsn: header.first_lsn, salt: header.salt, path, file, index: Vec::new(), end: HEADER_BYTES }
    }

    /// Takes note of a durable frame at `offset..end`, the next one.
    pub(crate) fn note(&mut self, lsn: Lsn, offset: u64, end: u64) {
        if self.index.last().is_none_or(|&(_, last)| offset - last >= INDEX_STRIDE_BYTES) {
            self.index.push((lsn, offset));
        }
        self.end = end;
    }

    /// Where to start looking for `lsn`.
    fn offset_before(&self, lsn: Lsn) -> u64 {
        let after = self.index.partition_point(|&(indexed, _)| indexed <= lsn);
        after.checked_sub(1).map_or(HEADER_BYTES, |index| self.index[index].1)
    }
}

impl State {
    fn first_available(&self) -> Lsn {
        self.segments.front().map_or(self.durable_lsn + 1, |segment| segment.first_lsn)
    }
}

/// What is needed to go on without the lock.
enum Source {
    Memory(Vec<Bytes>),
    Segment { file: Arc<dyn DiskFile>, path: Arc<Path>, salt: u64, offset: u64, end: u64 },
}

impl LogReader {
    pub(crate) fn new(shared: Arc<Shared>) -> LogReader {
        let generation = shared.state.read().generation;
        LogReader { shared, generation }
    }

    /// The durable frames after `lsn`, in order: at most `max_bytes` of them (encoded), but at least one if there is
    /// any. Empty if there is none; shorter than it could be where a segment ends.
    ///
    /// # Errors
    /// [`ReadError::Truncated`] if the next frame is no longer kept; [`ReadError::Reset`] if the history was replaced
    /// since this reader was made; otherwise what is wrong with the file.
    pub fn read_after(&self, lsn: Lsn, max_bytes: usize) -> Result<Vec<Frame>, ReadError> {
        Ok(self.read_encoded_after(lsn, max_bytes)?.frames())
    }

    /// As [`LogReader::read_after`], but encoded: what a feed sends. Recent frames are not copied.
    ///
    /// # Errors
    /// As [`LogReader::read_after`].
    pub fn read_encoded_after(&self, lsn: Lsn, max_bytes: usize) -> Result<Batch, ReadError> {
        self.read(lsn, max_bytes, true)
    }

    /// As [`LogReader::read_encoded_after`], but always from the files: for checking what is really on disk.
    ///
    /// # Errors
    /// As [`LogReader::read_after`].
    pub fn read_stored_after(&self, lsn: Lsn, max_bytes: usize) -> Result<Batch, ReadError> {
        self.read(lsn, max_bytes, false)
    }

    fn read(&self, lsn: Lsn, max_bytes: usize, from_memory: bool) -> Result<Batch, ReadError> {
        let source = {
            let state = self.shared.state.read();
            if state.generation != self.generation {
                return Err(ReadError::Reset);
            }
            if lsn >= state.durable_lsn {
                return Ok(Batch::default());
            }
            self.source(&state, lsn, max_bytes, from_memory)?
        };
        match source {
            Source::Memory(groups) => Ok(Batch::from_memory(&groups, lsn, max_bytes)),
            Source::Segment { file, path, salt, offset, end } => {
                let scanner = Scanner::new(&*file, salt, offset, end, BLOCK_BYTES);
                Batch::from_segment(scanner, &path, lsn, max_bytes)
            }
        }
    }

    /// `lsn` is less than the last durable one.
    fn source(&self, state: &State, lsn: Lsn, max_bytes: usize, from_memory: bool) -> Result<Source, ReadError> {
        if from_memory && let Some(groups) = state.tail.after(lsn, max_bytes) {
            return Ok(Source::Memory(groups));
        }
        let after = state.segments.partition_point(|segment| segment.first_lsn <= lsn + 1);
        let Some(segment) = after.checked_sub(1).and_then(|index| state.segments.get(index)) else {
            return Err(ReadError::Truncated { after: lsn, first_available: state.first_available() });
        };
        Ok(Source::Segment {
            file: segment.file.clone(),
            path: segment.path.clone(),
            salt: segment.salt,
            offset: segment.offset_before(lsn + 1),
            end: segment.end,
        })
    }

    /// See [`Start::generation`]: that of the history this reader reads.
    pub fn generation(&self) -> u64 {
        self.generation
    }

    /// Last durable LSN and its epoch.
    pub fn durable(&self) -> (Lsn, Epoch) {
        let state = self.shared.state.read();
        (state.durable_lsn, state.durable_epoch)
    }

    /// Epoch of the durable record at `lsn`, also where the record itself is no longer kept. 0 for LSN 0; `None` after
    /// the last durable one.
    pub fn epoch_at(&self, lsn: Lsn) -> Option<Epoch> {
        let state = self.shared.state.read();
        if lsn > state.durable_lsn { None } else { state.epochs.at(lsn) }
    }

    /// Each epoch that has durable records, with its first LSN, ascending.
    pub fn epochs(&self) -> Vec<(Epoch, Lsn)> {
        let state = self.shared.state.read();
        state.epochs.up_to(state.durable_lsn)
    }

    /// What a snapshot of the state at `lsn` has to say; `None` if `lsn` is not durable yet.
    pub fn start_at(&self, lsn: Lsn) -> Option<Start> {
        let state = self.shared.state.read();
        (lsn <= state.durable_lsn).then(|| Start { lsn, generation: state.generation, epochs: state.epochs.up_to(lsn) })
    }

    /// Oldest LSN that is kept; one more than the last if there is none.
    pub fn first_available(&self) -> Lsn {
        self.shared.state.read().first_available()
    }

    #[cfg(test)]
    pub(crate) fn durable_end(&self) -> u64 {
        self.shared.state.read().segments.back().map_or(0, |segment| segment.end)
    }

    /// A reader of the present history, for the time after [`ReadError::Reset`].
    pub fn renewed(&self) -> LogReader {
        LogReader::new(self.shared.clone())
    }
}

impl std::fmt::Debug for LogReader {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("LogReader").field("generation", &self.generation).field("durable", &self.durable()).finish()
    }
}

impl Batch {
    pub fn is_empty(&self) -> bool {
        self.pieces.is_empty()
    }

    /// The frames; payloads share the memory of the pieces.
    pub fn frames(&self) -> Vec<Frame> {
        let mut frames = Vec::new();
        for piece in &self.pieces {
            let mut at = 0;
            while at < piece.len() {
                let total = Layout::read(&piece[at..]).total;
                frames.push(Frame::from_checked(&piece.slice(at..at + total)));
                at += total;
            }
        }
        frames
    }

    /// Whether a frame of this length still fits; the first always does.
    fn fits(&self, pending: usize, total: usize, max_bytes: usize) -> bool {
        let taken = self.bytes + pending;
        taken == 0 || taken + total <= max_bytes
    }

    fn push(&mut self, piece: Bytes, last_lsn: Lsn) {
        self.bytes += piece.len();
        self.last_lsn = last_lsn;
        self.pieces.push(piece);
    }

    fn from_memory(groups: &[Bytes], after: Lsn, max_bytes: usize) -> Batch {
        let mut batch = Batch::default();
        for group in groups {
            let (mut from, mut at, mut last_lsn) = (0, 0, 0);
            while at < group.len() {
                let layout = Layout::read(&group[at..]);
                if layout.lsn <= after {
                    from = at + layout.total;
                } else if batch.fits(at - from, layout.total, max_bytes) {
                    last_lsn = layout.lsn;
                } else {
                    break;
                }
                at += layout.total;
            }
            if at > from {
                batch.push(group.slice(from..at), last_lsn);
            }
            if at < group.len() {
                break;
            }
        }
        batch
    }

    fn from_segment(mut scanner: Scanner, path: &Path, after: Lsn, max_bytes: usize) -> Result<Batch, ReadError> {
        let mut batch = Batch::default();
        loop {
            let lsn = batch.last_lsn.max(after) + 1;
            match scanner.next().map_err(|error| ReadError::Io { path: path.to_owned(), error })? {
                Record::Frame { layout, .. } if layout.lsn <= after => {}
                Record::Frame { layout, .. } if layout.lsn != lsn => {
                    return Err(ReadError::Disorder { path: path.to_owned(), lsn, found: layout.lsn });
                }
                Record::Frame { layout, .. } if !batch.fits(0, layout.total, max_bytes) => return Ok(batch),
                Record::Frame { layout, encoded, .. } => batch.push(encoded, layout.lsn),
                Record::Mark { .. } => {}
                Record::End { .. } if !batch.is_empty() => return Ok(batch),
                Record::End { .. } => return Err(ReadError::Disorder { path: path.to_owned(), lsn, found: 0 }),
                Record::Bad { error, .. } => return Err(ReadError::Damaged { path: path.to_owned(), lsn, error }),
            }
        }
    }
}
