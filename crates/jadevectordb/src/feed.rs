//! The change feed: the log, read by another node.
//!
//! A stream is a sequence of log frames. Frames with LSN 0 are announcements ([`Announcement`]): the first frame is one,
//! and one follows at least every 100 ms, so that silence means a broken connection.

mod confirm;
mod follow;
mod receive;
mod rehash;
mod seed;
mod serve;
mod serve_snapshot;

pub(crate) use confirm::hear as hear_confirmation;
pub(crate) use follow::supervise;
pub use rehash::rehash;
pub(crate) use seed::Incoming;
pub use serve::{FeedBody, serve};
pub use serve_snapshot::serve_snapshot;

use crate::admin::refuse;
use crate::engine::Node;
use crate::record;
use serde::{Deserialize, Serialize};
use std::time::Duration;
use wire::admin::{AdminError, AdminErrorCode, Lsn, RecordFormats};

/// Longest silence on a feed.
const ANNOUNCE_EVERY: Duration = Duration::from_millis(100);

/// What the served node says of itself.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Announcement {
    cluster_id: String,
    wire_version: u32,
    /// Last LSN on its disk.
    lsn: Lsn,
    /// It waits for its followers to say what they have on disk.
    #[serde(default)]
    confirm: bool,
    #[serde(default)]
    records: RecordFormats,
    /// Why it cannot go on: the last that it says.
    #[serde(default)]
    ends: Option<String>,
}

/// Who asks to be served.
pub struct Follower {
    /// Its `node_id`.
    pub id: String,
    /// Newest format of records that it reads.
    pub record_format: u8,
}

impl Follower {
    /// The format in which this node gives it records.
    fn served_in(&self, node: &Node) -> Result<u8, AdminError> {
        let here = record::formats(node.config().record_format);
        let reads = RecordFormats { read_max: self.record_format, ..RecordFormats::default() };
        here.for_follower(&reads).map_err(|why| refuse(node, AdminErrorCode::WrongState, format!("this node {why}")))
    }
}

#[cfg(test)]
pub(crate) mod tests;
