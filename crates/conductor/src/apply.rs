//! Making nodes what they shall be: the wanted role is compared with the seen one (`rollout::role_call`), and the answer
//! to each call is the next observation.

use crate::journal::{Journal, Trouble};
use crate::observe::{NODE_TIMEOUT, Sight, Target};
use client::{CallError, Http};
use rollout::{RoleCall, RoleCallError, RoleWanted, World, role_call};
use std::time::Duration;
use tokio::time::Instant;
use wire::Colour;
use wire::admin::{AcknowledgeBy, AcknowledgeCall, AcknowledgeMode, Follow, Lsn, Promote, ProveFollow, ResumeCall};

/// Makes every call that is due. True when one changed something, so that the next decision need not look again.
pub(crate) async fn apply_roles(world: &World, sight: &mut Sight, http: &Http, journal: &mut Journal) -> bool {
    let mut changed = false;
    for colour in primary_first(world) {
        let Some(due) = due(world, colour, sight) else {
            journal.forget(Trouble::Role(colour));
            continue;
        };
        let Some(target) = sight.targets.get(colour).clone() else { continue };
        let due = due.map_err(|error| format!("{colour}: {error}"));
        let Some(due) = journal.note(Trouble::Role(colour), due) else { continue };
        let Some(call) = due else { continue };
        let made = make(call, colour, &target, sight, http, journal).await;
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
    let node = sight.node(colour).filter(|_| sight.targets.get(colour).is_some())?;
    let other = sight.node(colour.other()).zip(sight.targets.get(colour.other()).as_ref());
    Some(role_call(wanted, node, other.map(|(state, target)| (state, &target.peer))))
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
    sight: &mut Sight,
    http: &Http,
    journal: &mut Journal,
) -> Result<(), CallError> {
    let admin = target.admin(http, NODE_TIMEOUT);
    match call {
        RoleCall::Seal { epoch } => {
            journal.seal_sent(epoch);
            let sealed = admin.seal(epoch).await?;
            sight.saw_sealed(colour, &sealed);
        }
        RoleCall::Resume { epoch } => {
            let call = ResumeCall { epoch, instance: instance(colour, sight) };
            sight.saw(colour, admin.resume(&call).await?);
        }
        RoleCall::Acknowledge { epoch, mode, number } => {
            let call = AcknowledgeCall { epoch, by: acknowledge_by(mode, number, colour, sight) };
            sight.saw(colour, admin.acknowledge(&call).await?);
        }
        RoleCall::Promote { epoch, lsn, acknowledge, number } => {
            let (by, instance) = (acknowledge_by(acknowledge, number, colour, sight), instance(colour, sight));
            let call = Promote { epoch, lsn, acknowledge: by, instance };
            let state = admin.promote(&call).await?;
            journal.promoted(colour, epoch);
            sight.saw(colour, state);
        }
        RoleCall::Follow { epoch } => {
            let Some(primary) = sight.targets.get(colour.other()).as_ref().map(|target| target.peer.clone()) else {
                return Ok(());
            };
            let state = admin.follow(&Follow { epoch, primary }).await?;
            journal.turned_around(epoch);
            sight.saw(colour, state);
        }
    }
    Ok(())
}

/// The process that was seen: one that is started later is not meant.
fn instance(colour: Colour, sight: &Sight) -> String {
    sight.node(colour).map(|node| node.instance.clone()).unwrap_or_default()
}

/// The word of the other environment counts; while that does not answer, of whom it was that answered before.
fn acknowledge_by(mode: AcknowledgeMode, number: u64, colour: Colour, sight: &Sight) -> AcknowledgeBy {
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
    let (Some(target), Some(other)) = (sight.targets.get(colour), sight.targets.get(colour.other())) else {
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
