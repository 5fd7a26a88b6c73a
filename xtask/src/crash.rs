//! `cargo xtask crash`: real processes are killed at random moments of rollouts, under load, and every acknowledged write is
//! looked up afterwards, in the records and by search, in both colours.
//!
//! One deployment lives through the whole run: people deploy, switch, pause and take back; the killer ends the blue node,
//! the green node and `jadeshift up` (gateway and conductor in one process), each at any step, also several at once and
//! one again while it recovers. After some kills everything comes to rest, and the books are compared.

mod books;
mod clients;
mod examine;
mod killer;
mod outages;
mod rollouts;
mod tally;

use crate::api::Api;
use crate::bench::process;
use crate::deployment::{CommandLine, Deployment, Pace};
use anyhow::{Context, Result, bail, ensure};
use clients::{Clients, Shared};
use examine::{Looked, Place, examine};
use killer::Killer;
use rand::RngExt;
use rollout::State;
use rollouts::{People, VERSIONS};
use serde_json::{Value, json};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};
use tally::span;
use wire::Colour;

/// Longest time of one round without a check, however few were killed in it.
const ROUND_MAX: Duration = Duration::from_secs(120);
/// Before the first kill there is something to lose.
const WARM_UP: Duration = Duration::from_secs(2);
/// Differences that are printed.
const SHOWN: usize = 20;
/// Of the records that did not change since the last check, one in so many is searched for.
const OLD_ONE_IN: usize = 20;

/// Kills nodes and `jadeshift up` with SIGKILL at random moments of rollouts in both directions, under load, and looks every
/// acknowledged write up: by id, in the list, and by search, at the gateway and at both nodes.
#[derive(clap::Args)]
#[command(after_long_help = "Examples:\n  cargo xtask crash\n  cargo xtask crash --runs 500 --seed 7 --minutes 10")]
pub struct Crash {
    /// Kills.
    #[arg(long, default_value_t = 50, value_parser = clap::value_parser!(u64).range(1..))]
    runs: u64,
    /// Chooses victims, pauses, wishes and writes; without it a random one, which is printed.
    #[arg(long)]
    seed: Option<u64>,
    /// Ends after this time, with fewer kills.
    #[arg(long, value_name = "M", value_parser = clap::value_parser!(u64).range(1..=1_440))]
    minutes: Option<u64>,
    /// Kills between two checks.
    #[arg(long, default_value_t = 50, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    check_every: u64,
    /// Folder with a `jadeshift` program, instead of building one.
    #[arg(long, value_name = "DIR")]
    bin_dir: Option<PathBuf>,
    /// Where the deployment lives; its folder is removed at the end, unless something is wrong [default: target/bench].
    #[arg(long, value_name = "DIR")]
    work_dir: Option<PathBuf>,
}

/// A run under way.
struct Run {
    killer: Killer,
    people: People,
    shared: Arc<Shared>,
    api: Api,
    began: Instant,
    until: Instant,
    looked: Looked,
    checks: u64,
    /// From the last kill of a round until everything was at rest.
    rest_max: Duration,
}

pub async fn run(options: Crash) -> Result<()> {
    let program = process::programs(&["jadeshift"], options.bin_dir.as_deref())?.join("jadeshift");
    let folder = process::work_folder(options.work_dir.as_deref())?;
    let seed = options.seed.unwrap_or_else(|| rand::rng().random_range(0..1_000_000));
    eprintln!("{} kills with seed {seed}, in {}", options.runs, folder.path().display());
    let pace = Pace { watch_ms: 300, versions: VERSIONS, ..Pace::hasty() };
    let deployment = Deployment::start(&program, folder.path(), &pace).await?;
    let line = deployment.line().clone();
    let result = crash(deployment, &options, seed).await;
    let result = result.and_then(|report| judged(&report, &line));
    if result.is_err() {
        let kept = folder.keep();
        eprintln!("\ndata and logs are kept in {}", kept.display());
        eprintln!(
            "again: cargo xtask crash --runs {} --seed {seed} --check-every {}\n(the same choices; the moments of real \
             processes differ from run to run)",
            options.runs, options.check_every
        );
    }
    result
}

