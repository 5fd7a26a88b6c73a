//! The conductor against nodes and a platform that live in memory: the nodes speak the admin protocol over HTTP.

mod crashes;
mod evidence;
pub(crate) mod fake_nodes;
mod fake_platform;
mod published_bugs;
mod reports;
mod rollouts;
mod shedding;
pub(crate) mod stage;
mod troubles;
