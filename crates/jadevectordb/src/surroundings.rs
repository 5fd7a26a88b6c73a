//! What a node stands on. The real thing unless told otherwise, so that a simulation can run the same node.

use clock::Clock;

/// Clock of a node.
#[derive(Debug, Clone, Default)]
pub struct Surroundings {
    /// For what is written down or shown.
    pub clock: Clock,
}
