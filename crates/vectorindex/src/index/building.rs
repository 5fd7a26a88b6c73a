//! Building a graph beside the one in use: the first one, and its successor when too much of it is removed. Nobody
//! waits for it; it is put in place when it is complete.

use crate::arrivals::Cursor;
use crate::codec::Codec;
use crate::graph::{Graph, GraphError};
use crate::index::VectorIndex;
use crate::index::indexing::Step;
use crate::store::Slot;
use std::sync::atomic::Ordering;

/// A graph in the making.
#[derive(Debug)]
pub(super) struct Build {
    graph: Graph,
    source: Source,
}

#[derive(Debug)]
enum Source {
    /// What the old graph has, from this slot on. Nothing is added to that meanwhile: it only becomes less, so the new
    /// graph has all of it in the end.
    Indexed { next: u64 },
    /// What waits, behind the cursor. Searches scan all of it until the graph is in place.
    Waiting { cursor: Cursor, added: Vec<Slot> },
}

/// A rebuild pays from this many tombstones on, if they are at least one in `TOMBSTONES_SHARE` of the graph.
const TOMBSTONES_MIN: usize = 1_000;
const TOMBSTONES_SHARE: usize = 5;
/// The first graph is put in place when it has this many vectors. Up to there a scan of all is quick (a millisecond or
/// two); from there on it is better to let the waiting part become smaller, though each vector holds up searches then.
const FIRST_MAX: usize = 20_000;

impl VectorIndex {
    pub(super) fn is_rebuild_due(&self) -> bool {
        let tombstones = self.tombstones();
        tombstones >= TOMBSTONES_MIN && tombstones * TOMBSTONES_SHARE >= self.graph_entries.load(Ordering::Acquire)
    }

    pub(super) fn begin_rebuild(&self, codec: Codec) -> Result<Build, GraphError> {
        let vectors = self.store.indexed();
        let graph = Graph::new(&self.options, codec, vectors)?;
        self.rebuild_left.store(vectors.max(1), Ordering::Release);
        Ok(Build { graph, source: Source::Indexed { next: 0 } })
    }

    pub(super) fn begin_first(&self, codec: Codec) -> Result<Build, GraphError> {
        let graph = Graph::new(&self.options, codec, self.waiting())?;
        let cursor = self.arrivals.read().waiting();
        Ok(Build { graph, source: Source::Waiting { cursor, added: Vec::new() } })
    }

    /// Adds up to `max` vectors, and puts the graph in place when these were the last: then there is no build left, and
    /// neither after an error, which gives it up.
    pub(super) fn go_on(&self, build: Build, max: usize) -> Result<(Step, Option<Build>), GraphError> {
        let result = match build.source {
            Source::Indexed { next } => self.go_on_with_indexed(build.graph, next, max),
            Source::Waiting { cursor, added } => self.go_on_with_waiting(build.graph, cursor, added, max),
        };
        if !matches!(result, Ok((_, Some(_)))) {
            self.rebuild_left.store(0, Ordering::Release);
            self.first_build.store(0, Ordering::Release);
        }
        result
    }

    fn go_on_with_indexed(
        &self,
        mut graph: Graph,
        mut next: u64,
        max: usize,
    ) -> Result<(Step, Option<Build>), GraphError> {
        let mut values = Vec::with_capacity(self.options.dimensions);
        let mut view = self.store.view();
        for added in 0..max {
            let Some(slot) = self.store.read_next_indexed(&mut next, &mut values) else {
                self.put_in_place(graph);
                self.rebuilds.fetch_add(1, Ordering::Relaxed);
                return Ok((Step::Added(added), None));
            };
            graph.add(slot, &graph.codec().encode(&values), |slot| view.is_live(*slot))?;
        }
        let left = self.store.indexed().saturating_sub(graph.entries());
        self.rebuild_left.store(left.max(1), Ordering::Release);
        Ok((Step::Added(max), Some(Build { graph, source: Source::Indexed { next } })))
    }

    fn go_on_with_waiting(
        &self,
        mut graph: Graph,
        mut cursor: Cursor,
        mut added: Vec<Slot>,
        max: usize,
    ) -> Result<(Step, Option<Build>), GraphError> {
        let mut slots = Vec::new();
        if graph.entries() < FIRST_MAX {
            // A compaction may have moved the entries. Then this graph is complete as it is, and gets the rest later.
            self.arrivals.read().read(&mut cursor, max, &mut slots).unwrap_or_default();
        }
        if slots.is_empty() {
            let step = if added.is_empty() { Step::Idle } else { Step::Added(0) };
            // In this order no search misses any: they leave the waiting part when the graph is there.
            added.iter().for_each(|&slot| self.store.mark_indexed(slot));
            self.put_in_place(graph);
            self.arrivals.write().finish_before(cursor);
            return Ok((step, None));
        }
        let mut values = Vec::with_capacity(self.options.dimensions);
        let mut view = self.store.view();
        let before = added.len();
        for slot in slots {
            if !self.store.read_waiting(slot, &mut values) {
                continue;
            }
            if !graph.codec().fits(&values) {
                return Ok((Step::DoesNotFit, None));
            }
            graph.add(slot, &graph.codec().encode(&values), |slot| view.is_live(*slot))?;
            added.push(slot);
        }
        self.first_build.store(added.len(), Ordering::Release);
        let step = Step::Added(added.len() - before);
        Ok((step, Some(Build { graph, source: Source::Waiting { cursor, added } })))
    }

    fn put_in_place(&self, graph: Graph) {
        let vectors = graph.entries();
        let before = self.graph_entries.load(Ordering::Acquire);
        // The old graph ends after the lock: giving back its memory takes milliseconds.
        let old = std::mem::replace(&mut *self.graph.write(), (vectors > 0).then_some(graph));
        self.graph_entries.store(vectors, Ordering::Release);
        drop(old);
        tracing::info!(before, vectors, "a new graph is in place");
    }
}
