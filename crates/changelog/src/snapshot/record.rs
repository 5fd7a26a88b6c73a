//! The records of a snapshot, in files and streams.
//!
//! | offset | bytes | what |
//! |---|---|---|
//! | 0 | 1 | tag: header, item or trailer |
//! | 1 | 4 | length of the content |
//! | 5 | 8 | index: 0 for the header, that of the item, the number of items for the trailer |
//! | 13 | 4 | CRC-32 of the bytes before |
//! | 17 | 4 | CRC-32 of all the other bytes of the record |
//! | 21 | | content |
//!
//! The header's content: magic, version, generation, LSN, number of epochs, epochs, meta data. The trailer's: meta.

use bytes::{Buf, BufMut, Bytes, BytesMut};
use thiserror::Error;

use super::{ITEM_BYTES_MAX, SNAPSHOT_VERSION, SnapshotHeader, SnapshotTrailer};
use crate::bytes_at::{u32_at, u64_at};
use crate::epochs::{Start, StartError};

const RECORD_HEADER_BYTES: usize = 21;
const MAGIC: [u8; 8] = *b"JVDBSNP\n";
/// Content of the header record before the epochs.
const FIXED_BYTES: usize = 32;
const EPOCH_BYTES: usize = 16;

const HEADER: u8 = 0xd1;
const ITEM: u8 = 0xd2;
const TRAILER: u8 = 0xd3;

/// Why bytes are not a snapshot, or a record does not belong into one.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum SnapshotFormatError {
    #[error("{found:#04x} does not start a record")]
    Tag { found: u8 },
    #[error("the header of a record is damaged: its checksum is {found:08x}, its content gives {computed:08x}")]
    HeaderChecksum { found: u32, computed: u32 },
    #[error("record {index} is damaged: its checksum is {found:08x}, its content gives {computed:08x}")]
    Checksum { index: u64, found: u32, computed: u32 },
    #[error("record {index} has {bytes} bytes: the limit is {ITEM_BYTES_MAX}")]
    TooLong { index: u64, bytes: u64 },
    #[error("it does not start with the header of a snapshot")]
    NoHeader,
    #[error("snapshot format version {found} is not understood: this program reads version {SNAPSHOT_VERSION}")]
    UnknownVersion { found: u32 },
    #[error("its header is too short for what it says: {found} bytes")]
    HeaderShort { found: usize },
    #[error("its header cannot be: {0}")]
    Start(#[from] StartError),
    #[error("there is a second header")]
    SecondHeader,
    #[error("item {found} is there where item {expected} is expected")]
    OutOfOrder { expected: u64, found: u64 },
    #[error("the trailer counts {found} items, {expected} were there")]
    Count { expected: u64, found: u64 },
    #[error("more follows after the trailer")]
    AfterTrailer,
    #[error("it ends after {items} items without a trailer")]
    Incomplete { items: u64 },
}

/// One part of a snapshot.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SnapshotRecord {
    Header(SnapshotHeader),
    Item(SnapshotItem),
    Trailer(SnapshotTrailer),
}

/// An item that was decoded, with the bytes that it was decoded from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SnapshotItem {
    encoded: Bytes,
}

impl SnapshotItem {
    /// Position among the items; the first is 0.
    pub fn index(&self) -> u64 {
        u64_at(&self.encoded, 5)
    }

    pub fn payload(&self) -> Bytes {
        self.encoded.slice(RECORD_HEADER_BYTES..)
    }

    /// The record as it was received, for [`SnapshotWriter::item_encoded`](super::SnapshotWriter::item_encoded).
    pub fn encoded(&self) -> &Bytes {
        &self.encoded
    }
}

/// Encodes the records of one snapshot: a header, items, a trailer. Adds to any `BytesMut` or `Vec<u8>`.
#[derive(Debug, Default)]
pub struct SnapshotEncoder {
    items: u64,
}

impl SnapshotEncoder {
    pub fn new() -> SnapshotEncoder {
        SnapshotEncoder::default()
    }

    /// Goes on with a snapshot of which so many items exist already.
    pub fn resuming(items: u64) -> SnapshotEncoder {
        SnapshotEncoder { items }
    }

    /// Items encoded so far.
    pub fn items(&self) -> u64 {
        self.items
    }

