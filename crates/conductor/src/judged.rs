//! One rollout under judgement: counters of the router and of the replays become stretches, and these become evidence.
//!
//! What speaks against the candidate is kept from its first read to the end of its watch. After a restart it is gathered
//! anew, which only means that a step takes its reads again.

use crate::TrafficCounts;
use crate::replay::{Board, Place, Subject};
use crate::sources::Counted;
use evidence::{
    Assessment, ByThreshold, Counts, Likeness, Measures, Policy, ReplayTally, Side, SourceSignal, Threshold, Verdict,
    group,
};
use serde::{Deserialize, Serialize};
use std::time::Duration;
use tokio::time::Instant;
use wire::latency::bucket_of;
use wire::{ByColour, Colour, Latency};

/// How long slow answers are gathered before they are judged: those of one pause of a process belong together.
const SLOW_STRETCH: Duration = Duration::from_secs(1);
/// Fewer answers than this do not tell what is usual.
const USUAL_MIN: u64 = 100;

/// A part of the rollout with shares of its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Part {
    pub subject: Subject,
    /// Share of reads, percent; distinguishes the steps.
    pub share_percent: u8,
    pub step: usize,
}

/// One value of each side.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Sides<T> {
    pub candidate: T,
    pub active: T,
}

impl<T: Clone> Sides<T> {
    pub(crate) fn of(colours: &ByColour<T>, candidate: Colour) -> Self {
        let active = candidate.other();
        Self { candidate: colours.get(candidate).clone(), active: colours.get(active).clone() }
    }
}

/// What was counted of live reads when it was looked at.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Live {
    pub counts: Sides<TrafficCounts>,
    /// Where they are measured.
    pub latency: Option<Sides<Latency>>,
    /// The router confirms that the shares are those of the part; `None`: that is not known.
    pub confirmed: Option<bool>,
}

pub(crate) struct Judged {
    pub part: Part,
    /// When the part began.
    pub began: Instant,
    assessment: Assessment,
    /// When the assessment was told last that time went by.
    passed: Instant,
    counts: Sides<TrafficCounts>,
    slow: Option<Slow>,
    tally: ReplayTally,
    replayed_slow: Slow,
    sources: Vec<Counted>,
    /// Live reads since the part began.
    pub reads: Sides<u64>,
    /// Replayed reads since the place began, and what their results were like.
    pub replays: u64,
    pub likeness: Likeness,
}

impl Judged {
    /// `sources`: signals of the user's own that are judged by counts.
    pub fn new(
        policy: &Policy,
        latency_limit_ms: Option<f64>,
        sources: &[SourceSignal],
        part: Part,
        live: &Live,
        now: Instant,
    ) -> Self {
        let limit = latency_limit_ms.map(|limit_ms| bucket_of((limit_ms * 1_000.0) as u64));
        let measured = live.latency.is_some();
        let slow = Threshold::ALL.map(|threshold| measured && (threshold.quantile().is_some() || limit.is_some()));
        let mut judged = Self {
            part,
            began: now,
            assessment: Assessment::with_sources(policy, Measures { slow, replays: true }, sources),
            passed: now,
            counts: live.counts,
            slow: live.latency.as_ref().map(|latency| Slow::new(limit, latency, now)),
            tally: ReplayTally::default(),
            replayed_slow: Slow::new(limit, &Sides::default(), now),
            sources: vec![Counted::default(); sources.len()],
            reads: Sides::default(),
            replays: 0,
            likeness: Likeness::default(),
        };
        judged.fix_thresholds(now);
        judged
    }

    /// Another part of the same rollout.
    pub fn turn_to(&mut self, part: Part, live: &Live, now: Instant) {
        if part.subject != self.part.subject {
            (self.tally, self.replays, self.likeness) = (ReplayTally::default(), 0, Likeness::default());
        }
        self.flush(now);
        self.assessment.begin_step();
        (self.part, self.began, self.counts, self.reads) = (part, now, live.counts, Sides::default());
        self.sources.fill(Counted::default());
        if let (Some(slow), Some(latency)) = (&mut self.slow, &live.latency) {
            slow.restart(latency, now);
        }
        self.fix_thresholds(now);
    }

    /// Takes in what was counted until now.
    pub fn observe(&mut self, live: &Live, board: Board, now: Instant) {
        self.observe_live(live, now);
        self.observe_replays(board, now);
        self.assessment.pass((now - self.passed).as_secs_f64());
        self.passed = now;
    }

