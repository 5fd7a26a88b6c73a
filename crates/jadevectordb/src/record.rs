//! What one record of the log says, and its bytes.
//!
//! Vectors have a compact layout of their own; everything rare is JSON, which older and newer versions read alike.
//!
//! | format | payload |
//! |---|---|
//! | 1 | format, kind, body |
//! | 2 | format, kind, length of the key's part (4 bytes, little-endian), the key's part ([`Answered`]), body |
//!
//! A record is written in the oldest format that can say it, so that a program that knows no keys reads most of a log.

mod answered;
mod older;

pub use answered::Answered;
pub use older::{NotInFormat, in_format, is_only_a_key};

use crate::account::{ApiKey, Token, User};
use bytes::{Buf, BufMut, Bytes};
use serde::{Deserialize, Serialize};
use wire::admin::RecordFormats;
use wire::headers::{RECORD_FORMAT, RECORD_FORMAT_KEYED, RECORD_FORMAT_MIN};

/// The formats of records that this program reads, and writes.
pub const FORMAT_MIN: u8 = RECORD_FORMAT_MIN;
pub const FORMAT_MAX: u8 = RECORD_FORMAT;
/// The first that can carry an idempotency key, and the kind `NOTHING`.
pub const FORMAT_KEYED: u8 = RECORD_FORMAT_KEYED;

/// What a node says of itself that reads and writes records up to `format`.
pub fn formats(format: u8) -> RecordFormats {
    RecordFormats { read_min: FORMAT_MIN, read_max: format, written: format, given_min: FORMAT_MIN }
}

/// One change of the one history.
#[derive(Debug, Clone, PartialEq)]
pub enum Op {
    /// Stores or replaces vectors, all or none.
    PutVectors {
        database: String,
        vectors: Vec<VectorRecord>,
    },
    DeleteVectors {
        database: String,
        ids: Vec<String>,
    },
    /// Creates a database or changes its description.
    PutDatabase(DatabaseRecord),
    DropDatabase {
        database: String,
    },
    PutUser(User),
    PutApiKey(ApiKey),
    PutToken(Token),
    /// Ends logins, by token hash.
    DropTokens {
        token_hashes: Vec<String>,
    },
    /// First record of a reign.
    OpenEpoch,
    /// Every node remembers its digest at this record.
    Marker,
    /// Changes nothing. In a snapshot it carries a key whose write is not there as such.
    Nothing,
    /// A change, and the idempotency key of the request that asked for it: both or neither are in the log.
    Keyed {
        op: Box<Op>,
        answered: Answered,
    },
}

/// One vector as a client gave it.
#[derive(Debug, Clone, PartialEq)]
pub struct VectorRecord {
    pub id: String,
    pub values: Vec<f32>,
    /// A JSON object with sorted keys, or empty.
    pub metadata: String,
}

/// One database's description.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DatabaseRecord {
    pub database_id: String,
    pub name: String,
    #[serde(default)]
    pub description: String,
    pub dimension: usize,
    /// As the client sent it: `HNSW`, `hnsw`, `FLAT`...
    pub index_type: String,
    #[serde(default)]
    pub metric: Metric,
    pub created_ms: u64,
    pub updated_ms: u64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Metric {
    #[default]
    Cosine,
    Euclidean,
    DotProduct,
}

/// Bytes that are no record of a version this program reads.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DecodeError {
    #[error(
        "record format {found} is not one that this node reads ({FORMAT_MIN} to {reads}): upgrade this node first, or let \
         it read newer formats if it is held back (--record-format)"
    )]
    Format { found: u8, reads: u8 },
    #[error("record kind {0} is not known to this program: upgrade this node first")]
    Kind(u8),
    #[error("record is damaged: {0}")]
    Damaged(String),
}

const PUT_VECTORS: u8 = 1;
const DELETE_VECTORS: u8 = 2;
const PUT_DATABASE: u8 = 3;
const DROP_DATABASE: u8 = 4;
const PUT_USER: u8 = 5;
const PUT_API_KEY: u8 = 6;
const PUT_TOKEN: u8 = 7;
const DROP_TOKENS: u8 = 8;
const OPEN_EPOCH: u8 = 9;
const MARKER: u8 = 10;
const NOTHING: u8 = 11;

impl Op {
    pub fn encode(&self) -> Bytes {
        let mut out = Vec::with_capacity(self.size_hint());
        self.encode_into(&mut out);
        out.into()
    }

