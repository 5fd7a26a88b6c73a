//! One database: its description, its records by id, and the index over their vectors.

use super::digest::{DigestTable, RecordHash};
use super::walk;
use crate::record::{DatabaseRecord, Metric, VectorRecord};
use parking_lot::RwLock;
use std::collections::BTreeMap;
use std::ops::Bound;
use std::sync::Arc;
use vectorindex::{Hit, IndexError, Options, OptionsError, SearchError, SearchMode, Slot, VectorIndex};
use wire::admin::Lsn;
use wire::document::{Index, IndexKind, Quantization};

pub(super) const DATABASES: &str = "\u{0}databases";

pub struct Database {
    record: RwLock<(Lsn, Arc<DatabaseRecord>)>,
    content: RwLock<Content>,
    index: RwLock<Arc<VectorIndex>>,
}

#[derive(Default)]
struct Content {
    /// Ordered, so that pages are the same on every node.
    slots: BTreeMap<Arc<str>, Slot>,
    entries: Vec<Option<Entry>>,
}

struct Entry {
    slot: Slot,
    id: Arc<str>,
    metadata: Box<str>,
    version: Lsn,
}

/// A vector as stored.
#[derive(Debug, Clone, PartialEq)]
pub struct StoredVector {
    pub id: String,
    pub values: Vec<f32>,
    /// A JSON object, or empty.
    pub metadata: String,
    /// LSN of the write that stored it.
    pub version: Lsn,
}

/// One result of a search.
#[derive(Debug, Clone, PartialEq)]
pub struct Match {
    pub id: String,
    pub score: f32,
}

impl Database {
    /// Whether an index can be made for `record`.
    ///
    /// # Errors
    /// [`OptionsError`] names the setting, its value and the rule.
    pub fn check(record: &DatabaseRecord, settings: &Index) -> Result<(), OptionsError> {
        VectorIndex::new(options(record, settings)).map(|_| ())
    }

    pub(super) fn create(
        lsn: Lsn,
        record: DatabaseRecord,
        settings: &Index,
        digest: &mut DigestTable,
    ) -> Result<Self, OptionsError> {
        digest.add(DATABASES, &record.database_id, record_hash(lsn, &record));
        let index = Arc::new(VectorIndex::new(options(&record, settings))?);
        Ok(Self { record: RwLock::new((lsn, Arc::new(record))), content: RwLock::default(), index: RwLock::new(index) })
    }

    pub fn record(&self) -> Arc<DatabaseRecord> {
        self.record.read().1.clone()
    }

    pub(super) fn versioned_record(&self) -> (Lsn, Arc<DatabaseRecord>) {
        self.record.read().clone()
    }

    pub fn len(&self) -> usize {
        self.content.read().slots.len()
    }

    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    pub fn unindexed(&self) -> usize {
        self.index().unindexed()
    }

    pub fn memory_bytes(&self) -> usize {
        self.index().memory_bytes()
    }

    /// Moves up to `max` vectors into the approximate index; returns how many it moved.
    pub fn index_some(&self, max: usize) -> Result<usize, IndexError> {
        self.index().index_some(max).map(|progress| progress.done)
    }

    pub fn contains(&self, id: &str) -> bool {
        self.content.read().slots.contains_key(id)
    }

    pub fn get(&self, id: &str) -> Option<StoredVector> {
        let content = self.content.read();
        self.stored(content.entry(*content.slots.get(id)?)?)
    }

    /// The total, and `limit` vectors from `offset`, ordered by id.
    pub fn page(&self, offset: usize, limit: usize) -> (usize, Vec<StoredVector>) {
        let content = self.content.read();
        let slots = content.slots.values().skip(offset).take(limit);
        (content.slots.len(), slots.filter_map(|slot| self.stored(content.entry(*slot)?)).collect())
    }

    /// The `top_k` best matches, best first; `exact` forces a full scan.
    ///
    /// # Errors
    /// [`SearchError`] when the query has another dimension than the database.
    pub fn search(&self, query: &[f32], top_k: usize, exact: bool) -> Result<Vec<Match>, SearchError> {
        let mode = if exact { SearchMode::Exact } else { SearchMode::Auto };
        let index = self.index();
        let hits = index.search(query, top_k, mode)?;
        let content = self.content.read();
        let matches = content.owners(&hits);
        if matches.len() == hits.len() {
            return Ok(matches);
        }
        // A write came in between. With the lock held none can, so that every hit has its owner.
        Ok(content.owners(&self.index().search(query, top_k, mode)?))
    }

