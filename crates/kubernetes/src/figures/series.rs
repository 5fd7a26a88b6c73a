//! What is measured of a deployment: names without `jadeshift_`, and where each value comes from.

use conductor::{Info, NodeInfo, NodeStatus};
use rollout::{Confirmation, Outcome, Phase};
use std::collections::BTreeSet;
use wire::Colour;
use wire::admin::Role;

/// Name, help, kind, value.
type PerDeployment = (&'static str, &'static str, &'static str, fn(&Info) -> Option<f64>);
/// Name, help, value of a gauge.
type PerColour = (&'static str, &'static str, fn(&Info, Colour) -> Option<f64>);
/// Name, help, values of a gauge, each with the labels that tell it from the others.
type PerLabel = (&'static str, &'static str, fn(&Info, &mut Found<'_>));
/// Takes one value with its labels.
type Found<'a> = dyn FnMut(&[(&str, &str)], f64) + 'a;

pub(super) const PER_DEPLOYMENT: [PerDeployment; 12] = [
    ("epoch", "Number of the reign.", "gauge", |info| Some(info.primary_epoch as f64)),
    ("rollout_under_way", "Whether a rollout is under way.", "gauge", |info| Some(flag(info.run.is_some()))),
    ("paused", "Whether a rollout waits for a person.", "gauge", |info| {
        Some(flag(matches!(info.phase, Phase::Paused { .. })))
    }),
    ("filling", "Whether an environment is being brought up and filled, so that it may lag.", "gauge", |info| {
        let unpaused = info.phase.unpaused();
        Some(flag(matches!(unpaused, Phase::Starting { .. } | Phase::Preparing { .. } | Phase::Seeding { .. })))
    }),
    ("trouble", "Whether something went wrong and is being tried again.", "gauge", |info| {
        Some(flag(info.last_error.is_some()))
    }),
    ("confirmation_wanted", "Whether acknowledged writes are to be on two disks.", "gauge", |info| {
        Some(flag(info.confirmation != Confirmation::Off))
    }),
    ("confirmed", "Whether every acknowledged write is on two disks.", "gauge", |info| {
        Some(flag(info.confirmation == Confirmation::Held))
    }),
    ("way_back", "Whether the environment that served before follows the one that serves now.", "gauge", way_back),
    ("last_handover_seconds", "Time from the seal of the last handover to the promotion.", "gauge", |info| {
        info.handovers.last().map(|last| last.seal_to_promote_ms / 1_000.0)
    }),
    ("events_total", "What happened, as `jadeshift info` tells it.", "counter", |info| {
        Some(info.events.last().map_or(0.0, |event| event.number as f64))
    }),
    ("evidence", "How many times as likely what was seen is if the candidate is worse.", "gauge", |info| {
        info.evidence.as_ref().map(|evidence| evidence.e_value)
    }),
    ("evidence_needed", "At which the candidate fails.", "gauge", |info| {
        info.evidence.as_ref().map(|evidence| evidence.e_needed)
    }),
];

pub(super) const PER_COLOUR: [PerColour; 11] = [
    ("share_percent", "Share of the reads that the environment shall have.", |info, colour| {
        Some(f64::from(*info.share_percent.get(colour)))
    }),
    ("share_in_effect_percent", "Share of the reads that the router confirms.", |info, colour| {
        info.share_in_effect.as_ref().map(|share| f64::from(*share.get(colour)))
    }),
    ("active", "Whether the environment serves production.", |info, colour| Some(flag(info.active == colour))),
    ("candidate", "Whether the environment is being brought in.", |info, colour| {
        Some(flag(info.run.as_ref().is_some_and(|run| run.candidate == colour)))
    }),
    ("primary", "Whether the environment may admit writes.", |info, colour| {
        let primary = matches!(info.nodes.get(colour).role, Some(Role::Primary { .. }));
        Some(flag(primary && info.primary == colour))
    }),
    ("wanted", "Whether the environment shall run.", |info, colour| Some(flag(info.versions.get(colour).is_some()))),
    ("ready", "Whether the head of the environment accepts requests.", |info, colour| {
        Some(flag(info.nodes.get(colour).ready))
    }),
    ("lsn", "Position of the environment's head in the one history.", |info, colour| {
        Some(info.nodes.get(colour).lsn as f64)
    }),
    ("lag_records", "Records behind the primary.", |info, colour| of_node(info, colour, |node| node.lag_records)),
    ("lag_seconds", "Time behind the primary.", |info, colour| {
        of_node(info, colour, |node| node.lag_ms).map(|ms| ms / 1_000.0)
    }),
    ("held_writes", "Writes that wait at a seal.", |info, colour| of_node(info, colour, |node| Some(node.held_writes))),
];

pub(super) const PER_LABEL: [PerLabel; 6] = [
    ("phase", "1 for the phase that the deployment is in.", |info, found| found(&[("phase", &phase(info))], 1.0)),
    ("phase_start_timestamp_seconds", "When that phase began; none while nothing is under way.", |info, found| {
        if let Some(since_ms) = info.phase.since_ms() {
            found(&[("phase", &phase(info))], since_ms as f64 / 1_000.0);
        }
    }),
    ("version_info", "1 for the version that the environment shall run.", |info, found| {
        for colour in Colour::BOTH {
            if let Some(version) = info.versions.get(colour) {
                found(&[("colour", colour.as_str()), ("version", version)], 1.0);
            }
        }
    }),
    ("verdict", "1 for what a signal says of the candidate in this phase.", |info, found| {
        let verdicts = info.verdicts.iter().map(|verdict| (verdict.signal.as_str(), outcome_of(verdict.outcome)));
        // Two of one name would make the whole text unreadable.
        for (signal, outcome) in verdicts.collect::<BTreeSet<_>>() {
            found(&[("signal", signal), ("outcome", outcome)], 1.0);
        }
    }),
    ("rollouts_remembered", "Finished rollouts that are remembered, by their outcome.", |info, found| {
        for outcome in [Outcome::Promoted, Outcome::RolledBack] {
            let count = info.history.iter().filter(|record| record.outcome == outcome).count();
            found(&[("outcome", ended(outcome))], count as f64);
        }
    }),
    ("last_rollout_end_timestamp_seconds", "When the last rollout ended, by its outcome.", |info, found| {
        if let Some(last) = info.history.last() {
            found(&[("outcome", ended(last.outcome))], last.ended_ms as f64 / 1_000.0);
        }
    }),
];

/// `None` where there is nothing to go back to.
fn way_back(info: &Info) -> Option<f64> {
    let other = info.active.other();
    let switched = match info.phase.unpaused() {
        Phase::Watching { .. } => true,
        Phase::Stable => info.history.last().is_some_and(|last| {
            let warm = info.versions.get(other).as_deref() == Some(last.run.from_version.as_str());
            last.outcome == Outcome::Promoted && last.run.candidate == info.active && warm
        }),
        _ => false,
    };
    let node = info.nodes.get(other);
    let follows = node.status == NodeStatus::Up && matches!(node.role, Some(Role::Follower { .. }));
    switched.then(|| flag(follows && node.failed.is_none()))
}

fn phase(info: &Info) -> String {
    info.phase.name().replace(' ', "_")
}

fn ended(outcome: Outcome) -> &'static str {
    match outcome {
        Outcome::Promoted => "promoted",
        Outcome::RolledBack => "rolled_back",
    }
}

fn outcome_of(outcome: evidence::Outcome) -> &'static str {
    match outcome {
        evidence::Outcome::Pass => "pass",
        evidence::Outcome::Fail => "fail",
        evidence::Outcome::Inconclusive => "inconclusive",
    }
}

fn of_node(info: &Info, colour: Colour, value: fn(&NodeInfo) -> Option<u64>) -> Option<f64> {
    value(info.nodes.get(colour)).map(|value| value as f64)
}

fn flag(is: bool) -> f64 {
    f64::from(u8::from(is))
}
