//! The place where the environments run: the durable state, the supervision of both machines, and the router.

use super::mutation;
use super::network::peer;
use super::report::Count;
use super::world::World;
use conductor::{Platform, PlatformError, PlatformObservation, TrafficCounts, WorkloadObservation};
use parking_lot::Mutex;
use rollout::{Phase, State, World as Wanted};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Weak};
use tokio::sync::watch;
use wire::{ByColour, Colour, Member};

/// Pause of a machine that does not come up, ms.
const RESTART_PAUSE_MS: std::ops::RangeInclusive<u64> = 50..=500;

/// Where requests go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Routing {
    pub reads: ByColour<u8>,
    pub writes: Colour,
}

pub(super) struct SimPlatform {
    world: Weak<World>,
    /// What a coordinator reads after a crash.
    stored: Mutex<Option<State>>,
    routing: Mutex<Option<Routing>>,
    traffic: Mutex<ByColour<TrafficCounts>>,
    /// Version that each environment shall run, and whether it waits to be told whom to follow.
    wanted: ByColour<watch::Sender<Option<Launch>>>,
    status: Mutex<ByColour<WorkloadObservation>>,
    trouble: Mutex<Trouble>,
}

/// What the platform does wrong, in thousandths.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Trouble {
    pub load_fails: u32,
    /// Half of the stores that fail took effect.
    pub store_fails: u32,
    pub apply_fails: u32,
    pub observe_fails: u32,
    /// Longest time of each call, ms.
    pub takes_ms_max: u64,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Launch {
    version: String,
    join: bool,
}

/// The platform as one coordinator has it.
pub(super) struct Seat {
    pub world: Arc<World>,
    /// Newest generation that this coordinator has read or stored: one that knows less than what is stored is refused.
    pub generation: AtomicU64,
}

impl SimPlatform {
    pub fn new(world: Weak<World>) -> SimPlatform {
        SimPlatform {
            world,
            stored: Mutex::new(None),
            routing: Mutex::new(None),
            traffic: Mutex::default(),
            wanted: ByColour::from_fn(|_| watch::Sender::new(None)),
            status: Mutex::new(ByColour::new(WorkloadObservation::Stopped, WorkloadObservation::Stopped)),
            trouble: Mutex::default(),
        }
    }

    /// Begins to supervise both machines.
    pub fn begin(&self) {
        for colour in Colour::BOTH {
            let Some(world) = self.world.upgrade() else { return };
            tokio::spawn(supervise(world, colour));
        }
    }

    pub fn stored(&self) -> Option<State> {
        self.stored.lock().clone()
    }

    pub fn routing(&self) -> Option<Routing> {
        *self.routing.lock()
    }

    /// The router counts a read.
    pub fn read(&self, colour: Colour, failed: bool) {
        let mut traffic = self.traffic.lock();
        let counts = traffic.get_mut(colour);
        counts.reads += 1;
        counts.read_errors += u64::from(failed);
    }

    pub fn trouble(&self, trouble: Trouble) {
        *self.trouble.lock() = trouble;
    }

    fn set_status(&self, colour: Colour, status: WorkloadObservation) {
        *self.status.lock().get_mut(colour) = status;
    }

    /// As on one machine: whoever is not the first of a deployment that is just starting waits to be told.
    fn joins(&self, colour: Colour) -> bool {
        match &*self.stored.lock() {
            None => colour != Colour::Blue,
            Some(state) => colour != state.primary || !matches!(state.phase.unpaused(), Phase::Starting { .. }),
        }
    }
}

/// Keeps one machine as it shall be.
async fn supervise(world: Arc<World>, colour: Colour) {
    let (platform, machine) = (&world.platform, world.machines.get(colour));
    let mut wanted = platform.wanted.get(colour).subscribe();
    let mut changes = machine.changes();
    loop {
        changes.mark_unchanged();
        let launch = wanted.borrow_and_update().clone();
        let running = machine.version();
        match (launch, running) {
            (None, None) => platform.set_status(colour, WorkloadObservation::Stopped),
            (Some(launch), Some(running)) if launch.version == running => {
                let (peer, admin_token) = (peer(colour), super::machine::ADMIN_TOKEN.into());
                platform.set_status(colour, WorkloadObservation::Running { version: running, peer, admin_token });
            }
            (_, Some(_)) => {
                tokio::time::sleep(world.chance.ms(0..=20)).await;
                world.trace.line(|| format!("{colour} is stopped by the platform"));
                world.trace.note("stopped", &[colour as u64]);
                match world.chance.coin() {
                    true => machine.stop_in_order(&world).await,
                    false => machine.stop(&world, super::disk::Stop::Killed),
                }
                continue;
            }
            (Some(launch), None) => {
                start(&world, colour, &launch, &mut wanted).await;
                continue;
            }
        }
        tokio::select! {
            biased;
            // The sender lives as long as the world.
            _ = wanted.changed() => {}
            _ = changes.changed() => {}
        }
    }
}