    /// # Errors
    /// [`SnapshotFormatError::TooLong`], [`SnapshotFormatError::Start`]; nothing was added.
    pub fn header(&mut self, header: &SnapshotHeader, out: &mut impl BufMut) -> Result<(), SnapshotFormatError> {
        let SnapshotHeader { start, meta } = header;
        start.validate()?;
        let mut fixed = Vec::with_capacity(FIXED_BYTES + start.epochs.len() * EPOCH_BYTES);
        fixed.put_slice(&MAGIC);
        fixed.put_u32_le(SNAPSHOT_VERSION);
        fixed.put_u64_le(start.generation);
        fixed.put_u64_le(start.lsn);
        // So many that their number does not fit are longer than the limit: refused below.
        fixed.put_u32_le(start.epochs.len() as u32);
        for &(epoch, first_lsn) in &start.epochs {
            fixed.put_u64_le(epoch);
            fixed.put_u64_le(first_lsn);
        }
        encode(HEADER, 0, &fixed, meta, out)
    }

    /// # Errors
    /// [`SnapshotFormatError::TooLong`]; nothing was added.
    pub fn item(&mut self, payload: &[u8], out: &mut impl BufMut) -> Result<(), SnapshotFormatError> {
        encode(ITEM, self.items, &[], payload, out)?;
        self.items += 1;
        Ok(())
    }

    /// Adds an item as it was received from another node: the same bytes.
    ///
    /// # Errors
    /// [`SnapshotFormatError::OutOfOrder`] if it is not the next; nothing was added.
    pub fn item_encoded(&mut self, item: &SnapshotItem, out: &mut impl BufMut) -> Result<(), SnapshotFormatError> {
        if item.index() != self.items {
            return Err(SnapshotFormatError::OutOfOrder { expected: self.items, found: item.index() });
        }
        out.put_slice(&item.encoded);
        self.items += 1;
        Ok(())
    }

    /// # Errors
    /// [`SnapshotFormatError::TooLong`]; nothing was added.
    pub fn trailer(&mut self, meta: &[u8], out: &mut impl BufMut) -> Result<(), SnapshotFormatError> {
        encode(TRAILER, self.items, &[], meta, out)
    }
}

fn encode(tag: u8, index: u64, fixed: &[u8], payload: &[u8], out: &mut impl BufMut) -> Result<(), SnapshotFormatError> {
    let len = fixed.len() + payload.len();
    if len > ITEM_BYTES_MAX {
        return Err(SnapshotFormatError::TooLong { index, bytes: len as u64 });
    }
    let mut header = [0; RECORD_HEADER_BYTES];
    header[0] = tag;
    header[1..5].copy_from_slice(&(len as u32).to_le_bytes());
    header[5..13].copy_from_slice(&index.to_le_bytes());
    let header_checksum = crc32fast::hash(&header[..13]);
    header[13..17].copy_from_slice(&header_checksum.to_le_bytes());
    let checksum = checksum_of(&header[..17], fixed, payload);
    header[17..].copy_from_slice(&checksum.to_le_bytes());
    out.put_slice(&header);
    out.put_slice(fixed);
    out.put_slice(payload);
    Ok(())
}

