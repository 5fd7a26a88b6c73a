//! What people do meanwhile: releases, switches, pauses, and rollbacks before and after the commit, without end.

use super::tally::Rollouts;
use crate::deployment::CommandLine;
use anyhow::{Context, Result, bail, ensure};
use parking_lot::Mutex;
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use rollout::{Phase, State};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

/// Labels that are deployed in turn; [`VERSIONS`] says what they are.
const LABELS: [&str; 3] = ["2.0.0", "2.1.0", "2.2.0"];
/// Versions that differ in what may differ; their snapshots and logs are short, so that kills meet both being cut.
pub const VERSIONS: &str = "    \"2.0.0\": {index: {connectivity: 24}, args: [--snapshot-log-bytes, \"1000000\"]}\n    \
                            \"2.1.0\": {index: {kind: flat}, args: [--snapshot-log-bytes, \"700000\", \
                            --retained-log-bytes, \"500000\"]}\n    \
                            \"2.2.0\": {index: {quantization: f32, expansionSearch: 64}, \
                            args: [--snapshot-log-bytes, \"2000000\"]}\n";
/// How often the state is looked at.
const LOOK_EVERY: Duration = Duration::from_millis(20);
/// Longest time in which everything must have come to rest once nobody is killed any more: the longest pause of the
/// supervisor, twice, and a rollout.
const SETTLE_LIMIT: Duration = Duration::from_secs(90);
/// Longest thinking before the next wish.
const THINK_MS_MAX: u64 = 300;

/// What a person means to do once this rollout is under way.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Whim {
    None,
    /// Before the commit, some time after the beginning.
    RollBackAfter(Duration),
    /// As soon as it is watched.
    RollBackWatched,
    /// Holds it, and goes on after as long again.
    PauseAfter(Duration),
}

/// People, and what they did.
pub struct People {
    line: CommandLine,
    random: StdRng,
    pub rollouts: Arc<Mutex<Rollouts>>,
    label: usize,
    whim: Whim,
    began: Instant,
    /// Commands that were obeyed, and all.
    pub obeyed: u64,
    pub said: u64,
}

impl People {
    pub fn new(line: CommandLine, seed: u64) -> People {
        People {
            line,
            random: StdRng::seed_from_u64(seed),
            rollouts: Arc::default(),
            label: 0,
            whim: Whim::None,
            began: Instant::now(),
            obeyed: 0,
            said: 0,
        }
    }

    /// Goes on until told to stop.
    ///
    /// # Errors
    /// When the state cannot be read: it is replaced as a whole, so it always can.
    pub async fn act(&mut self, stop: &AtomicBool) -> Result<()> {
        while !stop.load(Ordering::Relaxed) {
            let state = self.look()?;
            self.wish(&state).await?;
            tokio::time::sleep(LOOK_EVERY).await;
        }
        Ok(())
    }

    /// Lets everything come to rest: no rollout under way, the active environment serves, and the other one, if it runs,
    /// has every record.
    ///
    /// # Errors
    /// When that does not come true in time: something is stuck.
    pub async fn settle(&mut self) -> Result<State> {
        let began = Instant::now();
        loop {
            let state = self.look()?;
            if matches!(state.phase, Phase::Paused { .. }) {
                self.wish(&state).await?;
            }
            let resting = match state.phase {
                Phase::Stable => self.resting().await,
                _ => Err(format!("the state is {:?}", state.phase)),
            };
            let Err(why) = resting else { return Ok(state) };
            if began.elapsed() > SETTLE_LIMIT {
                let info = self.line.info().map_or_else(|error| error.to_string(), |info| format!("{info:#}"));
                bail!("not at rest {} s after the last kill: {why}\n{info}", SETTLE_LIMIT.as_secs());
            }
            tokio::time::sleep(5 * LOOK_EVERY).await;
        }
    }

