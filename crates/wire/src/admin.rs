//! The admin protocol of a node: JSON over HTTP on the admin port, under `/admin/v1`, with `Authorization: Bearer
//! <admin token>`.
//!
//! | call | body -> answer |
//! |---|---|
//! | `GET /admin/v1/state` | -> [`NodeState`] |
//! | `POST /admin/v1/prove-follow` | [`ProveFollow`] -> [`NodeState`] |
//! | `POST /admin/v1/seal` | [`EpochCall`] -> [`Sealed`] |
//! | `POST /admin/v1/resume` | [`ResumeCall`] -> [`NodeState`] |
//! | `POST /admin/v1/promote` | [`Promote`] -> [`NodeState`] |
//! | `POST /admin/v1/follow` | [`Follow`] -> [`NodeState`] |
//! | `POST /admin/v1/acknowledge` | [`AcknowledgeCall`] -> [`NodeState`] |
//! | `POST /admin/v1/confirm` | [`Confirm`] -> [`Confirmed`] (a follower's) |
//! | `POST /admin/v1/shed` | [`Shed`] -> [`NodeState`] |
//! | `POST /admin/v1/fault` | [`MakeFaults`] -> [`NodeState`]; refused in production |
//! | `POST /admin/v1/marker` | -> [`Marker`] |
//! | `GET /admin/v1/digest?lsn=N` | -> [`Digest`] (waits up to 5 s for the marker at N) |
//! | `GET /admin/v1/bucket-sums?lsn=N` | -> the sums of all [`BUCKETS`] at the marker at N, [`BUCKET_SUM_BYTES`] each, not JSON |
//! | `POST /admin/v1/records` | [`RecordsIn`] -> [`ListedRecords`] (waits up to 5 s for the LSN) |
//! | `POST /admin/v1/rehash` | -> [`Rehash`]: recomputed from what is on disk |
//! | `GET /admin/v1/reads?max=N` | -> [`SampledReads`] |
//! | `POST /admin/v1/replay` | [`Replay`] -> [`Replayed`] |
//! | `POST /admin/v1/stop` | -> [`NodeState`], then a graceful end |
//! | `GET /admin/v1/feed?after=N&epoch=E&cluster=ID&follower=ID&record_format=F&held_format=H` | -> stream of log frames |
//! | `GET /admin/v1/snapshot?follower=ID&record_format=F` | -> stream of snapshot frames |
//! | `GET /admin/v1/snapshot?follower=ID&record_format=F&resume=TOKEN` | -> the rest of one: [`Resume`](crate::snapshot::Resume) |
//!
//! Every refusal is an [`AdminError`] with a status of 400, 401, 404, 409 or 503.

use crate::latency::Latency;
use crate::snapshot::Place;
use serde::{Deserialize, Serialize};

/// Position of a write in the one history; the first is 1.
pub type Lsn = u64;
/// Number of a reign; the first is 1.
pub type Epoch = u64;

/// What a node is at the moment.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "role", rename_all = "lowercase")]
pub enum Role {
    /// Admits writes in `epoch`.
    Primary { epoch: Epoch },
    /// Applies the feed of `primary` and forwards writes to it.
    Follower { epoch: Epoch, primary: Peer },
    /// Was primary; admits nothing until told. `lsn` is its last, `digest` its fingerprint there.
    // Written under a name of its own: a `NodeState` has its `lsn` beside the flattened role.
    Sealed {
        epoch: Epoch,
        #[serde(rename = "sealed_lsn")]
        lsn: Lsn,
        digest: String,
    },
    /// Empty and waiting to be told whom to follow (a node started with `--join`).
    Waiting,
}

/// Addresses of another node.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Peer {
    /// `host:port` of its admin and feed protocol.
    pub admin: String,
    /// `host:port` of its REST interface.
    pub http: String,
}

