//! Sampled reads, asked again of both environments by a task of its own.
//!
//! The node that serves keeps a sample of recent searches. Each is put to both colours, alternating which is asked first,
//! and the answers are compared. Replays never mix with the counts of live traffic.

use crate::judged::Sides;
use crate::observe::Target;
use crate::tell::tell;
use client::Http;
use evidence::{Answer, Likeness, ReplayTally, ResultRules};
use parking_lot::Mutex;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::{Instant, MissedTickBehavior};
use wire::Latency;
use wire::admin::{Replay, Replayed};

/// Searches fetched at once.
const SAMPLE_MAX: usize = 500;
/// How often the sample is fetched anew.
const SAMPLE_AGE_MAX: Duration = Duration::from_secs(2);
/// Pause when there is nothing to replay.
const EMPTY_PAUSE: Duration = Duration::from_millis(200);
const CALL_TIMEOUT: Duration = Duration::from_secs(1);
/// After an exact search, which looks at every vector, this many times as long without one: a hundredth of a processor at most.
const EXACT_REST: u32 = 100;

/// What one tally is about; another value begins a new one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Subject {
    pub run: u64,
    pub place: Place,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Place {
    Checking,
    Shifting,
    Watching,
}

/// What is to be replayed.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Plan {
    pub subject: Subject,
    pub candidate: Target,
    pub active: Target,
    /// The candidate serves the larger share, so its sample comes first.
    pub candidate_serves: bool,
    pub per_second: u64,
    pub rules: ResultRules,
}

/// What was seen so far.
#[derive(Debug, Clone, Default)]
pub(crate) struct Board {
    pub subject: Option<Subject>,
    pub tally: ReplayTally,
    pub likeness: Likeness,
    /// Time that each node took for an answer.
    pub latency: Sides<Latency>,
    /// Of searches that were also answered exactly, since this was last asked for.
    pub recall_lost: Vec<f64>,
    /// Size of the sample that was fetched last; `None`: none could be.
    pub sample: Option<usize>,
}

/// The task and its results.
pub(crate) struct ReplayDesk {
    plan: watch::Sender<Option<Plan>>,
    board: Arc<Mutex<Board>>,
    task: JoinHandle<()>,
}

impl ReplayDesk {
    pub fn start(http: Http) -> Self {
        let (plan, plans) = watch::channel(None);
        let board = Arc::new(Mutex::new(Board::default()));
        let task = tokio::spawn(work(http, plans, board.clone()));
        Self { plan, board, task }
    }

    /// `None` pauses the replays and keeps the tally.
    pub fn set(&self, plan: Option<Plan>) {
        tell(&self.plan, plan);
    }

    /// What is known about `subject`; values that stand for themselves are given once.
    pub fn take(&self, subject: Subject) -> Board {
        let mut board = self.board.lock();
        if board.subject != Some(subject) {
            return Board::default();
        }
        let recall_lost = std::mem::take(&mut board.recall_lost);
        Board { recall_lost, ..board.clone() }
    }
}

impl Drop for ReplayDesk {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// Ends when the desk is gone.
async fn work(http: Http, mut plans: watch::Receiver<Option<Plan>>, board: Arc<Mutex<Board>>) {
    loop {
        let Some(plan) = plans.borrow_and_update().clone() else {
            if plans.changed().await.is_err() {
                return;
            }
            continue;
        };
        {
            let mut board = board.lock();
            if board.subject != Some(plan.subject) {
                *board = Board { subject: Some(plan.subject), ..Board::default() };
            }
        }
        tokio::select! {
            () = replay(&http, &plan, &board) => (),
            changed = plans.changed() => if changed.is_err() { return },
        }
    }
}

/// Replays by one plan until it is cancelled; returns to fetch nothing stale when the plan stays.
async fn replay(http: &Http, plan: &Plan, board: &Mutex<Board>) {
    let mut ticks = tokio::time::interval(Duration::from_secs(1) / plan.per_second.clamp(1, 10_000) as u32);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut candidate_first = false;
    let mut exact_after = Instant::now();
    loop {
        let sample = fetch(http, plan).await;
        board.lock().sample = sample.as_ref().map(Vec::len);
        let sample = sample.unwrap_or_default();
        if sample.is_empty() {
            tokio::time::sleep(EMPTY_PAUSE).await;
            continue;
        }
        let fetched = Instant::now();
        for read in sample.iter().cycle() {
            ticks.tick().await;
            let (candidate, active) = ask_both(http, plan, read, candidate_first).await;
            candidate_first = !candidate_first;
            note(board, plan, read, candidate.as_ref(), active.as_ref());
            if Instant::now() >= exact_after
                && let (Some(candidate), Some(active)) = (&candidate, &active)
            {
                let asked = Instant::now();
                if let Some(lost) = recall_lost(http, plan, read, candidate, active).await {
                    let mut board = board.lock();
                    board.recall_lost.push(lost);
                    board.likeness.recall_lost.add(lost);
                }
                exact_after = Instant::now() + asked.elapsed() * EXACT_REST;
            }
            if fetched.elapsed() > SAMPLE_AGE_MAX {
                break;
            }
        }
    }
}

fn note(board: &Mutex<Board>, plan: &Plan, read: &Replay, candidate: Option<&Replayed>, active: Option<&Replayed>) {
    let mut board = board.lock();
    board.tally.add(answer(candidate), answer(active), read.top_k, &plan.rules);
    board.likeness.add(&answer(candidate), &answer(active));
    // The nodes' own time: the way to them says nothing about them.
    if let (Some(candidate), Some(active)) = (candidate, active) {
        board.latency.candidate.record(candidate.latency_us);
        board.latency.active.record(active.latency_us);
    }
}

/// Puts one search to the active environment once more, to be answered exactly.
async fn recall_lost(http: &Http, plan: &Plan, read: &Replay, candidate: &Replayed, active: &Replayed) -> Option<f64> {
    let exact = Replay { exact: true, ..read.clone() };
    let exact = plan.active.admin(http, CALL_TIMEOUT).replay(&exact).await.ok()?;
    let answered = [candidate.status, active.status, exact.status] == [200; 3];
    if answered { evidence::recall_lost(&candidate.ids, &active.ids, &exact.ids) } else { None }
}

/// The sample of the environment that serves most, or else the other's; `None` when neither says.
async fn fetch(http: &Http, plan: &Plan) -> Option<Vec<Replay>> {
    let (first, second) = match plan.candidate_serves {
        true => (&plan.candidate, &plan.active),
        false => (&plan.active, &plan.candidate),
    };
    let mut found = None;
    for target in [first, second] {
        if let Ok(sampled) = target.admin(http, CALL_TIMEOUT).reads(SAMPLE_MAX).await {
            found = Some(sampled.reads);
        }
        if found.as_ref().is_some_and(|reads| !reads.is_empty()) {
            break;
        }
    }
    found
}

async fn ask_both(
    http: &Http,
    plan: &Plan,
    read: &Replay,
    candidate_first: bool,
) -> (Option<Replayed>, Option<Replayed>) {
    let ask = async |target: &Target| target.admin(http, CALL_TIMEOUT).replay(read).await.ok();
    if candidate_first {
        let candidate = ask(&plan.candidate).await;
        (candidate, ask(&plan.active).await)
    } else {
        let active = ask(&plan.active).await;
        (ask(&plan.candidate).await, active)
    }
}

fn answer(replayed: Option<&Replayed>) -> Answer<'_> {
    match replayed {
        Some(replayed) => Answer { status: Some(replayed.status), ids: &replayed.ids, scores: &replayed.scores },
        None => Answer { status: None, ids: &[], scores: &[] },
    }
}
