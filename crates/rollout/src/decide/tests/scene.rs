//! A small world to put the engine into.

use crate::{Command, Decision, Judgement, NodeObservation, Observation, Refused, State, command, decide};
use evidence::Verdict;
use wire::admin::{AcknowledgeState, Counters, Epoch, FeedState, Lsn, NodeState, Peer, Role};
use wire::document::{Spec, Step};
use wire::{ByColour, Colour};

pub(crate) struct Scene {
    pub spec: Spec,
    pub state: State,
    pub seen: Observation,
    pub now_ms: u64,
}

impl Scene {
    /// Two steps of 50 and 100 %, ten seconds each, 100 reads each.
    pub fn new() -> Self {
        let mut spec = Spec::default();
        let step = |share_percent| Step { duration_min_ms: 10_000, ..Step::of_share(share_percent) };
        spec.rollout.steps = [50, 100].map(step).to_vec();
        let state = State::first(&spec, 0);
        Self { spec, state, seen: nothing_seen(), now_ms: 0 }
    }

    pub fn decide(&self) -> Decision {
        decide(&self.spec, &self.state, &self.seen, self.now_ms)
    }

    /// Decides and takes the state over.
    pub fn step(&mut self) -> Decision {
        let decision = self.decide();
        self.state = decision.state.clone();
        decision
    }

    pub fn command(&mut self, wish: &Command) -> Result<(), Refused> {
        self.state = command(&self.spec, &self.state, wish, self.now_ms)?;
        Ok(())
    }

    /// `colour` runs the wanted version and has this role.
    pub fn up(&mut self, colour: Colour, role: Role, lsn: Lsn) {
        let version_running = self.state.versions.get(colour).clone().unwrap_or_default();
        *self.seen.nodes.get_mut(colour) =
            NodeObservation::Up { state: Box::new(node(colour, role, lsn)), version_running };
        *self.seen.silent_ms.get_mut(colour) = 0;
    }

    pub fn silent(&mut self, colour: Colour, for_ms: u64) {
        *self.seen.nodes.get_mut(colour) = NodeObservation::Silent { why: "connection refused".into() };
        *self.seen.silent_ms.get_mut(colour) = for_ms;
    }

    pub fn node(&mut self, colour: Colour) -> &mut NodeState {
        match self.seen.nodes.get_mut(colour) {
            NodeObservation::Up { state, .. } => state,
            other => panic!("{colour} is {other:?}"),
        }
    }
}

pub(crate) fn nothing_seen() -> Observation {
    Observation {
        nodes: ByColour::new(NodeObservation::Stopped, NodeObservation::Stopped),
        followers: ByColour::default(),
        silent_ms: ByColour::new(0, 0),
        lsn_heard: ByColour::new(0, 0),
        digest_at: ByColour::new(None, None),
        reads_in_effect: Some(ByColour::new(100, 0)),
        way_back: None,
        judgement: Judgement {
            live: Verdict::inconclusive("errors", "no live reads are compared"),
            results: Verdict::inconclusive("results", "nothing was replayed"),
            data: Verdict::inconclusive("data", "digests were not compared"),
            sources: Vec::new(),
            candidate_reads: 0,
            replays: 0,
        },
    }
}

pub(crate) fn peer(colour: Colour) -> Peer {
    Peer { admin: format!("{colour}:8081"), http: format!("{colour}:8080") }
}

pub(crate) fn primary(epoch: Epoch) -> Role {
    Role::Primary { epoch }
}

/// A follower of the other colour.
pub(crate) fn follower(colour: Colour, epoch: Epoch) -> Role {
    Role::Follower { epoch, primary: peer(colour.other()) }
}

pub(crate) fn sealed(epoch: Epoch, lsn: Lsn) -> Role {
    Role::Sealed { epoch, lsn, digest: "d".into() }
}

pub(crate) fn node(colour: Colour, role: Role, lsn: Lsn) -> NodeState {
    let feed = matches!(role, Role::Follower { .. }).then(|| FeedState {
        connected: true,
        primary_lsn: lsn,
        lag_ms: 0,
        seeding: None,
        error: None,
    });
    NodeState {
        cluster_id: "c".into(),
        node_id: colour.to_string(),
        instance: "i".into(),
        version: "v".into(),
        wire_version: 1,
        records: wire::admin::RecordFormats::default(),
        role,
        epoch_seen: 1,
        lsn,
        lsn_epoch: 1,
        acknowledge: Some(AcknowledgeState::default()),
        dormant: false,
        ready: true,
        failed: None,
        held_writes: 0,
        sheds: false,
        feed,
        followers: Vec::new(),
        counters: Counters::default(),
        read_latency: None,
        databases: 1,
        vectors: 10,
        unindexed: 0,
        resident_bytes: 1,
        set_aside: Vec::new(),
    }
}
