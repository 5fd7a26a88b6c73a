//! Latencies as a histogram with fixed bounds, the same everywhere, so that any two can be compared.

use serde::{Deserialize, Serialize};
use std::sync::atomic::{AtomicU64, Ordering};

/// Smallest bound is 2^4 us, largest 2^26 us (67 s), four buckets to the octave.
const OCTAVE_FIRST: usize = 4;
const OCTAVE_END: usize = 26;
/// Number of bounds.
pub const BOUNDS: usize = 1 + (OCTAVE_END - OCTAVE_FIRST) * 4;

/// Upper bounds of the buckets, inclusive, microseconds, ascending: each about a quarter of an octave.
pub const BOUNDS_US: [u64; BOUNDS] = {
    let mut bounds = [1 << OCTAVE_FIRST; BOUNDS];
    let mut index = 1;
    while index < BOUNDS {
        let octave = OCTAVE_FIRST + (index - 1) / 4;
        let quarter = (index - 1) as u64 % 4 + 1;
        bounds[index] = (1 << octave) + (quarter << (octave - 2));
        index += 1;
    }
    bounds
};

/// Bucket of a value, without a search: its octave from the leading zeros, its quarter from the two bits below.
pub fn bucket_of(value_us: u64) -> usize {
    if value_us <= 1 << OCTAVE_FIRST {
        return 0;
    }
    let below = value_us - 1;
    let octave = below.ilog2() as usize;
    if octave >= OCTAVE_END {
        return BOUNDS;
    }
    1 + (octave - OCTAVE_FIRST) * 4 + ((below >> (octave - 2)) & 3) as usize
}

/// A histogram with fixed bounds.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Latency {
    /// [`BOUNDS_US`].
    pub bounds_us: Vec<u64>,
    /// One count for each bound, and a last one for everything above.
    pub counts: Vec<u64>,
    /// Sum of all values, microseconds.
    pub sum_us: u64,
}

impl Default for Latency {
    fn default() -> Self {
        Self { bounds_us: BOUNDS_US.to_vec(), counts: vec![0; BOUNDS + 1], sum_us: 0 }
    }
}

impl Latency {
    pub fn record(&mut self, value_us: u64) {
        self.counts[bucket_of(value_us)] += 1;
        self.sum_us = self.sum_us.saturating_add(value_us);
    }

    pub fn count(&self) -> u64 {
        self.counts.iter().sum()
    }

    /// Value below which the share `q` (0 to 1) of all values lies, microseconds, interpolated in its bucket; `None`
    /// without values. Values above the last bound count as that bound.
    pub fn quantile_us(&self, q: f64) -> Option<u64> {
        let total = self.count();
        if total == 0 {
            return None;
        }
        let rank = (q.clamp(0.0, 1.0) * total as f64).max(1.0);
        let mut below = 0u64;
        for (index, &count) in self.counts.iter().enumerate() {
            if count > 0 && (below + count) as f64 >= rank {
                let Some(&upper) = self.bounds_us.get(index) else { break };
                let lower = if index == 0 { 0 } else { self.bounds_us[index - 1] };
                let inside = (rank - below as f64) / count as f64;
                return Some(lower + ((upper - lower) as f64 * inside) as u64);
            }
            below += count;
        }
        self.bounds_us.last().copied()
    }

    /// Bucket whose upper bound is the smallest that at most the share `1 - q` of all values exceeds; `None` without values.
    pub fn bucket_at(&self, q: f64) -> Option<usize> {
        self.quantile_us(q).map(bucket_of)
    }

    /// How many values are above the upper bound of `bucket`.
    pub fn count_above(&self, bucket: usize) -> u64 {
        self.counts.iter().skip(bucket + 1).sum()
    }

    /// Adds the values of another.
    pub fn add(&mut self, other: &Latency) {
        self.counts.iter_mut().zip(&other.counts).for_each(|(count, more)| *count += more);
        self.sum_us = self.sum_us.saturating_add(other.sum_us);
    }

    /// What came after `earlier`, a snapshot of the same counter.
    pub fn since(&self, earlier: &Latency) -> Latency {
        let before = |index: usize| earlier.counts.get(index).copied().unwrap_or(0);
        Latency {
            bounds_us: self.bounds_us.clone(),
            counts: self.counts.iter().enumerate().map(|(i, count)| count.saturating_sub(before(i))).collect(),
            sum_us: self.sum_us.saturating_sub(earlier.sum_us),
        }
    }
}

/// A histogram that many threads write at once, each with two additions.
#[derive(Debug)]
pub struct LatencyCounter {
    counts: [AtomicU64; BOUNDS + 1],
    sum_us: AtomicU64,
}

impl Default for LatencyCounter {
    fn default() -> Self {
        Self { counts: [const { AtomicU64::new(0) }; BOUNDS + 1], sum_us: AtomicU64::new(0) }
    }
}

impl LatencyCounter {
    pub fn record(&self, value_us: u64) {
        self.counts[bucket_of(value_us)].fetch_add(1, Ordering::Relaxed);
        self.sum_us.fetch_add(value_us, Ordering::Relaxed);
    }

    /// The values until now; one that is just being written may be in the counts and not in the sum.
    pub fn snapshot(&self) -> Latency {
        Latency {
            bounds_us: BOUNDS_US.to_vec(),
            counts: self.counts.iter().map(|count| count.load(Ordering::Relaxed)).collect(),
            sum_us: self.sum_us.load(Ordering::Relaxed),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_value_falls_into_the_first_bucket_whose_bound_holds_it() {
        let mut values: Vec<u64> = (0..5_000).collect();
        for &bound in &BOUNDS_US {
            values.extend([bound - 1, bound, bound + 1]);
        }
        values.push(u64::MAX);
        for value in values {
            let expected = BOUNDS_US.iter().position(|&bound| value <= bound).unwrap_or(BOUNDS);
            assert_eq!(bucket_of(value), expected, "value {value}");
        }
    }

    #[test]
    fn bounds_ascend_to_67_seconds() {
        assert!(BOUNDS_US.is_sorted_by(|a, b| a < b));
        assert_eq!((BOUNDS_US[0], BOUNDS_US[BOUNDS - 1]), (16, 1 << 26));
    }

    #[test]
    fn quantiles_lie_within_a_bucket_of_the_truth_and_few_are_above_their_threshold() {
        let mut latency = Latency::default();
        (1..=10_000).for_each(|value| latency.record(value));
        for (q, truth) in [(0.5, 5_000.0), (0.9, 9_000.0), (0.99, 9_900.0)] {
            let found = latency.quantile_us(q).unwrap() as f64;
            assert!((found / truth - 1.0).abs() < 0.25, "q {q}: {found} for {truth}");
            let above = latency.count_above(latency.bucket_at(q).unwrap());
            assert!(above as f64 <= (1.0 - q) * 10_000.0, "q {q}: {above}");
        }
        assert_eq!(latency.count_above(0), 10_000 - 16);
        assert_eq!((Latency::default().quantile_us(0.5), Latency::default().bucket_at(0.5)), (None, None));
    }

    #[test]
    fn what_was_counted_at_once_and_added_up_is_what_was_recorded() {
        let (counter, mut recorded, mut added) = (LatencyCounter::default(), Latency::default(), Latency::default());
        for value in [3, 17, 5_000, 1 << 30] {
            counter.record(value);
            recorded.record(value);
        }
        assert_eq!(counter.snapshot(), recorded);
        added.add(&recorded);
        added.add(&recorded);
        assert_eq!((added.count(), added.sum_us), (8, 2 * recorded.sum_us));
        assert_eq!(added.since(&recorded), recorded);
    }
}
