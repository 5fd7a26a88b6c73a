//! Drives one rollout: observe, decide, apply, over a [`Platform`].
//!
//! One task owns the state ([`engine`]); everybody else sends it commands and reads what it published ([`Info`]).
//!
//! ```text
//! engine ── observe ──► sight ── decide (crate rollout) ──► store ──► apply: platform, roles of the nodes
//!    ▲                    ▲
//! commands           evidence (traffic of the router, replayed reads, digests)
//! ```
//!
//! Invariants: only this crate asks `rollout` for decisions; only a `Platform` (and the role calls made here) changes the
//! world; the state is stored before the world is changed because of it.

mod apply;
mod data_check;
mod differences;
mod engine;
mod evidence_source;
mod handle;
mod info;
mod journal;
mod judged;
mod node_flags;
mod node_reads;
mod observe;
mod phase_time;
pub mod platform;
mod policy;
mod replay;
mod report;
mod shed;
mod sources;
mod tell;
mod verify;
mod verify_nodes;

pub use handle::{CommandError, Conductor, StartError};
pub use info::{Event, EvidenceInfo, FollowerInfo, HandoverTiming, Info, NodeInfo, NodeStatus, SignalInfo};
pub use judged::Sides;
pub use node_flags::node_flags;
pub use platform::{Platform, PlatformError, PlatformObservation, REST, TrafficCounts, WorkloadObservation};
pub use policy::policy;
pub use report::{Moment, Report};
pub use verify::VerifyError;

#[cfg(test)]
mod tests;
