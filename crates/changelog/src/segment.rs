//! A segment: one file of the log, named by its first LSN.
//!
//! It starts with a [`SegmentHeader`]; then follow frames and marks; then zeros, because space is written before it is
//! used. A [mark](encode_mark) precedes the first frame that was written after a sync and says "everything before me in
//! this segment had been synced". So recovery can tell damage from a group that a crash left half-written.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use thiserror::Error;

use crate::bytes_at::{u32_at, u64_at};
use crate::disk::{Access, Disk, DiskFile};
use crate::durable::is_disk_full;
use crate::prepare::write_zeros;
use crate::{Epoch, Lsn};

mod scan;

pub use scan::RecordError;
pub(crate) use scan::{Record, Scanner};

/// Bytes of a segment before its first record.
pub(crate) const HEADER_BYTES: u64 = 48;
/// Bytes of a mark.
pub(crate) const MARK_BYTES: usize = 21;
/// First byte of a mark; no version of a frame starts with it.
pub(crate) const MARK_TAG: u8 = 0x80;

const MAGIC: [u8; 8] = *b"JVDBLOG\n";
const VERSION: u32 = 1;

/// The start of a segment file: magic, version, then these, then a CRC-32 of all of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct SegmentHeader {
    pub generation: u64,
    /// LSN of the first record.
    pub first_lsn: Lsn,
    /// Epoch of the record at `first_lsn - 1`.
    pub epoch_before: Epoch,
    /// Random; marks repeat it, so that no payload can contain one.
    pub salt: u64,
}

/// Why a file does not start with a segment header.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum SegmentHeaderError {
    #[error("it has {found} bytes, the header of a segment alone has {HEADER_BYTES}")]
    Short { found: u64 },
    #[error("it does not start like a segment")]
    Magic,
    #[error("its format version is {found}, this program reads version {VERSION}")]
    Version { found: u32 },
    #[error("the checksum of its header is {found:08x}, the content gives {computed:08x}")]
    Checksum { found: u32, computed: u32 },
    #[error("its header says that it starts at LSN {found}, its name says otherwise")]
    Name { found: Lsn },
}

impl SegmentHeader {
    fn encode(&self) -> [u8; HEADER_BYTES as usize] {
        let mut bytes = [0; HEADER_BYTES as usize];
        bytes[..8].copy_from_slice(&MAGIC);
        bytes[8..12].copy_from_slice(&VERSION.to_le_bytes());
        bytes[12..20].copy_from_slice(&self.generation.to_le_bytes());
        bytes[20..28].copy_from_slice(&self.first_lsn.to_le_bytes());
        bytes[28..36].copy_from_slice(&self.epoch_before.to_le_bytes());
        bytes[36..44].copy_from_slice(&self.salt.to_le_bytes());
        let checksum = crc32fast::hash(&bytes[..44]);
        bytes[44..].copy_from_slice(&checksum.to_le_bytes());
        bytes
    }

    fn decode(bytes: &[u8; HEADER_BYTES as usize]) -> Result<SegmentHeader, SegmentHeaderError> {
        if bytes[..8] != MAGIC {
            return Err(SegmentHeaderError::Magic);
        }
        let version = u32_at(bytes, 8);
        if version != VERSION {
            return Err(SegmentHeaderError::Version { found: version });
        }
        let (found, computed) = (u32_at(bytes, 44), crc32fast::hash(&bytes[..44]));
        if found != computed {
            return Err(SegmentHeaderError::Checksum { found, computed });
        }
        Ok(SegmentHeader {
            generation: u64_at(bytes, 12),
            first_lsn: u64_at(bytes, 20),
            epoch_before: u64_at(bytes, 28),
            salt: u64_at(bytes, 36),
        })
    }

    /// Reads the header of a file that is named by `first_lsn` and has `bytes` bytes.
    pub(crate) fn read(
        file: &dyn DiskFile,
        bytes: u64,
        first_lsn: Lsn,
    ) -> io::Result<Result<Self, SegmentHeaderError>> {
        if bytes < HEADER_BYTES {
            return Ok(Err(SegmentHeaderError::Short { found: bytes }));
        }
        let mut header = [0; HEADER_BYTES as usize];
        file.read_exact_at(&mut header, 0)?;
        Ok(match SegmentHeader::decode(&header) {
            Ok(header) if header.first_lsn != first_lsn => Err(SegmentHeaderError::Name { found: header.first_lsn }),
            other => other,
        })
    }
}

/// A mark: tag, salt of the segment, LSN before which everything was synced (that one included), CRC-32.
pub(crate) fn encode_mark(salt: u64, synced: Lsn) -> [u8; MARK_BYTES] {
    let mut bytes = [0; MARK_BYTES];
    bytes[0] = MARK_TAG;
    bytes[1..9].copy_from_slice(&salt.to_le_bytes());
    bytes[9..17].copy_from_slice(&synced.to_le_bytes());
    let checksum = crc32fast::hash(&bytes[..17]);
    bytes[17..].copy_from_slice(&checksum.to_le_bytes());
    bytes
}

