//! A platform in memory that can end the conductor's day at any stored generation.

use super::fake_nodes::FakeNodes;
use crate::{Platform, PlatformError, PlatformObservation, TrafficCounts, WorkloadObservation};
use parking_lot::Mutex;
use rollout::{State, World};
use std::sync::atomic::{AtomicU64, Ordering};
use tokio::sync::Notify;
use wire::{ByColour, Colour, Member};

/// What happens to a store of a generation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fate {
    /// It never returns, and did nothing.
    HangsBefore,
    /// It never returns, and took effect.
    HangsAfter,
    /// It fails, and did nothing.
    FailsBefore,
    /// It fails, and took effect.
    FailsAfter,
    /// Somebody else stored this generation first.
    Taken,
}

pub(crate) struct FakePlatform {
    pub nodes: FakeNodes,
    pub state: Mutex<Option<State>>,
    pub fate: Mutex<Option<(u64, Fate)>>,
    /// Another coordinator stored something, as the platform knows.
    pub overtaken: Mutex<bool>,
    /// A store hangs now.
    pub hanging: Notify,
    pub worlds: Mutex<Vec<World>>,
    /// Part of the reads that fail, for each colour.
    pub error_rates: Mutex<ByColour<f64>>,
    /// The router counts nothing.
    pub counts_nothing: Mutex<bool>,
    /// The candidate, green, gets no reads, whatever its share.
    pub starves_green: Mutex<bool>,
    /// Green is on its way, for this reason, wherever it shall run.
    pub green_starts: Mutex<Option<String>>,
    /// Clients' connections end at the nodes.
    pub clients_reach_nodes: Mutex<bool>,
    /// The router goes on giving blue a last percent of the reads when it shall get none.
    pub router_lags: Mutex<bool>,
    /// Nodes whose process was to be ended, in order.
    pub ended: Mutex<Vec<Member>>,
    pub looks: AtomicU64,
    /// The next look waits for ever.
    pub stands_still: Mutex<bool>,
    /// A look waits now.
    pub waiting: Notify,
    traffic: Mutex<ByColour<(f64, f64)>>,
}

impl FakePlatform {
    pub fn new(nodes: FakeNodes) -> Self {
        Self {
            nodes,
            state: Mutex::new(None),
            fate: Mutex::new(None),
            overtaken: Mutex::new(false),
            hanging: Notify::new(),
            worlds: Mutex::default(),
            error_rates: Mutex::default(),
            counts_nothing: Mutex::default(),
            starves_green: Mutex::default(),
            green_starts: Mutex::default(),
            clients_reach_nodes: Mutex::default(),
            router_lags: Mutex::default(),
            ended: Mutex::default(),
            looks: AtomicU64::new(0),
            stands_still: Mutex::default(),
            waiting: Notify::new(),
            traffic: Mutex::default(),
        }
    }
}

impl Platform for FakePlatform {
    async fn load(&self) -> Result<Option<State>, PlatformError> {
        Ok(self.state.lock().clone())
    }

    async fn store(&self, state: &State) -> Result<(), PlatformError> {
        let stored = self.state.lock().as_ref().map_or(0, |state| state.generation);
        if stored + 1 != state.generation {
            return Err(PlatformError::Conflict { stored, offered: state.generation });
        }
        let fate = match *self.fate.lock() {
            Some((generation, fate)) if generation == state.generation => Some(fate),
            _ => None,
        };
        if !matches!(fate, Some(Fate::HangsBefore | Fate::FailsBefore | Fate::Taken)) {
            *self.state.lock() = Some(state.clone());
        }
        match fate {
            None => Ok(()),
            Some(Fate::HangsBefore | Fate::HangsAfter) => {
                self.hanging.notify_one();
                std::future::pending().await
            }
            Some(Fate::FailsBefore | Fate::FailsAfter) => {
                *self.fate.lock() = None;
                Err(PlatformError::Store("the line broke".into()))
            }
            Some(Fate::Taken) => Err(PlatformError::Conflict { stored: state.generation, offered: state.generation }),
        }
    }

    async fn apply(&self, world: &World) -> Result<(), PlatformError> {
        if *self.overtaken.lock() {
            return Err(PlatformError::Conflict { stored: 9, offered: 8 });
        }
        let mut worlds = self.worlds.lock();
        if worlds.last() != Some(world) {
            worlds.push(world.clone());
        }
        Ok(())
    }

    fn clients_reach_nodes(&self) -> bool {
        *self.clients_reach_nodes.lock()
    }

    async fn end_process(&self, member: Member) -> Result<(), PlatformError> {
        self.ended.lock().push(member);
        Ok(())
    }

    /// Every look is 40 reads further.
    async fn observe(&self) -> Result<PlatformObservation, PlatformError> {
        self.looks.fetch_add(1, Ordering::Relaxed);
        if std::mem::take(&mut *self.stands_still.lock()) {
            self.waiting.notify_one();
            std::future::pending::<()>().await;
        }
        let world = self.worlds.lock().last().cloned().ok_or(PlatformError::Observe("nothing was applied".into()))?;
        let (mut traffic, rates) = (self.traffic.lock(), self.error_rates.lock());
        let traffic = ByColour::from_fn(|colour| {
            let (reads, errors) = traffic.get_mut(colour);
            let starves = colour == Colour::Green && *self.starves_green.lock();
            let more = if starves { 0.0 } else { 0.4 * f64::from(*world.reads.get(colour)) };
            *reads += more;
            *errors += more * rates.get(colour);
            TrafficCounts { reads: *reads as u64, read_errors: *errors as u64 }
        });
        let starts = ByColour::new(None, self.green_starts.lock().clone());
        let environments = ByColour::from_fn(|colour| {
            let Some(version) = world.environments.get(colour).version.clone() else {
                return vec![WorkloadObservation::Stopped];
            };
            vec![match starts.get(colour).clone() {
                Some(why) => WorkloadObservation::Starting { version, why },
                None => {
                    let peer = self.nodes.peers.get(colour).clone();
                    WorkloadObservation::Running { version, peer, admin_token: "t".into() }
                }
            }]
        });
        let lags = *self.router_lags.lock() && world.reads.blue == 0;
        let reads = if lags { ByColour::new(1, 99) } else { world.reads };
        let (reads_in_effect, traffic) = (Some(reads), Some(traffic).filter(|_| !*self.counts_nothing.lock()));
        Ok(PlatformObservation { environments, reads_in_effect, traffic, read_latency: None })
    }
}
