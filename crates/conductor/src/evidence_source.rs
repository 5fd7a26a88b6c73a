//! Turns counters into verdicts: live reads are differences since the step began, replayed ones come from their task.
//!
//! After a restart the counts begin anew, which only means that a step takes its reads again.

use crate::TrafficCounts;
use crate::data_check::DataCheck;
use crate::observe::Sight;
use crate::replay::{Board, Place, Plan, ReplayDesk, Subject};
use crate::verify::Directory;
use client::Http;
use evidence::{Counts, ErrorRule, ResultRule, Verdict, judge_errors, judge_results};
use rollout::{Judgement, Phase, State, World};
use std::time::Duration;
use tokio::time::Instant;
use wire::admin::Role;
use wire::document::Spec;
use wire::{ByColour, Colour};

/// With fewer reads of its own in a step, the active environment is judged by its reads since the shifting began: at
/// 100 % it has none.
const CONTROL_READS_MIN: u64 = 100;
/// After this time without a single live read, nobody reads yet, and there is nothing to compare.
const NO_READS_AFTER: Duration = Duration::from_secs(5);
/// After this time without a sampled search, the live reads are not searches.
const NO_SEARCHES_AFTER: Duration = Duration::from_secs(30);

/// What is judged at the moment: counts begin anew with each.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Part {
    subject: Subject,
    /// Share of reads, percent; distinguishes the steps.
    share_percent: u8,
    step: usize,
}

/// One kept part with the counters at its beginning.
struct Current {
    part: Part,
    began: Instant,
    base: ByColour<TrafficCounts>,
    /// Counters when the run got its first live readers.
    base_of_run: ByColour<TrafficCounts>,
}

pub(crate) struct EvidenceSource {
    http: Http,
    current: Option<Current>,
    replays: ReplayDesk,
    data: DataCheck,
}

impl EvidenceSource {
    pub fn new(http: Http) -> Self {
        Self { replays: ReplayDesk::start(http.clone()), http, current: None, data: DataCheck::default() }
    }

    /// Tells the replaying task what to do.
    pub fn set_replays(&self, spec: &Spec, state: &State, world: &World, sight: &Sight) {
        let candidate = state.candidate();
        let targets = (sight.target(candidate).cloned(), sight.target(candidate.other()).cloned());
        let plan = match (world.replay_reads, part(state), targets) {
            (true, Some(part), (Some(candidate_target), Some(active))) => Some(Plan {
                subject: part.subject,
                candidate: candidate_target,
                active,
                candidate_serves: *world.reads.get(candidate) > 50,
                per_second: spec.evidence.replays_per_second,
                overlap_min: spec.evidence.overlap_min,
            }),
            _ => None,
        };
        self.replays.set(plan);
    }

    /// What the evidence says now about the phase of `state`.
    pub async fn judge(&mut self, spec: &Spec, state: &State, sight: &Sight, directory: &Directory) -> Judgement {
        let counters = counters(sight);
        self.turn_to(state, counters);
        let Some(current) = &self.current else { return nothing_judged() };
        let candidate = state.candidate();
        let since = |base: &ByColour<TrafficCounts>, colour| difference(*base.get(colour), *counters.get(colour));
        let candidate_counts = since(&current.base, candidate);
        let mut active_counts = since(&current.base, candidate.other());
        if active_counts.reads < CONTROL_READS_MIN {
            active_counts = since(&current.base_of_run, candidate.other());
        }
        let place = current.part.subject.place;
        let errors = match place {
            Place::Checking => Verdict::inconclusive("errors", "the candidate has no live readers yet"),
            Place::Shifting | Place::Watching => {
                judge_errors(candidate_counts, active_counts, &error_rule(spec, current.part))
            }
        };
        let board = self.replays.board(current.part.subject);
        let live_reads = candidate_counts.reads + active_counts.reads;
        let results = judge_board(board, &result_rule(spec, current.part), current.began.elapsed(), live_reads, || {
            sight.node(candidate.other()).is_some_and(|node| node.vectors == 0)
        });
        let data = match place {
            Place::Checking => {
                let follows = |colour: Colour| {
                    sight.node(colour).is_some_and(|node| matches!(node.role, Role::Follower { .. }) && node.ready)
                };
                self.data.judge(&self.http, directory, follows(candidate)).await
            }
            Place::Shifting | Place::Watching => {
                Verdict::inconclusive("data", "the copies are compared while the candidate is checked")
            }
        };
        let (candidate_reads, replays) = (candidate_counts.reads, board.tally.replays);
        Judgement { errors, results, data, candidate_reads, replays }
    }