/// Everything a coordinator needs to know about a node.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct NodeState {
    /// Identity of the history; a follower adopts its primary's. Empty while [`Role::Waiting`].
    pub cluster_id: String,
    /// Identity of this data folder.
    pub node_id: String,
    /// Identity of this process; another value means that it was restarted.
    pub instance: String,
    /// Version label given to the process.
    pub version: String,
    pub wire_version: u32,
    #[serde(default)]
    pub records: RecordFormats,
    #[serde(flatten)]
    pub role: Role,
    /// Highest epoch ever seen; calls with a lower one are refused.
    pub epoch_seen: Epoch,
    /// Last LSN that is on disk and applied.
    pub lsn: Lsn,
    /// Epoch of the record at `lsn`.
    pub lsn_epoch: Epoch,
    /// Accepts requests: recovered, and, if a follower, seeded.
    pub ready: bool,
    /// Writes are refused because the disk failed; the text names the failure.
    pub failed: Option<String>,
    /// Writes waiting at a seal.
    pub held_writes: u64,
    /// Clients' connections end with their next answer: somebody else is to be asked.
    #[serde(default)]
    pub sheds: bool,
    pub feed: Option<FeedState>,
    /// On whose disks a write must be before this node, as the primary, acknowledges it; absent: the node knows only its own.
    #[serde(default)]
    pub acknowledge: Option<AcknowledgeState>,
    /// The last primary that this folder knows of was itself, and it was started without being told that it still is: it
    /// admits nothing until a coordinator says so (a `resume` of its own epoch is enough).
    #[serde(default)]
    pub dormant: bool,
    /// Followers connected to this node's feed.
    #[serde(default)]
    pub followers: Vec<FollowerState>,
    #[serde(default)]
    pub counters: Counters,
    /// Of live reads, from a request's head to its answer; absent: the node does not measure it.
    #[serde(default)]
    pub read_latency: Option<Latency>,
    pub databases: u64,
    pub vectors: u64,
    /// Vectors not in the approximate index yet; they are found by scan.
    pub unindexed: u64,
    /// Resident memory of the process, bytes.
    pub resident_bytes: u64,
    /// What this node had and no primary has, oldest first, until somebody removes its folder.
    #[serde(default)]
    pub set_aside: Vec<SetAside>,
}

/// Diverging records, kept in a file when their node was seeded anew.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SetAside {
    /// The file, one record a line in JSON, on the node's machine.
    pub path: String,
    /// Lines in it.
    pub records: u64,
    /// The first and the last LSN at which the histories differ.
    pub first_lsn: Lsn,
    pub last_lsn: Lsn,
    /// What came before was no longer in the log: of it the file has what the store still had.
    pub first_lsn_in_log: Lsn,
}

/// Formats of the records in a node's log. A node that does not say knows the first only.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct RecordFormats {
    /// Oldest and newest that it reads.
    pub read_min: u8,
    pub read_max: u8,
    /// Newest that it writes.
    pub written: u8,
    /// Oldest in which it can give a follower all that the follower could use.
    pub given_min: u8,
}

impl Default for RecordFormats {
    fn default() -> Self {
        Self { read_min: 1, read_max: 1, written: 1, given_min: 1 }
    }
}

impl RecordFormats {
    /// The format in which a node with these gives its records to `follower`.
    ///
    /// # Errors
    /// Why `follower` would come upon records that it cannot read, in words that begin behind the name of the primary.
    pub fn for_follower(&self, follower: &RecordFormats) -> Result<u8, String> {
        let given = self.written.min(follower.read_max);
        if given < self.given_min || given < follower.read_min {
            return Err(format!(
                "gives its records in formats {} to {}, the follower reads {} to {}",
                self.given_min, self.written, follower.read_min, follower.read_max
            ));
        }
        Ok(given)
    }
}

/// A follower's view of its feed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FeedState {
    pub connected: bool,
    /// Last LSN the primary announced.
    pub primary_lsn: Lsn,
    /// Time since this node had everything the primary announced, milliseconds.
    pub lag_ms: u64,
    pub seeding: Option<Seeding>,
    /// Why it is not connected, in words.
    pub error: Option<String>,
}

/// What a primary waits for before it acknowledges a write.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum AcknowledgeMode {
    /// For its own disk.
    #[default]
    Alone,
    /// For the other's disk as well, from the moment the other has everything, until it does not confirm in time.
    Preferred,
    /// For the other's disk as well, however long it takes.
    Required,
}

/// Says what a primary shall wait for.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct AcknowledgeBy {
    pub mode: AcknowledgeMode,
    /// `node_id` of the follower whose word counts.
    pub confirmer: String,
    /// Which word of the coordinator about this it is: one that arrives after a later one is refused.
    #[serde(default)]
    pub number: u64,
}

/// Tells the primary of `epoch` what to wait for from now on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AcknowledgeCall {
    pub epoch: Epoch,
    #[serde(flatten)]
    pub by: AcknowledgeBy,
}

