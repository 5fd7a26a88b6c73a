//! What a node stands on. The real thing unless told otherwise, so that a simulation can run the same node.

use client::Http;
use clock::Clock;

/// Clock and network of a node.
#[derive(Debug, Clone, Default)]
pub struct Surroundings {
    /// To other nodes.
    pub http: Http,
    /// For what is written down or shown.
    pub clock: Clock,
}
