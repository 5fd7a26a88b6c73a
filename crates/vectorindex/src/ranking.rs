//! The best k hits of a search.

use crate::store::Slot;
use std::cmp::{Ordering, Reverse};
use std::collections::BinaryHeap;

/// A vector that a search found.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Hit {
    pub slot: Slot,
    /// Higher is nearer; see [`crate::Metric`].
    pub score: f32,
}

/// Keeps the best `k` of the hits that it is offered: by score, highest first, and by slot where scores are equal.
#[derive(Debug)]
pub(crate) struct Ranking {
    k: usize,
    /// The worst of them is on top.
    heap: BinaryHeap<Ranked>,
}

#[derive(Debug)]
struct Ranked(Hit);

impl Ranking {
    pub(crate) fn new(k: usize) -> Ranking {
        Ranking { k, heap: BinaryHeap::new() }
    }

    #[inline]
    pub(crate) fn offer(&mut self, slot: Slot, score: f32) {
        let offered = Ranked(Hit { slot, score });
        if self.heap.len() < self.k {
            self.heap.push(offered);
        } else if let Some(mut worst) = self.heap.peek_mut()
            && offered < *worst
        {
            *worst = offered;
        }
    }

    pub(crate) fn into_hits(self) -> Vec<Hit> {
        self.heap.into_sorted_vec().into_iter().map(|ranked| ranked.0).collect()
    }
}

/// The best `k` of two lists of which the same vectors may be in both. Of two owners of one slot the later is alive.
pub(crate) fn merge(mut hits: Vec<Hit>, others: Vec<Hit>, k: usize) -> Vec<Hit> {
    if !others.is_empty() {
        hits.extend(others);
        hits.sort_unstable_by_key(|hit| Reverse(hit.slot));
        hits.dedup_by_key(|hit| hit.slot.index());
    }
    hits.sort_unstable_by(rank);
    hits.truncate(k);
    hits
}

/// Better hits first.
fn rank(a: &Hit, b: &Hit) -> Ordering {
    b.score.total_cmp(&a.score).then_with(|| a.slot.cmp(&b.slot))
}

impl Ord for Ranked {
    fn cmp(&self, other: &Ranked) -> Ordering {
        rank(&self.0, &other.0)
    }
}

impl PartialOrd for Ranked {
    fn partial_cmp(&self, other: &Ranked) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Ranked {
    fn eq(&self, other: &Ranked) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}

impl Eq for Ranked {}

#[cfg(test)]
mod tests {
    use super::*;

    fn hit(index: u32, score: f32) -> Hit {
        Hit { slot: Slot::made_up(index), score }
    }

    #[test]
    fn the_best_are_kept_in_order() {
        let mut ranking = Ranking::new(3);
        for (index, score) in [(5, 0.5), (1, 0.1), (9, 0.9), (4, 0.5), (3, 0.5), (7, -0.7)] {
            ranking.offer(Slot::made_up(index), score);
        }
        assert_eq!(ranking.into_hits(), [hit(9, 0.9), hit(3, 0.5), hit(4, 0.5)]);
    }

    #[test]
    fn what_is_in_both_lists_is_merged_once() {
        let merged = merge(vec![hit(1, 0.9), hit(2, 0.8), hit(3, 0.3)], vec![hit(2, 0.8), hit(4, 0.4)], 3);
        assert_eq!(merged, [hit(1, 0.9), hit(2, 0.8), hit(4, 0.4)]);
    }
}