    pub(super) fn put(&self, lsn: Lsn, vectors: Vec<VectorRecord>, digest: &mut DigestTable) {
        let record = self.record();
        let space = &record.database_id;
        let hashes: Vec<RecordHash> = vectors.iter().map(|vector| vector_hash(space, lsn, vector)).collect();
        let index = self.index();
        let values: Vec<&[f32]> = vectors.iter().map(|vector| vector.values.as_slice()).collect();
        let mut content = self.content.write();
        let slots = match index.insert_batch(&values) {
            Ok(slots) => slots,
            Err(error) => {
                // Checked before the record was written, on every node alike; so is its absence.
                tracing::error!(%error, database = %space, lsn, "a record cannot be applied");
                return;
            }
        };
        for ((vector, hash), slot) in vectors.into_iter().zip(hashes).zip(slots) {
            let id: Arc<str> = match content.slots.get_key_value(vector.id.as_str()) {
                Some((id, _)) => id.clone(),
                None => vector.id.into(),
            };
            if let Some(replaced) = content.slots.insert(id.clone(), slot) {
                remove_entry(&mut content, &index, space, replaced, digest);
            }
            digest.add(space, &id, hash);
            content.place(Entry { slot, id, metadata: vector.metadata.into(), version: lsn });
        }
    }

    pub(super) fn delete(&self, ids: &[String], digest: &mut DigestTable) -> usize {
        let record = self.record();
        let index = self.index();
        let mut content = self.content.write();
        let mut deleted = 0;
        for id in ids {
            if let Some(slot) = content.slots.remove(id.as_str()) {
                remove_entry(&mut content, &index, &record.database_id, slot, digest);
                deleted += 1;
            }
        }
        deleted
    }

    /// Takes the database and all its records out of the digest.
    pub(super) fn forget(&self, digest: &mut DigestTable) {
        let (version, record) = self.versioned_record();
        digest.remove(DATABASES, &record.database_id, record_hash(version, &record));
        let content = self.content.read();
        for slot in content.slots.values() {
            if let Some(stored) = content.entry(*slot).and_then(|entry| self.stored(entry)) {
                let hash = stored_hash(&record.database_id, &stored);
                digest.remove(&record.database_id, &stored.id, hash);
            }
        }
    }

    /// Changes the description. Another dimension or metric begins a new index; a dimension changes only while empty.
    pub(super) fn describe(&self, lsn: Lsn, record: DatabaseRecord, settings: &Index, digest: &mut DigestTable) {
        let (version, old) = self.versioned_record();
        digest.remove(DATABASES, &old.database_id, record_hash(version, &old));
        digest.add(DATABASES, &record.database_id, record_hash(lsn, &record));
        let rebuild = record.dimension != old.dimension
            || record.metric != old.metric
            || kind(&record, settings) != kind(&old, settings);
        if rebuild {
            self.rebuild(&record, settings, digest);
        }
        *self.record.write() = (lsn, Arc::new(record));
    }

    fn rebuild(&self, record: &DatabaseRecord, settings: &Index, digest: &mut DigestTable) {
        let Ok(index) = VectorIndex::new(options(record, settings)) else { return };
        let mut content = self.content.write();
        let old = std::mem::take(&mut *content);
        for (id, old_slot) in old.slots {
            let values = self.index().get(old_slot);
            let entry = old.entries.get(old_slot.index() as usize).and_then(Option::as_ref);
            let (Some(values), Some(entry)) = (values, entry) else { continue };
            if values.len() != record.dimension {
                let stored = StoredVector {
                    id: id.to_string(),
                    values,
                    metadata: entry.metadata.to_string(),
                    version: entry.version,
                };
                digest.remove(&record.database_id, &id, stored_hash(&record.database_id, &stored));
                continue;
            }
            let Ok(slot) = index.insert(&values) else { continue };
            let metadata = entry.metadata.clone();
            content.place(Entry { slot, id: id.clone(), metadata, version: entry.version });
            content.slots.insert(id, slot);
        }
        *self.index.write() = Arc::new(index);
    }

    /// Calls `visit` with the vectors behind the id `after`, ordered by id, until it answers false; returns the last id.
    /// Nothing is written meanwhile.
    pub(super) fn walk(
        &self,
        after: Option<&str>,
        mut visit: impl FnMut(Lsn, &str, &[f32], &str) -> bool,
    ) -> Option<Arc<str>> {
        let content = self.content.read();
        let index = self.index();
        let mut values = Vec::new();
        let mut last = None;
        for (id, slot) in content.slots.range::<str, _>((walk::behind(after), Bound::Unbounded)) {
            values.clear();
            let Some(entry) = content.entry(*slot).filter(|_| index.read_into(*slot, &mut values)) else { continue };
            last = Some(id);
            if !visit(entry.version, id, &values, &entry.metadata) {
                break;
            }
        }
        last.cloned()
    }

