//! Moving vectors into the graph, and building the graph anew when too much of it is removed. All of it is done by
//! `index_some`, in portions, by one thread at a time.

use crate::codec::Codec;
use crate::graph::{Graph, GraphError};
use crate::index::VectorIndex;
use crate::options::Kind;
use parking_lot::RwLockWriteGuard;
use std::sync::atomic::Ordering;
use thiserror::Error;

/// What `index_some` did.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Progress {
    /// Vectors added to the graph, or to its successor.
    pub done: usize,
    /// What [`VectorIndex::unindexed`] answers now.
    pub remaining: usize,
}

/// The graph did not get a vector. It is still found, by a scan; a later `index_some` tries again.
#[derive(Debug, Error)]
pub enum IndexError {
    #[error("moving vectors into the graph failed, searches scan them until it succeeds: {0}")]
    Move(#[source] GraphError),
    #[error("building the graph anew failed, the old one stays in use: {0}")]
    Rebuild(#[source] GraphError),
}

/// What the indexing thread remembers.
#[derive(Debug)]
pub(super) struct Indexer {
    codec: Codec,
    rebuild: Option<Rebuild>,
}

/// A graph in the making. Meanwhile the old one answers searches, and nothing is added to it: what the old graph has
/// only becomes less, so the new one has all of it in the end.
#[derive(Debug)]
struct Rebuild {
    graph: Graph,
    /// Slots before this one are done.
    cursor: u64,
}

/// A rebuild pays from this many tombstones on, if they are at least one in `TOMBSTONES_SHARE` of the graph.
const TOMBSTONES_MIN: usize = 1_000;
const TOMBSTONES_SHARE: usize = 5;
/// Vectors that are taken from the list at once. Searches scan them until all are in the graph.
const BATCH: usize = 64;

impl Indexer {
    pub(super) fn new(codec: Codec) -> Indexer {
        Indexer { codec, rebuild: None }
    }
}

impl VectorIndex {
    /// Vectors that [`index_some`](Self::index_some) has still to add to the graph or its successor. 0 means that it
    /// has nothing to do: that is also so for a flat index and one that is too small for a graph.
    pub fn unindexed(&self) -> usize {
        let rebuild = match self.rebuild_left.load(Ordering::Acquire) {
            0 if self.is_rebuild_due() => self.store.indexed().max(1),
            left => left,
        };
        rebuild + if self.wants_graph() { self.waiting() } else { 0 }
    }

    /// Adds up to `max` vectors to the graph: for a thread in the background. Searches go on meanwhile, each vector
    /// holds them up for the time of its own insertion only (some hundred microseconds).
    pub fn index_some(&self, max: usize) -> Result<Progress, IndexError> {
        let mut indexer = self.indexer.lock();
        let mut done = 0;
        while done < max {
            if indexer.rebuild.is_none() && self.is_rebuild_due() {
                indexer.rebuild = Some(self.begin_rebuild(indexer.codec).map_err(IndexError::Rebuild)?);
            }
            let portion = BATCH.min(max - done);
            done += match indexer.rebuild.take() {
                Some(rebuild) => {
                    let (added, unfinished) = self.go_on(rebuild, portion).map_err(|error| {
                        self.rebuild_left.store(0, Ordering::Release);
                        IndexError::Rebuild(error)
                    })?;
                    indexer.rebuild = unfinished;
                    added
                }
                None => match self.move_waiting(&mut indexer, portion).map_err(IndexError::Move)? {
                    Some(moved) => moved,
                    None => break,
                },
            };
        }
        Ok(Progress { done, remaining: self.unindexed() })
    }

    fn wants_graph(&self) -> bool {
        let has_graph = self.graph_entries.load(Ordering::Acquire) > 0;
        self.options.kind == Kind::Hnsw && (has_graph || self.store.live() > self.options.exact_up_to)
    }

    fn is_rebuild_due(&self) -> bool {
        let tombstones = self.tombstones();
        tombstones >= TOMBSTONES_MIN && tombstones * TOMBSTONES_SHARE >= self.graph_entries.load(Ordering::Acquire)
    }

    /// `None` if nothing waits. Entries that were removed while they waited cost nothing and are not counted.
    fn move_waiting(&self, indexer: &mut Indexer, max: usize) -> Result<Option<usize>, GraphError> {
        if !self.wants_graph() {
            return Ok(None);
        }
        let batch = self.arrivals.read().next_batch(max);
        if batch.slots.is_empty() {
            return Ok(None);
        }
        let mut values = Vec::with_capacity(self.options.dimensions);
        let mut view = self.store.view();
        let mut moved = 0;
        for &slot in &batch.slots {
            if !self.store.read_waiting(slot, &mut values) {
                continue;
            }
            if !indexer.codec.fits(&values) {
                tracing::info!("a vector leaves the range of half floats: the graph is built anew with 32-bit floats");
                indexer.codec = indexer.codec.widened();
                indexer.rebuild = Some(self.begin_rebuild(indexer.codec)?);
                return Ok(Some(moved));
            }
            let encoded = indexer.codec.encode(&values);
            let t0 = std::time::Instant::now();
            let mut graph = self.graph.write();
            WAIT.fetch_add(t0.elapsed().as_nanos() as u64, Ordering::Relaxed);
            let t0 = std::time::Instant::now();
            if graph.is_none() {
                *graph = Some(Graph::new(&self.options, indexer.codec, self.waiting())?);
            }
            if let Some(graph) = graph.as_mut() {
                graph.add(slot, &encoded, |slot| view.is_live(*slot))?;
                self.graph_entries.store(graph.entries(), Ordering::Release);
            }
            // Without fairness this thread would take the lock again before a waiting search has woken up.
            RwLockWriteGuard::unlock_fair(graph);
            ADD.fetch_add(t0.elapsed().as_nanos() as u64, Ordering::Relaxed);
            self.store.mark_indexed(slot);
            moved += 1;
        }
        self.arrivals.write().finish(&batch);
        Ok(Some(moved))
    }

    fn begin_rebuild(&self, codec: Codec) -> Result<Rebuild, GraphError> {
        let vectors = self.store.indexed();
        let graph = Graph::new(&self.options, codec, vectors)?;
        self.rebuild_left.store(vectors.max(1), Ordering::Release);
        Ok(Rebuild { graph, cursor: 0 })
    }

    /// Answers how many vectors were added, and the rebuild unless that was the end of it.
    fn go_on(&self, mut rebuild: Rebuild, max: usize) -> Result<(usize, Option<Rebuild>), GraphError> {
        let mut values = Vec::with_capacity(self.options.dimensions);
        let mut view = self.store.view();
        for added in 0..max {
            let Some(slot) = self.store.read_next_indexed(&mut rebuild.cursor, &mut values) else {
                self.finish_rebuild(rebuild);
                return Ok((added, None));
            };
            rebuild.graph.add(slot, &rebuild.graph.codec().encode(&values), |slot| view.is_live(*slot))?;
        }
        let left = self.store.indexed().saturating_sub(rebuild.graph.entries());
        self.rebuild_left.store(left.max(1), Ordering::Release);
        Ok((max, Some(rebuild)))
    }

    fn finish_rebuild(&self, rebuild: Rebuild) {
        let vectors = rebuild.graph.entries();
        let before = self.graph_entries.load(Ordering::Acquire);
        let successor = (vectors > 0).then_some(rebuild.graph);
        // The old graph ends after the lock: giving back its memory takes milliseconds.
        let old = std::mem::replace(&mut *self.graph.write(), successor);
        self.graph_entries.store(vectors, Ordering::Release);
        self.rebuild_left.store(0, Ordering::Release);
        self.rebuilds.fetch_add(1, Ordering::Relaxed);
        drop(old);
        tracing::info!(before, vectors, "the graph was built anew");
    }
}

pub static WAIT: std::sync::atomic::AtomicU64 = std::sync::atomic::AtomicU64::new(0);
pub static ADD: std::sync::atomic::AtomicU64 = std::sync::atomic::AtomicU64::new(0);
