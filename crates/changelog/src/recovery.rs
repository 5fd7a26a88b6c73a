//! What is on disk when a log is opened: read in order, checked, and only then repaired.
//!
//! All segments are scanned before anything is changed. A record that cannot be read is a *torn tail* if it can have
//! been left behind by a crash, that is, if nothing says that it had been synced; it is cut off. Otherwise it is
//! *damage*: the open fails and changes nothing. See [`tail`] for how the two are told apart.

use std::error::Error;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use thiserror::Error;

use crate::disk::{Access, Disk, DiskFile};
use crate::epochs::{EpochList, Start, StartError};
use crate::frame::Frame;
use crate::prepare::is_zero;
use crate::reader::Segment;
use crate::segment::{HEADER_BYTES, Record, RecordError, Scanner, SegmentHeader, SegmentHeaderError, parse_file_name};
use crate::{Epoch, Lsn};

mod tail;
#[cfg(test)]
mod tests;

const BLOCK_BYTES: usize = 1 << 20;

/// What [`Log::open`](crate::Log::open) found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Recovery {
    /// Oldest LSN that can be read; `last_lsn + 1` if there is none.
    pub first_lsn: Lsn,
    /// Last LSN of the history, the snapshot's if the log is empty.
    pub last_lsn: Lsn,
    /// Epoch of the record at `last_lsn`.
    pub last_epoch: Epoch,
    /// Records in the log.
    pub frames: u64,
    pub segments: usize,
    /// Bytes cut off at the end: a group that a crash left half-written and that was never synced.
    pub truncated_bytes: u64,
    /// Where they were cut off.
    pub cut: Option<Cut>,
    /// Segments of an older generation that were removed: the history was replaced, and a crash came in between.
    pub superseded_segments: usize,
}

/// Where a torn tail was cut off, and why it could not be read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cut {
    pub path: PathBuf,
    pub offset: u64,
    pub cause: RecordError,
}

/// Why a log cannot be opened.
#[derive(Debug, Error)]
pub enum OpenError {
    #[error("cannot open the log: {0}")]
    Start(#[from] StartError),
    #[error("cannot {action} {}: {error}", path.display())]
    Io { action: &'static str, path: PathBuf, error: io::Error },
    #[error("log segment {} is damaged: {error}; nothing was changed", path.display())]
    SegmentHeader { path: PathBuf, error: SegmentHeaderError },
    #[error(
        "log segment {} is damaged at byte {offset}, where LSN {lsn} is expected: {damage}; nothing was changed",
        path.display()
    )]
    Damaged { path: PathBuf, offset: u64, lsn: Lsn, damage: Damage },
    #[error(
        "log segment {} starts at LSN {found}, the one before it ends before LSN {expected}: records are missing; \
         nothing was changed",
        path.display()
    )]
    MissingRecords { path: PathBuf, expected: Lsn, found: Lsn },
    #[error(
        "the log in {} starts at LSN {first_available}, the snapshot ends at LSN {snapshot}: the records between are \
         missing",
        path.display()
    )]
    Gap { path: PathBuf, first_available: Lsn, snapshot: Lsn },
    #[error(
        "the log in {} ends at LSN {last_lsn}, before the snapshot at LSN {snapshot}: records are missing",
        path.display()
    )]
    EndsBeforeSnapshot { path: PathBuf, last_lsn: Lsn, snapshot: Lsn },
    #[error(
        "the log in {} is of generation {log}, the snapshot of {snapshot}: the newest snapshot is missing",
        path.display()
    )]
    SnapshotOutdated { path: PathBuf, log: u64, snapshot: u64 },
    #[error("the record at LSN {lsn} cannot be applied: {error}")]
    Replay { lsn: Lsn, error: Box<dyn Error + Send + Sync> },
}

/// What is wrong with a record that had been synced.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum Damage {
    #[error("{cause}; a later mark says that it had been synced")]
    Synced { cause: RecordError },
    #[error("{cause}; a later segment follows")]
    NotLast { cause: RecordError },
    #[error("{cause}; the snapshot says that it had been synced")]
    InSnapshot { cause: RecordError },
    #[error("{cause}; LSN {lsn} at byte {offset} is intact")]
    BeforeIntact { cause: RecordError, lsn: Lsn, offset: u64 },
    #[error("LSN {found} is there")]
    Lsn { found: Lsn },
    #[error("its epoch is {found}, the one before has {before}")]
    EpochFell { before: Epoch, found: Epoch },
    #[error("the segment says that the record before has epoch {found}, it has {before}")]
    EpochBefore { before: Epoch, found: Epoch },
    #[error("its epoch is {found}, the snapshot says {snapshot}")]
    EpochDiffers { snapshot: Epoch, found: Epoch },
    #[error("a mark says that everything up to LSN {synced} came before")]
    Mark { synced: Lsn },
}

