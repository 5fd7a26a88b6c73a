//! `bench seeding`: an empty node is filled from a primary that goes on taking writes.

use super::Common;
use super::dataset::Dataset;
use super::load::{Plan, Until, run};
use super::process::{self, Memory};
use super::report::{Goal, Report};
use super::server::{Node, NodeProgram, Requests};
use anyhow::{Context, Result, ensure};
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

const LOAD_LIMIT: Duration = Duration::from_secs(900);
/// Limit of the seed, and of the index behind it.
const SEED_LIMIT: Duration = Duration::from_secs(900);
const INDEX_LIMIT: Duration = Duration::from_secs(3_600);
/// How often both nodes are looked at.
const POLL: Duration = Duration::from_millis(10);
/// The set that the memory of the large one is compared with.
const SMALL_VECTORS: u32 = 100_000;
const SEED: u64 = 0x6a61_6465;

/// Measures how an empty node is filled from another one, while writes go on.
#[derive(clap::Args)]
#[command(after_help = "\
Examples:
  cargo xtask bench seeding
  cargo xtask bench seeding --vectors 50000 --bin-dir target/release")]
pub struct Arguments {
    #[command(flatten)]
    pub common: Common,
    /// Vectors that the primary has.
    #[arg(long, default_value_t = 1_000_000, value_parser = clap::value_parser!(u32).range(1_000..=5_000_000))]
    vectors: u32,
    #[arg(long, default_value_t = 128, value_parser = clap::value_parser!(u16).range(2..=384))]
    dimension: u16,
    /// Clients that go on writing single vectors.
    #[arg(long, default_value_t = 2, value_parser = clap::value_parser!(u16).range(1..=64))]
    writers: u16,
}

/// What one seed took.
struct Seeded {
    records_bytes: u64,
    records_s: f64,
    caught_up_s: f64,
    indexed_s: f64,
    /// Resident memory beyond that of the data: at most while seeding, less what it was when everything was there.
    sender_extra: f64,
    receiver_extra: f64,
    sender_peak: u64,
    receiver_peak: u64,
    writes: u64,
}

pub async fn bench(arguments: Arguments) -> Result<Report> {
    let programs = process::programs(&["jadevectordb"], arguments.common.bin_dir.as_deref())?;
    let folder = process::work_folder(arguments.common.work_dir.as_deref())?;
    let mut report = Report::new("seeding");
    super::environment(&mut report, folder.path())?;
    let all = Dataset::read(&arguments.common.data)?.narrowed(arguments.dimension.into());
    let program = NodeProgram { program: programs.join("jadevectordb"), arguments: Vec::new() };
    for (name, vectors) in [("small", SMALL_VECTORS.min(arguments.vectors / 2)), ("seed", arguments.vectors)] {
        let data = Arc::new(all.resized(vectors as usize, SEED));
        report
            .section(&format!("{vectors} x {} seeded while {} clients write", arguments.dimension, arguments.writers));
        let run_folder = folder.path().join(name);
        let seeded = seed(&program, &run_folder, &data, &arguments).await?;
        let mb = |bytes: f64| bytes / 1e6;
        report.figure(&format!("{name}_vectors"), f64::from(vectors), "");
        let rate = mb(seeded.records_bytes as f64) / seeded.records_s;
        match name {
            "seed" => report.goal("seed_mb_per_s", rate, "MB/s", Goal::AtLeast(100.0)),
            _ => report.figure("small_mb_per_s", rate, "MB/s"),
        }
        report.figure(&format!("{name}_records_mb"), mb(seeded.records_bytes as f64), "MB");
        report.figure(&format!("{name}_records_s"), seeded.records_s, "s");
        report.figure(&format!("{name}_caught_up_s"), seeded.caught_up_s, "s");
        report.figure(&format!("{name}_index_serves_s"), seeded.indexed_s, "s");
        report.figure(&format!("{name}_sender_extra_mb"), mb(seeded.sender_extra), "MB");
        report.figure(&format!("{name}_receiver_extra_mb"), mb(seeded.receiver_extra), "MB");
        report.figure(&format!("{name}_sender_peak_mb"), mb(seeded.sender_peak as f64), "MB");
        report.figure(&format!("{name}_receiver_peak_mb"), mb(seeded.receiver_peak as f64), "MB");
        report.figure(&format!("{name}_writes_meanwhile"), seeded.writes as f64, "");
        std::fs::remove_dir_all(run_folder)?;
    }
    Ok(report)
}

