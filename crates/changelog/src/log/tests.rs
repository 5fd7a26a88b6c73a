use std::fs;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use bytes::Bytes;
use rustix::io::Errno;

use super::*;
use crate::testing::{Random, data_dir, files, fill, group, open, read_all, small};
use crate::{FrameError, PAYLOAD_BYTES_MAX, ReadError};

/// A segment file that counts, and fails as told.
#[derive(Clone, Default)]
struct Told {
    state: Arc<ToldState>,
}

#[derive(Default)]
struct ToldState {
    writes: AtomicUsize,
    syncs: AtomicUsize,
    fail_write: AtomicBool,
    fail_sync: AtomicBool,
    fail_reserve: AtomicBool,
}

struct ToldFile {
    state: Arc<ToldState>,
    file: Arc<dyn DiskFile>,
}

fn when(fail: &AtomicBool, errno: Errno) -> io::Result<()> {
    if fail.load(Ordering::SeqCst) { Err(errno.into()) } else { Ok(()) }
}

impl DiskFile for ToldFile {
    fn length(&self) -> io::Result<u64> {
        self.file.length()
    }

    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        self.file.read_at(buffer, offset)
    }

    fn write_all_at(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        self.state.writes.fetch_add(1, Ordering::SeqCst);
        when(&self.state.fail_write, Errno::NOSPC)?;
        self.file.write_all_at(bytes, offset)
    }

    fn sync_data(&self) -> io::Result<()> {
        self.state.syncs.fetch_add(1, Ordering::SeqCst);
        when(&self.state.fail_sync, Errno::IO)?;
        self.file.sync_data()
    }

    fn reserve(&self, from: u64, to: u64) -> io::Result<()> {
        when(&self.state.fail_reserve, Errno::NOSPC)?;
        self.file.reserve(from, to)
    }

    fn set_len(&self, bytes: u64) -> io::Result<()> {
        self.file.set_len(bytes)
    }

    fn sync_all(&self) -> io::Result<()> {
        self.file.sync_all()
    }
}

impl Told {
    /// Puts the told file in the place of the one that the log appends to.
    fn instead(log: &mut Log) -> Told {
        let told = Told::default();
        let file = log.active.file.clone();
        log.active.file = Arc::new(ToldFile { state: told.state.clone(), file });
        told
    }
}

#[test]
fn what_was_synced_is_read_now_and_after_every_reopening() {
    for seed in 0..10 {
        let mut random = Random::seeded(seed);
        let (_folder, dir) = data_dir();
        let options = LogOptions { prepare_bytes: [0, 512, 8192][seed as usize % 3], ..small() };
        let mut written: Vec<Frame> = Vec::new();
        for _ in 0..4 {
            let mut replayed = Vec::new();
            let keep = |frame| {
                replayed.push(frame);
                Ok(())
            };
            let (mut log, recovery) = Log::open_replaying(&dir, options.clone(), &Start::beginning(), keep).unwrap();
            assert_eq!(replayed, written, "seed {seed}");
            assert_eq!((recovery.frames, recovery.truncated_bytes), (written.len() as u64, 0), "seed {seed}");
            assert_eq!((recovery.first_lsn, recovery.last_lsn), (1, written.len() as u64));
            assert_eq!(recovery.last_epoch, written.last().map_or(0, |frame| frame.epoch));
            written.extend(fill(&mut log, &mut random, 100, 200));
            let reader = log.reader();
            assert_eq!(reader.durable(), (log.last_lsn(), log.last_epoch()));
            assert_eq!(read_all(&reader, 0, 1 + random.below(3000) as usize), written, "seed {seed}");
            assert!(files(&dir).len() > 3);
        }
    }
}

#[test]
fn the_log_can_be_given_to_a_thread_and_its_readers_shared() {
    fn send<T: Send>() {}
    fn share<T: Send + Sync + Clone>() {}
    send::<Log>();
    share::<LogReader>();
}

