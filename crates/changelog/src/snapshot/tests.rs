use std::fs;

use super::*;
use crate::DataDir;
use crate::testing::{Random, data_dir, payload};

fn header(lsn: Lsn, generation: u64) -> SnapshotHeader {
    let epochs = if lsn == 0 { Vec::new() } else { vec![(1, 1)] };
    SnapshotHeader { start: Start { lsn, generation, epochs }, meta: Bytes::from_static(b"{\"who\":\"me\"}") }
}

fn write(dir: &DataDir, header: &SnapshotHeader, items: &[Bytes]) -> PathBuf {
    let mut writer = SnapshotWriter::create(dir, header).unwrap();
    for item in items {
        writer.item(item).unwrap();
    }
    writer.finish(b"end").unwrap()
}

fn items(random: &mut Random, count: usize, limit: u64) -> Vec<Bytes> {
    (0..count).map(|_| payload(random, limit)).collect()
}

fn read(reader: &mut SnapshotReader) -> Result<Vec<Bytes>, SnapshotError> {
    reader.by_ref().collect()
}

fn names(dir: &DataDir) -> Vec<String> {
    let mut names: Vec<_> = fs::read_dir(dir.snapshot_dir())
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    names
}

#[test]
fn what_was_written_is_read() {
    let mut random = Random::seeded(1);
    let (_folder, dir) = data_dir();
    assert!(SnapshotReader::open_latest(&dir).unwrap().is_none());
    for (lsn, count, limit) in [(0, 0, 1), (5, 1000, 200), (9, 5, 3 << 20)] {
        let items = items(&mut random, count, limit);
        let path = write(&dir, &header(lsn, 1), &items);
        let mut reader = SnapshotReader::open_latest(&dir).unwrap().unwrap();
        assert_eq!(reader.path(), path);
        assert_eq!(reader.header(), &header(lsn, 1));
        assert_eq!(reader.trailer(), None);
        assert_eq!(read(&mut reader).unwrap(), items);
        let trailer = SnapshotTrailer { items: count as u64, meta: Bytes::from_static(b"end") };
        assert_eq!(reader.trailer(), Some(&trailer));
        assert!(reader.next_item().unwrap().is_none());
        assert_eq!(names(&dir).len(), 1);
    }
}

#[test]
fn the_newest_generation_wins_over_a_higher_lsn() {
    let (_folder, dir) = data_dir();
    let old = write(&dir, &header(100, 1), &[]);
    let content = fs::read(&old).unwrap();
    write(&dir, &header(60, 2), &[]);
    assert!(!old.exists());
    // A crash may come before the older one is removed.
    fs::write(&old, content).unwrap();
    let reader = SnapshotReader::open_latest(&dir).unwrap().unwrap();
    assert_eq!((reader.header().start.generation, reader.header().start.lsn), (2, 60));
}

#[test]
fn an_unfinished_snapshot_leaves_nothing() {
    let (_folder, dir) = data_dir();
    let path = write(&dir, &header(5, 1), &[]);
    let mut writer = SnapshotWriter::create(&dir, &header(9, 1)).unwrap();
    writer.item(b"x").unwrap();
    assert_eq!(names(&dir).len(), 2);
    drop(writer);
    assert_eq!(names(&dir).len(), 1);
    let leftover = dir.snapshot_dir().join("0000000001-00000000000000000009.snap.tmp");
    fs::write(&leftover, b"half").unwrap();
    assert_eq!(SnapshotReader::open_latest(&dir).unwrap().unwrap().path(), path);
    assert!(!leftover.exists());
}

#[test]
fn every_flipped_bit_and_every_cut_is_found() {
    let mut random = Random::seeded(3);
    let (_folder, dir) = data_dir();
    let path = write(&dir, &header(5, 1), &items(&mut random, 6, 20));
    let whole = fs::read(&path).unwrap();
    let check = |content: &[u8], what: String| {
        fs::write(&path, content).unwrap();
        let result = SnapshotReader::open_latest(&dir).and_then(|reader| read(&mut reader.unwrap()));
        let error = result.expect_err(&what);
        assert!(matches!(error, SnapshotError::Damaged { .. }), "{what}: {error}");
        assert!(error.to_string().contains(".snap"), "{error}");
    };
    for bit in 0..whole.len() * 8 {
        let mut damaged = whole.clone();
        damaged[bit / 8] ^= 1 << (bit % 8);
        check(&damaged, format!("bit {bit}"));
    }
    for cut in 0..whole.len() {
        check(&whole[..cut], format!("cut at {cut}"));
    }
    let mut longer = whole.clone();
    longer.push(0);
    check(&longer, "a byte more".to_owned());
}

