//! Looking: what the platform says, and what each node says of itself. All nodes are asked at the same time and only
//! for a bounded one, so that one that hangs does not hold up the others.

use crate::journal::{Journal, Trouble};
use crate::node_reads::NodeReads;
use crate::{Platform, PlatformObservation, TrafficCounts, WorkloadObservation};
use client::{Admin, Http};
use rollout::{FollowerObservation, NodeObservation};
use std::time::Duration;
use tokio::task::JoinSet;
use tokio::time::Instant;
use wire::admin::{Lsn, NodeState, Peer, Role, Sealed};
use wire::{ByColour, Colour, Latency, Member};

/// How long the platform may take to say what it sees.
const PLATFORM_TIMEOUT: Duration = Duration::from_secs(2);
/// How long a node may take to say how it is.
pub(crate) const NODE_TIMEOUT: Duration = Duration::from_secs(1);
/// The same while writes wait.
pub(crate) const NODE_TIMEOUT_HURRIED: Duration = Duration::from_millis(250);

/// A node that does not answer for the first time has been silent for this long at most, as far as anybody knows.
const UNSEEN_MAX: Duration = Duration::from_secs(3);

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

/// Everything that was seen last. Of each environment one node is the head: what is said of a colour is said of that.
pub(crate) struct Sight {
    /// Which node of each environment is its head.
    pub heads: ByColour<u8>,
    /// Every node that the platform knows of, by its number.
    members: ByColour<Vec<Seen>>,
    pub reads_in_effect: Option<ByColour<u8>>,
    /// As the router counts and measures, where it does.
    pub traffic: Option<ByColour<TrafficCounts>>,
    pub read_latency: Option<ByColour<Latency>>,
    node_reads: NodeReads,
    pub digest_at: ByColour<Option<(Lsn, String)>>,
    pub way_back: Option<(Colour, Result<(), String>)>,
    platform_seen: Option<Instant>,
}

/// One node.
#[derive(Clone)]
pub(crate) struct Seen {
    pub target: Option<Target>,
    pub node: NodeObservation,
    /// The highest LSN that it was ever heard to have, from itself or from whoever follows it.
    pub lsn_heard: Lsn,
    /// When it answered last.
    answered: Instant,
    heard: bool,
}

impl Seen {
    fn nothing() -> Self {
        let node = NodeObservation::Silent { why: "it was not asked yet".into() };
        Self { target: None, node, lsn_heard: 0, answered: Instant::now(), heard: false }
    }

    pub fn state(&self) -> Option<&NodeState> {
        match &self.node {
            NodeObservation::Up { state, .. } => Some(state),
            NodeObservation::Stopped | NodeObservation::Silent { .. } => None,
        }
    }

    /// It answered at least once since it was started.
    pub fn was_heard(&self) -> bool {
        self.heard
    }

    /// How long it has not answered, ms.
    pub fn silent_ms(&self) -> u64 {
        match self.state() {
            Some(_) => 0,
            None => self.answered.elapsed().as_millis() as u64,
        }
    }
}

impl Sight {
    pub fn new(heads: ByColour<u8>) -> Self {
        Self {
            heads,
            members: ByColour::from_fn(|colour| vec![Seen::nothing(); usize::from(*heads.get(colour)) + 1]),
            reads_in_effect: None,
            traffic: None,
            read_latency: None,
            node_reads: NodeReads::default(),
            digest_at: ByColour::new(None, None),
            way_back: None,
            platform_seen: None,
        }
    }

    /// Looks at the platform and at all nodes. `moving`: traffic or the right to write is on its way, so nobody waits long for
    /// those that did not answer the last time either.
    pub async fn look<P: Platform>(&mut self, platform: &P, http: &Http, journal: &mut Journal, moving: bool) {
        self.look_at_platform(platform, journal).await;
        self.look_at_nodes(http, NODE_TIMEOUT, if moving { NODE_TIMEOUT_HURRIED } else { NODE_TIMEOUT }, true).await;
    }

