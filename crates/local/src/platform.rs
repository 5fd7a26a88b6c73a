//! The [`Platform`] of one machine: the supervisor's processes behind the gateway.
//!
//! **Invariant.** Requests are led away from an environment before its process is told to end, and the ones it has are
//! waited for (bounded).

use crate::folder::{Folder, FolderError};
use crate::launch::{Launch, configured};
use crate::process::Identity;
use crate::supervisor::{Adopted, Drain, Running, Status, Statuses, Supervisor, SupervisorError, Wanted, status_of};
use conductor::{Platform, PlatformError, PlatformObservation, TrafficCounts, WorkloadObservation};
use gateway::{ColourMetrics, Gateway, Routing};
use parking_lot::Mutex;
use rollout::{Phase, State, World};
use std::collections::BTreeMap;
use std::future::Future;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::{Arc, Weak};
use std::time::Duration;
use tokio::sync::watch;
use tokio::task::{JoinHandle, JoinSet};
use tokio::time::Instant;
use wire::admin::Peer;
use wire::document::BlueGreen;
use wire::{ByColour, Colour, Member};

/// Longest time that requests under way may keep a process from ending.
const DRAIN_MAX: Duration = Duration::from_secs(5);
/// The same for reads of an environment that is alone: new ones keep coming, and nobody else could answer them.
const DRAIN_ALONE_MAX: Duration = Duration::from_millis(500);
/// How often they are counted.
const DRAIN_POLL: Duration = Duration::from_millis(5);

/// One machine; cloning gives another handle to the same.
#[derive(Clone)]
pub struct LocalPlatform {
    shared: Arc<Shared>,
}

struct Shared {
    folder: Folder,
    document: BlueGreen,
    admin_token: String,
    supervisor: Mutex<Option<Supervisor>>,
    front: Arc<Front>,
    /// What is durable, as last read or written.
    state: watch::Sender<Option<State>>,
    refresher: Mutex<Option<JoinHandle<()>>>,
}

/// The gateway, and what it was told.
struct Front {
    gateway: Arc<Gateway>,
    status: Statuses,
    told: Mutex<Told>,
}

#[derive(Default)]
struct Told {
    world: Option<World>,
    routing: Routing,
    /// Processes that are about to end and have had their time.
    retired: BTreeMap<Member, Identity>,
}

impl LocalPlatform {
    /// Puts `gateway` in front of what was found running and begins to watch it.
    ///
    /// # Errors
    /// When the folder's secrets cannot be read.
    pub fn start(
        folder: Folder,
        document: BlueGreen,
        adopted: Adopted,
        gateway: Arc<Gateway>,
    ) -> Result<Self, FolderError> {
        let admin_token = folder.admin_token()?;
        let status = adopted.watch();
        let front = Arc::new(Front { gateway, status, told: Mutex::default() });
        let supervisor = adopted.supervise(front.clone());
        let refresher = tokio::spawn(Front::follow(Arc::downgrade(&front)));
        Ok(Self {
            shared: Arc::new(Shared {
                folder,
                document,
                admin_token,
                supervisor: Mutex::new(Some(supervisor)),
                front,
                state: watch::Sender::new(None),
                refresher: Mutex::new(Some(refresher)),
            }),
        })
    }

    /// What is durable, as last read or written here; tells about changes.
    pub fn state(&self) -> watch::Receiver<Option<State>> {
        self.shared.state.subscribe()
    }

    /// What runs as a node.
    pub fn status(&self, of: impl Into<Member>) -> Status {
        let member = of.into();
        match &*self.shared.supervisor.lock() {
            Some(supervisor) => supervisor.status(member),
            None => status_of(&self.shared.front.status, member),
        }
    }

    /// Every node that runs or may come to run.
    pub fn members(&self) -> impl Iterator<Item = Member> {
        self.shared.front.status.keys().copied()
    }

    /// Requests are answered as the state wants it: each environment that has a share of the reads, or the writes, is
    /// there and ready.
    pub fn is_serving(&self) -> bool {
        let told = self.shared.front.told.lock();
        told.world.as_ref().is_some_and(|world| told.confirms(world) && told.routing.primary == Some(world.writes))
    }