/// The result: what to tell, and what the log goes on with.
pub(crate) struct Recovered {
    pub recovery: Recovery,
    pub segments: Vec<Segment>,
    pub epochs: EpochList,
    /// The last segment's file, for appending.
    pub active: Option<Arc<dyn DiskFile>>,
}

/// Called with each record after the snapshot, in order.
pub(crate) type Replay<'a> = &'a mut dyn FnMut(Frame) -> Result<(), Box<dyn Error + Send + Sync>>;

/// Reads the log in `dir` that continues `start`, repairs its end, and makes what was found durable.
pub(crate) fn recover(disk: &dyn Disk, dir: &Path, start: &Start, replay: Replay) -> Result<Recovered, OpenError> {
    start.validate()?;
    disk.create_dir(dir).map_err(io_error("create", dir))?;
    let listing = list(disk, dir)?;
    let mut superseded = Vec::new();
    let mut found = Vec::new();
    for (first_lsn, path) in listing.segments {
        let (file, bytes, header) = open_segment(disk, &path, first_lsn)?;
        if header.generation > start.generation {
            let (log, snapshot) = (header.generation, start.generation);
            return Err(OpenError::SnapshotOutdated { path: dir.to_owned(), log, snapshot });
        }
        if header.generation < start.generation {
            superseded.push(path);
        } else {
            found.push(Found { path, file, bytes, header });
        }
    }
    let mut scan = Scan::new(dir, start, replay);
    let last = found.len().saturating_sub(1);
    for (index, found) in found.into_iter().enumerate() {
        scan.segment(found, index == last)?;
    }
    scan.check_end()?;
    // From here on the log is known to be sound, and only now is it changed.
    for path in listing.leftovers.iter().chain(&superseded) {
        disk.remove_file(path).map_err(io_error("remove", path))?;
    }
    let active = scan.repair_end(disk)?;
    disk.sync_dir(dir).map_err(io_error("sync", dir))?;
    scan.recovery.superseded_segments = superseded.len();
    Ok(Recovered { recovery: scan.recovery, segments: scan.segments, epochs: scan.epochs, active })
}

struct Listing {
    /// Ascending.
    segments: Vec<(Lsn, PathBuf)>,
    leftovers: Vec<PathBuf>,
}

fn list(disk: &dyn Disk, dir: &Path) -> Result<Listing, OpenError> {
    let mut listing = Listing { segments: Vec::new(), leftovers: Vec::new() };
    for path in disk.list(dir).map_err(io_error("list", dir))? {
        let Some(name) = path.file_name().and_then(|name| name.to_str()) else { continue };
        if let Some(first_lsn) = parse_file_name(name) {
            listing.segments.push((first_lsn, path));
        } else if name.ends_with(".tmp") {
            listing.leftovers.push(path);
        }
    }
    listing.segments.sort();
    Ok(listing)
}

fn open_segment(
    disk: &dyn Disk,
    path: &Path,
    first_lsn: Lsn,
) -> Result<(Arc<dyn DiskFile>, u64, SegmentHeader), OpenError> {
    let file = disk.open(path, Access::Read).map_err(io_error("open", path))?;
    let bytes = file.length().map_err(io_error("read the size of", path))?;
    let header = SegmentHeader::read(&*file, bytes, first_lsn)
        .map_err(io_error("read", path))?
        .map_err(|error| OpenError::SegmentHeader { path: path.to_owned(), error })?;
    Ok((file, bytes, header))
}

struct Found {
    path: PathBuf,
    file: Arc<dyn DiskFile>,
    bytes: u64,
    header: SegmentHeader,
}

/// The scan of all segments: what has been read so far.
struct Scan<'a> {
    dir: &'a Path,
    start: &'a Start,
    start_epochs: EpochList,
    replay: Replay<'a>,
    segments: Vec<Segment>,
    epochs: EpochList,
    recovery: Recovery,
    /// Start of what is not known to be synced, in the last segment.
    unproven_from: u64,
    file_bytes: u64,
}

