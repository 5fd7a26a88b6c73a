//! What is shown of a deployment in the status of its object.

use crate::resource::{Condition, Ended, Status};
use conductor::Info;
use k8s_openapi::jiff::{Timestamp, Unit};
use rollout::Phase;
use wire::ByColour;

/// What a status can hold of what happened is less than what the conductor remembers.
const EVENTS_MAX: usize = 30;
const HISTORY_MAX: usize = 10;

pub(super) fn show(status: &mut Status, generation: i64, info: &Info) {
    status.observed_generation = generation;
    (status.phase, status.reason) = (info.phase.name().into(), info.why.clone());
    (status.active, status.primary, status.epoch) = (Some(info.active), Some(info.primary), info.primary_epoch);
    (status.versions, status.shares) = (info.versions.clone(), info.share_percent);
    status.lsn = ByColour::from_fn(|colour| info.nodes.get(colour).lsn);
    status.lag_records = ByColour::from_fn(|colour| info.nodes.get(colour).lag_records);
    status.info = serde_json::to_string(&shortened(info)).ok();
    status.last = info.history.last().map(|record| Ended {
        run: record.run.id,
        outcome: format!("{:?}", record.outcome),
        version: record.run.to_version.clone(),
        reason: record.reason.clone(),
    });
    let serves = info.nodes.get(info.active).ready;
    let (progresses, trouble) = (info.phase != Phase::Stable, info.last_error.as_ref());
    let ready = match (serves, trouble) {
        (true, _) => (true, "Serving", format!("{} serves", info.active)),
        (false, Some(error)) => (false, "Trouble", error.clone()),
        (false, None) => (false, "NotReady", format!("{} is not ready", info.active)),
    };
    set(status, generation, "Valid", true, "Accepted", "the document is used");
    set(status, generation, "Ready", ready.0, ready.1, &ready.2);
    let (reason, message) = (camel(info.phase.name()), status.reason.clone());
    set(status, generation, "Progressing", progresses, &reason, &message);
}

fn shortened(info: &Info) -> Info {
    let mut info = info.clone();
    info.events.drain(..info.events.len().saturating_sub(EVENTS_MAX));
    info.history.drain(..info.history.len().saturating_sub(HISTORY_MAX));
    info.handovers.drain(..info.handovers.len().saturating_sub(HISTORY_MAX));
    info
}

/// The document cannot be used; what runs goes on by the last one that could.
pub(super) fn invalid(status: &mut Status, generation: i64, why: &str) {
    status.observed_generation = generation;
    set(status, generation, "Valid", false, "Refused", why);
}

fn set(status: &mut Status, generation: i64, kind: &str, is: bool, reason: &str, message: &str) {
    let value = if is { "True" } else { "False" };
    let known = status.conditions.iter().position(|condition| condition.kind == kind);
    let since = known.map(|place| &status.conditions[place]).filter(|condition| condition.status == value);
    let condition = Condition {
        kind: kind.into(),
        status: value.into(),
        reason: reason.into(),
        message: message.into(),
        last_transition_time: since.map_or_else(now, |condition| condition.last_transition_time.clone()),
        observed_generation: generation,
    };
    match known {
        Some(place) => status.conditions[place] = condition,
        None => status.conditions.push(condition),
    }
}

/// To the second, as the API server has it.
fn now() -> String {
    Timestamp::now().round(Unit::Second).unwrap_or_default().to_string()
}

/// `handing over` becomes `HandingOver`.
pub(super) fn camel(words: &str) -> String {
    let capital = |word: &str| {
        let mut letters = word.chars();
        letters.next().map(|first| first.to_uppercase().chain(letters).collect::<String>()).unwrap_or_default()
    };
    words.split([' ', '-', '_']).map(capital).collect()
}
