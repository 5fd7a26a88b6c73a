//! What is done elsewhere, on the same streams.

use super::Watcher;
use super::traffic::Second;

/// A success rate that may not fall below a fixed limit, looked at in fixed intervals, and a number of failed looks after which
/// the release is taken back: the defaults of Flagger's documentation (`request-success-rate` at least 99 %, interval one
/// minute, threshold five failed checks).
#[derive(Default)]
pub struct FixedThreshold {
    second: u64,
    requests: u64,
    errors: u64,
    failed_checks: u32,
}

impl FixedThreshold {
    const INTERVAL_S: u64 = 60;
    const SUCCESS_MIN: f64 = 0.99;
    const FAILED_CHECKS_MAX: u32 = 5;
}

impl Watcher for FixedThreshold {
    fn look(&mut self, second: &Second) -> bool {
        self.second += 1;
        self.requests += second.candidate.requests;
        self.errors += second.candidate.errors;
        if self.second.is_multiple_of(Self::INTERVAL_S) {
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
    second: u64,
    candidate: (f64, f64),
    active: (f64, f64),
}

impl RepeatedTest {
    const INTERVAL_S: u64 = 30;
    /// Of the normal distribution, at 5 %.
    const QUANTILE: f64 = 1.644_853_6;
}

impl Watcher for RepeatedTest {
    fn look(&mut self, second: &Second) -> bool {
        self.second += 1;
        for (total, side) in [(&mut self.candidate, second.candidate), (&mut self.active, second.active)] {
            total.0 += side.requests as f64;
            total.1 += side.errors as f64;
        }
        if !self.second.is_multiple_of(Self::INTERVAL_S) {
            return false;
        }
        let ((n1, x1), (n2, x2)) = (self.candidate, self.active);
        let pooled = (x1 + x2) / (n1 + n2);
        let deviation = (pooled * (1.0 - pooled) * (1.0 / n1 + 1.0 / n2)).sqrt();
        deviation > 0.0 && (x1 / n1 - x2 / n2) / deviation > Self::QUANTILE
    }
}