fn checksum_of(header: &[u8], fixed: &[u8], payload: &[u8]) -> u32 {
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(header);
    hasher.update(fixed);
    hasher.update(payload);
    hasher.finalize()
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Expect {
    Header,
    Items,
    Nothing,
}

/// Takes the records of one snapshot out of bytes that arrive in pieces of any size, checking each, their order and
/// their number.
///
/// It holds what was pushed and not taken yet. Payloads share the memory of the pieces around them.
#[derive(Debug)]
pub struct SnapshotDecoder {
    buffer: BytesMut,
    expect: Expect,
    items: u64,
    failed: Option<SnapshotFormatError>,
}

impl Default for SnapshotDecoder {
    fn default() -> SnapshotDecoder {
        SnapshotDecoder { buffer: BytesMut::new(), expect: Expect::Header, items: 0, failed: None }
    }
}

impl SnapshotDecoder {
    pub fn new() -> SnapshotDecoder {
        SnapshotDecoder::default()
    }

    /// To be told between the header and the first item of a stream that goes on with a snapshot: so many items came in
    /// an earlier stream.
    pub fn resume(&mut self, items: u64) {
        self.items = items;
    }

    /// Items taken so far, those of earlier streams included.
    pub fn items(&self) -> u64 {
        self.items
    }

    /// Adds bytes that continue those pushed before.
    pub fn push(&mut self, bytes: &[u8]) {
        self.buffer.extend_from_slice(bytes);
    }

    /// The next record; `None` until more bytes are pushed.
    ///
    /// # Errors
    /// What is wrong. There is no way on from there: every later call fails the same.
    #[expect(clippy::should_implement_trait, reason = "an iterator would end at None; here more bytes may follow")]
    pub fn next(&mut self) -> Result<Option<SnapshotRecord>, SnapshotFormatError> {
        if let Some(error) = &self.failed {
            return Err(error.clone());
        }
        let result = self.take();
        self.failed = result.as_ref().err().cloned();
        result
    }

    /// Bytes pushed and not taken.
    pub fn buffered(&self) -> usize {
        self.buffer.len()
    }

    /// To be asked at the end of the bytes.
    ///
    /// # Errors
    /// [`SnapshotFormatError::Incomplete`] if the trailer did not come.
    pub fn finish(&self) -> Result<(), SnapshotFormatError> {
        if let Some(error) = &self.failed {
            return Err(error.clone());
        }
        match self.expect {
            Expect::Nothing if self.buffer.is_empty() => Ok(()),
            Expect::Nothing => Err(SnapshotFormatError::AfterTrailer),
            _ => Err(SnapshotFormatError::Incomplete { items: self.items }),
        }
    }

    fn take(&mut self) -> Result<Option<SnapshotRecord>, SnapshotFormatError> {
        let Some((tag, total)) = check(&self.buffer, self.expect)? else { return Ok(None) };
        // The record is taken only when nothing is wrong with it, so that `buffered` tells where the error is.
        let index = u64_at(&self.buffer, 5);
        let content = RECORD_HEADER_BYTES..total;
        match tag {
            HEADER => {
                let header = decode_header(&Bytes::copy_from_slice(&self.buffer[content]))?;
                self.buffer.advance(total);
                self.expect = Expect::Items;
                Ok(Some(SnapshotRecord::Header(header)))
            }
            ITEM if index != self.items => Err(SnapshotFormatError::OutOfOrder { expected: self.items, found: index }),
            ITEM => {
                self.items += 1;
                Ok(Some(SnapshotRecord::Item(SnapshotItem { encoded: self.buffer.split_to(total).freeze() })))
            }
            _ if index != self.items => Err(SnapshotFormatError::Count { expected: self.items, found: index }),
            _ => {
                self.expect = Expect::Nothing;
                let meta = self.buffer.split_to(total).freeze().slice(content);
                Ok(Some(SnapshotRecord::Trailer(SnapshotTrailer { items: index, meta })))
            }
        }
    }
}

/// Checks the record at the start of `bytes`: its tag and its length, `None` if more bytes are needed.
fn check(bytes: &[u8], expect: Expect) -> Result<Option<(u8, usize)>, SnapshotFormatError> {
    let Some(&tag) = bytes.first() else { return Ok(None) };
    match (expect, tag) {
        (Expect::Nothing, _) => return Err(SnapshotFormatError::AfterTrailer),
        (Expect::Header, HEADER) | (Expect::Items, ITEM | TRAILER) => {}
        (Expect::Header, _) => return Err(SnapshotFormatError::NoHeader),
        (Expect::Items, HEADER) => return Err(SnapshotFormatError::SecondHeader),
        (Expect::Items, found) => return Err(SnapshotFormatError::Tag { found }),
    }
    if bytes.len() < RECORD_HEADER_BYTES {
        return Ok(None);
    }
    let (found, computed) = (u32_at(bytes, 13), crc32fast::hash(&bytes[..13]));
    if found != computed {
        return Err(SnapshotFormatError::HeaderChecksum { found, computed });
    }
    let (len, index) = (u32_at(bytes, 1) as usize, u64_at(bytes, 5));
    if len > ITEM_BYTES_MAX {
        return Err(SnapshotFormatError::TooLong { index, bytes: len as u64 });
    }
    let Some(record) = bytes.get(..RECORD_HEADER_BYTES + len) else { return Ok(None) };
    let found = u32_at(record, 17);
    let computed = checksum_of(&record[..17], &[], &record[RECORD_HEADER_BYTES..]);
    if found != computed {
        return Err(SnapshotFormatError::Checksum { index, found, computed });
    }
    Ok(Some((tag, record.len())))
}

fn decode_header(content: &Bytes) -> Result<SnapshotHeader, SnapshotFormatError> {
    let short = SnapshotFormatError::HeaderShort { found: content.len() };
    if content.len() < 12 || content[..8] != MAGIC {
        return Err(SnapshotFormatError::NoHeader);
    }
    let version = u32_at(content, 8);
    if version != SNAPSHOT_VERSION {
        return Err(SnapshotFormatError::UnknownVersion { found: version });
    }
    if content.len() < FIXED_BYTES {
        return Err(short);
    }
    let count = u32_at(content, 28) as usize;
    let epochs_end = FIXED_BYTES + count * EPOCH_BYTES;
    let Some(epochs) = content.get(FIXED_BYTES..epochs_end) else { return Err(short) };
    let start = Start {
        generation: u64_at(content, 12),
        lsn: u64_at(content, 20),
        epochs: epochs.chunks_exact(EPOCH_BYTES).map(|pair| (u64_at(pair, 0), u64_at(pair, 8))).collect(),
    };
    start.validate()?;
    Ok(SnapshotHeader { start, meta: content.slice(epochs_end..) })
}