async fn crash(deployment: Deployment, options: &Crash, seed: u64) -> Result<Value> {
    let shared: Arc<Shared> = Arc::default();
    let api = Api::open(&deployment.gateway, books::DIMENSION).await?;
    let line = deployment.line().clone();
    let killer = Killer::new(deployment, shared.clone(), seed);
    let began = Instant::now();
    let limit = options.minutes.map_or(Duration::from_secs(86_400), |minutes| Duration::from_secs(60 * minutes));
    let watching = tokio::spawn(killer.watch(&api));
    let clients = Clients::start(&api, &shared, seed);
    let mut run = Run {
        people: People::new(line, seed ^ 0x5eed),
        killer,
        shared,
        api,
        began,
        until: began + limit,
        looked: Looked::default(),
        checks: 0,
        rest_max: Duration::ZERO,
    };
    tokio::time::sleep(WARM_UP).await;
    let finished = run.rounds(options).await;
    watching.abort();
    clients.stop().await?;
    finished?;
    let report = run.report(seed);
    run.killer.deployment.down().context("`jadeshift down`")?;
    Ok(report)
}

impl Run {
    async fn rounds(&mut self, options: &Crash) -> Result<()> {
        loop {
            let killed = self.killer.kills.total();
            let last = killed + options.check_every >= options.runs;
            self.round(options.check_every.min(options.runs - killed)).await?;
            let over = self.killer.kills.total() >= options.runs || Instant::now() >= self.until;
            self.check(over || last).await?;
            if over {
                return Ok(());
            }
        }
    }

    /// Kills, while people go on; then everything comes to rest.
    async fn round(&mut self, kills: u64) -> Result<()> {
        let stop = AtomicBool::new(false);
        let until = self.until.min(Instant::now() + ROUND_MAX);
        let (killer, people) = (&mut self.killer, &mut self.people);
        let killing = async {
            let killed = killer.kill(kills, until).await;
            stop.store(true, Ordering::Relaxed);
            killed
        };
        let (killed, acted) = tokio::join!(killing, people.act(&stop));
        killed?;
        acted?;
        self.killer.deployment.must_run()?;
        let killed = Instant::now();
        self.people.settle().await?;
        self.rest_max = self.rest_max.max(killed.elapsed());
        self.killer.deployment.must_run()
    }

    /// Compares the books with what is there, at each place; `all`: every record is searched for.
    async fn check(&mut self, all: bool) -> Result<()> {
        let shared = self.shared.clone();
        let began = Instant::now();
        let _still = shared.gate.write().await;
        // Between the rest and the stillness somebody may have thought of something; nobody does now.
        let state = self.people.settle().await?;
        let searched = Arc::new(self.to_search(all));
        for place in self.places(&state, &searched)? {
            let looked = examine(&place, &shared).await.with_context(|| format!("the check at {}", place.name))?;
            self.looked.records = looked.records;
            self.looked.searches += looked.searches;
            self.looked.missed_by_graph += looked.missed_by_graph;
        }
        if state.versions.get(state.primary.other()).is_some() {
            let line = self.people_line();
            tokio::task::spawn_blocking(move || line.verify_equal()).await.context("a command broke off")??;
        }
        self.shared.judge_reads();
        self.checks += 1;
        self.progress(began.elapsed());
        let faults = self.shared.books.faults();
        ensure!(!faults.any(), "{faults:?}:\n{}", first(&self.shared.books.sentences()));
        let wrong = self.shared.wrong_answers();
        ensure!(wrong.is_empty(), "{} wrong answers:\n{}", wrong.len(), first(&wrong));
        Ok(())
    }

    /// All records, or those that changed and some of the others.
    fn to_search(&self, all: bool) -> Vec<String> {
        let changed = self.shared.books.changed();
        let ids = self.shared.books.ids();
        let wanted = |(position, id): &(usize, String)| {
            all || position % OLD_ONE_IN == self.checks as usize % OLD_ONE_IN || changed.contains(id)
        };
        ids.into_iter().enumerate().filter(wanted).map(|(_, id)| id).collect()
    }

