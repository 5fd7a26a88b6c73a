//! The signals by which a version of the database is judged, and what they are fed with.

use crate::judge::SignalState;
use crate::{Counts, Judge, Policy, SignalId, SignalRule, Verdict};

/// Slower than which threshold an answer is called slow: quantiles of the active environment's own answers, fixed before a step
/// begins, and a limit of the user.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Threshold {
    P50,
    P90,
    P99,
    Limit,
}

impl Threshold {
    pub const ALL: [Threshold; 4] = [Threshold::P50, Threshold::P90, Threshold::P99, Threshold::Limit];

    /// Name of the signal.
    pub fn name(self) -> &'static str {
        match self {
            Threshold::P50 => "over_p50",
            Threshold::P90 => "over_p90",
            Threshold::P99 => "over_p99",
            Threshold::Limit => "over_limit",
        }
    }

    /// Which quantile of the active environment's answers it is; `None` for the limit.
    pub fn quantile(self) -> Option<f64> {
        match self {
            Threshold::P50 => Some(0.5),
            Threshold::P90 => Some(0.9),
            Threshold::P99 => Some(0.99),
            Threshold::Limit => None,
        }
    }
}

/// One value for each threshold.
pub type ByThreshold<T> = [T; Threshold::ALL.len()];

/// Names of the groups: what has to be shown of a candidate.
pub mod group {
    pub const ERRORS: &str = "errors";
    pub const LATENCY: &str = "latency";
    pub const RESULTS: &str = "results";
    pub const RECALL: &str = "recall";
}

/// Parts of the budget. What is not measured gives its part to the others.
const WEIGHT_ERRORS: f64 = 0.5;
const WEIGHT_ERRORS_ALONE: f64 = 0.05;
const WEIGHT_ERRORS_REPLAYED: f64 = 0.1;
const WEIGHT_SLOW: f64 = 0.1;
const WEIGHT_SLOW_REPLAYED: f64 = 0.03;
const WEIGHT_RESULTS: f64 = 0.05;
const WEIGHT_RECALL: f64 = 0.05;

/// Answers that waited for the same pause of a process are slow together. A second of them counts as about one observation.
pub const SLOW_GROWTH_MAX: f64 = 20.0;

/// What is measured.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Measures {
    /// Answers of live requests slower than each threshold are counted.
    pub slow: ByThreshold<bool>,
    /// Sampled reads are asked again of both environments.
    pub replays: bool,
}

/// A signal of the user's own that is fed with counts.
#[derive(Debug, Clone, PartialEq)]
pub struct SourceSignal {
    /// Of the signal, and of its group.
    pub name: String,
    pub weight: f64,
    pub rule: SignalRule,
}

/// Requests of one environment in a stretch of time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Side {
    pub requests: u64,
    pub errors: u64,
    /// How many were slower than each threshold, where that is known.
    pub slow: ByThreshold<Option<u64>>,
}

impl Side {
    pub fn errors(self) -> Counts {
        self.events(self.errors)
    }

    fn events(self, events: u64) -> Counts {
        Counts { requests: self.requests, events }
    }
}

/// Judges one rollout from its first read to the end of its watch.
#[derive(Debug, Clone)]
pub struct Assessment {
    judge: Judge,
    errors: SignalId,
    errors_alone: Option<SignalId>,
    slow: ByThreshold<Option<SignalId>>,
    replayed: Option<Replayed>,
    sources: Vec<SignalId>,
}

#[derive(Debug, Clone)]
struct Replayed {
    errors: SignalId,
    slow: ByThreshold<Option<SignalId>>,
    results: SignalId,
    recall: SignalId,
}

impl Assessment {
    /// # Panics
    /// When a number of `policy` is not positive, or a rate or the budget not below 1.
    pub fn new(policy: &Policy, measures: Measures) -> Self {
        Self::with_sources(policy, measures, &[])
    }

