//! `cargo xtask crash-up`: a whole upgrade during which `jadeshift up` is killed at a random moment and started again.
//!
//! Writers go on all the time. Whatever the moment, the rollout must end where it would have ended, and every
//! acknowledged write must be there, in both colours alike.

use crate::bench::process;
use crate::deployment::{Deployment, Pace};
use crate::writers::Writers;
use anyhow::{Context, Result, ensure};
use clap::Args;
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use serde_json::json;
use std::path::PathBuf;
use std::time::{Duration, Instant};

/// How long a rollout may take, restarts included.
const ROLLOUT_LIMIT: Duration = Duration::from_secs(90);
/// The version that is brought in.
const CANDIDATE: &str = "1.1.0";

/// Kills `jadeshift up` with SIGKILL at random moments of an upgrade, starts it again, and checks that nothing was lost.
#[derive(Args)]
#[command(after_long_help = "Examples:\n  cargo xtask crash-up\n  cargo xtask crash-up --runs 20 --seed 7")]
pub struct CrashUp {
    /// Upgrades, each with one kill.
    #[arg(long, default_value_t = 5)]
    runs: u32,
    /// Chooses the moments.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Folder with a `jadeshift` program, instead of building one.
    #[arg(long)]
    bin_dir: Option<PathBuf>,
}

/// What one upgrade came to.
struct Ended {
    killed_after: Option<Duration>,
    killed_in: String,
    took: Duration,
    acknowledged: usize,
    lost: usize,
    duplicated: usize,
}

pub async fn run(options: CrashUp) -> Result<()> {
    let program = process::programs(&["jadeshift"], options.bin_dir.as_deref())?.join("jadeshift");
    eprintln!("one upgrade without a kill, to know how long it takes");
    let plain = upgrade(&program, None).await.context("the upgrade without a kill")?;
    let mut moments = StdRng::seed_from_u64(options.seed);
    let (mut acknowledged, mut lost, mut duplicated) = (plain.acknowledged, plain.lost, plain.duplicated);
    println!(
        "{:>4} {:>10} {:>16} {:>8} {:>8} {:>6} {:>6}",
        "run", "killed at", "in phase", "took s", "writes", "lost", "twice"
    );
    for number in 1..=options.runs {
        let moment = plain.took.mul_f64(moments.random_range(0.0..1.0));
        let named = || format!("run {number}: seed {}, killed after {} ms", options.seed, moment.as_millis());
        let ended = upgrade(&program, Some(moment)).await.with_context(named)?;
        println!(
            "{number:>4} {:>7} ms {:>16} {:>8.1} {:>8} {:>6} {:>6}",
            ended.killed_after.unwrap_or_default().as_millis(),
            ended.killed_in,
            ended.took.as_secs_f64(),
            ended.acknowledged,
            ended.lost,
            ended.duplicated
        );
        acknowledged += ended.acknowledged;
        lost += ended.lost;
        duplicated += ended.duplicated;
    }
    println!("{}", json!({"runs": options.runs, "acknowledged": acknowledged, "lost": lost, "duplicated": duplicated}));
    ensure!(lost == 0 && duplicated == 0, "{lost} acknowledged writes lost, {duplicated} found twice");
    Ok(())
}

async fn upgrade(program: &std::path::Path, kill_after: Option<Duration>) -> Result<Ended> {
    let folder = process::work_folder(None)?;
    let mut deployment = Deployment::start(program, folder.path(), &Pace::brisk()).await?;
    let result = upgrade_in(&mut deployment, kill_after).await;
    let ended = deployment.down();
    let result = result?;
    ended.context("`jadeshift down`")?;
    Ok(result)
}

async fn upgrade_in(deployment: &mut Deployment, kill_after: Option<Duration>) -> Result<Ended> {
    let writers = Writers::start(&deployment.gateway).await?;
    writers.until_acknowledged(500, Duration::from_secs(30)).await?;
    deployment.command(&["deploy", CANDIDATE])?;
    let began = Instant::now();
    let mut killed_in = "-".to_string();
    if let Some(moment) = kill_after {
        tokio::time::sleep(moment).await;
        killed_in = deployment.phase().unwrap_or_else(|_| "?".into());
        deployment.kill()?;
        deployment.up().await?;
    }
    deployment.until_promoted(CANDIDATE, ROLLOUT_LIMIT).await?;
    let took = began.elapsed();
    let written = writers.stop().await?;
    let acknowledged = written.acknowledged();
    let found = written.check(&deployment.gateway).await?;
    deployment.verify_equal()?;
    Ok(Ended {
        killed_after: kill_after,
        killed_in,
        took,
        acknowledged,
        lost: found.lost,
        duplicated: found.duplicated,
    })
}
