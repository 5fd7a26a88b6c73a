//! Drives one rollout: observe, decide, apply, over a [`Platform`].
//!
//! Invariants: only this crate asks `rollout` for decisions; only a `Platform` (and the role calls made here) changes the
//! world; the state is stored before the world is changed because of it.

pub mod platform;

pub use platform::{Platform, PlatformError, PlatformObservation, TrafficCounts, WorkloadObservation};