async fn start(world: &Arc<World>, colour: Colour, launch: &Launch, wanted: &mut watch::Receiver<Option<Launch>>) {
    let (platform, machine) = (&world.platform, world.machines.get(colour));
    let why = || "it is on its way up".to_string();
    platform.set_status(colour, WorkloadObservation::Crashed { version: launch.version.clone(), why: why() });
    tokio::time::sleep(world.chance.ms(0..=world.profile.boot_ms_max)).await;
    if wanted.has_changed().unwrap_or(true) {
        return;
    }
    match machine.start(&launch.version, platform.joins(colour)) {
        Ok(()) => {
            world.trace.line(|| format!("{colour} is up with version {}", launch.version));
            world.count(Count::NodeStarted);
        }
        Err(why) => {
            world.trace.line(|| format!("{colour} does not come up: {why}"));
            world.books.start_failed(colour, &why);
            platform.set_status(colour, WorkloadObservation::Crashed { version: launch.version.clone(), why });
            tokio::time::sleep(world.chance.ms(RESTART_PAUSE_MS)).await;
        }
    }
}

impl Seat {
    /// Takes the time of a call; true when it is to fail.
    async fn stumbles(&self, rate: impl FnOnce(&Trouble) -> u32) -> bool {
        let trouble = *self.world.platform.trouble.lock();
        let takes = self.world.chance.ms(0..=trouble.takes_ms_max);
        if !takes.is_zero() {
            tokio::time::sleep(takes).await;
        }
        let fails = self.world.chance.hits(rate(&trouble), 1_000);
        if fails {
            self.world.count(Count::PlatformFailed);
        }
        fails
    }
}

impl Platform for Seat {
    async fn load(&self) -> Result<Option<State>, PlatformError> {
        if self.stumbles(|trouble| trouble.load_fails).await {
            return Err(PlatformError::Load("on purpose".into()));
        }
        let stored = self.world.platform.stored.lock().clone();
        self.generation.fetch_max(stored.as_ref().map_or(0, |state| state.generation), Ordering::Relaxed);
        Ok(stored)
    }

    async fn store(&self, state: &State) -> Result<(), PlatformError> {
        let fails = self.stumbles(|trouble| trouble.store_fails).await;
        let world = &self.world;
        let before = world.platform.stored.lock().clone();
        let stored = before.as_ref().map_or(0, |state| state.generation);
        if stored + 1 != state.generation {
            return Err(PlatformError::Conflict { stored, offered: state.generation });
        }
        let took_effect = !fails || world.chance.coin();
        if took_effect {
            world.trace.note("stored", &[state.generation, state.epoch, state.primary as u64]);
            world.trace.line(|| format!("stored {}: {:?}", state.generation, state.phase));
            world.books.state_stored(before.as_ref(), state);
            *world.platform.stored.lock() = Some(mutation::kept(world, before.as_ref(), state));
        }
        if fails {
            return Err(PlatformError::Store("on purpose".into()));
        }
        self.generation.fetch_max(state.generation, Ordering::Relaxed);
        Ok(())
    }

    async fn apply(&self, wanted: &Wanted) -> Result<(), PlatformError> {
        if self.stumbles(|trouble| trouble.apply_fails).await {
            return Err(PlatformError::Router("on purpose".into()));
        }
        let platform = &self.world.platform;
        let stored = platform.stored.lock().as_ref().map_or(0, |state| state.generation);
        let known = self.generation.load(Ordering::Relaxed);
        if known < stored {
            return Err(PlatformError::Conflict { stored, offered: known });
        }
        for colour in Colour::BOTH {
            let fenced = wanted.fenced == Some(Member::from(colour));
            let version = wanted.environments.get(colour).version.clone().filter(|_| !fenced);
            let launch = version.map(|version| Launch { version, join: platform.joins(colour) });
            platform.wanted.get(colour).send_if_modified(|current| {
                let version = |launch: &Option<Launch>| launch.as_ref().map(|launch| launch.version.clone());
                let changed = version(current) != version(&launch);
                if changed {
                    *current = launch;
                }
                changed
            });
        }
        *platform.routing.lock() = Some(Routing { reads: wanted.reads, writes: wanted.writes });
        Ok(())
    }

    async fn observe(&self) -> Result<PlatformObservation, PlatformError> {
        if self.stumbles(|trouble| trouble.observe_fails).await {
            return Err(PlatformError::Observe("on purpose".into()));
        }
        let platform = &self.world.platform;
        // Seen from outside, a process that has just been told to end is there until it is gone.
        let environments = ByColour::from_fn(|colour| {
            let status = platform.status.lock().get(colour).clone();
            vec![match (status, self.world.machines.get(colour).version()) {
                (WorkloadObservation::Running { version, .. }, None) => {
                    WorkloadObservation::Crashed { version, why: "its process ended".into() }
                }
                (WorkloadObservation::Stopped, Some(version)) => {
                    let (peer, admin_token) = (peer(colour), super::machine::ADMIN_TOKEN.into());
                    WorkloadObservation::Running { version, peer, admin_token }
                }
                (status, _) => status,
            }]
        });
        let reads_in_effect = platform.routing().map(|routing| routing.reads);
        let traffic = Some(*platform.traffic.lock());
        Ok(PlatformObservation { environments, reads_in_effect, traffic, read_latency: None })
    }
}