impl<'a> Scan<'a> {
    fn new(dir: &'a Path, start: &'a Start, replay: Replay<'a>) -> Scan<'a> {
        let epochs = EpochList::new(start.epochs.clone());
        let recovery = Recovery {
            first_lsn: start.lsn + 1,
            last_lsn: start.lsn,
            last_epoch: start.epoch(),
            frames: 0,
            segments: 0,
            truncated_bytes: 0,
            cut: None,
            superseded_segments: 0,
        };
        let start_epochs = epochs.clone();
        let segments = Vec::new();
        Scan {
            dir,
            start,
            start_epochs,
            replay,
            segments,
            epochs,
            recovery,
            unproven_from: HEADER_BYTES,
            file_bytes: 0,
        }
    }

    fn segment(&mut self, found: Found, is_last: bool) -> Result<(), OpenError> {
        let Found { path, file, bytes, header } = found;
        self.check_joint(&path, &header)?;
        let mut segment = Segment::new(header, Arc::from(path.as_path()), file);
        let file = segment.file.clone();
        let mut scanner = Scanner::new(&*file, header.salt, HEADER_BYTES, bytes, BLOCK_BYTES);
        self.unproven_from = HEADER_BYTES;
        self.file_bytes = bytes;
        loop {
            let lsn = self.recovery.last_lsn + 1;
            let damaged = |offset, damage| OpenError::Damaged { path: path.clone(), offset, lsn, damage };
            match scanner.next().map_err(io_error("read", &path))? {
                Record::Frame { offset, layout, encoded } => {
                    self.check_order(layout.lsn, layout.epoch).map_err(|damage| damaged(offset, damage))?;
                    segment.note(lsn, offset, offset + layout.total as u64);
                    self.epochs.note(layout.epoch, lsn);
                    self.recovery.last_lsn = lsn;
                    self.recovery.last_epoch = layout.epoch;
                    self.recovery.frames += 1;
                    if lsn > self.start.lsn {
                        (self.replay)(Frame::from_checked(&encoded))
                            .map_err(|error| OpenError::Replay { lsn, error })?;
                    }
                }
                Record::Mark { offset, synced } => {
                    if synced + 1 != lsn {
                        return Err(damaged(offset, Damage::Mark { synced }));
                    }
                    self.unproven_from = offset;
                }
                Record::End { offset } => {
                    if !rest_is_zero(&*file, offset, bytes).map_err(io_error("read", &path))? {
                        self.unreadable(&path, &*file, &header, offset, is_last, RecordError::Zeros)?;
                    }
                    break;
                }
                Record::Bad { offset, error } => {
                    self.unreadable(&path, &*file, &header, offset, is_last, error)?;
                    break;
                }
            }
        }
        self.recovery.segments += 1;
        self.segments.push(segment);
        Ok(())
    }

    /// Checks that the segment goes on where the one before it, or the snapshot, ended.
    fn check_joint(&mut self, path: &Path, header: &SegmentHeader) -> Result<(), OpenError> {
        let first_lsn = header.first_lsn;
        if self.segments.is_empty() {
            if first_lsn > self.start.lsn + 1 {
                let snapshot = self.start.lsn;
                return Err(OpenError::Gap { path: self.dir.to_owned(), first_available: first_lsn, snapshot });
            }
            // Before the first epoch that the snapshot names there is nothing to compare with.
            let snapshot = self.start_epochs.at(first_lsn.saturating_sub(1)).unwrap_or(header.epoch_before);
            if header.epoch_before != snapshot {
                let damage = Damage::EpochDiffers { snapshot, found: header.epoch_before };
                let lsn = first_lsn.saturating_sub(1);
                return Err(OpenError::Damaged { path: path.to_owned(), offset: 0, lsn, damage });
            }
            self.recovery.first_lsn = first_lsn;
            self.recovery.last_lsn = first_lsn.saturating_sub(1);
            self.recovery.last_epoch = header.epoch_before;
        }
        let expected = self.recovery.last_lsn + 1;
        if first_lsn != expected {
            return Err(OpenError::MissingRecords { path: path.to_owned(), expected, found: first_lsn });
        }
        if header.epoch_before != self.recovery.last_epoch {
            let damage = Damage::EpochBefore { before: self.recovery.last_epoch, found: header.epoch_before };
            return Err(OpenError::Damaged { path: path.to_owned(), offset: 0, lsn: expected, damage });
        }
        Ok(())
    }

    fn check_order(&self, lsn: Lsn, epoch: Epoch) -> Result<(), Damage> {
        if lsn != self.recovery.last_lsn + 1 {
            return Err(Damage::Lsn { found: lsn });
        }
        if epoch < self.recovery.last_epoch {
            return Err(Damage::EpochFell { before: self.recovery.last_epoch, found: epoch });
        }
        match self.start_epochs.at(lsn) {
            Some(snapshot) if lsn <= self.start.lsn && snapshot != epoch => {
                Err(Damage::EpochDiffers { snapshot, found: epoch })
            }
            _ => Ok(()),
        }
    }

    /// Something at `offset` is neither a record nor the end: takes note of a torn tail, or fails.
    fn unreadable(
        &mut self,
        path: &Path,
        file: &dyn DiskFile,
        header: &SegmentHeader,
        offset: u64,
        is_last: bool,
        cause: RecordError,
    ) -> Result<(), OpenError> {
        let lsn = self.recovery.last_lsn + 1;
        let damaged = |damage| Err(OpenError::Damaged { path: path.to_owned(), offset, lsn, damage });
        if !is_last {
            return damaged(Damage::NotLast { cause });
        }
        if lsn <= self.start.lsn {
            return damaged(Damage::InSnapshot { cause });
        }
        let mut rest = vec![0; (self.file_bytes - offset) as usize];
        file.read_exact_at(&mut rest, offset).map_err(io_error("read", path))?;
        let expected = tail::Expected { lsn, epoch: self.recovery.last_epoch, salt: header.salt };
        match tail::judge(&rest, offset, &expected) {
            tail::Verdict::Torn { bytes } => {
                self.recovery.truncated_bytes = bytes;
                self.recovery.cut = Some(Cut { path: path.to_owned(), offset, cause });
                Ok(())
            }
            tail::Verdict::Synced => damaged(Damage::Synced { cause }),
            tail::Verdict::BeforeIntact { lsn, offset } => damaged(Damage::BeforeIntact { cause, lsn, offset }),
        }
    }

    fn check_end(&self) -> Result<(), OpenError> {
        let (last_lsn, snapshot) = (self.recovery.last_lsn, self.start.lsn);
        if last_lsn < snapshot {
            return Err(OpenError::EndsBeforeSnapshot { path: self.dir.to_owned(), last_lsn, snapshot });
        }
        Ok(())
    }

    /// Cuts off a torn tail and makes the rest durable; returns the file to append to.
    ///
    /// What no mark proves to be synced is written again first: if a sync had failed before the crash, the kernel may
    /// hold these bytes as clean although the disk never took them.
    fn repair_end(&mut self, disk: &dyn Disk) -> Result<Option<Arc<dyn DiskFile>>, OpenError> {
        let Some(segment) = self.segments.last() else { return Ok(None) };
        let path = segment.path.clone();
        let file = disk.open(&path, Access::Write).map_err(io_error("open", &path))?;
        let mut at = self.unproven_from;
        let mut block = vec![0; BLOCK_BYTES.min(segment.end.saturating_sub(at) as usize)];
        while at < segment.end {
            let count = block.len().min((segment.end - at) as usize);
            file.read_exact_at(&mut block[..count], at).map_err(io_error("read", &path))?;
            file.write_all_at(&block[..count], at).map_err(io_error("write", &path))?;
            at += count as u64;
        }
        if self.recovery.cut.is_some() {
            file.set_len(segment.end).map_err(io_error("cut off the torn tail of", &path))?;
        }
        file.sync_all().map_err(io_error("sync", &path))?;
        Ok(Some(file))
    }
}

fn rest_is_zero(file: &dyn DiskFile, offset: u64, end: u64) -> io::Result<bool> {
    let mut at = offset;
    let mut block = vec![0; BLOCK_BYTES.min(end.saturating_sub(at) as usize)];
    while at < end {
        let count = block.len().min((end - at) as usize);
        file.read_exact_at(&mut block[..count], at)?;
        if !is_zero(&block[..count]) {
            return Ok(false);
        }
        at += count as u64;
    }
    Ok(true)
}

pub(crate) fn io_error(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> OpenError + use<> {
    let path = path.to_owned();
    move |error| OpenError::Io { action, path, error }
}
