//! The books of all writes: what each record must be, and the judgement of what is found.
//!
//! Each id is written by one client only, one write after the other, so "the last acknowledged write" is a fact, not a
//! race. A write whose outcome is not known retires its id: from then on both outcomes are right, and nobody writes it
//! again. Every revision of every id has a vector of its own, so that a search has one best answer.

use parking_lot::Mutex;
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};

/// Numbers in a vector.
pub const DIMENSION: usize = 16;

/// What a record is after a write.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Content {
    Stored { revision: u32 },
    Deleted,
}

/// How a write ended, as its client saw it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    Acknowledged,
    /// The answer says that it was not done.
    Refused,
    Unknown,
}

/// What was found wrong with a record.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Fault {
    /// An acknowledged write is not there, or something else is.
    Lost,
    /// Found more than once.
    Duplicated,
    /// Deleted, acknowledged, and there again.
    Resurrected,
    /// A write that was answered as not done is there.
    DoneThoughRefused,
}

/// Everything that was written; shared by the clients.
#[derive(Default)]
pub struct Books {
    inner: Mutex<Inner>,
}

#[derive(Default)]
struct Inner {
    entries: BTreeMap<String, Entry>,
    acknowledged: u64,
    refused: u64,
    unknown: u64,
    /// Ids that changed since [`Books::changed`] was asked last.
    changed: BTreeSet<String>,
    faults: BTreeSet<(Fault, String)>,
    /// A sentence for each fault that was found first.
    sentences: Vec<String>,
}

#[derive(Debug, Clone, Copy, Default)]
struct Entry {
    /// By the last acknowledged write.
    acknowledged: Option<Content>,
    /// By a later write whose outcome nobody knows.
    unknown: Option<Content>,
    /// By a later write that was refused.
    refused: Option<Content>,
}

/// How many writes had which outcome.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Totals {
    pub acknowledged: u64,
    pub refused: u64,
    pub unknown: u64,
}

/// How many records have which fault.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Faults {
    pub lost: usize,
    pub duplicated: usize,
    pub resurrected: usize,
    pub done_though_refused: usize,
}

impl Entry {
    fn judge(&self, found: Content) -> Result<(), Fault> {
        let acknowledged = self.acknowledged.unwrap_or(Content::Deleted);
        if found == acknowledged || self.unknown == Some(found) {
            return Ok(());
        }
        Err(match found {
            _ if self.refused == Some(found) => Fault::DoneThoughRefused,
            Content::Stored { .. } if acknowledged == Content::Deleted => Fault::Resurrected,
            _ => Fault::Lost,
        })
    }
}

impl Books {
    pub fn note(&self, id: &str, content: Content, outcome: Outcome) {
        let mut inner = self.inner.lock();
        let entry = inner.entries.entry(id.to_string()).or_default();
        match outcome {
            Outcome::Acknowledged => *entry = Entry { acknowledged: Some(content), unknown: None, refused: None },
            Outcome::Refused => entry.refused = Some(content),
            Outcome::Unknown => entry.unknown = Some(content),
        }
        match outcome {
            Outcome::Acknowledged => inner.acknowledged += 1,
            Outcome::Refused => inner.refused += 1,
            Outcome::Unknown => inner.unknown += 1,
        }
        inner.changed.insert(id.to_string());
    }

    /// Every id that may be there, or must not be there any more.
    pub fn ids(&self) -> Vec<String> {
        self.inner.lock().entries.keys().cloned().collect()
    }

    /// Ids written since this was asked last.
    pub fn changed(&self) -> BTreeSet<String> {
        std::mem::take(&mut self.inner.lock().changed)
    }

    /// The revision that certainly is there; `None` when nothing is, or it is not known.
    pub fn present(&self, id: &str) -> Option<u32> {
        match self.inner.lock().entries.get(id)? {
            Entry { acknowledged: Some(Content::Stored { revision }), unknown: None, .. } => Some(*revision),
            _ => None,
        }
    }

    /// Judges what `place` has of an id.
    pub fn judge(&self, place: &str, id: &str, found: Result<Content, String>) {
        let mut inner = self.inner.lock();
        let entry = inner.entries.get(id).copied().unwrap_or_default();
        let fault = match &found {
            Ok(content) => entry.judge(*content).err(),
            Err(_) => Some(Fault::Lost),
        };
        if let Some(fault) = fault {
            inner.fault(fault, place, id, format!("{found:?} is there, {entry:?} is known"));
        }
    }

    pub fn duplicated(&self, place: &str, id: &str) {
        self.inner.lock().fault(Fault::Duplicated, place, id, "there more than once".into());
    }

    /// Notes a record that is there and that no search finds.
    pub fn not_found_by_search(&self, place: &str, id: &str) {
        self.inner.lock().fault(Fault::Lost, place, id, "not found by its own vector".into());
    }

    pub fn totals(&self) -> Totals {
        let Inner { acknowledged, refused, unknown, .. } = *self.inner.lock();
        Totals { acknowledged, refused, unknown }
    }

    pub fn faults(&self) -> Faults {
        let inner = self.inner.lock();
        let count = |wanted: Fault| inner.faults.iter().filter(|(fault, _)| *fault == wanted).count();
        Faults {
            lost: count(Fault::Lost),
            duplicated: count(Fault::Duplicated),
            resurrected: count(Fault::Resurrected),
            done_though_refused: count(Fault::DoneThoughRefused),
        }
    }

    pub fn sentences(&self) -> Vec<String> {
        self.inner.lock().sentences.clone()
    }
}

