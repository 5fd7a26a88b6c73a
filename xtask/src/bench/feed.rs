//! `bench feed`: what following costs the one that is followed, how far behind a follower is, what it costs a writer to wait
//! for the other's disk, and how long the check of all records takes at a cut.

mod lag;

use super::Common;
use super::dataset::Dataset;
use super::load::{Outcome, Plan, Until, run};
use super::process;
use super::report::{Goal, Report};
use super::server::{Node, NodeProgram, Requests};
use anyhow::{Context, Result, ensure};
use http_body_util::BodyExt;
use std::fs::File;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};
use wire::admin::{AcknowledgeBy, AcknowledgeCall, AcknowledgeMode, BUCKET_SUM_BYTES, BUCKETS, ResumeCall};
use wire::headers::RECORD_FORMAT;

const LOAD_LIMIT: Duration = Duration::from_secs(300);
/// Longest wait for a follower, and for its word.
const FOLLOW_LIMIT: Duration = Duration::from_secs(120);
const POLL: Duration = Duration::from_millis(5);
const WARM_UP: Duration = Duration::from_millis(500);
/// Seals that are measured for each size.
const SEALS: usize = 10;
const SEED: u64 = 0x6665_6564;

/// Measures feed, confirmation and the check at a cut, on a primary that takes writes as fast as it can.
#[derive(clap::Args)]
#[command(after_help = "\
Examples:
  cargo xtask bench feed
  cargo xtask bench feed --rounds 2 --seconds 1 --vectors 20000")]
pub struct Arguments {
    #[command(flatten)]
    pub common: Common,
    /// Vectors that the primary has.
    #[arg(long, default_value_t = 200_000, value_parser = clap::value_parser!(u32).range(2_000..=5_000_000))]
    vectors: u32,
    #[arg(long, default_value_t = 128, value_parser = clap::value_parser!(u16).range(2..=384))]
    dimension: u16,
    /// Clients that write single vectors.
    #[arg(long, default_value_t = 16, value_parser = clap::value_parser!(u16).range(1..=512))]
    clients: u16,
    /// How often each way is measured, in turn.
    #[arg(long, default_value_t = 6, value_parser = clap::value_parser!(u16).range(1..=1_000))]
    rounds: u16,
    /// Duration of one measurement.
    #[arg(long, default_value_t = 3.0, value_name = "S", value_parser = super::positive_seconds)]
    seconds: f64,
}

/// Ways in which the same writes are measured.
const WAYS: [(&str, &str); 4] = [
    ("alone", "nobody follows"),
    ("stored", "followed by a receiver that only stores"),
    ("followed", "followed by a node, acknowledge: primary"),
    ("both", "followed by a node, acknowledge: both"),
];

struct Rig {
    primary: Node,
    requests: Requests,
    follower: NodeProgram,
    folder: PathBuf,
    /// Of the last word about acknowledging.
    word: u64,
    load: (usize, Duration),
}

pub async fn bench(arguments: Arguments) -> Result<Report> {
    let programs = process::programs(&["jadevectordb"], arguments.common.bin_dir.as_deref())?;
    let folder = process::work_folder(arguments.common.work_dir.as_deref())?;
    let mut report = Report::new("feed");
    super::environment(&mut report, folder.path())?;
    let all = Dataset::read(&arguments.common.data)?.narrowed(arguments.dimension.into());
    let data = Arc::new(all.resized(arguments.vectors as usize, SEED));
    let few = Arc::new(all.resized((arguments.vectors / 10) as usize, SEED));
    let program = NodeProgram { program: programs.join("jadevectordb"), arguments: Vec::new() };
    let mut primary = program.start(&folder.path().join("primary")).await?;
    primary.sign_in().await?;
    let requests = primary.create_database("feed", &data).await?;
    let load = (arguments.clients.into(), Duration::from_secs_f64(arguments.seconds));
    let (follower, folder) = (program.clone().joining(), folder.path().to_owned());
    let mut rig = Rig { primary, requests, follower, folder, word: 0, load };

    report.section(&format!("The check at a cut, after {} s of writes", WARM_UP.as_secs_f64()));
    report.goal("digest_mb", (BUCKETS * BUCKET_SUM_BYTES) as f64 / 1e6, "MB", Goal::AtMost(2.0 * 1.048_576));
    for (name, data) in [("few", few), ("all", data)] {
        rig.primary.load_batches(&rig.requests.with_data(&data), 4, LOAD_LIMIT).await?;
        report.figure(&format!("{name}_vectors"), data.vectors.rows() as f64, "");
        let took_ms = rig.seals().await?;
        report.goal(&format!("{name}_seal_max_ms"), took_ms.into_iter().fold(0.0, f64::max), "ms", Goal::AtMost(10.0));
    }
    rig.primary.wait_indexed(LOAD_LIMIT).await?;
    rig.ways(&mut report, arguments.rounds.into()).await?;
    rig.lag(&mut report).await?;
    report.figure("primary_resident_peak_mb", rig.primary.process.memory()?.peak as f64 / 1e6, "MB");
    Ok(report)
}

