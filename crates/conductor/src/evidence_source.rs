//! Turns counters into verdicts: of live reads by the router or the nodes, of replayed ones by their task.

use crate::data_check::DataCheck;
use crate::info::EvidenceInfo;
use crate::judged::{Judged, Live, Part, Sides};
use crate::observe::Sight;
use crate::policy::{policy, result_rules};
use crate::replay::{Place, Plan, ReplayDesk, Subject};
use crate::sources::{Environment, Question, SourceDesk};
use crate::verify::Directory;
use client::Http;
use clock::Clock;
use evidence::Verdict;
use rollout::{Judgement, Phase, State, World};
use std::time::Duration;
use tokio::time::Instant;
use wire::admin::Role;
use wire::document::{BlueGreen, Evidence, Source, SourceRule, Spec};
use wire::{Colour, Latency};

/// After this time without a single live read, nobody reads yet, and there is nothing to compare.
const NO_READS_AFTER: Duration = Duration::from_secs(5);
/// After this time without a sampled search, the live reads are not searches.
const NO_SEARCHES_AFTER: Duration = Duration::from_secs(30);

pub(crate) struct EvidenceSource {
    http: Http,
    judged: Option<Judged>,
    replays: ReplayDesk,
    sources: SourceDesk,
    data: DataCheck,
}

impl EvidenceSource {
    pub fn new(http: Http, sources: &[Source], clock: &Clock) -> Self {
        let (replays, sources) = (ReplayDesk::start(http.clone()), SourceDesk::start(sources, clock));
        Self { replays, sources, http, judged: None, data: DataCheck::default() }
    }

    /// Tells those who gather evidence what it is about.
    pub fn set_subject(&self, document: &BlueGreen, state: &State, world: &World, sight: &Sight) {
        let judged = if world.replay_reads { part(state) } else { None };
        self.set_replays(&document.spec, state, world, sight, judged);
        self.sources.set(judged.map(|part| {
            let environment = |colour: Colour| Environment {
                colour,
                version: state.versions.get(colour).clone().unwrap_or_default(),
                http: sight.target(colour).map(|target| target.peer.http.clone()),
            };
            let candidate = state.candidate();
            Question {
                deployment: document.metadata.name.clone(),
                run: part.subject.run,
                phase: state.phase.unpaused().name(),
                share_percent: part.share_percent,
                candidate: environment(candidate),
                active: environment(candidate.other()),
            }
        }));
    }

    fn set_replays(&self, spec: &Spec, state: &State, world: &World, sight: &Sight, judged: Option<Part>) {
        let candidate = state.candidate();
        let targets = (sight.target(candidate).cloned(), sight.target(candidate.other()).cloned());
        let plan = match (judged, targets) {
            (Some(part), (Some(candidate_target), Some(active))) => Some(Plan {
                subject: part.subject,
                candidate: candidate_target,
                active,
                candidate_serves: *world.reads.get(candidate) > 50,
                per_second: spec.evidence.replays_per_second,
                rules: result_rules(&spec.evidence),
            }),
            _ => None,
        };
        self.replays.set(plan);
    }

    /// What the evidence says now about the phase of `state`.
    pub async fn judge(&mut self, spec: &Spec, state: &State, sight: &Sight, directory: &Directory) -> Judgement {
        let candidate = state.candidate();
        let live = live(state, sight, candidate);
        self.turn_to(spec, state, &live);
        let Some(judged) = &mut self.judged else { return nothing_judged() };
        let Some(part) = part(state) else { return nothing_judged() };
        let place = part.subject.place;
        let board = self.replays.take(part.subject);
        let sample = board.sample;
        judged.observe(&live, board, Instant::now());
        if place != Place::Checking {
            judged.observe_sources(self.sources.counts());
        }
        let evidence_min = evidence_min(spec, part);
        let verdict = match place {
            Place::Checking => Verdict::inconclusive("errors", "the candidate has no live readers yet"),
            Place::Shifting | Place::Watching => judged.live_verdict(evidence_min),
        };
        let no_vectors = || sight.node(candidate.other()).is_some_and(|node| node.vectors == 0);
        let results = results(judged, sample, &spec.evidence, evidence_min, judged.began.elapsed(), no_vectors);
        let sources = self.sources.verdicts(place == Place::Checking, |source| {
            let compares = matches!(source.rule(), SourceRule::Ratio { .. });
            judged.source_verdict(&source.name, compares, source.evidence_min.unwrap_or(evidence_min))
        });
        let (reads, replays) = (judged.reads, judged.replays);
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
        Judgement { live: verdict, results, data, sources, candidate_reads: reads.candidate, replays }
    }