    /// Why it is not at rest, if so.
    async fn resting(&self) -> Result<(), String> {
        let line = self.line.clone();
        let info = tokio::task::spawn_blocking(move || line.info()).await.map_err(|error| error.to_string())?;
        let info = info.map_err(|error| error.to_string())?;
        let why = || format!("{}", info["why"]);
        let active = info["active"].as_str().ok_or("no active environment")?;
        let at_rest = |holds: bool| if holds { Ok(()) } else { Err(why()) };
        at_rest(info["phase"]["name"] == "stable")?;
        let node = |colour: &str| info["nodes"][colour].clone();
        let serving = node(active);
        at_rest(serving["status"] == "up" && serving["ready"] == true && serving["role"]["role"] == "primary")?;
        at_rest(info["share_in_effect"][active] == 100)?;
        let other = if active == "blue" { "green" } else { "blue" };
        if info["versions"][other].is_null() {
            return Ok(());
        }
        let follower = node(other);
        let has_all = follower["lsn"] == serving["lsn"] || follower["lag_records"].as_u64().is_some_and(|lag| lag < 50);
        at_rest(follower["ready"] == true && follower["role"]["role"] == "follower" && has_all)
    }

    fn look(&mut self) -> Result<State> {
        let state = self.line.state()?;
        self.rollouts.lock().look(&state);
        Ok(state)
    }

    /// Says what there is to be said in this state, if anything.
    async fn wish(&mut self, state: &State) -> Result<()> {
        let elapsed = self.began.elapsed();
        match &state.phase {
            Phase::Stable => {
                self.think().await;
                self.begin(state).await
            }
            Phase::Paused { .. } => {
                if let Whim::PauseAfter(after) = self.whim
                    && elapsed < 2 * after
                {
                    return Ok(());
                }
                self.whim = Whim::None;
                self.think().await;
                match self.random.random_range(0..4) {
                    0 => self.say(&["rollback"]).await,
                    1 => self.say(&["promote", "--full"]).await,
                    _ => self.say(&["resume"]).await,
                }
            }
            Phase::Watching { .. } if self.whim == Whim::RollBackWatched => {
                self.whim = Whim::None;
                self.say(&["rollback"]).await
            }
            Phase::Watching { .. } | Phase::RollingBack { .. } => Ok(()),
            _ => match self.whim {
                Whim::RollBackAfter(after) if elapsed > after => {
                    self.whim = Whim::None;
                    self.say(&["rollback"]).await
                }
                Whim::PauseAfter(after) if elapsed > after => self.say(&["pause"]).await,
                _ => Ok(()),
            },
        }
    }

    /// Begins something new.
    async fn begin(&mut self, state: &State) -> Result<()> {
        self.began = Instant::now();
        let moment = Duration::from_millis(self.random.random_range(0..1_500));
        self.whim = match self.random.random_range(0..100) {
            0..12 => Whim::RollBackAfter(moment),
            12..27 => Whim::RollBackWatched,
            27..32 => Whim::PauseAfter(moment),
            _ => Whim::None,
        };
        let other = state.active.other();
        let warm = state.versions.get(other).is_some();
        match self.random.random_range(0..100) {
            0..45 if warm => self.say(&["switch", other.as_str()]).await,
            45..60 if state.reversible().is_some() => self.say(&["rollback"]).await,
            _ => {
                self.label = (self.label + 1) % LABELS.len();
                if LABELS[self.label] == state.version_active() {
                    self.label = (self.label + 1) % LABELS.len();
                }
                self.say(&["deploy", LABELS[self.label]]).await
            }
        }
    }

    /// A command may be refused, or reach nobody: then the next look leads to another one.
    async fn say(&mut self, words: &[&'static str]) -> Result<()> {
        let (line, spoken) = (self.line.clone(), words.to_vec());
        let said = tokio::task::spawn_blocking(move || line.output(&spoken)).await.context("a command broke off")??;
        self.said += 1;
        match said.status.code() {
            Some(0) => self.obeyed += 1,
            // Failed, refused, not running, timed out: what kills and races bring with them.
            Some(1 | 3..=5) => {}
            _ => ensure!(
                false,
                "`jadeshift {}` ended with {}: {}",
                words.join(" "),
                said.status,
                String::from_utf8_lossy(&said.stderr)
            ),
        }
        Ok(())
    }

    async fn think(&mut self) {
        let thinking = Duration::from_millis(self.random.random_range(0..THINK_MS_MAX));
        tokio::time::sleep(thinking).await;
    }
}