    /// As [`Op::encode`], behind what `out` has already.
    pub fn encode_into(&self, out: &mut Vec<u8>) {
        match self {
            Op::Keyed { op, answered } => {
                out.extend_from_slice(&[FORMAT_KEYED, op.kind()]);
                out.put_u32_le(answered.encoded_len() as u32);
                answered.put(out);
            }
            Op::Nothing => {
                out.extend_from_slice(&[FORMAT_KEYED, NOTHING]);
                out.put_u32_le(0);
            }
            op => out.extend_from_slice(&[FORMAT_MIN, op.kind()]),
        }
        self.inner().put_body(out);
    }

    fn kind(&self) -> u8 {
        match self {
            Op::PutVectors { .. } => PUT_VECTORS,
            Op::DeleteVectors { .. } => DELETE_VECTORS,
            Op::PutDatabase(_) => PUT_DATABASE,
            Op::DropDatabase { .. } => DROP_DATABASE,
            Op::PutUser(_) => PUT_USER,
            Op::PutApiKey(_) => PUT_API_KEY,
            Op::PutToken(_) => PUT_TOKEN,
            Op::DropTokens { .. } => DROP_TOKENS,
            Op::OpenEpoch => OPEN_EPOCH,
            Op::Marker => MARKER,
            Op::Nothing => NOTHING,
            Op::Keyed { op, .. } => op.kind(),
        }
    }

    fn put_body(&self, out: &mut Vec<u8>) {
        match self {
            Op::PutVectors { database, vectors } => {
                put_text(out, database);
                out.put_u32_le(vectors.len() as u32);
                for vector in vectors {
                    put_vector(out, &vector.id, &vector.values, &vector.metadata);
                }
            }
            Op::DeleteVectors { database, ids } => {
                put_text(out, database);
                out.put_u32_le(ids.len() as u32);
                for id in ids {
                    put_text(out, id);
                }
            }
            Op::PutDatabase(record) => put_json(out, record),
            Op::DropDatabase { database } => put_json(out, database),
            Op::PutUser(user) => put_json(out, user),
            Op::PutApiKey(key) => put_json(out, key),
            Op::PutToken(token) => put_json(out, token),
            Op::DropTokens { token_hashes } => put_json(out, token_hashes),
            Op::OpenEpoch | Op::Marker | Op::Nothing => {}
            Op::Keyed { op, .. } => op.put_body(out),
        }
    }

    /// # Errors
    /// [`DecodeError`] when a newer program wrote it, or when it is damaged.
    pub fn decode(bytes: &[u8]) -> Result<Op, DecodeError> {
        Op::decode_up_to(bytes, FORMAT_MAX)
    }

    /// As [`Op::decode`], for a node that reads formats up to `reads`.
    ///
    /// # Errors
    /// [`DecodeError`] when a newer program wrote it, or when it is damaged.
    pub fn decode_up_to(mut bytes: &[u8], reads: u8) -> Result<Op, DecodeError> {
        let input = &mut bytes;
        let format = take_u8(input)?;
        if !(FORMAT_MIN..=reads.min(FORMAT_MAX)).contains(&format) {
            return Err(DecodeError::Format { found: format, reads });
        }
        let kind = take_u8(input)?;
        if format < FORMAT_KEYED {
            return Op::decode_body(format, kind, input);
        }
        let length = take_u32(input)? as usize;
        let key_part = take(input, length)?;
        let op = Op::decode_body(format, kind, input)?;
        match key_part.is_empty() {
            true => Ok(op),
            false => Ok(Op::Keyed { op: Box::new(op), answered: Answered::decode(key_part)? }),
        }
    }

    fn decode_body(format: u8, kind: u8, input: &mut &[u8]) -> Result<Op, DecodeError> {
        match kind {
            PUT_VECTORS => {
                let database = take_text(input)?;
                let count = take_u32(input)?;
                let mut vectors = Vec::with_capacity((count as usize).min(input.len() / 12 + 1));
                for _ in 0..count {
                    let id = take_text(input)?;
                    let metadata = take_text(input)?;
                    let dimension = take_u32(input)? as usize;
                    let values = take(input, dimension.saturating_mul(4))?;
                    let values = values.as_chunks::<4>().0.iter().map(|four| f32::from_le_bytes(*four)).collect();
                    vectors.push(VectorRecord { id, values, metadata });
                }
                Ok(Op::PutVectors { database, vectors })
            }
            DELETE_VECTORS => {
                let database = take_text(input)?;
                let count = take_u32(input)?;
                let mut ids = Vec::with_capacity((count as usize).min(input.len() / 4 + 1));
                for _ in 0..count {
                    ids.push(take_text(input)?);
                }
                Ok(Op::DeleteVectors { database, ids })
            }
            PUT_DATABASE => Ok(Op::PutDatabase(take_json(input)?)),
            DROP_DATABASE => Ok(Op::DropDatabase { database: take_json(input)? }),
            PUT_USER => Ok(Op::PutUser(take_json(input)?)),
            PUT_API_KEY => Ok(Op::PutApiKey(take_json(input)?)),
            PUT_TOKEN => Ok(Op::PutToken(take_json(input)?)),
            DROP_TOKENS => Ok(Op::DropTokens { token_hashes: take_json(input)? }),
            OPEN_EPOCH => Ok(Op::OpenEpoch),
            MARKER => Ok(Op::Marker),
            NOTHING if format >= FORMAT_KEYED => Ok(Op::Nothing),
            kind => Err(DecodeError::Kind(kind)),
        }
    }

