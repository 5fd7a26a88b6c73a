//! Amounts as the cluster writes them: `500m`, `2`, `0.5`, `64Mi`, `1e3`.

use std::collections::BTreeMap;
use std::fmt::Write as _;

/// Amounts by their name, such as `cpu` and `memory`.
pub type Amounts = BTreeMap<String, Quantity>;

const NANO: i128 = 1_000_000_000;
/// Units of bytes, the largest first.
const BINARY: [(&str, u32); 6] = [("Ei", 60), ("Pi", 50), ("Ti", 40), ("Gi", 30), ("Mi", 20), ("Ki", 10)];

/// An amount in billionths, as finely as the cluster counts. One that is too large for that is as large as can be.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub struct Quantity(i128);

impl Quantity {
    pub const ZERO: Quantity = Quantity(0);

    pub fn whole(number: usize) -> Self {
        Self((number as i128).saturating_mul(NANO))
    }

    /// `None`: it is no amount. What is finer than a billionth is rounded up, as the cluster does it.
    pub fn parse(text: &str) -> Option<Self> {
        let (negative, text) = match text.strip_prefix('-') {
            Some(rest) => (true, rest),
            None => (false, text.strip_prefix('+').unwrap_or(text)),
        };
        let end = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
        let (number, unit) = text.split_at(end);
        let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
        if (whole.is_empty() && fraction.is_empty()) || fraction.contains('.') {
            return None;
        }
        // Only digits are left, so what cannot be read is too large.
        let digits = format!("{whole}{fraction}").parse::<i128>().unwrap_or(i128::MAX);
        let (factor, exponent) = scale(unit)?;
        let exponent = exponent.saturating_add(9).saturating_sub(i32::try_from(fraction.len()).ok()?);
        let ten = 10i128.saturating_pow(exponent.unsigned_abs());
        let digits = digits.saturating_mul(factor);
        let amount = match exponent < 0 {
            false => digits.saturating_mul(ten),
            true => digits / ten + i128::from(digits % ten != 0),
        };
        Some(Self(if negative { -amount } else { amount }))
    }

    #[must_use]
    pub fn plus(self, other: Quantity) -> Self {
        Self(self.0.saturating_add(other.0))
    }

    /// What is left when `other` is taken away; never less than nothing.
    #[must_use]
    pub fn minus(self, other: Quantity) -> Self {
        Self(self.0.saturating_sub(other.0).max(0))
    }

    #[must_use]
    pub fn times(self, number: usize) -> Self {
        Self(self.0.saturating_mul(number as i128))
    }

    /// How often `part` fits into it; `None`: any number of times.
    pub fn holds(self, part: Quantity) -> Option<usize> {
        (part.0 > 0).then(|| usize::try_from((self.0 / part.0).max(0)).unwrap_or(usize::MAX))
    }

    /// Which part of `whole` it is, from 0 to 1 and beyond.
    pub fn part_of(self, whole: Quantity) -> f64 {
        self.0 as f64 / whole.0.max(1) as f64
    }

    /// As people write an amount of `name`, never more than it is.
    pub fn at_most(self, name: &str) -> String {
        self.written(name, false)
    }

    /// The same, never less than it is: next to what is left, what is needed must not look as if it fitted.
    pub fn at_least(self, name: &str) -> String {
        self.written(name, true)
    }

    fn written(self, name: &str, up: bool) -> String {
        let in_parts_of = |part: i128| self.0 / part + i128::from(up && self.0 % part != 0);
        // Names such as `requests.cpu` and `requests.storage` end with what they are of.
        match name.rsplit(['.', '/', '-']).next().unwrap_or(name) {
            "cpu" if in_parts_of(NANO / 1000) % 1000 != 0 => format!("{}m", in_parts_of(NANO / 1000)),
            "memory" | "storage" => {
                let is_large = |(_, power): &&(&str, u32)| self.0 >= NANO << power;
                let Some((unit, power)) = BINARY.iter().find(is_large) else { return in_parts_of(NANO).to_string() };
                // In tenths, of which the last is left out when it is none.
                let tenths = in_parts_of((NANO << power) / 10);
                let mut text = (tenths / 10).to_string();
                if tenths % 10 != 0 {
                    let _ = write!(text, ".{}", tenths % 10);
                }
                text + unit
            }
            _ => in_parts_of(NANO).to_string(),
        }
    }
}

