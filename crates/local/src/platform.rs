//! The [`Platform`] of one machine: the supervisor's processes behind the gateway.
//!
//! **Invariant.** Requests are led away from an environment before its process is told to end, and the ones it has are
//! waited for (bounded).

use crate::folder::{Folder, FolderError};
use crate::launch::{Launch, configured};
use crate::process::Identity;
use crate::supervisor::{Adopted, Drain, Running, Status, Supervisor, SupervisorError, Wanted};
use conductor::{Platform, PlatformError, PlatformObservation, TrafficCounts, WorkloadObservation};
use gateway::{Gateway, Routing};
use parking_lot::Mutex;
use rollout::{Phase, State, World};
use std::future::Future;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::{Arc, Weak};
use std::time::Duration;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::Instant;
use wire::admin::Peer;
use wire::document::BlueGreen;
use wire::{ByColour, Colour};

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
    status: ByColour<watch::Receiver<Status>>,
    told: Mutex<Told>,
}

#[derive(Default)]
struct Told {
    world: Option<World>,
    routing: Routing,
    /// Processes that are about to end and have had their time.
    retired: ByColour<Option<Identity>>,
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
        let status = ByColour::from_fn(|colour| adopted.watch(colour));
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

    /// What runs in an environment.
    pub fn status(&self, colour: Colour) -> Status {
        match &*self.shared.supervisor.lock() {
            Some(supervisor) => supervisor.status(colour),
            None => self.shared.front.status.get(colour).borrow().clone(),
        }
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

    /// The first environment begins a history; every other process waits to be told whose history it joins. So does the
    /// first one as soon as it has ever served: an emptied data folder must not pass for a new deployment.
    fn joins(&self, colour: Colour) -> bool {
        match &*self.shared.state.borrow() {
            None => colour != Colour::Blue,
            Some(state) => colour != state.primary || !matches!(state.phase.unpaused(), Phase::Starting { .. }),
        }
    }

    fn wanted(&self, world: &World, colour: Colour) -> Wanted {
        match &world.environments.get(colour).version {
            None => Wanted::Nothing,
            Some(version) => Wanted::Run(Box::new(Launch::of(&self.shared.document, version, self.joins(colour)))),
        }
    }

    fn observe_workload(&self, colour: Colour) -> Result<WorkloadObservation, PlatformError> {
        let admin_token = self.shared.admin_token.clone();
        Ok(match self.status(colour) {
            Status::Stopped => WorkloadObservation::Stopped,
            Status::Crashed { version, why, .. } => WorkloadObservation::Crashed { version, why },
            Status::Running(Running { version, addresses, .. }) => {
                let peer = Peer { admin: addresses.admin.to_string(), http: addresses.http.to_string() };
                WorkloadObservation::Running { version, peer, admin_token }
            }
            Status::Starting { version } => {
                // Nothing listens on port 0: whoever asks there learns that there is no answer yet.
                let node = self.shared.document.spec.local.node(colour);
                let [(http, _), (admin, _)] = configured(colour, node).map_err(PlatformError::Observe)?;
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
        for colour in Colour::BOTH {
            let wanted = self.wanted(world, colour);
            match &*self.shared.supervisor.lock() {
                Some(supervisor) => supervisor.want(colour, wanted),
                None => return Err(PlatformError::Workload { colour, why: "the platform was stopped".into() }),
            }
        }
        // What a person must change is an error; a crash is repaired by itself and only observed.
        for colour in Colour::BOTH {
            if world.environments.get(colour).version.is_some()
                && let Status::Crashed { why, refused: true, .. } = self.status(colour)
            {
                return Err(PlatformError::Workload { colour, why });
            }
        }
        Ok(())
    }

    async fn observe(&self) -> Result<PlatformObservation, PlatformError> {
        let environments = ByColour::new(self.observe_workload(Colour::Blue)?, self.observe_workload(Colour::Green)?);
        let front = &self.shared.front;
        let traffic = front
            .gateway
            .metrics()
            .map(|_, counts| TrafficCounts { reads: counts.reads, read_errors: counts.read_errors });
        Ok(PlatformObservation { environments, reads_in_effect: front.reads_in_effect(), traffic: Some(traffic) })
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
        let nodes = ByColour::from_fn(|colour| self.node(world, &told.retired, colour));
        let share = |colour: Colour| match nodes.get(colour) {
            Node::Leaving(_) => 0,
            Node::Serving(_) | Node::Missing => *world.reads.get(colour),
        };
        let serves_writes = matches!(nodes.get(world.writes), Node::Serving(_));
        let routing = Routing {
            backends: ByColour::from_fn(|colour| nodes.get(colour).address()),
            reads: ByColour::from_fn(share),
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

    fn node(&self, world: &World, retired: &ByColour<Option<Identity>>, colour: Colour) -> Node {
        let Status::Running(running) = &*self.status.get(colour).borrow() else { return Node::Missing };
        if !running.ready || running.leaving && retired.get(colour).as_ref() == Some(&running.process) {
            return Node::Missing;
        }
        match &world.environments.get(colour).version {
            Some(version) if *version == running.version && !running.leaving => Node::Serving(running.addresses.http),
            _ => Node::Leaving(running.addresses.http),
        }
    }

    /// No request at all for a process that is about to end, also not those that had a moment left.
    fn retire(&self, colour: Colour) {
        let mut told = self.told.lock();
        *told.retired.get_mut(colour) = match &*self.status.get(colour).borrow() {
            Status::Running(running) => Some(running.process.clone()),
            _ => None,
        };
        self.tell(&mut told);
    }

    fn is_alone(&self, colour: Colour) -> bool {
        self.told.lock().routing.backends.get(colour.other()).is_none()
    }

    async fn wait_until_idle(&self, colour: Colour, deadline: Instant) {
        while self.gateway.in_flight(colour) > 0 && Instant::now() < deadline {
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
        let Some(mut status) = front.upgrade().map(|front| front.status.clone()) else { return };
        loop {
            let changed = tokio::select! {
                changed = status.blue.changed() => changed,
                changed = status.green.changed() => changed,
            };
            let (Ok(()), Some(front)) = (changed, front.upgrade()) else { return };
            front.refresh();
        }
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
        let missing = |colour| *world.reads.get(colour) > 0 && self.routing.backends.get(colour).is_none();
        self.routing.reads == world.reads && !Colour::BOTH.into_iter().any(missing)
    }
}

impl Drain for Front {
    fn drain(&self, colour: Colour) -> Pin<Box<dyn Future<Output = ()> + Send + '_>> {
        Box::pin(async move {
            let began = Instant::now();
            // New requests go elsewhere from here on, also if the change of status was not seen yet.
            self.refresh();
            let first = if self.is_alone(colour) { DRAIN_ALONE_MAX } else { DRAIN_MAX };
            self.wait_until_idle(colour, began + first).await;
            self.retire(colour);
            self.wait_until_idle(colour, began + DRAIN_MAX).await;
        })
    }

    fn cut(&self, colour: Colour) {
        self.retire(colour);
        self.gateway.close_connections(colour);
    }
}
