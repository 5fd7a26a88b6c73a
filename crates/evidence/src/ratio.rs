//! Is an event more frequent on one side than on the other? The answer stays valid however often one looks.
//!
//! Each request belongs to the candidate with probability p, decided before its outcome. When the candidate's rate is at
//! most rho times the active's, an event is the candidate's with probability at most `rho p / (rho p + 1 - p)`. Against the
//! alternative that the ratio is r, the likelihood ratio of all events so far is
//!
//! ```text
//! ln E_r = K ln(r / rho) + sum over s of n_s ln[(rho p_s + 1 - p_s) / (r p_s + 1 - p_s)]
//! ```
//!
//! with K events of the candidate among the n_s events of each stretch s in which the share was p_s, and E the mean of the E_r
//! over a grid of r (with weights that favour what is to be found quickly) and over the moments at which a fault may have
//! begun. E is a non-negative supermartingale when the hypothesis holds, so it ever reaches 1/alpha with probability alpha at
//! most (Ville's inequality). The traffic's own ups and downs cancel out: only *where* events land matters, not when. (Lindon
//! and Malek, "Anytime-Valid Inference for Multinomial Count Data", arXiv 2011.03567; Turner, Ly and Grunwald, "Generic
//! E-Variables for Exact Sequential k-Sample Tests that allow for Optional Stopping", arXiv 2106.02693.)
//!
//! **Share that was in effect.** p_s may also be the candidate's part of the requests that were counted in the stretch. When
//! outcomes are independent with rates q and rho q, the numbers of events A and K are binomial; E_r is a convex function of
//! each, so its mean is at most that under Poisson numbers with the same means (Hoeffding 1963, theorem 4, and its limit), which
//! is exp(q N [c (r p + 1 - p) - (rho p + 1 - p)]) = 1 for N requests and c = (rho p + 1 - p) / (r p + 1 - p). So a router that
//! was late, or never quite divides as it was told, raises no false alarm.

use crate::mixture::Mixture;

/// Alternatives, as multiples of the ratio that is allowed.
pub(crate) const GRID: [f64; 10] = [1.1, 1.25, 1.5, 2.0, 3.0, 4.0, 6.0, 10.0, 30.0, 100.0];
/// Their weights. A fault that multiplies the events by 2 to 10 is what is to be found quickly: less takes long whatever the
/// weight is, more is found at once.
pub(crate) const WEIGHTS: [f64; GRID.len()] = [0.01, 0.01, 0.03, 0.2, 0.04, 0.09, 0.13, 0.47, 0.01, 0.01];

/// Evidence that the candidate's rate of some event is more (or less) than a multiple of the active's.
#[derive(Debug, Clone, PartialEq)]
pub struct RatioTest {
    /// rho.
    ratio: f64,
    /// r of each alternative.
    alternatives: [f64; GRID.len()],
    money: Mixture,
    /// ln of the factor by which one stretch may raise E.
    ln_growth_max: f64,
}

impl RatioTest {
    /// Gathers evidence against "the candidate's rate is at most `ratio` times the active's".
    ///
    /// # Panics
    /// When `ratio` is not a positive finite number.
    pub fn above(ratio: f64) -> Self {
        Self::new(ratio, GRID.map(|multiple| ratio * multiple))
    }

    /// Gathers evidence against "the candidate's rate is at least `ratio` times the active's".
    ///
    /// # Panics
    /// When `ratio` is not a positive finite number.
    pub fn below(ratio: f64) -> Self {
        Self::new(ratio, GRID.map(|multiple| ratio / multiple))
    }

    fn new(ratio: f64, alternatives: [f64; GRID.len()]) -> Self {
        assert!(ratio.is_finite() && ratio > 0.0, "a ratio of {ratio}");
        Self { ratio, alternatives, money: Mixture::new(&WEIGHTS), ln_growth_max: f64::INFINITY }
    }

    /// One stretch raises E by this factor at most. Events that come in bursts, such as answers that all waited for the same
    /// pause, are then about one observation and not many. Less than a supermartingale is one as well.
    pub fn with_growth_max(mut self, factor: f64) -> Self {
        self.ln_growth_max = factor.max(1.0).ln();
        self
    }

    /// Adds the events of a stretch in which the candidate's share of the requests was `share`. With a share of 0 or 1 there is
    /// nobody to compare with, and nothing changes.
    pub fn observe(&mut self, share: f64, candidate_events: u64, active_events: u64) {
        if !(share > 0.0 && share < 1.0) || candidate_events + active_events == 0 {
            return;
        }
        let (candidate, all) = (candidate_events as f64, (candidate_events + active_events) as f64);
        let of_ratio = self.ratio * share + 1.0 - share;
        self.money.multiply(self.alternatives.map(|alternative| {
            let of_alternative = alternative * share + 1.0 - share;
            let ln_increment = candidate * (alternative / self.ratio).ln() + all * (of_ratio / of_alternative).ln();
            ln_increment.min(self.ln_growth_max)
        }));
    }