    /// Looks at the heads only, and at the platform only when that was not done for a while.
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
        self.look_at_nodes(http, NODE_TIMEOUT_HURRIED, NODE_TIMEOUT_HURRIED, false).await;
    }

    /// The platform was looked at within this time.
    pub fn has_looked(&self, within: Duration) -> bool {
        self.platform_seen.is_some_and(|seen| seen.elapsed() <= within)
    }

    /// Every node of which the platform knows where it speaks, and somebody does.
    pub fn all_answer(&self) -> bool {
        let mut speaking =
            self.all().filter_map(|member| self.seen(member)).filter(|seen| seen.target.is_some()).peekable();
        speaking.peek().is_some() && speaking.all(|seen| seen.state().is_some())
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
        let PlatformObservation { environments, reads_in_effect, traffic, read_latency } = seen;
        (self.reads_in_effect, self.traffic, self.read_latency) = (reads_in_effect, traffic, read_latency);
        for (colour, workloads) in environments.iter() {
            let least = usize::from(*self.heads.get(colour)) + 1;
            let members = self.members.get_mut(colour);
            members.resize(workloads.len().max(least), Seen::nothing());
            for (seen, workload) in members.iter_mut().zip(workloads) {
                seen.runs(workload);
            }
        }
    }

    /// Asks all at the same time; a follower that hangs shall not hold up a decision as long as a head may.
    async fn look_at_nodes(&mut self, http: &Http, timeout: Duration, timeout_silent: Duration, all: bool) {
        let mut asked = JoinSet::new();
        for member in self.all().collect::<Vec<_>>() {
            let is_head = self.is_head(member);
            let Some(target) = self.seen(member).and_then(|seen| seen.target.clone()).filter(|_| all || is_head) else {
                continue;
            };
            let answered = self.seen(member).is_some_and(|seen| seen.state().is_some());
            let of_head = if answered { timeout } else { timeout_silent };
            let (http, timeout) = (http.clone(), if is_head { of_head } else { NODE_TIMEOUT_HURRIED });
            asked.spawn(async move { (member, target.admin(&http, timeout).state().await) });
        }
        while let Some(answer) = asked.join_next().await {
            match answer {
                Ok((member, Ok(state))) => self.saw(member, state),
                Ok((member, Err(error))) => {
                    if let Some(seen) = self.seen_mut(member) {
                        seen.fell_silent(error.to_string());
                    }
                }
                Err(error) => tracing::error!(%error, "asking a node broke off"),
            }
        }
    }

    /// A node said how it is: in a look, or as the answer to a call.
    pub fn saw(&mut self, member: Member, state: NodeState) {
        if self.target_of(member).is_some() {
            self.node_reads.hear(member, &state);
        }
        let Some(seen) = self.seen_mut(member) else { return };
        let Some(target) = &seen.target else { return };
        seen.lsn_heard = seen.lsn_heard.max(state.lsn);
        (seen.answered, seen.heard) = (Instant::now(), true);
        let announced = match (&state.feed, &state.role) {
            (Some(feed), Role::Follower { primary, .. }) => Some((feed.primary_lsn, primary.clone())),
            _ => None,
        };
        seen.node = NodeObservation::Up { state: Box::new(state), version_running: target.version.clone() };
        if let Some((lsn, of)) = announced {
            let followed = self.all().find(|one| self.target_of(*one).is_some_and(|target| target.peer == of));
            let followed = followed.or(self.is_head(member).then(|| self.head(member.colour.other())));
            if let Some(seen) = followed.and_then(|followed| self.seen_mut(followed)) {
                seen.lsn_heard = seen.lsn_heard.max(lsn);
            }
        }
    }

    /// The answer to a seal is all that the next decision needs; nobody has to ask again.
    pub fn saw_sealed(&mut self, colour: Colour, sealed: &Sealed) {
        if let Some(Seen { node: NodeObservation::Up { state, .. }, .. }) = self.seen_mut(self.head(colour)) {
            state.lsn = sealed.lsn;
            state.epoch_seen = sealed.epoch;
            state.role = Role::Sealed { epoch: sealed.epoch, lsn: sealed.lsn, digest: sealed.digest.clone() };
        }
    }

    /// A node that knows its digest at `lsn` has reached it.
    pub fn saw_digest(&mut self, colour: Colour, lsn: Lsn, digest: String) {
        *self.digest_at.get_mut(colour) = Some((lsn, digest));
        if let Some(Seen { node: NodeObservation::Up { state, .. }, .. }) = self.seen_mut(self.head(colour)) {
            state.lsn = state.lsn.max(lsn);
        }
    }

    pub fn head(&self, colour: Colour) -> Member {
        Member::new(colour, *self.heads.get(colour))
    }

    pub fn is_head(&self, member: Member) -> bool {
        self.head(member.colour) == member
    }

    /// Every node that is known of, blue's first.
    pub fn all(&self) -> impl Iterator<Item = Member> + use<> {
        let numbers = ByColour::from_fn(|colour| self.members.get(colour).len().min(usize::from(u8::MAX)) as u8);
        Colour::BOTH.into_iter().flat_map(move |colour| (0..*numbers.get(colour)).map(move |n| Member::new(colour, n)))
    }

    pub fn seen(&self, member: Member) -> Option<&Seen> {
        self.members.get(member.colour).get(usize::from(member.number))
    }

    fn seen_mut(&mut self, member: Member) -> Option<&mut Seen> {
        self.members.get_mut(member.colour).get_mut(usize::from(member.number))
    }

    pub fn target_of(&self, member: Member) -> Option<&Target> {
        self.seen(member)?.target.as_ref()
    }

    /// Of the environment's head.
    pub fn target(&self, colour: Colour) -> Option<&Target> {
        self.target_of(self.head(colour))
    }

    pub fn targets(&self) -> ByColour<Option<Target>> {
        ByColour::from_fn(|colour| self.target(colour).cloned())
    }

    /// Of every node that is not a head.
    pub fn follower_targets(&self) -> Vec<(Member, Target)> {
        let others = self.all().filter(|member| !self.is_head(*member));
        others.filter_map(|member| Some((member, self.target_of(member)?.clone()))).collect()
    }

    /// What the environment's head says of itself.
    pub fn node(&self, colour: Colour) -> Option<&NodeState> {
        self.seen(self.head(colour))?.state()
    }

    pub fn nodes(&self) -> ByColour<NodeObservation> {
        let nothing = || Seen::nothing().node;
        ByColour::from_fn(|colour| self.seen(self.head(colour)).map_or_else(nothing, |seen| seen.node.clone()))
    }

    /// Everybody but the heads.
    pub fn followers(&self) -> ByColour<Vec<FollowerObservation>> {
        ByColour::from_fn(|colour| {
            let others = self.all().filter(|one| one.colour == colour && !self.is_head(*one));
            let observed = |one: Member| {
                let seen = self.seen(one)?;
                let (number, node, lsn_heard) = (one.number, seen.node.clone(), seen.lsn_heard);
                Some(FollowerObservation { number, node, silent_ms: seen.silent_ms(), lsn_heard })
            };
            others.filter_map(observed).collect()
        })
    }

    /// Live reads, by the router, or else by the nodes.
    pub fn live_counts(&self) -> ByColour<TrafficCounts> {
        self.traffic.unwrap_or_else(|| self.node_reads.counts())
    }

    /// Latencies of live reads, by the router, or else by the nodes; `None` where nobody measures any.
    pub fn live_latency(&self) -> Option<ByColour<Latency>> {
        self.read_latency.clone().or_else(|| self.node_reads.latency())
    }

    pub fn lsn_heard(&self) -> ByColour<Lsn> {
        ByColour::from_fn(|colour| self.seen(self.head(colour)).map_or(0, |seen| seen.lsn_heard))
    }

    /// How long each head has not answered, ms.
    pub fn silent_ms(&self) -> ByColour<u64> {
        ByColour::from_fn(|colour| self.seen(self.head(colour)).map_or(0, Seen::silent_ms))
    }
}