    fn observe_live(&mut self, live: &Live, now: Instant) {
        if self.part.subject.place == Place::Checking || live.confirmed.is_none() {
            return;
        }
        let candidate = difference(self.counts.candidate, live.counts.candidate);
        let active = difference(self.counts.active, live.counts.active);
        self.counts = live.counts;
        self.reads.candidate += candidate.requests;
        self.reads.active += active.requests;
        // What was counted while the shares changed belongs to neither of them.
        if live.confirmed == Some(false) {
            if let (Some(slow), Some(latency)) = (&mut self.slow, &live.latency) {
                slow.restart(latency, now);
            }
            return;
        }
        self.assessment.observe_errors(candidate, active);
        if self.part.share_percent == 100 {
            self.assessment.observe_errors_alone(candidate);
        }
        if let (Some(slow), Some(latency)) = (&mut self.slow, &live.latency)
            && let Some((candidate, active)) = slow.observe(latency, now)
        {
            self.assessment.observe_slow(candidate, active);
        }
    }

    fn observe_replays(&mut self, board: Board, now: Instant) {
        let new = board.tally.since(&self.tally);
        (self.tally, self.replays, self.likeness) = (board.tally, board.tally.replays, board.likeness);
        let errors = |events| Counts { requests: new.replays, events };
        let compared = Counts { requests: new.compared, events: new.bad };
        self.assessment.observe_replayed_errors(errors(new.candidate_errors), errors(new.active_errors), compared);
        if let Some((candidate, active)) = self.replayed_slow.observe(&board.latency, now) {
            self.assessment.observe_replayed_slow(candidate, active);
        }
        board.recall_lost.iter().for_each(|lost| self.assessment.observe_recall_lost(*lost));
    }

    /// Counters of the user's own signals; `None` where they are not known now.
    pub fn observe_sources(&mut self, counts: Vec<Option<Sides<Counts>>>) {
        for (place, (counted, now)) in self.sources.iter_mut().zip(counts).enumerate() {
            if let Some(Sides { candidate, active }) = counted.since(now) {
                self.assessment.observe_source(place, candidate, active);
            }
        }
    }

    /// What was gathered and not yet judged.
    fn flush(&mut self, now: Instant) {
        if let Some((candidate, active)) = self.slow.as_mut().and_then(|slow| slow.take(now)) {
            self.assessment.observe_slow(candidate, active);
        }
    }

    fn fix_thresholds(&mut self, now: Instant) {
        if let Some(slow) = &mut self.slow {
            slow.fix_thresholds(now);
        }
        self.replayed_slow.fix_thresholds(now);
    }

    pub fn has_failed(&self) -> bool {
        self.assessment.has_failed()
    }

    /// Latencies of live reads since the candidate was first looked at.
    pub fn latency(&self) -> Option<Sides<Latency>> {
        let Slow { first, latest, .. } = self.slow.as_ref()?;
        let (candidate, active) = (latest.candidate.since(&first.candidate), latest.active.since(&first.active));
        Some(Sides { candidate, active })
    }

    pub fn assessment(&self) -> &Assessment {
        &self.assessment
    }

    /// What errors and latencies say. At a share of 100 % only replayed reads have somebody to be compared with.
    pub fn live_verdict(&self, evidence_min: f64) -> Verdict {
        if self.reads == Sides::default() && self.replays == 0 && !self.has_failed() {
            // Whether that is enough is for the step's `requestsMin` to say.
            return Verdict::pass(group::ERRORS, "nobody reads, so there is nothing to compare");
        }
        let compared = self.part.share_percent < 100 || self.replays > 0;
        let mut needed = Vec::new();
        if compared && evidence_min > 0.0 {
            needed.push(group::ERRORS);
            if self.slow.is_some() || self.replays > 0 {
                needed.push(group::LATENCY);
            }
        }
        if self.has_failed() || !needed.is_empty() {
            return self.assessment.verdict(&needed, evidence_min);
        }
        match self.assessment.verdict(&[group::ERRORS], 0.0) {
            verdict if verdict.outcome == evidence::Outcome::Pass => verdict,
            _ => Verdict::pass(group::ERRORS, "nothing speaks against the candidate"),
        }
    }

