//! Arrays of 32-bit floats, from JSON text and back, without losing a bit.
//!
//! A decimal is rounded once, to the nearest f32: going through f64 would round twice, and be wrong for some numbers.
//! What is written is the shortest decimal that reads back as the same bits.

/// Why a JSON value is not an array of f32.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NumbersError {
    #[error("must be an array of numbers, got {got}")]
    NotAnArray { got: &'static str },
    #[error("[{position}] must be a number, got {got}")]
    NotANumber { position: usize, got: &'static str },
    #[error("[{position}] is {text}, which is beyond the range of a 32-bit float (3.4028235e38)")]
    Overflow { position: usize, text: String },
}

/// Reads `json`, which must be valid JSON, as an array of numbers. `expected` is how many there probably are.
///
/// # Errors
/// [`NumbersError`] names the first element that is no 32-bit float.
pub fn parse(json: &str, expected: usize) -> Result<Vec<f32>, NumbersError> {
    let bytes = json.as_bytes();
    if bytes.first() != Some(&b'[') {
        return Err(NumbersError::NotAnArray { got: kind(json) });
    }
    // `[1]`: at least two bytes for each number.
    let mut values = Vec::with_capacity(expected.min(bytes.len() / 2));
    let mut at = skip_space(bytes, 1);
    while at < bytes.len() && bytes[at] != b']' {
        let position = values.len();
        let Some((value, end)) = number(bytes, at) else {
            return Err(NumbersError::NotANumber { position, got: kind(&json[at..]) });
        };
        if value.is_infinite() {
            let text = json[at..end].chars().take(40).collect();
            return Err(NumbersError::Overflow { position, text });
        }
        values.push(value);
        at = skip_space(bytes, end);
        if bytes.get(at) == Some(&b',') {
            at = skip_space(bytes, at + 1);
        }
    }
    Ok(values)
}

/// What a JSON text is, in words.
pub fn kind(json: &str) -> &'static str {
    match json.as_bytes().first() {
        Some(b'{') => "an object",
        Some(b'[') => "an array",
        Some(b'"') => "a string",
        Some(b't' | b'f') => "a boolean",
        Some(b'n') => "null",
        Some(_) => "a number",
        None => "nothing",
    }
}

/// Appends `values` as a JSON array.
pub fn write(out: &mut Vec<u8>, values: &[f32]) {
    out.reserve(values.len() * 12 + 2);
    out.push(b'[');
    for (position, value) in values.iter().enumerate() {
        if position > 0 {
            out.push(b',');
        }
        write_one(out, *value);
    }
    out.push(b']');
}

/// Appends one number.
pub fn write_one(out: &mut Vec<u8>, value: f32) {
    // Writing to memory does not fail.
    let _ = serde_json::to_writer(out, &value);
}

fn skip_space(bytes: &[u8], mut at: usize) -> usize {
    while matches!(bytes.get(at), Some(b' ' | b'\n' | b'\r' | b'\t')) {
        at += 1;
    }
    at
}

/// Powers of ten that an f64 holds exactly.
const TENS: [f64; 23] = [
    1e0, 1e1, 1e2, 1e3, 1e4, 1e5, 1e6, 1e7, 1e8, 1e9, 1e10, 1e11, 1e12, 1e13, 1e14, 1e15, 1e16, 1e17, 1e18, 1e19, 1e20,
    1e21, 1e22,
];
/// Digits that always fit into a u64.
const DIGITS_MAX: u32 = 19;

/// The number that begins at `start`, and where it ends.
fn number(bytes: &[u8], start: usize) -> Option<(f32, usize)> {
    let negative = bytes.get(start) == Some(&b'-');
    let mut at = start + usize::from(negative);
    if !bytes.get(at)?.is_ascii_digit() {
        return None;
    }
    let mut decimal = Decimal::default();
    while let Some(digit) = digit(bytes, at) {
        decimal.push(digit, false);
        at += 1;
    }
    if bytes.get(at) == Some(&b'.') {
        at += 1;
        while let Some(digit) = digit(bytes, at) {
            decimal.push(digit, true);
            at += 1;
        }
    }
    if matches!(bytes.get(at), Some(b'e' | b'E')) {
        at += 1;
        let minus = bytes.get(at) == Some(&b'-');
        at += usize::from(matches!(bytes.get(at), Some(b'-' | b'+')));
        let mut exponent = 0_i32;
        while let Some(digit) = digit(bytes, at) {
            exponent = exponent.saturating_mul(10).saturating_add(i32::from(digit)).min(100_000);
            at += 1;
        }
        decimal.exponent += if minus { -exponent } else { exponent };
    }
    if let Some(magnitude) = decimal.nearest() {
        return Some((if negative { -magnitude } else { magnitude }, at));
    }
    let text = std::str::from_utf8(&bytes[start..at]).ok()?;
    Some((text.parse().ok()?, at))
}

fn digit(bytes: &[u8], at: usize) -> Option<u8> {
    bytes.get(at).map(|byte| byte.wrapping_sub(b'0')).filter(|digit| *digit < 10)
}

/// `mantissa * 10^exponent`, or more digits than are kept.
#[derive(Default)]
struct Decimal {
    mantissa: u64,
    digits: u32,
    exponent: i32,
    too_long: bool,
}

impl Decimal {
    fn push(&mut self, digit: u8, fraction: bool) {
        if self.digits == DIGITS_MAX {
            self.too_long = true;
            return;
        }
        self.mantissa = self.mantissa * 10 + u64::from(digit);
        self.digits += u32::from(self.mantissa != 0);
        self.exponent -= i32::from(fraction);
    }

    /// The nearest f32, where it is certain.
    ///
    /// Both factors are exact in f64, so `wide` is the f64 nearest to the decimal. Rounding it to f32 gives the f32
    /// nearest to the decimal too, unless `wide` lies exactly half-way between two of them: then the digits behind
    /// decide, and the standard library is asked. It is also asked beyond the normal range.
    fn nearest(&self) -> Option<f32> {
        const HALF_WAY: u64 = 1 << 28;
        const BEHIND: u64 = (1 << 29) - 1;
        if self.too_long || self.mantissa > 1 << 53 || self.exponent.unsigned_abs() > 22 {
            return None;
        }
        if self.mantissa == 0 {
            return Some(0.0);
        }
        let power = TENS[self.exponent.unsigned_abs() as usize];
        let wide = if self.exponent < 0 { self.mantissa as f64 / power } else { self.mantissa as f64 * power };
        let normal = wide >= f64::from(f32::MIN_POSITIVE) && wide <= f64::from(f32::MAX);
        (normal && wide.to_bits() & BEHIND != HALF_WAY).then_some(wide as f32)
    }
}

#[cfg(test)]
mod tests;
