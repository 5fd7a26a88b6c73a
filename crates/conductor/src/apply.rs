//! Making nodes what they shall be: the wanted role is compared with the seen one (`rollout::role_call`), and the answer
//! to each call is the next observation.

use crate::journal::{Journal, Trouble};
use crate::observe::{NODE_TIMEOUT, NODE_TIMEOUT_HURRIED, Sight, Target};
use client::{CallError, Http};
use rollout::{RoleCall, RoleCallError, RoleWanted, World, follows_head_of, role_call};
use std::time::Duration;
use tokio::time::Instant;
use wire::admin::{
    AcknowledgeBy, AcknowledgeCall, AcknowledgeMode, Epoch, Follow, Lsn, NodeState, Peer, Promote, ProveFollow,
    ResumeCall,
};
use wire::{Colour, Member};

/// Makes every call that is due. True when one changed something, so that the next decision need not look again.
pub(crate) async fn apply_roles(world: &World, sight: &mut Sight, http: &Http, journal: &mut Journal) -> bool {
    let mut changed = false;
    for colour in primary_first(world) {
        let Some(due) = due(world, colour, sight) else {
            journal.forget(Trouble::Role(colour));
            continue;
        };
        let Some(target) = sight.target(colour).cloned() else { continue };
        let due = due.map_err(|error| format!("{colour}: {error}"));
        let Some(due) = journal.note(Trouble::Role(colour), due) else { continue };
        let Some(call) = due else { continue };
        let made = make(call, colour, &target, world, sight, http, journal).await;
        let made = made.map_err(|error| format!("{colour} did not {}: {error}", name(call)));
        changed |= journal.note(Trouble::Role(colour), made).is_some();
    }
    changed
}

/// A call is due that gives a node the right to write. What was seen must be older than the proof that nobody else stored
/// anything: then whatever is decided later comes after the end of the process that was seen, and the call cannot reach
/// another.
pub(crate) fn gives_the_right_to_write(world: &World, sight: &Sight) -> bool {
    let gives = |colour| {
        matches!(due(world, colour, sight), Some(Ok(Some(RoleCall::Promote { .. } | RoleCall::Resume { .. }))))
    };
    Colour::BOTH.into_iter().any(gives)
}

/// `None`: nothing is wanted of `colour`, or it cannot be asked.
fn due(world: &World, colour: Colour, sight: &Sight) -> Option<Result<Option<RoleCall>, RoleCallError>> {
    let wanted = world.environments.get(colour).role.as_ref()?;
    let node = sight.node(colour).filter(|_| sight.target(colour).is_some())?;
    Some(role_call(wanted, node, counterpart(world, wanted, colour, sight)))
}

/// Whom the head of `colour` follows, or whose word it waits for.
fn counterpart<'a>(
    world: &World,
    wanted: &RoleWanted,
    colour: Colour,
    sight: &'a Sight,
) -> Option<(&'a NodeState, &'a Peer)> {
    let member = match (&world.successor, wanted) {
        (Some(successor), RoleWanted::Primary { .. }) => Member::new(colour, successor.number),
        _ => sight.head(colour.other()),
    };
    let seen = sight.seen(member)?;
    let node = seen.state().filter(|node| match (&world.successor, wanted) {
        // Another folder in its place is not the one that is meant.
        (Some(successor), RoleWanted::Primary { .. }) => node.node_id == successor.node_id,
        _ => true,
    })?;
    Some((node, &seen.target.as_ref()?.peer))
}

/// Has the nodes that are not heads follow theirs. True when a call changed something. Nothing that waits for a handover waits
/// for these.
pub(crate) async fn apply_followers(world: &World, sight: &mut Sight, http: &Http, journal: &mut Journal) -> bool {
    let mut changed = false;
    for member in sight.all().filter(|member| !sight.is_head(*member)).collect::<Vec<_>>() {
        let Some((epoch, primary)) = to_follow(world, member, sight) else {
            journal.forget(Trouble::Follower(member));
            continue;
        };
        let Some(target) = sight.target_of(member).cloned() else { continue };
        let told = target.admin(http, NODE_TIMEOUT_HURRIED).follow(&Follow { epoch, primary }).await;
        let told = told.map_err(|error| format!("{member} did not follow in epoch {epoch}: {error}"));
        if let Some(state) = journal.note(Trouble::Follower(member), told) {
            sight.saw(member, state);
            changed = true;
        }
    }
    changed
}

fn to_follow(world: &World, member: Member, sight: &Sight) -> Option<(Epoch, Peer)> {
    let reign = |colour: Colour| match world.environments.get(colour).role {
        Some(RoleWanted::Primary { epoch, .. } | RoleWanted::Follower { epoch }) => Some(epoch),
        Some(RoleWanted::Sealed { .. }) | None => None,
    };
    let epoch = reign(member.colour)?;
    let (node, head) = (sight.seen(member)?.state()?, sight.node(member.colour)?);
    let peer = &sight.target(member.colour)?.peer;
    follows_head_of(epoch, node, (head, peer)).then(|| (epoch, peer.clone()))
}

