//! One thing that is measured of both environments, with the tests that it feeds.

use crate::mixture::ln_mean_exp;
use crate::text::{e_value, percent, thousands};
use crate::{MeanTest, RateTest, RatioTest};
use serde::{Deserialize, Serialize};

/// A candidate passes when its ratio is shown to be below this multiple of the ratio at which it fails: what lies between is
/// neither shown to be good nor to be bad, however long one looks.
const PASS_MULTIPLE: f64 = 2.0;
/// E at which the active environment is said to be the worse one.
const E_ACTIVE_WORSE: f64 = 1_000.0;
/// So many requests of one side alone are no longer held against the next ones of the other.
const PENDING_MAX: u64 = 1_000;

/// When a signal speaks against the candidate.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub enum SignalRule {
    /// Events among the requests of both sides, such as errors, or answers slower than a threshold.
    Events {
        /// The candidate's rate may be this multiple of the active's.
        ratio_max: f64,
        /// A rate of the candidate below this is good whatever the active's is, 0 to 1.
        harmless_rate: Option<f64>,
        /// See [`RatioTest::with_growth_max`]; infinite for events that come one by one.
        growth_max: f64,
    },
    /// Events that need no other side, such as searches that find other results.
    Rate { rate_max: f64 },
    /// The mean of values from -1 to 1, such as the part of true neighbours that a search lost.
    Mean { mean_max: f64 },
}

/// Requests of one side, and how many of them were events.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Counts {
    pub requests: u64,
    pub events: u64,
}

impl Counts {
    /// Events per request, 0 to 1; 0 without requests.
    pub fn rate(self) -> f64 {
        if self.requests == 0 { 0.0 } else { self.events.min(self.requests) as f64 / self.requests as f64 }
    }

    fn add(&mut self, other: Counts) {
        self.requests += other.requests;
        self.events += other.events;
    }
}

/// What was counted in some time.
#[derive(Debug, Clone, Copy, Default)]
struct Seen {
    candidate: Counts,
    active: Counts,
}

impl Seen {
    fn add(&mut self, candidate: Counts, active: Counts) {
        self.candidate.add(candidate);
        self.active.add(active);
    }
}

#[derive(Debug, Clone)]
pub(crate) struct Signal {
    pub name: String,
    /// Signals of one group can stand in for each other when it comes to showing that the candidate is good.
    pub group: String,
    pub weight: f64,
    rule: SignalRule,
    /// Of the whole rollout.
    against: Test,
    active_worse: Option<Test>,
    run: Seen,
    /// Requests of one side that had none of the other to be compared with yet.
    pending: Seen,
    /// Of the step.
    favour: Vec<Test>,
    step: Seen,
}

#[derive(Debug, Clone)]
enum Test {
    Ratio(Box<RatioTest>),
    Rate(Box<RateTest>),
    Mean(Box<MeanTest>),
}

impl Test {
    fn ratio(test: RatioTest, growth_max: f64) -> Self {
        Test::Ratio(Box::new(test.with_growth_max(growth_max)))
    }

    fn pass(&mut self, seconds: f64) {
        match self {
            Test::Ratio(test) => test.pass(seconds),
            Test::Rate(test) => test.pass(seconds),
            Test::Mean(test) => test.pass(seconds),
        }
    }

    fn ln_e(&self) -> f64 {
        match self {
            Test::Ratio(test) => test.ln_e(),
            Test::Rate(test) => test.ln_e(),
            Test::Mean(test) => test.ln_e(),
        }
    }
}

impl SignalRule {
    /// What gathers evidence against the candidate.
    fn against(self) -> Test {
        match self {
            SignalRule::Events { ratio_max, growth_max, .. } => Test::ratio(RatioTest::above(ratio_max), growth_max),
            SignalRule::Rate { rate_max } => Test::Rate(Box::new(RateTest::above(rate_max))),
            SignalRule::Mean { mean_max } => Test::Mean(Box::new(MeanTest::above(mean_max))),
        }
    }

    /// What gathers evidence for it; each of these alone would do.
    fn favour(self) -> Vec<Test> {
        match self {
            SignalRule::Events { ratio_max, harmless_rate, growth_max } => {
                let ratio = Test::ratio(RatioTest::below(ratio_max * PASS_MULTIPLE), growth_max);
                let harmless = harmless_rate.map(|rate| Test::Rate(Box::new(RateTest::below(rate))));
                [ratio].into_iter().chain(harmless).collect()
            }
            SignalRule::Rate { rate_max } => {
                let limit = (rate_max * PASS_MULTIPLE).min((1.0 + rate_max) / 2.0);
                vec![Test::Rate(Box::new(RateTest::below(limit)))]
            }
            // The same of the negated values: that the mean is at least this is what it speaks against.
            SignalRule::Mean { mean_max } => vec![Test::Mean(Box::new(MeanTest::above(-(mean_max * PASS_MULTIPLE))))],
        }
    }
}

impl Signal {
    pub fn new(name: &str, group: &str, weight: f64, rule: SignalRule) -> Self {
        let active_worse = matches!(rule, SignalRule::Events { .. }).then(|| rule.against());
        Self {
            name: name.into(),
            group: group.into(),
            weight,
            rule,
            against: rule.against(),
            active_worse,
            run: Seen::default(),
            pending: Seen::default(),
            favour: rule.favour(),
            step: Seen::default(),
        }
    }