    /// Changes vectors only; such ops need no look at anything but their database's description.
    pub fn is_vector_op(&self) -> bool {
        matches!(self.inner(), Op::PutVectors { .. } | Op::DeleteVectors { .. })
    }

    /// The format that it is written in.
    pub fn format(&self) -> u8 {
        match self {
            Op::Keyed { .. } | Op::Nothing => FORMAT_KEYED,
            _ => FORMAT_MIN,
        }
    }

    /// The change itself, without the key that goes with it.
    pub fn inner(&self) -> &Op {
        match self {
            Op::Keyed { op, .. } => op.inner(),
            op => op,
        }
    }

    /// What its request left behind for a retry.
    pub fn answered(&self) -> Option<&Answered> {
        match self {
            Op::Keyed { answered, .. } => Some(answered),
            _ => None,
        }
    }

    fn size_hint(&self) -> usize {
        match self {
            Op::PutVectors { database, vectors } => vectors
                .iter()
                .map(|vector| 12 + vector.id.len() + vector.metadata.len() + 4 * vector.values.len())
                .sum::<usize>()
                .saturating_add(16 + database.len()),
            Op::Keyed { op, answered } => op.size_hint().saturating_add(answered.encoded_len()),
            _ => 256,
        }
    }
}

/// Appends what [`Op::encode`] gives for an [`Op::PutVectors`] of one vector.
pub fn encode_vector(database: &str, id: &str, values: &[f32], metadata: &str, out: &mut Vec<u8>) {
    out.extend_from_slice(&[FORMAT_MIN, PUT_VECTORS]);
    put_text(out, database);
    out.put_u32_le(1);
    put_vector(out, id, values, metadata);
}

fn put_vector(out: &mut Vec<u8>, id: &str, values: &[f32], metadata: &str) {
    put_text(out, id);
    put_text(out, metadata);
    out.put_u32_le(values.len() as u32);
    let from = out.len();
    out.resize(from + 4 * values.len(), 0);
    // Written in place, which compiles to a copy where memory has this order anyhow.
    for (four, value) in out[from..].as_chunks_mut::<4>().0.iter_mut().zip(values) {
        *four = value.to_le_bytes();
    }
}

fn put_text(out: &mut Vec<u8>, text: &str) {
    out.put_u32_le(text.len() as u32);
    out.put_slice(text.as_bytes());
}

fn put_json(out: &mut Vec<u8>, value: &impl Serialize) {
    // Plain structs of strings and numbers always have a JSON form.
    let json = serde_json::to_vec(value).unwrap_or_default();
    out.put_slice(&json);
}

fn take<'a>(input: &mut &'a [u8], length: usize) -> Result<&'a [u8], DecodeError> {
    match input.split_at_checked(length) {
        Some((head, rest)) => {
            *input = rest;
            Ok(head)
        }
        None => Err(DecodeError::Damaged(format!("{length} bytes expected, {} left", input.len()))),
    }
}

fn take_u8(input: &mut &[u8]) -> Result<u8, DecodeError> {
    Ok(take(input, 1)?[0])
}

fn take_u32(input: &mut &[u8]) -> Result<u32, DecodeError> {
    Ok(take(input, 4)?.get_u32_le())
}

fn take_text(input: &mut &[u8]) -> Result<String, DecodeError> {
    let length = take_u32(input)? as usize;
    let bytes = take(input, length)?;
    String::from_utf8(bytes.to_vec()).map_err(|_| DecodeError::Damaged("a text is not UTF-8".into()))
}

