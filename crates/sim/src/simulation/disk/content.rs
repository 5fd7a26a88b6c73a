//! The bytes of one file: as they are read now, and as they would be after the power went.

use super::super::chance::Chance;
use std::ops::Range;

/// The smallest unit that a disk writes as a whole.
const SECTOR_BYTES: usize = 512;

#[derive(Clone, Default)]
pub(super) struct Content {
    seen: Vec<u8>,
    durable: Vec<u8>,
    /// Written since the last sync, in order; they may overlap.
    written: Vec<Range<usize>>,
}

impl Content {
    pub fn seen(&self) -> &[u8] {
        &self.seen
    }

    pub fn bytes(&self, range: Range<usize>) -> &[u8] {
        self.seen.get(range).unwrap_or_default()
    }

    /// What was written since the last sync.
    pub fn written(&self) -> Vec<Range<usize>> {
        self.written.clone()
    }

    pub fn read(&self, buffer: &mut [u8], offset: usize) -> usize {
        let rest = self.seen.get(offset..).unwrap_or_default();
        let count = rest.len().min(buffer.len());
        buffer[..count].copy_from_slice(&rest[..count]);
        count
    }

    pub fn write(&mut self, bytes: &[u8], offset: usize) {
        let end = offset + bytes.len();
        if self.seen.len() < end {
            self.seen.resize(end, 0);
        }
        self.seen[offset..end].copy_from_slice(bytes);
        if !bytes.is_empty() {
            self.written.push(offset..end);
        }
    }

    pub fn set_length(&mut self, length: usize) {
        self.seen.resize(length, 0);
        self.written.retain_mut(|range| {
            range.end = range.end.min(length);
            range.start < range.end
        });
    }

    pub fn sync(&mut self) {
        // Most files only grow: what is durable already need not be copied again.
        self.durable.resize(self.seen.len(), 0);
        for range in self.written.drain(..) {
            self.durable[range.clone()].copy_from_slice(&self.seen[range]);
        }
    }

    /// Some sectors become durable, the others are forgotten as if they had.
    pub fn fail_sync(&mut self, chance: &Chance) {
        self.settle(chance);
        self.written.clear();
    }

    /// What is durable becomes what is seen, after chance has decided about the rest.
    pub fn lose_power(&mut self, chance: &Chance) {
        self.settle(chance);
        self.written.clear();
        self.seen.clone_from(&self.durable);
    }

    /// Decides what of the unsynced becomes durable: some length between the old and the new, and each sector or not.
    fn settle(&mut self, chance: &Chance) {
        let (old, new) = (self.durable.len(), self.seen.len());
        let length = match chance.below(3) {
            0 => old,
            1 => new,
            _ => {
                let between = chance.between(old.min(new) as u64..=old.max(new) as u64) as usize;
                between.next_multiple_of(SECTOR_BYTES).min(old.max(new))
            }
        };
        self.durable.resize(length, 0);
        // What a shorter file had behind its end reads as zeros when it grows.
        for range in std::mem::take(&mut self.written) {
            let mut at = range.start;
            while at < range.end {
                let end = (at / SECTOR_BYTES + 1) * SECTOR_BYTES;
                let (sector_start, sector_end) = (end - SECTOR_BYTES, end.min(new).min(length));
                if chance.coin() && sector_start < sector_end {
                    self.durable[sector_start..sector_end].copy_from_slice(&self.seen[sector_start..sector_end]);
                }
                at = end;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The states that the loss of power can leave.
    fn outcomes(content: &Content) -> Vec<Vec<u8>> {
        let mut found: Vec<Vec<u8>> = (0..200)
            .map(|seed| {
                let mut content = content.clone();
                content.lose_power(&Chance::seeded(seed));
                content.seen
            })
            .collect();
        found.sort();
        found.dedup();
        found
    }

    #[test]
    fn what_was_synced_survives_and_the_rest_is_torn_by_sectors() {
        let mut content = Content::default();
        content.write(&[1; 700], 0);
        content.sync();
        assert_eq!(outcomes(&content), [vec![1; 700]]);
        content.write(&[2; 600], 700);
        let outcomes = outcomes(&content);
        assert!(outcomes.len() > 5, "{}", outcomes.len());
        for outcome in outcomes {
            assert_eq!(outcome[..700], [1; 700]);
            for sector in outcome[700..].chunk_by(|one, other| one == other) {
                assert!(sector[0] == 2 || sector[0] == 0, "{sector:?}");
            }
        }
    }

    #[test]
    fn a_failed_sync_is_told_once_and_never_made_good() {
        let mut content = Content::default();
        content.write(&[1; 4096], 0);
        content.fail_sync(&Chance::seeded(3));
        content.sync();
        assert_eq!(content.seen(), [1; 4096], "it still looks written");
        content.lose_power(&Chance::seeded(4));
        assert_ne!(content.seen(), [1; 4096]);
    }
}
