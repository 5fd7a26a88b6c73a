//! Judging what was recorded: second by second, as a rollout would have.

use crate::{Assessment, Measures, Outcome, Policy, Side, Verdict, group};

/// What a step needs before it is passed.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct StepRule {
    pub duration_min_s: f64,
    /// Requests of the candidate.
    pub requests_min: u64,
    /// E for the candidate that each group of signals needs.
    pub evidence_min: f64,
}

/// One step over recorded seconds, which come in rising order.
#[derive(Debug, Clone)]
pub struct DryRun {
    assessment: Assessment,
    rule: StepRule,
    needed: Vec<&'static str>,
    began: Option<u64>,
    last: Option<u64>,
    seconds: u64,
    candidate_requests: u64,
    active_requests: u64,
    /// Since when it passes without interruption.
    passing: Option<u64>,
    failed: Option<u64>,
}

/// What a recording amounts to.
#[derive(Debug, Clone, PartialEq)]
pub struct Conclusion {
    pub verdict: Verdict,
    /// The second in which the candidate failed, or from which on it passed; `None` when neither happened.
    pub at_second: Option<u64>,
}

impl DryRun {
    /// `slow`: which thresholds the recording counts.
    pub fn new(policy: &Policy, rule: StepRule, slow: crate::ByThreshold<bool>) -> Self {
        let mut needed = vec![group::ERRORS];
        if slow.contains(&true) {
            needed.push(group::LATENCY);
        }
        Self {
            assessment: Assessment::new(policy, Measures { slow, replays: false }),
            rule,
            needed,
            began: None,
            last: None,
            seconds: 0,
            candidate_requests: 0,
            active_requests: 0,
            passing: None,
            failed: None,
        }
    }

    /// Adds what both environments did in one second. After a failure nothing changes any more.
    pub fn observe(&mut self, second: u64, candidate: Side, active: Side) {
        if self.failed.is_some() {
            return;
        }
        let began = *self.began.get_or_insert(second);
        self.seconds += 1;
        self.candidate_requests += candidate.requests;
        self.active_requests += active.requests;
        self.assessment.observe_errors(candidate.errors(), active.errors());
        self.assessment.observe_slow(candidate, active);
        self.assessment.pass(self.last.map_or(1, |last| second.saturating_sub(last)) as f64);
        self.last = Some(second);
        if self.assessment.has_failed() {
            self.failed = Some(second);
            return;
        }
        let elapsed_s = (second.saturating_sub(began) + 1) as f64;
        let passes = elapsed_s >= self.rule.duration_min_s
            && self.candidate_requests >= self.rule.requests_min
            && self.evidence().outcome == Outcome::Pass;
        match passes {
            true => self.passing = self.passing.or(Some(second)),
            false => self.passing = None,
        }
    }

    pub fn has_failed(&self) -> bool {
        self.failed.is_some()
    }

    /// Seconds that both sides have.
    pub fn seconds(&self) -> u64 {
        self.seconds
    }

    /// The candidate's part of all requests, 0 to 1; `None` without requests.
    pub fn share(&self) -> Option<f64> {
        let requests = self.candidate_requests + self.active_requests;
        (requests > 0).then(|| self.candidate_requests as f64 / requests as f64)
    }

    fn evidence(&self) -> Verdict {
        self.assessment.verdict(&self.needed, self.rule.evidence_min)
    }

    /// The verdict at the end of the recording.
    pub fn conclude(&self) -> Conclusion {
        let verdict = self.evidence();
        let at_second = self.failed.or(self.passing);
        if self.failed.is_some() || self.passing.is_some() {
            return Conclusion { verdict, at_second };
        }
        if verdict.outcome != Outcome::Pass {
            return Conclusion { verdict, at_second: None };
        }
        let StepRule { duration_min_s, requests_min, .. } = self.rule;
        let why = match self.candidate_requests < requests_min {
            true => format!(
                "the candidate answered {} of the {requests_min} requests that a step needs",
                self.candidate_requests
            ),
            false => format!("the recording is shorter than the {duration_min_s} s that a step takes"),
        };
        let verdict = Verdict { outcome: Outcome::Inconclusive, why: format!("{why}; {}", verdict.why), ..verdict };
        Conclusion { verdict, at_second: None }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const RULE: StepRule = StepRule { duration_min_s: 30.0, requests_min: 100, evidence_min: 20.0 };

    fn side(requests: u64, errors: u64) -> Side {
        Side { requests, errors, slow: [None; 4] }
    }

    fn run(seconds: std::ops::Range<u64>, candidate: impl Fn(u64) -> Side, active: impl Fn(u64) -> Side) -> DryRun {
        let mut run = DryRun::new(&Policy::default(), RULE, [false; 4]);
        seconds.for_each(|second| run.observe(second, candidate(second), active(second)));
        run
    }

    #[test]
    fn a_good_version_passes_when_its_step_is_over() {
        let run = run(1_000..1_100, |_| side(100, 0), |_| side(900, 1));
        let conclusion = run.conclude();
        assert_eq!(conclusion.verdict.outcome, Outcome::Pass, "{}", conclusion.verdict.why);
        assert_eq!(conclusion.at_second, Some(1_029));
        assert_eq!((run.seconds(), run.share()), (100, Some(0.1)));
    }

    #[test]
    fn a_fault_after_an_hour_is_found_within_seconds() {
        let errors = |second| if second >= 3_600 { 5 } else { 0 };
        let run = run(0..7_200, |second| side(100, errors(second)), |_| side(900, 0));
        let conclusion = run.conclude();
        assert_eq!(conclusion.verdict.outcome, Outcome::Fail);
        assert!((3_600..3_612).contains(&conclusion.at_second.unwrap()), "{conclusion:?}");
    }

    #[test]
    fn what_is_missing_is_said() {
        let why = |run: DryRun| {
            let conclusion = run.conclude();
            assert_eq!((conclusion.verdict.outcome, conclusion.at_second), (Outcome::Inconclusive, None));
            conclusion.verdict.why
        };
        let nothing = why(run(0..0, |_| side(0, 0), |_| side(0, 0)));
        assert_eq!(nothing, "errors: nothing was measured of the candidate yet");
        let short = why(run(0..10, |_| side(100, 0), |_| side(900, 0)));
        assert!(
            short.starts_with("the recording is shorter than the 30 s that a step takes; errors: 0 of 1,000"),
            "{short}"
        );
        let few = why(run(0..60, |_| side(1, 0), |_| side(9, 0)));
        assert!(few.starts_with("errors: 0 of 60 (0.00 %) of the candidate"), "{few}");
        let none = why(run(0..60, |_| side(0, 0), |_| side(1_000, 0)));
        assert_eq!(none, nothing);
    }

    #[test]
    fn seconds_without_data_are_time_all_the_same() {
        let mut with_gap = DryRun::new(&Policy::default(), RULE, [false; 4]);
        for second in (0..300).filter(|second| !(60..240).contains(second)) {
            with_gap.observe(second, side(100, 0), side(900, 1));
        }
        assert_eq!(with_gap.seconds(), 120);
        assert_eq!(with_gap.conclude().at_second, Some(29));
    }
}
