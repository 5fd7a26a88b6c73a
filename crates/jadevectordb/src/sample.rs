//! A small uniform sample of recent reads, for comparing the answers of two nodes.
//!
//! A reservoir over a sliding period: every read of the period has the same chance to be in it, whatever its outcome.

use parking_lot::Mutex;
use rand::RngExt;
use wire::admin::Replay;

/// Reads kept.
const KEPT_MAX: usize = 512;
/// After this many reads the reservoir begins anew (the old ones stay until replaced).
const PERIOD_READS: u64 = 20_000;
/// Longest query kept; together at most `512 * 40 kB = 20 MB`.
const DIMENSION_MAX: usize = 10_000;

#[derive(Default)]
pub struct ReadSample {
    inner: Mutex<Inner>,
}

#[derive(Default)]
struct Inner {
    seen: u64,
    kept: Vec<Replay>,
}

impl ReadSample {
    /// Offers one read to the sample.
    pub fn offer(&self, database: &str, query: &[f32], top_k: usize) {
        if query.len() > DIMENSION_MAX {
            return;
        }
        // A sample that is busy may miss a read: missing does not depend on the outcome.
        let Some(mut inner) = self.inner.try_lock() else { return };
        if inner.seen >= PERIOD_READS {
            inner.seen = 0;
        }
        inner.seen += 1;
        let place = if inner.kept.len() < KEPT_MAX {
            inner.kept.push(Replay { database: String::new(), query: Vec::new(), top_k: 0, exact: false });
            inner.kept.len() - 1
        } else {
            let drawn = rand::rng().random_range(0..inner.seen.max(KEPT_MAX as u64)) as usize;
            if drawn >= KEPT_MAX {
                return;
            }
            drawn
        };
        inner.kept[place] = Replay { database: database.to_string(), query: query.to_vec(), top_k, exact: false };
    }

    /// At most `max` of the kept reads, in random order.
    pub fn take(&self, max: usize) -> Vec<Replay> {
        let mut reads = self.inner.lock().kept.clone();
        let mut rng = rand::rng();
        for last in (1..reads.len()).rev() {
            reads.swap(last, rng.random_range(0..=last));
        }
        reads.truncate(max);
        reads
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keeps_a_bounded_part_of_everything_offered() {
        let sample = ReadSample::default();
        for n in 0..5_000 {
            sample.offer("db", &[n as f32], 10);
        }
        let reads = sample.take(10_000);
        assert_eq!(reads.len(), KEPT_MAX);
        let late = reads.iter().filter(|read| read.query[0] >= 2_500.0).count();
        assert!((150..350).contains(&late), "{late} of the second half");
        assert_eq!(sample.take(7).len(), 7);
    }
}