#[test]
fn a_stream_is_received_as_the_same_bytes() {
    let mut random = Random::seeded(4);
    let sent = items(&mut random, 200, 500);
    let (mut encoder, mut stream) = (SnapshotEncoder::new(), Vec::new());
    encoder.header(&header(5, 7), &mut stream).unwrap();
    let header_bytes = stream.len();
    for item in &sent {
        encoder.item(item, &mut stream).unwrap();
    }
    encoder.trailer(b"end", &mut stream).unwrap();

    let (_folder, dir) = data_dir();
    let (mut decoder, mut writer, mut path) = (SnapshotDecoder::new(), None, None);
    let mut rest = &stream[..];
    while !rest.is_empty() {
        let (piece, after) = rest.split_at(1 + random.below(rest.len().min(900) as u64) as usize);
        decoder.push(piece);
        rest = after;
        while let Some(record) = decoder.next().unwrap() {
            match record {
                SnapshotRecord::Header(received) => {
                    assert_eq!(received, header(5, 7));
                    writer = Some(SnapshotWriter::create(&dir, &header(5, 2)).unwrap());
                }
                SnapshotRecord::Item(item) => writer.as_mut().unwrap().item_encoded(&item).unwrap(),
                SnapshotRecord::Trailer(trailer) => {
                    assert_eq!(trailer.items, 200);
                    path = Some(writer.take().unwrap().finish(&trailer.meta).unwrap());
                }
            }
        }
        assert_eq!(decoder.finish().is_ok(), rest.is_empty());
    }
    let stored = fs::read(path.unwrap()).unwrap();
    assert_eq!(stored[header_bytes..], stream[header_bytes..]);
    let mut reader = SnapshotReader::open_latest(&dir).unwrap().unwrap();
    assert_eq!(reader.header().start.generation, 2);
    assert_eq!(read(&mut reader).unwrap(), sent);
}

#[test]
fn records_out_of_place_are_refused() {
    let (mut encoder, mut stream, mut ends) = (SnapshotEncoder::new(), Vec::new(), vec![0]);
    encoder.header(&header(5, 1), &mut stream).unwrap();
    ends.push(stream.len());
    for item in [b"first", b"other"] {
        encoder.item(item, &mut stream).unwrap();
        ends.push(stream.len());
    }
    encoder.trailer(b"", &mut stream).unwrap();
    ends.push(stream.len());
    let decode = |order: &[usize]| {
        let mut decoder = SnapshotDecoder::new();
        for &part in order {
            decoder.push(&stream[ends[part]..ends[part + 1]]);
        }
        loop {
            match decoder.next() {
                Ok(Some(_)) => {}
                Ok(None) => return decoder.finish(),
                Err(error) => return Err(error),
            }
        }
    };
    assert_eq!(decode(&[0, 1, 2, 3]), Ok(()));
    assert_eq!(decode(&[1, 2, 3]), Err(SnapshotFormatError::NoHeader));
    assert_eq!(decode(&[0, 0, 1, 2, 3]), Err(SnapshotFormatError::SecondHeader));
    assert_eq!(decode(&[0, 2, 1, 3]), Err(SnapshotFormatError::OutOfOrder { expected: 0, found: 1 }));
    assert_eq!(decode(&[0, 1, 3]), Err(SnapshotFormatError::Count { expected: 1, found: 2 }));
    assert_eq!(decode(&[0, 1, 2]), Err(SnapshotFormatError::Incomplete { items: 2 }));
    assert_eq!(decode(&[0, 1, 2, 3, 3]), Err(SnapshotFormatError::AfterTrailer));

    let (_folder, dir) = data_dir();
    let mut decoder = SnapshotDecoder::new();
    decoder.push(&stream);
    decoder.next().unwrap();
    let Some(SnapshotRecord::Item(first)) = decoder.next().unwrap() else { panic!("no item") };
    let mut writer = SnapshotWriter::create(&dir, &header(5, 1)).unwrap();
    writer.item_encoded(&first).unwrap();
    let error = writer.item_encoded(&first).unwrap_err();
    assert!(matches!(error, SnapshotError::Refused { error: SnapshotFormatError::OutOfOrder { .. }, .. }), "{error}");
    let error = writer.item(&vec![0; ITEM_BYTES_MAX + 1]).unwrap_err();
    assert!(matches!(error, SnapshotError::Refused { error: SnapshotFormatError::TooLong { .. }, .. }), "{error}");
}

