//! Errors of the candidate against errors of the active environment, by a fixed rule.

use crate::{Outcome, Verdict};
use serde::{Deserialize, Serialize};

/// Signal name of [`judge_errors`].
const SIGNAL: &str = "errors";

/// Requests of one side.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Counts {
    pub reads: u64,
    /// How many of `reads` ended in an error of the server.
    pub errors: u64,
}

impl Counts {
    /// Errors per read, 0 to 1; 0 when there were no reads.
    pub fn rate(self) -> f64 {
        if self.reads == 0 { 0.0 } else { self.errors.min(self.reads) as f64 / self.reads as f64 }
    }
}

/// When the candidate's errors are too many.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct ErrorRule {
    /// Allowed error rate as a multiple of the active's.
    pub ratio_max: f64,
    /// Error rate allowed on top of that, 0 to 1.
    pub rate_margin: f64,
    /// Fewer errors than this are never a failure.
    pub errors_min: u64,
    /// Fewer reads of the candidate than this are never a pass.
    pub reads_min: u64,
}

impl ErrorRule {
    /// Highest error rate of the candidate that this rule allows beside an active environment with `active`.
    fn rate_allowed(&self, active: Counts) -> f64 {
        self.ratio_max * active.rate() + self.rate_margin
    }

    /// The part of the rule that can fail: enough errors, at too high a rate.
    pub(crate) fn broken_by(&self, candidate: Counts, active: Counts) -> bool {
        candidate.errors >= self.errors_min.max(1) && candidate.rate() > self.rate_allowed(active)
    }

    pub(crate) fn is_usable(&self) -> bool {
        self.ratio_max.is_finite() && self.rate_margin.is_finite()
    }

    /// The comparison in words, the same for every outcome.
    pub(crate) fn comparison(&self, candidate: Counts, active: Counts, reads: &str) -> String {
        format!(
            "the candidate failed {} of {} {reads} ({}), the active environment {} of {} ({}); {} is allowed",
            candidate.errors,
            candidate.reads,
            percent(candidate.rate()),
            active.errors,
            active.reads,
            percent(active.rate()),
            percent(self.rate_allowed(active)),
        )
    }
}

/// Judges live reads: `Fail` when the candidate made at least `errors_min` errors at a rate above the allowed one, `Pass`
/// when it answered at least `reads_min` reads without failing so, `Inconclusive` otherwise.
pub fn judge_errors(candidate: Counts, active: Counts, rule: &ErrorRule) -> Verdict {
    let verdict = |outcome, why| Verdict { outcome, signal: SIGNAL.into(), why };
    if !rule.is_usable() {
        return verdict(Outcome::Inconclusive, "the rule for errors is not made of finite numbers".into());
    }
    let comparison = rule.comparison(candidate, active, "reads");
    if rule.broken_by(candidate, active) {
        return verdict(Outcome::Fail, comparison);
    }
    if candidate.reads < rule.reads_min {
        let why = format!("{} of the {} reads needed to judge errors; {comparison}", candidate.reads, rule.reads_min);
        return verdict(Outcome::Inconclusive, why);
    }
    verdict(Outcome::Pass, comparison)
}

/// A rate as people write it: `5.07 %`.
pub(crate) fn percent(rate: f64) -> String {
    format!("{:.2} %", rate * 100.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    const RULE: ErrorRule = ErrorRule { ratio_max: 2.0, rate_margin: 0.005, errors_min: 5, reads_min: 100 };

    fn outcome(candidate: (u64, u64), active: (u64, u64)) -> Outcome {
        let counts = |(reads, errors)| Counts { reads, errors };
        judge_errors(counts(candidate), counts(active), &RULE).outcome
    }

    #[test]
    fn five_percent_against_none_fails() {
        assert_eq!(outcome((200, 10), (1_800, 0)), Outcome::Fail);
    }

    #[test]
    fn too_few_errors_never_fail() {
        assert_eq!(outcome((4, 4), (1_000, 0)), Outcome::Inconclusive);
        assert_eq!(outcome((100, 4), (1_000, 0)), Outcome::Pass);
        assert_eq!(outcome((100, 5), (1_000, 0)), Outcome::Fail);
    }

    #[test]
    fn the_active_environments_own_errors_excuse_the_candidate() {
        // 3 % against 2 %: allowed are 2 x 2 % + 0.5 %.
        assert_eq!(outcome((1_000, 30), (1_000, 20)), Outcome::Pass);
        assert_eq!(outcome((1_000, 46), (1_000, 20)), Outcome::Fail);
    }

    #[test]
    fn few_reads_do_not_pass() {
        assert_eq!(outcome((99, 0), (1_000, 0)), Outcome::Inconclusive);
        assert_eq!(outcome((100, 0), (0, 0)), Outcome::Pass);
        assert_eq!(outcome((0, 0), (0, 0)), Outcome::Inconclusive);
    }

    #[test]
    fn nonsense_is_inconclusive_and_never_divides_by_zero() {
        let rule = ErrorRule { ratio_max: f64::NAN, ..RULE };
        let counts = Counts { reads: 10, errors: 10 };
        assert_eq!(judge_errors(counts, counts, &rule).outcome, Outcome::Inconclusive);
        // More errors than reads, and errors without reads, as counters read at two moments may show.
        assert_eq!(outcome((10, 20), (10, 0)), Outcome::Fail);
        assert_eq!(outcome((0, 20), (0, 0)), Outcome::Inconclusive);
        let none = ErrorRule { errors_min: 0, reads_min: 0, ..RULE };
        assert_eq!(judge_errors(Counts::default(), Counts::default(), &none).outcome, Outcome::Pass);
    }

    #[test]
    fn the_sentence_has_the_numbers() {
        let verdict = judge_errors(Counts { reads: 612, errors: 31 }, Counts { reads: 5_400, errors: 2 }, &RULE);
        assert_eq!(
            verdict.why,
            "the candidate failed 31 of 612 reads (5.07 %), the active environment 2 of 5400 (0.04 %); 0.57 % is allowed"
        );
        assert_eq!(verdict.signal, "errors");
    }
}
