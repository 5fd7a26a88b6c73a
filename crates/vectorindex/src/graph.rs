//! The approximate part: the only user of `usearch`, with the rules that keep it safe.
//!
//! usearch 2.26 has known defects when used freely: concurrent `add` leaves vectors that no search reaches, and `add`
//! after `remove` reuses nodes and has answered wrong keys. Its search of the base layer takes no locks, so it may not
//! run beside an `add` either. Therefore here: `add` needs `&mut` (the caller's write lock), `remove` is never called,
//! keys are consecutive and never reused. What was removed stays as a tombstone until the graph is built anew.
//!
//! Equal vectors share a node. Otherwise a few dozen of them would fill each other's links, and the next ones would be
//! out of reach: also the newest version of a record that is written again and again with the same vector.

use crate::codec::{Codec, Encoded};
use crate::options::Options;
use crate::permits::{Permit, searches_max};
use crate::store::Slot;
use std::collections::HashMap;
use std::fmt;
use std::hash::RandomState;
use thiserror::Error;
use usearch::{Index, IndexOptions, ScalarKind};

pub(crate) struct Graph {
    index: Index,
    codec: Codec,
    /// Whose vector each node holds; the key of a node in usearch is its position here.
    nodes: Vec<Slot>,
    /// Further owners of nodes.
    sharers: HashMap<u32, Vec<Slot>>,
    /// Nodes by the fingerprints of their vectors. Should two vectors have the same one, the second is harder to find;
    /// its score is right even then, since it does not come from the graph.
    fingerprints: HashMap<u64, u32>,
    hasher: RandomState,
    /// Slots in `nodes` and `sharers`.
    entries: usize,
    capacity: usize,
    node_bytes: usize,
}

/// A slot that a search found, and its node: the slots of one node are equally near.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Found {
    pub(crate) slot: Slot,
    pub(crate) node: u32,
}

/// usearch refused; its message is kept. Out of memory is the only cause that is left.
#[derive(Debug, Error)]
pub enum GraphError {
    #[error("making the graph failed: {reason}")]
    Make { reason: String },
    #[error("growing the graph from {nodes} to {capacity} vectors failed: {reason}")]
    Grow { nodes: usize, capacity: usize, reason: String },
    #[error("adding a vector to the graph of {nodes} failed: {reason}")]
    Add { nodes: usize, reason: String },
    #[error("searching the graph of {nodes} vectors failed: {reason}")]
    Search { nodes: usize, reason: String },
}

/// The graph grows by an eighth of its size, and by this many at least: the table of the nodes is copied then.
const GROWTH_MIN: usize = 4_096;

impl Graph {
    /// Room for `capacity` vectors; it grows when they are more.
    pub(crate) fn new(options: &Options, codec: Codec, capacity: usize) -> Result<Graph, GraphError> {
        let scalar = codec.scalar_kind();
        let index = Index::new(&IndexOptions {
            dimensions: options.dimensions,
            metric: codec.metric_kind(),
            quantization: scalar,
            connectivity: options.connectivity,
            expansion_add: options.expansion_add,
            expansion_search: options.expansion_search,
            multi: false,
        })
        .map_err(|exception| GraphError::Make { reason: exception.to_string() })?;
        let component_bytes = match scalar {
            ScalarKind::F32 => 4,
            ScalarKind::I8 => 1,
            _ => 2,
        };
        // Links of the base layer with their count, key and level; then entries of usearch's tables (nodes, vectors,
        // keys half full) and of ours (slots, fingerprints half full).
        let beside_bytes = (options.connectivity * 2 * 4 + 4 + 10) + (8 + 8 + 32) + (8 + 34);
        let mut graph = Graph {
            index,
            codec,
            nodes: Vec::new(),
            sharers: HashMap::new(),
            fingerprints: HashMap::new(),
            hasher: RandomState::new(),
            entries: 0,
            capacity: 0,
            node_bytes: options.dimensions * component_bytes + beside_bytes,
        };
        graph.reserve(capacity.max(GROWTH_MIN))?;
        Ok(graph)
    }