async fn seed(program: &NodeProgram, folder: &Path, data: &Arc<Dataset>, arguments: &Arguments) -> Result<Seeded> {
    let mut primary = program.start(&folder.join("primary")).await?;
    primary.sign_in().await?;
    let requests = primary.create_database("bench", data).await?;
    primary.load_batches(&requests, 4, LOAD_LIMIT).await?;
    primary.wait_indexed(INDEX_LIMIT).await?;
    let before = primary.process.memory()?;

    std::fs::create_dir_all(folder.join("follower"))?;
    std::fs::copy(folder.join("primary/admin-token"), folder.join("follower/admin-token"))?;
    let mut follower = program.clone().joining().start(&folder.join("follower")).await?;
    let first_write = primary.state().await?.lsn;
    let writing = write_on(primary.http, requests, arguments.writers.into());
    let (mut seeded, receiver_max) = tokio::select! {
        ended = writing => { ended?; anyhow::bail!("the writers ended before the seed did") }
        seeded = watch(&mut primary, &mut follower, before) => seeded?,
    };
    seeded.writes = primary.state().await?.lsn - first_write;
    seeded.indexed_s += follower.wait_indexed(INDEX_LIMIT).await?.as_secs_f64();
    // What was resident while seeding beyond the records themselves, without the index that came after.
    seeded.receiver_extra = receiver_max as f64 - seeded.records_bytes as f64;
    (seeded.sender_peak, seeded.receiver_peak) = (primary.process.memory()?.peak, follower.process.memory()?.peak);
    Ok(seeded)
}

/// Single writes without end.
async fn write_on(primary: SocketAddr, requests: Requests, clients: usize) -> Result<()> {
    let until = Until::Elapsed(SEED_LIMIT);
    let plan = Plan { addresses: vec![primary], clients, until, expected_status: 201 };
    let write = move |number: u64, out: &mut Vec<u8>| requests.write_insert(number as usize % requests.rows(), out);
    run(&plan, write).await?.all_answered("writes while seeding")?;
    Ok(())
}

/// Lets the follower follow, and looks until it has caught up; also its largest resident memory until the records were there.
async fn watch(primary: &mut Node, follower: &mut Node, before: Memory) -> Result<(Seeded, u64)> {
    let began = Instant::now();
    follower.follow(primary).await?;
    let (mut bytes, mut records_s, mut sender_max, mut receiver_max) = (0, None, 0, 0);
    loop {
        let state = follower.state().await?;
        let feed = state.feed.context("the follower does not follow")?;
        if let Some(seeding) = feed.seeding {
            bytes = seeding.bytes;
        } else if state.lsn > 0 && records_s.is_none() {
            records_s = Some(began.elapsed().as_secs_f64());
        }
        sender_max = primary.process.memory()?.resident.max(sender_max);
        if records_s.is_none() {
            receiver_max = follower.process.memory()?.resident.max(receiver_max);
        }
        if let Some(records_s) = records_s.filter(|_| state.ready && state.lsn + 100 >= feed.primary_lsn.max(1)) {
            let caught_up_s = began.elapsed().as_secs_f64();
            let seeded = Seeded {
                records_bytes: bytes,
                records_s,
                caught_up_s,
                indexed_s: caught_up_s,
                sender_extra: sender_max as f64 - before.resident as f64,
                receiver_extra: 0.0,
                sender_peak: 0,
                receiver_peak: 0,
                writes: 0,
            };
            return Ok((seeded, receiver_max));
        }
        primary.process.must_run()?;
        follower.process.must_run()?;
        ensure!(began.elapsed() < SEED_LIMIT, "not seeded within {} s: {:?}", SEED_LIMIT.as_secs(), feed.error);
        tokio::time::sleep(POLL).await;
    }
}