    /// As [`Assessment::new`], with further signals.
    ///
    /// # Panics
    /// When a number of `policy` or `sources` is not positive, or a rate or the budget not below 1.
    pub fn with_sources(policy: &Policy, measures: Measures, sources: &[SourceSignal]) -> Self {
        let mut judge = Judge::new(policy.false_alarm_budget);
        let events = SignalRule::Events {
            ratio_max: policy.error_ratio_max,
            harmless_rate: Some(policy.error_rate_harmless),
            growth_max: f64::INFINITY,
        };
        let slower = |threshold: Threshold| SignalRule::Events {
            ratio_max: policy.latency_ratio_max[threshold as usize],
            harmless_rate: None,
            growth_max: SLOW_GROWTH_MAX,
        };
        let errors = judge.add("errors", group::ERRORS, WEIGHT_ERRORS, events);
        let slow = Threshold::ALL.map(|threshold| {
            measures.slow[threshold as usize]
                .then(|| judge.add(threshold.name(), group::LATENCY, WEIGHT_SLOW, slower(threshold)))
        });
        let (mut errors_alone, mut replayed) = (None, None);
        if measures.replays {
            let rate_max = policy.error_rate_max;
            let alone = SignalRule::Rate { rate_max };
            errors_alone = Some(judge.add("errors_alone", "errors without a comparison", WEIGHT_ERRORS_ALONE, alone));
            let mut slow_replayed = |threshold: Threshold| {
                let name = format!("replayed_{}", threshold.name());
                (threshold != Threshold::P99)
                    .then(|| judge.add(&name, group::LATENCY, WEIGHT_SLOW_REPLAYED, slower(threshold)))
            };
            let slow = Threshold::ALL.map(&mut slow_replayed);
            let results = SignalRule::Rate { rate_max: policy.bad_results_rate_max };
            let recall = SignalRule::Mean { mean_max: policy.recall_loss_max };
            replayed = Some(Replayed {
                slow,
                errors: judge.add("replayed_errors", group::ERRORS, WEIGHT_ERRORS_REPLAYED, events),
                results: judge.add("results", group::RESULTS, WEIGHT_RESULTS, results),
                recall: judge.add("recall_lost", group::RECALL, WEIGHT_RECALL, recall),
            });
        }
        let sources = sources.iter().map(|one| judge.add(&one.name, &one.name, one.weight, one.rule)).collect();
        Self { judge, errors, errors_alone, slow, replayed, sources }
    }

    /// A new share, or a new phase.
    pub fn begin_step(&mut self) {
        self.judge.begin_step();
    }

    /// Errors of live requests in a stretch in which the share stayed as it was.
    pub fn observe_errors(&mut self, candidate: Counts, active: Counts) {
        self.judge.observe(self.errors, candidate, active);
    }

    /// Errors of live requests while the candidate's share is the whole.
    pub fn observe_errors_alone(&mut self, candidate: Counts) {
        if let Some(alone) = self.errors_alone {
            self.judge.observe(alone, candidate, Counts::default());
        }
    }

    /// Slow answers to live requests in such a stretch, of about a second.
    pub fn observe_slow(&mut self, candidate: Side, active: Side) {
        observe_slow(&mut self.judge, &self.slow, candidate, active);
    }

    /// Counts of the user's own signal at this place of those given to [`Assessment::with_sources`], in such a stretch.
    pub fn observe_source(&mut self, source: usize, candidate: Counts, active: Counts) {
        self.judge.observe(self.sources[source], candidate, active);
    }

    /// Errors of reads that were asked of both; of those that both answered, `compared`, some found other results.
    pub fn observe_replayed_errors(&mut self, candidate: Counts, active: Counts, compared: Counts) {
        let Some(replayed) = &self.replayed else { return };
        self.judge.observe(replayed.errors, candidate, active);
        if compared.requests > 0 {
            self.judge.observe(replayed.results, compared, Counts::default());
        }
    }

    /// Slow answers to reads that were asked of both in about a second.
    pub fn observe_replayed_slow(&mut self, candidate: Side, active: Side) {
        if let Some(replayed) = &self.replayed {
            observe_slow(&mut self.judge, &replayed.slow, candidate, active);
        }
    }

    /// Recall of the active environment less that of the candidate, of one search, -1 to 1.
    pub fn observe_recall_lost(&mut self, lost: f64) {
        if let Some(replayed) = &self.replayed {
            self.judge.observe_value(replayed.recall, lost);
        }
    }

    /// Time goes by; called after what was observed in it.
    pub fn pass(&mut self, seconds: f64) {
        self.judge.pass(seconds);
    }

    /// See [`Judge::verdict`]; `needed` are names of [`group`].
    pub fn verdict(&self, needed: &[&str], evidence_min: f64) -> Verdict {
        self.judge.verdict(needed, evidence_min)
    }

    pub fn has_failed(&self) -> bool {
        self.judge.has_failed()
    }

    /// ln E against the candidate, and at what it fails.
    pub fn ln_e(&self) -> (f64, f64) {
        (self.judge.ln_e(), self.judge.ln_e_needed())
    }

    pub fn signals(&self) -> impl Iterator<Item = SignalState<'_>> {
        self.judge.signals()
    }
}

