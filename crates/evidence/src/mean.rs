//! Is the mean of a bounded quantity above a limit? For what is measured in parts, such as how much of the true neighbours
//! a search lost.
//!
//! A gambler who bets that x is above m and stakes the part lambda of his money has `prod (1 + lambda (x_i - m))` after i rounds: he
//! cannot expect to win while the mean is at most m. E is the mean over a grid of lambda. (Waudby-Smith and Ramdas,
//! "Estimating means of bounded random variables by betting", arXiv 2010.09686, section 4.)

use crate::mixture::Mixture;

/// Stakes, as parts of the largest that can never lose more than there is.
const STAKES: [f64; 8] = [0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.4, 0.8];

/// Evidence that the mean of values from -1 to 1 is above a limit.
#[derive(Debug, Clone, PartialEq)]
pub struct MeanTest {
    limit: f64,
    money: Mixture,
    count: u64,
    sum: f64,
}

impl MeanTest {
    /// Gathers evidence against "the mean is at most `limit`".
    ///
    /// # Panics
    /// When `limit` is not between -1 and 1, both excluded.
    pub fn above(limit: f64) -> Self {
        assert!(limit > -1.0 && limit < 1.0, "a limit of {limit}");
        Self { limit, money: Mixture::new(&[1.0 / STAKES.len() as f64; STAKES.len()]), count: 0, sum: 0.0 }
    }

    /// Adds a value from -1 to 1; one outside is taken as the nearer end, and what is no number is left out.
    pub fn observe(&mut self, value: f64) {
        if value.is_nan() {
            return;
        }
        let value = value.clamp(-1.0, 1.0);
        self.count += 1;
        self.sum += value;
        self.money.multiply(STAKES.map(|stake| (stake / (1.0 + self.limit) * (value - self.limit)).ln_1p()));
    }

    /// Time goes by (see [`crate::RatioTest::pass`]).
    pub fn pass(&mut self, seconds: f64) {
        self.money.pass(seconds);
    }

    /// Number of values.
    pub fn count(&self) -> u64 {
        self.count
    }

    /// Mean of the values; 0 without any.
    pub fn mean(&self) -> f64 {
        if self.count == 0 { 0.0 } else { self.sum / self.count as f64 }
    }

    /// ln E; 0 when nothing was observed.
    pub fn ln_e(&self) -> f64 {
        self.money.ln_e()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_the_money_of_the_gambler() {
        let values = [0.1, 0.0, 0.0, -0.2, 0.3, 1.0, -1.0];
        let mut test = MeanTest::above(0.01);
        values.iter().for_each(|value| test.observe(*value));
        let money = |stake: f64| -> f64 { values.iter().map(|value| 1.0 + stake / 1.01 * (value - 0.01)).product() };
        let expected = 0.05 + 0.95 * STAKES.into_iter().map(money).sum::<f64>() / STAKES.len() as f64;
        assert!((test.ln_e().exp() - expected).abs() < 1e-12);
        assert!((test.mean() - 0.2 / 7.0).abs() < 1e-12);
    }

    /// Every sequence of eight tosses with the values of a fair coin: the mean of what the gambler has is what he began with.
    #[test]
    fn it_does_not_grow_on_average_when_the_mean_is_the_limit() {
        let mut mean = 0.0;
        for tosses in 0..256u32 {
            let mut test = MeanTest::above(0.0);
            (0..8).for_each(|toss| test.observe(if tosses >> toss & 1 == 1 { 0.7 } else { -0.7 }));
            mean += test.ln_e().exp() / 256.0;
        }
        assert!((mean - 1.0).abs() < 1e-12, "{mean}");
    }

    #[test]
    fn the_worst_value_never_ruins_and_nonsense_is_left_out() {
        let mut test = MeanTest::above(0.9);
        test.observe(-5.0);
        test.observe(f64::NAN);
        assert!(test.ln_e().is_finite());
        assert_eq!(test.count(), 1);
    }
}
