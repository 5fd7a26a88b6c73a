//! What was inserted, in order. The part from `waiting` on is not in the graph yet: searches scan it. The part before
//! it is kept for a while, for searches that began before the graph got it.

use crate::store::Slot;
use std::collections::VecDeque;

/// A search that has read up to some entry and goes on from there later misses nothing that was inserted, or moved to
/// the graph, in between.
#[derive(Debug, Default)]
pub(crate) struct Arrivals {
    entries: VecDeque<Slot>,
    /// Position of the first entry. Positions only grow.
    first: u64,
    /// Position of the first entry that the graph may not have.
    waiting: u64,
    /// Times that dead entries were dropped from the waiting part, which moves the others to other positions.
    compactions: u64,
}

/// Where a search is in the list.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Cursor {
    position: u64,
    compactions: u64,
}

/// Some waiting entries.
#[derive(Debug)]
pub(crate) struct Batch {
    pub(crate) slots: Vec<Slot>,
    end: Cursor,
}

/// The entries behind the cursor are gone: the search was suspended for long, or a compaction moved them.
#[derive(Debug)]
pub(crate) struct FellBehind;

/// Entries kept that do not wait. A search would have to take longer than 16,384 inserts or moves to the graph (a
/// quarter of a second at 60,000/s) to fall behind.
const KEPT: usize = 16_384;

impl Arrivals {
    /// Before the entries that wait.
    pub(crate) fn waiting(&self) -> Cursor {
        Cursor { position: self.waiting, compactions: self.compactions }
    }

    /// Behind all entries.
    pub(crate) fn end(&self) -> Cursor {
        Cursor { position: self.first + self.entries.len() as u64, compactions: self.compactions }
    }

    pub(crate) fn extend(&mut self, slots: &[Slot]) {
        self.entries.extend(slots);
    }

    /// Copies up to `max` entries and moves the cursor behind them; none are left once `into` stays empty.
    pub(crate) fn read(&self, cursor: &mut Cursor, max: usize, into: &mut Vec<Slot>) -> Result<(), FellBehind> {
        into.clear();
        if cursor.compactions != self.compactions || cursor.position < self.first {
            return Err(FellBehind);
        }
        let from = (cursor.position - self.first) as usize;
        let to = self.entries.len().min(from.saturating_add(max));
        into.extend(self.entries.range(from..to));
        cursor.position += into.len() as u64;
        Ok(())
    }

    /// The next entries for the graph.
    pub(crate) fn next_batch(&self, max: usize) -> Batch {
        let from = (self.waiting - self.first) as usize;
        let to = self.entries.len().min(from.saturating_add(max));
        let slots: Vec<Slot> = self.entries.range(from..to).copied().collect();
        let end = Cursor { position: self.waiting + slots.len() as u64, compactions: self.compactions };
        Batch { slots, end }
    }

    /// The graph has all of the batch that is still live. After a compaction the entries are looked at once more.
    pub(crate) fn finish(&mut self, batch: &Batch) {
        self.finish_before(batch.end);
    }

    /// As `finish`, for all entries before the cursor.
    pub(crate) fn finish_before(&mut self, cursor: Cursor) {
        if cursor.compactions == self.compactions {
            self.waiting = cursor.position;
            self.forget();
        }
    }

    /// Nothing waits: there is no graph to wait for.
    pub(crate) fn finish_all(&mut self) {
        self.waiting = self.end().position;
        self.forget();
    }

    /// True if most of the waiting entries must be dead, because only `live` of them are not.
    pub(crate) fn wants_compaction(&self, live: usize) -> bool {
        (self.end().position - self.waiting) as usize > 2 * live + KEPT
    }

    /// Drops waiting entries that are dead.
    pub(crate) fn compact(&mut self, is_live: impl FnMut(&Slot) -> bool) {
        let end = self.end().position;
        let mut waiting = self.entries.split_off((self.waiting - self.first) as usize);
        waiting.retain(is_live);
        self.waiting = end - waiting.len() as u64;
        self.first = self.waiting - self.entries.len() as u64;
        self.entries.append(&mut waiting);
        self.compactions += 1;
    }

    pub(crate) fn memory_bytes(&self) -> usize {
        self.entries.capacity() * size_of::<Slot>()
    }

    fn forget(&mut self) {
        let gone = ((self.waiting - self.first) as usize).saturating_sub(KEPT);
        self.entries.drain(..gone);
        self.first += gone as u64;
        // After a bulk load the list shrinks with what is left of it.
        if self.entries.capacity() > 4 * (self.entries.len() + KEPT) {
            self.entries.shrink_to(2 * self.entries.len());
        }
    }
}

#[cfg(test)]
mod tests;
