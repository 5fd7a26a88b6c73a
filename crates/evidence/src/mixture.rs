//! The mean of many tests: over what may be true instead of the hypothesis, and over when it may have become true.
//!
//! A mean of e-processes with fixed weights is one again. Over alternatives it means that nobody has to know beforehand how bad
//! a bad version is. Over moments it means that a fault which begins late is found about as early as one that was there from the
//! beginning: whatever went well before would have to be outweighed first if there were only one test from the beginning on.
//! (The weights of the moments are those of a change-point prior: Shin, Ramdas and Rinaldo, "E-detectors", arXiv 2203.03532,
//! section 3, with a sum of weights of one in place of one each, so that a false alarm stays unlikely for ever.)

/// Weight of the tests that begin at once: most faults are there from the first request on.
const AT_ONCE: f64 = 0.95;
/// Of the rest half begins within this time, and half of the remainder until twice of it is over, and so on more slowly.
const HALF_LATER_S: f64 = 60.0;

/// One test for each alternative and moment, as the money they have made out of 1 together.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Mixture {
    /// ln of the money of those that have begun, for each alternative.
    begun: Vec<f64>,
    /// ln of each alternative's part of what begins.
    ln_weights: Vec<f64>,
    elapsed_s: f64,
}

impl Mixture {
    /// One weight for each alternative; together they are 1.
    pub fn new(weights: &[f64]) -> Self {
        let ln_weights: Vec<f64> = weights.iter().map(|weight| weight.ln()).collect();
        Self { begun: ln_weights.iter().map(|weight| weight + AT_ONCE.ln()).collect(), ln_weights, elapsed_s: 0.0 }
    }

    /// What was seen multiplies the money of each alternative by the exponential of its increment.
    pub fn multiply(&mut self, ln_increments: impl IntoIterator<Item = f64>) {
        for (money, increment) in self.begun.iter_mut().zip(ln_increments) {
            *money += increment;
        }
    }

    /// Time goes by: more tests begin.
    pub fn pass(&mut self, seconds: f64) {
        if !(seconds > 0.0 && seconds.is_finite()) {
            return;
        }
        let before = waiting(self.elapsed_s);
        self.elapsed_s += seconds;
        let begins = (before - waiting(self.elapsed_s)).max(f64::MIN_POSITIVE).ln();
        for (money, ln_weight) in self.begun.iter_mut().zip(&self.ln_weights) {
            let new = begins + ln_weight;
            let (low, high) = (money.min(new), money.max(new));
            *money = high + (low - high).exp().ln_1p();
        }
    }

    /// ln of everything.
    pub fn ln_e(&self) -> f64 {
        let waiting = waiting(self.elapsed_s).ln();
        let most = self.begun.iter().copied().fold(waiting, f64::max);
        let sum: f64 = self.begun.iter().map(|money| (money - most).exp()).sum();
        most + (sum + (waiting - most).exp()).ln()
    }
}

/// Weight of the tests that begin only after this time.
fn waiting(elapsed_s: f64) -> f64 {
    (1.0 - AT_ONCE) * HALF_LATER_S / (HALF_LATER_S + elapsed_s)
}

/// ln of the mean of E-values given by their logarithms.
pub(crate) fn ln_mean_exp(ln_values: &[f64]) -> f64 {
    let most = ln_values.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    if !most.is_finite() {
        return most;
    }
    most + (ln_values.iter().map(|ln_value| (ln_value - most).exp()).sum::<f64>() / ln_values.len() as f64).ln()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn money_is_neither_made_nor_lost_by_waiting() {
        let mut mixture = Mixture::new(&[0.2, 0.3, 0.5]);
        for seconds in [0.1, 1.0, 7.0, 1e6, f64::NAN, -1.0] {
            mixture.pass(seconds);
            assert!(mixture.ln_e().abs() < 1e-9, "{}", mixture.ln_e());
        }
    }

    #[test]
    fn it_is_the_mean_over_alternatives_and_beginnings() {
        let increments = [[0.5, -1.0], [2.0, 0.25], [-0.5, 1.0]];
        let mut mixture = Mixture::new(&[0.25, 0.75]);
        for increment in increments {
            mixture.multiply(increment);
            mixture.pass(10.0);
        }
        let later = 1.0 - AT_ONCE;
        let beginnings = [1.0 / 7.0, 6.0 / 7.0 - 6.0 / 8.0, 6.0 / 8.0 - 6.0 / 9.0].map(|part| later * part);
        let weights = [AT_ONCE, beginnings[0], beginnings[1], beginnings[2]];
        let mut expected = later * 6.0 / 9.0;
        for (alternative, of_alternative) in [0.25, 0.75].into_iter().enumerate() {
            for (beginning, weight) in weights.iter().enumerate() {
                let sum: f64 = increments[beginning..].iter().map(|increment: &[f64; 2]| increment[alternative]).sum();
                expected += weight * of_alternative * sum.exp();
            }
        }
        assert!((mixture.ln_e().exp() - expected).abs() < 1e-12, "{} {expected}", mixture.ln_e().exp());
    }

    #[test]
    fn what_went_well_for_an_hour_does_not_hide_what_goes_wrong_now() {
        let mut mixture = Mixture::new(&[1.0]);
        for _ in 0..3_600 {
            mixture.multiply([-0.4]);
            mixture.pass(1.0);
        }
        for _ in 0..30 {
            mixture.multiply([1.0]);
            mixture.pass(1.0);
        }
        assert!(mixture.ln_e() > 1_000f64.ln(), "{}", mixture.ln_e());
    }
}
