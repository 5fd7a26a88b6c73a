//! Records for a follower of an older version: in the form that it reads, if that loses nothing it could use.

use super::{FORMAT_KEYED, FORMAT_MIN, NOTHING};
use bytes::{BufMut, Bytes};

/// A record that has no older form. What it says would be lost.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error(
    "a record of kind {kind} in format {found} has no form in format {wanted}: a node that reads formats up to {wanted} \
     cannot follow"
)]
pub struct NotInFormat {
    pub kind: u8,
    pub found: u8,
    pub wanted: u8,
}

/// The bytes of a record that has an idempotency key and nothing else, as only snapshots have them.
pub fn is_only_a_key(payload: &[u8]) -> bool {
    matches!(payload, [format, NOTHING, ..] if *format >= FORMAT_KEYED)
}

/// The bytes of a record in a format of at most `wanted`: without its idempotency key where none can be carried.
///
/// # Errors
/// [`NotInFormat`] when it says something that the older format cannot. Bytes that are no record stay as they are: who
/// reads them finds out.
pub fn in_format(payload: &Bytes, wanted: u8) -> Result<Bytes, NotInFormat> {
    let (Some(&found), Some(&kind)) = (payload.first(), payload.get(1)) else { return Ok(payload.clone()) };
    if found <= wanted {
        return Ok(payload.clone());
    }
    let refused = NotInFormat { kind, found, wanted };
    if found != FORMAT_KEYED || wanted < FORMAT_MIN || kind == NOTHING {
        return Err(refused);
    }
    let length = payload.get(2..6).and_then(|length| length.try_into().ok()).map(u32::from_le_bytes);
    let body = length.and_then(|length| payload.get(6 + length as usize..)).ok_or(refused)?;
    let mut older = Vec::with_capacity(2 + body.len());
    older.put_slice(&[FORMAT_MIN, kind]);
    older.put_slice(body);
    Ok(older.into())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::{Answered, Op, VectorRecord};

    fn keyed(op: Op) -> Op {
        let answered = Answered { key: [1; 32], request: [2; 32], at_ms: 3, status: 201, body: "{}".into() };
        Op::Keyed { op: Box::new(op), answered }
    }

    #[test]
    fn a_key_is_left_out_and_the_change_is_the_same() {
        let vectors = vec![VectorRecord { id: "a".into(), values: vec![1.0, -0.0], metadata: "{}".into() }];
        for op in [
            Op::PutVectors { database: "db".into(), vectors },
            Op::DropTokens { token_hashes: vec!["t".into()] },
            Op::Marker,
        ] {
            let payload = keyed(op.clone()).encode();
            assert_eq!(in_format(&payload, 1).unwrap(), op.encode());
            assert_eq!(in_format(&payload, 2).unwrap(), payload);
            assert_eq!(in_format(&op.encode(), 1).unwrap(), op.encode());
        }
    }

    #[test]
    fn what_an_older_version_cannot_be_told_is_refused_by_name() {
        let only_a_key = keyed(Op::Nothing).encode();
        assert!(is_only_a_key(&only_a_key) && !is_only_a_key(&keyed(Op::Marker).encode()));
        assert_eq!(
            in_format(&only_a_key, 1).unwrap_err().to_string(),
            "a record of kind 11 in format 2 has no form in format 1: a node that reads formats up to 1 cannot follow"
        );
        let newer = in_format(&Bytes::from_static(&[3, 7, 0]), 2).unwrap_err();
        assert_eq!(newer, NotInFormat { kind: 7, found: 3, wanted: 2 });
        // Cut within the key.
        let payload = keyed(Op::Marker).encode();
        assert!(in_format(&payload.slice(..20), 1).is_err());
    }
}
