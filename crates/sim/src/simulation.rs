//! A whole deployment in one thread: the real node and conductor under a seeded clock, network and disk.
//!
//! ```text
//! clients ──┐                     ┌── books: who was told what, and what every disk was told
//!           ▼                     │
//!        network ◄── conductor ── platform ── machines: node + disk
//!           │   (lost, late, cut, flipped)      (torn, full, failing, off)
//!           └───────────────────────────────────────┘
//!        director: what people ask for, and what breaks
//! ```
//!
//! | file | what it holds |
//! |---|---|
//! | `entropy`, `chance` | where randomness comes from: one seed |
//! | `trace` | what happened, as lines and as a fingerprint |
//! | `profile` | what may break in this run, and how often |
//! | `network`, `link` | requests, answers and streams between hosts |
//! | `disk` | files that know what is durable |
//! | `machine` | a node on its disk, switched on and off |
//! | `platform`, `coordinator` | the place of the environments, and who conducts it |
//! | `clients` | writes with unique values, and reads of them |
//! | `director` | commands and faults in time, and the quiet at the end |
//! | `books` | what must be true, noted while it happens |
//! | `examine` | what must be true at the end |
//!
//! Why not a ready simulator such as turmoil: that simulates sockets and time, and each host's tasks under them. What breaks a
//! handover is as often the disk, and the nodes speak through `client::Network`, `changelog::Disk`, `clock::Clock` and
//! `conductor::Platform`, which are the right place to lose, delay and repeat: a call as a whole, a sector, a rename. With
//! these four, tokio's own single thread with paused time is scheduler enough, and no code of HTTP is run for each message.
//!
//! Time is simulated: it stands still while anything can be done, and jumps to the next moment at which something is due.
//! Everything random is drawn from the seed, so a run is repeated exactly by running the same seed in a new process.

mod books;
mod chance;
mod clients;
mod coordinator;
mod director;
mod disk;
mod entropy;
mod examine;
mod link;
mod machine;
mod mutation;
mod network;
mod platform;
mod profile;
mod report;
mod trace;
mod world;

pub use mutation::Mutation;
pub use report::{Count, Report};

use std::time::Duration;
use world::World;

/// Simulated time after which a run that has not come to its end has failed.
const RUN_MAX: Duration = Duration::from_secs(3_600);

/// What is run.
#[derive(Debug, Clone, Copy, Default)]
pub struct Options {
    pub seed: u64,
    /// Print every event.
    pub verbose: bool,
    /// Something is broken on purpose, which the run shall find.
    pub mutation: Option<Mutation>,
    /// A quarter of the time, for builds that are not optimised.
    pub brief: bool,
    /// As many handovers as possible: one step, no watch, a minute of commands without pauses.
    pub dense: bool,
}

/// Runs one seed to its end on this thread, which must not have run one before.
///
/// # Errors
/// The runtime cannot be made.
pub fn run(options: Options) -> Result<Report, std::io::Error> {
    entropy::begin(options.seed);
    trace::catch_panics();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build()?;
    let report = runtime.block_on(async {
        let world = World::new(options);
        let ended = tokio::time::timeout(RUN_MAX, director::direct(&world)).await;
        if ended.is_err() {
            world.books.violation(format!("the run did not end within {} simulated seconds", RUN_MAX.as_secs()));
        }
        for panic in trace::panics() {
            world.books.violation(panic);
        }
        Report::of(&world)
    });
    drop(runtime);
    entropy::end();
    Ok(report)
}