#[test]
fn only_what_continues_the_history_is_taken() {
    let (_folder, dir) = data_dir();
    let (mut log, _) = open(&dir, &small());
    let frame = |lsn, epoch| Frame { lsn, epoch, payload: Bytes::from_static(b"x") };
    log.append(&[frame(1, 1), frame(2, 3)]).unwrap();
    log.append(&[]).unwrap();
    for (frames, expected, found) in
        [(vec![frame(4, 3)], 3, 4), (vec![frame(2, 3)], 3, 2), (vec![frame(3, 3), frame(5, 3)], 4, 5)]
    {
        let error = log.append(&frames).unwrap_err();
        assert!(
            matches!(&error, AppendError::NotNext { expected: e, found: f } if (*e, *f) == (expected, found)),
            "{error}"
        );
        assert!(!error.is_final());
    }
    let error = log.append(&[frame(3, 2)]).unwrap_err();
    assert!(matches!(error, AppendError::EpochFell { lsn: 3, before: 3, found: 2 }), "{error}");
    let long = Frame { lsn: 3, epoch: 3, payload: vec![0; PAYLOAD_BYTES_MAX + 1].into() };
    let error = log.append(&[long]).unwrap_err();
    assert!(matches!(error, AppendError::Frame(FrameError::TooLong { lsn: 3, .. })), "{error}");
    log.append(&[frame(3, 3)]).unwrap();
    log.sync().unwrap();
    drop(log);
    let (log, recovery) = open(&dir, &small());
    assert_eq!((recovery.frames, recovery.last_lsn, recovery.last_epoch), (3, 3, 3));
    drop(log);

    let (_folder, dir) = data_dir();
    let error = open(&dir, &small()).0.append(&[frame(1, 0)]).unwrap_err();
    assert!(matches!(error, AppendError::EpochFell { lsn: 1, before: 0, found: 0 }), "{error}");
}

#[test]
fn readers_see_only_what_is_durable() {
    let mut random = Random::seeded(5);
    let (_folder, dir) = data_dir();
    let (mut log, _) = open(&dir, &small());
    let reader = log.reader();
    let first = fill(&mut log, &mut random, 5, 50);
    let (lsn, epoch) = reader.durable();
    let more = [Frame { lsn: 6, epoch: epoch + 1, payload: Bytes::from_static(b"not yet") }];
    log.append(&more).unwrap();
    assert_eq!(read_all(&reader, 0, 9999), first);
    assert_eq!(reader.durable(), (lsn, epoch));
    assert_eq!((log.last_lsn(), log.last_epoch()), (6, epoch + 1));
    assert_eq!((reader.epoch_at(5), reader.epoch_at(6)), (Some(epoch), None));
    assert_eq!(reader.start_at(6), None);
    log.sync().unwrap();
    assert_eq!(reader.durable(), (6, epoch + 1));
    assert_eq!(reader.read_after(5, 1).unwrap(), more);
    assert_eq!(reader.epoch_at(6), Some(epoch + 1));
    assert_eq!(reader.epochs().last(), Some(&(epoch + 1, 6)));
}

#[test]
fn a_group_is_one_write_and_a_sync_one_sync() {
    let mut random = Random::seeded(6);
    let (_folder, dir) = data_dir();
    let (mut log, _) = open(&dir, &LogOptions { segment_bytes: 1 << 20, ..small() });
    let told = Told::instead(&mut log);
    for _ in 0..10 {
        let frames = group(&mut random, log.last_lsn(), log.last_epoch(), 20, 300);
        log.append(&frames).unwrap();
        log.sync().unwrap();
        log.sync().unwrap();
    }
    assert_eq!((told.state.writes.load(Ordering::SeqCst), told.state.syncs.load(Ordering::SeqCst)), (10, 10));
}

#[test]
fn after_a_failed_sync_nothing_is_tried_again() {
    let mut random = Random::seeded(7);
    let (_folder, dir) = data_dir();
    let (mut log, _) = open(&dir, &small());
    let synced = fill(&mut log, &mut random, 5, 50);
    let told = Told::instead(&mut log);
    told.state.fail_sync.store(true, Ordering::SeqCst);
    let frames = group(&mut random, 5, log.last_epoch(), 2, 50);
    log.append(&frames).unwrap();
    let first = log.sync().unwrap_err();
    assert!(matches!(&first, AppendError::Failed(failure) if failure.action == "sync"), "{first}");
    told.state.fail_sync.store(false, Ordering::SeqCst);
    let writes = told.state.writes.load(Ordering::SeqCst);
    let again = group(&mut random, 7, log.last_epoch(), 1, 50);
    for error in [log.sync().unwrap_err(), log.append(&again).unwrap_err(), log.append(&[]).unwrap_err()] {
        assert!(matches!(&error, AppendError::Poisoned { first } if first.action == "sync"), "{error}");
        assert!(error.is_final() && error.to_string().contains(".log"), "{error}");
    }
    assert_eq!(told.state.syncs.load(Ordering::SeqCst), 1);
    assert_eq!(told.state.writes.load(Ordering::SeqCst), writes);
    assert!(log.failure().is_some());
    assert_eq!(read_all(&log.reader(), 0, 9999), synced);
}

