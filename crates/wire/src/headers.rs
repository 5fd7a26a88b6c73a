//! Header names shared by node, gateway and clients.

/// LSN at which an answer was made (set by nodes on every answer of `/v1`).
pub const LSN: &str = "jadevectordb-lsn";
/// A client's demand: answer no older than this LSN.
pub const MIN_LSN: &str = "jadevectordb-min-lsn";
/// On a 503: nothing is wrong with the node, it has not reached the LSN demanded. The value is what it is:
/// [`BEHIND_FOLLOWER`], or [`BEHIND_PRIMARY`], and then nobody has that LSN.
pub const BEHIND: &str = "jadevectordb-behind";
pub const BEHIND_FOLLOWER: &str = "follower";
pub const BEHIND_PRIMARY: &str = "primary";
/// Version label of the node that answered.
pub const VERSION: &str = "jadevectordb-version";
/// How often a write was forwarded between nodes already.
pub const HOPS: &str = "jadevectordb-hops";
/// Marks a read that the conductor replays; it is counted apart.
pub const REPLAY: &str = "jadevectordb-replay";
/// A request's own choice of environment: `green` or `blue`.
pub const CANARY: &str = "canary";
/// Colour that answered (set by the gateway).
pub const COLOUR: &str = "jadeshift-colour";
/// A client's own name for one write, so that a retry is applied once.
pub const IDEMPOTENCY_KEY: &str = "idempotency-key";

/// Set on the answer to a retry: it is the one that was given, or meant, for the first request with the key.
pub const IDEMPOTENT_REPLAYED: &str = "idempotent-replayed";

/// Version of the admin protocol and of the feed spoken by this program.
pub const WIRE_VERSION: u32 = 1;
/// The oldest version of the admin protocol and of the feed that this program still reads.
pub const WIRE_VERSION_MIN: u32 = 1;

/// The newest format of a log's records that this program reads and writes.
pub const RECORD_FORMAT: u8 = 2;
/// The oldest format of a log's records that this program still reads, and gives to followers.
pub const RECORD_FORMAT_MIN: u8 = 1;
/// The first format that can carry an idempotency key.
pub const RECORD_FORMAT_KEYED: u8 = 2;
