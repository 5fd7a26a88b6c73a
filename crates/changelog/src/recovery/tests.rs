use std::collections::BTreeMap;
use std::fs;

use super::*;
use crate::bytes_at::u64_at;
use crate::segment::encode_mark;
use crate::testing::{Random, data_dir, data_dir_in_memory, files, fill, group, open, put_files, read_all, small};
use crate::{DataDir, Log, LogOptions};

type Files = BTreeMap<PathBuf, Vec<u8>>;

fn one_segment() -> LogOptions {
    LogOptions { segment_bytes: 1 << 20, ..small() }
}

/// A log with synced groups, then unsynced ones; its frames, how many are synced, and where these end in the last file.
struct Crashed {
    written: Vec<Frame>,
    synced: usize,
    synced_end: usize,
    files: Files,
}

impl Crashed {
    fn new(dir: &DataDir, random: &mut Random, options: &LogOptions, unsynced_groups: u64) -> Crashed {
        let (mut log, _) = open(dir, options);
        let count = 10 + random.below(30);
        let mut written = fill(&mut log, random, count, 300);
        let synced = written.len();
        let synced_end = log.reader().durable_end() as usize;
        for _ in 0..unsynced_groups {
            let count = 1 + random.below(6);
            let frames = group(random, log.last_lsn(), log.last_epoch(), count, 900);
            log.append(&frames).unwrap();
            written.extend(frames);
        }
        drop(log);
        Crashed { written, synced, synced_end, files: files(dir) }
    }

    fn last_file(&mut self) -> &mut Vec<u8> {
        self.files.last_entry().unwrap().into_mut()
    }

    /// Opens what is in the folder, and checks that it is a prefix with all that was synced, to which can be appended.
    fn check(&self, dir: &DataDir, random: &mut Random, options: &LogOptions, what: &str) -> Recovery {
        let (mut log, recovery) =
            Log::open(dir, options.clone(), &Start::beginning()).unwrap_or_else(|error| panic!("{what}: {error}"));
        let found = read_all(&log.reader(), 0, 2000);
        assert!(found.len() >= self.synced, "{what}: {} of {} synced frames", found.len(), self.synced);
        assert_eq!(found, self.written[..found.len()], "{what}");
        assert_eq!(recovery.last_lsn, found.len() as u64, "{what}");
        assert_eq!(recovery.truncated_bytes > 0, recovery.cut.is_some(), "{what}");
        let more = group(random, log.last_lsn(), log.last_epoch(), 2, 100);
        log.append(&more).unwrap();
        log.sync().unwrap();
        drop(log);
        let (log, again) = open(dir, options);
        assert_eq!(again.truncated_bytes, 0, "{what}");
        assert_eq!(read_all(&log.reader(), found.len() as u64, 2000), more, "{what}");
        recovery
    }
}

#[test]
fn a_cut_at_any_byte_of_the_last_group_keeps_all_that_was_synced() {
    for (seed, prepare_bytes) in [(1, 0), (2, 16 << 10)] {
        let mut random = Random::seeded(seed);
        let (_folder, dir) = data_dir_in_memory();
        let options = LogOptions { prepare_bytes, ..one_segment() };
        let mut crashed = Crashed::new(&dir, &mut random, &options, 1);
        let whole = crashed.last_file().clone();
        let end = whole.iter().rposition(|&byte| byte != 0).unwrap() + 1;
        let (mut torn, mut shortest) = (0, usize::MAX);
        for cut in crashed.synced_end..=end {
            // The rest of the file is missing, or zero.
            for zeros in [0, whole.len() - cut] {
                *crashed.last_file() = whole[..cut].to_vec();
                crashed.last_file().resize(cut + zeros, 0);
                put_files(&dir, &crashed.files);
                let recovery = crashed.check(&dir, &mut random, &options, &format!("cut at {cut}, {zeros} zeros"));
                torn += usize::from(recovery.truncated_bytes > 0);
                shortest = shortest.min(recovery.frames as usize);
            }
        }
        assert!(torn > 0);
        assert_eq!(shortest, crashed.synced);
    }
}

