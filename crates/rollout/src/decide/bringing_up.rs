//! The candidate comes up, receives a snapshot, and follows.

use super::look::{Look, Next};
use crate::text::span;
use crate::{NodeObservation, Phase};
use wire::headers::WIRE_VERSION_MIN;

/// The candidate runs the wanted version and speaks a protocol that is understood.
pub(super) fn preparing(look: &Look, since_ms: u64) -> Next {
    let candidate = look.candidate();
    let version = look.state.versions.get(candidate).clone().unwrap_or_default();
    let waiting = match look.seen.nodes.get(candidate) {
        NodeObservation::Up { version_running, .. } if *version_running != version => {
            format!("{candidate} still runs version {version_running}; version {version} is to come")
        }
        NodeObservation::Up { state, .. } if state.wire_version < WIRE_VERSION_MIN => {
            let spoken = state.wire_version;
            return look.roll_back(format!(
                "{candidate} speaks wire version {spoken}; version {WIRE_VERSION_MIN} is the oldest understood"
            ));
        }
        NodeObservation::Up { .. } => {
            let why = format!("{candidate} answers with version {version}; it receives the records");
            return look.enter(Phase::Seeding { since_ms: look.now_ms }, why);
        }
        NodeObservation::Stopped | NodeObservation::Silent { .. } => {
            let why = look.up(candidate).err().unwrap_or_default();
            format!("{candidate} is to come up with version {version}: {why}")
        }
    };
    wait(look, since_ms, waiting)
}

/// The candidate has all records up to some moment.
pub(super) fn seeding(look: &Look, since_ms: u64) -> Next {
    let candidate = look.candidate();
    match look.follows(candidate) {
        Ok(lag) => {
            let why = format!("{candidate} has a copy of the records and follows, {lag} records behind");
            look.enter(Phase::Following { since_ms: look.now_ms }, why)
        }
        Err(waiting) => wait(look, since_ms, waiting),
    }
}

/// The candidate keeps up.
pub(super) fn following(look: &Look, since_ms: u64) -> Next {
    let candidate = look.candidate();
    let kept_up = look.near(candidate).and_then(|lag| look.companions_follow(candidate).map(|()| lag));
    match kept_up {
        Ok(lag) => {
            let allowed = look.spec.rollout.lag_records_max;
            let why = format!("{candidate} is {lag} records behind, within the {allowed} allowed; it is checked");
            look.enter(Phase::Checking { since_ms: look.now_ms }, why)
        }
        Err(waiting) => wait(look, since_ms, waiting),
    }
}

/// Waits within the document's limit. Only when the active environment does not answer the limit waits too: that is no
/// fault of the candidate.
pub(super) fn wait(look: &Look, since_ms: u64, waiting: String) -> Next {
    if let Err(why) = look.up(look.state.active) {
        return look
            .stay(format!("{waiting}; {why}, and it is the active environment: nothing is decided until it answers"));
    }
    match look.timed_out(since_ms, &waiting) {
        Some(reason) => look.roll_back(reason),
        None => look.stay(format!("{waiting} ({})", span(look.elapsed_ms(since_ms)))),
    }
}
