//! What the tests of this crate share.

use std::collections::BTreeMap;
use std::path::PathBuf;

use bytes::Bytes;

use crate::{DataDir, Epoch, Frame, Log, LogOptions, LogReader, Lsn, Recovery, Start};

/// A xorshift generator: the same seed gives the same run.
pub(crate) struct Random(u64);

impl Random {
    pub(crate) fn seeded(seed: u64) -> Random {
        Random(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
    }

    pub(crate) fn draw(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    /// A number from 0 to `limit` - 1.
    pub(crate) fn below(&mut self, limit: u64) -> u64 {
        (self.draw() >> 11) % limit
    }
}

/// Random bytes, shorter than `limit`; one in eight is all zeros, as a sparse vector would be.
pub(crate) fn payload(random: &mut Random, limit: u64) -> Bytes {
    let len = random.below(limit);
    if random.below(8) == 0 {
        return Bytes::from(vec![0; len as usize]);
    }
    (0..len).map(|_| random.draw() as u8).collect()
}

/// `count` frames that follow (`lsn`, `epoch`); the epoch sometimes rises.
pub(crate) fn group(random: &mut Random, lsn: Lsn, mut epoch: Epoch, count: u64, payload_limit: u64) -> Vec<Frame> {
    epoch = epoch.max(1);
    let mut frames = Vec::new();
    for lsn in lsn + 1..=lsn + count {
        if random.below(20) == 0 {
            epoch += 1 + random.below(2);
        }
        frames.push(Frame { lsn, epoch, payload: payload(random, payload_limit) });
    }
    frames
}

/// A data folder that vanishes with the returned guard.
pub(crate) fn data_dir() -> (tempfile::TempDir, DataDir) {
    let folder = tempfile::tempdir().unwrap();
    let dir = DataDir::open(&folder.path().join("node")).unwrap();
    (folder, dir)
}

/// A data folder in memory where there is one, for tests that open hundreds of times: what a crash leaves behind is
/// made by hand there, so nothing is missing when a sync does nothing.
pub(crate) fn data_dir_in_memory() -> (tempfile::TempDir, DataDir) {
    let folder = tempfile::tempdir_in("/dev/shm").unwrap_or_else(|_| tempfile::tempdir().unwrap());
    let dir = DataDir::open(&folder.path().join("node")).unwrap();
    (folder, dir)
}

/// Small sizes, so that a short test has many segments, and nothing prepared.
pub(crate) fn small() -> LogOptions {
    LogOptions { segment_bytes: 4096, prepare_bytes: 0, tail_bytes: 2048 }
}

/// The log of the folder from its beginning.
pub(crate) fn open(dir: &DataDir, options: &LogOptions) -> (Log, Recovery) {
    Log::open(dir, options.clone(), &Start::beginning()).unwrap()
}

/// All frames that the reader has after `lsn`.
pub(crate) fn read_all(reader: &LogReader, mut lsn: Lsn, max_bytes: usize) -> Vec<Frame> {
    let mut frames: Vec<Frame> = Vec::new();
    loop {
        let more = reader.read_after(lsn, max_bytes).unwrap();
        let Some(last) = more.last() else { return frames };
        lsn = last.lsn;
        frames.extend(more);
    }
}

/// Appends and syncs random groups until `frames` are there; returns all.
pub(crate) fn fill(log: &mut Log, random: &mut Random, frames: u64, payload_limit: u64) -> Vec<Frame> {
    let mut written = Vec::new();
    while (written.len() as u64) < frames {
        let count = 1 + random.below(8.min(frames - written.len() as u64));
        let frames = group(random, log.last_lsn(), log.last_epoch(), count, payload_limit);
        log.append(&frames).unwrap();
        log.sync().unwrap();
        written.extend(frames);
    }
    written
}

/// Name and content of every file in the log folder.
pub(crate) fn files(dir: &DataDir) -> BTreeMap<PathBuf, Vec<u8>> {
    std::fs::read_dir(dir.log_dir())
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .map(|path| (path.clone(), std::fs::read(path).unwrap()))
        .collect()
}

/// Makes the log folder hold exactly these files.
pub(crate) fn put_files(dir: &DataDir, files: &BTreeMap<PathBuf, Vec<u8>>) {
    for path in self::files(dir).keys() {
        std::fs::remove_file(path).unwrap();
    }
    for (path, content) in files {
        std::fs::write(path, content).unwrap();
    }
}