#[test]
fn sectors_lost_in_any_order_after_the_last_sync_are_a_torn_tail() {
    for seed in 0..300 {
        let mut random = Random::seeded(seed);
        let (_folder, dir) = data_dir_in_memory();
        let options = LogOptions { prepare_bytes: [0, 32 << 10][seed as usize % 2], ..one_segment() };
        let groups = 1 + random.below(4);
        let mut crashed = Crashed::new(&dir, &mut random, &options, groups);
        let synced_end = crashed.synced_end;
        let sector = [512, 4096][random.below(2) as usize];
        let whole = crashed.last_file();
        let mut at = synced_end;
        while at < whole.len() {
            let end = ((at / sector + 1) * sector).min(whole.len());
            if random.below(3) == 0 {
                whole[at..end].fill(0);
            }
            at = end;
        }
        put_files(&dir, &crashed.files);
        crashed.check(&dir, &mut random, &options, &format!("seed {seed}"));
    }
}

#[test]
fn a_flipped_bit_anywhere_is_found_and_nothing_is_changed() {
    for seed in 0..400 {
        let mut random = Random::seeded(seed);
        let (_folder, dir) = data_dir_in_memory();
        let options = [one_segment(), small()][seed as usize % 2].clone();
        let mut crashed = Crashed::new(&dir, &mut random, &options, 0);
        let (path, index) = {
            let paths: Vec<_> = crashed.files.keys().cloned().collect();
            let index = random.below(paths.len() as u64) as usize;
            (paths[index].clone(), index)
        };
        let is_last = index + 1 == crashed.files.len();
        let content = crashed.files.get_mut(&path).unwrap();
        let used = content.iter().rposition(|&byte| byte != 0).unwrap() as u64 + 1;
        let bit = random.below(used * 8) as usize;
        content[bit / 8] ^= 1 << (bit % 8);
        put_files(&dir, &crashed.files);
        match Log::open(&dir, options, &Start::beginning()) {
            Err(OpenError::Damaged { path: named, lsn, .. }) => {
                assert_eq!(named, path, "seed {seed}");
                assert!(lsn >= 1 && lsn <= crashed.synced as u64, "seed {seed}: LSN {lsn}");
                assert_eq!(files(&dir), crashed.files, "seed {seed}");
            }
            Err(OpenError::SegmentHeader { path: named, .. }) => {
                assert!(named == path && bit / 8 < HEADER_BYTES as usize, "seed {seed}");
                assert_eq!(files(&dir), crashed.files, "seed {seed}");
            }
            Err(error) => panic!("seed {seed}: {error}"),
            // The last record of all looks as if a crash had left it behind: cut off, and said.
            Ok((_, recovery)) => {
                assert!(is_last && recovery.truncated_bytes > 0, "seed {seed}: byte {} was not found", bit / 8);
                assert!(recovery.last_lsn + 1 == crashed.synced as u64, "seed {seed}");
            }
        }
    }
}

#[test]
fn a_lost_sector_that_had_been_synced_is_damage() {
    let mut random = Random::seeded(21);
    let (_folder, dir) = data_dir();
    let (mut log, _) = open(&dir, &one_segment());
    fill(&mut log, &mut random, 100, 300);
    drop(log);
    let mut state = files(&dir);
    state.first_entry().unwrap().get_mut()[2048..2560].fill(0);
    put_files(&dir, &state);
    let error = Log::open(&dir, one_segment(), &Start::beginning()).unwrap_err();
    assert!(matches!(error, OpenError::Damaged { damage: Damage::Synced { .. }, .. }), "{error}");
    assert_eq!(files(&dir), state);
}

#[test]
fn damage_before_intact_frames_of_one_group_is_found_without_a_mark() {
    let (_folder, dir) = data_dir();
    let (mut log, _) = open(&dir, &one_segment());
    let frames: Vec<Frame> = (1..=9).map(|lsn| Frame { lsn, epoch: 1, payload: vec![0xaa; 100].into() }).collect();
    log.append(&frames).unwrap();
    log.sync().unwrap();
    drop(log);
    let mut state = files(&dir);
    state.first_entry().unwrap().get_mut()[48 + 2 * 129 + 60] ^= 1;
    put_files(&dir, &state);
    let error = Log::open(&dir, one_segment(), &Start::beginning()).unwrap_err();
    let OpenError::Damaged { offset, lsn: 3, damage: Damage::BeforeIntact { lsn: 4, offset: intact, .. }, .. } = error
    else {
        panic!("{error}")
    };
    assert_eq!((offset, intact), (48 + 2 * 129, 48 + 3 * 129));
    assert_eq!(files(&dir), state);
}