    /// Ends the supervision, and before it the processes that `which` picks.
    ///
    /// # Errors
    /// When a process outlives SIGKILL.
    pub async fn stop(&self, which: impl Fn(&Running) -> bool) -> Result<(), SupervisorError> {
        if let Some(refresher) = self.shared.refresher.lock().take() {
            refresher.abort();
        }
        let Some(supervisor) = self.shared.supervisor.lock().take() else { return Ok(()) };
        let stopped = supervisor.stop(which).await;
        supervisor.leave().await;
        stopped
    }

    /// The first node begins a history; every other process waits to be told whose history it joins. So does the first one
    /// as soon as it has ever served: an emptied data folder must not pass for a new deployment.
    fn joins(&self, member: Member) -> bool {
        match &*self.shared.state.borrow() {
            None => member != Colour::Blue.into(),
            Some(state) => {
                member != state.head(state.primary) || !matches!(state.phase.unpaused(), Phase::Starting { .. })
            }
        }
    }

    /// A head runs whatever its number: with fewer replicas than before it may be one that is too many.
    fn wanted(&self, world: &World, member: Member) -> Wanted {
        let is_head = *world.heads.get(member.colour) == member.number;
        let counts = is_head || member.number < self.shared.document.spec.replicas;
        match &world.environments.get(member.colour).version {
            Some(version) if counts && world.fenced != Some(member) => {
                Wanted::Run(Box::new(Launch::of(&self.shared.document, version, self.joins(member))))
            }
            _ => Wanted::Nothing,
        }
    }

    fn observe_workload(&self, member: Member) -> Result<WorkloadObservation, PlatformError> {
        let admin_token = self.shared.admin_token.clone();
        Ok(match self.status(member) {
            Status::Stopped => WorkloadObservation::Stopped,
            Status::Crashed { version, why, .. } => WorkloadObservation::Crashed { version, why },
            Status::Running(Running { version, addresses, .. }) => {
                let peer = Peer { admin: addresses.admin.to_string(), http: addresses.http.to_string() };
                WorkloadObservation::Running { version, peer, admin_token }
            }
            Status::Starting { version } => {
                // Nothing listens on port 0: whoever asks there learns that there is no answer yet.
                let local = &self.shared.document.spec.local;
                let [(http, _), (admin, _)] = configured(member, local).map_err(PlatformError::Observe)?;
                let nowhere = |address: SocketAddr| SocketAddr::new(address.ip(), 0).to_string();
                let peer = Peer { admin: nowhere(admin), http: nowhere(http) };
                WorkloadObservation::Running { version, peer, admin_token }
            }
        })
    }
}

impl Platform for LocalPlatform {
    async fn load(&self) -> Result<Option<State>, PlatformError> {
        let folder = self.shared.folder.clone();
        let state = tokio::task::spawn_blocking(move || folder.load_state())
            .await
            .map_err(|error| PlatformError::Load(error.to_string()))?
            .map_err(|error| PlatformError::Load(error.to_string()))?;
        self.shared.state.send_replace(state.clone());
        Ok(state)
    }

    async fn store(&self, state: &State) -> Result<(), PlatformError> {
        let (folder, new) = (self.shared.folder.clone(), state.clone());
        let stored = tokio::task::spawn_blocking(move || folder.store_state(&new))
            .await
            .map_err(|error| PlatformError::Store(error.to_string()))?;
        match stored {
            Ok(()) => {
                self.shared.state.send_replace(Some(state.clone()));
                Ok(())
            }
            Err(FolderError::Conflict { stored, offered }) => Err(PlatformError::Conflict { stored, offered }),
            Err(error) => Err(PlatformError::Store(error.to_string())),
        }
    }

