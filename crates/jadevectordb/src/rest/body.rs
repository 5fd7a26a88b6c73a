//! JSON bodies: read once, field by field, each error naming the field, what it must be and what it was.

use super::answer::Problem;
use super::numbers;
use serde::de::value::MapAccessDeserializer;
use serde::de::{MapAccess, Visitor};
use serde::{Deserialize, Deserializer};
use serde_json::value::RawValue;
use std::borrow::Cow;
use std::marker::PhantomData;
use std::ops::RangeInclusive;

/// A field as it was sent; absent and `null` are the same.
pub type Field<'a> = Option<&'a RawValue>;

/// Reads a body into a struct of [`Field`]s. Unknown fields are ignored, as the original does.
///
/// # Errors
/// 400 with line and column when the body is not the JSON it must be.
pub fn parse<'a, T: Deserialize<'a>>(body: &'a [u8]) -> Result<T, Problem> {
    let text = std::str::from_utf8(body).map_err(|error| {
        Problem::BadRequest(format!("the body is not UTF-8: the byte at {} does not belong there", error.valid_up_to()))
    })?;
    if text.trim_ascii().is_empty() {
        return Err(Problem::BadRequest("the body is empty, it must be a JSON object".into()));
    }
    let Object(body) = serde_json::from_str(text).map_err(|error| Problem::BadRequest(explain(text, &error)))?;
    Ok(body)
}

/// A struct that is read from a JSON object only: serde would also take an array, field after field.
pub struct Object<T>(pub T);

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Object<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Reader<T>(PhantomData<T>);
        impl<'de, T: Deserialize<'de>> Visitor<'de> for Reader<T> {
            type Value = Object<T>;

            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("a JSON object")
            }

            fn visit_map<A: MapAccess<'de>>(self, members: A) -> Result<Self::Value, A::Error> {
                T::deserialize(MapAccessDeserializer::new(members)).map(Object)
            }
        }
        deserializer.deserialize_map(Reader(PhantomData))
    }
}

fn explain(text: &str, error: &serde_json::Error) -> String {
    let (line, column) = (error.line(), error.column());
    if error.is_data() {
        return format!("the body has the wrong shape: {error}");
    }
    let line_start = text.split_inclusive('\n').take(line.saturating_sub(1)).map(str::len).sum::<usize>();
    let at = (line_start + column.saturating_sub(1)).min(text.len());
    match not_a_number(text.as_bytes(), at) {
        Some((name, start)) => {
            let column = start.saturating_sub(line_start) + 1;
            let place = place(text, start).map(|place| format!("{place}, ")).unwrap_or_default();
            format!("JSON has no {name} ({place}line {line} column {column}): send finite numbers")
        }
        None => format!("the body is not valid JSON: {error}"),
    }
}

/// The name of the non-number that begins at `at` or just before it, and where.
fn not_a_number(text: &[u8], at: usize) -> Option<(&'static str, usize)> {
    const NAMES: [(&str, &str); 6] = [
        ("-Infinity", "-Infinity"),
        ("Infinity", "Infinity"),
        ("NaN", "NaN"),
        ("-inf", "-Infinity"),
        ("inf", "Infinity"),
        ("nan", "NaN"),
    ];
    let begins = |start: usize| {
        let rest = text.get(start..)?;
        let found = NAMES.iter().find(|(spelling, _)| rest.starts_with(spelling.as_bytes()))?;
        Some((found.1, start))
    };
    // The parser stops at the first letter that cannot be, which may be the second of the word.
    (at.saturating_sub(2)..=at).find_map(begins)
}

/// `values[3]` for the fourth element of the innermost array around `at`.
fn place(text: &str, at: usize) -> Option<String> {
    let before = text.get(..at)?;
    let array = before.rfind('[')?;
    let inside = &before[array + 1..];
    if inside.contains(['"', '{', '}', ']']) {
        return None;
    }
    let position = inside.matches(',').count();
    let name = before[..array].trim_end().strip_suffix(':')?.trim_end().strip_suffix('"')?;
    let name = &name[name.rfind('"')? + 1..];
    Some(format!("{name}[{position}]"))
}

/// The value in an error message, shortened.
fn shown(raw: &RawValue) -> String {
    let text = raw.get();
    match text.char_indices().nth(40) {
        None => text.to_owned(),
        Some((end, _)) => format!("{}...", &text[..end]),
    }
}

fn wrong(name: &str, rule: &str, raw: &RawValue) -> Problem {
    Problem::BadRequest(format!("`{name}` must be {rule}, got {}", shown(raw)))
}

pub fn missing(name: &str, rule: &str) -> Problem {
    Problem::BadRequest(format!("`{name}` is required: {rule}"))
}

