//! What conducts breaks: operators that are killed again and again, two at once, an API server that goes away. Requests go on, no
//! write is lost, and in the end everything is as it was asked for.

use super::super::control_plane;
use super::super::place::Place;
use super::super::stage::Stage;
use super::super::traffic::{Readers, Shots};
use super::operators::{self, Beside, Claims};
use super::service::HASTY;
use crate::writers::Writers;
use anyhow::{Context, Result, bail, ensure};
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use serde_json::{Value, json};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};
use tokio::task::JoinHandle;

/// Says how often operators are killed, instead of [`KILLS`].
const KILLS_VARIABLE: &str = "JADESHIFT_TEST_KILLS";
const KILLS: u64 = 20;
/// Longest time between two blows, ms: a rollout of these takes about five seconds.
const PAUSE_MS_MAX: u64 = 1_500;
const VERSIONS: [&str; 3] = ["1.1.0", "1.2.0", "1.3.0"];
/// Pauses between attempts at an API server that is away grow; after that long it was found again.
const ANSWER_MAX: Duration = Duration::from_secs(30);
const LOOK_EVERY: Duration = Duration::from_millis(50);

/// What happens to operators.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Blow {
    /// The one that works is killed.
    Worker,
    /// The one that waits is killed, and then the one that works: whoever takes over has just begun.
    Both,
    /// The one that works loses its lease and does not know it yet, so that two are at work for a moment.
    Lease,
}

/// Operators are killed at random while rollouts go there and back.
pub async fn operator_killed(stage: &Stage) -> Result<String> {
    let blows = match std::env::var(KILLS_VARIABLE) {
        Ok(number) => number.parse().with_context(|| format!("{KILLS_VARIABLE} is no number: `{number}`"))?,
        Err(_) => KILLS,
    };
    let seed = rand::rng().random_range(0..1_000_000);
    let mut random = StdRng::seed_from_u64(seed);
    operators::as_installed(stage)?;
    stage.deploy_document(&HASTY.replace("watchMs: 8000", "watchMs: 1500"))?;
    stage.stable().await?;
    let claims = Claims::of(stage)?;
    let writers = stage.writers().await?;
    let readers = Readers::start(writers.api());

    let mut asked = Asked::default();
    let mut longest = Duration::ZERO;
    for number in 0..blows {
        asked.keep_going(stage, &mut random).with_context(|| format!("seed {seed}, blow {number}"))?;
        tokio::time::sleep(Duration::from_millis(random.random_range(0..PAUSE_MS_MAX))).await;
        let took = blow(stage, number, &mut random).await.with_context(|| format!("seed {seed}, blow {number}"))?;
        longest = longest.max(took);
    }
    let info = operators::settled(stage).await?;
    asked.must_have_been_obeyed_once(&info)?;

    // Nothing of all this is left.
    let shots = readers.stop().await?;
    let version = other_version(&info, &mut random);
    let readers = Readers::start(writers.api());
    stage.jadeshift(&["deploy", version])?;
    let run = |info: &Value| info["history"].as_array().and_then(|all| all.last().cloned()).unwrap_or_default();
    let before = run(&info)["run"]["id"].clone();
    let ended = |info: &Value| run(info)["run"]["id"] != before;
    let info = stage.until("the last rollout to end", ended).await?;
    ensure!(run(&info)["outcome"] == "promoted", "the last rollout: {}", run(&info)["reason"]);
    readers.stop().await?.must_not_fail()?;
    let compared = stage.jadeshift(&["verify", "--deep"])?;
    claims.must_be_there(stage)?;
    let written = writers.stop().await?;
    written.nothing_lost().await?;
    Ok(format!(
        "{blows} blows (seed {seed}), {} rollouts, another operator worked after at most {:.1} s; {shots}; \
         {written}, 0 lost; {}",
        run(&info)["run"]["id"],
        longest.as_secs_f64(),
        compared.lines().next().unwrap_or_default()
    ))
}

/// How long it took until another operator worked.
async fn blow(stage: &Stage, number: u64, random: &mut StdRng) -> Result<Duration> {
    let holder = operators::living_holder(stage).await?;
    // The first shows how it is without help: a lease that ends.
    let blow = match number {
        0 => Blow::Worker,
        _ => [Blow::Worker, Blow::Worker, Blow::Both, Blow::Lease][random.random_range(0..4)],
    };
    let began = Instant::now();
    if blow == Blow::Both
        && let Some(standby) = operators::standby(stage, &holder)?
    {
        operators::kill(stage, &standby)?;
    }
    if blow != Blow::Lease {
        operators::kill(stage, operators::pod_of(&holder))?;
    }
    if number > 0 {
        // So that more of them fit into the time.
        operators::take_lease_away(stage)?;
    }
    match blow {
        // It may take it again itself.
        Blow::Lease => operators::another_than(stage, None).await?,
        Blow::Worker | Blow::Both => operators::another_than(stage, Some(&holder)).await?,
    };
    Ok(began.elapsed())
}