/// Writes the first `sent` items as a node that receives them would, and gives up.
fn receive_part(dir: &DataDir, sent: &[Bytes], stream: &[u8]) {
    let (mut decoder, mut writer) = (SnapshotDecoder::new(), None);
    decoder.push(stream);
    for _ in 0..=sent.len() {
        match decoder.next().unwrap() {
            Some(SnapshotRecord::Header(_)) => writer = Some(SnapshotWriter::receive(dir, &header(5, 2)).unwrap()),
            Some(SnapshotRecord::Item(item)) => writer.as_mut().unwrap().item_encoded(&item).unwrap(),
            other => panic!("{other:?}"),
        }
    }
}

#[test]
fn a_received_part_is_gone_on_with_wherever_it_was_cut() {
    let mut random = Random::seeded(5);
    let sent = items(&mut random, 30, 200);
    let (mut encoder, mut stream) = (SnapshotEncoder::new(), Vec::new());
    encoder.header(&header(5, 7), &mut stream).unwrap();
    sent.iter().for_each(|item| encoder.item(item, &mut stream).unwrap());
    let part = |dir: &DataDir| dir.snapshot_dir().join("received.part");
    let (_folder, dir) = data_dir();
    receive_part(&dir, &sent, &stream);
    let whole = fs::read(part(&dir)).unwrap();
    assert!(SnapshotReader::open_latest(&dir).unwrap().is_none(), "it is no snapshot yet");
    for round in 0..200 {
        let mut found = whole.clone();
        let at = random.below(whole.len() as u64) as usize;
        match round % 3 {
            0 => found.truncate(at),
            1 => found[at] ^= 1 << random.below(8),
            _ => found[at..].fill(0),
        }
        fs::write(part(&dir), &found).unwrap();
        let Some(mut received) = ReceivedSnapshot::open(&dir).unwrap() else {
            assert!(at < 200, "the header was whole: {at}");
            continue;
        };
        assert_eq!(received.header(), &header(5, 2));
        let mut kept = Vec::new();
        while let Some(item) = received.next_item().unwrap() {
            kept.push(item.payload());
        }
        assert_eq!(kept, sent[..kept.len()], "round {round}");
        let mut writer = received.go_on().unwrap();
        // The sender goes on behind what is there.
        let (mut encoder, mut rest) = (SnapshotEncoder::resuming(kept.len() as u64), Vec::new());
        encoder.header(&header(5, 7), &mut rest).unwrap();
        sent[kept.len()..].iter().for_each(|item| encoder.item(item, &mut rest).unwrap());
        encoder.trailer(b"end", &mut rest).unwrap();
        let mut decoder = SnapshotDecoder::new();
        decoder.push(&rest);
        assert!(matches!(decoder.next(), Ok(Some(SnapshotRecord::Header(_)))));
        decoder.resume(kept.len() as u64);
        while let Some(SnapshotRecord::Item(item)) = decoder.next().unwrap() {
            writer.item_encoded(&item).unwrap();
        }
        decoder.finish().unwrap();
        let path = writer.finish(b"end").unwrap();
        assert!(!part(&dir).exists());
        assert_eq!(read(&mut SnapshotReader::open_latest(&dir).unwrap().unwrap()).unwrap(), sent, "round {round}");
        fs::remove_file(path).unwrap();
    }
}

#[test]
fn a_received_part_is_removed_only_when_asked() {
    let (_folder, dir) = data_dir();
    ReceivedSnapshot::remove(&dir).unwrap();
    let mut writer = SnapshotWriter::receive(&dir, &header(5, 1)).unwrap();
    writer.item(b"x").unwrap();
    drop(writer);
    let mut received = ReceivedSnapshot::open(&dir).unwrap().unwrap();
    assert_eq!(received.next_item().unwrap().unwrap().payload(), b"x"[..]);
    ReceivedSnapshot::remove(&dir).unwrap();
    assert!(ReceivedSnapshot::open(&dir).unwrap().is_none());
}