/// A string.
///
/// # Errors
/// 400 when it is something else.
pub fn text<'a>(name: &str, field: Field<'a>) -> Result<Option<Cow<'a, str>>, Problem> {
    let Some(raw) = field else { return Ok(None) };
    // Without escapes the text between the quotes is the string itself.
    if let Some(plain) = raw.get().strip_prefix('"').and_then(|rest| rest.strip_suffix('"'))
        && !plain.contains('\\')
    {
        return Ok(Some(Cow::Borrowed(plain)));
    }
    if !raw.get().starts_with('"') {
        return Err(wrong(name, "a string", raw));
    }
    serde_json::from_str::<String>(raw.get())
        .map(|text| Some(Cow::Owned(text)))
        .map_err(|error| Problem::BadRequest(format!("`{name}` is not a valid string: {error}")))
}

/// A non-empty string of at most `bytes_max` bytes.
///
/// # Errors
/// 400 when it is absent, empty, too long or something else.
pub fn required_text<'a>(name: &str, field: Field<'a>, bytes_max: usize) -> Result<Cow<'a, str>, Problem> {
    let text = text(name, field)?.ok_or_else(|| missing(name, "a non-empty string"))?;
    bounded_text(name, &text, bytes_max)?;
    Ok(text)
}

/// # Errors
/// 400 when `text` is empty or longer than `bytes_max`.
pub fn bounded_text(name: &str, text: &str, bytes_max: usize) -> Result<(), Problem> {
    match text.len() {
        0 => Err(Problem::BadRequest(format!("`{name}` is empty, it must have 1 to {bytes_max} bytes"))),
        bytes if bytes > bytes_max => {
            Err(Problem::BadRequest(format!("`{name}` has {bytes} bytes, the limit is {bytes_max}")))
        }
        _ => Ok(()),
    }
}

/// A whole number; as in the original, a fraction is cut off.
///
/// # Errors
/// 400 when it is outside of `range` or something else.
pub fn whole(name: &str, field: Field<'_>, range: RangeInclusive<usize>) -> Result<Option<usize>, Problem> {
    let Some(raw) = field else { return Ok(None) };
    let rule = || format!("a whole number from {} to {}", range.start(), range.end());
    let number = raw.get().parse::<f64>().ok().filter(|_| is_number(raw)).map(f64::trunc);
    let number = number.ok_or_else(|| wrong(name, &rule(), raw))?;
    if number < *range.start() as f64 || number > *range.end() as f64 {
        return Err(wrong(name, &rule(), raw));
    }
    Ok(Some(number as usize))
}

/// A finite number.
///
/// # Errors
/// 400 when it is something else.
pub fn number(name: &str, field: Field<'_>) -> Result<Option<f64>, Problem> {
    let Some(raw) = field else { return Ok(None) };
    let number = raw.get().parse::<f64>().ok().filter(|number| is_number(raw) && number.is_finite());
    number.map(Some).ok_or_else(|| wrong(name, "a number", raw))
}

fn is_number(raw: &RawValue) -> bool {
    numbers::kind(raw.get()) == "a number"
}

/// `true` or `false`.
///
/// # Errors
/// 400 when it is something else.
pub fn flag(name: &str, field: Field<'_>) -> Result<Option<bool>, Problem> {
    match field.map(|raw| (raw, raw.get())) {
        None => Ok(None),
        Some((_, "true")) => Ok(Some(true)),
        Some((_, "false")) => Ok(Some(false)),
        Some((raw, _)) => Err(wrong(name, "true or false", raw)),
    }
}

/// An array of strings.
///
/// # Errors
/// 400 when it or an element is something else.
pub fn texts(name: &str, field: Field<'_>) -> Result<Option<Vec<String>>, Problem> {
    let Some(raw) = field else { return Ok(None) };
    let elements: Vec<&RawValue> =
        serde_json::from_str(raw.get()).map_err(|_| wrong(name, "an array of strings", raw))?;
    let element = |(position, raw): (usize, &RawValue)| {
        serde_json::from_str(raw.get()).map_err(|_| wrong(&format!("{name}[{position}]"), "a string", raw))
    };
    elements.into_iter().enumerate().map(element).collect::<Result<Vec<String>, Problem>>().map(Some)
}

/// An array of 32-bit floats, about `expected` of them.
///
/// # Errors
/// 400 that names the element which is none.
pub fn floats(name: &str, field: Field<'_>, expected: usize) -> Result<Vec<f32>, Problem> {
    let raw = field.ok_or_else(|| missing(name, "an array of numbers"))?;
    numbers::parse(raw.get(), expected).map_err(|error| match error {
        numbers::NumbersError::NotAnArray { .. } => Problem::BadRequest(format!("`{name}` {error}")),
        _ => Problem::BadRequest(format!("{name}{error}")),
    })
}

#[cfg(test)]
mod tests;