/// What was asked of operators that may be dead.
#[derive(Default)]
struct Asked {
    requests: u64,
    deployments: u64,
}

impl Asked {
    /// Asks for the next thing, if what was asked for before is done. Nobody waits for the answer.
    fn keep_going(&mut self, stage: &Stage, random: &mut StdRng) -> Result<()> {
        let object = stage.get("bluegreen", "jadevectordb")?;
        let (spec, status) = (&object["spec"], &object["status"]);
        if spec["request"]["id"] != status["request"]["id"] {
            return Ok(());
        }
        let state = operators::state(stage)?;
        let action = match state["phase"]["name"].as_str() {
            Some("stable") => {
                let active = state["active"].as_str().context("no environment is active")?;
                let version = version_other_than(&state["versions"][active], random);
                self.deployments += 1;
                json!({"action": "deploy", "version": version, "reason": null})
            }
            Some("watching") if random.random_range(0..2) == 0 => {
                json!({"action": "rollback", "version": null, "reason": "as the test wants it"})
            }
            _ => return Ok(()),
        };
        self.requests += 1;
        ask(stage, &format!("blow-{}", self.requests), action)
    }

    /// A request that is seen by several operators begins one rollout, and not one for each.
    fn must_have_been_obeyed_once(&self, info: &Value) -> Result<()> {
        let history = info["history"].as_array().context("no history")?;
        let last = history.last().and_then(|record| record["run"]["id"].as_u64()).context("no rollout has ended")?;
        ensure!(last <= self.deployments, "{last} rollouts, and {} were asked for", self.deployments);
        Ok(())
    }
}

fn ask(stage: &Stage, id: &str, mut action: Value) -> Result<()> {
    action["id"] = id.into();
    let patch = json!({"spec": {"request": action}}).to_string();
    stage.kubectl(&["patch", "bluegreen", "jadevectordb", "--type=merge", "-p", &patch])?;
    Ok(())
}

fn other_version(info: &Value, random: &mut StdRng) -> &'static str {
    let active = info["active"].as_str().unwrap_or_default();
    version_other_than(&info["versions"][active], random)
}

fn version_other_than(version: &Value, random: &mut StdRng) -> &'static str {
    let others: Vec<&str> = VERSIONS.into_iter().filter(|other| version != other).collect();
    others[random.random_range(0..others.len())]
}

/// A second operator with a lease of its own: nothing keeps them apart but the version of the state. Somebody else changes the
/// object all the time.
pub async fn two_operators(stage: &Stage) -> Result<String> {
    operators::as_installed(stage)?;
    let second = Beside::start(stage, None, &["--namespace", &stage.namespace])?;
    let at_work = ["looking after BlueGreen objects".to_string()];
    second.says(&at_work, Duration::from_secs(20)).await?;
    stage.deploy_document(&HASTY.replace("watchMs: 8000", "watchMs: 4000"))?;
    stage.stable().await?;
    let claims = Claims::of(stage)?;
    let writers = stage.writers().await?;
    let meddler = Meddler::start(&stage.namespace)?;

    stage.jadeshift(&["deploy", "1.1.0"])?;
    stage.until("1.1.0 to be promoted", |info| info["history"][0]["outcome"] == "promoted").await?;
    stage.jadeshift(&["deploy", "1.2.0"])?;
    stage.until("1.2.0 to be watched", |info| info["phase"]["name"] == "watching").await?;
    stage.jadeshift(&["rollback", "--reason", "as the test wants it"])?;
    let info = stage.until("1.1.0 to be back", |info| info["history"][1]["outcome"] == "rolled_back").await?;
    ensure!(
        info["history"].as_array().map(Vec::len) == Some(2),
        "more rollouts than were asked for: {}",
        info["history"]
    );
    let meddled = meddler.stop().await?;
    ensure!(meddled > 0, "nobody changed the object");

    // One of them is gone now, and what it was about to do with it.
    let log = second.log()?;
    drop(second);
    let info = operators::settled(stage).await?;
    let active = info["active"].as_str().unwrap_or_default();
    ensure!(info["versions"][active] == "1.1.0", "{} serves", info["versions"][active]);
    claims.must_be_there(stage)?;
    writers.until_written_again(Duration::from_secs(20)).await?;
    let written = writers.stop().await?;
    written.nothing_lost().await?;
    let overtaken = log.matches("was changed by another coordinator").count();
    Ok(format!(
        "two rollouts by two operators, {meddled} changes by somebody else; one was overtaken {overtaken} times; \
         {written}, 0 lost"
    ))
}

