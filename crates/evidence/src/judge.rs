//! The judge: several signals, one budget for false alarms, one verdict at any moment.
//!
//! The mean of the signals' E, with fixed weights, is an e-process itself, whatever the signals have to do with each other. The
//! candidate fails when it reaches 1/alpha. So a rollout without a difference is taken back with probability alpha at most, however
//! many signals there are, however often one looks, and however often the shares change on the way.

use crate::mixture::ln_mean_exp;
use crate::signal::{Counts, Signal, SignalRule};
use crate::text::{e_value, finite_e, percent};
use crate::{Outcome, Verdict};

/// Which signal of a [`Judge`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SignalId(usize);

/// Gathers what is measured and says at any moment what it amounts to.
#[derive(Debug, Clone)]
pub struct Judge {
    false_alarm_budget: f64,
    signals: Vec<Signal>,
    weights: f64,
}

/// One signal as it is now.
#[derive(Debug, Clone, PartialEq)]
pub struct SignalState<'a> {
    pub name: &'a str,
    pub group: &'a str,
    /// ln E against the candidate, of the whole rollout.
    pub ln_e_against: f64,
    /// ln E for it, of the step.
    pub ln_e_for: f64,
    /// Of the candidate, since the rollout began.
    pub candidate: Counts,
    /// Of the active environment, where the signal compares.
    pub active: Counts,
    /// It is the active environment that is worse.
    pub active_is_worse: bool,
}

impl Judge {
    /// `false_alarm_budget`: the probability, at most, that a rollout of a version that is not worse is taken back.
    ///
    /// # Panics
    /// When the budget is not between 0 and 1, both excluded.
    pub fn new(false_alarm_budget: f64) -> Self {
        let budget = false_alarm_budget;
        assert!(budget > 0.0 && budget < 1.0, "a budget of {budget}");
        Self { false_alarm_budget, signals: Vec::new(), weights: 0.0 }
    }

    /// Adds a signal; all of them have to be there before the first is observed. `weight`: its part of the budget, relative to
    /// the others. Signals of one `group` measure the same in several ways.
    ///
    /// # Panics
    /// When `weight` or a bound of `rule` is not a positive finite number.
    pub fn add(&mut self, name: &str, group: &str, weight: f64, rule: SignalRule) -> SignalId {
        assert!(weight > 0.0 && weight.is_finite(), "a weight of {weight}");
        self.signals.push(Signal::new(name, group, weight, rule));
        self.weights += weight;
        SignalId(self.signals.len() - 1)
    }

    /// A new share, or a new phase: what speaks for the candidate is gathered anew.
    pub fn begin_step(&mut self) {
        self.signals.iter_mut().for_each(Signal::begin_step);
    }

    /// Requests of a stretch of time on both sides, and how many were events. The shares of the reads may have been any,
    /// as long as they were the same during the whole stretch. A signal with a limit of its own takes the candidate's only.
    pub fn observe(&mut self, signal: SignalId, candidate: Counts, active: Counts) {
        self.signals[signal.0].observe(candidate, active);
    }

    /// A value from -1 to 1.
    pub fn observe_value(&mut self, signal: SignalId, value: f64) {
        self.signals[signal.0].observe_value(value);
    }

    /// Time goes by; called after what was observed in it.
    pub fn pass(&mut self, seconds: f64) {
        for signal in &mut self.signals {
            signal.pass(seconds);
        }
    }

    /// ln E against the candidate, of all signals together; 0 when there are none.
    pub fn ln_e(&self) -> f64 {
        let weighted = |signal: &Signal| (signal.weight / self.weights).ln() + signal.ln_e_against();
        let weighted: Vec<f64> = self.signals.iter().map(weighted).collect();
        match weighted.len() {
            0 => 0.0,
            count => ln_mean_exp(&weighted) + (count as f64).ln(),
        }
    }

    /// ln of the E at which the candidate fails.
    pub fn ln_e_needed(&self) -> f64 {
        -self.false_alarm_budget.ln()
    }

    pub fn has_failed(&self) -> bool {
        self.ln_e() >= self.ln_e_needed()
    }

    /// `Fail` when the candidate is worse; `Pass` when the evidence for it in each group of `needed` has reached
    /// `evidence_min` in this step; `Inconclusive` until then.
    pub fn verdict(&self, needed: &[&str], evidence_min: f64) -> Verdict {
        if self.has_failed() {
            return self.failure();
        }
        let mut weakest: Option<Verdict> = None;
        for group in needed {
            let verdict = self.verdict_of(group, evidence_min);
            let rank = |verdict: &Verdict| (verdict.outcome == Outcome::Pass, verdict.e_value.unwrap_or(0.0));
            if weakest.as_ref().is_none_or(|before| rank(&verdict) < rank(before)) {
                weakest = Some(verdict);
            }
        }
        weakest.unwrap_or_else(|| Verdict::inconclusive("none", "nothing is measured"))
    }

    /// What one group says for the candidate, told by its strongest signal.
    fn verdict_of(&self, group: &str, evidence_min: f64) -> Verdict {
        let members: Vec<&Signal> = self.signals.iter().filter(|signal| signal.group == group).collect();
        let strongest = members.iter().filter(|signal| !signal.is_empty());
        let Some(strongest) = strongest.max_by(|one, other| one.ln_e_for().total_cmp(&other.ln_e_for())) else {
            return Verdict::inconclusive(group, format!("{group}: nothing was measured of the candidate yet"));
        };
        let each: Vec<f64> = members.iter().flat_map(|signal| signal.ln_e_for_each()).collect();
        let ln_e = ln_mean_exp(&each);
        let (outcome, relation) = match ln_e >= evidence_min.ln() {
            true => (Outcome::Pass, "is enough"),
            false => (Outcome::Inconclusive, "is needed"),
        };
        let (measured, e, enough) = (strongest.measured_in_step(), e_value(ln_e), e_value(evidence_min.ln()));
        let why = format!("{measured} (E for the candidate = {e}, {enough} {relation})");
        Verdict { outcome, signal: strongest.name.clone(), why, e_value: Some(finite_e(ln_e)) }
    }

    fn failure(&self) -> Verdict {
        let weighted = |signal: &Signal| signal.weight.ln() + signal.ln_e_against();
        let worst = self.signals.iter().max_by(|one, other| weighted(one).total_cmp(&weighted(other)));
        let (name, measured) = worst.map_or_else(Default::default, |signal| (signal.name.clone(), signal.measured()));
        let why = format!(
            "{measured} (E = {}, {} is enough: false alarms in at most {} of rollouts)",
            e_value(self.ln_e()),
            e_value(self.ln_e_needed()),
            percent(self.false_alarm_budget)
        );
        Verdict { outcome: Outcome::Fail, signal: name, why, e_value: Some(finite_e(self.ln_e())) }
    }

    pub fn signals(&self) -> impl Iterator<Item = SignalState<'_>> {
        self.signals.iter().map(|signal| {
            let (candidate, active) = signal.counts();
            SignalState {
                name: &signal.name,
                group: &signal.group,
                ln_e_against: signal.ln_e_against(),
                ln_e_for: signal.ln_e_for(),
                candidate,
                active,
                active_is_worse: signal.active_is_worse(),
            }
        })
    }
}

#[cfg(test)]
mod tests;
