//! Numbers as people read them.

/// A rate: `5.07 %`.
pub fn percent(rate: f64) -> String {
    format!("{:.2} %", rate * 100.0)
}

/// Digits in groups of three: `12,345`.
pub fn thousands(number: u64) -> String {
    let digits = number.to_string();
    let mut out = String::with_capacity(digits.len() + digits.len() / 3);
    for (position, digit) in digits.chars().enumerate() {
        if position > 0 && (digits.len() - position).is_multiple_of(3) {
            out.push(',');
        }
        out.push(digit);
    }
    out
}

/// E from its logarithm, as far as a number can hold it: JSON has none for what is beyond all of them.
pub fn finite_e(ln_e: f64) -> f64 {
    ln_e.exp().min(f64::MAX)
}

/// An E-value from its logarithm: `0.31`, `4,210`, `10^24`.
pub fn e_value(ln_e: f64) -> String {
    match ln_e.exp() {
        e if e < 10.0 => format!("{e:.2}"),
        // 1/0.001 is a thousand, whatever its logarithm was rounded to.
        e if e < 1e7 => thousands((e * (1.0 + 1e-9)) as u64),
        _ => format!("10^{}", (ln_e / std::f64::consts::LN_10 + 1e-9) as u64),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_short() {
        let written: Vec<_> = [0, 999, 1_000, 12_345, 1_000_000].map(thousands).into();
        assert_eq!(written, ["0", "999", "1,000", "12,345", "1,000,000"]);
        let written: Vec<_> = [0.3, 9.99, 10.0, 4_210.7, 1e24].map(|e: f64| e_value(e.ln())).into();
        assert_eq!(written, ["0.30", "9.99", "10", "4,210", "10^24"]);
        assert_eq!(e_value(-800.0), "0.00");
        assert_eq!(percent(0.0507), "5.07 %");
    }
}
