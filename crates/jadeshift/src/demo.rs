//! `demo`: four releases of a real database under load, from the outside, like a user.
//!
//! | file | holds |
//! |---|---|
//! | `demo/stage.rs` | the deployment: started as a process of its own, and cleaned away |
//! | `demo/data.rs` | packages, queries and their vectors |
//! | `demo/connection.rs`, `demo/load.rs` | the clients: one connection each, never retrying |
//! | `demo/checker.rs`, `demo/examine.rs` | every acknowledged write, remembered and read back |
//! | `demo/pauses.rs` | how long handovers make writers wait |
//! | `demo/acts.rs` | the four releases |
//! | `demo/report.rs` | what is printed at the end |
//!
//! Nothing here looks into the deployment: it is driven by the control protocol and the gateway alone.

mod acts;
mod checker;
mod connection;
mod data;
mod examine;
mod load;
mod pauses;
mod report;
mod stage;

use crate::cli::Demo as Args;
use crate::commands::up::Addresses;
use crate::control::Control;
use crate::exit::ExitCode;
use crate::failure::Failure;
use crate::output::Printer;
use crate::signals::Interrupts;
use crate::text::{short_digests, table::megabytes};
use acts::ACTS;
use checker::Checker;
use conductor::Info;
use connection::{NoAnswer, Tally};
use data::DataSet;
use load::{Load, Session, Shared};
use pauses::{PauseMeter, Window};
use report::{Memory, Report, Requests, RollbackTimes, Writes};
use rollout::Phase;
use stage::Stage;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

/// The whole demonstration may take so long.
const TIMEOUT: Duration = Duration::from_secs(180);
/// The first environment may take so long until it serves.
const SERVING_TIMEOUT: Duration = Duration::from_secs(30);
const POLL: Duration = Duration::from_millis(50);
/// A handover's window for the measurement reaches so much further than the deployment's own account of it: the gateway
/// still turns to the new primary then.
const WINDOW_AFTER_MS: u64 = 250;
/// The query answered on screen.
const QUERY: &str = "recover deleted files";
const QUERY_RESULTS: usize = 6;

/// What the acts work with.
pub struct Tools {
    control: Control,
    session: Session,
    shared: Shared,
    printer: Printer,
    place: Place,
    memory: Memory,
    gateway_pid: u32,
    started: Instant,
    rate: Rate,
}

/// The clients' requests in a second, measured over at least [`Rate::SPAN_MIN`].
struct Rate {
    since: Instant,
    total: u64,
    per_second: f64,
}

impl Rate {
    const SPAN_MIN: Duration = Duration::from_millis(500);

    fn from(total: u64) -> Self {
        Self { since: Instant::now(), total, per_second: 0.0 }
    }

    fn now(&mut self, total: u64) -> f64 {
        let span = self.since.elapsed();
        if span >= Self::SPAN_MIN || self.per_second == 0.0 {
            let per_second = (total - self.total) as f64 / span.as_secs_f64().max(0.001);
            *self = Self { per_second, ..Self::from(total) };
        }
        self.per_second
    }
}

/// Where the demonstration stands, for the message when its time is over.
#[derive(Clone, Default)]
struct Place(Arc<Mutex<String>>);

