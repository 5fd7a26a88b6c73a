//! What the conductor tells about itself: one snapshot, made after every turn.

use crate::TrafficCounts;
use crate::journal::Journal;
use crate::observe::Sight;
use evidence::{Assessment, Counts, Likeness, Verdict, finite_e};
use rollout::{Confirmation, Judgement, NodeObservation, Phase, Record, Run, State, World};
use serde::{Deserialize, Serialize};
use wire::admin::{AcknowledgeState, Epoch, Lsn, Role, SetAside};
use wire::document::BlueGreen;
use wire::{ByColour, Colour, Member};

/// Everything `jadeshift info` shows.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Info {
    /// Name of the deployment.
    pub name: String,
    pub phase: Phase,
    /// Why the phase is what it is, in one sentence.
    pub why: String,
    pub generation: u64,
    /// Highest epoch given out.
    pub epoch: Epoch,
    /// Who may admit writes, and in which epoch.
    pub primary: Colour,
    pub primary_epoch: Epoch,
    /// Whether what the primary acknowledged is on the other environment's disk too.
    #[serde(default)]
    pub confirmation: Confirmation,
    /// Who serves production.
    pub active: Colour,
    /// Version each environment shall run.
    pub versions: ByColour<Option<String>>,
    /// Wanted share of reads, percent.
    pub share_percent: ByColour<u8>,
    /// Share of reads that the router confirms; `None`: not known.
    pub share_in_effect: Option<ByColour<u8>>,
    /// The head of each environment.
    pub nodes: ByColour<NodeInfo>,
    /// Which node of each environment is its head.
    #[serde(default)]
    pub heads: ByColour<u8>,
    /// The other nodes of each environment.
    #[serde(default)]
    pub followers: ByColour<Vec<FollowerInfo>>,
    /// Whose disk `confirmation` is about.
    #[serde(default)]
    pub confirmer: Option<Member>,
    /// Live reads since the router started, or, where it does not count them, since the conductor did.
    pub traffic: Option<ByColour<TrafficCounts>>,
    /// What the evidence says about the current phase; empty when nothing is judged.
    pub verdicts: Vec<Verdict>,
    /// The numbers behind the verdicts; `None` when nothing is judged.
    #[serde(default)]
    pub evidence: Option<EvidenceInfo>,
    /// The rollout under way.
    pub run: Option<Run>,
    /// Finished rollouts, oldest first.
    pub history: Vec<Record>,
    /// The last handovers that this process made, oldest first.
    pub handovers: Vec<HandoverTiming>,
    /// What happened, oldest first.
    pub events: Vec<Event>,
    /// What went wrong and is being tried again; `None` when nothing is.
    pub last_error: Option<String>,
    /// The conductor has stopped for good, and why.
    pub stopped: Option<String>,
}

/// How the rollout under way is judged. E says how many times as likely what was seen is if the candidate is worse.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct EvidenceInfo {
    /// Against the candidate, of all signals together, since the rollout began.
    pub e_value: f64,
    /// At which the candidate fails.
    pub e_needed: f64,
    pub signals: Vec<SignalInfo>,
    /// What the results of searches replayed in this phase were like.
    #[serde(default)]
    pub results: Likeness,
}

/// One signal.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct SignalInfo {
    pub name: String,
    /// Requests and events since the rollout began.
    pub candidate: Counts,
    pub active: Counts,
    /// E against the candidate, since the rollout began.
    pub e_against: f64,
    /// E for it, since the step began.
    pub e_for: f64,
    /// It is the active environment that is worse.
    pub active_is_worse: bool,
}

impl EvidenceInfo {
    pub(crate) fn of(assessment: &Assessment, results: Likeness) -> Self {
        let (ln_e, ln_e_needed) = assessment.ln_e();
        let signals = assessment.signals().map(|signal| SignalInfo {
            name: signal.name.into(),
            candidate: signal.candidate,
            active: signal.active,
            e_against: finite_e(signal.ln_e_against),
            e_for: finite_e(signal.ln_e_for),
            active_is_worse: signal.active_is_worse,
        });
        Self { e_value: finite_e(ln_e), e_needed: finite_e(ln_e_needed), signals: signals.collect(), results }
    }
}

/// One environment's node.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct NodeInfo {
    pub status: NodeStatus,
    /// Why it does not answer.
    pub why: Option<String>,
    /// Version that the platform started.
    pub version_running: Option<String>,
    /// `host:port` of its REST interface.
    pub http: Option<String>,
    /// `host:port` of its admin and feed protocol.
    pub admin: Option<String>,
    pub role: Option<Role>,
    pub epoch_seen: Epoch,
    pub lsn: Lsn,
    /// Records and time behind its primary; `None` unless it follows.
    pub lag_records: Option<u64>,
    pub lag_ms: Option<u64>,
    pub ready: bool,
    /// Its disk failed.
    pub failed: Option<String>,
    /// Writes that wait at a seal.
    pub held_writes: u64,
    /// What its writes wait for; `None` unless it is primary.
    #[serde(default)]
    pub acknowledge: Option<AcknowledgeState>,
    pub databases: u64,
    pub vectors: u64,
    /// Vectors that are found by scan until they are in the index.
    pub unindexed: u64,
    /// Resident memory, bytes.
    pub resident_bytes: u64,
    /// What it had alone and keeps in files.
    #[serde(default)]
    pub set_aside: Vec<SetAside>,
}