#[test]
fn a_failed_write_names_the_full_disk_and_keeps_what_was_synced() {
    let mut random = Random::seeded(8);
    let (_folder, dir) = data_dir();
    let (mut log, _) = open(&dir, &small());
    let synced = fill(&mut log, &mut random, 5, 50);
    let told = Told::instead(&mut log);
    told.state.fail_write.store(true, Ordering::SeqCst);
    let frames = group(&mut random, 5, log.last_epoch(), 1, 50);
    let error = log.append(&frames).unwrap_err();
    assert!(matches!(&error, AppendError::Failed(failure) if failure.action == "write"), "{error}");
    assert!(error.to_string().contains("No space left"), "{error}");
    assert!(matches!(log.sync().unwrap_err(), AppendError::Poisoned { .. }));
    assert_eq!(told.state.syncs.load(Ordering::SeqCst), 0);
    assert_eq!(read_all(&log.reader(), 0, 9999), synced);
    drop(log);
    assert_eq!(read_all(&open(&dir, &small()).0.reader(), 0, 9999), synced);
}

#[test]
fn a_full_disk_refuses_a_group_and_takes_it_later() {
    let mut random = Random::seeded(9);
    let (_folder, dir) = data_dir();
    let options = LogOptions { segment_bytes: 1 << 20, ..small() };
    let (mut log, _) = open(&dir, &options);
    let mut synced = fill(&mut log, &mut random, 5, 50);
    let told = Told::instead(&mut log);
    told.state.fail_reserve.store(true, Ordering::SeqCst);
    let frames = group(&mut random, 5, log.last_epoch(), 3, 50);
    for _ in 0..3 {
        let error = log.append(&frames).unwrap_err();
        assert!(matches!(error, AppendError::DiskFull { lsn: 6, .. }) && !error.is_final(), "{error}");
        assert!(error.to_string().contains("is full"), "{error}");
        log.sync().unwrap();
    }
    assert_eq!(told.state.writes.load(Ordering::SeqCst), 0);
    told.state.fail_reserve.store(false, Ordering::SeqCst);
    log.append(&frames).unwrap();
    log.sync().unwrap();
    synced.extend(frames);
    drop(log);
    assert_eq!(read_all(&open(&dir, &options).0.reader(), 0, 9999), synced);
}

#[test]
fn groups_longer_than_a_segment_are_taken_whole() {
    let (_folder, dir) = data_dir();
    for prepare_bytes in [0, 1024] {
        let options = LogOptions { prepare_bytes, ..small() };
        let (mut log, _) = open(&dir, &options);
        let from = log.last_lsn();
        let long = |lsn| Frame { lsn, epoch: 1, payload: vec![lsn as u8; 20_000].into() };
        let short = |lsn| Frame { lsn, epoch: 1, payload: Bytes::from_static(b"short") };
        let frames = [short(from + 1), long(from + 2), long(from + 3), short(from + 4)];
        log.append(&frames[..1]).unwrap();
        log.append(&frames[1..3]).unwrap();
        log.append(&frames[3..]).unwrap();
        log.sync().unwrap();
        assert_eq!(read_all(&log.reader(), from, 100), frames);
        drop(log);
        let (log, _) = open(&dir, &options);
        assert_eq!(read_all(&log.reader(), from, 100), frames);
        assert_eq!(log.reader().read_after(from, usize::MAX).unwrap()[0], frames[0]);
    }
}

