//! Writes a snapshot file.

use std::io::Write;
use std::path::PathBuf;

use super::{
    ReceivedSnapshot, SnapshotEncoder, SnapshotError, SnapshotFormatError, SnapshotHeader, SnapshotItem, file_name,
    io_error, list, received_path,
};
use crate::data_dir::DataDir;
use crate::disk::{Access, Stream};

const BUFFER_BYTES: usize = 1 << 20;
/// Small pieces, so that a sync of the log does not wait behind a large one.
const SYNC_EVERY_BYTES: usize = 2 << 20;
/// A node that receives a snapshot has no log to sync meanwhile; a power failure costs it this much again.
const SYNC_RECEIVED_EVERY_BYTES: usize = 32 << 20;

/// A snapshot that is being written, under a name that nobody reads. Dropped without [`SnapshotWriter::finish`], or
/// after an error, it is removed; one that is [received](SnapshotWriter::receive) is kept, to be
/// [gone on with](super::ReceivedSnapshot).
pub struct SnapshotWriter {
    dir: PathBuf,
    held: DataDir,
    path: PathBuf,
    tmp: PathBuf,
    file: Stream,
    encoder: SnapshotEncoder,
    buffer: Vec<u8>,
    unsynced_bytes: usize,
    received: bool,
    finished: bool,
}

impl SnapshotWriter {
    /// Starts a snapshot in the folder's `snapshot/`.
    ///
    /// # Errors
    /// [`SnapshotError::Start`] if the header cannot be; otherwise the file could not be created.
    pub fn create(dir: &DataDir, header: &SnapshotHeader) -> Result<SnapshotWriter, SnapshotError> {
        let tmp = dir.snapshot_dir().join(file_name((header.start.generation, header.start.lsn)) + ".tmp");
        SnapshotWriter::begin(dir, header, tmp, false)
    }

    /// Starts a snapshot that comes from another node, in the place of one that was not finished.
    ///
    /// # Errors
    /// As [`SnapshotWriter::create`].
    pub fn receive(dir: &DataDir, header: &SnapshotHeader) -> Result<SnapshotWriter, SnapshotError> {
        // Not emptied but removed: whoever still holds it cannot write into this one.
        ReceivedSnapshot::remove(dir)?;
        SnapshotWriter::begin(dir, header, received_path(dir), true)
    }

    fn begin(
        held: &DataDir,
        header: &SnapshotHeader,
        tmp: PathBuf,
        received: bool,
    ) -> Result<SnapshotWriter, SnapshotError> {
        header.start.validate()?;
        let dir = held.snapshot_dir();
        held.disk().create_dir(&dir).map_err(io_error("create", &dir))?;
        let file = held.disk().open(&tmp, Access::Create).map_err(io_error("create", &tmp))?;
        let encoder = SnapshotEncoder::new();
        let mut writer = SnapshotWriter::on_file(held, header, (tmp, Stream::new(file)), encoder, received);
        writer.encode(|encoder, buffer| encoder.header(header, buffer))?;
        Ok(writer)
    }

    /// A writer that appends to a file.
    pub(super) fn on_file(
        held: &DataDir,
        header: &SnapshotHeader,
        (tmp, file): (PathBuf, Stream),
        encoder: SnapshotEncoder,
        received: bool,
    ) -> SnapshotWriter {
        let dir = held.snapshot_dir();
        SnapshotWriter {
            path: dir.join(file_name((header.start.generation, header.start.lsn))),
            dir,
            held: held.clone(),
            tmp,
            file,
            encoder,
            buffer: Vec::with_capacity(BUFFER_BYTES),
            unsynced_bytes: 0,
            received,
            finished: false,
        }
    }

    /// Adds an item.
    ///
    /// # Errors
    /// [`SnapshotError::Refused`] if it is too long; otherwise the file could not be written.
    pub fn item(&mut self, payload: &[u8]) -> Result<(), SnapshotError> {
        self.encode(|encoder, buffer| encoder.item(payload, buffer))
    }

    /// Adds an item as it came from another node, which must be the next.
    ///
    /// # Errors
    /// [`SnapshotError::Refused`] if it is not the next; otherwise the file could not be written.
    pub fn item_encoded(&mut self, item: &SnapshotItem) -> Result<(), SnapshotError> {
        self.encode(|encoder, buffer| encoder.item_encoded(item, buffer))
    }

    /// Items added so far.
    pub fn items(&self) -> u64 {
        self.encoder.items()
    }

    /// Ends the snapshot with a trailer, makes it durable, gives it its name, and removes the older ones. Returns where
    /// it is.
    ///
    /// # Errors
    /// The step that failed. Unless it was the last sync of the folder, the snapshots before are as they were.
    pub fn finish(mut self, end_meta: &[u8]) -> Result<PathBuf, SnapshotError> {
        self.encode(|encoder, buffer| encoder.trailer(end_meta, buffer))?;
        self.flush()?;
        self.file.file().sync_all().map_err(io_error("sync", &self.tmp))?;
        self.held.disk().rename(&self.tmp, &self.path).map_err(io_error("rename into place", &self.path))?;
        self.finished = true;
        self.held.disk().sync_dir(&self.dir).map_err(io_error("sync", &self.dir))?;
        self.remove_older();
        Ok(self.path.clone())
    }

    fn encode(
        &mut self,
        encode: impl FnOnce(&mut SnapshotEncoder, &mut Vec<u8>) -> Result<(), SnapshotFormatError>,
    ) -> Result<(), SnapshotError> {
        encode(&mut self.encoder, &mut self.buffer)
            .map_err(|error| SnapshotError::Refused { path: self.path.clone(), error })?;
        if self.buffer.len() >= BUFFER_BYTES {
            self.flush()?;
        }
        Ok(())
    }

    fn flush(&mut self) -> Result<(), SnapshotError> {
        self.file.write_all(&self.buffer).map_err(io_error("write", &self.tmp))?;
        self.unsynced_bytes += self.buffer.len();
        self.buffer.clear();
        self.buffer.shrink_to(2 * BUFFER_BYTES);
        let every_bytes = if self.received { SYNC_RECEIVED_EVERY_BYTES } else { SYNC_EVERY_BYTES };
        if self.unsynced_bytes >= every_bytes {
            self.file.file().sync_data().map_err(io_error("sync", &self.tmp))?;
            self.unsynced_bytes = 0;
        }
        Ok(())
    }

    /// The new snapshot is durable whatever comes of this; the next one tries again.
    fn remove_older(&self) {
        let older = match list(&**self.held.disk(), &self.dir) {
            Ok(listing) => listing.snapshots,
            Err(error) => {
                tracing::warn!(%error, "older snapshots were not removed");
                return;
            }
        };
        for (_, path) in older.into_iter().take_while(|(_, path)| *path != self.path) {
            if let Err(error) = self.held.disk().remove_file(&path) {
                tracing::warn!(path = %path.display(), %error, "an older snapshot was not removed");
            }
        }
    }
}

impl Drop for SnapshotWriter {
    fn drop(&mut self) {
        if self.received && !self.finished {
            // What does not reach the file comes again.
            let _ = self.file.write_all(&self.buffer);
        } else if !self.finished {
            // Left behind it is removed by `SnapshotReader::open_latest`.
            let _ = self.held.disk().remove_file(&self.tmp);
        }
    }
}
