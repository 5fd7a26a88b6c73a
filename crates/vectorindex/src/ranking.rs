//! The best k hits of a search.

use crate::store::Slot;
use std::cmp::Ordering;
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
        hits.sort_unstable_by(|a, b| b.slot.cmp(&a.slot));
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