    /// Keeps the counts while the part stays the same, and during a handover, which judges nothing of its own.
    fn turn_to(&mut self, state: &State, counters: ByColour<TrafficCounts>) {
        let part = match part(state) {
            Some(part) => part,
            None => {
                let same_run =
                    |current: &Current| state.run.as_ref().is_some_and(|run| run.id == current.part.subject.run);
                let keeps = matches!(state.phase, Phase::HandingOver { .. });
                self.current.take_if(|current| !(keeps && same_run(current)));
                return;
            }
        };
        if self.current.as_ref().is_some_and(|current| current.part == part) {
            return;
        }
        let base_of_run = match &self.current {
            Some(before) if before.part.subject.run == part.subject.run && before.part.share_percent > 0 => {
                before.base_of_run
            }
            _ => counters,
        };
        self.current = Some(Current { part, began: Instant::now(), base: counters, base_of_run });
        if part.subject.place == Place::Checking {
            self.data.reset();
        }
    }
}

fn part(state: &State) -> Option<Part> {
    let (place, share_percent, step) = match state.phase.unpaused() {
        Phase::Checking { .. } => (Place::Checking, 0, 0),
        Phase::Shifting { step, share_percent, .. } => (Place::Shifting, *share_percent, *step),
        Phase::Watching { .. } => (Place::Watching, 100, 0),
        _ => return None,
    };
    let run = state.run.as_ref()?.id;
    Some(Part { subject: Subject { run, place }, share_percent, step })
}

/// The router's counters; where it does not count, the nodes' own.
fn counters(sight: &Sight) -> ByColour<TrafficCounts> {
    sight.traffic.unwrap_or_else(|| {
        ByColour::from_fn(|colour| {
            let counters = sight.node(colour).map(|node| node.counters).unwrap_or_default();
            TrafficCounts { reads: counters.reads, read_errors: counters.read_errors }
        })
    })
}

/// What was counted since `base`; counters that are lower than before began anew.
fn difference(base: TrafficCounts, now: TrafficCounts) -> Counts {
    if now.reads < base.reads || now.read_errors < base.read_errors {
        return Counts { reads: now.reads, errors: now.read_errors };
    }
    Counts { reads: now.reads - base.reads, errors: now.read_errors - base.read_errors }
}

fn error_rule(spec: &Spec, part: Part) -> ErrorRule {
    let steps = &spec.rollout.steps;
    let reads_min = match part.subject.place {
        Place::Shifting => steps.get(part.step).or(steps.last()).map_or(0, |step| step.requests_min),
        Place::Checking | Place::Watching => 1,
    };
    let evidence = &spec.evidence;
    ErrorRule {
        ratio_max: evidence.error_ratio_max,
        rate_margin: evidence.error_rate_margin,
        errors_min: evidence.errors_min,
        reads_min,
    }
}

fn result_rule(spec: &Spec, part: Part) -> ResultRule {
    let evidence = &spec.evidence;
    ResultRule {
        bad_rate_max: evidence.bad_results_rate_max,
        bad_min: evidence.bad_results_min,
        replays_min: evidence.replays_min,
        errors: error_rule(spec, part),
    }
}

/// Replayed searches, or the reason why there are none to replay. Nothing to compare is a pass only when that is certain:
/// there are no vectors, or nobody searched.
fn judge_board(
    board: Board,
    rule: &ResultRule,
    waited: Duration,
    live_reads: u64,
    no_vectors: impl Fn() -> bool,
) -> Verdict {
    if board.tally.replays > 0 || rule.replays_min == 0 {
        return judge_results(board.tally, rule);
    }
    let inconclusive = |why: &str| Verdict::inconclusive("results", why);
    match board.sample {
        None => inconclusive("no sample of recent searches could be fetched yet"),
        Some(0) if no_vectors() => Verdict::pass("results", "there are no vectors, so there are no results to compare"),
        Some(0) if live_reads == 0 && waited >= NO_READS_AFTER => {
            Verdict::pass("results", "no reads to compare yet: nobody has searched")
        }
        Some(0) if waited >= NO_SEARCHES_AFTER => {
            Verdict::pass("results", "no searches to compare: the reads are of other kinds")
        }
        Some(0) => inconclusive("nobody has searched yet, so there is nothing to replay"),
        Some(_) => judge_results(board.tally, rule),
    }
}

fn nothing_judged() -> Judgement {
    let nothing = |signal| Verdict::inconclusive(signal, "nothing is compared in this phase");
    Judgement {
        errors: nothing("errors"),
        results: nothing("results"),
        data: nothing("data"),
        candidate_reads: 0,
        replays: 0,
    }
}

#[cfg(test)]
mod tests;