#[test]
fn zeros_of_a_payload_do_not_pass_for_a_lost_sector() {
    let (_folder, dir) = data_dir();
    let (mut log, _) = open(&dir, &one_segment());
    // The first frame is 48..577: its last 65 bytes, zeros, are in the second sector, where the next frame follows.
    let frames: Vec<Frame> = (1..=2).map(|lsn| Frame { lsn, epoch: 1, payload: vec![0; 500].into() }).collect();
    log.append(&frames).unwrap();
    log.sync().unwrap();
    drop(log);
    let mut state = files(&dir);
    state.first_entry().unwrap().get_mut()[100] ^= 1;
    put_files(&dir, &state);
    let error = Log::open(&dir, one_segment(), &Start::beginning()).unwrap_err();
    let damage = Damage::BeforeIntact { lsn: 2, offset: 577, cause: checksum_error(&error) };
    assert!(
        matches!(error, OpenError::Damaged { offset: 48, lsn: 1, damage: ref found, .. } if *found == damage),
        "{error}"
    );
}

fn checksum_error(error: &OpenError) -> RecordError {
    match error {
        OpenError::Damaged { damage: Damage::BeforeIntact { cause, .. }, .. } => cause.clone(),
        other => panic!("{other}"),
    }
}

#[test]
fn what_a_snapshot_stands_for_is_never_a_torn_tail() {
    let mut random = Random::seeded(26);
    let (_folder, dir) = data_dir();
    let (mut log, _) = open(&dir, &one_segment());
    fill(&mut log, &mut random, 10, 100);
    let (start, end) = (log.reader().start_at(10).unwrap(), log.reader().durable_end() as usize);
    drop(log);
    let mut state = files(&dir);
    state.first_entry().unwrap().get_mut().truncate(end - 1);
    put_files(&dir, &state);
    let error = Log::open(&dir, one_segment(), &start).unwrap_err();
    assert!(matches!(error, OpenError::Damaged { lsn: 10, damage: Damage::InSnapshot { .. }, .. }), "{error}");
    assert_eq!(files(&dir), state);
    // Without the snapshot it could be one.
    assert_eq!(open(&dir, &one_segment()).1.last_lsn, 9);
}

#[test]
fn the_last_group_before_a_restart_is_proved_by_the_first_after_it() {
    let (_folder, dir) = data_dir();
    let frame = |lsn| Frame { lsn, epoch: 1, payload: vec![lsn as u8; 1000].into() };
    for lsn in 1..=2 {
        let (mut log, _) = open(&dir, &one_segment());
        log.append(&[frame(lsn)]).unwrap();
        log.sync().unwrap();
    }
    let mut state = files(&dir);
    state.first_entry().unwrap().get_mut()[512..1024].fill(0);
    put_files(&dir, &state);
    let error = Log::open(&dir, one_segment(), &Start::beginning()).unwrap_err();
    assert!(matches!(error, OpenError::Damaged { lsn: 1, damage: Damage::Synced { .. }, .. }), "{error}");
}

#[test]
fn a_mark_that_contradicts_the_records_before_it_is_damage() {
    let mut random = Random::seeded(25);
    let (_folder, dir) = data_dir();
    let (mut log, _) = open(&dir, &one_segment());
    fill(&mut log, &mut random, 10, 100);
    let end = log.reader().durable_end() as usize;
    drop(log);
    let mut state = files(&dir);
    let content = state.first_entry().unwrap().into_mut();
    let salt = u64_at(content, 36);
    content.truncate(end);
    content.extend(encode_mark(salt, 11));
    put_files(&dir, &state);
    let error = Log::open(&dir, one_segment(), &Start::beginning()).unwrap_err();
    assert!(matches!(error, OpenError::Damaged { lsn: 11, damage: Damage::Mark { synced: 11 }, .. }), "{error}");
    assert_eq!(files(&dir), state);
}