fn observe_slow(judge: &mut Judge, signals: &ByThreshold<Option<SignalId>>, candidate: Side, active: Side) {
    for (position, signal) in signals.iter().enumerate() {
        if let (Some(signal), Some(of_candidate), Some(of_active)) =
            (signal, candidate.slow[position], active.slow[position])
        {
            judge.observe(*signal, candidate.events(of_candidate), active.events(of_active));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Outcome;

    const MIN: f64 = 20.0;

    fn counts(requests: u64, events: u64) -> Counts {
        Counts { requests, events }
    }

    fn side(requests: u64, errors: u64) -> Side {
        Side { requests, errors, slow: [Some(requests / 2), Some(requests / 10), Some(requests / 100), None] }
    }

    fn full() -> Assessment {
        Assessment::new(&Policy::default(), Measures { slow: [true, true, true, false], replays: true })
    }

    #[test]
    fn twins_pass() {
        let mut assessment = full();
        for _ in 0..30 {
            assessment.observe_errors(counts(100, 0), counts(900, 0));
            assessment.observe_slow(side(100, 0), side(900, 0));
            assessment.observe_replayed_errors(counts(50, 0), counts(50, 0), counts(50, 0));
            assessment.observe_replayed_slow(side(50, 0), side(50, 0));
            assessment.pass(1.0);
        }
        let verdict = assessment.verdict(&[group::ERRORS, group::LATENCY, group::RESULTS], MIN);
        assert_eq!(verdict.outcome, Outcome::Pass, "{}", verdict.why);
    }

    #[test]
    fn twice_as_many_slow_answers_fail_and_the_threshold_is_named() {
        let mut assessment = full();
        for _ in 0..90 {
            let candidate = Side { slow: [Some(50), Some(10), Some(2), None], ..side(100, 0) };
            assessment.observe_slow(candidate, side(900, 0));
            assessment.pass(1.0);
        }
        let verdict = assessment.verdict(&[group::ERRORS], MIN);
        assert_eq!((verdict.outcome, verdict.signal.as_str()), (Outcome::Fail, "over_p99"), "{}", verdict.why);
    }

    #[test]
    fn one_pause_of_the_candidate_fails_nobody() {
        let mut assessment = full();
        let paused = Side { slow: [Some(100), Some(100), Some(100), None], ..side(100, 0) };
        assessment.observe_slow(paused, side(900, 0));
        assessment.pass(1.0);
        assert!(!assessment.has_failed());
        for _ in 0..9 {
            assessment.observe_slow(paused, side(900, 0));
            assessment.pass(1.0);
        }
        assert!(assessment.has_failed(), "a pause in every second is more than one");
    }

    #[test]
    fn with_nobody_to_compare_with_a_limit_decides() {
        let mut assessment = full();
        assessment.observe_errors_alone(counts(1_000, 40));
        assert!(!assessment.has_failed());
        assessment.observe_errors_alone(counts(1_000, 160));
        let verdict = assessment.verdict(&[], MIN);
        assert_eq!((verdict.outcome, verdict.signal.as_str()), (Outcome::Fail, "errors_alone"), "{}", verdict.why);
        // Beside an active environment the same errors are judged by comparison.
        let mut assessment = full();
        assessment.observe_errors(counts(2_000, 200), counts(2_000, 200));
        assert!(!assessment.has_failed());
    }

    #[test]
    fn replays_find_errors_other_results_and_lost_neighbours() {
        let failing = |change: &dyn Fn(&mut Assessment)| {
            let mut assessment = full();
            change(&mut assessment);
            let verdict = assessment.verdict(&[], MIN);
            (verdict.outcome == Outcome::Fail).then_some(verdict.signal)
        };
        let replayed = |assessment: &mut Assessment, errors, bad| {
            assessment.observe_replayed_errors(counts(200, errors), counts(200, 0), counts(200, bad));
        };
        assert_eq!(failing(&|assessment| replayed(assessment, 0, 0)), None);
        assert_eq!(failing(&|assessment| replayed(assessment, 20, 0)).as_deref(), Some("replayed_errors"));
        assert_eq!(failing(&|assessment| replayed(assessment, 0, 30)).as_deref(), Some("results"));
        let lost = failing(&|assessment| (0..400).for_each(|_| assessment.observe_recall_lost(0.1)));
        assert_eq!(lost.as_deref(), Some("recall_lost"));
    }

    #[test]
    fn what_is_not_measured_gives_its_part_to_the_others() {
        let mut alone = Assessment::new(&Policy::default(), Measures { slow: [false; 4], replays: false });
        let mut among = full();
        for assessment in [&mut alone, &mut among] {
            assessment.observe_errors(counts(100, 8), counts(900, 4));
        }
        assert!(alone.ln_e().0 > among.ln_e().0);
    }
}