/// How acknowledging stands.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct AcknowledgeState {
    #[serde(flatten)]
    pub by: AcknowledgeBy,
    /// The other has everything up to here on its disk, by its own word.
    pub confirmed_lsn: Lsn,
    /// Every write acknowledged so far is confirmed, and each further one waits for that.
    pub holds: bool,
    /// How long nothing was confirmed while writes wait for it, ms.
    pub waiting_ms: u64,
}

/// A follower's word that it has the history up to `lsn`, whose record there is of `lsn_epoch`, on its disk.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Confirm {
    pub node_id: String,
    pub lsn: Lsn,
    pub lsn_epoch: Epoch,
}

/// Answer to [`Confirm`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Confirmed {
    /// Further confirmations are wanted.
    pub wanted: bool,
}

/// Progress of a snapshot that is being received.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Seeding {
    pub records: u64,
    /// As many as the sender had at the beginning, or those that came if they are more.
    pub records_total: u64,
    pub bytes: u64,
    /// At present; 0 while nothing comes, and before it is known.
    #[serde(default)]
    pub bytes_per_s: u64,
    /// How often the stream broke off and was gone on with.
    #[serde(default)]
    pub resumed: u64,
}

impl Seeding {
    /// How long the rest takes at the present rate, if the records to come are as large as those that came.
    pub fn left_ms(&self) -> Option<u64> {
        let left = self.records_total.saturating_sub(self.records);
        let bytes = u128::from(self.bytes) * u128::from(left) / u128::from(self.records.max(1));
        (self.bytes_per_s > 0 && self.records > 0).then(|| (bytes * 1_000 / u128::from(self.bytes_per_s)) as u64)
    }
}

/// A primary's view of one follower.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FollowerState {
    pub node_id: String,
    pub sent_lsn: Lsn,
}

/// Requests answered since the process started.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Counters {
    pub reads: u64,
    /// Reads answered with 5xx.
    pub read_errors: u64,
    pub writes: u64,
    /// Writes answered with 5xx.
    pub write_errors: u64,
    /// Replayed reads, not counted in `reads`.
    pub replays: u64,
    pub forwarded: u64,
}

/// A call that only carries its epoch.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct EpochCall {
    pub epoch: Epoch,
}

/// Whether clients are to go elsewhere: they keep connections, so that a router which only leads new ones elsewhere does not move
/// their requests.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Shed {
    pub shed: bool,
}

/// Faults that the node makes on purpose from now on, as its `--fault` has them; without any, none.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct MakeFaults {
    pub faults: String,
}

/// Answer to a seal.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sealed {
    pub epoch: Epoch,
    /// Last LSN of the sealed history.
    pub lsn: Lsn,
    /// Digest at `lsn`, hexadecimal.
    pub digest: String,
}

/// Makes a node that was primary the primary again.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ResumeCall {
    pub epoch: Epoch,
    /// The process that is meant ([`NodeState::instance`]): one that was started later may only be told by whoever knows that
    /// nothing else was decided meanwhile. Empty: whichever runs.
    #[serde(default)]
    pub instance: String,
}

/// Makes a follower the primary.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Promote {
    pub epoch: Epoch,
    /// The follower must be at exactly this LSN.
    pub lsn: Lsn,
    /// What it waits for from its first write on.
    #[serde(default)]
    pub acknowledge: AcknowledgeBy,
    /// As in [`ResumeCall`].
    #[serde(default)]
    pub instance: String,
}

/// Makes a node follow another.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Follow {
    pub epoch: Epoch,
    pub primary: Peer,
}

/// Asks a node to prove that it could follow `primary`: reachable, authorised, same history, wire version understood.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProveFollow {
    pub primary: Peer,
}

/// LSN of a marker record: every node remembers its digest there.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Marker {
    pub lsn: Lsn,
}

/// Fingerprint of all records at one LSN.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Digest {
    pub lsn: Lsn,
    /// Hexadecimal.
    pub digest: String,
    pub records: u64,
}

/// A digest is made of the sums of so many buckets. In which one a record is depends on its identity alone, so the sums that
/// differ between two nodes lead to the records that do.
pub const BUCKETS: usize = 65_536;
pub const BUCKET_SUM_BYTES: usize = 32;
/// Records that are listed in one answer; more are refused.
pub const LISTED_RECORDS_MAX: usize = 20_000;

/// Asks for the records in some buckets, once `at_least` is applied.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RecordsIn {
    pub buckets: Vec<u16>,
    pub at_least: Lsn,
}

