//! Nearest-neighbour search over the vectors of one database, which come and go while many threads search.
//!
//! [`VectorIndex`] owns the vectors (every bit of every float). What was inserted is found by the very next search:
//! vectors that are not yet in the graph are scanned exactly, and one background thread moves them into the graph with
//! [`VectorIndex::index_some`]. Scores are always computed from the stored vectors, never from what the graph holds.
//!
//! | file | what it holds |
//! |---|---|
//! | `options` | how an index is set up, and its defaults |
//! | `index` | [`VectorIndex`]: inserting, removing, reading; `searching`, `indexing`, `building` beside it |
//! | `store` | the vectors, in chunks that never move |
//! | `arrivals` | what was inserted, in order: the part that the graph does not have yet |
//! | `graph` | the only user of `usearch`, with the rules that keep it safe |
//! | `codec` | vectors in the form in which the graph keeps them |
//! | `score`, `ranking` | exact scores, and the best k of them |
//! | `permits` | a bound for the searches that are in the graph at the same time |

mod arrivals;
mod codec;
mod graph;
mod index;
mod options;
mod permits;
mod ranking;
mod score;
mod store;

pub use crate::graph::GraphError;
pub use crate::index::indexing::{IndexError, Progress};
pub use crate::index::searching::{SearchError, SearchMode};
pub use crate::index::{InsertError, Stats, VectorIndex};
pub use crate::options::{Kind, Metric, Options, OptionsError, Quantization};
pub use crate::ranking::Hit;
pub use crate::store::Slot;
