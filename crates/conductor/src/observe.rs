//! Looking: what the platform says, and what each node says of itself. Both nodes are asked at the same time and only
//! for a bounded one, so that one that hangs does not hold up the other.

use crate::journal::{Journal, Trouble};
use crate::{Platform, PlatformObservation, TrafficCounts, WorkloadObservation};
use client::{Admin, Http};
use rollout::NodeObservation;
use std::time::Duration;
use tokio::time::Instant;
use wire::admin::{Lsn, NodeState, Peer, Role, Sealed};
use wire::{ByColour, Colour};

/// How long the platform may take to say what it sees.
const PLATFORM_TIMEOUT: Duration = Duration::from_secs(2);
/// How long a node may take to say how it is.
pub(crate) const NODE_TIMEOUT: Duration = Duration::from_secs(1);
/// The same while writes wait.
pub(crate) const NODE_TIMEOUT_HURRIED: Duration = Duration::from_millis(250);

/// Where a node is spoken to.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Target {
    pub version: String,
    pub peer: Peer,
    pub admin_token: String,
}

impl Target {
    pub fn admin(&self, http: &Http, timeout: Duration) -> Admin {
        Admin::new(http.clone(), &self.peer.admin, &self.admin_token, timeout)
    }
}

/// Everything that was seen last.
pub(crate) struct Sight {
    pub targets: ByColour<Option<Target>>,
    pub nodes: ByColour<NodeObservation>,
    pub reads_in_effect: Option<ByColour<u8>>,
    pub traffic: Option<ByColour<TrafficCounts>>,
    pub digest_at: ByColour<Option<(Lsn, String)>>,
    /// The highest LSN that each node was ever heard to have.
    pub lsn_heard: ByColour<Lsn>,
    pub way_back: Option<(Colour, Result<(), String>)>,
    /// When each node answered last.
    answered: ByColour<Instant>,
    platform_seen: Option<Instant>,
}

impl Sight {
    pub fn new() -> Self {
        let unknown = || NodeObservation::Silent { why: "it was not asked yet".into() };
        Self {
            targets: ByColour::new(None, None),
            nodes: ByColour::new(unknown(), unknown()),
            reads_in_effect: None,
            traffic: None,
            digest_at: ByColour::new(None, None),
            lsn_heard: ByColour::new(0, 0),
            way_back: None,
            answered: ByColour::new(Instant::now(), Instant::now()),
            platform_seen: None,
        }
    }

    /// Looks at the platform and at both nodes.
    pub async fn look<P: Platform>(&mut self, platform: &P, http: &Http, journal: &mut Journal) {
        self.look_at_platform(platform, journal).await;
        self.look_at_nodes(http, NODE_TIMEOUT).await;
    }

    /// Looks at the nodes only, and at the platform only when that was not done for a while.
    pub async fn glance<P: Platform>(
        &mut self,
        platform: &P,
        http: &Http,
        journal: &mut Journal,
        platform_at_least_every: Duration,
    ) {
        if self.platform_seen.is_none_or(|seen| seen.elapsed() >= platform_at_least_every) {
            self.look_at_platform(platform, journal).await;
        }
        self.look_at_nodes(http, NODE_TIMEOUT_HURRIED).await;
    }

    async fn look_at_platform<P: Platform>(&mut self, platform: &P, journal: &mut Journal) {
        self.platform_seen = Some(Instant::now());
        let seen = match tokio::time::timeout(PLATFORM_TIMEOUT, platform.observe()).await {
            Ok(seen) => seen.map_err(|error| error.to_string()),
            Err(_) => Err(format!("the platform did not say what it sees within {} ms", PLATFORM_TIMEOUT.as_millis())),
        };
        // What is not known now is not known; the nodes may well answer all the same.
        self.reads_in_effect = None;
        let Some(seen) = journal.note(Trouble::Observe, seen) else { return };
        let PlatformObservation { environments, reads_in_effect, traffic } = seen;
        (self.reads_in_effect, self.traffic) = (reads_in_effect, traffic);
        for (colour, workload) in environments.iter() {
            let target = self.targets.get_mut(colour);
            match workload {
                WorkloadObservation::Running { version, peer, admin_token } => {
                    let (version, peer) = (version.clone(), peer.clone());
                    *target = Some(Target { version, peer, admin_token: admin_token.clone() });
                }
                WorkloadObservation::Stopped => {
                    *target = None;
                    *self.nodes.get_mut(colour) = NodeObservation::Stopped;
                }
                WorkloadObservation::Crashed { version, why } => {
                    *target = None;
                    let why = format!("its process with version {version} ended: {why}");
                    *self.nodes.get_mut(colour) = NodeObservation::Silent { why };
                }
            }
        }
    }

    async fn look_at_nodes(&mut self, http: &Http, timeout: Duration) {
        let ask = async |target: &Option<Target>| match target {
            Some(target) => Some(target.admin(http, timeout).state().await),
            None => None,
        };
        let (blue, green) = tokio::join!(ask(&self.targets.blue), ask(&self.targets.green));
        for (colour, answer) in [(Colour::Blue, blue), (Colour::Green, green)] {
            match answer {
                Some(Ok(state)) => self.saw(colour, state),
                Some(Err(error)) => *self.nodes.get_mut(colour) = NodeObservation::Silent { why: error.to_string() },
                None => (),
            }
        }
    }

    /// A node said how it is: in a look, or as the answer to a call.
    pub fn saw(&mut self, colour: Colour, state: NodeState) {
        let Some(target) = self.targets.get(colour) else { return };
        let heard = self.lsn_heard.get_mut(colour);
        *heard = state.lsn.max(*heard);
        if let Some(feed) = &state.feed {
            let of_primary = self.lsn_heard.get_mut(colour.other());
            *of_primary = feed.primary_lsn.max(*of_primary);
        }
        *self.nodes.get_mut(colour) =
            NodeObservation::Up { state: Box::new(state), version_running: target.version.clone() };
        *self.answered.get_mut(colour) = Instant::now();
    }

    /// The answer to a seal is all that the next decision needs; nobody has to ask again.
    pub fn saw_sealed(&mut self, colour: Colour, sealed: &Sealed) {
        if let NodeObservation::Up { state, .. } = self.nodes.get_mut(colour) {
            state.lsn = sealed.lsn;
            state.epoch_seen = sealed.epoch;
            state.role = Role::Sealed { epoch: sealed.epoch, lsn: sealed.lsn, digest: sealed.digest.clone() };
        }
    }

    /// A node that knows its digest at `lsn` has reached it.
    pub fn saw_digest(&mut self, colour: Colour, lsn: Lsn, digest: String) {
        *self.digest_at.get_mut(colour) = Some((lsn, digest));
        if let NodeObservation::Up { state, .. } = self.nodes.get_mut(colour) {
            state.lsn = state.lsn.max(lsn);
        }
    }

    pub fn node(&self, colour: Colour) -> Option<&NodeState> {
        match self.nodes.get(colour) {
            NodeObservation::Up { state, .. } => Some(state),
            NodeObservation::Stopped | NodeObservation::Silent { .. } => None,
        }
    }

    /// How long each node has not answered, ms.
    pub fn silent_ms(&self) -> ByColour<u64> {
        ByColour::from_fn(|colour| match self.node(colour) {
            Some(_) => 0,
            None => self.answered.get(colour).elapsed().as_millis() as u64,
        })
    }
}