    /// The numbers behind the verdicts; `None` when no rollout is judged.
    pub fn info(&self) -> Option<EvidenceInfo> {
        self.judged.as_ref().map(|judged| EvidenceInfo::of(judged.assessment(), judged.likeness))
    }

    /// Latencies of live reads in the rollout that is judged, where they are measured.
    pub fn latency(&self) -> Option<Sides<Latency>> {
        self.judged.as_ref().and_then(Judged::latency)
    }

    /// Keeps what was gathered as long as the rollout lasts. A handover judges nothing of its own.
    fn turn_to(&mut self, spec: &Spec, state: &State, live: &Live) {
        let Some(part) = part(state) else {
            let same_run = |judged: &Judged| state.run.as_ref().is_some_and(|run| run.id == judged.part.subject.run);
            let keeps = matches!(state.phase, Phase::HandingOver { .. });
            self.judged.take_if(|judged| !(keeps && same_run(judged)));
            return;
        };
        let now = Instant::now();
        match &mut self.judged {
            Some(judged) if judged.part == part => return,
            Some(judged) if judged.part.subject.run == part.subject.run => judged.turn_to(part, live, now),
            other => {
                let limit_ms = spec.evidence.latency_limit_ms;
                let sources = self.sources.signals();
                *other = Some(Judged::new(&policy(&spec.evidence), limit_ms, &sources, part, live, now));
            }
        }
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

/// Counters and latencies as they are now.
fn live(state: &State, sight: &Sight, candidate: Colour) -> Live {
    let counts = sight.live_counts();
    let share_percent = part(state).map_or(0, |part| part.share_percent);
    Live {
        counts: Sides::of(&counts, candidate),
        latency: sight.live_latency().map(|latency| Sides::of(&latency, candidate)),
        confirmed: sight.reads_in_effect.map(|shares| *shares.get(candidate) == share_percent),
    }
}

fn evidence_min(spec: &Spec, part: Part) -> f64 {
    let steps = &spec.rollout.steps;
    let of_step = match part.subject.place {
        Place::Shifting => steps.get(part.step).or(steps.last()).and_then(|step| step.evidence_min),
        Place::Checking | Place::Watching => None,
    };
    of_step.unwrap_or(spec.evidence.evidence_min)
}

/// Replayed searches, or the reason why there are none to replay. Nothing to compare is a pass only when that is certain:
/// there are no vectors, or nobody searched.
fn results(
    judged: &Judged,
    sample: Option<usize>,
    evidence: &Evidence,
    evidence_min: f64,
    waited: Duration,
    no_vectors: impl Fn() -> bool,
) -> Verdict {
    if judged.has_failed() || judged.replays > 0 {
        return judged.results_verdict(evidence_min, evidence.replays_min);
    }
    if evidence.replays_min == 0 {
        return Verdict::pass("results", "no searches were replayed, and none are asked for");
    }
    let reads = judged.reads.candidate + judged.reads.active;
    let inconclusive = |why: &str| Verdict::inconclusive("results", why);
    match sample {
        None => inconclusive("no sample of recent searches could be fetched yet"),
        Some(0) if no_vectors() => Verdict::pass("results", "there are no vectors, so there are no results to compare"),
        Some(0) if reads == 0 && waited >= NO_READS_AFTER => {
            Verdict::pass("results", "no reads to compare yet: nobody has searched")
        }
        Some(0) if waited >= NO_SEARCHES_AFTER => {
            Verdict::pass("results", "no searches to compare: the reads are of other kinds")
        }
        Some(0) => inconclusive("nobody has searched yet, so there is nothing to replay"),
        Some(_) => inconclusive("the first searches are being replayed"),
    }
}

fn nothing_judged() -> Judgement {
    let nothing = |signal| Verdict::inconclusive(signal, "nothing is compared in this phase");
    Judgement {
        live: nothing("errors"),
        results: nothing("results"),
        data: nothing("data"),
        sources: Vec::new(),
        candidate_reads: 0,
        replays: 0,
    }
}

#[cfg(test)]
mod tests;
