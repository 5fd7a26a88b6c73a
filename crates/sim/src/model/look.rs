//! How the world looks to a coordinator, and what does not matter about a state.

use super::node::{Node, Process, digest, peer};
use evidence::Verdict;
use rollout::{Confirmation, Judgement, NodeObservation, Observation, Phase, Stage, State, World};
use std::sync::Arc;
use wire::admin::{AcknowledgeMode, AcknowledgeState, Counters, FeedState, NodeState};
use wire::{ByColour, Colour};

/// Later than any limit.
pub const LATE_MS: u64 = 1_000_000_000;

/// What is as it happens to be when a coordinator decides.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct Circumstances {
    /// Every limit has passed, and whoever does not answer has not for long.
    pub late: bool,
    /// This node runs and does not answer.
    pub deaf: Option<Colour>,
    /// The digest at the seal is not known yet.
    pub no_digest: bool,
    /// The evidence speaks against the candidate.
    pub fails: bool,
}

/// The observation of a coordinator that acts upon `state` and sees these nodes.
pub fn observe(state: &State, nodes: &ByColour<Node>, how: Circumstances) -> Observation {
    let world = World::of(state);
    let answers = |colour: Colour| nodes.get(colour).runs() && how.deaf != Some(colour);
    let long_ms = if how.late { LATE_MS } else { 0 };
    let verdict = |signal: &str| match how.fails {
        true => Verdict::fail(signal, ""),
        false => Verdict::pass(signal, ""),
    };
    let lsn = |colour: Colour| nodes.get(colour).lsn();
    Observation {
        nodes: ByColour::from_fn(|colour| match nodes.get(colour).process {
            Process::Stopped => NodeObservation::Stopped,
            Process::Running if how.deaf != Some(colour) => NodeObservation::Up {
                state: Box::new(node_state(colour, nodes, how)),
                version_running: state.versions.get(colour).clone().unwrap_or_default(),
            },
            Process::Running | Process::Down => NodeObservation::Silent { why: String::new() },
        }),
        followers: ByColour::default(),
        silent_ms: ByColour::from_fn(|colour| if answers(colour) { 0 } else { long_ms }),
        // A coordinator that has just started has heard nothing before.
        lsn_heard: ByColour::from_fn(|colour| if answers(colour) { lsn(colour) } else { 0 }),
        digest_at: ByColour::from_fn(|colour| {
            let known = answers(colour) && !how.no_digest;
            let lsn = sealed_lsn(state, nodes).unwrap_or(lsn(colour));
            let node = nodes.get(colour);
            (known && node.lsn() >= lsn).then(|| (lsn, digest(&node.log, lsn)))
        }),
        reads_in_effect: Some(world.reads),
        way_back: world.prove_way_back.filter(|_| answers(Colour::Blue) && answers(Colour::Green)).map(|a| (a, Ok(()))),
        judgement: Judgement {
            live: verdict("errors"),
            results: verdict("results"),
            data: verdict("data"),
            sources: Vec::new(),
            candidate_reads: LATE_MS,
            replays: LATE_MS,
        },
    }
}

/// The place at which the handover compares digests.
fn sealed_lsn(state: &State, nodes: &ByColour<Node>) -> Option<u64> {
    let Phase::HandingOver { to, stage, .. } = &state.phase else { return None };
    match stage {
        Stage::CatchingUp { lsn, .. } => Some(*lsn),
        Stage::Sealing => match nodes.get(to.other()).is {
            super::node::Is::Sealed { lsn, .. } => Some(lsn),
            _ => None,
        },
        _ => None,
    }
}

