//! The JadeVectorDB node: a vector database whose history can be followed, sealed and handed over.
//!
//! ```text
//! rest ──► engine (one writer thread) ──► changelog (fsync) ──► store ──► vectorindex
//! admin ─┘        ▲                            │
//! follower ───────┘◄──────── feed ◄────────────┘ (of another node)
//! ```
//!
//! Invariants: only the writer thread changes the log, the store and the role; what it acknowledged is on disk. The REST
//! interface never changes anything but by [`engine::Node::write`].

pub mod account;
pub mod admin;
pub mod auth;
pub mod cli;
pub mod config;
pub mod engine;
pub mod fault;
pub mod feed;
pub mod metrics;
pub mod record;
#[cfg(test)]
mod recorded;
pub mod rest;
pub mod sample;
pub mod store;
pub mod surroundings;