    /// Time goes by, whether there were events or not: what begins to go wrong now is found as well.
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

    /// E by sums of products over single events, without logarithms.
    fn directly(ratio: f64, alternatives: &[f64], events: &[(f64, bool)]) -> f64 {
        let probability = |ratio: f64, share: f64, of_candidate: bool| {
            let candidate = ratio * share / (ratio * share + 1.0 - share);
            if of_candidate { candidate } else { 1.0 - candidate }
        };
        let product = |alternative: f64| -> f64 {
            let factors = events.iter().map(|&(share, of_candidate)| {
                probability(alternative, share, of_candidate) / probability(ratio, share, of_candidate)
            });
            factors.product()
        };
        let weighted = alternatives.iter().zip(WEIGHTS).map(|(&alternative, weight)| weight * product(alternative));
        0.05 + 0.95 * weighted.sum::<f64>()
    }

    #[test]
    fn it_is_the_likelihood_ratio_of_single_events() {
        let events = [(0.1, true), (0.1, false), (0.1, true), (0.5, true), (0.5, false), (0.9, true), (0.1, false)];
        for ratio in [0.5, 1.0, 2.0] {
            for (mut test, alternatives) in [
                (RatioTest::above(ratio), GRID.map(|multiple| ratio * multiple)),
                (RatioTest::below(ratio), GRID.map(|multiple| ratio / multiple)),
            ] {
                for (share, of_candidate) in events {
                    test.observe(share, u64::from(of_candidate), u64::from(!of_candidate));
                }
                let expected = directly(ratio, &alternatives, &events);
                assert!((test.ln_e().exp() / expected - 1.0).abs() < 1e-9, "{ratio}: {} {expected}", test.ln_e().exp());
            }
        }
    }

    #[test]
    fn events_may_come_in_any_packets() {
        let (mut one, mut many) = (RatioTest::above(1.0), RatioTest::above(1.0));
        one.observe(0.1, 7, 20);
        for _ in 0..7 {
            many.observe(0.1, 1, 2);
        }
        many.observe(0.1, 0, 6);
        assert!((one.ln_e() - many.ln_e()).abs() < 1e-9);
    }

    #[test]
    fn a_burst_is_one_observation() {
        let mut test = RatioTest::above(1.0).with_growth_max(10.0);
        test.observe(0.1, 1_000, 0);
        assert!((test.ln_e().exp() - (0.05 + 0.95 * 10.0)).abs() < 1e-9, "{}", test.ln_e().exp());
    }

    #[test]
    fn without_a_control_there_is_no_evidence() {
        let mut test = RatioTest::above(1.0);
        test.observe(1.0, 1_000, 0);
        test.observe(0.0, 0, 1_000);
        test.observe(f64::NAN, 10, 10);
        assert!(test.ln_e().abs() < 1e-12);
    }

    /// The mean of E over every outcome of a stretch, weighted by its probability, is at most 1: that is what makes it evidence.
    #[test]
    fn its_mean_is_at_most_one_under_the_hypothesis() {
        let binomial = |n: u64, q: f64| -> Vec<f64> {
            let mut chances = vec![(1.0 - q).powi(n as i32)];
            for k in 1..=n {
                let before = chances[k as usize - 1];
                chances.push(before * (n - k + 1) as f64 / k as f64 * q / (1.0 - q));
            }
            chances
        };
        for ratio in [1.0, 1.5] {
            for rate in [0.001, 0.05, 0.4] {
                // Of 60 requests the candidate got 6: its part is what counts, whatever the router was told.
                let (candidate, active) = (binomial(6, rate * ratio), binomial(54, rate));
                let mut mean = 0.0;
                for (k, chance) in candidate.iter().enumerate() {
                    for (a, chance_active) in active.iter().enumerate() {
                        let mut test = RatioTest::above(ratio);
                        test.observe(0.1, k as u64, a as u64);
                        mean += chance * chance_active * test.ln_e().exp();
                    }
                }
                assert!(mean <= 1.0 + 1e-9, "ratio {ratio}, rate {rate}: {mean}");
                assert!(mean > 0.2, "ratio {ratio}, rate {rate}: {mean} is hardly evidence at all");
            }
        }
    }
}
