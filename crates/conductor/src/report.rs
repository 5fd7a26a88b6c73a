//! What happened in a rollout, as it is told afterwards: a value that grows while the rollout is under way. Bounded: when
//! there are too many moments, every second one is dropped, and from then on they are taken half as often.

use crate::info::{Event, EvidenceInfo, Info};
use crate::judged::Sides;
use rollout::{Phase, Record, Run, State};
use serde::{Deserialize, Serialize};
use std::sync::Arc;
use tokio::sync::watch;
use wire::Latency;

/// At two a second they are enough for ten minutes, at one every four seconds for an hour and a half.
const MOMENTS_MAX: usize = 1_200;
const INTERVAL_FIRST_MS: u64 = 500;
const EVENTS_MAX: usize = 500;

/// One rollout, as far as it has come.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Report {
    pub run: Run,
    /// How it ended; `None`: it is under way.
    pub record: Option<Record>,
    /// Oldest first.
    pub events: Vec<Event>,
    /// Oldest first.
    pub moments: Vec<Moment>,
    /// The numbers behind the last verdicts.
    pub evidence: Option<EvidenceInfo>,
    /// Of reads since the candidate was first looked at, where they are measured.
    pub latency: Option<Sides<Latency>>,
}

/// Where a rollout stood at one time. Counters are those of the router, or of the nodes.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Moment {
    /// Since 1970.
    pub at_ms: u64,
    pub phase: String,
    /// The candidate's share of the reads, percent.
    pub share_percent: u8,
    /// E against the candidate; `None` while nothing is judged.
    pub e_value: Option<f64>,
    pub reads: Sides<u64>,
    pub read_errors: Sides<u64>,
}

/// What the judge knows: also in the moment in which it decided, and the rollout goes on to something that judges nothing.
#[derive(Default)]
pub(crate) struct Gathered {
    pub evidence: Option<EvidenceInfo>,
    pub latency: Option<Sides<Latency>>,
}

/// Writes the report of the rollout under way; the last one stays until the next begins.
pub(crate) struct Reporter {
    report: watch::Sender<Option<Arc<Report>>>,
    interval_ms: u64,
    /// Number of the last event that was told, or that came before the rollout.
    event: u64,
}

impl Reporter {
    pub fn new() -> Self {
        Self { report: watch::Sender::new(None), interval_ms: INTERVAL_FIRST_MS, event: 0 }
    }

    pub fn subscribe(&self) -> watch::Receiver<Option<Arc<Report>>> {
        self.report.subscribe()
    }

    /// Takes in where everything stands.
    pub fn note(&mut self, state: &State, info: &Info, gathered: impl Fn() -> Gathered, now_ms: u64) {
        match &state.run {
            Some(run) => self.go_on(run, info, gathered, now_ms),
            None => self.finish(state, info),
        }
        // Those of a look that is not told yet are told with the next one.
        if state.run.is_none() {
            self.event = last_event(info);
        }
    }

    fn go_on(&mut self, run: &Run, info: &Info, gathered: impl Fn() -> Gathered, now_ms: u64) {
        let phase = phase_name(&info.phase);
        let current = self.report.borrow().clone();
        // A version that was promoted and is taken back later has the same number.
        let same = |report: &&Arc<Report>| report.run.id == run.id && report.record.is_none();
        let mut report = match current.as_ref().filter(same) {
            Some(report) => {
                let due = report.moments.last().is_none_or(|last| {
                    last.phase != phase || now_ms.saturating_sub(last.at_ms) >= self.interval_ms || now_ms < last.at_ms
                });
                if !due {
                    return;
                }
                report.as_ref().clone()
            }
            None => {
                self.interval_ms = INTERVAL_FIRST_MS;
                let (events, moments) = (Vec::new(), Vec::new());
                Report { run: run.clone(), record: None, events, moments, evidence: None, latency: None }
            }
        };
        report.run = run.clone();
        let Gathered { evidence, latency } = gathered();
        report.moments.push(moment(run, info, evidence.as_ref(), phase, now_ms));
        if report.moments.len() > MOMENTS_MAX {
            let mut position = 0;
            report.moments.retain(|_| {
                position += 1;
                position % 2 == 1
            });
            self.interval_ms *= 2;
        }
        report.add_events(info, self.event);
        self.event = last_event(info);
        report.evidence = evidence.or(report.evidence);
        report.latency = latency.or(report.latency);
        self.report.send_replace(Some(Arc::new(report)));
    }

    fn finish(&mut self, state: &State, info: &Info) {
        let unfinished = self.report.borrow().clone().filter(|report| report.record.is_none());
        let Some(report) = unfinished else { return };
        let record = state.history.iter().rev().find(|record| record.run.id == report.run.id);
        let Some(record) = record else { return };
        let mut report = report.as_ref().clone();
        report.add_events(info, self.event);
        report.record = Some(record.clone());
        self.report.send_replace(Some(Arc::new(report)));
    }
}

impl Report {
    fn add_events(&mut self, info: &Info, after: u64) {
        self.events.extend(info.events.iter().filter(|event| event.number > after).cloned());
        let too_many = self.events.len().saturating_sub(EVENTS_MAX);
        self.events.drain(..too_many);
    }
}

fn last_event(info: &Info) -> u64 {
    info.events.last().map_or(0, |event| event.number)
}

fn moment(run: &Run, info: &Info, evidence: Option<&EvidenceInfo>, phase: String, now_ms: u64) -> Moment {
    let (candidate, active) = (run.candidate, run.candidate.other());
    let traffic = info.traffic.unwrap_or_default();
    let (of_candidate, of_active) = (traffic.get(candidate), traffic.get(active));
    Moment {
        at_ms: now_ms,
        phase,
        share_percent: *info.share_percent.get(candidate),
        e_value: evidence.map(|evidence| evidence.e_value),
        reads: Sides { candidate: of_candidate.reads, active: of_active.reads },
        read_errors: Sides { candidate: of_candidate.read_errors, active: of_active.read_errors },
    }
}

/// With its share, where it has one.
fn phase_name(phase: &Phase) -> String {
    match phase {
        Phase::Shifting { share_percent, .. } => format!("{} {share_percent} %", phase.name()),
        phase => phase.name().into(),
    }
}