/// Factor and power of ten of a unit.
fn scale(unit: &str) -> Option<(i128, i32)> {
    if let Some((_, power)) = BINARY.iter().find(|(name, _)| *name == unit) {
        return Some((1 << power, 0));
    }
    let exponent = match unit {
        "n" => -9,
        "u" => -6,
        "m" => -3,
        "" => 0,
        "k" => 3,
        "M" => 6,
        "G" => 9,
        "T" => 12,
        "P" => 15,
        "E" => 18,
        _ => unit.strip_prefix(['e', 'E'])?.parse().ok()?,
    };
    Some((1, exponent))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(text: &str) -> Quantity {
        Quantity::parse(text).unwrap_or_else(|| panic!("{text}"))
    }

    #[test]
    fn every_way_to_write_an_amount_is_understood() {
        for (text, nano) in [
            ("0", 0),
            ("1", NANO),
            ("+1", NANO),
            ("-1", -NANO),
            ("10m", NANO / 100),
            ("0.5", NANO / 2),
            (".5", NANO / 2),
            ("5.", 5 * NANO),
            ("1.5Gi", 3 * (NANO << 29)),
            ("64Mi", 64 * (NANO << 20)),
            ("1Gi", NANO << 30),
            ("1Ki", 1024 * NANO),
            ("2Ei", NANO << 61),
            ("1k", 1_000 * NANO),
            ("3M", 3_000_000 * NANO),
            ("1E", 1_000_000_000_000_000_000 * NANO),
            ("1e3", 1_000 * NANO),
            ("1E3", 1_000 * NANO),
            ("12e-1", 12 * NANO / 10),
            ("100n", 100),
            ("7u", 7_000),
            // Finer than a billionth is rounded up.
            ("0.1n", 1),
            ("1e-99", 1),
        ] {
            assert_eq!(of(text), Quantity(nano), "{text}");
        }
        for text in ["", "m", ".", "1.2.3", "1 Gi", "1GB", "1ki", "1K", "e3", "1e", "1e1.5", "--1", "x1"] {
            assert_eq!(Quantity::parse(text), None, "{text}");
        }
    }

    #[test]
    fn what_is_too_large_is_as_large_as_can_be() {
        let huge = of("9e99");
        assert!(huge > of("1000Ei") && huge.plus(huge) == huge.times(3) && huge.minus(huge) == Quantity::ZERO);
        assert_eq!(of(&"9".repeat(50)), huge);
    }

    #[test]
    fn it_is_counted_how_often_a_part_fits() {
        assert_eq!(of("1").holds(of("300m")), Some(3));
        assert_eq!(of("299m").holds(of("300m")), Some(0));
        assert_eq!(of("-1").holds(of("300m")), Some(0));
        assert_eq!(of("1").holds(Quantity::ZERO), None);
        assert_eq!(of("1").minus(of("2")), Quantity::ZERO);
    }

    #[test]
    fn amounts_are_shown_as_people_write_them() {
        for (name, text, at_most, at_least) in [
            ("cpu", "2", "2", "2"),
            ("requests.cpu", "2500m", "2500m", "2500m"),
            ("limits.cpu", "0.0105", "10m", "11m"),
            ("memory", "512Mi", "512Mi", "512Mi"),
            ("requests.memory", "1536Mi", "1.5Gi", "1.5Gi"),
            ("ephemeral-storage", "1G", "953.6Mi", "953.7Mi"),
            ("requests.storage", "1000", "1000", "1000"),
            ("memory", "2097151Ki", "1.9Gi", "2Gi"),
            ("pods", "110", "110", "110"),
            ("nvidia.com/gpu", "1", "1", "1"),
        ] {
            assert_eq!((of(text).at_most(name), of(text).at_least(name)), (at_most.into(), at_least.into()), "{text}");
        }
    }
}
