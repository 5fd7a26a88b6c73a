//! The border between the engine and a place where environments run: one machine, or a cluster.

use rollout::{State, World};
use serde::{Deserialize, Serialize};
use std::future::Future;
use std::time::Duration;
use wire::admin::Peer;
use wire::{ByColour, Colour, Latency, Member};

/// Usual pause between two looks while nothing is under way.
pub const REST: Duration = Duration::from_millis(200);

/// A place where two environments run. Only a platform changes the world outside the nodes.
pub trait Platform: Send + Sync + 'static {
    /// Reads the durable state; `None` when there never was one.
    fn load(&self) -> impl Future<Output = Result<Option<State>, PlatformError>> + Send;

    /// Makes `state` durable. Refused ([`PlatformError::Conflict`]) unless its generation is exactly one above the stored.
    fn store(&self, state: &State) -> impl Future<Output = Result<(), PlatformError>> + Send;

    /// Starts, restarts and stops workloads so that each environment runs the wanted version, and sets the router's
    /// shares. Idempotent; returns when what can be done at once is done, without waiting for readiness.
    fn apply(&self, world: &World) -> impl Future<Output = Result<(), PlatformError>> + Send;

    /// Clients' connections end at the nodes, so those of a side that is no longer asked have to be ended there.
    fn clients_reach_nodes(&self) -> bool {
        false
    }

    /// Ends the process of a node that does not answer, and with it the connections that its clients wait on; another one is
    /// started in its place. Only where clients reach nodes.
    fn end_process(&self, _member: Member) -> impl Future<Output = Result<(), PlatformError>> + Send {
        std::future::ready(Ok(()))
    }

    /// Pause between two looks while nothing is under way. `at_ease`: every node that shall run answers, and nothing is wrong.
    fn rest(&self, _at_ease: bool) -> Duration {
        REST
    }

    /// Returns when something may be otherwise than [`Platform::observe`] said it; never, where nobody tells.
    fn changed(&self) -> impl Future<Output = ()> + Send {
        std::future::pending()
    }

    /// What runs now.
    fn observe(&self) -> impl Future<Output = Result<PlatformObservation, PlatformError>> + Send;
}

/// What a platform knows without asking a node.
#[derive(Debug, Clone, PartialEq)]
pub struct PlatformObservation {
    /// The nodes of each environment, by their number.
    pub environments: ByColour<Vec<WorkloadObservation>>,
    /// Shares the router confirms.
    pub reads_in_effect: Option<ByColour<u8>>,
    /// Requests counted by the router since it started, if it counts.
    pub traffic: Option<ByColour<TrafficCounts>>,
    /// Latencies of the reads among these, if it measures them.
    pub read_latency: Option<ByColour<Latency>>,
}

/// Live requests of one colour as the router saw them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct TrafficCounts {
    pub reads: u64,
    /// Reads answered with 5xx or not answered.
    pub read_errors: u64,
}

#[derive(Debug, Clone, PartialEq)]
pub enum WorkloadObservation {
    /// No process runs; confirmed.
    Stopped,
    /// A process of `version` runs (or is starting) and its node speaks at `peer`.
    Running { version: String, peer: Peer, admin_token: String },
    /// A process of `version` is on its way, and nobody knows yet where its node will speak. `why`: what it waits for.
    Starting { version: String, why: String },
    /// The process ended by itself; the platform starts it again after a pause.
    Crashed { version: String, why: String },
}

#[derive(Debug, thiserror::Error)]
pub enum PlatformError {
    #[error("the state was changed by another coordinator: stored generation {stored}, offered {offered}")]
    Conflict { stored: u64, offered: u64 },
    #[error("could not read the state: {0}")]
    Load(String),
    #[error("could not store the state: {0}")]
    Store(String),
    #[error("could not bring the {colour} environment to its version: {why}")]
    Workload { colour: Colour, why: String },
    #[error("could not set the router: {0}")]
    Router(String),
    #[error("could not look at the platform: {0}")]
    Observe(String),
}
