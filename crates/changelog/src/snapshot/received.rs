//! A snapshot of another node of which a part came: what is whole of it is read again and gone on with.

use std::io::{self, Read, Seek, SeekFrom};
use std::path::PathBuf;

use super::{
    SnapshotDecoder, SnapshotEncoder, SnapshotError, SnapshotHeader, SnapshotItem, SnapshotRecord, SnapshotWriter,
    io_error, received_path,
};
use crate::data_dir::DataDir;
use crate::disk::{Access, Stream};

const BLOCK_BYTES: usize = 256 << 10;

/// The part that came, up to the first record that is not whole. The process may have ended while it was written, and
/// the machine before all of it was on disk; whatever follows is asked for again.
pub struct ReceivedSnapshot {
    dir: DataDir,
    path: PathBuf,
    file: Stream,
    header: SnapshotHeader,
    decoder: SnapshotDecoder,
    block: Vec<u8>,
    /// Bytes read from the file.
    read: u64,
    items: u64,
    /// End of the last whole item.
    whole: u64,
    ended: bool,
}

impl ReceivedSnapshot {
    /// Opens the part; `None` if there is none, or not even its header is whole.
    ///
    /// # Errors
    /// The file cannot be read.
    pub fn open(dir: &DataDir) -> Result<Option<ReceivedSnapshot>, SnapshotError> {
        let path = received_path(dir);
        let file = match dir.disk().open(&path, Access::Write) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            other => other.map_err(io_error("open", &path))?,
        };
        let mut part = ReceivedSnapshot {
            dir: dir.clone(),
            path,
            file: Stream::new(file),
            header: SnapshotHeader { start: crate::Start::beginning(), meta: bytes::Bytes::new() },
            decoder: SnapshotDecoder::new(),
            block: vec![0; BLOCK_BYTES],
            read: 0,
            items: 0,
            whole: 0,
            ended: false,
        };
        match part.record()? {
            Some(SnapshotRecord::Header(header)) => part.header = header,
            _ => return Ok(None),
        }
        part.note();
        Ok(Some(part))
    }

    /// Removes the part, if there is one.
    ///
    /// # Errors
    /// The file cannot be removed.
    pub fn remove(dir: &DataDir) -> Result<(), SnapshotError> {
        let path = received_path(dir);
        match dir.disk().remove_file(&path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(io_error("remove", &path)(error)),
            _ => Ok(()),
        }
    }

    pub fn header(&self) -> &SnapshotHeader {
        &self.header
    }

    /// The next item; `None` behind the last whole one.
    ///
    /// # Errors
    /// The file cannot be read.
    pub fn next_item(&mut self) -> Result<Option<SnapshotItem>, SnapshotError> {
        if self.ended {
            return Ok(None);
        }
        match self.record()? {
            Some(SnapshotRecord::Item(item)) => {
                self.items += 1;
                self.note();
                Ok(Some(item))
            }
            // A trailer comes again, too.
            _ => {
                self.ended = true;
                Ok(None)
            }
        }
    }

    /// Cuts off what follows the items that were read, and goes on behind them.
    ///
    /// # Errors
    /// The file cannot be cut.
    pub fn go_on(mut self) -> Result<SnapshotWriter, SnapshotError> {
        self.file.file().set_len(self.whole).map_err(io_error("cut", &self.path))?;
        self.file.seek(SeekFrom::Start(self.whole)).map_err(io_error("seek in", &self.path))?;
        let encoder = SnapshotEncoder::resuming(self.items);
        Ok(SnapshotWriter::on_file(&self.dir, &self.header, (self.path, self.file), encoder, true))
    }

    /// Everything taken so far is whole.
    fn note(&mut self) {
        self.whole = self.read - self.decoder.buffered() as u64;
    }

    /// The next whole record; `None` where the file ends or makes no sense any more.
    fn record(&mut self) -> Result<Option<SnapshotRecord>, SnapshotError> {
        loop {
            match self.decoder.next() {
                Ok(Some(record)) => return Ok(Some(record)),
                Ok(None) => {}
                Err(_) => return Ok(None),
            }
            match self.file.read(&mut self.block) {
                Ok(0) => return Ok(None),
                Ok(count) => {
                    self.read += count as u64;
                    self.decoder.push(&self.block[..count]);
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(io_error("read", &self.path)(error)),
            }
        }
    }
}
