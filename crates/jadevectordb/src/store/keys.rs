//! Requests that carried an idempotency key, remembered so that a retry is answered instead of done again.
//!
//! Invariant: which are remembered depends on the records of the log alone, on their order and on the times in them, so
//! every node forgets the same ones. They are no part of the digest: a node of a version that knows no keys holds the same
//! data, and is handed over to and from all the same.

use crate::record::{Answered, Op};
use std::collections::{HashMap, VecDeque};
use wire::admin::Lsn;

/// How much is remembered; whatever is over any of these bounds is forgotten, the oldest first.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct KeyLimits {
    pub number: usize,
    /// Answers with what each takes beside.
    pub bytes: usize,
    /// Measured from the newest.
    pub age_ms: u64,
}

impl Default for KeyLimits {
    /// At 100,000 with answers of 60 bytes about 30 MB are taken; answers may be longer, up to 64 MiB together.
    fn default() -> Self {
        Self { number: 100_000, bytes: 64 << 20, age_ms: 24 * 3_600_000 }
    }
}

/// What a request and its place in the two tables take in memory, beside its answer.
const ENTRY_BYTES: usize = 256;

#[derive(Debug, Default)]
pub struct Keys {
    limits: KeyLimits,
    by_key: HashMap<[u8; 32], (Lsn, Answered)>,
    /// Oldest first. A key that was forgotten and used again stands here twice; only the later place counts.
    order: VecDeque<(Lsn, [u8; 32])>,
    bytes: usize,
    newest_lsn: Lsn,
    newest_ms: u64,
}

impl Keys {
    pub fn new(limits: KeyLimits) -> Self {
        Self { limits, ..Self::default() }
    }

    pub fn len(&self) -> usize {
        self.by_key.len()
    }

    /// The request that was done with `key`, and the LSN of its write.
    pub fn get(&self, key: &[u8; 32]) -> Option<&(Lsn, Answered)> {
        self.by_key.get(key)
    }

    /// Remembers a request whose write is at `lsn`. The log read again over a snapshot changes nothing: what is missing in
    /// a snapshot before the last that is in it had been forgotten when the walk came by, because keys are walked in the
    /// order of the log.
    pub fn remember(&mut self, lsn: Lsn, mut answered: Answered) {
        if lsn <= self.newest_lsn {
            return;
        }
        // Clocks go back, also by a change of the primary; the time in here does not.
        answered.at_ms = answered.at_ms.max(self.newest_ms);
        (self.newest_lsn, self.newest_ms) = (lsn, answered.at_ms);
        self.bytes += entry_bytes(&answered);
        self.order.push_back((lsn, answered.key));
        if let Some((_, replaced)) = self.by_key.insert(answered.key, (lsn, answered)) {
            self.bytes -= entry_bytes(&replaced);
        }
        self.forget();
    }

    fn forget(&mut self) {
        let since_ms = self.newest_ms.saturating_sub(self.limits.age_ms);
        while let Some((lsn, key)) = self.order.front().copied() {
            // The place of a key that was used again is stale.
            let held = self.by_key.get(&key).filter(|(current, _)| *current == lsn);
            if let Some((_, answered)) = held {
                let over = self.by_key.len() > self.limits.number || self.bytes > self.limits.bytes;
                if !over && answered.at_ms >= since_ms {
                    return;
                }
                self.bytes -= entry_bytes(answered);
                self.by_key.remove(&key);
            }
            self.order.pop_front();
        }
    }

    /// The next behind an LSN, as the item of a snapshot that it is.
    pub fn next_after(&self, lsn: Lsn) -> Option<(Lsn, Op)> {
        let from = self.order.partition_point(|(place, _)| *place <= lsn);
        let held = |(lsn, key): &(Lsn, [u8; 32])| self.by_key.get(key).filter(|(current, _)| current == lsn);
        let (lsn, answered) = self.order.range(from..).find_map(held)?;
        Some((*lsn, Op::Keyed { op: Box::new(Op::Nothing), answered: answered.clone() }))
    }

    /// All of them, in the order of the log.
    #[cfg(test)]
    pub fn records(&self) -> Vec<(Lsn, Op)> {
        std::iter::successors(self.next_after(0), |(lsn, _)| self.next_after(*lsn)).collect()
    }
}

