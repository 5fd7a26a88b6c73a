//! How long nobody can write when the coordinator dies between the seal and the promotion: `jadeshift up` is killed as soon
//! as the old primary says that it is sealed, and started again at once, as a supervisor would.

use super::handover::{latencies, until_stable_on};
use super::process;
use super::report::{Goal, Report};
use crate::deployment::{CommandLine, Deployment, Pace};
use crate::writers::{Request, WRITERS, Writers};
use anyhow::{Context, Result, ensure};
use client::{Admin, Http};
use rollout::{Phase, State};
use std::path::PathBuf;
use std::time::{Duration, Instant};
use wire::Colour;
use wire::admin::Role;

/// Writes before the first handover.
const WARM_UP: usize = 300;
/// Attempts for each run that counts: some handovers are over before they are noticed.
const ATTEMPTS_PER_RUN: usize = 10;
/// The kill comes up to so many times this after the seal is seen, in turn: before the commit, and between it and the
/// promotion.
const LATER: Duration = Duration::from_micros(500);
const LATER_STEPS: usize = 6;
/// Longest wait for a seal, and for the end of a handover.
const SEAL_LIMIT: Duration = Duration::from_secs(20);
const CALL_TIMEOUT: Duration = Duration::from_secs(2);

/// Kills `jadeshift up` right after the seal of a handover under load, and starts it again; prints the time without a writer.
#[derive(clap::Args)]
#[command(
    after_long_help = "Examples:\n  cargo xtask bench coordinator-loss\n  cargo xtask bench coordinator-loss --runs 100"
)]
pub struct Arguments {
    /// Kills between a seal and the promotion.
    #[arg(long, default_value_t = 20, value_parser = clap::value_parser!(u64).range(1..=10_000))]
    runs: u64,
    /// Folder with a `jadeshift` program that is built already; without it it is built first.
    #[arg(long, value_name = "DIR")]
    bin_dir: Option<PathBuf>,
    /// Exit with an error when a figure misses its goal.
    #[arg(long)]
    pub strict: bool,
}

/// One kill that left nobody who may write.
struct Loss {
    /// The last moment at which the old primary was seen to admit writes.
    sealed: Instant,
    killed: Instant,
    /// The new primary was committed already, and not told.
    committed: bool,
}

pub async fn bench(arguments: Arguments) -> Result<Report> {
    let program = process::programs(&["jadeshift"], arguments.bin_dir.as_deref())?.join("jadeshift");
    let folder = process::work_folder(None)?;
    let mut report = Report::new("coordinator-loss");
    super::environment(&mut report, folder.path())?;
    let mut deployment = Deployment::start(&program, folder.path(), &Pace::hasty()).await?;
    measure(&mut deployment, &mut report, arguments.runs as usize).await?;
    deployment.down()?;
    Ok(report)
}

async fn measure(deployment: &mut Deployment, report: &mut Report, runs: usize) -> Result<()> {
    let writers = Writers::start(&deployment.gateway, WRITERS).await?;
    writers.until_acknowledged(WARM_UP, Duration::from_secs(30)).await?;
    let line = deployment.line().clone();
    line.command(&["deploy", "1.1.0"])?;
    until_stable_on(deployment, "green").await?;

    let (mut losses, mut attempts) = (Vec::new(), 0);
    while losses.len() < runs {
        attempts += 1;
        ensure!(attempts <= runs * ATTEMPTS_PER_RUN, "only {} of {attempts} kills met a seal", losses.len());
        if let Some(loss) = lose(deployment, attempts).await.with_context(|| format!("attempt {attempts}"))? {
            eprintln!(
                "{} of {runs}: killed {} the commit",
                losses.len() + 1,
                if loss.committed { "after" } else { "before" }
            );
            losses.push(loss);
        }
    }
    let written = writers.stop().await?;
    let found = written.check().await?;
    line.verify_equal()?;

    report.section(&format!("{runs} coordinators lost between seal and promotion"));
    report.figure("attempts", attempts as f64, "");
    report.figure("killed_before_commit", losses.iter().filter(|loss| !loss.committed).count() as f64, "");
    report.figure("killed_after_commit", losses.iter().filter(|loss| loss.committed).count() as f64, "");
    report.figure("writes_acknowledged", written.acknowledged() as f64, "");
    report.goal("writes_lost", found.lost as f64, "", Goal::AtMost(0.0));
    report.goal("writes_duplicated", found.duplicated as f64, "", Goal::AtMost(0.0));
    for (name, write) in [("without_a_writer", true), ("without_a_read", false)] {
        let spans = losses.iter().map(|loss| {
            // Reads were answered until the gateway died with the coordinator.
            let from = if write { loss.sealed } else { loss.killed };
            Ok((first_answer(&written.requests, write, loss.killed)? - from).as_secs_f64() * 1e3)
        });
        let spans = latencies(spans.collect::<Result<Vec<f64>>>()?.into_iter())?;
        report.figure(&format!("{name}_p50_ms"), spans.value_at_quantile(0.5) as f64 / 1e3, "ms");
        report.figure(&format!("{name}_p99_ms"), spans.value_at_quantile(0.99) as f64 / 1e3, "ms");
        report.figure(&format!("{name}_max_ms"), spans.max() as f64 / 1e3, "ms");
    }
    Ok(())
}

