//! Reads the records of a segment in order, checking each.

use std::io;

use bytes::{Bytes, BytesMut};
use thiserror::Error;

use super::{MARK_BYTES, MARK_TAG, decode_mark};
use crate::Lsn;
use crate::disk::DiskFile;
use crate::frame::{FrameError, Layout};

/// What is found at the next position of a segment.
#[derive(Debug)]
pub(crate) enum Record {
    /// An intact frame, encoded as it is on disk.
    Frame { offset: u64, layout: Layout, encoded: Bytes },
    /// Everything before `offset` had been synced; the last LSN there was `synced`.
    Mark { offset: u64, synced: Lsn },
    /// A zero or the end of the range where a record could start.
    End { offset: u64 },
    /// Neither a frame nor a mark.
    Bad { offset: u64, error: RecordError },
}

/// Why there is no record.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum RecordError {
    #[error(transparent)]
    Frame(#[from] FrameError),
    #[error("a mark is damaged")]
    Mark,
    #[error("zeros are there, and more behind them")]
    Zeros,
}

/// Position in the records of a segment. After [`Record::End`] or [`Record::Bad`] it does not move any more.
pub(crate) struct Scanner<'file> {
    file: &'file dyn DiskFile,
    salt: u64,
    /// Read and not consumed; `offset` is where it starts in the file.
    buffer: BytesMut,
    offset: u64,
    /// End of the range to scan.
    end: u64,
    block_bytes: usize,
}

impl<'file> Scanner<'file> {
    /// Scans `offset..end`, reading `block_bytes` at a time.
    pub(crate) fn new(
        file: &'file dyn DiskFile,
        salt: u64,
        offset: u64,
        end: u64,
        block_bytes: usize,
    ) -> Scanner<'file> {
        Scanner { file, salt, buffer: BytesMut::new(), offset, end, block_bytes }
    }

    pub(crate) fn next(&mut self) -> io::Result<Record> {
        let offset = self.offset;
        if self.fill(1)? == 0 || self.buffer[0] == 0 {
            return Ok(Record::End { offset });
        }
        if self.buffer[0] == MARK_TAG {
            self.fill(MARK_BYTES)?;
            return Ok(match decode_mark(&self.buffer, self.salt) {
                Some(synced) => {
                    self.take(MARK_BYTES);
                    Record::Mark { offset, synced }
                }
                None => Record::Bad { offset, error: RecordError::Mark },
            });
        }
        self.next_frame(offset)
    }

    fn next_frame(&mut self, offset: u64) -> io::Result<Record> {
        let mut needed = crate::FRAME_HEADER_BYTES;
        loop {
            let available = self.fill(needed)?;
            if available < needed {
                // Without this, a short rest of something else would pass for the start of a frame.
                let error = match Layout::check_header(&self.buffer) {
                    Err(error) => error,
                    Ok(_) => FrameError::Incomplete { available, needed },
                };
                return Ok(Record::Bad { offset, error: error.into() });
            }
            match Layout::check_header(&self.buffer) {
                Ok(Some(layout)) if layout.total > available => needed = layout.total,
                _ => break,
            }
        }
        match Layout::check(&self.buffer) {
            Ok(Some(layout)) => Ok(Record::Frame { offset, layout, encoded: self.take(layout.total) }),
            Ok(None) => {
                let error = FrameError::Incomplete { available: self.buffer.len(), needed };
                Ok(Record::Bad { offset, error: error.into() })
            }
            Err(error) => Ok(Record::Bad { offset, error: error.into() }),
        }
    }

    fn take(&mut self, bytes: usize) -> Bytes {
        self.offset += bytes as u64;
        self.buffer.split_to(bytes).freeze()
    }

    /// Reads until the buffer has `wanted` bytes or the range ends; returns how many it has.
    fn fill(&mut self, wanted: usize) -> io::Result<usize> {
        while self.buffer.len() < wanted {
            let have = self.buffer.len();
            let at = self.offset + have as u64;
            let left = usize::try_from(self.end.saturating_sub(at)).unwrap_or(usize::MAX);
            let count = (wanted - have).max(self.block_bytes).min(left);
            if count == 0 {
                break;
            }
            self.buffer.resize(have + count, 0);
            match self.file.read_at(&mut self.buffer[have..], at) {
                Ok(read) => {
                    self.buffer.truncate(have + read);
                    if read == 0 {
                        break;
                    }
                }
                Err(error) => {
                    self.buffer.truncate(have);
                    if error.kind() != io::ErrorKind::Interrupted {
                        return Err(error);
                    }
                }
            }
        }
        Ok(self.buffer.len())
    }
}