#[test]
fn space_is_prepared_ahead_and_the_next_segment_too() {
    let (_folder, dir) = data_dir();
    let options = LogOptions { segment_bytes: 256 << 10, prepare_bytes: 64 << 10, tail_bytes: 0 };
    let (mut log, _) = open(&dir, &options);
    let path = log.active.path.clone();
    let deadline = Instant::now() + Duration::from_secs(30);
    // Appends keep the preparer busy: the space must always be ahead, and a spare must come before the end.
    while log.spare.is_none() {
        assert!(Instant::now() < deadline && log.active.path == path, "no spare segment was prepared");
        let lsn = log.last_lsn() + 1;
        if log.active.position + 200 < options.segment_bytes {
            log.append(&[Frame { lsn, epoch: 1, payload: vec![7; 100].into() }]).unwrap();
            log.sync().unwrap();
        } else {
            log.prepare_ahead().unwrap();
            std::thread::yield_now();
        }
        assert!(fs::metadata(&path).unwrap().len() >= log.active.reserved);
        assert!(log.active.reserved >= log.active.position);
    }
    let spare = log.spare.clone().unwrap();
    assert_eq!(fs::read(&spare).unwrap(), vec![0; options.prepare_bytes as usize]);
    while log.active.path == path {
        let lsn = log.last_lsn() + 1;
        log.append(&[Frame { lsn, epoch: 1, payload: vec![7; 10_000].into() }]).unwrap();
    }
    assert!(log.active.reserved >= options.prepare_bytes);
    log.sync().unwrap();
    let last_lsn = log.last_lsn();
    drop(log);
    assert!(files(&dir).keys().all(|path| path.extension().is_some_and(|extension| extension == "log")));
    assert_eq!(open(&dir, &options).1.last_lsn, last_lsn);
}

#[test]
fn whole_segments_are_dropped_and_never_the_last() {
    let mut random = Random::seeded(11);
    let (_folder, dir) = data_dir();
    let (mut log, _) = open(&dir, &small());
    let written = fill(&mut log, &mut random, 300, 200);
    let reader = log.reader();
    let before = files(&dir).len();
    let epochs = reader.epochs();
    assert_eq!(log.truncate_before(1).unwrap(), 0);
    let removed = log.truncate_before(150).unwrap();
    assert!(removed > 0);
    assert_eq!(files(&dir).len(), before - removed);
    let first = reader.first_available();
    assert!(first > 1 && first <= 150, "{first}");
    assert!(log.shared.state.read().segments[1].first_lsn > 150);
    assert_eq!(read_all(&reader, first - 1, 500), written[first as usize - 1..]);
    let error = reader.read_after(first - 2, 500).unwrap_err();
    assert!(matches!(error, ReadError::Truncated { first_available, .. } if first_available == first), "{error}");
    assert_eq!(reader.epochs(), epochs);
    assert_eq!(reader.epoch_at(1), Some(written[0].epoch));

    let start = reader.start_at(200).unwrap();
    drop(log);
    let (mut log, recovery) = Log::open(&dir, small(), &start).unwrap();
    assert_eq!((recovery.first_lsn, recovery.last_lsn), (first, 300));
    assert_eq!(log.reader().epochs(), epochs);
    log.truncate_before(u64::MAX).unwrap();
    assert_eq!(files(&dir).len(), 1);
    let more = group(&mut random, 300, log.last_epoch(), 3, 50);
    log.append(&more).unwrap();
    log.sync().unwrap();
    assert_eq!(read_all(&log.reader(), 300, 500), more);
}

#[test]
fn a_bound_on_space_names_the_lsn_to_keep() {
    let mut random = Random::seeded(12);
    let (_folder, dir) = data_dir();
    let (mut log, _) = open(&dir, &small());
    fill(&mut log, &mut random, 300, 200);
    assert_eq!(log.first_lsn_within(u64::MAX), 1);
    let keep = log.first_lsn_within(10_000);
    log.truncate_before(keep).unwrap();
    assert_eq!(log.reader().first_available(), keep);
    let kept: u64 = log.shared.state.read().segments.iter().map(|segment| segment.end).sum();
    assert!(kept <= 10_000 && kept > 10_000 - 2 * 4096, "{kept}");
    let last = log.first_lsn_within(0);
    assert_eq!(last, log.shared.state.read().segments.back().unwrap().first_lsn);
}

#[test]
fn a_reset_starts_another_history_and_readers_notice() {
    let mut random = Random::seeded(13);
    let (_folder, dir) = data_dir();
    // All of the old history is still in memory.
    let (mut log, _) = open(&dir, &LogOptions { tail_bytes: 1 << 20, ..small() });
    fill(&mut log, &mut random, 100, 200);
    let reader = log.reader();
    let start = Start { lsn: 60, generation: 2, epochs: vec![(1, 1), (9, 50)] };
    let same = Start { generation: 1, ..start.clone() };
    assert!(matches!(log.reset(&same), Err(ResetError::Generation { log: 1, start: 1 })));
    log.reset(&start).unwrap();
    assert!(matches!(reader.read_after(10, 100), Err(ReadError::Reset)));
    assert_eq!(reader.durable(), (60, 9));
    let reader = reader.renewed();
    assert!(matches!(reader.read_after(10, 100), Err(ReadError::Truncated { first_available: 61, .. })));
    assert_eq!((reader.epoch_at(49), reader.epoch_at(60), reader.epoch_at(61)), (Some(1), Some(9), None));
    assert_eq!(files(&dir).len(), 1);
    let more = group(&mut random, 60, 9, 40, 200);
    log.append(&more).unwrap();
    log.sync().unwrap();
    assert_eq!(read_all(&reader, 60, 300), more);
    drop(log);
    let (log, recovery) = Log::open(&dir, small(), &start).unwrap();
    assert_eq!((recovery.first_lsn, recovery.last_lsn), (61, 100));
    assert_eq!((recovery.superseded_segments, log.generation()), (0, 2));
}

