//! No rollout is under way.

use super::look::{Look, Next};
use crate::Phase;
use crate::text::{role, span};
use wire::admin::Role;

pub(super) fn starting(look: &Look, since_ms: u64) -> Next {
    let active = look.state.active;
    let version = look.state.version_active();
    let waited = span(look.elapsed_ms(since_ms));
    match look.healthy(active) {
        Ok(node) if matches!(node.role, Role::Primary { .. }) => {
            look.enter(Phase::Stable, format!("{active} is up with version {version} and admits writes"))
        }
        Ok(node) => look.stay(format!("{active} is {}; it shall be the first primary", role(&node.role))),
        Err(why) => look.stay(format!("starting {active} with version {version} ({waited}): {why}")),
    }
}

pub(super) fn stable(look: &Look) -> Next {
    let active = look.state.active;
    let version = look.state.version_active();
    let serving = match look.healthy(active) {
        Ok(node) => match node.role {
            Role::Primary { .. } => format!("{active} serves version {version}"),
            _ => format!("{active} serves reads of version {version}; it is {}, not primary", role(&node.role)),
        },
        Err(why) => format!("{active} should serve version {version}, but {why}"),
    };
    let other = active.other();
    let standing_by = match look.state.versions.get(other) {
        None => format!("{other} does not run"),
        Some(kept) => match look.follows(other) {
            Ok(0) => format!("{other} keeps version {kept} warm and has every record"),
            Ok(lag) => format!("{other} keeps version {kept} warm, {lag} records behind"),
            Err(why) => format!("{other} shall keep version {kept} warm, but {why}"),
        },
    };
    look.stay(format!("{serving}; {standing_by}"))
}