/// A node that is not the head of its environment.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct FollowerInfo {
    pub member: Member,
    #[serde(flatten)]
    pub node: NodeInfo,
}

/// Whether a node answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum NodeStatus {
    Up,
    Silent,
    Stopped,
}

/// How long one handover took, as the conductor saw it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct HandoverTiming {
    /// When the seal was sent, ms since 1970.
    pub at_ms: u64,
    pub to: Colour,
    pub epoch: Epoch,
    /// From sending the seal to the answer of the promotion.
    pub seal_to_promote_ms: f64,
    /// From sending the seal until the old primary follows and forwards what it held; `None`: it did not (yet).
    pub seal_to_follow_ms: Option<f64>,
}

/// Something that happened.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Event {
    /// Rises by one with each event since the conductor started.
    pub number: u64,
    /// ms since 1970.
    pub at_ms: u64,
    pub text: String,
}

impl Info {
    /// Everything known at the end of a turn.
    pub(crate) fn of(
        document: &BlueGreen,
        state: &State,
        sight: &Sight,
        journal: &Journal,
        judgement: Option<&Judgement>,
        evidence: Option<EvidenceInfo>,
        stopped: Option<String>,
    ) -> Info {
        let world = World::of(state);
        let judged = world.replay_reads || matches!(state.phase, Phase::HandingOver { .. });
        let verdicts = match judgement {
            Some(Judgement { live, results, data, sources, .. }) if judged => {
                [live, results, data].into_iter().chain(sources).cloned().collect()
            }
            _ => Vec::new(),
        };
        Info {
            name: document.metadata.name.clone(),
            phase: state.phase.clone(),
            why: journal.why.clone(),
            generation: state.generation,
            epoch: state.epoch,
            primary: state.primary,
            primary_epoch: state.primary_epoch,
            confirmation: state.confirmation,
            active: state.active,
            versions: state.versions.clone(),
            share_percent: world.reads,
            share_in_effect: sight.reads_in_effect,
            nodes: ByColour::from_fn(|colour| node_info(sight, sight.head(colour))),
            heads: state.replicas.heads,
            followers: ByColour::from_fn(|colour| {
                let others = sight.all().filter(|one| one.colour == colour && !sight.is_head(*one));
                others.map(|member| FollowerInfo { member, node: node_info(sight, member) }).collect()
            }),
            confirmer: Some(state.confirmer()),
            traffic: Some(sight.live_counts()),
            verdicts,
            evidence: evidence.filter(|_| judged),
            run: state.run.clone(),
            history: state.history.clone(),
            handovers: journal.handovers.iter().cloned().collect(),
            events: journal.events.iter().cloned().collect(),
            last_error: journal.last_error(),
            stopped,
        }
    }
}

fn node_info(sight: &Sight, member: Member) -> NodeInfo {
    let target = sight.target_of(member);
    let (status, why) = match sight.seen(member).map(|seen| &seen.node) {
        Some(NodeObservation::Up { .. }) => (NodeStatus::Up, None),
        Some(NodeObservation::Silent { why }) => (NodeStatus::Silent, Some(why.clone())),
        Some(NodeObservation::Stopped) | None => (NodeStatus::Stopped, None),
    };
    let node = sight.seen(member).and_then(|seen| seen.state());
    let follows = node.filter(|node| matches!(node.role, Role::Follower { .. }));
    let feed = follows.and_then(|node| Some((node, node.feed.as_ref()?)));
    NodeInfo {
        status,
        why,
        version_running: target.map(|target| target.version.clone()),
        http: target.map(|target| target.peer.http.clone()),
        admin: target.map(|target| target.peer.admin.clone()),
        role: node.map(|node| node.role.clone()),
        epoch_seen: node.map_or(0, |node| node.epoch_seen),
        lsn: node.map_or(0, |node| node.lsn),
        lag_records: feed.map(|(node, feed)| feed.primary_lsn.saturating_sub(node.lsn)),
        lag_ms: feed.map(|(_, feed)| feed.lag_ms),
        ready: node.is_some_and(|node| node.ready),
        failed: node.and_then(|node| node.failed.clone()),
        held_writes: node.map_or(0, |node| node.held_writes),
        acknowledge: node
            .filter(|node| matches!(node.role, Role::Primary { .. }))
            .and_then(|node| node.acknowledge.clone()),
        databases: node.map_or(0, |node| node.databases),
        vectors: node.map_or(0, |node| node.vectors),
        unindexed: node.map_or(0, |node| node.unindexed),
        resident_bytes: node.map_or(0, |node| node.resident_bytes),
        set_aside: node.map_or_else(Vec::new, |node| node.set_aside.clone()),
    }
}