fn take_json<'a, T: Deserialize<'a>>(input: &mut &'a [u8]) -> Result<T, DecodeError> {
    let bytes = std::mem::take(input);
    serde_json::from_slice(bytes).map_err(|error| DecodeError::Damaged(error.to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_bit_of_a_vector_survives() {
        let values = vec![0.0, -0.0, f32::MIN_POSITIVE / 2.0, 0.123_456_79, f32::MAX];
        let op = Op::PutVectors {
            database: "db_1".into(),
            vectors: vec![VectorRecord { id: "ä".into(), values: values.clone(), metadata: "{\"a\":1}".into() }],
        };
        let Op::PutVectors { vectors, .. } = Op::decode(&op.encode()).unwrap() else { panic!("another kind") };
        let bits: Vec<u32> = vectors[0].values.iter().map(|value| value.to_bits()).collect();
        assert_eq!(bits, values.iter().map(|value| value.to_bits()).collect::<Vec<_>>());
    }

    #[test]
    fn one_vector_is_encoded_as_a_batch_of_one() {
        let vector = VectorRecord { id: "ä".into(), values: vec![-0.0, 1.5], metadata: "{\"a\":1}".into() };
        let mut out = vec![7];
        encode_vector("db", &vector.id, &vector.values, &vector.metadata, &mut out);
        let op = Op::PutVectors { database: "db".into(), vectors: vec![vector] };
        assert_eq!(out[1..], op.encode()[..]);
    }

    #[test]
    fn a_cut_record_is_an_error_at_every_length() {
        let op = Op::PutVectors {
            database: "db".into(),
            vectors: vec![VectorRecord { id: "id".into(), values: vec![1.0; 3], metadata: String::new() }],
        };
        let bytes = op.encode();
        for length in 0..bytes.len() {
            assert!(Op::decode(&bytes[..length]).is_err(), "cut at {length}");
        }
    }

    #[test]
    fn a_newer_record_names_itself() {
        assert_eq!(Op::decode(&[3, 1]), Err(DecodeError::Format { found: 3, reads: 2 }));
        assert_eq!(Op::decode(&[0, 1]), Err(DecodeError::Format { found: 0, reads: 2 }));
        assert_eq!(Op::decode(&[1, 99]), Err(DecodeError::Kind(99)));
        // Known, but not in a record of the first format.
        assert_eq!(Op::decode(&[1, NOTHING]), Err(DecodeError::Kind(NOTHING)));
        let text = DecodeError::Format { found: 3, reads: 2 }.to_string();
        assert!(text.starts_with("record format 3 is not one that this node reads (1 to 2): upgrade"), "{text}");
        // Held back, it does not read what it could.
        let keyed = Op::Keyed { op: Box::new(Op::Marker), answered: answered("{}") };
        assert_eq!(Op::decode_up_to(&keyed.encode(), 1), Err(DecodeError::Format { found: 2, reads: 1 }));
        assert_eq!(Op::decode_up_to(&Op::Marker.encode(), 1), Ok(Op::Marker));
        // Nor does anybody read more than the program can.
        assert_eq!(Op::decode_up_to(&[9, 1], 9), Err(DecodeError::Format { found: 9, reads: 9 }));
    }

    #[test]
    fn a_key_is_in_the_record_of_its_write_and_changes_nothing_of_it() {
        let put = Op::PutVectors {
            database: "db".into(),
            vectors: vec![VectorRecord { id: "id".into(), values: vec![1.0; 3], metadata: "{}".into() }],
        };
        for op in [put, Op::DropDatabase { database: "db".into() }, Op::Nothing] {
            for body in ["", "{\"status\":\"success\"}"] {
                let keyed = Op::Keyed { op: Box::new(op.clone()), answered: answered(body) };
                let bytes = keyed.encode();
                assert_eq!(Op::decode(&bytes).as_ref(), Ok(&keyed));
                assert_eq!((keyed.inner(), keyed.is_vector_op()), (&op, op.is_vector_op()));
                for length in 0..bytes.len() {
                    assert!(Op::decode(&bytes[..length]).is_err(), "cut at {length}");
                }
            }
        }
    }

    #[test]
    fn what_the_first_format_can_say_is_written_in_it() {
        for op in [Op::Marker, Op::OpenEpoch, Op::DropDatabase { database: "db".into() }] {
            assert_eq!(op.encode()[0], 1, "{op:?}");
        }
        assert_eq!(Op::Nothing.encode()[..], [2, NOTHING, 0, 0, 0, 0]);
        assert_eq!(Op::decode(&Op::Nothing.encode()), Ok(Op::Nothing));
    }

    fn answered(body: &'static str) -> Answered {
        Answered { key: [1; 32], request: [2; 32], at_ms: u64::MAX - 3, status: 201, body: body.into() }
    }
}
