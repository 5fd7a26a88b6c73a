//! The index of one database: what is stored, what waits, and the graph.

mod building;
pub(crate) mod indexing;
pub(crate) mod searching;
#[cfg(test)]
mod tests;

use crate::arrivals::Arrivals;
use crate::codec::Codec;
use crate::graph::Graph;
use crate::index::indexing::Indexer;
use crate::options::{Kind, Metric, Options, OptionsError, Quantization};
use crate::permits::Permits;
use crate::store::{Full, Slot, Store};
use parking_lot::{Mutex, RwLock};
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use thiserror::Error;

/// Vectors that come and go, searched by many threads at the same time.
///
/// All methods take `&self`. Inserts and removes are short (a copy of the vectors) and wait for no search as a whole;
/// a search waits for no insert. An update is an insert of the new vector and then a [`remove`](Self::remove) of the
/// old one: a search that runs meanwhile finds one or both of them, never neither.
///
/// A hit may be removed between the search and the look at its owner: keep the whole [`Slot`] with the owner and
/// compare, since its [`index`](Slot::index) may have a new owner by then.
#[derive(Debug)]
pub struct VectorIndex {
    options: Options,
    store: Store,
    arrivals: RwLock<Arrivals>,
    graph: RwLock<Option<Graph>>,
    /// Needed to search the graph; taken before its lock, so that few wait while they hold that up.
    permits: Permits,
    /// Vectors in the graph, removed ones included, for those who do not want to wait for its lock.
    graph_entries: AtomicUsize,
    /// Vectors that waited and are in the first graph, which is not in place yet.
    first_build: AtomicUsize,
    /// Vectors that a rebuild of the graph has still to add.
    rebuild_left: AtomicUsize,
    indexer: Mutex<Indexer>,
    rebuilds: AtomicU64,
    graph_failures: AtomicU64,
}

/// Why vectors were not inserted; none of them was.
#[derive(Debug, Error, PartialEq, Eq)]
pub enum InsertError {
    #[error("vector {number} of the batch has {given} dimensions: the index has {expected}")]
    Dimensions { number: usize, given: usize, expected: usize },
    #[error("component {position} of vector {number} of the batch is not a finite number")]
    NotFinite { number: usize, position: usize },
    #[error("all {max} places of the index are taken: split the database", max = u64::from(u32::MAX) + 1)]
    Full,
}

/// Sizes and counts, for metrics.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stats {
    /// Vectors stored.
    pub vectors: usize,
    /// Of these, vectors in the graph.
    pub indexed: usize,
    /// Vectors in the graph that are removed; a rebuild drops them.
    pub tombstones: usize,
    /// Work left for `index_some`, in vectors.
    pub unindexed: usize,
    /// Times that the graph was built anew.
    pub rebuilds: u64,
    /// Searches that the graph failed to answer; they were answered by a scan.
    pub graph_failures: u64,
    /// How the graph really keeps its vectors; `None` without a graph.
    pub quantization: Option<Quantization>,
    /// Memory of the vectors.
    pub vector_bytes: usize,
    /// Memory of the graph, estimated from its size.
    pub graph_bytes: usize,
}

impl VectorIndex {
    pub fn new(options: Options) -> Result<VectorIndex, OptionsError> {
        options.check()?;
        let codec = Codec::new(options.metric, options.quantization);
        Ok(VectorIndex {
            store: Store::new(options.dimensions, options.metric == Metric::Cosine),
            arrivals: RwLock::default(),
            graph: RwLock::default(),
            permits: Permits::new(),
            graph_entries: AtomicUsize::new(0),
            first_build: AtomicUsize::new(0),
            rebuild_left: AtomicUsize::new(0),
            indexer: Mutex::new(Indexer::new(codec)),
            rebuilds: AtomicU64::new(0),
            graph_failures: AtomicU64::new(0),
            options,
        })
    }

    pub fn options(&self) -> &Options {
        &self.options
    }

    /// Vectors stored.
    pub fn len(&self) -> usize {
        self.store.live()
    }

    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Every search that begins after this returned finds the vector.
    pub fn insert(&self, values: &[f32]) -> Result<Slot, InsertError> {
        Ok(self.insert_batch(&[values])?[0])
    }

    /// Inserts all or none, in order; much cheaper than one by one.
    pub fn insert_batch<V: AsRef<[f32]>>(&self, vectors: &[V]) -> Result<Vec<Slot>, InsertError> {
        for (number, values) in vectors.iter().enumerate() {
            let values = values.as_ref();
            if values.len() != self.options.dimensions {
                let expected = self.options.dimensions;
                return Err(InsertError::Dimensions { number, given: values.len(), expected });
            }
            if let Some(position) = not_finite(values) {
                return Err(InsertError::NotFinite { number, position });
            }
        }
        let slots = self.store.insert(vectors).map_err(|Full| InsertError::Full)?;
        // From here on searches find them: exact ones in the store, the others in the list.
        let mut arrivals = self.arrivals.write();
        arrivals.extend(&slots);
        if self.options.kind == Kind::Flat {
            arrivals.finish_all();
        } else if arrivals.wants_compaction(self.waiting()) {
            let mut view = self.store.view();
            arrivals.compact(|&slot| view.is_live(slot));
        }
        Ok(slots)
    }

    /// No search that begins after this returned finds the vector. False if it was removed before.
    pub fn remove(&self, slot: Slot) -> bool {
        self.store.remove(slot)
    }

    /// Removes those that were not removed before, and answers how many.
    pub fn remove_batch(&self, slots: &[Slot]) -> usize {
        slots.iter().filter(|&&slot| self.store.remove(slot)).count()
    }

    /// The vector, bit by bit as it was inserted, or `None` if it was removed.
    pub fn get(&self, slot: Slot) -> Option<Vec<f32>> {
        let mut values = Vec::with_capacity(self.options.dimensions);
        self.read_into(slot, &mut values).then_some(values)
    }

    /// Appends the vector to `into`; false if it was removed.
    pub fn read_into(&self, slot: Slot, into: &mut Vec<f32>) -> bool {
        self.store.read(slot, into)
    }

    /// Memory of all of it, in bytes.
    pub fn memory_bytes(&self) -> usize {
        let stats = self.stats();
        stats.vector_bytes + stats.graph_bytes + self.arrivals.read().memory_bytes()
    }

    /// Counts of different moments while others insert and remove.
    pub fn stats(&self) -> Stats {
        let (graph_bytes, quantization) = match &*self.graph.read() {
            Some(graph) => (graph.memory_bytes(), Some(graph.codec().quantization())),
            None => (0, None),
        };
        Stats {
            vectors: self.store.live(),
            indexed: self.store.indexed(),
            tombstones: self.tombstones(),
            unindexed: self.unindexed(),
            rebuilds: self.rebuilds.load(Ordering::Relaxed),
            graph_failures: self.graph_failures.load(Ordering::Relaxed),
            quantization,
            vector_bytes: self.store.memory_bytes(),
            graph_bytes,
        }
    }

    /// Live vectors that the graph does not have.
    fn waiting(&self) -> usize {
        self.store.live().saturating_sub(self.store.indexed())
    }

    fn tombstones(&self) -> usize {
        self.graph_entries.load(Ordering::Acquire).saturating_sub(self.store.indexed())
    }
}

/// The position of the first component that is NaN or infinite.
fn not_finite(values: &[f32]) -> Option<usize> {
    values.iter().position(|value| !value.is_finite())
}
