//! How far a measured distribution may be from the true one, at every moment and everywhere at once.

/// Half the height of a band around an empirical distribution function of `count` values that covers the true one at every
/// value and at every moment, with probability `1 - alpha`:
/// `0.85 sqrt((ln ln(e n) + 0.8 ln(1612 / alpha)) / n)`; 1, which is everything, without values.
///
/// (Howard and Ramdas, "Sequential estimation of quantiles with applications to A/B testing and best-arm identification",
/// arXiv 1906.09712, corollary 2.)
pub fn band_half_width(count: u64, alpha: f64) -> f64 {
    if count == 0 || !(alpha > 0.0 && alpha < 1.0) {
        return 1.0;
    }
    let n = count as f64;
    let width = 0.85 * (((n.ln() + 1.0).ln() + 0.8 * (1612.0 / alpha).ln()) / n).sqrt();
    width.min(1.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_narrows_with_the_root_of_the_count() {
        // By hand: ln ln(e 10^4) = ln(10.21) = 2.3235; 0.8 ln(32240) = 8.305; 0.85 sqrt(10.629 / 10^4) = 0.02771.
        assert!((band_half_width(10_000, 0.05) - 0.027_71).abs() < 1e-4);
        assert!(band_half_width(1_000_000, 0.05) < band_half_width(10_000, 0.05) / 9.0);
    }

    #[test]
    fn nothing_known_is_everything_possible() {
        assert_eq!(band_half_width(0, 0.05), 1.0);
        assert_eq!(band_half_width(1, 0.05), 1.0);
        assert_eq!(band_half_width(100, f64::NAN), 1.0);
    }
}