    fn index(&self) -> Arc<VectorIndex> {
        self.index.read().clone()
    }

    fn stored(&self, entry: &Entry) -> Option<StoredVector> {
        Some(StoredVector {
            id: entry.id.to_string(),
            values: self.index().get(entry.slot)?,
            metadata: entry.metadata.to_string(),
            version: entry.version,
        })
    }
}

impl Content {
    fn entry(&self, slot: Slot) -> Option<&Entry> {
        self.entries.get(slot.index() as usize)?.as_ref().filter(|entry| entry.slot == slot)
    }

    fn place(&mut self, entry: Entry) {
        let place = entry.slot.index() as usize;
        if self.entries.len() <= place {
            // Grows by an eighth: doubling would cost as much memory again as is used.
            let missing = place + 1 - self.entries.len();
            self.entries.reserve_exact((self.entries.len() / 8).max(1024).max(missing));
            self.entries.resize_with(place + 1, || None);
        }
        self.entries[place] = Some(entry);
    }

    /// Those hits that belong to an id.
    fn owners(&self, hits: &[Hit]) -> Vec<Match> {
        let owned = hits.iter().filter_map(|hit| {
            let entry = self.entry(hit.slot)?;
            Some(Match { id: entry.id.to_string(), score: hit.score })
        });
        owned.collect()
    }
}

fn remove_entry(content: &mut Content, index: &VectorIndex, space: &str, slot: Slot, digest: &mut DigestTable) {
    let Some(entry) = content.entries.get_mut(slot.index() as usize).and_then(Option::take) else { return };
    let stored = StoredVector {
        id: entry.id.to_string(),
        values: index.get(slot).unwrap_or_default(),
        metadata: entry.metadata.into(),
        version: entry.version,
    };
    digest.remove(space, &stored.id, stored_hash(space, &stored));
    index.remove(slot);
}

fn vector_hash(space: &str, version: Lsn, vector: &VectorRecord) -> RecordHash {
    hash_of(space, &vector.id, version, &vector.values, &vector.metadata)
}

fn stored_hash(space: &str, stored: &StoredVector) -> RecordHash {
    hash_of(space, &stored.id, stored.version, &stored.values, &stored.metadata)
}

/// Hash over id, version, vector bits and metadata.
pub fn hash_of(space: &str, id: &str, version: Lsn, values: &[f32], metadata: &str) -> RecordHash {
    let mut bits = Vec::with_capacity(values.len() * 4);
    for value in values {
        bits.extend_from_slice(&value.to_bits().to_le_bytes());
    }
    RecordHash::of(space, id, version, &[&bits, metadata.as_bytes()])
}

pub(super) fn record_hash(version: Lsn, record: &DatabaseRecord) -> RecordHash {
    // A plain struct of strings and numbers always has a JSON form.
    let content = serde_json::to_vec(record).unwrap_or_default();
    RecordHash::of(DATABASES, &record.database_id, version, &[&content])
}

fn kind(record: &DatabaseRecord, settings: &Index) -> IndexKind {
    if record.index_type.eq_ignore_ascii_case("flat") { IndexKind::Flat } else { settings.kind }
}

fn options(record: &DatabaseRecord, settings: &Index) -> Options {
    Options {
        dimensions: record.dimension,
        metric: match record.metric {
            Metric::Cosine => vectorindex::Metric::Cosine,
            Metric::Euclidean => vectorindex::Metric::Euclidean,
            Metric::DotProduct => vectorindex::Metric::DotProduct,
        },
        kind: match kind(record, settings) {
            IndexKind::Hnsw => vectorindex::Kind::Hnsw,
            IndexKind::Flat => vectorindex::Kind::Flat,
        },
        connectivity: settings.connectivity,
        expansion_add: settings.expansion_add,
        expansion_search: settings.expansion_search,
        quantization: match settings.quantization {
            Quantization::F32 => vectorindex::Quantization::F32,
            Quantization::F16 => vectorindex::Quantization::F16,
            Quantization::I8 => vectorindex::Quantization::I8,
        },
        exact_up_to: settings.exact_up_to,
    }
}
