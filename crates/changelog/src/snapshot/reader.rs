//! Reads a snapshot file.

use std::io::{self, Read};
use std::path::{Path, PathBuf};

use bytes::Bytes;

use super::{
    Key, SnapshotDecoder, SnapshotError, SnapshotFormatError, SnapshotHeader, SnapshotRecord, SnapshotTrailer,
    io_error, list,
};
use crate::data_dir::DataDir;
use crate::disk::{Access, Disk, Stream};

const BLOCK_BYTES: usize = 256 << 10;

/// A snapshot whose items are read in order. Iterates over payloads; ends after the trailer, or after the first error.
pub struct SnapshotReader {
    path: PathBuf,
    file: Stream,
    header: SnapshotHeader,
    trailer: Option<SnapshotTrailer>,
    decoder: SnapshotDecoder,
    block: Vec<u8>,
    /// Bytes read from the file.
    read: u64,
    failed: bool,
}

impl SnapshotReader {
    /// Opens the newest snapshot of the folder, and removes what was left by one that was not finished.
    ///
    /// # Errors
    /// The folder or the file cannot be read, or the snapshot's start is damaged. An older snapshot is not tried: the
    /// log before the newest is gone.
    pub fn open_latest(dir: &DataDir) -> Result<Option<SnapshotReader>, SnapshotError> {
        let listing = list(&**dir.disk(), &dir.snapshot_dir())?;
        for path in listing.leftovers {
            dir.disk().remove_file(&path).map_err(io_error("remove", &path))?;
        }
        let Some((key, path)) = listing.snapshots.into_iter().next_back() else { return Ok(None) };
        let reader = SnapshotReader::open(&**dir.disk(), &path)?;
        let start = &reader.header.start;
        let found: Key = (start.generation, start.lsn);
        if found != key {
            return Err(SnapshotError::Name { path, generation: found.0, lsn: found.1 });
        }
        Ok(Some(reader))
    }

    /// Opens the snapshot at `path`.
    ///
    /// # Errors
    /// The file cannot be read, or its start is damaged.
    pub fn open(disk: &dyn Disk, path: &Path) -> Result<SnapshotReader, SnapshotError> {
        let file = Stream::new(disk.open(path, Access::Read).map_err(io_error("open", path))?);
        let mut reader = SnapshotReader {
            path: path.to_owned(),
            file,
            header: SnapshotHeader { start: crate::Start::beginning(), meta: Bytes::new() },
            trailer: None,
            decoder: SnapshotDecoder::new(),
            block: vec![0; BLOCK_BYTES],
            read: 0,
            failed: false,
        };
        match reader.record()? {
            Some(SnapshotRecord::Header(header)) => reader.header = header,
            _ => return Err(reader.damaged(SnapshotFormatError::NoHeader)),
        }
        Ok(reader)
    }

    pub fn path(&self) -> &Path {
        &self.path
    }

    pub fn header(&self) -> &SnapshotHeader {
        &self.header
    }

    /// The trailer, once all items were read: without it the snapshot is not known to be whole.
    pub fn trailer(&self) -> Option<&SnapshotTrailer> {
        self.trailer.as_ref()
    }

    /// The next item's payload; `None` after the last, when number and trailer were checked.
    ///
    /// # Errors
    /// The file cannot be read, or is damaged; what was read before is then to be dropped.
    pub fn next_item(&mut self) -> Result<Option<Bytes>, SnapshotError> {
        if self.trailer.is_some() {
            return Ok(None);
        }
        match self.record()? {
            Some(SnapshotRecord::Item(item)) => Ok(Some(item.payload())),
            Some(SnapshotRecord::Trailer(trailer)) => {
                // Nothing may follow: this reads to the end of the file.
                if self.record()?.is_some() {
                    return Err(self.damaged(SnapshotFormatError::AfterTrailer));
                }
                self.trailer = Some(trailer);
                Ok(None)
            }
            Some(SnapshotRecord::Header(_)) => Err(self.damaged(SnapshotFormatError::SecondHeader)),
            None => Ok(None),
        }
    }

    /// The next record; `None` at the end of the file after the trailer.
    fn record(&mut self) -> Result<Option<SnapshotRecord>, SnapshotError> {
        loop {
            match self.decoder.next() {
                Ok(Some(record)) => return Ok(Some(record)),
                Ok(None) => {}
                Err(error) => return Err(self.damaged(error)),
            }
            match self.file.read(&mut self.block) {
                Ok(0) => return self.decoder.finish().map(|()| None).map_err(|error| self.damaged(error)),
                Ok(count) => {
                    self.read += count as u64;
                    self.decoder.push(&self.block[..count]);
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(io_error("read", &self.path)(error)),
            }
        }
    }

    fn damaged(&self, error: SnapshotFormatError) -> SnapshotError {
        let offset = self.read - self.decoder.buffered() as u64;
        SnapshotError::Damaged { path: self.path.clone(), offset, error }
    }
}

impl Iterator for SnapshotReader {
    type Item = Result<Bytes, SnapshotError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.failed {
            return None;
        }
        let result = self.next_item();
        self.failed = result.is_err();
        result.transpose()
    }
}