fn entry_bytes(answered: &Answered) -> usize {
    ENTRY_BYTES + answered.body.len()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answered(key: u8, at_ms: u64, body_bytes: usize) -> Answered {
        Answered { key: [key; 32], request: [0; 32], at_ms, status: 200, body: vec![b' '; body_bytes].into() }
    }

    fn keys(number: usize, bytes: usize, age_ms: u64) -> Keys {
        Keys::new(KeyLimits { number, bytes, age_ms })
    }

    /// The first bytes of the keys that are remembered, oldest first.
    fn held(keys: &Keys) -> Vec<u8> {
        let records = keys.records();
        assert_eq!(records.len(), keys.len());
        records.iter().filter_map(|(_, op)| op.answered().map(|answered| answered.key[0])).collect()
    }

    #[test]
    fn the_oldest_are_forgotten_over_each_bound() {
        let mut by_number = keys(3, usize::MAX, u64::MAX);
        let mut by_bytes = keys(9, 3 * (ENTRY_BYTES + 10), u64::MAX);
        let mut by_age = keys(9, usize::MAX, 20);
        for key in 1..=5 {
            for keys in [&mut by_number, &mut by_bytes, &mut by_age] {
                keys.remember(u64::from(key), answered(key, 10 * u64::from(key), 10));
            }
        }
        for keys in [by_number, by_bytes, by_age] {
            assert_eq!(held(&keys), [3, 4, 5]);
            assert_eq!(keys.bytes, 3 * (ENTRY_BYTES + 10));
            assert_eq!((keys.get(&[2; 32]), keys.get(&[3; 32]).map(|(lsn, _)| *lsn)), (None, Some(3)));
        }
    }

    #[test]
    fn an_answer_longer_than_all_bounds_leaves_nothing_behind() {
        let mut keys = keys(3, 1_000, u64::MAX);
        keys.remember(1, answered(1, 1, 10));
        keys.remember(2, answered(2, 1, 5_000));
        assert_eq!((held(&keys), keys.bytes), (vec![], 0));
    }

    #[test]
    fn a_clock_that_goes_back_forgets_nothing_too_early() {
        let mut keys = keys(9, usize::MAX, 100);
        keys.remember(1, answered(1, 1_000, 0));
        keys.remember(2, answered(2, 500, 0));
        keys.remember(3, answered(3, 1_100, 0));
        assert_eq!(held(&keys), [1, 2, 3]);
        keys.remember(4, answered(4, 1_101, 0));
        assert_eq!(held(&keys), [3, 4]);
    }

    #[test]
    fn a_key_used_again_after_it_was_forgotten_counts_from_then() {
        let mut keys = keys(2, usize::MAX, u64::MAX);
        for (lsn, key) in [(1, 1), (2, 2), (3, 3), (4, 1), (5, 1), (6, 4)] {
            keys.remember(lsn, answered(key, 0, 7));
        }
        assert_eq!((held(&keys), keys.bytes), (vec![1, 4], 2 * (ENTRY_BYTES + 7)));
        assert_eq!(keys.get(&[1; 32]).map(|(lsn, _)| *lsn), Some(5));
    }

    /// The walk of a snapshot pauses at every key while writes go on; then the log is read again from before the walk.
    #[test]
    fn a_walk_and_the_log_around_it_give_the_same_keys() {
        let log = |lsn: u64| answered((lsn % 101) as u8, lsn * 7 % 50 + lsn, (lsn % 3) as usize);
        let read = |keys: &mut Keys, lsns: std::ops::RangeInclusive<u64>| {
            lsns.for_each(|lsn| keys.remember(lsn, log(lsn)));
        };
        for (number, bytes, age_ms) in [(14, usize::MAX, 1_000), (99, 15 * ENTRY_BYTES, 1_000), (99, usize::MAX, 16)] {
            for (begin, pace, more) in [(0, 1, 9), (10, 0, 40), (20, 1, 0), (40, 1, 3), (60, 3, 50), (90, 30, 90)] {
                let mut walked = keys(number, bytes, age_ms);
                read(&mut walked, 1..=begin);
                let (mut restored, mut place, mut lsn) = (keys(number, bytes, age_ms), 0, begin);
                while let Some((next, op)) = walked.next_after(place) {
                    restored.remember(next, op.answered().unwrap().clone());
                    place = next;
                    if lsn < begin + 60 {
                        read(&mut walked, lsn + 1..=lsn + pace);
                        lsn += pace;
                    }
                }
                read(&mut walked, lsn + 1..=lsn + more);
                read(&mut restored, begin + 1..=lsn + more);
                assert_eq!(restored.records(), walked.records(), "{number} {age_ms} {begin} {pace} {more}");
                assert_eq!(restored.bytes, walked.bytes);
            }
        }
    }
}
