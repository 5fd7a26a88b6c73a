//! Remembers every acknowledged write, and compares what the database has with it.
//!
//! Each package is written by one client only, one write after the other, so "the last acknowledged write" is a fact,
//! not a race. A write whose outcome is not known (no answer, or a 5xx) retires its package: from then on both outcomes
//! are right, and nobody writes it again.

use super::data::{DIMENSION, DataSet};
use serde_json::{Map, Value, json};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Mutex, MutexGuard, PoisonError};

/// What a package is after a write.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Content {
    /// Revision 0 is the package as it was loaded.
    Stored {
        revision: u32,
    },
    Deleted,
}

/// Numbers for the report.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Totals {
    /// Packages of acknowledged batches and acknowledged single writes, deletions included.
    pub acknowledged: u64,
    /// Packages that were, at some check, not what their last acknowledged write made them.
    pub lost: u64,
    /// Packages that were listed more than once.
    pub duplicated: u64,
}

/// Books of all writes; shared by the clients.
pub struct Checker {
    books: Mutex<Books>,
}

struct Books {
    entries: Vec<Entry>,
    acknowledged: u64,
    lost: BTreeSet<usize>,
    duplicated: BTreeSet<String>,
}

#[derive(Debug, Clone, Copy, Default)]
struct Entry {
    /// By the last acknowledged write.
    acknowledged: Option<Content>,
    /// By a later write whose outcome nobody knows.
    unknown: Option<Content>,
}

impl Entry {
    fn allows(&self, found: Content) -> bool {
        self.acknowledged.unwrap_or(Content::Deleted) == found || self.unknown == Some(found)
    }
}

impl Checker {
    pub fn new(packages: usize) -> Self {
        let entries = vec![Entry::default(); packages];
        let books = Books { entries, acknowledged: 0, lost: BTreeSet::new(), duplicated: BTreeSet::new() };
        Self { books: Mutex::new(books) }
    }

    pub fn acknowledge(&self, row: usize, content: Content) {
        let mut books = self.books();
        books.entries[row] = Entry { acknowledged: Some(content), unknown: None };
        books.acknowledged += 1;
    }

    /// Retires the package: its last write may or may not have happened.
    pub fn outcome_unknown(&self, row: usize, content: Content) {
        self.books().entries[row].unknown = Some(content);
    }

    /// Rows that were ever written.
    pub fn written(&self) -> Vec<usize> {
        let books = self.books();
        let touched = |entry: &Entry| entry.acknowledged.is_some() || entry.unknown.is_some();
        (0..books.entries.len()).filter(|row| touched(&books.entries[*row])).collect()
    }

    /// Rows that certainly are in the database, each with its revision.
    pub fn present(&self) -> Vec<(usize, u32)> {
        let books = self.books();
        let present = |(row, entry): (usize, &Entry)| match (entry.acknowledged, entry.unknown) {
            (Some(Content::Stored { revision }), None) => Some((row, revision)),
            _ => None,
        };
        books.entries.iter().enumerate().filter_map(present).collect()
    }

    /// Least and greatest number of packages that the database may have.
    pub fn count_range(&self) -> (usize, usize) {
        let books = self.books();
        let stored = |content: Option<Content>| matches!(content, Some(Content::Stored { .. }));
        let (mut least, mut greatest) = (0, 0);
        for entry in &books.entries {
            let now = stored(entry.acknowledged);
            let after = entry.unknown.map_or(now, |content| stored(Some(content)));
            least += usize::from(now && after);
            greatest += usize::from(now || after);
        }
        (least, greatest)
    }

    /// Compares the answer of a batch-get for `rows` with the books; returns a sentence for each difference.
    pub fn compare(&self, data: &DataSet, rows: &[usize], vectors: &[Value]) -> Vec<String> {
        let mut found: BTreeMap<&str, Vec<&Value>> = BTreeMap::new();
        for vector in vectors {
            found.entry(vector["id"].as_str().unwrap_or_default()).or_default().push(vector);
        }
        let mut books = self.books();
        let mut differences = Vec::new();
        for row in rows {
            let name = data.packages[*row].name;
            let entry = books.entries[*row];
            let difference = match found.get(name).map(Vec::as_slice) {
                None if entry.allows(Content::Deleted) => continue,
                None => format!("{name}: acknowledged as {:?}, but it is missing", entry.acknowledged),
                Some([vector]) => match revision_of(data, *row, vector) {
                    Ok(revision) if entry.allows(Content::Stored { revision }) => continue,
                    Ok(revision) => {
                        format!("{name}: acknowledged as {:?}, but revision {revision} is there", entry.acknowledged)
                    }
                    Err(why) => format!("{name}: acknowledged as {:?}, but {why}", entry.acknowledged),
                },
                Some(several) => {
                    books.duplicated.insert(name.to_string());
                    differences.push(format!("{name}: there {} times", several.len()));
                    continue;
                }
            };
            books.lost.insert(*row);
            differences.push(difference);
        }
        differences
    }

    /// Notes a package that should be found by its own vector, but is not.
    pub fn not_found_by_search(&self, row: usize) {
        self.books().lost.insert(row);
    }

    /// Compares the ids of all pages of the list with the books; returns a sentence for each difference.
    pub fn compare_list(&self, ids: &[String]) -> Vec<String> {
        let mut differences = Vec::new();
        let mut seen = BTreeSet::new();
        for id in ids {
            if !seen.insert(id) {
                self.books().duplicated.insert(id.clone());
                differences.push(format!("{id}: listed more than once"));
            }
        }
        let (least, greatest) = self.count_range();
        if !(least..=greatest).contains(&seen.len()) {
            differences.push(format!("{} packages are listed, {least} to {greatest} expected", seen.len()));
        }
        differences
    }