impl Place {
    fn set(&self, text: String) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = text;
    }

    fn get(&self) -> String {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl Tools {
    fn say(&self, text: &str) {
        self.printer.progress(text);
    }

    /// Time, act, what is going on, and the clients' rate since the last such line.
    fn say_progress(&mut self, act: &str, text: &str) {
        let (total, failed) = (self.shared.tally.total(), self.shared.tally.failed());
        let rate = self.rate.now(total);
        let elapsed = self.started.elapsed().as_secs_f64();
        let text = short_digests(text);
        self.say(&format!("{elapsed:6.1} s  {act}  {text}  [{rate:.0} requests/s, {failed} failed]"));
    }

    fn note_memory(&mut self, info: &Info) {
        self.memory.raise_to(Memory {
            blue: megabytes(info.nodes.blue.resident_bytes),
            green: megabytes(info.nodes.green.resident_bytes),
            gateway: stage::resident_bytes(self.gateway_pid).map_or(0.0, megabytes),
        });
    }
}

/// Plays, cleans up whatever happened, and prints the report.
pub async fn run(printer: &Printer, args: &Args) -> Result<ExitCode, Failure> {
    let mut interrupts = Interrupts::listen()?;
    let data =
        DataSet::carried().map_err(|error| Failure::failed("could not use the data of the demonstration", error))?;
    let mut stage = Stage::start(args.gateway, args.keep)?;
    let place = Place::default();
    let played = tokio::select! {
        played = tokio::time::timeout(TIMEOUT, play(&mut stage, printer, data, place.clone())) => match played {
            Ok(played) => played,
            Err(_) => Err(Failure::new(
                ExitCode::TimedOut,
                "the demonstration did not end",
                format!("not within {} s; it stood {}", TIMEOUT.as_secs(), place.get()),
            )),
        },
        () = interrupts.next() => Err(Failure::interrupted("the demonstration")),
    };
    if let Err(failure) = &played
        && failure.code != ExitCode::Interrupted
    {
        printer.progress(&format!("the deployment's log ends with: {}", stage.last_words()));
    }
    printer.progress("\ncleaning up");
    if args.keep {
        printer.progress(&format!("data, logs and document are kept in {}", stage.dir().display()));
    }
    let ended = tokio::select! {
        ended = stage.end() => ended,
        () = interrupts.next() => Err(Failure::interrupted("cleaning up")),
    };
    let mut report = match (played, ended) {
        (Ok(report), Ok(())) => report,
        (Ok(mut report), Err(failure)) => {
            report.complaints.push(failure.to_string());
            report
        }
        (Err(failure), Ok(())) => return Err(failure),
        (Err(failure), Err(also)) => {
            printer.progress(&also.to_string());
            return Err(failure);
        }
    };
    report.complaints.dedup();
    for complaint in &report.complaints {
        // What is wrong is said even with `--quiet`.
        eprintln!("jadeshift: {complaint}");
    }
    printer.result(|| report.text(), &report);
    Ok(if report.is_good() { ExitCode::Ok } else { ExitCode::Failed })
}

async fn play(stage: &mut Stage, printer: &Printer, data: DataSet, place: Place) -> Result<Report, Failure> {
    place.set("at the start of the deployment".into());
    let mut tools = prepare(stage, printer, data, place).await?;
    tools.place.set("while the packages were loaded".into());
    tools.say(&format!("loading {} packages", load::LOADED));
    tools.session.load(&tools.shared).await.map_err(|error| first_failure("could not load the packages", &error))?;
    let clients = Load::start(&tools.session, &tools.shared);
    tools.rate = Rate::from(tools.shared.tally.total());
    let mut acts = Vec::new();
    let mut rollback_s = RollbackTimes::default();
    let mut complaints = Vec::new();
    for (position, act) in ACTS.iter().enumerate() {
        let played = acts::play(&mut tools, position + 1, act).await?;
        match act.name {
            "upgrade" => show_query(&tools).await,
            "errors" => rollback_s.errors = played.exposed_s,
            "wrong-results" => rollback_s.wrong_results = played.exposed_s,
            _ => {}
        }
        acts.push(played.report);
        complaints.extend(played.complaints);
    }
    tools.place.set("while the clients were stopped".into());
    if let Err(why) = clients.stop().await {
        complaints.push(why);
    }
    complaints.extend(tools.shared.tally.examples().into_iter().map(|failure| format!("failed request: {failure}")));
    let info = tools.control.info().await?;
    tools.note_memory(&info);
    let totals = tools.shared.checker.totals();
    Ok(Report {
        acts,
        requests: Requests { total: tools.shared.tally.total(), failed: tools.shared.tally.failed() },
        writes: Writes { acknowledged: totals.acknowledged, lost: totals.lost, duplicated: totals.duplicated },
        write_pause_ms: tools.shared.pauses.during(&windows(&info)),
        rollback_s,
        rss_mb: tools.memory,
        complaints,
    })
}

/// Waits until the deployment serves, and logs in.
async fn prepare(stage: &mut Stage, printer: &Printer, data: DataSet, place: Place) -> Result<Tools, Failure> {
    let control = stage.control().await?;
    let started = Instant::now();
    loop {
        let info = control.info().await?;
        if info.phase == Phase::Stable && info.nodes.get(info.active).ready {
            break;
        }
        if started.elapsed() > SERVING_TIMEOUT {
            let what = format!("the first environment does not serve after {} s", SERVING_TIMEOUT.as_secs());
            return Err(Failure::new(ExitCode::TimedOut, what, info.why));
        }
        tokio::time::sleep(POLL).await;
    }
    let addresses = Addresses::load(&stage.dir())
        .ok_or_else(|| Failure::failed("could not find the gateway", "the deployment does not say its address"))?;
    printer.progress(&format!("version {} is up; its gateway is http://{}", addresses.version, addresses.gateway));
    let shared = Shared {
        checker: Arc::new(Checker::new(data.packages.len())),
        data: Arc::new(data),
        tally: Arc::new(Tally::default()),
        pauses: Arc::new(PauseMeter::default()),
        gate: Arc::default(),
        newest_lsn: Arc::default(),
    };
    let session = Session::open(&addresses.gateway, &shared.tally)
        .await
        .map_err(|error| first_failure("could not log in and create a database", &error))?;
    Ok(Tools {
        gateway_pid: control.pid(),
        control,
        session,
        shared,
        printer: *printer,
        place,
        memory: Memory::default(),
        started: Instant::now(),
        rate: Rate::from(0),
    })
}

fn first_failure(what: &str, error: &NoAnswer) -> Failure {
    Failure::failed(what, error)
}

/// Answers a query on screen.
async fn show_query(tools: &Tools) {
    let Some(row) = tools.shared.data.query_row(QUERY) else { return };
    let mut connection = tools.session.connect(&tools.shared.tally);
    let query = tools.shared.data.query_vector(row);
    // A failure is counted, and in the report.
    let Ok((results, version)) = tools.session.search(&mut connection, &query, QUERY_RESULTS, false).await else {
        return;
    };
    let names: Vec<String> = results.iter().map(|(name, score)| format!("{name} {score:.3}")).collect();
    let version = version.unwrap_or_else(|| "?".into());
    tools.say(&format!("  \"{QUERY}\", answered by version {version}: {}", names.join(", ")));
}

/// The time of each handover: from its seal until the old primary followed the new one, and [`WINDOW_AFTER_MS`] more.
fn windows(info: &Info) -> Vec<Window> {
    let window = |handover: &conductor::HandoverTiming| {
        let took_ms = handover.seal_to_follow_ms.unwrap_or(handover.seal_to_promote_ms).ceil() as u64;
        Window { began_ms: handover.at_ms, ended_ms: handover.at_ms + took_ms + WINDOW_AFTER_MS }
    };
    info.handovers.iter().map(window).collect()
}
