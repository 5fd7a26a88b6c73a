//! Conductors: started, killed, and sometimes two of them.

use super::network::{Endpoint, Host};
use super::platform::Seat;
use super::report::Count;
use super::world::World;
use client::Http;
use conductor::{Conductor, Info};
use parking_lot::Mutex;
use rollout::Command;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;

/// Whoever coordinates, and perhaps somebody who has not noticed that he no longer does.
pub(super) struct Coordinators {
    world: Arc<World>,
    started: Mutex<u32>,
    present: Mutex<Option<Arc<Conductor>>>,
    stale: Mutex<Option<Arc<Conductor>>>,
}

impl Coordinators {
    pub fn new(world: Arc<World>) -> Coordinators {
        Coordinators { world, started: Mutex::new(0), present: Mutex::new(None), stale: Mutex::new(None) }
    }

    pub fn present(&self) -> Option<Arc<Conductor>> {
        self.present.lock().clone()
    }

    pub fn info(&self) -> Option<Info> {
        self.present().map(|conductor| conductor.info())
    }

    /// The host of the conductor that was started last.
    pub fn host(&self) -> Host {
        Host::Conductor(*self.started.lock())
    }

    /// Starts another conductor; false when it cannot read where the rollout stands.
    pub async fn start(&self) -> bool {
        let number = {
            let mut started = self.started.lock();
            *started += 1;
            *started
        };
        let host = Host::Conductor(number);
        let network = Endpoint { world: Arc::downgrade(&self.world), host, life: None };
        let seat = Seat { world: self.world.clone(), generation: AtomicU64::new(0) };
        let document = self.world.profile.document.clone();
        let http = Http::over(Arc::new(network));
        match Conductor::start_with(Arc::new(seat), document, http, self.world.clock(host)).await {
            Ok(conductor) => {
                self.world.trace.line(|| format!("conductor {number} starts"));
                *self.present.lock() = Some(Arc::new(conductor));
                true
            }
            Err(error) => {
                self.world.trace.line(|| format!("conductor {number} does not start: {error}"));
                false
            }
        }
    }

    /// Ends the present one in the middle of whatever it does.
    pub async fn kill(&self) {
        let present = self.present.lock().take();
        if let Some(conductor) = present {
            self.world.count(Count::ConductorKilled);
            self.world.trace.line(|| "the conductor is killed".into());
            conductor.crash().await;
        }
    }

    /// The present one goes on without knowing that there is another.
    pub async fn second(&self) {
        let present = self.present.lock().take();
        let Some(present) = present else { return };
        self.world.count(Count::SecondConductor);
        self.end_stale().await;
        *self.stale.lock() = Some(present);
        self.start().await;
    }

    pub async fn end_stale(&self) {
        let stale = self.stale.lock().take();
        if let Some(stale) = stale {
            stale.crash().await;
        }
    }

    /// One that works is there; true when it was there already.
    pub async fn ensure(&self) -> bool {
        let works = self.info().is_some_and(|info| info.stopped.is_none());
        if !works {
            let ended = self.present.lock().take();
            if let Some(ended) = ended {
                ended.crash().await;
            }
            self.start().await;
        }
        works
    }

    /// Gives a command; what is refused is nobody's fault.
    pub async fn command(&self, command: Command) {
        let Some(conductor) = self.present() else { return };
        let asked = format!("{command:?}");
        // A conductor that hangs on its platform answers later, or never.
        let patience = std::time::Duration::from_secs(5);
        let answer = tokio::time::timeout(patience, conductor.command(command)).await;
        self.world.trace.line(|| match answer {
            Ok(Ok(_)) => asked,
            Ok(Err(error)) => format!("{asked}: {error}"),
            Err(_) => format!("{asked}: no answer"),
        });
    }
}