    /// The gateway, and each node that has the records.
    fn places(&self, state: &State, searched: &Arc<Vec<String>>) -> Result<Vec<Place>> {
        let mut places = vec![Place { name: "gateway".into(), api: self.api.clone(), searched: searched.clone() }];
        for colour in Colour::BOTH.into_iter().filter(|colour| state.versions.get(*colour).is_some()) {
            let ready = self.people_line().ready(colour).with_context(|| format!("{colour} has no address"))?;
            places.push(Place { name: colour.to_string(), api: self.api.at(&ready.http), searched: searched.clone() });
        }
        Ok(places)
    }

    fn people_line(&self) -> CommandLine {
        self.killer.deployment.line().clone()
    }

    fn progress(&self, check: Duration) {
        let rollouts = self.people.rollouts.lock();
        eprintln!(
            "{}: {} kills, {} rollouts, {} writes, {} records compared in {:.1} s; {:?}",
            span(self.began.elapsed()),
            self.killer.kills.total(),
            rollouts.promoted + rollouts.rolled_back,
            self.shared.books.totals().acknowledged,
            self.looked.records,
            check.as_secs_f64(),
            self.shared.books.faults()
        );
    }

    /// Prints the table; gives the same as JSON.
    fn report(&self, seed: u64) -> Value {
        let took = self.began.elapsed();
        let kills = &self.killer.kills;
        let rollouts = self.people.rollouts.lock();
        let (totals, faults) = (self.shared.books.totals(), self.shared.books.faults());
        let unexplained = self.shared.unexplained_reads();
        let figures = json!({
            "kills_per_minute": (kills.total() as f64 / took.as_secs_f64() * 600.0).round() / 10.0,
            "rollouts_promoted": rollouts.promoted,
            "rollouts_rolled_back": rollouts.rolled_back,
            "handovers": rollouts.handovers,
            "commands_obeyed": self.people.obeyed,
            "commands": self.people.said,
            "writes_acknowledged": totals.acknowledged,
            "writes_refused": totals.refused,
            "writes_unknown": totals.unknown,
            "reads": self.shared.reads.load(Ordering::Relaxed),
            "reads_failed": self.shared.reads_failed.load(Ordering::Relaxed),
            "reads_failed_unexplained": unexplained.len(),
            "writes_read_back": self.shared.reads_back.load(Ordering::Relaxed),
            "checks": self.checks,
            "rest_max_ms": self.rest_max.as_millis() as u64,
            "records": self.looked.records,
            "searches": self.looked.searches,
            "missed_by_graph": self.looked.missed_by_graph,
            "lost": faults.lost,
            "duplicated": faults.duplicated,
            "resurrected": faults.resurrected,
            "done_though_refused": faults.done_though_refused,
        });
        println!("{}", kills.table());
        for (name, value) in figures.as_object().into_iter().flatten() {
            println!("{:<48} {value:>8}", name.replace('_', " "));
        }
        if !unexplained.is_empty() {
            println!("\nreads that failed although a node was there:\n{}", first(&unexplained));
        }
        let mut report = json!({"seed": seed, "seconds": took.as_secs(), "kills": kills.json()});
        if let (Some(report), Value::Object(figures)) = (report.as_object_mut(), figures) {
            report.extend(figures);
        }
        report
    }
}

/// The last line; an error when something ended by a fault of its own.
fn judged(report: &Value, line: &CommandLine) -> Result<()> {
    println!("{report}");
    for path in line.logs() {
        let text = std::fs::read(&path).with_context(|| format!("cannot read {}", path.display()))?;
        let text = String::from_utf8_lossy(&text);
        if let Some(panic) = text.lines().find(|line| line.contains("panicked")) {
            bail!("{}: {panic}", path.display());
        }
    }
    Ok(())
}

fn first(sentences: &[String]) -> String {
    sentences.iter().take(SHOWN).map(|sentence| format!("  {sentence}\n")).collect()
}