    async fn apply(&self, world: &World) -> Result<(), PlatformError> {
        self.shared.front.show(world);
        for member in self.members() {
            let wanted = self.wanted(world, member);
            match &*self.shared.supervisor.lock() {
                Some(supervisor) => supervisor.want(member, wanted),
                None => {
                    let (colour, why) = (member.colour, "the platform was stopped".into());
                    return Err(PlatformError::Workload { colour, why });
                }
            }
        }
        // What a person must change is an error; a crash is repaired by itself and only observed.
        for member in self.members() {
            let colour = member.colour;
            if world.environments.get(colour).version.is_some()
                && let Status::Crashed { why, refused: true, .. } = self.status(member)
            {
                let why = if member.number == 0 { why } else { format!("{member}: {why}") };
                return Err(PlatformError::Workload { colour, why });
            }
        }
        Ok(())
    }

    async fn observe(&self) -> Result<PlatformObservation, PlatformError> {
        let mut environments = ByColour::new(Vec::new(), Vec::new());
        for member in self.members() {
            let workloads: &mut Vec<_> = environments.get_mut(member.colour);
            workloads.resize(usize::from(member.number), WorkloadObservation::Stopped);
            workloads.push(self.observe_workload(member)?);
        }
        let front = &self.shared.front;
        let metrics = front.gateway.metrics();
        let counts = |counts: &ColourMetrics| TrafficCounts { reads: counts.reads, read_errors: counts.read_errors };
        let traffic = Some(ByColour::from_fn(|colour| counts(metrics.get(colour))));
        let read_latency = Some(metrics.map(|_, counts| counts.read_latency));
        Ok(PlatformObservation { environments, reads_in_effect: front.reads_in_effect(), traffic, read_latency })
    }
}

impl Front {
    /// Leads requests as `world` says.
    fn show(&self, world: &World) {
        let mut told = self.told.lock();
        if told.world.as_ref() != Some(world) {
            told.world = Some(world.clone());
        }
        self.tell(&mut told);
    }

    /// Leads requests to where the processes are now.
    fn refresh(&self) {
        self.tell(&mut self.told.lock());
    }

    fn tell(&self, told: &mut Told) {
        let Some(world) = &told.world else { return };
        let heads = ByColour::from_fn(|colour| {
            let head = Member::new(colour, *world.heads.get(colour));
            self.node(world, &told.retired, head)
        });
        let others = ByColour::from_fn(|colour| self.others(world, &told.retired, colour));
        let share = |colour: Colour| match heads.get(colour) {
            Node::Leaving(_) if others.get(colour).is_empty() => 0,
            Node::Leaving(_) | Node::Serving(_) | Node::Missing => *world.reads.get(colour),
        };
        let serves_writes = matches!(heads.get(world.writes), Node::Serving(_));
        let routing = Routing {
            backends: ByColour::from_fn(|colour| match heads.get(colour) {
                // The others answer in its place.
                Node::Leaving(_) if !others.get(colour).is_empty() => None,
                node => node.address(),
            }),
            reads: ByColour::from_fn(share),
            others,
            // Without a primary writes wait.
            primary: serves_writes.then_some(world.writes),
            hold_writes: false,
            generation: told.routing.generation,
        };
        if routing != told.routing || routing.generation == 0 {
            told.routing = Routing { generation: routing.generation + 1, ..routing };
            self.gateway.set_routing(told.routing.clone());
        }
    }

    /// Addresses of the nodes of `colour` that answer reads beside its head.
    fn others(&self, world: &World, retired: &BTreeMap<Member, Identity>, colour: Colour) -> Vec<SocketAddr> {
        let beside = |member: &Member| member.colour == colour && member.number != *world.heads.get(colour);
        let serving = |member: Member| match self.node(world, retired, member) {
            Node::Serving(address) => Some(address),
            Node::Leaving(_) | Node::Missing => None,
        };
        self.status.keys().copied().filter(beside).filter_map(serving).collect()
    }

    fn node(&self, world: &World, retired: &BTreeMap<Member, Identity>, member: Member) -> Node {
        let Status::Running(running) = status_of(&self.status, member) else { return Node::Missing };
        if !running.ready || running.leaving && retired.get(&member) == Some(&running.process) {
            return Node::Missing;
        }
        match &world.environments.get(member.colour).version {
            Some(version) if *version == running.version && !running.leaving && world.fenced != Some(member) => {
                Node::Serving(running.addresses.http)
            }
            _ => Node::Leaving(running.addresses.http),
        }
    }