/// Begins a handover and kills the coordinator at its seal; `None` when somebody could write all the same.
async fn lose(deployment: &mut Deployment, attempt: usize) -> Result<Option<Loss>> {
    let line = deployment.line().clone();
    let old = line.state()?.active;
    let new = old.other();
    let (old_node, new_node) = (admin(&line, old)?, admin(&line, new)?);
    let switching = line.clone();
    let switch = tokio::task::spawn_blocking(move || switching.output(&["switch", new.as_str()]));
    let sealed = until_sealed(&old_node).await?;
    std::thread::sleep(LATER * (attempt % LATER_STEPS) as u32);
    deployment.kill()?;
    let killed = Instant::now();
    let state = line.state()?;
    let reigns = matches!(new_node.state().await?.role, Role::Primary { .. });
    deployment.begin_up()?;
    // The command was obeyed, or its answer was lost with the coordinator.
    switch.await.context("the command broke off")??;
    until_handed_over(deployment, new).await?;
    let loss = sealed.filter(|_| !reigns);
    Ok(loss.map(|sealed| Loss { sealed, killed, committed: state.primary == new }))
}

/// The last moment before the seal at which the old primary was seen to admit writes; `None` when the handover went by.
async fn until_sealed(old: &Admin) -> Result<Option<Instant>> {
    let began = Instant::now();
    let mut admitted = began;
    while began.elapsed() < SEAL_LIMIT {
        match old.state().await?.role {
            Role::Primary { .. } => admitted = Instant::now(),
            Role::Sealed { .. } => return Ok(Some(admitted)),
            Role::Follower { .. } | Role::Waiting => return Ok(None),
        }
    }
    anyhow::bail!("no seal within {} s", SEAL_LIMIT.as_secs())
}

/// Waits until the handover is over; one that went back is tried again.
async fn until_handed_over(deployment: &mut Deployment, to: Colour) -> Result<()> {
    let line = deployment.line().clone();
    let began = Instant::now();
    loop {
        deployment.must_run()?;
        let State { phase, active, .. } = line.state()?;
        match phase {
            Phase::Stable if active == to => return until_stable_on(deployment, to.as_str()).await,
            // Refused while `up` is starting: then it is said once more.
            Phase::Paused { .. } => drop(line.output(&["promote", "--full"])?),
            // Killed before it had heard of the command.
            Phase::Stable => drop(line.output(&["switch", to.as_str()])?),
            _ => {}
        }
        ensure!(began.elapsed() < SEAL_LIMIT, "the handover was not over after {} s", SEAL_LIMIT.as_secs());
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

fn admin(line: &CommandLine, colour: Colour) -> Result<Admin> {
    let ready = line.ready(colour).with_context(|| format!("{colour} has no address"))?;
    Ok(Admin::new(Http::new(), &ready.admin, &line.admin_token()?, CALL_TIMEOUT))
}

/// When the first request of this kind was answered after `after`.
fn first_answer(requests: &[Request], write: bool, after: Instant) -> Result<Instant> {
    let answered = requests.iter().filter(|request| request.write == write && !request.failed && request.ended > after);
    answered.map(|request| request.ended).min().context("nothing was answered any more")
}
