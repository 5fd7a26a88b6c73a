//! What a write with an idempotency key leaves behind: enough to recognise a retry, and to answer it.
//!
//! Layout: key (32 bytes), request (32), time (8), status (2), the rest is the body; integers are little-endian.

use super::{DecodeError, take};
use bytes::{Buf, BufMut, Bytes};

/// A request that was done, and its answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answered {
    /// Hash of who asked and of the key they gave.
    pub key: [u8; 32],
    /// Hash of what was asked for: another request with the same key is a mistake of its sender.
    pub request: [u8; 32],
    /// When it was asked, milliseconds since 1970, by the clock of the primary of that moment.
    pub at_ms: u64,
    /// HTTP status and body of the answer.
    pub status: u16,
    pub body: Bytes,
}

const HASH_BYTES: usize = 32;
const FIXED_BYTES: usize = 2 * HASH_BYTES + 8 + 2;

impl Answered {
    pub(super) fn encoded_len(&self) -> usize {
        FIXED_BYTES + self.body.len()
    }

    pub(super) fn put(&self, out: &mut Vec<u8>) {
        out.put_slice(&self.key);
        out.put_slice(&self.request);
        out.put_u64_le(self.at_ms);
        out.put_u16_le(self.status);
        out.put_slice(&self.body);
    }

    pub(super) fn decode(mut bytes: &[u8]) -> Result<Answered, DecodeError> {
        let input = &mut bytes;
        let (key, request) = (take_hash(input)?, take_hash(input)?);
        let (at_ms, status) = (take(input, 8)?.get_u64_le(), take(input, 2)?.get_u16_le());
        // Copied: the answer is kept for hours, the record around it need not be.
        Ok(Answered { key, request, at_ms, status, body: Bytes::copy_from_slice(input) })
    }
}

fn take_hash(input: &mut &[u8]) -> Result<[u8; HASH_BYTES], DecodeError> {
    let mut hash = [0; HASH_BYTES];
    hash.copy_from_slice(take(input, HASH_BYTES)?);
    Ok(hash)
}
