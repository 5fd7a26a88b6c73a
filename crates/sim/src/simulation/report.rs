//! What a run came to.

use super::world::World;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};

macro_rules! counts {
    ($($name:ident => $words:literal,)*) => {
        /// Things that are counted.
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub enum Count {
            $($name,)*
        }

        const WORDS: &[&str] = &[$($words,)*];
    };
}

counts! {
    Handover => "handovers",
    HandoverForced => "handovers without the old primary",
    HandoverGivenUp => "handovers that went back",
    WriteAcknowledged => "writes acknowledged",
    WriteRefused => "writes refused",
    WriteUnknown => "writes unknown",
    Read => "reads",
    MissedByGraph => "vectors missed by the graph",
    NodeStarted => "nodes started",
    NodeKilled => "nodes killed",
    PowerLost => "power lost",
    ConductorKilled => "conductors killed",
    SecondConductor => "second conductors",
    Partition => "partitions",
    SlowLink => "slow links",
    RequestLost => "requests lost",
    AnswerLost => "answers lost",
    CallRepeated => "calls repeated",
    HungUp => "callers that hung up",
    StreamCut => "streams cut",
    BitFlipped => "bits flipped",
    DiskFull => "disks full",
    WriteFailed => "disk writes failed",
    SyncFailed => "disk syncs failed",
    ClockJumped => "clocks jumped",
    PlatformFailed => "calls of the platform failed",
}

pub(super) struct Counts {
    counts: Vec<AtomicU64>,
}

impl Default for Counts {
    fn default() -> Self {
        Counts { counts: WORDS.iter().map(|_| AtomicU64::new(0)).collect() }
    }
}

impl Counts {
    pub fn add(&self, count: Count) {
        self.counts[count as usize].fetch_add(1, Ordering::Relaxed);
    }
}

/// What a run came to, or several together.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Report {
    pub seed: u64,
    /// What must not be; empty when all is well.
    pub violations: Vec<String>,
    pub lost: u64,
    pub duplicated: u64,
    /// By what was counted.
    pub counts: BTreeMap<String, u64>,
    /// Fingerprint of everything that happened, and the number of events.
    pub fingerprint: String,
    pub events: u64,
    pub simulated_ms: u64,
}

impl Report {
    pub(super) fn of(world: &World) -> Report {
        let (fingerprint, events) = world.trace.fingerprint();
        let counts = WORDS.iter().zip(&world.counts.counts);
        Report {
            seed: world.options.seed,
            violations: world.books.violations(),
            lost: world.books.lost(),
            duplicated: world.books.duplicated(),
            counts: counts.map(|(words, count)| (words.to_string(), count.load(Ordering::Relaxed))).collect(),
            fingerprint: format!("{fingerprint:016x}"),
            events,
            simulated_ms: world.trace.now_ms(),
        }
    }

    pub fn count(&self, count: Count) -> u64 {
        self.counts.get(WORDS[count as usize]).copied().unwrap_or(0)
    }

    /// Adds the counts of another run.
    pub fn add(&mut self, other: &Report) {
        self.lost += other.lost;
        self.duplicated += other.duplicated;
        self.events += other.events;
        self.simulated_ms += other.simulated_ms;
        for (words, count) in &other.counts {
            *self.counts.entry(words.clone()).or_default() += count;
        }
    }
}

impl std::fmt::Display for Report {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        for (words, count) in self.counts.iter().filter(|(_, count)| **count > 0) {
            writeln!(f, "{count:>9} {words}")?;
        }
        writeln!(f, "{:>9} lost", self.lost)?;
        writeln!(f, "{:>9} duplicated", self.duplicated)?;
        writeln!(
            f,
            "seed {}: {} events in {} simulated ms, fingerprint {}",
            self.seed, self.events, self.simulated_ms, self.fingerprint
        )?;
        for violation in &self.violations {
            writeln!(f, "VIOLATION {violation}")?;
        }
        Ok(())
    }
}