    pub(crate) fn codec(&self) -> Codec {
        self.codec
    }

    pub(crate) fn nodes(&self) -> usize {
        self.nodes.len()
    }

    /// Vectors, including those that were removed since.
    pub(crate) fn entries(&self) -> usize {
        self.entries
    }

    /// The vector must have been encoded by the codec of this graph. `is_live` is asked about the owners of an equal
    /// vector.
    pub(crate) fn add(
        &mut self,
        slot: Slot,
        vector: &Encoded,
        is_live: impl FnMut(&Slot) -> bool,
    ) -> Result<(), GraphError> {
        let fingerprint = self.codec.fingerprint(vector, &self.hasher);
        if let Some(&node) = self.fingerprints.get(&fingerprint) {
            self.share(node, slot, is_live);
            return Ok(());
        }
        let nodes = self.nodes.len();
        if nodes == self.capacity {
            self.reserve(nodes + GROWTH_MIN.max(nodes / 8))?;
        }
        let key = nodes as u64;
        let added = match vector {
            Encoded::Floats(values) => self.index.add(key, values),
            Encoded::Bytes(values) => self.index.add(key, values),
        };
        added.map_err(|exception| GraphError::Add { nodes, reason: exception.to_string() })?;
        self.nodes.push(slot);
        self.fingerprints.insert(fingerprint, nodes as u32);
        self.entries += 1;
        Ok(())
    }

    /// The nearest, nearest first, removed ones among them: those of up to `wanted` nodes. usearch looks at `wanted`
    /// candidates at least, so asking for more than one needs costs nothing up to `expansion_search`.
    pub(crate) fn search(&self, query: &Encoded, wanted: usize, _: &Permit) -> Result<Vec<Found>, GraphError> {
        let matches = match query {
            Encoded::Floats(values) => self.index.search(values, wanted),
            Encoded::Bytes(values) => self.index.search(values, wanted),
        };
        let matches = matches
            .map_err(|exception| GraphError::Search { nodes: self.nodes.len(), reason: exception.to_string() })?;
        let mut found = Vec::with_capacity(matches.keys.len());
        for key in matches.keys {
            let node = key as u32;
            found.extend(self.nodes.get(key as usize).map(|&slot| Found { slot, node }));
            if !self.sharers.is_empty()
                && let Some(sharers) = self.sharers.get(&node)
            {
                found.extend(sharers.iter().map(|&slot| Found { slot, node }));
            }
        }
        Ok(found)
    }

    pub(crate) fn memory_bytes(&self) -> usize {
        self.nodes.len() * self.node_bytes + (self.entries - self.nodes.len()) * 2 * size_of::<Slot>()
    }

    /// Adds an owner to a node, and drops those who were removed.
    fn share(&mut self, node: u32, slot: Slot, mut is_live: impl FnMut(&Slot) -> bool) {
        let first = &mut self.nodes[node as usize];
        let mut owners = self.sharers.remove(&node).unwrap_or_default();
        let before = owners.len();
        owners.retain(&mut is_live);
        owners.push(slot);
        if !is_live(first) {
            *first = owners.swap_remove(0);
        }
        self.entries = self.entries + owners.len() - before;
        if !owners.is_empty() {
            self.sharers.insert(node, owners);
        }
    }

    fn reserve(&mut self, capacity: usize) -> Result<(), GraphError> {
        let nodes = self.nodes.len();
        // A context for each search that has a permit: "No available threads to lock" cannot happen.
        self.index.reserve_capacity_and_threads(capacity, searches_max()).map_err(|exception| GraphError::Grow {
            nodes,
            capacity,
            reason: exception.to_string(),
        })?;
        self.nodes.reserve_exact(capacity - nodes);
        self.capacity = capacity;
        Ok(())
    }
}

impl fmt::Debug for Graph {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Graph").field("nodes", &self.nodes.len()).field("codec", &self.codec).finish()
    }
}