    pub fn totals(&self) -> Totals {
        let books = self.books();
        Totals {
            acknowledged: books.acknowledged,
            lost: books.lost.len() as u64,
            duplicated: books.duplicated.len() as u64,
        }
    }

    fn books(&self) -> MutexGuard<'_, Books> {
        self.books.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The vector of a package at a revision: each differs from the one before, and some by a fraction that only a database
/// that keeps every bit gives back.
pub fn values(data: &DataSet, row: usize, revision: u32) -> Vec<f32> {
    let mut values = data.package_vector(row);
    if revision > 0 {
        values[revision as usize % DIMENSION] += 0.1 * ((revision % 100) + 1) as f32;
    }
    values
}

/// The body that stores a package at a revision.
pub fn body(data: &DataSet, row: usize, revision: u32) -> Value {
    json!({
        "id": data.packages[row].name,
        "values": values(data, row, revision),
        "metadata": metadata(data, row, revision),
    })
}

fn metadata(data: &DataSet, row: usize, revision: u32) -> Map<String, Value> {
    let mut metadata = Map::new();
    metadata.insert("section".into(), data.packages[row].section.into());
    metadata.insert("revision".into(), revision.to_string().into());
    metadata
}

/// Which revision a returned vector is, if values and metadata agree about it.
pub fn revision_of(data: &DataSet, row: usize, vector: &Value) -> Result<u32, String> {
    let text = |key: &str| vector["metadata"][key].as_str();
    let revision: u32 = text("revision")
        .and_then(|text| text.parse().ok())
        .ok_or_else(|| format!("its metadata is {}", vector["metadata"]))?;
    if text("section") != Some(data.packages[row].section) {
        return Err(format!("its section is {:?}", text("section")));
    }
    let found = vector["values"].as_array().map(Vec::as_slice).unwrap_or_default();
    let expected = values(data, row, revision);
    let same = found.len() == expected.len()
        && found.iter().zip(&expected).all(|(found, expected)| {
            found.as_f64().is_some_and(|found| (found as f32).to_bits() == expected.to_bits())
        });
    if same { Ok(revision) } else { Err(format!("the values of revision {revision} are not the ones written")) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stored(revision: u32) -> Content {
        Content::Stored { revision }
    }

    fn answer(data: &DataSet, row: usize, revision: u32) -> Value {
        // Through text, as it would come over the network.
        serde_json::from_str(&body(data, row, revision).to_string()).unwrap()
    }

    #[test]
    fn what_was_acknowledged_and_is_there_is_no_difference() {
        let data = DataSet::carried().unwrap();
        let checker = Checker::new(10);
        checker.acknowledge(0, stored(0));
        checker.acknowledge(1, stored(7));
        checker.acknowledge(2, Content::Deleted);
        let there = [answer(&data, 0, 0), answer(&data, 1, 7)];
        assert_eq!(checker.compare(&data, &[0, 1, 2], &there), Vec::<String>::new());
        assert_eq!(checker.totals(), Totals { acknowledged: 3, lost: 0, duplicated: 0 });
        assert_eq!((checker.written(), checker.present()), (vec![0, 1, 2], vec![(0, 0), (1, 7)]));
    }

    #[test]
    fn a_missing_an_old_a_damaged_and_a_resurrected_package_are_each_lost() {
        let data = DataSet::carried().unwrap();
        let checker = Checker::new(10);
        for row in 0..4 {
            checker.acknowledge(row, stored(1));
        }
        checker.acknowledge(1, stored(2));
        checker.acknowledge(3, Content::Deleted);
        let mut damaged = answer(&data, 2, 1);
        damaged["values"][5] = json!(0.25);
        let there = [answer(&data, 1, 1), damaged, answer(&data, 3, 1)];
        let differences = checker.compare(&data, &[0, 1, 2, 3], &there);
        assert_eq!(differences.len(), 4, "{differences:?}");
        checker.compare(&data, &[0, 1, 2, 3], &there);
        assert_eq!(checker.totals().lost, 4, "the same loss is counted once");
    }

    #[test]
    fn both_outcomes_of_a_write_without_an_answer_are_right() {
        let data = DataSet::carried().unwrap();
        let checker = Checker::new(10);
        checker.acknowledge(0, stored(1));
        checker.outcome_unknown(0, stored(2));
        checker.outcome_unknown(1, stored(0));
        assert_eq!(checker.count_range(), (1, 2));
        assert!(checker.compare(&data, &[0], &[answer(&data, 0, 1)]).is_empty());
        assert!(checker.compare(&data, &[0, 1], &[answer(&data, 0, 2), answer(&data, 1, 0)]).is_empty());
        assert_eq!(checker.compare(&data, &[0], &[answer(&data, 0, 3)]).len(), 1);
    }

    #[test]
    fn a_package_listed_twice_is_duplicated_and_a_wrong_count_is_said() {
        let data = DataSet::carried().unwrap();
        let checker = Checker::new(10);
        checker.acknowledge(0, stored(0));
        checker.acknowledge(1, stored(0));
        let id = |row: usize| data.packages[row].name.to_string();
        assert!(checker.compare_list(&[id(0), id(1)]).is_empty());
        let differences = checker.compare_list(&[id(0), id(0)]);
        assert_eq!(differences.len(), 2, "{differences:?}");
        assert_eq!(checker.totals().duplicated, 1);
    }

    #[test]
    fn revisions_differ_and_survive_text() {
        let data = DataSet::carried().unwrap();
        for revision in 0..500 {
            assert_eq!(revision_of(&data, 3, &answer(&data, 3, revision)), Ok(revision));
        }
    }
}
