use std::fs;
use std::os::unix::fs::FileExt;

use super::*;
use crate::testing::{Random, data_dir, fill, open, read_all, small};
use crate::{FrameDecoder, LogOptions};

#[test]
fn any_position_and_any_limit_give_the_same_frames() {
    for (seed, tail_bytes) in [(1, 0), (2, 3000), (3, 1 << 20)] {
        let mut random = Random::seeded(seed);
        let (_folder, dir) = data_dir();
        let options = LogOptions { segment_bytes: 200_000, tail_bytes, ..small() };
        let (mut log, _) = open(&dir, &options);
        let written = fill(&mut log, &mut random, 1500, 600);
        let reader = log.reader();
        for _ in 0..300 {
            let lsn = random.below(1501);
            let max_bytes = random.below(5000) as usize;
            let frames = reader.read_after(lsn, max_bytes).unwrap();
            let rest = &written[lsn as usize..];
            assert_eq!(frames, rest[..frames.len()], "seed {seed} lsn {lsn}");
            assert_eq!(frames.is_empty(), rest.is_empty());
            let bytes: usize = frames.iter().map(crate::Frame::encoded_len).sum();
            assert!(frames.len() <= 1 || bytes <= max_bytes, "{bytes} of {max_bytes}");
        }
        assert!(reader.read_after(9999, 100).unwrap().is_empty());
        assert_eq!(read_all(&reader, 0, usize::MAX), written);
    }
}

#[test]
fn encoded_batches_are_what_a_feed_sends() {
    let mut random = Random::seeded(4);
    let (_folder, dir) = data_dir();
    let (mut log, _) = open(&dir, &small());
    let written = fill(&mut log, &mut random, 200, 100);
    let reader = log.reader();
    let (mut decoder, mut received, mut lsn) = (FrameDecoder::new(), Vec::new(), 0);
    loop {
        let batch = reader.read_encoded_after(lsn, 700).unwrap();
        if batch.is_empty() {
            break;
        }
        assert_eq!(batch.bytes, batch.pieces.iter().map(Bytes::len).sum::<usize>());
        lsn = batch.last_lsn;
        for piece in &batch.pieces {
            decoder.push(piece);
        }
        while let Some(frame) = decoder.next().unwrap() {
            received.push(frame);
        }
    }
    assert_eq!(received, written);
}

#[test]
fn the_recent_tail_needs_no_file_and_is_bounded() {
    let mut random = Random::seeded(5);
    let (_folder, dir) = data_dir();
    let options = LogOptions { segment_bytes: 1 << 20, tail_bytes: 5000, ..small() };
    let (mut log, _) = open(&dir, &options);
    let written = fill(&mut log, &mut random, 500, 300);
    // Behind the log's back: only what is read from the file can notice.
    let path = dir.log_dir().join("00000000000000000001.log");
    let file = fs::OpenOptions::new().write(true).open(&path).unwrap();
    let len = file.metadata().unwrap().len();
    FileExt::write_all_at(&file, &vec![0xff; len as usize - 48], 48).unwrap();
    let reader = log.reader();
    let recent: Vec<_> = written
        .iter()
        .rev()
        .scan(0, |bytes, frame| {
            *bytes += frame.encoded_len();
            (*bytes < 2500).then_some(frame.lsn)
        })
        .collect();
    let from = *recent.last().unwrap();
    assert_eq!(read_all(&reader, from - 1, 700), written[from as usize - 1..]);
    let error = reader.read_after(0, 100).unwrap_err();
    assert!(matches!(error, ReadError::Damaged { lsn: 1, .. }), "{error}");
    assert!(error.to_string().contains("00000000000000000001.log"), "{error}");
    let state = reader.shared.state.read();
    assert!(state.tail.after(0, 1).is_none());
}
