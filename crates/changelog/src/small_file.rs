//! A small file whose content is replaced again and again, durably, by one write and one sync.
//!
//! The file has two halves, and each takes one content, padded with spaces:
//!
//! ```text
//! jadeshift-half 1, sequence 12, 345 bytes, crc32 0badf00d
//! { ... }
//! ```
//!
//! The half with the higher sequence holds; the next content goes over the other one, so a torn write costs nothing. Compared
//! with a new file that is renamed into place, neither names nor lengths change: the file system has nothing to journal, and
//! a full disk does not matter. A file without such halves is taken as a whole: one of the time before, or written by hand.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use parking_lot::Mutex;

use crate::disk::{Access, Disk, DiskFile, read_whole};
use crate::durable::{DurableWriteError, parent_of, write_file_durably};

#[cfg(test)]
mod tests;

const WORD: &[u8] = b"jadeshift-half ";
const VERSION: u64 = 1;
/// Halves are a multiple of that, so that no write touches the sectors of the other.
const BLOCK_BYTES: usize = 4096;
/// Longest first line.
const LINE_BYTES_MAX: usize = 128;

/// A small file that is replaced in place. Of one path there is one at a time that writes; anybody may read.
#[derive(Debug)]
pub struct SmallFile {
    disk: Arc<dyn Disk>,
    path: PathBuf,
    /// Known since the file was last written as a whole. Afresh after every failure: what a failed write left behind is not
    /// built upon.
    open: Mutex<Option<Open>>,
}

struct Open {
    file: Arc<dyn DiskFile>,
    half_bytes: usize,
    /// Of the half that holds.
    sequence: u64,
    /// 0 or 1: where the next content goes.
    next: usize,
}

impl std::fmt::Debug for Open {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("Open").field("sequence", &self.sequence).finish_non_exhaustive()
    }
}

impl SmallFile {
    pub fn new(disk: Arc<dyn Disk>, path: &Path) -> SmallFile {
        SmallFile { disk, path: path.to_owned(), open: Mutex::default() }
    }

    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The content that holds; `None` if there is no such file.
    ///
    /// # Errors
    /// It cannot be read; [`io::ErrorKind::InvalidData`] if neither half is whole.
    pub fn read(&self) -> io::Result<Option<Vec<u8>>> {
        match read_whole(&*self.disk, &self.path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            other => SmallFile::content_of(other?).map(Some),
        }
    }

    /// What holds of the bytes of such a file.
    ///
    /// # Errors
    /// [`io::ErrorKind::InvalidData`] if neither half is whole.
    pub fn content_of(file: Vec<u8>) -> io::Result<Vec<u8>> {
        let (first, second) = file.split_at(file.len() / 2);
        // The one half whose writing was torn may have lost its first line.
        if !first.starts_with(WORD) && !second.starts_with(WORD) {
            return Ok(file);
        }
        let newest = [first, second].into_iter().filter_map(parse).max_by_key(|(sequence, _)| *sequence);
        let damaged = || io::Error::new(io::ErrorKind::InvalidData, "neither half of the file is whole");
        newest.map(|(_, content)| content.to_vec()).ok_or_else(damaged)
    }

    /// As [`SmallFile::read`], and what is returned is durable. For whoever begins to act upon it: a process that was killed
    /// before its sync leaves a content that is seen, and lost with the power.
    ///
    /// # Errors
    /// As [`SmallFile::read`], or it cannot be synced.
    pub fn read_durable(&self) -> io::Result<Option<Vec<u8>>> {
        match self.disk.open(&self.path, Access::Write) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            file => file?.sync_data()?,
        }
        self.disk.sync_dir(parent_of(&self.path))?;
        self.read()
    }

    /// Replaces the content. After a crash at any moment the file has its old or its new content; when the call returned
    /// `Ok` it has the new one.
    ///
    /// # Errors
    /// Names the step that failed, and whether the old content is certain to hold.
    pub fn write(&self, bytes: &[u8]) -> Result<(), DurableWriteError> {
        let mut open = self.open.lock();
        if let Some(mut known) = open.take().filter(|known| bytes.len() + LINE_BYTES_MAX <= known.half_bytes) {
            self.write_half(&mut known, bytes)?;
            *open = Some(known);
            return Ok(());
        }
        *open = self.write_whole(bytes)?;
        Ok(())
    }

    fn write_half(&self, known: &mut Open, bytes: &[u8]) -> Result<(), DurableWriteError> {
        let half = half(known.sequence + 1, bytes, known.half_bytes);
        let offset = (known.next * known.half_bytes) as u64;
        known.file.write_all_at(&half, offset).map_err(|error| {
            let mut found = vec![0; half.len()];
            // Part of a half is none: without the whole new one there, the old content is certain to hold.
            let is_new = |half: &[u8]| parse(half).is_some_and(|(sequence, _)| sequence > known.sequence);
            let in_doubt = known.file.read_exact_at(&mut found, offset).is_err() || is_new(&found);
            self.failed("write", error, in_doubt)
        })?;
        known.file.sync_data().map_err(|error| self.failed("sync", error, true))?;
        known.sequence += 1;
        known.next = 1 - known.next;
        Ok(())
    }

    /// `None`: stored, and to be written as a whole the next time too.
    fn write_whole(&self, bytes: &[u8]) -> Result<Option<Open>, DurableWriteError> {
        // Room to grow, so that this remains rare.
        let half_bytes = (bytes.len() * 2 + LINE_BYTES_MAX).next_multiple_of(BLOCK_BYTES);
        let mut content = half(1, bytes, half_bytes);
        content.resize(2 * half_bytes, b' ');
        write_file_durably(&*self.disk, &self.path, &content)?;
        let file = self.disk.open(&self.path, Access::Write).ok();
        Ok(file.map(|file| Open { file, half_bytes, sequence: 1, next: 1 }))
    }

    fn failed(&self, action: &'static str, error: io::Error, in_doubt: bool) -> DurableWriteError {
        DurableWriteError { action, path: self.path.clone(), error, in_doubt }
    }
}

fn half(sequence: u64, bytes: &[u8], half_bytes: usize) -> Vec<u8> {
    let mut half = WORD.to_vec();
    let line = format!(
        "{VERSION}, sequence {sequence}, {} bytes, crc32 {:08x}\n",
        bytes.len(),
        crc32fast::hash(&[&sequence.to_le_bytes(), bytes].concat())
    );
    half.extend_from_slice(line.as_bytes());
    half.extend_from_slice(bytes);
    half.resize(half_bytes, b' ');
    if let Some(last) = half.last_mut() {
        *last = b'\n';
    }
    half
}

/// Sequence and content of a half; `None` if it is not whole.
fn parse(half: &[u8]) -> Option<(u64, &[u8])> {
    let rest = half.strip_prefix(WORD)?;
    let end = rest.iter().take(LINE_BYTES_MAX).position(|byte| *byte == b'\n')?;
    let line = std::str::from_utf8(&rest[..end]).ok()?;
    let (version, line) = line.split_once(", sequence ")?;
    let (sequence, line) = line.split_once(", ")?;
    let (length, crc) = line.split_once(" bytes, crc32 ")?;
    let sequence: u64 = sequence.parse().ok()?;
    let content = rest.get(end + 1..)?.get(..length.parse().ok()?)?;
    let whole = crc == format!("{:08x}", crc32fast::hash(&[&sequence.to_le_bytes(), content].concat()));
    (version.parse() == Ok(VERSION) && whole).then_some((sequence, content))
}