/// What a node says of itself.
pub fn node_state(colour: Colour, nodes: &ByColour<Node>, how: Circumstances) -> NodeState {
    let (node, other) = (nodes.get(colour), nodes.get(colour.other()));
    let feed = node.follows().then(|| FeedState {
        connected: other.runs(),
        primary_lsn: if other.runs() { other.lsn() } else { node.lsn() },
        lag_ms: 0,
        seeding: None,
        error: None,
    });
    let waits = how.late && node.lsn() > node.confirmed_lsn;
    NodeState {
        cluster_id: "c".into(),
        node_id: colour.to_string(),
        instance: String::new(),
        version: String::new(),
        wire_version: wire::headers::WIRE_VERSION,
        records: wire::admin::RecordFormats::default(),
        role: node.role(colour),
        epoch_seen: node.epoch_seen,
        lsn: node.lsn(),
        lsn_epoch: node.lsn_epoch(),
        acknowledge: Some(AcknowledgeState {
            by: node.acknowledge_by(colour),
            confirmed_lsn: node.confirmed_lsn,
            holds: node.holds && node.by.mode != AcknowledgeMode::Alone,
            waiting_ms: if waits { LATE_MS } else { 0 },
        }),
        dormant: node.dormant,
        ready: true,
        failed: None,
        held_writes: 0,
        sheds: false,
        feed,
        followers: Vec::new(),
        counters: Counters::default(),
        read_latency: None,
        databases: 0,
        vectors: 0,
        unindexed: 0,
        resident_bytes: 0,
        set_aside: Vec::new(),
    }
}

/// The call that a coordinator with this state would make to `colour` now.
pub fn due(state: &State, colour: Colour, nodes: &ByColour<Node>) -> Option<rollout::RoleCall> {
    let world = World::of(state);
    let wanted = world.environments.get(colour).role.as_ref()?;
    if !nodes.get(colour).runs() {
        return None;
    }
    let node = node_state(colour, nodes, Circumstances::default());
    let other = colour.other();
    let other_state = nodes.get(other).runs().then(|| node_state(other, nodes, Circumstances::default()));
    let address = peer(other);
    rollout::role_call(wanted, &node, other_state.as_ref().map(|state| (state, &address))).ok().flatten()
}

/// Forgets what only grows or is only told: times, texts, names, finished rollouts. Versions are named by who serves.
pub fn forget(mut state: State) -> Arc<State> {
    if let Confirmation::Joining { confirmed_lsn, since_ms } = &mut state.confirmation {
        (*confirmed_lsn, *since_ms) = (0, 0);
    }
    forget_phase(&mut state.phase);
    let kept = state.phase == Phase::Stable && state.reversible().is_some();
    state.history.drain(..state.history.len().saturating_sub(usize::from(kept)));
    for record in &mut state.history {
        (record.ended_ms, record.reason) = (0, String::new());
    }
    let active = state.version_active().to_string();
    let named = |version: &String| if *version == active { "a" } else { "b" }.to_string();
    state.versions = ByColour::from_fn(|colour| state.versions.get(colour).as_ref().map(named));
    for run in state.history.iter_mut().map(|record| &mut record.run).chain(&mut state.run) {
        (run.id, run.started_ms) = (1, 0);
        (run.from_version, run.to_version) = (named(&run.from_version), named(&run.to_version));
        run.committed_ms = run.committed_ms.map(|_| 0);
    }
    // Read only where a primary may be gone.
    if let (Some(run), false) = (&mut state.run, matches!(state.phase, Phase::HandingOver { .. })) {
        run.accept_loss = false;
    }
    Arc::new(state)
}

fn forget_phase(phase: &mut Phase) {
    match phase {
        Phase::Stable => (),
        Phase::Starting { since_ms }
        | Phase::Preparing { since_ms }
        | Phase::Seeding { since_ms }
        | Phase::Following { since_ms }
        | Phase::Checking { since_ms }
        | Phase::Shifting { since_ms, .. }
        | Phase::Watching { since_ms } => *since_ms = 0,
        Phase::RollingBack { since_ms, reason } => (*since_ms, *reason) = (0, String::new()),
        Phase::HandingOver { since_ms, reason, stage, .. } => {
            (*since_ms, *reason) = (0, String::new());
            match stage {
                Stage::CatchingUp { sealed_ms, .. } => *sealed_ms = 0,
                // Compared before the commit, and kept only to be read.
                Stage::Promoting { digest, .. } => digest.clear(),
                Stage::Resuming { why, .. } => why.clear(),
                _ => (),
            }
        }
        Phase::Paused { since_ms, before, why } => {
            (*since_ms, *why) = (0, String::new());
            forget_phase(before);
        }
    }
}
