//! Snapshots: the state at one LSN as a file, and the same bytes as a stream from one node to another.
//!
//! A snapshot is a [header](SnapshotHeader), items in order, and a [trailer](SnapshotTrailer). Each is one record: see
//! [`record`]. A file is named by generation and LSN (`snapshot/0000000001-00000000000000000042.snap`) and gets its
//! name only when all of it is on disk; then older ones are removed. One that comes from another node grows as
//! `snapshot/received.part`, which outlives the process: see [`ReceivedSnapshot`].

use std::io;
use std::path::{Path, PathBuf};

use bytes::Bytes;
use thiserror::Error;

use crate::Lsn;
use crate::data_dir::DataDir;
use crate::disk::Disk;
use crate::epochs::{Start, StartError};

mod reader;
mod received;
mod record;
#[cfg(test)]
mod tests;
mod writer;

pub use reader::SnapshotReader;
pub use received::ReceivedSnapshot;
pub use record::{SnapshotDecoder, SnapshotEncoder, SnapshotFormatError, SnapshotItem, SnapshotRecord};
pub use writer::SnapshotWriter;

/// Version of the snapshot format that is written; a reader refuses any other.
pub const SNAPSHOT_VERSION: u32 = 1;
/// Longest item, and longest meta data: 64 MiB.
pub const ITEM_BYTES_MAX: usize = 64 << 20;

/// What a snapshot starts with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SnapshotHeader {
    /// Where the log goes on. One that was received from another node replaces the history of this folder: its
    /// generation is this node's `Log::generation() + 1`, whatever the sender's is.
    pub start: Start,
    /// The caller's own.
    pub meta: Bytes,
}

/// What a snapshot ends with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SnapshotTrailer {
    pub items: u64,
    /// The caller's own.
    pub meta: Bytes,
}

/// Why a snapshot was not written or cannot be read.
#[derive(Debug, Error)]
pub enum SnapshotError {
    #[error("cannot {action} {}: {error}", path.display())]
    Io { action: &'static str, path: PathBuf, error: io::Error },
    #[error("cannot write a snapshot: {0}")]
    Start(#[from] StartError),
    #[error("cannot write to the snapshot {}: {error}", path.display())]
    Refused { path: PathBuf, error: SnapshotFormatError },
    #[error("snapshot {} is damaged in the record at byte {offset}: {error}", path.display())]
    Damaged { path: PathBuf, offset: u64, error: SnapshotFormatError },
    #[error("snapshot {} says generation {generation} and LSN {lsn}: its name says otherwise", path.display())]
    Name { path: PathBuf, generation: u64, lsn: Lsn },
}

fn io_error(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> SnapshotError + use<> {
    let path = path.to_owned();
    move |error| SnapshotError::Io { action, path, error }
}

/// Generation and LSN, in the order of which snapshots follow each other.
type Key = (u64, Lsn);

/// Where the snapshot is that another node sends, until it is whole.
fn received_path(dir: &DataDir) -> PathBuf {
    dir.snapshot_dir().join("received.part")
}

fn file_name((generation, lsn): Key) -> String {
    format!("{generation:010}-{lsn:020}.snap")
}

fn parse_file_name(name: &str) -> Option<Key> {
    let (generation, lsn) = name.strip_suffix(".snap")?.split_once('-')?;
    let number = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit()).then(|| text.parse().ok())?;
    Some((number(generation)?, number(lsn)?))
}

/// What is in the folder of snapshots.
#[derive(Default)]
struct Listing {
    /// Oldest first.
    snapshots: Vec<(Key, PathBuf)>,
    /// Left behind by one that was not finished.
    leftovers: Vec<PathBuf>,
}

fn list(disk: &dyn Disk, dir: &Path) -> Result<Listing, SnapshotError> {
    let mut listing = Listing::default();
    let entries = match disk.list(dir) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(listing),
        Err(error) => return Err(io_error("list", dir)(error)),
    };
    for path in entries {
        let Some(name) = path.file_name().and_then(|name| name.to_str()) else { continue };
        if let Some(key) = parse_file_name(name) {
            listing.snapshots.push((key, path));
        } else if name.ends_with(".snap.tmp") {
            listing.leftovers.push(path);
        }
    }
    listing.snapshots.sort();
    Ok(listing)
}