impl Inner {
    /// The same fault of the same record is counted once, however often and wherever it is seen.
    fn fault(&mut self, fault: Fault, place: &str, id: &str, what: String) {
        if self.faults.insert((fault, id.to_string())) {
            self.sentences.push(format!("{fault:?}: {id} at {place}: {what}"));
        }
    }
}

impl Faults {
    pub fn any(&self) -> bool {
        *self != Faults::default()
    }
}

/// The vector of an id at a revision: a direction of its own.
pub fn values(id: &str, revision: u32) -> Vec<f32> {
    // FNV-1a, then xorshift: quick, and the same in every run.
    let seed = id.bytes().chain(revision.to_le_bytes());
    let mut state =
        seed.fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)) | 1;
    let number = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state >> 40) as f32 / (1 << 23) as f32 - 1.0
    };
    std::iter::repeat_with(number).take(DIMENSION).collect()
}

/// The body that stores an id at a revision.
pub fn body(id: &str, revision: u32) -> Value {
    json!({"id": id, "values": values(id, revision), "metadata": {"revision": revision}})
}

/// What a returned record is, if its values and its metadata agree.
pub fn content_of(id: &str, record: &Value) -> Result<Content, String> {
    let revision = record["metadata"]["revision"].as_u64().and_then(|revision| u32::try_from(revision).ok());
    let revision = revision.ok_or_else(|| format!("metadata {}", record["metadata"]))?;
    let found = record["values"].as_array().map(Vec::as_slice).unwrap_or_default();
    let expected = values(id, revision);
    let same = found.len() == expected.len()
        && found.iter().zip(&expected).all(|(found, expected)| {
            found.as_f64().is_some_and(|found| (found as f32).to_bits() == expected.to_bits())
        });
    if same { Ok(Content::Stored { revision }) } else { Err(format!("revision {revision} with other values")) }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn stored(revision: u32) -> Content {
        Content::Stored { revision }
    }

    /// Notes `written`, finds `found`, and gives the faults of one kind after the other.
    fn faults(written: &[(Content, Outcome)], found: Content) -> [usize; 4] {
        let books = Books::default();
        for (content, outcome) in written {
            books.note("a", *content, *outcome);
        }
        for place in ["blue", "green"] {
            books.judge(place, "a", Ok(found));
        }
        let Faults { lost, duplicated, resurrected, done_though_refused } = books.faults();
        [lost, duplicated, resurrected, done_though_refused]
    }

    #[test]
    fn the_last_acknowledged_write_counts() {
        use Outcome::{Acknowledged, Refused, Unknown};
        let written = [(stored(1), Acknowledged), (stored(2), Acknowledged)];
        assert_eq!(faults(&written, stored(2)), [0, 0, 0, 0]);
        assert_eq!(faults(&written, stored(1)), [1, 0, 0, 0], "an old revision is a loss, counted once");
        assert_eq!(faults(&written, Content::Deleted), [1, 0, 0, 0]);

        let deleted = [(stored(1), Acknowledged), (Content::Deleted, Acknowledged)];
        assert_eq!(faults(&deleted, Content::Deleted), [0, 0, 0, 0]);
        assert_eq!(faults(&deleted, stored(1)), [0, 0, 1, 0]);

        let unknown = [(stored(1), Acknowledged), (Content::Deleted, Unknown)];
        assert_eq!(faults(&unknown, stored(1)), [0, 0, 0, 0]);
        assert_eq!(faults(&unknown, Content::Deleted), [0, 0, 0, 0]);
        assert_eq!(faults(&[(stored(1), Unknown)], Content::Deleted), [0, 0, 0, 0]);

        let refused = [(stored(1), Acknowledged), (stored(2), Refused)];
        assert_eq!(faults(&refused, stored(1)), [0, 0, 0, 0]);
        assert_eq!(faults(&refused, stored(2)), [0, 0, 0, 1]);
        assert_eq!(faults(&refused, Content::Deleted), [1, 0, 0, 0]);
        assert_eq!(faults(&[], stored(1)), [0, 0, 1, 0], "nobody wrote it");
    }

    #[test]
    fn damaged_and_unfindable_records_are_lost_and_repeated_ones_duplicated() {
        let books = Books::default();
        books.note("a", stored(1), Outcome::Acknowledged);
        let mut record: Value = serde_json::from_str(&body("a", 1).to_string()).unwrap();
        assert_eq!(content_of("a", &record), Ok(stored(1)));
        assert!(content_of("b", &record).is_err(), "another id has another vector");
        record["values"][3] = json!(0.5);
        books.judge("gateway", "a", content_of("a", &record));
        assert_eq!(books.faults().lost, 1);
        books.not_found_by_search("gateway", "a");
        assert_eq!(books.faults().lost, 1);
        books.duplicated("gateway", "a");
        assert_eq!(books.faults().duplicated, 1);
        assert_eq!(books.sentences().len(), 2);
    }

    #[test]
    fn a_record_is_present_only_when_nothing_else_is_possible() {
        let books = Books::default();
        books.note("a", stored(1), Outcome::Acknowledged);
        books.note("b", stored(1), Outcome::Acknowledged);
        assert_eq!(books.changed().len(), 2);
        books.note("b", stored(2), Outcome::Unknown);
        books.note("c", stored(1), Outcome::Refused);
        assert_eq!((books.present("a"), books.present("b"), books.present("c")), (Some(1), None, None));
        assert_eq!(books.changed(), ["b".to_string(), "c".to_string()].into());
        assert_eq!(books.totals(), Totals { acknowledged: 2, refused: 1, unknown: 1 });
    }
}
