//! How an index is set up.

use thiserror::Error;

/// What "near" means, and with it the score of a hit. Higher is nearer in all three.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Metric {
    /// dot / (|a| |b|), from -1 to 1; 0 when either vector is zero.
    Cosine,
    /// 1 / (1 + distance), from 0 to 1.
    Euclidean,
    /// The plain dot product.
    DotProduct,
}

/// How neighbours are found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// A graph (hierarchical navigable small world): approximate, and fast for any number of vectors.
    Hnsw,
    /// Every search looks at every vector.
    Flat,
}

/// How the graph keeps its own copy of the vectors. Scores do not depend on it, only memory, speed and recall do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Quantization {
    /// 4 bytes a component.
    F32,
    /// 2 bytes a component, 11 bits of precision. An index whose vectors leave the range of half floats (Euclidean and
    /// dot product only) goes on with `F32`.
    F16,
    /// 2 bytes a component, 8 bits of precision, the range of `F32`.
    Bf16,
    /// 1 byte a component, for cosine. It keeps no magnitudes, so Euclidean and dot product use `F16` instead.
    I8,
}

/// The settings of an index.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Options {
    /// Components of every vector.
    pub dimensions: usize,
    pub metric: Metric,
    pub kind: Kind,
    /// Links of a vector in the graph (twice as many in its base layer).
    pub connectivity: usize,
    /// Candidates looked at when a vector is added to the graph: a better graph, built more slowly.
    pub expansion_add: usize,
    /// Candidates looked at by a search of the graph: better results, found more slowly.
    pub expansion_search: usize,
    pub quantization: Quantization,
    /// With at most this many vectors every search is exact, and no graph is built.
    pub exact_up_to: usize,
}

/// Settings that no index can be made from.
#[derive(Debug, Error, PartialEq, Eq)]
pub enum OptionsError {
    #[error("dimensions is {given}: it must be from 1 to {max}", max = Options::DIMENSIONS_MAX)]
    Dimensions { given: usize },
    #[error("connectivity is {given}: it must be from 2 to {max}", max = Options::CONNECTIVITY_MAX)]
    Connectivity { given: usize },
    #[error("{name} is {given}: it must be from 1 to {max}", max = Options::EXPANSION_MAX)]
    Expansion { name: &'static str, given: usize },
}

impl Options {
    pub const DIMENSIONS_MAX: usize = 65_536;
    pub const CONNECTIVITY_MAX: usize = 512;
    pub const EXPANSION_MAX: usize = 4_096;

    /// The defaults, chosen by measurement: recall@10 is above 0.99 for 10,000 sentence embeddings of 384 dimensions.
    /// `Bf16` would be a quarter faster, but embeddings that all point about the same way need the precision of `F16`.
    pub fn new(dimensions: usize, metric: Metric) -> Options {
        Options {
            dimensions,
            metric,
            kind: Kind::Hnsw,
            connectivity: 16,
            expansion_add: 128,
            expansion_search: 96,
            quantization: Quantization::F16,
            exact_up_to: 1_000,
        }
    }

    pub(crate) fn check(&self) -> Result<(), OptionsError> {
        if !(1..=Self::DIMENSIONS_MAX).contains(&self.dimensions) {
            return Err(OptionsError::Dimensions { given: self.dimensions });
        }
        if !(2..=Self::CONNECTIVITY_MAX).contains(&self.connectivity) {
            return Err(OptionsError::Connectivity { given: self.connectivity });
        }
        for (name, given) in [("expansion_add", self.expansion_add), ("expansion_search", self.expansion_search)] {
            if !(1..=Self::EXPANSION_MAX).contains(&given) {
                return Err(OptionsError::Expansion { name, given });
            }
        }
        Ok(())
    }
}