    /// No request at all for a process that is about to end, also not those that had a moment left.
    fn retire(&self, member: Member) {
        let mut told = self.told.lock();
        match status_of(&self.status, member) {
            Status::Running(running) => told.retired.insert(member, running.process),
            _ => told.retired.remove(&member),
        };
        self.tell(&mut told);
    }

    /// Nobody else could answer reads.
    fn is_alone(&self, member: Member) -> bool {
        let told = self.told.lock();
        let (colour, others) = (member.colour, &told.routing.others);
        told.routing.backends.get(colour.other()).is_none() && others.blue.is_empty() && others.green.is_empty()
    }

    /// Where the node listens, if it is one of several of its environment; a colour of one node is known as a whole.
    fn one_of_several(&self, member: Member) -> Option<SocketAddr> {
        if self.status.keys().filter(|other| other.colour == member.colour).count() < 2 {
            return None;
        }
        match status_of(&self.status, member) {
            Status::Running(running) => Some(running.addresses.http),
            _ => None,
        }
    }

    fn in_flight(&self, member: Member) -> u64 {
        match self.one_of_several(member) {
            Some(address) => self.gateway.in_use(member.colour, address) as u64,
            None => self.gateway.in_flight(member.colour),
        }
    }

    async fn wait_until_idle(&self, member: Member, deadline: Instant) {
        while self.in_flight(member) > 0 && Instant::now() < deadline {
            tokio::time::sleep(DRAIN_POLL).await;
        }
    }

    fn reads_in_effect(&self) -> Option<ByColour<u8>> {
        let told = self.told.lock();
        let world = told.world.as_ref()?;
        told.confirms(world).then_some(world.reads)
    }

    /// Follows the processes as they come and go, until the front is gone.
    async fn follow(front: Weak<Self>) {
        let Some(status) = front.upgrade().map(|front| front.status.clone()) else { return };
        let mut following = JoinSet::new();
        for mut status in status.into_values() {
            let front = front.clone();
            following.spawn(async move {
                while status.changed().await.is_ok() {
                    let Some(front) = front.upgrade() else { return };
                    front.refresh();
                }
            });
        }
        while following.join_next().await.is_some() {}
    }
}

/// An environment as the gateway may use it.
#[derive(Debug, Clone, Copy)]
enum Node {
    Missing,
    Serving(SocketAddr),
    /// It answers what it has, and is asked nothing new if there is another one.
    Leaving(SocketAddr),
}

impl Node {
    fn address(self) -> Option<SocketAddr> {
        match self {
            Node::Missing => None,
            Node::Serving(address) | Node::Leaving(address) => Some(address),
        }
    }
}

impl Told {
    /// The gateway has the shares of `world`, and a node for each of them.
    fn confirms(&self, world: &World) -> bool {
        let nobody = |colour| self.routing.backends.get(colour).is_none() && self.routing.others.get(colour).is_empty();
        let missing = |colour| *world.reads.get(colour) > 0 && nobody(colour);
        self.routing.reads == world.reads && !Colour::BOTH.into_iter().any(missing)
    }
}

impl Drain for Front {
    fn drain(&self, member: Member) -> Pin<Box<dyn Future<Output = ()> + Send + '_>> {
        Box::pin(async move {
            let began = Instant::now();
            // New requests go elsewhere from here on, also if the change of status was not seen yet.
            self.refresh();
            let first = if self.is_alone(member) { DRAIN_ALONE_MAX } else { DRAIN_MAX };
            self.wait_until_idle(member, began + first).await;
            self.retire(member);
            self.wait_until_idle(member, began + DRAIN_MAX).await;
        })
    }

    fn cut(&self, member: Member) {
        self.retire(member);
        match self.one_of_several(member) {
            Some(address) => self.gateway.close_connections_to(member.colour, address),
            None => self.gateway.close_connections(member.colour),
        }
    }
}
