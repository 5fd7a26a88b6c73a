//! Metadata of a vector: any JSON object, kept whole.
//!
//! It is stored in one canonical text (no spaces, keys sorted, the last of equal keys), so that it is the same bytes on
//! every node. Values are given back as they were sent: numbers keep their spelling.

use super::answer::Problem;
use super::body::Field;
use super::numbers;
use serde_json::value::RawValue;
use std::borrow::Cow;
use std::collections::BTreeMap;

/// Deepest nesting.
const DEPTH_MAX: usize = 32;
/// The original knows these three; they have no effect.
const STATUSES: [&str; 3] = ["active", "archived", "deleted"];
/// What a search shows beside `custom`.
const FLAT: [&str; 4] = ["source", "owner", "category", "status"];

type Members<'a> = BTreeMap<Cow<'a, str>, &'a RawValue>;

/// The text to be stored; empty for no metadata. `name` is the field in error messages.
///
/// # Errors
/// 400 when it is no object, too large, nested too deeply, or has a status that the original refuses.
pub fn canonical(name: &str, field: Field<'_>, bytes_max: usize) -> Result<String, Problem> {
    let Some(raw) = field else { return Ok(String::new()) };
    let json = raw.get();
    if !json.starts_with('{') {
        let got = numbers::kind(json);
        return Err(Problem::BadRequest(format!("`{name}` must be an object, got {got}")));
    }
    // An escaped character takes at most twelve times its bytes.
    if json.len() / 12 > bytes_max {
        let bytes = json.len();
        return Err(Problem::BadRequest(format!("`{name}` has {bytes} bytes as JSON, the limit is {bytes_max}")));
    }
    let mut text = String::with_capacity(json.len());
    write_canonical(&mut text, json, 1).map_err(|why| Problem::BadRequest(format!("`{name}` {why}")))?;
    if text.len() > bytes_max {
        let bytes = text.len();
        return Err(Problem::BadRequest(format!("`{name}` has {bytes} bytes as JSON, the limit is {bytes_max}")));
    }
    if text.contains("\"status\":") {
        check_status(name, &text)?;
    }
    if text == "{}" {
        text.clear();
    }
    Ok(text)
}

fn check_status(name: &str, text: &str) -> Result<(), Problem> {
    let Some(status) = members(text).remove("status") else { return Ok(()) };
    let known = STATUSES.iter().any(|known| status.get() == format!("\"{known}\""));
    if known {
        return Ok(());
    }
    let (status, known) = (status.get(), STATUSES.join(", "));
    Err(Problem::BadRequest(format!("`{name}.status` is {status}, it must be one of {known}")))
}

fn write_canonical(out: &mut String, json: &str, depth: usize) -> Result<(), String> {
    if depth > DEPTH_MAX {
        return Err(format!("is nested more than {DEPTH_MAX} deep"));
    }
    let unreadable = |error: serde_json::Error| format!("cannot be read: {error}");
    match json.as_bytes().first() {
        Some(b'{') => {
            let members: BTreeMap<String, &RawValue> = serde_json::from_str(json).map_err(unreadable)?;
            out.push('{');
            for (position, (key, value)) in members.into_iter().enumerate() {
                if position > 0 {
                    out.push(',');
                }
                write_text(out, &key);
                out.push(':');
                write_canonical(out, value.get(), depth + 1)?;
            }
            out.push('}');
        }
        Some(b'[') => {
            let elements: Vec<&RawValue> = serde_json::from_str(json).map_err(unreadable)?;
            out.push('[');
            for (position, element) in elements.into_iter().enumerate() {
                if position > 0 {
                    out.push(',');
                }
                write_canonical(out, element.get(), depth + 1)?;
            }
            out.push(']');
        }
        Some(b'"') if json.contains('\\') => {
            let text: String = serde_json::from_str(json).map_err(unreadable)?;
            write_text(out, &text);
        }
        _ => out.push_str(json),
    }
    Ok(())
}

/// Appends `text` as a JSON string.
pub fn write_text(out: &mut String, text: &str) {
    if text.bytes().all(|byte| byte >= 0x20 && byte != b'"' && byte != b'\\') {
        out.push('"');
        out.push_str(text);
        out.push('"');
    } else {
        // A string always has a JSON form.
        out.push_str(&serde_json::to_string(text).unwrap_or_default());
    }
}

