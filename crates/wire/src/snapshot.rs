//! The order of the records in a snapshot that one node receives from another.

use serde::{Deserialize, Serialize};

/// The record that was the last: users come first, then API keys, tokens, idempotency keys (in the order of
/// their writes) and databases, each database followed by its vectors; all the others ordered by id. So a place means the same on every node, whatever was written meanwhile.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Place {
    User {
        id: String,
    },
    ApiKey {
        id: String,
    },
    /// Its hash, never the token.
    Token {
        id: String,
    },
    /// An idempotency key, by the LSN of its write.
    Key {
        lsn: u64,
    },
    Database {
        id: String,
    },
    Vector {
        database: String,
        id: String,
    },
}