    /// What the counts of one of the user's own signals say. `compares`: against those of the active environment.
    pub fn source_verdict(&self, name: &str, compares: bool, evidence_min: f64) -> Verdict {
        if !self.has_failed() && compares && self.part.share_percent == 100 {
            return Verdict::pass(name, format!("{name}: nobody is left to compare with"));
        }
        self.assessment.verdict(&[name], evidence_min)
    }

    /// What the results of replayed searches say.
    pub fn results_verdict(&self, evidence_min: f64, replays_min: u64) -> Verdict {
        if self.has_failed() {
            return self.assessment.verdict(&[], evidence_min);
        }
        let verdict = self.assessment.verdict(&[group::RESULTS], evidence_min);
        if self.replays >= replays_min {
            return verdict;
        }
        let why = format!("{} of the {replays_min} replayed searches needed; {}", self.replays, verdict.why);
        Verdict::inconclusive(group::RESULTS, why)
    }
}

/// Reads, and errors among them, since `base`; counters that are lower than before began anew.
fn difference(base: TrafficCounts, now: TrafficCounts) -> Counts {
    if now.reads < base.reads || now.read_errors < base.read_errors {
        return Counts { requests: now.reads, events: now.read_errors };
    }
    Counts { requests: now.reads - base.reads, events: now.read_errors - base.read_errors }
}

/// Answers slower than thresholds that are fixed before they are counted.
struct Slow {
    /// Bucket of each threshold.
    thresholds: ByThreshold<Option<usize>>,
    limit: Option<usize>,
    /// Counters in the very beginning.
    first: Sides<Latency>,
    /// Counters when the stretch began, and as last seen in it.
    base: Sides<Latency>,
    latest: Sides<Latency>,
    since: Instant,
    /// The active environment's when thresholds were fixed last.
    usual_since: Latency,
}

impl Slow {
    fn new(limit: Option<usize>, latency: &Sides<Latency>, now: Instant) -> Self {
        let [first, base, latest] = [(); 3].map(|()| latency.clone());
        Self {
            thresholds: ByThreshold::default(),
            limit,
            first,
            base,
            latest,
            since: now,
            usual_since: Latency::default(),
        }
    }

    /// From what the active environment answered since they were fixed last, if that is enough, or since ever.
    fn fix_thresholds(&mut self, now: Instant) {
        let newer = self.latest.active.since(&self.usual_since);
        let usual = if newer.count() >= USUAL_MIN { newer } else { self.latest.active.clone() };
        if usual.count() < USUAL_MIN {
            return;
        }
        self.thresholds = Threshold::ALL.map(|threshold| match threshold.quantile() {
            Some(quantile) => usual.bucket_at(quantile),
            None => self.limit,
        });
        self.usual_since = self.latest.active.clone();
        let latest = self.latest.clone();
        self.restart(&latest, now);
    }

    fn restart(&mut self, latency: &Sides<Latency>, now: Instant) {
        (self.base, self.latest, self.since) = (latency.clone(), latency.clone(), now);
    }

    /// A stretch that is long enough.
    fn observe(&mut self, latency: &Sides<Latency>, now: Instant) -> Option<(Side, Side)> {
        let began_anew = |side: fn(&Sides<Latency>) -> &Latency| side(latency).count() < side(&self.latest).count();
        if began_anew(|sides| &sides.candidate) || began_anew(|sides| &sides.active) {
            (self.usual_since, self.first) = (Latency::default(), Sides::default());
            self.restart(latency, now);
            return None;
        }
        self.latest = latency.clone();
        if self.thresholds == ByThreshold::default() {
            self.fix_thresholds(now);
            return None;
        }
        if now - self.since < SLOW_STRETCH { None } else { self.take(now) }
    }

    /// The stretch until now, however long it is.
    fn take(&mut self, now: Instant) -> Option<(Side, Side)> {
        let side = |base: &Latency, latest: &Latency| {
            let new = latest.since(base);
            let slow = self.thresholds.map(|threshold| threshold.map(|bucket| new.count_above(bucket)));
            Side { requests: new.count(), errors: 0, slow }
        };
        let candidate = side(&self.base.candidate, &self.latest.candidate);
        let active = side(&self.base.active, &self.latest.active);
        (self.base, self.since) = (self.latest.clone(), now);
        (candidate.requests + active.requests > 0).then_some((candidate, active))
    }
}

#[cfg(test)]
mod tests;
