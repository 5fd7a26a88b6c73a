//! One thing that is measured of both environments, with the tests that it feeds.

use crate::mixture::ln_mean_exp;
use crate::text::{e_value, percent, thousands};
use crate::{MeanTest, RateTest, RatioTest};
use serde::{Deserialize, Serialize};

/// A candidate passes when its ratio is shown to be below this multiple of the ratio at which it fails: what lies between is
/// neither shown to be good nor to be bad, however long one looks.
const PASS_MULTIPLE: f64 = 2.0;
/// ln of the evidence at which the active environment is said to be the worse one.
const LN_E_ACTIVE_WORSE: f64 = 6.907_755_278_982_137;

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

#[derive(Debug, Clone)]
pub(crate) struct Signal {
    pub name: String,
    /// Signals of one group can stand in for each other when it comes to showing that the candidate is good.
    pub group: String,
    pub weight: f64,
    rule: SignalRule,
    /// Of the whole rollout.
    against: Against,
    active_worse: Option<Box<RatioTest>>,
    run: Seen,
    /// Of the step.
    favour: Favour,
    step: Seen,
}

#[derive(Debug, Clone)]
enum Against {
    Ratio(Box<RatioTest>),
    Rate(Box<RateTest>),
    Mean(Box<MeanTest>),
}

/// Tests whose evidence speaks for the candidate; each alone would do.
#[derive(Debug, Clone)]
struct Favour {
    ratio: Option<Box<RatioTest>>,
    rate: Option<Box<RateTest>>,
    mean: Option<Box<MeanTest>>,
}

impl Favour {
    fn new(rule: SignalRule) -> Self {
        let nothing = Self { ratio: None, rate: None, mean: None };
        match rule {
            SignalRule::Events { ratio_max, harmless_rate, growth_max } => Self {
                ratio: Some(Box::new(RatioTest::below(ratio_max * PASS_MULTIPLE).with_growth_max(growth_max))),
                rate: harmless_rate.map(|rate| Box::new(RateTest::below(rate))),
                ..nothing
            },
            SignalRule::Rate { rate_max } => {
                let limit = (rate_max * PASS_MULTIPLE).min((1.0 + rate_max) / 2.0);
                Self { rate: Some(Box::new(RateTest::below(limit))), ..nothing }
            }
            // The same of the negated values: that the mean is at least this is what it speaks against.
            SignalRule::Mean { mean_max } => {
                Self { mean: Some(Box::new(MeanTest::above(-(mean_max * PASS_MULTIPLE)))), ..nothing }
            }
        }
    }

    fn ln_e(&self) -> Vec<f64> {
        let ratio = self.ratio.iter().map(|test| test.ln_e());
        ratio.chain(self.rate.iter().map(|test| test.ln_e())).chain(self.mean.iter().map(|test| test.ln_e())).collect()
    }

    fn pass(&mut self, seconds: f64) {
        self.ratio.iter_mut().for_each(|test| test.pass(seconds));
        self.rate.iter_mut().for_each(|test| test.pass(seconds));
        self.mean.iter_mut().for_each(|test| test.pass(seconds));
    }
}

impl Signal {
    pub fn new(name: &str, group: &str, weight: f64, rule: SignalRule) -> Self {
        let (against, active_worse) = match rule {
            SignalRule::Events { ratio_max, growth_max, .. } => {
                let above = Box::new(RatioTest::above(ratio_max).with_growth_max(growth_max));
                (Against::Ratio(above.clone()), Some(above))
            }
            SignalRule::Rate { rate_max } => (Against::Rate(Box::new(RateTest::above(rate_max))), None),
            SignalRule::Mean { mean_max } => (Against::Mean(Box::new(MeanTest::above(mean_max))), None),
        };
        Self {
            name: name.into(),
            group: group.into(),
            weight,
            rule,
            against,
            active_worse,
            run: Seen::default(),
            favour: Favour::new(rule),
            step: Seen::default(),
        }
    }

    /// What speaks for the candidate is gathered anew; what speaks against it stays.
    pub fn begin_step(&mut self) {
        self.favour = Favour::new(self.rule);
        self.step = Seen::default();
    }

    pub fn observe_events(&mut self, candidate: Counts, active: Counts) {
        self.count(candidate, active);
        if let Some(harmless) = &mut self.favour.rate {
            harmless.observe(candidate.requests, candidate.events);
        }
        let requests = candidate.requests + active.requests;
        if requests == 0 {
            return;
        }
        let share = candidate.requests as f64 / requests as f64;
        if let Against::Ratio(test) = &mut self.against {
            test.observe(share, candidate.events, active.events);
        }
        if let Some(test) = &mut self.favour.ratio {
            test.observe(share, candidate.events, active.events);
        }
        if let Some(test) = &mut self.active_worse {
            test.observe(1.0 - share, active.events, candidate.events);
        }
    }

    pub fn observe_trials(&mut self, trials: Counts) {
        self.count(trials, Counts::default());
        if let Against::Rate(test) = &mut self.against {
            test.observe(trials.requests, trials.events);
        }
        if let Some(test) = &mut self.favour.rate {
            test.observe(trials.requests, trials.events);
        }
    }

    pub fn observe_value(&mut self, value: f64) {
        self.count(Counts { requests: 1, events: 0 }, Counts::default());
        if let Against::Mean(test) = &mut self.against {
            test.observe(value);
        }
        if let Some(test) = &mut self.favour.mean {
            test.observe(-value);
        }
    }

    fn count(&mut self, candidate: Counts, active: Counts) {
        for seen in [&mut self.run, &mut self.step] {
            seen.candidate.add(candidate);
            seen.active.add(active);
        }
    }

    pub fn pass(&mut self, seconds: f64) {
        match &mut self.against {
            Against::Ratio(test) => test.pass(seconds),
            Against::Rate(test) => test.pass(seconds),
            Against::Mean(test) => test.pass(seconds),
        }
        if let Some(test) = &mut self.active_worse {
            test.pass(seconds);
        }
        self.favour.pass(seconds);
    }

    /// ln of the evidence against the candidate.
    pub fn ln_e_against(&self) -> f64 {
        match &self.against {
            Against::Ratio(test) => test.ln_e(),
            Against::Rate(test) => test.ln_e(),
            Against::Mean(test) => test.ln_e(),
        }
    }

    /// ln of each test's evidence for the candidate in this step.
    pub fn ln_e_for_each(&self) -> Vec<f64> {
        self.favour.ln_e()
    }

    /// ln of the evidence for the candidate in this step.
    pub fn ln_e_for(&self) -> f64 {
        ln_mean_exp(&self.favour.ln_e())
    }

    /// The active environment is worse, as surely as a thousand to one.
    pub fn active_is_worse(&self) -> bool {
        self.active_worse.as_ref().is_some_and(|test| test.ln_e() >= LN_E_ACTIVE_WORSE)
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
                    Against::Mean(test) => test.mean(),
                    Against::Ratio(_) | Against::Rate(_) => 0.0,
                };
                let (mean, count) = (percent(mean), thousands(self.run.candidate.requests));
                format!("{name}: {mean} on average over {count}; {} is allowed", percent(mean_max))
            }
        }
    }
}
