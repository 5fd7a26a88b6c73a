use bytes::{Bytes, BytesMut};

use super::*;
use crate::testing::{Random, payload};

fn frames(random: &mut Random, count: u64) -> Vec<Frame> {
    (1..=count).map(|lsn| Frame { lsn, epoch: 1 + lsn / 10, payload: payload(random, 300) }).collect()
}

fn decode_all(decoder: &mut FrameDecoder, into: &mut Vec<Frame>) {
    while let Some(frame) = decoder.next().unwrap() {
        into.push(frame);
    }
}

#[test]
fn frames_survive_any_cutting_into_pieces() {
    let mut random = Random::seeded(1);
    for _ in 0..50 {
        let sent = frames(&mut random, 30);
        let mut encoded = BytesMut::new();
        for frame in &sent {
            let before = encoded.len();
            frame.encode_into(&mut encoded).unwrap();
            assert_eq!(encoded.len() - before, frame.encoded_len());
        }
        let (mut decoder, mut received, mut rest) = (FrameDecoder::new(), Vec::new(), &encoded[..]);
        while !rest.is_empty() {
            let (piece, after) = rest.split_at(random.below(rest.len().min(700) as u64) as usize + 1);
            decoder.push(piece);
            decode_all(&mut decoder, &mut received);
            rest = after;
        }
        assert_eq!(received, sent);
        assert_eq!(decoder.buffered(), 0);
    }
}

#[test]
fn every_flipped_bit_is_an_error_at_once_and_for_good() {
    let frame = Frame { lsn: 77, epoch: 3, payload: Bytes::from_static(b"what was written") };
    let mut encoded = Vec::new();
    frame.encode_into(&mut encoded).unwrap();
    for bit in 0..encoded.len() * 8 {
        let mut damaged = encoded.clone();
        damaged[bit / 8] ^= 1 << (bit % 8);
        let mut decoder = FrameDecoder::new();
        decoder.push(&damaged);
        let error = decoder.next().expect_err("a flipped bit was not found");
        decoder.push(&encoded);
        assert_eq!(decoder.next(), Err(error));
    }
}

#[test]
fn an_incomplete_frame_waits() {
    let frame = Frame { lsn: 1, epoch: 1, payload: Bytes::from_static(b"abc") };
    let mut encoded = Vec::new();
    frame.encode_into(&mut encoded).unwrap();
    for cut in 0..encoded.len() {
        let mut decoder = FrameDecoder::new();
        decoder.push(&encoded[..cut]);
        assert_eq!(decoder.next(), Ok(None));
        assert_eq!(decoder.buffered(), cut);
        decoder.push(&encoded[cut..]);
        assert_eq!(decoder.next(), Ok(Some(frame.clone())));
    }
}

#[test]
fn the_payload_limit_holds_both_ways() {
    let longest = Frame { lsn: 1, epoch: 1, payload: Bytes::from(vec![0; PAYLOAD_BYTES_MAX]) };
    let mut encoded = Vec::new();
    longest.encode_into(&mut encoded).unwrap();
    assert!(Layout::check(&encoded).unwrap().is_some());

    let longer = Frame { payload: Bytes::from(vec![0; PAYLOAD_BYTES_MAX + 1]), ..longest };
    let mut refused = Vec::new();
    let expected = FrameError::TooLong { lsn: 1, bytes: PAYLOAD_BYTES_MAX as u64 + 1 };
    assert_eq!(longer.encode_into(&mut refused), Err(expected.clone()));
    assert!(refused.is_empty());

    encoded.truncate(FRAME_HEADER_BYTES);
    encoded[1..5].copy_from_slice(&(PAYLOAD_BYTES_MAX as u32 + 1).to_le_bytes());
    let checksum = crc32fast::hash(&encoded[..HEADER_CHECKSUM_AT]);
    encoded[HEADER_CHECKSUM_AT..CHECKSUM_AT].copy_from_slice(&checksum.to_le_bytes());
    let mut decoder = FrameDecoder::new();
    decoder.push(&encoded);
    assert_eq!(decoder.next(), Err(expected));
}