/// The LSN in the mark at the start of `bytes`, if a mark of the segment with this salt is there.
pub(crate) fn decode_mark(bytes: &[u8], salt: u64) -> Option<Lsn> {
    let mark = bytes.get(..MARK_BYTES)?;
    let intact = mark[0] == MARK_TAG && u64_at(mark, 1) == salt && u32_at(mark, 17) == crc32fast::hash(&mark[..17]);
    intact.then(|| u64_at(mark, 9))
}

pub(crate) fn file_name(first_lsn: Lsn) -> String {
    format!("{first_lsn:020}.log")
}

/// The first LSN that a segment's file name tells; `None` for other files.
pub(crate) fn parse_file_name(name: &str) -> Option<Lsn> {
    let digits = name.strip_suffix(".log")?;
    (digits.len() == 20 && digits.bytes().all(|byte| byte.is_ascii_digit())).then(|| digits.parse().ok())?
}

/// A segment that was just created, durably.
pub(crate) struct Created {
    pub file: Arc<dyn DiskFile>,
    pub path: PathBuf,
    /// Its length, zeros behind the header.
    pub bytes: u64,
}

/// Why a segment was not created.
pub(crate) struct CreateError {
    pub action: &'static str,
    pub path: PathBuf,
    pub error: io::Error,
    /// The folder may or may not hold the new segment.
    pub in_doubt: bool,
}

impl CreateError {
    /// Nothing has changed, and it may succeed when space was freed.
    pub(crate) fn is_only_disk_full(&self) -> bool {
        !self.in_doubt && is_disk_full(&self.error)
    }
}

/// Creates a segment in `dir`, durably: a file with this name always has a complete header. It is made from `spare`, a
/// file of zeros, or from a new file with `prepare_bytes` of them if the disk has the space.
pub(crate) fn create(
    disk: &dyn Disk,
    dir: &Path,
    header: &SegmentHeader,
    spare: Option<PathBuf>,
    prepare_bytes: u64,
) -> Result<Created, CreateError> {
    let tmp = spare.clone().unwrap_or_else(|| dir.join(file_name(header.first_lsn) + ".tmp"));
    let named = |action| {
        let path = tmp.clone();
        move |error| CreateError { action, path, error, in_doubt: false }
    };
    let file = match spare {
        Some(spare) => disk.open(&spare, Access::Write).map_err(named("open")),
        None => new_file(disk, &tmp, prepare_bytes).map_err(named("create")),
    };
    let result = file.and_then(|file| {
        let bytes = file.length().map_err(named("read the size of"))?.max(HEADER_BYTES);
        file.write_all_at(&header.encode(), 0).map_err(named("write"))?;
        file.sync_all().map_err(named("sync"))?;
        let path = dir.join(file_name(header.first_lsn));
        disk.rename(&tmp, &path).map_err(named("rename into place"))?;
        match disk.sync_dir(dir) {
            Ok(()) => Ok(Created { file, path, bytes }),
            Err(error) => Err(CreateError { action: "sync", path: dir.to_owned(), error, in_doubt: true }),
        }
    });
    if result.as_ref().is_err_and(|error| !error.in_doubt) {
        // The first error is the one to report; a file left behind is removed by the next open.
        let _ = disk.remove_file(&tmp);
    }
    result
}

fn new_file(disk: &dyn Disk, path: &Path, prepare_bytes: u64) -> io::Result<Arc<dyn DiskFile>> {
    let file = disk.open(path, Access::Create)?;
    if prepare_bytes > 0
        && let Err(error) = write_zeros(&*file, 0, prepare_bytes)
    {
        if !is_disk_full(&error) {
            return Err(error);
        }
        // There may be enough for what is written at once.
        file.set_len(0)?;
    }
    Ok(file)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_flipped_bit_of_a_header_or_mark_is_found() {
        let header = SegmentHeader { generation: 2, first_lsn: 10, epoch_before: 3, salt: 0x1234_5678_9abc_def0 };
        let bytes = header.encode();
        assert_eq!(SegmentHeader::decode(&bytes), Ok(header));
        for bit in 0..bytes.len() * 8 {
            let mut damaged = bytes;
            damaged[bit / 8] ^= 1 << (bit % 8);
            assert!(SegmentHeader::decode(&damaged).is_err());
        }
        let mark = encode_mark(header.salt, 9);
        assert_eq!(decode_mark(&mark, header.salt), Some(9));
        assert_eq!(decode_mark(&mark, header.salt + 1), None);
        for bit in 0..mark.len() * 8 {
            let mut damaged = mark;
            damaged[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(decode_mark(&damaged, header.salt), None);
        }
    }

    #[test]
    fn file_names_tell_the_first_lsn() {
        assert_eq!(file_name(42), "00000000000000000042.log");
        assert_eq!(parse_file_name("00000000000000000042.log"), Some(42));
        for name in ["42.log", "00000000000000000042.log.tmp", "+0000000000000000042.log", "99999999999999999999.log"] {
            assert_eq!(parse_file_name(name), None);
        }
    }
}
