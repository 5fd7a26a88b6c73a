//! Every shape that crosses a boundary: the `BlueGreen` document, the node's admin protocol, the control protocol of a
//! running `jadeshift up`, and the header names all of them share.
//!
//! No I/O, no clock, no randomness. Each shape accepts what the previous version wrote: unknown fields of *protocol*
//! bodies are ignored and new ones have defaults, while the *document*, which people write by hand, refuses unknown
//! fields by name.

pub mod admin;
pub mod colour;
pub mod control;
pub mod document;
pub mod headers;
pub mod latency;
pub mod member;
pub mod snapshot;

pub use colour::{ByColour, Colour};
pub use latency::Latency;
pub use member::Member;