/// The records in some buckets. Writes went on: each is as it was at some LSN from `from_lsn` to `to_lsn`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ListedRecords {
    pub from_lsn: Lsn,
    pub to_lsn: Lsn,
    pub records: Vec<ListedRecord>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ListedRecord {
    #[serde(flatten)]
    pub record: Place,
    #[serde(flatten)]
    pub version: RecordVersion,
}

/// What a node has of one record.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RecordVersion {
    /// The write that made it so.
    pub lsn: Lsn,
    /// Hash of identity, version and content, hexadecimal.
    pub hash: String,
}

/// Result of recomputing the digest from storage.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rehash {
    pub lsn: Lsn,
    pub from_memory: String,
    pub from_storage: String,
    pub records: u64,
}

/// A uniform sample of recent reads.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct SampledReads {
    pub reads: Vec<Replay>,
}

/// One search to be answered again.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Replay {
    pub database: String,
    pub query: Vec<f32>,
    pub top_k: usize,
    /// Look at every vector, whatever the index is.
    #[serde(default)]
    pub exact: bool,
}

/// How a node answered a replayed search.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Replayed {
    /// HTTP status that a client would have got.
    pub status: u16,
    pub latency_us: u64,
    pub ids: Vec<String>,
    pub scores: Vec<f32>,
}

/// Why a call was refused.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[error("{message}")]
pub struct AdminError {
    pub code: AdminErrorCode,
    pub message: String,
    /// Highest epoch the node has seen: proof that it is fenced when above the caller's.
    #[serde(default)]
    pub epoch_seen: Epoch,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum AdminErrorCode {
    BadRequest,
    Unauthorised,
    NotFound,
    /// The call's epoch is lower than one the node has seen.
    StaleEpoch,
    /// The call does not fit the node's role or position.
    WrongState,
    /// The asked LSN is no longer in the log: seed anew.
    LogTruncated,
    /// The caller's history is not a prefix of this node's.
    Diverged,
    Unavailable,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_node_state_of_every_role_survives_json() {
        let peer = Peer { admin: "a:1".into(), http: "a:2".into() };
        for role in [
            Role::Primary { epoch: 2 },
            Role::Follower { epoch: 2, primary: peer },
            Role::Sealed { epoch: 2, lsn: 9, digest: "d".into() },
            Role::Waiting,
        ] {
            let state = NodeState {
                cluster_id: "c".into(),
                node_id: "n".into(),
                instance: "i".into(),
                version: "v".into(),
                wire_version: 1,
                records: RecordFormats { read_max: 2, ..RecordFormats::default() },
                role,
                epoch_seen: 2,
                lsn: 9,
                lsn_epoch: 1,
                ready: true,
                failed: None,
                held_writes: 0,
                sheds: false,
                feed: None,
                acknowledge: Some(AcknowledgeState::default()),
                dormant: false,
                followers: Vec::new(),
                counters: Counters::default(),
                read_latency: None,
                databases: 1,
                vectors: 1,
                unindexed: 0,
                resident_bytes: 1,
                set_aside: Vec::new(),
            };
            let text = serde_json::to_string(&state).unwrap();
            assert_eq!(serde_json::from_str::<NodeState>(&text).unwrap(), state, "{text}");
        }
    }
    #[test]
    fn records_are_given_in_the_newest_format_that_both_know() {
        let formats = |read_min, read_max, written, given_min| RecordFormats { read_min, read_max, written, given_min };
        let (first, second, held_back) = (RecordFormats::default(), formats(1, 2, 2, 1), formats(1, 1, 1, 1));
        let (third, strict) = (formats(2, 3, 3, 2), formats(1, 3, 3, 3));
        assert_eq!(first.for_follower(&first), Ok(1));
        assert_eq!(second.for_follower(&first), Ok(1), "a node that knows no keys gets none");
        assert_eq!(first.for_follower(&second), Ok(1));
        assert_eq!(second.for_follower(&second), Ok(2));
        assert_eq!(second.for_follower(&held_back), Ok(1));
        assert_eq!(third.for_follower(&second), Ok(2));
        assert_eq!(second.for_follower(&third), Ok(2));
        assert_eq!(
            strict.for_follower(&second).unwrap_err(),
            "gives its records in formats 3 to 3, the follower reads 1 to 2"
        );
        assert_eq!(
            first.for_follower(&third).unwrap_err(),
            "gives its records in formats 1 to 1, the follower reads 2 to 3"
        );
    }
}