#[test]
fn a_reset_that_a_crash_interrupted_is_finished_by_opening() {
    let mut random = Random::seeded(14);
    let (_folder, dir) = data_dir();
    let (mut log, _) = open(&dir, &small());
    fill(&mut log, &mut random, 100, 200);
    let old = files(&dir);
    // One of the old segments starts where the new history does.
    let boundary = log.shared.state.read().segments[2].first_lsn;
    let start = Start { lsn: boundary - 1, generation: 2, epochs: vec![(1, 1)] };
    log.reset(&start).unwrap();
    drop(log);
    let new = files(&dir);
    assert_eq!(new.len(), 1);
    // Before it began, and when only some old segments were removed.
    let mut halfway = old.clone();
    halfway.extend(new.clone());
    halfway.pop_first();
    for (state, superseded) in [(&old, old.len()), (&halfway, old.len() - 2)] {
        crate::testing::put_files(&dir, state);
        let (log, recovery) = Log::open(&dir, small(), &start).unwrap();
        assert_eq!((recovery.superseded_segments, recovery.frames), (superseded, 0));
        assert_eq!((log.last_lsn(), log.generation(), files(&dir).len()), (boundary - 1, 2, 1));
    }
    // The other way round, the snapshot is missing.
    let error = Log::open(&dir, small(), &Start::beginning()).unwrap_err();
    assert!(matches!(error, OpenError::SnapshotOutdated { log: 2, snapshot: 1, .. }), "{error}");
}

#[test]
fn followers_read_everything_in_order_while_it_is_written() {
    const FRAMES: u64 = 3000;
    let (_folder, dir) = data_dir();
    let options = LogOptions { segment_bytes: 32 << 10, prepare_bytes: 8 << 10, tail_bytes: 4 << 10 };
    let (mut log, _) = open(&dir, &options);
    let reader = log.reader();
    let synced = Arc::new(AtomicUsize::new(0));
    let deadline = Instant::now() + Duration::from_secs(60);
    std::thread::scope(|scope| {
        for seed in 0..3 {
            let (reader, synced) = (reader.clone(), synced.clone());
            scope.spawn(move || {
                let mut random = Random::seeded(seed);
                let mut lsn = 0;
                while lsn < FRAMES {
                    assert!(Instant::now() < deadline, "follower {seed} stopped at {lsn}");
                    let max_bytes = 1 + random.below(20_000) as usize;
                    let frames = reader.read_after(lsn, max_bytes).unwrap();
                    let bytes: usize = frames.iter().map(Frame::encoded_len).sum();
                    assert!(frames.len() <= 1 || bytes <= max_bytes);
                    for frame in frames {
                        assert_eq!(frame.lsn, lsn + 1);
                        assert_eq!(frame.payload, Bytes::from(vec![frame.lsn as u8; frame.lsn as usize % 97]));
                        lsn = frame.lsn;
                    }
                    // Readers may be told of it a moment before the writer's call returns, never of more.
                    assert!(lsn <= synced.load(Ordering::SeqCst) as u64);
                }
            });
        }
        let mut random = Random::seeded(99);
        while log.last_lsn() < FRAMES {
            let count = (1 + random.below(20)).min(FRAMES - log.last_lsn());
            let frames: Vec<Frame> = (log.last_lsn() + 1..=log.last_lsn() + count)
                .map(|lsn| Frame { lsn, epoch: 1, payload: vec![lsn as u8; lsn as usize % 97].into() })
                .collect();
            log.append(&frames).unwrap();
            synced.store(log.last_lsn() as usize, Ordering::SeqCst);
            log.sync().unwrap();
        }
    });
}