fn members(metadata: &str) -> Members<'_> {
    // What is stored was written by `canonical`.
    serde_json::from_str::<BTreeMap<Key<'_>, &RawValue>>(metadata)
        .unwrap_or_default()
        .into_iter()
        .map(|(key, value)| (key.0, value))
        .collect()
}

/// A key that borrows from the text unless it has escapes.
#[derive(serde::Deserialize, PartialEq, Eq, PartialOrd, Ord)]
struct Key<'a>(#[serde(borrow)] Cow<'a, str>);

/// Appends the shape that a search shows: the four known keys flat, everything else under `custom`.
pub fn write_for_search(out: &mut Vec<u8>, metadata: &str) {
    let mut members = members(metadata);
    let mut text = String::with_capacity(metadata.len() + 128);
    text.push('{');
    for name in FLAT {
        let value = members.remove(name).map_or("\"\"", RawValue::get);
        text.push_str(&format!("\"{name}\":{value},"));
    }
    // A vector has neither times nor a score of its own; the clients' types expect the fields.
    text.push_str("\"createdAt\":\"\",\"updatedAt\":\"\",\"score\":0,\"custom\":{");
    for (position, (key, value)) in members.into_iter().enumerate() {
        if position > 0 {
            text.push(',');
        }
        write_text(&mut text, &key);
        text.push(':');
        text.push_str(value.get());
    }
    text.push_str("}}");
    out.extend_from_slice(text.as_bytes());
}

/// Which metadata a search wants: every key must be there with an equal value.
///
/// Numbers are compared by value. A string equals a number or boolean that is written alike, because one of the clients
/// sends all metadata as strings (`2020` as `"2020"`, `True` as `"True"`).
#[derive(Debug, Default, PartialEq)]
pub struct Filter {
    wanted: Vec<(String, String)>,
}

impl Filter {
    /// # Errors
    /// 400 when it is no object, or asks for more than equality.
    pub fn parse(field: Field<'_>) -> Result<Self, Problem> {
        let Some(raw) = field else { return Ok(Self::default()) };
        let json = raw.get();
        if !json.starts_with('{') {
            let got = numbers::kind(json);
            return Err(Problem::BadRequest(format!("`filters` must be an object of key and value, got {got}")));
        }
        let refuse = |why: String| Problem::BadRequest(format!("`filters` {why}"));
        let mut text = String::new();
        write_canonical(&mut text, json, 1).map_err(refuse)?;
        let mut wanted = Vec::new();
        for (key, value) in members(&text) {
            if key.starts_with('$') || value.get().starts_with("{\"$") {
                return Err(refuse(format!("compare by equality, `{key}` asks for more: {}", value.get())));
            }
            wanted.push((key.into_owned(), value.get().to_owned()));
        }
        Ok(Self { wanted })
    }

    pub fn is_empty(&self) -> bool {
        self.wanted.is_empty()
    }

    pub fn admits(&self, metadata: &str) -> bool {
        if self.wanted.is_empty() {
            return true;
        }
        let members = members(metadata);
        let equal = |key: &str, wanted: &str| members.get(key).is_some_and(|stored| same(stored.get(), wanted));
        self.wanted.iter().all(|(key, wanted)| equal(key, wanted))
    }
}

/// Whether two canonical JSON texts mean the same.
fn same(stored: &str, wanted: &str) -> bool {
    if stored == wanted {
        return true;
    }
    match (numbers::kind(stored), numbers::kind(wanted)) {
        ("a number", "a number") => stored.parse::<f64>().ok() == wanted.parse::<f64>().ok(),
        ("a string", "a number" | "a boolean") => spelled(stored, wanted),
        ("a number" | "a boolean", "a string") => spelled(wanted, stored),
        _ => false,
    }
}

fn spelled(string: &str, scalar: &str) -> bool {
    let spelling = string.trim_matches('"');
    spelling == scalar || matches!((spelling, scalar), ("True", "true") | ("False", "false"))
}

#[cfg(test)]
mod tests;
