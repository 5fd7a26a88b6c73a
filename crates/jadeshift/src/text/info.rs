//! `jadeshift info`.

use super::report::likeness;
use super::table::{Table, grouped, megabytes};
use super::{phase_name, short_digests, span, time_of_day};
use conductor::{Info, NodeInfo, NodeStatus};
use evidence::e_value;
use rollout::{Confirmation, Outcome};
use wire::admin::{Role, SetAside};
use wire::{Colour, Member};

/// Finished rollouts shown.
const HISTORY_SHOWN: usize = 5;

/// Where a deployment stands, and what it is waiting for.
pub fn info(info: &Info, now_ms: u64) -> String {
    let mut parts = vec![head(info, now_ms), environments(info)];
    parts.extend(confirmation(info, now_ms));
    parts.extend(rollout_under_way(info));
    parts.extend(trouble(info));
    parts.extend(history(info));
    parts.join("\n")
}

fn head(info: &Info, now_ms: u64) -> String {
    let phase = phase_name(&info.phase);
    let since = info.phase.since_ms().map(|since_ms| format!(" for {}", span(now_ms.saturating_sub(since_ms))));
    format!("{}: {phase}{}\n{}\n", info.name, since.unwrap_or_default(), short_digests(&info.why))
}

fn environments(info: &Info) -> String {
    let names = ["", "version", "role", "reads", "answered", "errors", "lsn", "behind", "vectors", "memory"];
    let mut table = Table::with_header(&names).align_right(&[3, 4, 5, 6, 7, 8, 9]);
    let others = |colour| info.followers.get(colour).iter().map(|other| (other.member, &other.node));
    let all = Colour::BOTH.into_iter().flat_map(|colour| {
        let head = Member::new(colour, *info.heads.get(colour));
        std::iter::once((head, info.nodes.get(colour))).chain(others(colour))
    });
    for (member, node) in all {
        let colour = member.colour;
        let is_head = *info.heads.get(colour) == member.number;
        let up = node.status == NodeStatus::Up;
        let shown = |text: String| if up { text } else { "-".into() };
        // What is counted of an environment stands beside its head.
        let traffic = info.traffic.as_ref().filter(|_| is_head).map(|traffic| *traffic.get(colour));
        let counted = |count: Option<u64>| count.map_or("-".into(), grouped);
        let behind = match (node.lag_records, node.lag_ms) {
            (Some(records), Some(ms)) if records > 0 => format!("{} ({})", grouped(records), span(ms)),
            (Some(records), _) => grouped(records),
            (None, _) => "-".into(),
        };
        table.row([
            format!("{member}{}", if info.active == colour && is_head { " (active)" } else { "" }),
            node.version_running.clone().unwrap_or_else(|| "-".into()),
            role(node),
            match is_head {
                true => format!("{} %", info.share_in_effect.as_ref().unwrap_or(&info.share_percent).get(colour)),
                false => "-".into(),
            },
            counted(traffic.map(|counts| counts.reads)),
            counted(traffic.map(|counts| counts.read_errors)),
            shown(grouped(node.lsn)),
            behind,
            shown(grouped(node.vectors)),
            shown(format!("{} MB", megabytes(node.resident_bytes))),
        ]);
    }
    table.render()
}

/// What a node is: `primary, epoch 3`.
pub fn role(node: &NodeInfo) -> String {
    match (node.status, &node.role) {
        (NodeStatus::Stopped, _) => "stopped".into(),
        (NodeStatus::Silent, _) => "silent".into(),
        (NodeStatus::Up, Some(Role::Primary { epoch })) => format!("primary, epoch {epoch}"),
        (NodeStatus::Up, Some(Role::Follower { epoch, .. })) => format!("follower, epoch {epoch}"),
        (NodeStatus::Up, Some(Role::Sealed { epoch, .. })) => format!("sealed, epoch {epoch}"),
        (NodeStatus::Up, Some(Role::Waiting) | None) => "waiting".into(),
    }
}

