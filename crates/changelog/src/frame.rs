//! One record of the history and its self-delimiting encoding, the same in segments and on the feed.
//!
//! | offset | bytes | what |
//! |---|---|---|
//! | 0 | 1 | format version, 1 |
//! | 1 | 4 | length of the payload |
//! | 5 | 8 | LSN |
//! | 13 | 8 | epoch |
//! | 21 | 4 | CRC-32 of the bytes before |
//! | 25 | 4 | CRC-32 of all the other bytes of the frame |
//! | 29 | | payload |
//!
//! Integers are little-endian. The header has a checksum of its own so that a damaged length is found at once instead
//! of after waiting for bytes that never come, and so that the next frame can be found behind a damaged payload.

use bytes::{BufMut, Bytes, BytesMut};
use thiserror::Error;

use crate::bytes_at::{u32_at, u64_at};
use crate::{Epoch, Lsn};

#[cfg(test)]
mod tests;

/// Version of the encoding that is written; a reader refuses any other.
pub const FRAME_VERSION: u8 = 1;
/// Bytes of a frame before its payload.
pub const FRAME_HEADER_BYTES: usize = 29;
/// Longest payload that is encoded or decoded: 64 MiB.
pub const PAYLOAD_BYTES_MAX: usize = 64 << 20;

const HEADER_CHECKSUM_AT: usize = 21;
const CHECKSUM_AT: usize = 25;

/// One record of the history.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Frame {
    pub lsn: Lsn,
    pub epoch: Epoch,
    pub payload: Bytes,
}

/// Why bytes are not a frame, or a frame cannot be encoded.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum FrameError {
    #[error("frame format version {found} is not understood: this program reads version {FRAME_VERSION}")]
    UnknownVersion { found: u8 },
    #[error("frame header is damaged: its checksum is {found:08x}, its content gives {computed:08x}")]
    HeaderChecksum { found: u32, computed: u32 },
    #[error("frame with LSN {lsn} has a payload of {bytes} bytes: the limit is {PAYLOAD_BYTES_MAX}")]
    TooLong { lsn: Lsn, bytes: u64 },
    #[error("frame with LSN {lsn} is damaged: its checksum is {found:08x}, its content gives {computed:08x}")]
    Checksum { lsn: Lsn, found: u32, computed: u32 },
    #[error("frame is incomplete: {available} of at least {needed} bytes are there")]
    Incomplete { available: usize, needed: usize },
}

impl Frame {
    /// Bytes that [`Frame::encode_into`] adds.
    pub fn encoded_len(&self) -> usize {
        FRAME_HEADER_BYTES + self.payload.len()
    }

    /// Adds the encoded frame to `out` (a `BytesMut` or a `Vec<u8>`).
    ///
    /// # Errors
    /// [`FrameError::TooLong`]; `out` is unchanged then.
    pub fn encode_into(&self, out: &mut impl BufMut) -> Result<(), FrameError> {
        self.check_length()?;
        let mut header = [0; FRAME_HEADER_BYTES];
        header[0] = FRAME_VERSION;
        // The length was checked above: it fits.
        header[1..5].copy_from_slice(&(self.payload.len() as u32).to_le_bytes());
        header[5..13].copy_from_slice(&self.lsn.to_le_bytes());
        header[13..21].copy_from_slice(&self.epoch.to_le_bytes());
        let header_checksum = crc32fast::hash(&header[..HEADER_CHECKSUM_AT]);
        header[HEADER_CHECKSUM_AT..CHECKSUM_AT].copy_from_slice(&header_checksum.to_le_bytes());
        let checksum = checksum_of(&header, &self.payload);
        header[CHECKSUM_AT..].copy_from_slice(&checksum.to_le_bytes());
        out.put_slice(&header);
        out.put_slice(&self.payload);
        Ok(())
    }

    pub(crate) fn check_length(&self) -> Result<(), FrameError> {
        if self.payload.len() > PAYLOAD_BYTES_MAX {
            return Err(FrameError::TooLong { lsn: self.lsn, bytes: self.payload.len() as u64 });
        }
        Ok(())
    }

    /// The frame in `encoded`, which holds exactly one that was checked before.
    pub(crate) fn from_checked(encoded: &Bytes) -> Frame {
        let layout = Layout::read(encoded);
        Frame { lsn: layout.lsn, epoch: layout.epoch, payload: encoded.slice(FRAME_HEADER_BYTES..layout.total) }
    }
}