/// Changes an annotation of the object again and again, so that whoever writes its status has an old version of it.
struct Meddler {
    stop: Arc<AtomicBool>,
    changes: Arc<AtomicUsize>,
    task: JoinHandle<Result<()>>,
}

impl Meddler {
    fn start(namespace: &str) -> Result<Meddler> {
        let (place, namespace) = (Place::of_this_workspace()?, namespace.to_string());
        let (stop, changes) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)));
        let (stopped, count) = (stop.clone(), changes.clone());
        let task = tokio::task::spawn_blocking(move || {
            while !stopped.load(Ordering::Relaxed) {
                let number = count.load(Ordering::Relaxed);
                let mut annotate = place.kubectl();
                annotate.args(["--namespace", &namespace, "annotate", "bluegreen", "jadevectordb", "--overwrite"]);
                let output = annotate.arg(format!("example.org/number={number}")).output()?;
                if !output.status.success() {
                    bail!("kubectl annotate: {}", String::from_utf8_lossy(&output.stderr));
                }
                count.fetch_add(1, Ordering::Relaxed);
                std::thread::sleep(LOOK_EVERY);
            }
            Ok(())
        });
        Ok(Meddler { stop, changes, task })
    }

    async fn stop(self) -> Result<usize> {
        self.stop.store(true, Ordering::Relaxed);
        self.task.await.context("somebody panicked")??;
        Ok(self.changes.load(Ordering::Relaxed))
    }
}

/// The API server is killed while a rollout comes up, and again after the switch. Requests do not go through it.
pub async fn api_server_restarted(stage: &Stage) -> Result<String> {
    let place = Place::of_this_workspace()?;
    stage.deploy_document(&HASTY.replace("watchMs: 8000", "watchMs: 60000"))?;
    stage.stable().await?;
    let claims = Claims::of(stage)?;
    let writers = stage.writers().await?;
    let readers = Readers::start(writers.api());

    stage.jadeshift(&["deploy", "1.1.0"])?;
    let first = without_api_server(&place, &writers).await?;
    stage.until("1.1.0 to be watched", |info| info["phase"]["name"] == "watching").await?;
    let second = without_api_server(&place, &writers).await?;
    let request = json!({"action": "rollback", "version": null, "reason": "as the test wants it"});
    ask(stage, "after-the-restart", request)?;
    let asked = Instant::now();
    stage.until("1.0.0 to be back", |info| info["history"][0]["outcome"] == "rolled_back").await?;
    let back = asked.elapsed();
    ensure!(back < ANSWER_MAX, "obeyed only {:.1} s after the API server was there again", back.as_secs_f64());

    // What is watched is seen again, too. The Service leads nowhere for a moment, by the hand of the test.
    let edited = Instant::now();
    let corrected = super::interference::service_edited(stage, "green", "blue").await?;
    operators::settled(stage).await?;
    let shots: Shots = readers.stop().await?;
    claims.must_be_there(stage)?;
    let written = writers.stop().await?;
    written.nothing_lost().await?;
    let early: Vec<_> = shots.failed().into_iter().filter(|shot| shot.ended.into_std() < edited).collect();
    ensure!(early.is_empty(), "{} reads failed while the API server was away: {:?}", early.len(), early.first());
    Ok(format!(
        "away for {:.1} s and {:.1} s; obeyed {:.1} s after that, a Service put right within {} ms; {shots}; \
         {written}, 0 lost",
        first.as_secs_f64(),
        second.as_secs_f64(),
        back.as_secs_f64(),
        corrected.as_millis()
    ))
}

/// Kills it, and waits until it is there again. Meanwhile writes are acknowledged.
async fn without_api_server(place: &Place, writers: &Writers) -> Result<Duration> {
    let (began, before) = (Instant::now(), writers.acknowledged_now());
    control_plane::crash_api_server(place)?;
    let away = began.elapsed();
    let written = writers.acknowledged_now() - before;
    ensure!(written > 50, "only {written} writes were acknowledged while the API server was away");
    Ok(away)
}
