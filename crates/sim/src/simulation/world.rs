//! What everything in a run shares.

use super::books::Books;
use super::chance::Chance;
use super::disk::Stop;
use super::machine::Machine;
use super::network::{Host, Network};
use super::platform::SimPlatform;
use super::profile::{NetworkRates, Profile};
use super::report::{Count, Counts};
use super::trace::Trace;
use super::{Mutation, Options};
use clock::Clock;
use parking_lot::Mutex;
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Weak};
use std::time::Duration;
use wire::{ByColour, Colour};

/// When the run begins, by clocks that are right.
const BEGINNING: Duration = Duration::from_secs(1_800_000_000);

pub(super) struct World {
    pub options: Options,
    pub chance: Chance,
    pub trace: Trace,
    pub counts: Counts,
    pub profile: Profile,
    pub books: Books,
    pub network: Network,
    pub machines: ByColour<Machine>,
    pub platform: SimPlatform,
    /// Nothing breaks any more.
    calm: AtomicBool,
    /// How wrong the clock of a host is, ms.
    clocks: Mutex<BTreeMap<Host, i64>>,
}

impl World {
    pub fn new(options: Options) -> Arc<World> {
        let chance = Chance::seeded(options.seed);
        let mut profile = Profile::draw(&chance);
        if options.dense {
            profile.hurry();
        }
        if options.mutation == Some(Mutation::StaleCallsAreObeyed) {
            profile.repeat_calls();
        }
        let trace = Trace::new(options.verbose);
        trace.line(|| format!("{profile:#?}"));
        Arc::new_cyclic(|world: &Weak<World>| World {
            options,
            trace,
            counts: Counts::default(),
            books: Books::new(world.clone()),
            network: Network::new(),
            machines: ByColour::from_fn(|colour| Machine::new(colour, world.clone())),
            platform: SimPlatform::new(world.clone()),
            calm: AtomicBool::new(false),
            clocks: Mutex::default(),
            chance,
            profile,
        })
    }

    pub fn mutated(&self, mutation: Mutation) -> bool {
        self.options.mutation == Some(mutation)
    }

    /// Counts something that happened, and notes it.
    pub fn count(&self, count: Count) {
        self.counts.add(count);
        self.trace.note("count", &[count as u64]);
    }

    /// The clock on `host`.
    pub fn clock(self: &Arc<Self>, host: Host) -> Clock {
        let (world, began) = (Arc::downgrade(self), tokio::time::Instant::now());
        let began_ms = self.trace.now_ms();
        Clock::told(move || {
            let wrong_ms = world.upgrade().map_or(0, |world| world.clocks.lock().get(&host).copied().unwrap_or(0));
            let right = BEGINNING + Duration::from_millis(began_ms) + began.elapsed();
            let shown_ms = (right.as_millis() as i64).saturating_add(wrong_ms);
            Duration::from_millis(shown_ms.max(0) as u64)
        })
    }

    /// The clock on `host` jumps.
    pub fn set_clock(&self, host: Host, wrong_ms: i64) {
        self.clocks.lock().insert(host, wrong_ms);
    }

    /// From here on clocks are right, and messages arrive.
    pub fn calm_down(&self) {
        self.calm.store(true, Ordering::Relaxed);
        self.clocks.lock().clear();
        self.network.heal();
    }

    pub fn network_rates(&self) -> NetworkRates {
        let rates = self.profile.network;
        match self.calm.load(Ordering::Relaxed) {
            true => NetworkRates { usual_ms: rates.usual_ms, ..NetworkRates::default() },
            false => rates,
        }
    }

    /// The process on this machine is gone from one moment to the next, and perhaps the power with it.
    pub fn machine_stopped(&self, colour: Colour, stop: Stop) {
        self.count(match stop {
            Stop::Killed => Count::NodeKilled,
            Stop::PowerLost => Count::PowerLost,
        });
        self.trace.line(|| format!("{colour}: {stop:?}"));
        self.machines.get(colour).stop(self, stop);
    }
}