impl Seen {
    /// It did not answer. What was between two looks that are far apart is not held against it.
    fn fell_silent(&mut self, why: String) {
        if self.state().is_some()
            && let Some(earliest) = Instant::now().checked_sub(UNSEEN_MAX)
        {
            self.answered = self.answered.max(earliest);
        }
        self.node = NodeObservation::Silent { why };
    }

    /// Takes in what the platform says.
    fn runs(&mut self, workload: &WorkloadObservation) {
        match workload {
            WorkloadObservation::Running { version, peer, admin_token } => {
                let (version, peer) = (version.clone(), peer.clone());
                // Another process speaks at another place, and has yet to say something.
                self.heard &= self.target.as_ref().is_some_and(|target| target.peer == peer);
                self.target = Some(Target { version, peer, admin_token: admin_token.clone() });
            }
            WorkloadObservation::Starting { version, why } => {
                let why = format!("version {version} is being started: {why}");
                // Whoever speaks next is another process, and has yet to say something.
                self.heard = false;
                (self.target, self.node) = (None, NodeObservation::Silent { why });
            }
            WorkloadObservation::Stopped => (self.target, self.node) = (None, NodeObservation::Stopped),
            WorkloadObservation::Crashed { version, why } => {
                let why = format!("its process with version {version} ended: {why}");
                (self.target, self.node) = (None, NodeObservation::Silent { why });
            }
        }
    }
}
