use super::*;
use rand::rngs::SmallRng;
use rand::{RngExt, SeedableRng};

fn one(text: &str) -> f32 {
    parse(&format!("[{text}]"), 1).unwrap()[0]
}

#[test]
fn every_float_comes_back_with_the_same_bits() {
    let mut rng = SmallRng::seed_from_u64(1);
    let special =
        [0.0, -0.0, f32::MIN_POSITIVE, f32::from_bits(1), f32::MAX, f32::MIN, f32::EPSILON, 0.1, 16_777_216.0];
    let random =
        std::iter::repeat_with(|| f32::from_bits(rng.random())).filter(|value| value.is_finite()).take(200_000);
    let values: Vec<f32> = special.into_iter().chain(random).collect();
    let mut text = Vec::new();
    write(&mut text, &values);
    let text = String::from_utf8(text).unwrap();
    assert!(serde_json::from_str::<serde_json::Value>(&text).is_ok());
    let read = parse(&text, 0).unwrap();
    assert_eq!(values.len(), read.len());
    for (value, read) in values.iter().zip(&read) {
        assert_eq!(value.to_bits(), read.to_bits(), "{value:e}");
    }
}

/// Decimals of every length and exponent, and those around the middle between two floats, where rounding twice is wrong.
#[test]
fn every_decimal_is_rounded_as_the_standard_library_rounds_it() {
    let mut rng = SmallRng::seed_from_u64(2);
    let check = |text: String| {
        let expected: f32 = text.parse().unwrap();
        match parse(&format!("[{text}]"), 1) {
            Ok(read) => assert_eq!(read[0].to_bits(), expected.to_bits(), "{text}"),
            Err(error) => assert!(expected.is_infinite() && matches!(error, NumbersError::Overflow { .. }), "{text}"),
        }
    };
    for _ in 0..100_000 {
        let digits: String = (0..rng.random_range(1..25)).map(|_| char::from(rng.random_range(b'0'..=b'9'))).collect();
        let whole = if rng.random_bool(0.5) { "0".to_owned() } else { rng.random_range(1..1_000_000).to_string() };
        let sign = if rng.random_bool(0.5) { "-" } else { "" };
        check(format!("{sign}{whole}.{digits}"));
        check(format!("{sign}{whole}.{digits}e{}", rng.random_range(-60..45)));
    }
    for _ in 0..100_000 {
        let bits = rng.random_range(0x3000_0000_u32..0x5000_0000);
        let (low, high) = (f64::from(f32::from_bits(bits)), f64::from(f32::from_bits(bits + 1)));
        let middle = (low + high) / 2.0;
        check(format!("{middle}"));
        check(format!("{middle:.20}"));
        check(format!("{middle}1"));
        check(format!("{}", middle.next_down()));
        check(format!("{}", middle.next_up()));
    }
}

#[test]
fn rounding_twice_would_be_wrong_here() {
    // Just above the middle of 1 and the next float; as an f64 it is exactly the middle, which rounds down.
    let text = "1.00000005960464477540";
    assert_eq!(one(text).to_bits(), 0x3f80_0001);
    assert_eq!((text.parse::<f64>().unwrap() as f32).to_bits(), 0x3f80_0000);
}

#[test]
fn reads_json_in_any_layout() {
    assert_eq!(parse("[]", 3).unwrap(), Vec::<f32>::new());
    assert_eq!(parse("[ ]", 3).unwrap(), Vec::<f32>::new());
    assert_eq!(parse("[ 1 ,\n\t-2.5e1,3E+2 , -0 ]", 3).unwrap(), [1.0, -25.0, 300.0, 0.0]);
    assert!(one("-0").is_sign_negative());
    assert_eq!(one("1e-400"), 0.0);
    assert_eq!(one("0e999999999999"), 0.0);
}

#[test]
fn names_the_element_that_is_no_float() {
    let error = |json: &str| parse(json, 0).unwrap_err().to_string();
    assert_eq!(error("\"1\""), "must be an array of numbers, got a string");
    assert_eq!(error("{}"), "must be an array of numbers, got an object");
    assert_eq!(error("[1,\"2\"]"), "[1] must be a number, got a string");
    assert_eq!(error("[1,[2]]"), "[1] must be a number, got an array");
    assert_eq!(error("[null]"), "[0] must be a number, got null");
    assert_eq!(error("[1,2,true]"), "[2] must be a number, got a boolean");
    assert_eq!(error("[0,1e39]"), "[1] is 1e39, which is beyond the range of a 32-bit float (3.4028235e38)");
    assert!(error("[-3.5e38]").starts_with("[0] is -3.5e38"));
}
