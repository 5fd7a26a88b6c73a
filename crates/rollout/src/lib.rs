//! The rollout engine as a pure function: `(policy, state, observation, now) -> decision`, where a decision is the next
//! state, the desired world and the reason in words.
//!
//! Invariants: no I/O, no clock, no randomness. The state is durable before the world is changed because of it: the
//! caller stores [`Decision::state`] when it differs, and only then makes [`Decision::world`] so. Every decision, also
//! "wait", carries its reason.

pub mod check;
pub mod command;
pub mod decide;
pub mod observation;
pub mod role_call;
pub mod state;
mod text;
mod transition;
pub mod world;

pub use command::{Command, Refused, command};
pub use decide::{Decision, decide};
pub use observation::{FollowerObservation, Judgement, NodeObservation, Observation};
pub use role_call::{RoleCall, RoleCallError, follows_head_of, role_call};
pub use state::{
    Confirmation, Outcome, Phase, Record, Replicas, Run, Stage, State, Succession, SuccessionStage, Successor,
};
pub use world::{EnvironmentWorld, RoleWanted, World};
