//! The one log of a database node: durability, the change feed, catching up and recovery are all read from it.
//!
//! - [`Frame`]: one record of the history (LSN, epoch, payload) and its encoding, the same in files and on the network.
//! - [`DataDir`]: the folder of a node, held exclusively, on a [`Disk`].
//! - [`SmallFile`]: a file that is replaced in place by one write and one sync; what a node is, is kept in one.
//! - [`Log`]: segments of frames; a group is appended with one write and made durable with one fdatasync.
//! - [`LogReader`]: reads durable frames while the log is written.
//! - [`SnapshotWriter`], [`SnapshotReader`]: the state at one LSN, so that the log before it can be dropped.
//!
//! Payloads, snapshot items and their meta data are bytes of which this crate knows nothing.
//!
//! **Invariant.** What [`Log::sync`] returned `Ok` for is found by every later [`Log::open`], or the open fails and
//! says where the damage is. The one exception: damage to the very last group looks as if a crash had left it
//! half-written; it is cut off, and [`Recovery::cut`] says so.
//! **Invariant.** After a failed write or sync nothing is written any more; a sync is never tried twice.

mod bytes_at;
mod data_dir;
mod disk;
mod durable;
mod epochs;
mod frame;
mod log;
mod prepare;
mod reader;
mod recovery;
mod segment;
mod small_file;
mod snapshot;
#[cfg(test)]
mod testing;

pub use data_dir::{DATA_FORMAT, DataDir, DataDirError};
pub use disk::{Access, Disk, DiskFile, HoldError, LocalDisk, read_whole};
pub use durable::DurableWriteError;
pub use epochs::{Start, StartError};
pub use frame::{FRAME_HEADER_BYTES, FRAME_VERSION, Frame, FrameDecoder, FrameError, PAYLOAD_BYTES_MAX};
pub use log::{AppendError, Failure, Log, LogOptions, ResetError, TruncateError};
pub use reader::{Batch, LogReader, ReadError};
pub use recovery::{Cut, Damage, OpenError, Recovery};
pub use segment::{RecordError, SegmentHeaderError};
pub use small_file::SmallFile;
pub use snapshot::{
    ITEM_BYTES_MAX, ReceivedSnapshot, SNAPSHOT_VERSION, SnapshotDecoder, SnapshotEncoder, SnapshotError,
    SnapshotFormatError, SnapshotHeader, SnapshotItem, SnapshotReader, SnapshotRecord, SnapshotTrailer, SnapshotWriter,
};

/// Position of a record in the one history; the first is 1.
pub type Lsn = u64;
/// Number of a reign; the first is 1, and 0 means "before the first record".
pub type Epoch = u64;