#[test]
fn missing_and_foreign_segments_are_refused() {
    let mut random = Random::seeded(22);
    let (_folder, dir) = data_dir();
    let (mut log, _) = open(&dir, &small());
    fill(&mut log, &mut random, 300, 200);
    let start = log.reader().start_at(200).unwrap();
    drop(log);
    let whole = files(&dir);
    let paths: Vec<_> = whole.keys().cloned().collect();
    let refused = |state: &Files, start: &Start| {
        put_files(&dir, state);
        let error = Log::open(&dir, small(), start).unwrap_err();
        assert_eq!(&files(&dir), state, "{error}");
        error
    };

    let mut state = whole.clone();
    state.remove(&paths[2]);
    let error = refused(&state, &Start::beginning());
    assert!(matches!(&error, OpenError::MissingRecords { path, .. } if *path == paths[3]), "{error}");

    let mut state = whole.clone();
    state.remove(&paths[0]);
    let error = refused(&state, &Start::beginning());
    assert!(matches!(error, OpenError::Gap { snapshot: 0, .. }), "{error}");
    put_files(&dir, &state);
    Log::open(&dir, small(), &start).unwrap();

    let mut state = whole.clone();
    state.insert(paths[1].clone(), whole[&paths[2]].clone());
    let error = refused(&state, &Start::beginning());
    assert!(matches!(error, OpenError::SegmentHeader { error: SegmentHeaderError::Name { .. }, .. }), "{error}");

    let mut state = whole.clone();
    state.insert(paths[1].clone(), Vec::new());
    let error = refused(&state, &Start::beginning());
    assert!(matches!(error, OpenError::SegmentHeader { error: SegmentHeaderError::Short { found: 0 }, .. }), "{error}");

    // The log ends before the snapshot does: what the snapshot stands for had been synced.
    let mut state = whole.clone();
    while state.keys().next_back().is_some_and(|last| *last > dir.log_dir().join(format!("{:020}.log", 100))) {
        state.pop_last();
    }
    let error = refused(&state, &start);
    assert!(matches!(error, OpenError::EndsBeforeSnapshot { snapshot: 200, .. }), "{error}");

    // The snapshot is of another history.
    let other = Start { epochs: vec![(1, 1), (99, 100)], ..start };
    let error = refused(&whole, &other);
    assert!(matches!(error, OpenError::Damaged { damage: Damage::EpochDiffers { .. }, .. }), "{error}");
}

#[test]
fn leftovers_are_removed_and_strangers_left_alone() {
    let mut random = Random::seeded(23);
    let (_folder, dir) = data_dir();
    let (mut log, _) = open(&dir, &small());
    let written = fill(&mut log, &mut random, 20, 100);
    drop(log);
    for name in ["next.tmp", "00000000000000000099.log.tmp", "notes.txt"] {
        fs::write(dir.log_dir().join(name), b"something").unwrap();
    }
    let (log, _) = open(&dir, &small());
    assert_eq!(read_all(&log.reader(), 0, 999), written);
    let names: Vec<_> = files(&dir).into_keys().filter(|path| path.extension().is_none_or(|e| e != "log")).collect();
    assert_eq!(names, [dir.log_dir().join("notes.txt")]);
}

#[test]
fn a_replay_that_fails_stops_the_opening() {
    let mut random = Random::seeded(24);
    let (_folder, dir) = data_dir();
    let (mut log, _) = open(&dir, &small());
    fill(&mut log, &mut random, 20, 100);
    let start = log.reader().start_at(7).unwrap();
    drop(log);
    let mut seen = Vec::new();
    let error = Log::open_replaying(&dir, small(), &start, |frame| {
        seen.push(frame.lsn);
        if frame.lsn == 10 { Err("not understood".into()) } else { Ok(()) }
    })
    .unwrap_err();
    assert!(
        matches!(error, OpenError::Replay { lsn: 10, .. }) && error.to_string().contains("not understood"),
        "{error}"
    );
    assert_eq!(seen, [8, 9, 10]);
}