    /// What speaks for the candidate is gathered anew; what speaks against it stays.
    pub fn begin_step(&mut self) {
        self.favour = self.rule.favour();
        (self.step, self.pending) = (Seen::default(), Seen::default());
    }

    pub fn observe(&mut self, candidate: Counts, active: Counts) {
        match self.rule {
            SignalRule::Events { .. } => self.observe_events(candidate, active),
            SignalRule::Rate { .. } | SignalRule::Mean { .. } => self.observe_trials(candidate),
        }
    }

    fn observe_events(&mut self, candidate: Counts, active: Counts) {
        self.count(candidate, active);
        for test in &mut self.favour {
            if let Test::Rate(harmless) = test {
                harmless.observe(candidate.requests, candidate.events);
            }
        }
        let Some(Seen { candidate, active }) = self.both_sides(candidate, active) else { return };
        let share = candidate.requests as f64 / (candidate.requests + active.requests) as f64;
        for test in [&mut self.against].into_iter().chain(&mut self.favour) {
            if let Test::Ratio(test) = test {
                test.observe(share, candidate.events, active.events);
            }
        }
        if let Some(Test::Ratio(test)) = &mut self.active_worse {
            test.observe(1.0 - share, active.events, candidate.events);
        }
    }

    /// With little traffic most looks see requests of one side only: a comparison waits until there are some of both. That is
    /// decided by the requests and not by how they ended, so what is judged then is a stretch like any other.
    fn both_sides(&mut self, candidate: Counts, active: Counts) -> Option<Seen> {
        self.pending.add(candidate, active);
        let Seen { candidate, active } = self.pending;
        let both = candidate.requests > 0 && active.requests > 0;
        if both || candidate.requests + active.requests > PENDING_MAX {
            self.pending = Seen::default();
        }
        both.then_some(Seen { candidate, active })
    }

    fn observe_trials(&mut self, trials: Counts) {
        self.count(trials, Counts::default());
        for test in [&mut self.against].into_iter().chain(&mut self.favour) {
            if let Test::Rate(test) = test {
                test.observe(trials.requests, trials.events);
            }
        }
    }

    pub fn observe_value(&mut self, value: f64) {
        self.count(Counts { requests: 1, events: 0 }, Counts::default());
        if let Test::Mean(test) = &mut self.against {
            test.observe(value);
        }
        for test in &mut self.favour {
            if let Test::Mean(test) = test {
                test.observe(-value);
            }
        }
    }

    fn count(&mut self, candidate: Counts, active: Counts) {
        self.run.add(candidate, active);
        self.step.add(candidate, active);
    }

    pub fn pass(&mut self, seconds: f64) {
        let tests = [&mut self.against].into_iter().chain(&mut self.active_worse).chain(&mut self.favour);
        tests.for_each(|test| test.pass(seconds));
    }

    /// ln of the evidence against the candidate.
    pub fn ln_e_against(&self) -> f64 {
        self.against.ln_e()
    }

    /// ln of each test's evidence for the candidate in this step.
    pub fn ln_e_for_each(&self) -> Vec<f64> {
        self.favour.iter().map(Test::ln_e).collect()
    }

    /// ln of the evidence for the candidate in this step.
    pub fn ln_e_for(&self) -> f64 {
        ln_mean_exp(&self.ln_e_for_each())
    }

    /// The active environment is worse, as surely as a thousand to one.
    pub fn active_is_worse(&self) -> bool {
        self.active_worse.as_ref().is_some_and(|test| test.ln_e() >= E_ACTIVE_WORSE.ln())
    }

    /// Nothing was measured of the candidate in this step.
    pub fn is_empty(&self) -> bool {
        self.step.candidate.requests == 0
    }

    /// Of candidate and active, since the rollout began.
    pub fn counts(&self) -> (Counts, Counts) {
        (self.run.candidate, self.run.active)
    }

    /// What was measured in the whole rollout, in words.
    pub fn measured(&self) -> String {
        self.words(self.run)
    }

    /// The same of the step.
    pub fn measured_in_step(&self) -> String {
        self.words(self.step)
    }

    fn words(&self, Seen { candidate, active }: Seen) -> String {
        let of = |counts: Counts| {
            let Counts { requests, events } = counts;
            format!("{} of {} ({})", thousands(events), thousands(requests), percent(counts.rate()))
        };
        let name = &self.name;
        match self.rule {
            SignalRule::Events { ratio_max, .. } => {
                let allowed = match ratio_max {
                    1.0 => "no more is allowed".to_string(),
                    ratio => format!("{ratio} times as many are allowed"),
                };
                let excuse = match &self.active_worse {
                    Some(test) if self.active_is_worse() => {
                        format!("; the active environment is the worse one (E = {})", e_value(test.ln_e()))
                    }
                    _ => String::new(),
                };
                let (candidate, active) = (of(candidate), of(active));
                format!("{name}: {candidate} of the candidate, {active} of the active environment; {allowed}{excuse}")
            }
            SignalRule::Rate { rate_max } => {
                format!("{name}: {} of the candidate; {} is allowed", of(candidate), percent(rate_max))
            }
            SignalRule::Mean { mean_max } => {
                let mean = match &self.against {
                    Test::Mean(test) => test.mean(),
                    Test::Ratio(_) | Test::Rate(_) => 0.0,
                };
                let (mean, count) = (percent(mean), thousands(self.run.candidate.requests));
                format!("{name}: {mean} on average over {count}; {} is allowed", percent(mean_max))
            }
        }
    }
}
