//! What the conductor saw, as values.

use evidence::Verdict;
use wire::admin::{Lsn, NodeState};
use wire::{ByColour, Colour};

/// One look at the world.
#[derive(Debug, Clone, PartialEq)]
pub struct Observation {
    /// The head of each environment.
    pub nodes: ByColour<NodeObservation>,
    /// Its other nodes, if it has any.
    pub followers: ByColour<Vec<FollowerObservation>>,
    /// How long each node has not answered, ms; 0 when it just did.
    pub silent_ms: ByColour<u64>,
    /// The highest LSN that each node was ever heard to have, from itself or from its follower.
    pub lsn_heard: ByColour<Lsn>,
    /// Each node's digest at an LSN that was asked for: during a handover, the LSN of the seal.
    pub digest_at: ByColour<Option<(Lsn, String)>>,
    /// Shares that the router confirms to be in effect; `None`: not known.
    pub reads_in_effect: Option<ByColour<u8>>,
    /// Result of the last asked proof of the way back: which environment, and `Err` with what failed.
    pub way_back: Option<(Colour, Result<(), String>)>,
    pub judgement: Judgement,
}

/// One node that is not the head of its environment.
#[derive(Debug, Clone, PartialEq)]
pub struct FollowerObservation {
    /// Its number in the environment.
    pub number: u8,
    pub node: NodeObservation,
    /// How long it has not answered, ms.
    pub silent_ms: u64,
    /// The highest LSN that it was ever heard to have.
    pub lsn_heard: Lsn,
}

/// One environment's node.
#[derive(Debug, Clone, PartialEq)]
pub enum NodeObservation {
    /// The platform confirms that no process of it runs.
    Stopped,
    /// A process may run, but it does not answer.
    Silent { why: String },
    /// `version_running` is the version the platform started, which may differ from the wanted one for a moment.
    Up { state: Box<NodeState>, version_running: String },
}

/// What the evidence says at this moment: against the candidate since its rollout began, for it since the step did.
#[derive(Debug, Clone, PartialEq)]
pub struct Judgement {
    /// Errors and latencies of candidate against active, of live and of replayed reads.
    pub live: Verdict,
    /// Results of replayed reads.
    pub results: Verdict,
    /// Both copies have the same digest at one LSN; asked for while the candidate is checked.
    pub data: Verdict,
    /// What the user's own signals say, of those that have something to say in this phase.
    pub sources: Vec<Verdict>,
    /// Reads the candidate answered since the step began.
    pub candidate_reads: u64,
    /// Reads replayed since the phase began.
    pub replays: u64,
}

impl Judgement {
    /// What speaks for or against a candidate that has readers.
    pub fn of_reads(&self) -> impl Iterator<Item = &Verdict> {
        [&self.live, &self.results].into_iter().chain(&self.sources)
    }

    /// The same of one that has none yet.
    pub fn of_checks(&self) -> impl Iterator<Item = &Verdict> {
        [&self.data, &self.results].into_iter().chain(&self.sources)
    }
}