impl Rig {
    async fn write_for(&self, duration: Duration) -> Result<Outcome> {
        let until = Until::Elapsed(duration);
        let plan = Plan { addresses: vec![self.primary.http], clients: self.load.0, until, expected_status: 201 };
        let requests = self.requests.clone();
        let write = move |number: u64, out: &mut Vec<u8>| requests.write_insert(number as usize % requests.rows(), out);
        run(&plan, write).await?.all_answered("writes")
    }

    /// How long each call to seal takes, ms, from its beginning to the answer with the digest of all records.
    async fn seals(&self) -> Result<Vec<f64>> {
        let mut took_ms = Vec::new();
        for _ in 0..SEALS {
            self.write_for(WARM_UP).await?;
            let epoch = self.primary.state().await?.epoch_seen + 1;
            let begun = Instant::now();
            let sealed = self.primary.admin().seal(epoch).await.context("the node is not sealed")?;
            took_ms.push(begun.elapsed().as_secs_f64() * 1e3);
            ensure!(!sealed.digest.is_empty(), "a seal without a digest");
            let resume = ResumeCall { epoch: epoch + 1, instance: String::new() };
            self.primary.admin().resume(&resume).await.context("the node does not admit writes again")?;
        }
        Ok(took_ms)
    }

    /// The same writes in each way, in turn.
    async fn ways(&mut self, report: &mut Report, rounds: usize) -> Result<()> {
        let mut outcomes: [Option<Outcome>; WAYS.len()] = [const { None }; WAYS.len()];
        let mut add = |way: usize, outcome: Outcome| match &mut outcomes[way] {
            Some(sum) => sum.add(&outcome),
            none => *none = Some(outcome),
        };
        for round in 0..rounds {
            add(0, self.measured().await?);
            let storing = self.store_feed().await?;
            add(1, self.measured().await?);
            storing.abort();
            let mut follower = self.start_follower().await?;
            add(2, self.measured().await?);
            self.acknowledge(AcknowledgeMode::Required, &follower).await?;
            add(3, self.measured().await?);
            self.acknowledge(AcknowledgeMode::Alone, &follower).await?;
            ensure!(follower.process.terminate().await?.success(), "the follower did not end well");
            eprintln!("round {} of {rounds}", round + 1);
        }
        report.section(&format!("{} clients write single vectors, {rounds} rounds of each way in turn", self.load.0));
        let outcomes: Vec<Outcome> = outcomes.into_iter().flatten().collect();
        for ((name, what), outcome) in WAYS.iter().zip(&outcomes) {
            report.section(what);
            report.figure(&format!("{name}_writes_per_s"), outcome.per_second(), "1/s");
            report.figure(&format!("{name}_p50_ms"), outcome.latency_ms(0.5), "ms");
            report.figure(&format!("{name}_p99_ms"), outcome.latency_ms(0.99), "ms");
        }
        report.section("Ratios");
        let p99 = |way: usize, to: usize| outcomes[way].latency_ms(0.99) / outcomes[to].latency_ms(0.99);
        let p50 = |way: usize, to: usize| outcomes[way].latency_ms(0.5) / outcomes[to].latency_ms(0.5);
        let rate = |way: usize, to: usize| outcomes[way].per_second() / outcomes[to].per_second();
        report.goal("stored_p99_to_alone", p99(1, 0), "", Goal::AtMost(1.05));
        report.figure("followed_p99_to_alone", p99(2, 0), "");
        report.figure("both_p50_to_followed", p50(3, 2), "");
        report.figure("both_p99_to_followed", p99(3, 2), "");
        report.figure("both_writes_per_s_to_followed", rate(3, 2), "");
        Ok(())
    }

