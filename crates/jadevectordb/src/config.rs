//! Settings of a node, read once at the start.

use crate::fault::Faults;
use crate::store::KeyLimits;
use crate::surroundings::Surroundings;
use std::net::SocketAddr;
use std::path::PathBuf;
use wire::document::{Index, Mode};

/// Everything a node is told when it starts.
#[derive(Debug, Clone)]
pub struct Config {
    pub data_dir: PathBuf,
    pub http: SocketAddr,
    pub admin: SocketAddr,
    /// Label in answers, metrics and the admin state.
    pub version: String,
    pub admin_token: String,
    /// With an empty data folder: wait to be told whom to follow, rather than begin a history.
    pub join: bool,
    pub index: Index,
    /// The newest format of records that this node reads and writes, at most what the program can.
    pub record_format: u8,
    pub faults: Faults,
    pub mode: Mode,
    pub limits: Limits,
    pub surroundings: Surroundings,
}

/// Bounds of what one client may ask.
#[derive(Debug, Clone)]
pub struct Limits {
    /// Largest request body, bytes.
    pub body_bytes: usize,
    /// Longest vector id, bytes.
    pub id_bytes: usize,
    /// Largest metadata of one vector as JSON, bytes.
    pub metadata_bytes: usize,
    /// Most vectors in one batch.
    pub batch_vectors: usize,
    /// Most results of one search, and vectors of one page.
    pub results: usize,
    /// Writes that may wait at a seal, how many bytes together, and how long.
    pub held_writes: u64,
    pub held_bytes: u64,
    pub hold_ms: u64,
    /// How long the other environment may take to confirm a write where that is preferred and not required.
    pub confirm_ms: u64,
    /// How long a forwarded write waits for the local copy.
    pub local_copy_wait_ms: u64,
    /// Requests remembered by their idempotency key.
    pub keys: KeyLimits,
    /// Log kept for followers that are behind, bytes.
    pub retained_log_bytes: u64,
    /// A snapshot is written after so many bytes of log.
    pub snapshot_log_bytes: u64,
    /// Length at which a new file of the log is begun; the log is cut by whole files.
    pub segment_bytes: u64,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            body_bytes: 64 << 20,
            id_bytes: 1_024,
            metadata_bytes: 64 << 10,
            batch_vectors: 100_000,
            results: 10_000,
            held_writes: 10_000,
            held_bytes: 64 << 20,
            hold_ms: 1_000,
            confirm_ms: 250,
            local_copy_wait_ms: 5_000,
            keys: KeyLimits::default(),
            retained_log_bytes: 1 << 30,
            snapshot_log_bytes: 256 << 20,
            segment_bytes: 64 << 20,
        }
    }
}
