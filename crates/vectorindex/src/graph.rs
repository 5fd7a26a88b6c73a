//! The approximate part: the only user of `usearch`, with the rules that keep it safe.
//!
//! usearch 2.26 has known defects when used freely: concurrent `add` leaves vectors that no search reaches, and `add`
//! after `remove` reuses nodes and has answered wrong keys. Its search of the base layer takes no locks, so it may not
//! run beside an `add` either. Therefore here: `add` needs `&mut` (the caller's write lock), `remove` is never called,
//! keys are consecutive and never reused. What was removed stays as a tombstone until the graph is built anew.

use crate::codec::{Codec, Encoded};
use crate::options::Options;
use crate::permits::{Permit, searches_max};
use crate::store::Slot;
use thiserror::Error;
use usearch::{Index, IndexOptions};

pub(crate) struct Graph {
    index: Index,
    codec: Codec,
    /// Whose vector each node holds; the key of a node in usearch is its position here.
    nodes: Vec<Slot>,
    capacity: usize,
    node_bytes: usize,
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
        let component = match scalar {
            usearch::ScalarKind::F32 => 4,
            usearch::ScalarKind::I8 => 1,
            _ => 2,
        };
        let mut graph = Graph {
            index,
            codec,
            nodes: Vec::new(),
            capacity: 0,
            // The vector, the links of the base layer with their count, key and level, and the entries for this node
            // in the tables of nodes, vectors, keys (half full) and slots.
            node_bytes: options.dimensions * component + options.connectivity * 2 * 4 + 4 + 10 + 8 + 8 + 32 + 8,
        };
        graph.reserve(capacity.max(GROWTH_MIN))?;
        Ok(graph)
    }

    pub(crate) fn codec(&self) -> Codec {
        self.codec
    }

    /// Nodes, those of removed vectors included.
    pub(crate) fn len(&self) -> usize {
        self.nodes.len()
    }

    /// The vector must have been encoded by the codec of this graph.
    pub(crate) fn add(&mut self, slot: Slot, vector: &Encoded) -> Result<(), GraphError> {
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
        Ok(())
    }

    /// Up to `wanted` of the nearest, nearest first, removed ones among them. Looks at `wanted` candidates at least,
    /// so asking for more than one needs costs nothing up to `expansion_search`.
    pub(crate) fn search(&self, query: &Encoded, wanted: usize, _: &Permit) -> Result<Vec<Slot>, GraphError> {
        let found = match query {
            Encoded::Floats(values) => self.index.search(values, wanted),
            Encoded::Bytes(values) => self.index.search(values, wanted),
        };
        let found = found
            .map_err(|exception| GraphError::Search { nodes: self.nodes.len(), reason: exception.to_string() })?;
        Ok(found.keys.iter().filter_map(|&key| self.nodes.get(key as usize)).copied().collect())
    }

    pub(crate) fn memory_bytes(&self) -> usize {
        self.nodes.len() * self.node_bytes
    }

    fn reserve(&mut self, capacity: usize) -> Result<(), GraphError> {
        let nodes = self.nodes.len();
        // A context for each search that has a permit: "No available threads to lock" cannot happen.
        self.index
            .reserve_capacity_and_threads(capacity, searches_max())
            .map_err(|exception| GraphError::Grow { nodes, capacity, reason: exception.to_string() })?;
        self.nodes.reserve_exact(capacity - nodes);
        self.capacity = capacity;
        Ok(())
    }
}

impl std::fmt::Debug for Graph {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("Graph").field("nodes", &self.nodes.len()).field("codec", &self.codec).finish()
    }
}