    async fn measured(&self) -> Result<Outcome> {
        self.write_for(WARM_UP).await?;
        self.write_for(self.load.1).await
    }

    /// A receiver that writes the feed into a file and does nothing else with it.
    async fn store_feed(&self) -> Result<tokio::task::JoinHandle<()>> {
        let state = self.primary.state().await?;
        let position = (state.lsn, state.lsn_epoch);
        let feed = self.primary.admin().feed(position, &state.cluster_id, "a-file", RECORD_FORMAT).await?;
        let mut file = File::create(self.folder.join("feed"))?;
        let mut body = feed.into_body();
        Ok(tokio::spawn(async move {
            while let Some(Ok(frame)) = body.frame().await {
                let stored = frame.into_data().map(|piece| file.write_all(&piece));
                if !matches!(stored, Ok(Ok(()))) {
                    return;
                }
            }
        }))
    }

    /// A node that has everything up to a moment ago.
    async fn start_follower(&self) -> Result<Node> {
        let folder = self.folder.join("follower");
        same_token(&self.folder.join("primary"), &folder)?;
        let mut follower = self.follower.start(&folder).await?;
        follower.follow(&self.primary).await?;
        let begun = Instant::now();
        loop {
            let (state, primary) = (follower.state().await?, self.primary.state().await?);
            if state.ready && state.lsn == primary.lsn && state.unindexed == 0 {
                return Ok(follower);
            }
            follower.process.must_run()?;
            ensure!(begun.elapsed() < FOLLOW_LIMIT, "the follower is not there: {:?}", state.feed);
            tokio::time::sleep(POLL).await;
        }
    }

    /// From when this returns on, writes wait for what `mode` says.
    async fn acknowledge(&mut self, mode: AcknowledgeMode, follower: &Node) -> Result<()> {
        self.word += 1;
        let by = AcknowledgeBy { mode, confirmer: follower.state().await?.node_id, number: self.word };
        let epoch = self.primary.state().await?.epoch_seen;
        self.primary.admin().acknowledge(&AcknowledgeCall { epoch, by }).await?;
        let begun = Instant::now();
        while mode != AcknowledgeMode::Alone
            && !self.primary.state().await?.acknowledge.is_some_and(|state| state.holds)
        {
            ensure!(begun.elapsed() < FOLLOW_LIMIT, "the follower does not confirm");
            tokio::time::sleep(POLL).await;
        }
        Ok(())
    }

    async fn lag(&self, report: &mut Report) -> Result<()> {
        let follower = self.start_follower().await?;
        let writes = self.write_for(self.load.1 * 3);
        let (outcome, lags_ms) = lag::sampled_while(writes, &self.primary, &follower).await?;
        report.section("How far behind the follower is at the full rate of writes");
        report.figure("lag_writes_per_s", outcome.per_second(), "1/s");
        report.figure("lag_samples", lags_ms.len() as f64, "");
        report.figure("lag_p50_ms", lags_ms.value_at_quantile(0.5) as f64 / 1e3, "ms");
        report.goal("lag_p99_ms", lags_ms.value_at_quantile(0.99) as f64 / 1e3, "ms", Goal::AtMost(50.0));
        report.figure("lag_max_ms", lags_ms.max() as f64 / 1e3, "ms");
        report.figure("follower_resident_mb", follower.process.memory()?.resident as f64 / 1e6, "MB");
        Ok(())
    }
}

fn same_token(from: &Path, to: &Path) -> Result<()> {
    std::fs::create_dir_all(to)?;
    std::fs::copy(from.join("admin-token"), to.join("admin-token"))?;
    Ok(())
}
