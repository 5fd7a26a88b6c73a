//! What is done elsewhere, on the same streams.

use super::Watcher;
use super::traffic::Stretch;

/// A success rate that may not fall below a fixed limit, looked at in fixed intervals, and a number of failed looks after which
/// the release is taken back: the defaults of Flagger's documentation (`request-success-rate` at least 99 %, interval one
/// minute, threshold five failed checks).
#[derive(Default)]
pub struct FixedThreshold {
    /// Since the last check.
    elapsed_s: f64,
    requests: u64,
    errors: u64,
    failed_checks: u32,
}

impl FixedThreshold {
    const INTERVAL_S: f64 = 60.0;
    const SUCCESS_MIN: f64 = 0.99;
    const FAILED_CHECKS_MAX: u32 = 5;
}

impl Watcher for FixedThreshold {
    fn look(&mut self, stretch: &Stretch) -> bool {
        self.elapsed_s += stretch.lasted_s;
        self.requests += stretch.candidate.requests;
        self.errors += stretch.candidate.errors;
        if is_over(&mut self.elapsed_s, Self::INTERVAL_S) {
            let success = 1.0 - self.errors as f64 / self.requests.max(1) as f64;
            self.failed_checks += u32::from(success < Self::SUCCESS_MIN);
            (self.requests, self.errors) = (0, 0);
        }
        self.failed_checks >= Self::FAILED_CHECKS_MAX
    }
}

/// A test for a difference of two proportions, one-sided at 5 %, over everything so far, repeated twice a minute.
#[derive(Default)]
pub struct RepeatedTest {
    /// Since the last check.
    elapsed_s: f64,
    candidate: (f64, f64),
    active: (f64, f64),
}

impl RepeatedTest {
    const INTERVAL_S: f64 = 30.0;
    /// Of the normal distribution, at 5 %.
    const QUANTILE: f64 = 1.644_853_6;
}

impl Watcher for RepeatedTest {
    fn look(&mut self, stretch: &Stretch) -> bool {
        self.elapsed_s += stretch.lasted_s;
        for (total, side) in [(&mut self.candidate, stretch.candidate), (&mut self.active, stretch.active)] {
            total.0 += side.requests as f64;
            total.1 += side.errors as f64;
        }
        if !is_over(&mut self.elapsed_s, Self::INTERVAL_S) {
            return false;
        }
        let ((n1, x1), (n2, x2)) = (self.candidate, self.active);
        let pooled = (x1 + x2) / (n1 + n2);
        let deviation = (pooled * (1.0 - pooled) * (1.0 / n1 + 1.0 / n2)).sqrt();
        deviation > 0.0 && (x1 / n1 - x2 / n2) / deviation > Self::QUANTILE
    }
}

/// An interval is over, and the next one begins.
fn is_over(elapsed_s: &mut f64, interval_s: f64) -> bool {
    let over = *elapsed_s >= interval_s - 1e-6;
    if over {
        *elapsed_s = 0.0;
    }
    over
}
