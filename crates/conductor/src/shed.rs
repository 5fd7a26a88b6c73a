//! Requests move when clients ask elsewhere, not when new ones would: clients keep their connections. Where these end at the
//! nodes, a node that shall not be asked any more is told to shed them; one that does not answer has its process ended, since its
//! clients would wait for it.

use crate::Platform;
use crate::journal::{Journal, Trouble};
use crate::observe::{NODE_TIMEOUT_HURRIED, Sight};
use client::Http;
use rollout::{RoleWanted, World};
use wire::Member;

/// How long a node may not have answered before its process is ended.
const SILENT_MS: u64 = 2_000;

/// Tells each node whether to keep its clients. True when a node was told something new.
pub(crate) async fn shed<P: Platform>(
    platform: &P,
    world: &World,
    sight: &mut Sight,
    http: &Http,
    journal: &mut Journal,
) -> bool {
    if !platform.clients_reach_nodes() {
        return false;
    }
    let mut told = false;
    for member in sight.all().collect::<Vec<_>>() {
        let Some(target) = sight.target_of(member).cloned() else { continue };
        match sheds(world, sight, member) {
            Due::Nothing => journal.forget(Trouble::Shed(member)),
            Due::Tell(shed) => {
                let answer = target.admin(http, NODE_TIMEOUT_HURRIED).shed(shed).await;
                let answer = answer.map_err(|error| format!("{member} did not send its clients elsewhere: {error}"));
                if let Some(state) = journal.note(Trouble::Shed(member), answer) {
                    sight.saw(member, state);
                    told = true;
                }
            }
            Due::End => {
                let ended = platform.end_process(member).await;
                journal.note(Trouble::Shed(member), ended);
            }
        }
    }
    told
}

#[derive(Debug, PartialEq)]
enum Due {
    Nothing,
    Tell(bool),
    End,
}

fn sheds(world: &World, sight: &Sight, member: Member) -> Due {
    let Some(seen) = sight.seen(member) else { return Due::Nothing };
    let asked = *world.reads.get(member.colour) > 0;
    // Before the router leads elsewhere, clients would only come back.
    let elsewhere = sight.reads_in_effect.is_some_and(|reads| *reads.get(member.colour) == 0);
    match seen.state() {
        Some(state) if asked && state.sheds => Due::Tell(false),
        Some(state) if !asked && elsewhere && !state.sheds => Due::Tell(true),
        // One that was never heard has no clients, and one that may write is a matter of the handover.
        None if !asked && elsewhere && follows(world, member) && seen.was_heard() && seen.silent_ms() >= SILENT_MS => {
            Due::End
        }
        _ => Due::Nothing,
    }
}

fn follows(world: &World, member: Member) -> bool {
    let role = &world.environments.get(member.colour).role;
    world.writes != member.colour && matches!(role, None | Some(RoleWanted::Follower { .. }))
}
