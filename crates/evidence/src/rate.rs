//! Is an event of one side alone more (or less) frequent than a limit? For events that need no control, such as a search
//! that finds other results than it should.
//!
//! The likelihood ratio of x events in n trials for a rate q against the limit L is `(q/L)^x ((1-q)/(1-L))^(n-x)`; E is the
//! mean over a grid of q on one side of L, and a supermartingale for every rate on the other side (Ville's inequality as in
//! [`crate::RatioTest`]; Wald, "Sequential Tests of Statistical Hypotheses", 1945, for a single q).

use crate::mixture::Mixture;
use crate::ratio::{GRID, WEIGHTS};

/// Evidence that a rate is above, or below, a limit.
#[derive(Debug, Clone, PartialEq)]
pub struct RateTest {
    limit: f64,
    alternatives: [f64; GRID.len()],
    money: Mixture,
}

impl RateTest {
    /// Gathers evidence against "the rate is at most `limit`".
    ///
    /// # Panics
    /// When `limit` is not between 0 and 1, both excluded.
    pub fn above(limit: f64) -> Self {
        // The odds and not the rates are multiplied, so that every alternative is a rate.
        Self::new(limit, |multiple, odds| odds * multiple)
    }

    /// Gathers evidence against "the rate is at least `limit`".
    ///
    /// # Panics
    /// When `limit` is not between 0 and 1, both excluded.
    pub fn below(limit: f64) -> Self {
        Self::new(limit, |multiple, odds| odds / multiple)
    }

    fn new(limit: f64, alternative_odds: impl Fn(f64, f64) -> f64) -> Self {
        assert!(limit > 0.0 && limit < 1.0, "a limit of {limit}");
        let of = |multiple| {
            let odds = alternative_odds(multiple, limit / (1.0 - limit));
            odds / (1.0 + odds)
        };
        Self { limit, alternatives: GRID.map(of), money: Mixture::new(&WEIGHTS) }
    }

    /// Adds `events` in `trials`; events beyond the trials are not counted.
    pub fn observe(&mut self, trials: u64, events: u64) {
        let events = events.min(trials);
        let (events, others) = (events as f64, (trials - events) as f64);
        self.money.multiply(
            self.alternatives
                .map(|rate| events * (rate / self.limit).ln() + others * ((1.0 - rate) / (1.0 - self.limit)).ln()),
        );
    }

    /// Time goes by (see [`crate::RatioTest::pass`]).
    pub fn pass(&mut self, seconds: f64) {
        self.money.pass(seconds);
    }

    /// ln E; 0 when nothing was observed.
    pub fn ln_e(&self) -> f64 {
        self.money.ln_e()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The mean of E over all outcomes of `trials` at `rate`.
    fn mean(test: &RateTest, trials: u64, rate: f64) -> f64 {
        let mut chance = (1.0 - rate).powi(trials as i32);
        let mut mean = 0.0;
        for events in 0..=trials {
            let mut test = test.clone();
            test.observe(trials, events);
            mean += (chance.ln() + test.ln_e()).exp();
            chance *= (trials - events) as f64 / (events + 1) as f64 * rate / (1.0 - rate);
        }
        mean
    }

    #[test]
    fn its_mean_is_one_at_the_limit_and_less_on_the_allowed_side() {
        for limit in [0.01, 0.02, 0.5] {
            for test in [RateTest::above(limit), RateTest::below(limit)] {
                let mean = mean(&test, 200, limit);
                assert!((mean - 1.0).abs() < 1e-6, "{limit}: {mean}");
            }
            assert!(mean(&RateTest::above(limit), 200, limit / 2.0) < 1.0);
            assert!(mean(&RateTest::below(limit), 200, (limit * 2.0).min(0.9)) < 1.0);
        }
    }

    #[test]
    fn a_few_hundred_trials_without_an_event_show_a_rate_below_one_percent() {
        let mut test = RateTest::below(0.01);
        test.observe(359, 0);
        let before = test.ln_e().exp();
        test.observe(200, 0);
        assert!(before < 20.0 && test.ln_e().exp() > 20.0, "{before} {}", test.ln_e().exp());
    }

    #[test]
    fn more_events_than_trials_are_no_more_than_all() {
        let (mut one, mut other) = (RateTest::above(0.1), RateTest::above(0.1));
        one.observe(5, 9);
        other.observe(5, 5);
        assert_eq!(one, other);
    }
}