/// What a frame header says; only [`Layout::check_header`] knows whether it is true.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Layout {
    /// Bytes of the whole frame.
    pub total: usize,
    pub lsn: Lsn,
    pub epoch: Epoch,
}

impl Layout {
    /// Reads the header at the start of `bytes` (at least [`FRAME_HEADER_BYTES`]) without checking it.
    pub(crate) fn read(bytes: &[u8]) -> Layout {
        Layout {
            total: FRAME_HEADER_BYTES + u32_at(bytes, 1) as usize,
            lsn: u64_at(bytes, 5),
            epoch: u64_at(bytes, 13),
        }
    }

    /// Reads and checks the header at the start of `bytes`; `None` if more bytes are needed.
    pub(crate) fn check_header(bytes: &[u8]) -> Result<Option<Layout>, FrameError> {
        let Some(&version) = bytes.first() else { return Ok(None) };
        if version != FRAME_VERSION {
            return Err(FrameError::UnknownVersion { found: version });
        }
        if bytes.len() < FRAME_HEADER_BYTES {
            return Ok(None);
        }
        let found = u32_at(bytes, HEADER_CHECKSUM_AT);
        let computed = crc32fast::hash(&bytes[..HEADER_CHECKSUM_AT]);
        if found != computed {
            return Err(FrameError::HeaderChecksum { found, computed });
        }
        let layout = Layout::read(bytes);
        if layout.total - FRAME_HEADER_BYTES > PAYLOAD_BYTES_MAX {
            let bytes = (layout.total - FRAME_HEADER_BYTES) as u64;
            return Err(FrameError::TooLong { lsn: layout.lsn, bytes });
        }
        Ok(Some(layout))
    }

    /// Checks the whole frame at the start of `bytes`; `None` if more bytes are needed.
    pub(crate) fn check(bytes: &[u8]) -> Result<Option<Layout>, FrameError> {
        let Some(layout) = Layout::check_header(bytes)? else { return Ok(None) };
        let Some(frame) = bytes.get(..layout.total) else { return Ok(None) };
        let found = u32_at(frame, CHECKSUM_AT);
        let computed = checksum_of(&frame[..FRAME_HEADER_BYTES], &frame[FRAME_HEADER_BYTES..]);
        if found != computed {
            return Err(FrameError::Checksum { lsn: layout.lsn, found, computed });
        }
        Ok(Some(layout))
    }
}

fn checksum_of(header: &[u8], payload: &[u8]) -> u32 {
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(&header[..CHECKSUM_AT]);
    hasher.update(payload);
    hasher.finalize()
}

/// Takes frames out of bytes that arrive in pieces of any size.
///
/// It holds what was pushed and not taken yet: take frames until `None` before pushing more, and it is bounded by the
/// longest frame and one piece. Payloads share the memory of the pieces around them.
#[derive(Debug, Default)]
pub struct FrameDecoder {
    buffer: BytesMut,
    failed: Option<FrameError>,
}

impl FrameDecoder {
    pub fn new() -> FrameDecoder {
        FrameDecoder::default()
    }

    /// Adds bytes that continue those pushed before.
    pub fn push(&mut self, bytes: &[u8]) {
        self.buffer.extend_from_slice(bytes);
    }

    /// The next frame; `None` until more bytes are pushed.
    ///
    /// # Errors
    /// What is wrong with the next frame. There is no way on from there: every later call fails the same.
    #[expect(clippy::should_implement_trait, reason = "an iterator would end at None; here more bytes may follow")]
    pub fn next(&mut self) -> Result<Option<Frame>, FrameError> {
        if let Some(error) = &self.failed {
            return Err(error.clone());
        }
        match Layout::check(&self.buffer) {
            Ok(None) => Ok(None),
            Ok(Some(layout)) => Ok(Some(Frame::from_checked(&self.buffer.split_to(layout.total).freeze()))),
            Err(error) => {
                self.failed = Some(error.clone());
                Err(error)
            }
        }
    }

    /// Bytes pushed and not taken: not 0 at the end of a stream means that it was cut off inside a frame.
    pub fn buffered(&self) -> usize {
        self.buffer.len()
    }
}
