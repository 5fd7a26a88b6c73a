//! How long something took, as Prometheus wants it: counts below fixed limits.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// Upper limits, seconds.
const LIMITS: [f64; 12] = [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0];

/// A histogram that anybody may add to.
#[derive(Default)]
pub(super) struct Durations {
    /// Those between a limit and the one before it; the last are above all limits.
    counts: [AtomicU64; LIMITS.len() + 1],
    sum_us: AtomicU64,
}

impl Durations {
    pub fn add(&self, took: Duration) {
        let seconds = took.as_secs_f64();
        let place = LIMITS.iter().position(|limit| seconds <= *limit).unwrap_or(LIMITS.len());
        self.counts[place].fetch_add(1, Ordering::Relaxed);
        self.sum_us.fetch_add(u64::try_from(took.as_micros()).unwrap_or(u64::MAX), Ordering::Relaxed);
    }

    /// What stands behind the name of each line, its labels, and its value.
    pub fn series(&self) -> Vec<(&'static str, String, f64)> {
        let mut total = 0;
        let mut series = Vec::new();
        for (place, count) in self.counts.iter().enumerate() {
            total += count.load(Ordering::Relaxed);
            let limit = LIMITS.get(place).map_or_else(|| "+Inf".to_string(), ToString::to_string);
            series.push(("bucket", format!("{{le=\"{limit}\"}}"), total as f64));
        }
        series.push(("sum", String::new(), self.sum_us.load(Ordering::Relaxed) as f64 / 1e6));
        series.push(("count", String::new(), total as f64));
        series
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_bucket_counts_all_that_took_no_longer() {
        let durations = Durations::default();
        for took_ms in [1, 2, 40, 9_000] {
            durations.add(Duration::from_millis(took_ms));
        }
        let series = durations.series();
        let at = |le: &str| series.iter().find(|(_, labels, _)| labels.contains(le)).unwrap().2;
        assert_eq!(
            [at("\"0.001\""), at("\"0.0025\""), at("\"0.05\""), at("\"5\""), at("+Inf")],
            [1.0, 2.0, 3.0, 3.0, 4.0]
        );
        let of = |name: &str| series.iter().find(|(one, ..)| *one == name).unwrap().2;
        assert_eq!((of("count"), of("sum")), (4.0, 9.043));
    }
}
