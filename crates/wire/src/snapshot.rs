//! The order of the records in a snapshot that one node receives from another, and how one goes on after a cut.

use crate::admin::{Epoch, Lsn};
use crate::headers::RECORD_FORMAT_MIN;
use serde::{Deserialize, Serialize};
use std::fmt;

/// The record that was the last: users come first, then API keys, tokens, idempotency keys (in the order of their writes)
/// and databases, each database followed by its vectors; all the others ordered by id. So a place means the same on every
/// node, whatever was written meanwhile.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
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

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Place::User { id } => write!(f, "user `{id}`"),
            Place::ApiKey { id } => write!(f, "API key `{id}`"),
            Place::Token { id } => write!(f, "login `{id}`"),
            Place::Key { lsn } => write!(f, "idempotency key of LSN {lsn}"),
            Place::Database { id } => write!(f, "database `{id}`"),
            Place::Vector { database, id } => write!(f, "vector `{id}` of database `{database}`"),
        }
    }
}

/// Where a stream that broke off goes on. The sender goes on only if everything in it is as it was: the items that came
/// show its own history up to a moment that nobody noted, so no other node, and no other history of this one, can
/// complete them; and its log must still reach back to the first start, since replaying it from there is what makes
/// items of different times one state.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Resume {
    pub cluster_id: String,
    /// The node that sent the part.
    pub node_id: String,
    /// How often that node's history had been replaced by another.
    pub generation: u64,
    /// The format of records that the part was given in: in an older one it may lack what a newer one can say.
    #[serde(default = "first_format")]
    pub record_format: u8,
    /// Where the stream began first, and the epoch there.
    pub lsn: Lsn,
    pub epoch: Epoch,
    /// Items that came.
    pub items: u64,
    /// The last of them.
    pub after: Place,
}

fn first_format() -> u8 {
    RECORD_FORMAT_MIN
}

impl Resume {
    /// The form that fits into an address: hexadecimal.
    pub fn to_token(&self) -> String {
        // A plain struct of strings and numbers always has a JSON form.
        let json = serde_json::to_vec(self).unwrap_or_default();
        json.iter().fold(String::with_capacity(2 * json.len()), |mut token, byte| {
            token.extend([byte >> 4, byte & 15].map(|digit| char::from(HEXADECIMAL[usize::from(digit)])));
            token
        })
    }

    /// `None` for what is not a token of this version.
    pub fn from_token(token: &str) -> Option<Resume> {
        let digit = |byte: u8| char::from(byte).to_digit(16);
        let (pairs, odd) = token.as_bytes().as_chunks::<2>();
        let bytes = pairs.iter().map(|&[high, low]| Some((digit(high)? * 16 + digit(low)?) as u8));
        let json: Vec<u8> = bytes.collect::<Option<_>>()?;
        if odd.is_empty() { serde_json::from_slice(&json).ok() } else { None }
    }
}

const HEXADECIMAL: &[u8; 16] = b"0123456789abcdef";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_survives_and_nothing_else_is_one() {
        let after = Place::Vector { database: "db".into(), id: "ä \" /?&#%\u{0}".into() };
        let (cluster_id, node_id) = ("c".into(), "n".into());
        let resume = Resume { cluster_id, node_id, generation: 2, record_format: 2, lsn: 9, epoch: 1, items: 7, after };
        let token = resume.to_token();
        assert!(token.bytes().all(|byte| byte.is_ascii_hexdigit()), "{token}");
        assert_eq!(Resume::from_token(&token), Some(resume));
        for wrong in ["", "7", "7b7d", "zz", "7b7", &token[2..], &token[..token.len() - 2]] {
            assert_eq!(Resume::from_token(wrong), None, "{wrong}");
        }
    }
}
