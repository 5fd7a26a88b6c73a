//! Moving vectors into the graph, in portions, by one thread at a time.

use crate::codec::Codec;
use crate::graph::GraphError;
use crate::index::VectorIndex;
use crate::index::building::Build;
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
    Move(GraphError),
    #[error("building a new graph failed, searches do without it: {0}")]
    Build(GraphError),
}

/// What the indexing thread remembers.
#[derive(Debug)]
pub(super) struct Indexer {
    pub(super) codec: Codec,
    build: Option<Build>,
}

/// What one portion of work came to.
pub(super) enum Step {
    /// So many vectors were added.
    Added(usize),
    /// A vector does not fit the form in which the graph keeps them.
    DoesNotFit,
    /// There is nothing to do.
    Idle,
}

/// Vectors that are taken from the list at once. Searches scan them until all are in the graph.
const BATCH: usize = 64;

impl Indexer {
    pub(super) fn new(codec: Codec) -> Indexer {
        Indexer { codec, build: None }
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
        let waiting = match self.first_build.load(Ordering::Acquire) {
            0 if !self.wants_graph() => 0,
            0 => self.waiting(),
            built => self.waiting().saturating_sub(built).max(1),
        };
        rebuild + waiting
    }

    /// Adds up to `max` vectors to the graph: for a thread in the background. Searches go on meanwhile; each vector
    /// holds them up for the time of its own insertion at most (some hundred microseconds).
    pub fn index_some(&self, max: usize) -> Result<Progress, IndexError> {
        let mut indexer = self.indexer.lock();
        let mut done = 0;
        while done < max {
            let portion = BATCH.min(max - done);
            let step = match indexer.build.take() {
                Some(build) => {
                    let (step, unfinished) = self.go_on(build, portion).map_err(IndexError::Build)?;
                    indexer.build = unfinished;
                    step
                }
                None if self.is_rebuild_due() => {
                    indexer.build = Some(self.begin_rebuild(indexer.codec).map_err(IndexError::Build)?);
                    continue;
                }
                None if !self.wants_graph() || self.waiting() == 0 => Step::Idle,
                None if self.graph.read().is_none() => {
                    indexer.build = Some(self.begin_first(indexer.codec).map_err(IndexError::Build)?);
                    continue;
                }
                None => self.move_waiting(indexer.codec, portion).map_err(IndexError::Move)?,
            };
            match step {
                Step::Added(count) => done += count,
                Step::Idle => break,
                Step::DoesNotFit => {
                    tracing::info!("a vector leaves the range of half floats: a graph of 32-bit floats is built");
                    indexer.codec = indexer.codec.widened();
                    if self.graph.read().is_some() {
                        indexer.build = Some(self.begin_rebuild(indexer.codec).map_err(IndexError::Build)?);
                    }
                }
            }
        }
        Ok(Progress { done, remaining: self.unindexed() })
    }

    fn wants_graph(&self) -> bool {
        let has_graph = self.graph_entries.load(Ordering::Acquire) > 0;
        self.options.kind == Kind::Hnsw && (has_graph || self.store.live() > self.options.exact_up_to)
    }

    /// Entries that were removed while they waited cost nothing and are not counted.
    fn move_waiting(&self, codec: Codec, max: usize) -> Result<Step, GraphError> {
        let batch = self.arrivals.read().next_batch(max);
        if batch.slots.is_empty() {
            return Ok(Step::Idle);
        }
        let mut values = Vec::with_capacity(self.options.dimensions);
        let mut view = self.store.view();
        let mut moved = 0;
        for &slot in &batch.slots {
            if !self.store.read_waiting(slot, &mut values) {
                continue;
            }
            if !codec.fits(&values) {
                return Ok(Step::DoesNotFit);
            }
            let encoded = codec.encode(&values);
            let mut lock = self.graph.write();
            let Some(graph) = lock.as_mut() else { return Ok(Step::Idle) };
            graph.add(slot, &encoded, |slot| view.is_live(*slot))?;
            self.graph_entries.store(graph.entries(), Ordering::Release);
            // Without fairness this thread would take the lock again before a waiting search has woken up.
            RwLockWriteGuard::unlock_fair(lock);
            self.store.mark_indexed(slot);
            moved += 1;
        }
        self.arrivals.write().finish(&batch);
        Ok(Step::Added(moved))
    }
}