/// Whoever shall follow can do so only when the other reigns: asked in this order, both happen in one turn.
fn primary_first(world: &World) -> [Colour; 2] {
    match world.environments.green.role {
        Some(RoleWanted::Primary { .. }) => [Colour::Green, Colour::Blue],
        _ => Colour::BOTH,
    }
}

async fn make(
    call: RoleCall,
    colour: Colour,
    target: &Target,
    world: &World,
    sight: &mut Sight,
    http: &Http,
    journal: &mut Journal,
) -> Result<(), CallError> {
    let head = sight.head(colour);
    let admin = target.admin(http, NODE_TIMEOUT);
    match call {
        RoleCall::Seal { epoch } => {
            journal.seal_sent(epoch);
            let sealed = admin.seal(epoch).await?;
            sight.saw_sealed(colour, &sealed);
        }
        RoleCall::Resume { epoch } => {
            let call = ResumeCall { epoch, instance: instance(colour, sight) };
            sight.saw(head, admin.resume(&call).await?);
        }
        RoleCall::Acknowledge { epoch, mode, number } => {
            let call = AcknowledgeCall { epoch, by: acknowledge_by(mode, number, colour, world, sight) };
            sight.saw(head, admin.acknowledge(&call).await?);
        }
        RoleCall::Promote { epoch, lsn, acknowledge, number } => {
            let (by, instance) = (acknowledge_by(acknowledge, number, colour, world, sight), instance(colour, sight));
            let call = Promote { epoch, lsn, acknowledge: by, instance };
            let state = admin.promote(&call).await?;
            journal.promoted(colour, epoch);
            sight.saw(head, state);
        }
        RoleCall::Follow { epoch } => {
            let Some(primary) = sight.target(colour.other()).map(|target| target.peer.clone()) else {
                return Ok(());
            };
            let state = admin.follow(&Follow { epoch, primary }).await?;
            journal.turned_around(epoch);
            sight.saw(head, state);
        }
    }
    Ok(())
}

/// The process that was seen: one that is started later is not meant.
fn instance(colour: Colour, sight: &Sight) -> String {
    sight.node(colour).map(|node| node.instance.clone()).unwrap_or_default()
}

/// The word of the other environment counts, unless it is another node's; while that does not answer, of whom it was that
/// answered before.
fn acknowledge_by(mode: AcknowledgeMode, number: u64, colour: Colour, world: &World, sight: &Sight) -> AcknowledgeBy {
    if let Some(successor) = &world.successor {
        return AcknowledgeBy { mode, confirmer: successor.node_id.clone(), number };
    }
    let of_before = || Some(sight.node(colour)?.acknowledge.as_ref()?.by.confirmer.clone());
    let other = sight.node(colour.other()).map(|other| other.node_id.clone());
    AcknowledgeBy { mode, confirmer: other.or_else(of_before).unwrap_or_default(), number }
}

fn name(call: RoleCall) -> String {
    match call {
        RoleCall::Seal { epoch } => format!("seal itself for epoch {epoch}"),
        RoleCall::Resume { epoch } => format!("resume in epoch {epoch}"),
        RoleCall::Promote { epoch, lsn, .. } => format!("become primary in epoch {epoch} at LSN {lsn}"),
        RoleCall::Acknowledge { epoch, mode, .. } => format!("acknowledge writes in epoch {epoch} as told ({mode:?})"),
        RoleCall::Follow { epoch } => format!("follow in epoch {epoch}"),
    }
}

/// Asks the old primary to prove that it could follow the new one. True when it just did.
pub(crate) async fn prove_way_back(world: &World, sight: &mut Sight, http: &Http, journal: &mut Journal) -> bool {
    let Some(colour) = world.prove_way_back else {
        sight.way_back = None;
        journal.forget(Trouble::Proof);
        return false;
    };
    if sight.way_back == Some((colour, Ok(()))) {
        return false;
    }
    let (Some(target), Some(other)) = (sight.target(colour), sight.target(colour.other())) else {
        return false;
    };
    let call = ProveFollow { primary: other.peer.clone() };
    let proof = target.admin(http, NODE_TIMEOUT).prove_follow(&call).await;
    let proof = proof.map(|_| ()).map_err(|error| error.to_string());
    let proven = proof.is_ok();
    journal.note(Trouble::Proof, proof.clone().map_err(|why| format!("{colour} could not follow: {why}")));
    sight.way_back = Some((colour, proof));
    proven
}

/// Asks a node for its digest at `lsn`; the node waits until it is there. `None` when it did not answer by `deadline`.
pub(crate) async fn ask_digest(
    target: Option<&Target>,
    http: &Http,
    lsn: Lsn,
    deadline: Instant,
) -> Result<String, String> {
    let target = target.ok_or("the new primary does not run")?;
    let left = deadline.saturating_duration_since(Instant::now()).max(Duration::from_millis(10));
    let digest = target.admin(http, left).digest(lsn).await;
    digest.map(|digest| digest.digest).map_err(|error| format!("no digest at LSN {lsn}: {error}"))
}