/// What an acknowledged write can rely on, where that is more than the primary's disk.
fn confirmation(info: &Info, now_ms: u64) -> Option<String> {
    let primary = Member::new(info.primary, *info.heads.get(info.primary));
    let other = info.confirmer.unwrap_or_else(|| info.primary.other().into());
    match info.confirmation {
        Confirmation::Off => None,
        Confirmation::Held => Some(format!("every acknowledged write is on both disks, {primary} and {other}\n")),
        Confirmation::Locking => {
            Some(format!("{primary} is told to acknowledge nothing that {other} has not confirmed\n"))
        }
        Confirmation::Joining { confirmed_lsn, since_ms } => Some(format!(
            "{primary} acknowledges alone for {}: going back without it would lose what came after LSN {confirmed_lsn}\n",
            span(now_ms.saturating_sub(since_ms))
        )),
    }
}

fn rollout_under_way(info: &Info) -> Option<String> {
    let run = info.run.as_ref()?;
    let committed = if run.committed_ms.is_some() { ", handed over" } else { "" };
    let mut table = Table::default();
    table.row([
        format!("rollout {}", run.id),
        format!("{} to {} on {}{committed}", run.from_version, run.to_version, run.candidate),
    ]);
    for verdict in &info.verdicts {
        let outcome = match verdict.outcome {
            evidence::Outcome::Pass => "pass",
            evidence::Outcome::Fail => "fail",
            evidence::Outcome::Inconclusive => "inconclusive",
        };
        table.row([format!("  {}", verdict.signal), format!("{outcome}: {}", verdict.why)]);
    }
    if let Some(evidence) = &info.evidence {
        let (against, needed) = (e_value(evidence.e_value.ln()), e_value(evidence.e_needed.ln()));
        table.row(["  evidence".to_string(), format!("E against it is {against}; at {needed} it goes back")]);
        if let Some(results) = likeness(&evidence.results) {
            table.row(["  replayed".to_string(), results]);
        }
    }
    Some(table.render())
}

fn trouble(info: &Info) -> Option<String> {
    let mut lines = String::new();
    let heads = Colour::BOTH.map(|colour| (Member::new(colour, *info.heads.get(colour)), info.nodes.get(colour)));
    let others = Colour::BOTH.into_iter().flat_map(|colour| info.followers.get(colour));
    for (name, node) in heads.into_iter().chain(others.map(|other| (other.member, &other.node))) {
        // A node that shall not run needs no explanation.
        let explained = node.why.as_ref().filter(|_| node.status == NodeStatus::Silent);
        for why in explained.into_iter().chain(&node.failed) {
            lines.push_str(&format!("{name}: {why}\n"));
        }
    }
    for (colour, node) in info.nodes.iter() {
        lines.extend(node.set_aside.iter().map(|aside| set_aside(colour, aside)));
    }
    if let Some(error) = &info.last_error {
        lines.push_str(&format!("being tried again: {error}\n"));
    }
    if let Some(why) = &info.stopped {
        lines.push_str(&format!("the engine has stopped: {why}\n"));
    }
    (!lines.is_empty()).then_some(lines)
}

/// Records that only this environment had.
pub(super) fn set_aside(colour: Colour, aside: &SetAside) -> String {
    let SetAside { path, records, first_lsn, last_lsn, first_lsn_in_log } = aside;
    let (records, first, last) = (grouped(*records), grouped(*first_lsn), grouped(*last_lsn));
    let incomplete = match first_lsn_in_log > first_lsn {
        true => format!(" (before lsn {} only what was not overwritten)", grouped(*first_lsn_in_log)),
        false => String::new(),
    };
    format!(
        "{colour}: {records} records that it alone had, lsn {first} to {last}, are set aside in {path}{incomplete}; remove \
         their folder once they are dealt with\n"
    )
}

fn history(info: &Info) -> Option<String> {
    if info.history.is_empty() {
        return None;
    }
    let mut table = Table::with_header(&["ended (UTC)", "version", "on", "outcome", "took", "reason"]);
    for record in info.history.iter().rev().take(HISTORY_SHOWN) {
        let outcome = match record.outcome {
            Outcome::Promoted => "promoted",
            Outcome::RolledBack => "rolled back",
        };
        table.row([
            time_of_day(record.ended_ms),
            record.run.to_version.clone(),
            record.run.candidate.to_string(),
            outcome.into(),
            span(record.ended_ms.saturating_sub(record.run.started_ms)),
            record.reason.clone(),
        ]);
    }
    Some(table.render())
}
