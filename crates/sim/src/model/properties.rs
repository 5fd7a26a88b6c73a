//! What must hold in every state, and what must be seen in some.

use super::deployment::{Deployment, Wrong};
use super::node::Process;
use super::{Bounds, Handover};
use rollout::{Confirmation, Phase, Stage, World, check};
use stateright::Property;
use wire::Colour;
use wire::document::Acknowledge;

/// The properties, cheap ones first.
pub fn all(bounds: &Bounds) -> Vec<Property<Handover>> {
    let mut all = vec![
        Property::always("at most one node admits writes", |model: &Handover, now: &Deployment| {
            // A seal that reads its LSN too early is to be found by what it does to the writes.
            let reigns = |colour: &&Colour| now.nodes.get(**colour).reigns();
            Colour::BOTH.iter().filter(reigns).filter(|colour| now.nodes.get(**colour).admits(&model.rules)).count() < 2
        }),
        Property::always("an epoch is given once", |_, now: &Deployment| now.wrong != Some(Wrong::EpochGivenTwice)),
        Property::always("an epoch has one writer", |_, now: &Deployment| {
            now.wrong != Some(Wrong::TwoWritersInOneEpoch)
        }),
        Property::always("histories agree", |_, now: &Deployment| histories_agree(now)),
        // Stronger than to ask it only of a primary that admits writes.
        Property::always("the committed primary has every acknowledged write", |_, now: &Deployment| {
            now.lacks(now.stored.primary).is_none()
        }),
        Property::always("held means that both have every acknowledged write", |_, now: &Deployment| {
            !now.held() || now.lacks(now.stored.primary.other()).is_none()
        }),
        Property::always("what is wanted is sound", |_, now: &Deployment| {
            check::violations(&now.stored, &World::of(&now.stored)).is_empty()
        }),
        Property::always("there is a way on", |model: &Handover, now: &Deployment| {
            model.ways.leads_on(&model.spec, &model.rules, now, None)
        }),
        Property::always("there is a way on without a node that is gone", |model: &Handover, now: &Deployment| {
            let down = Colour::BOTH.into_iter().filter(|colour| now.nodes.get(*colour).process == Process::Down);
            down.into_iter().all(|gone| model.ways.leads_on(&model.spec, &model.rules, now, Some(gone)))
        }),
        Property::sometimes("both colours have reigned", |_, now: &Deployment| {
            now.stored.primary == Colour::Blue && now.stored.promoted_at.is_some()
        }),
        Property::sometimes("a handover goes back", |_, now: &Deployment| {
            stage(now).is_some_and(|stage| matches!(stage, Stage::Resuming { .. }))
        }),
    ];
    if bounds.acknowledge != Acknowledge::Primary {
        all.push(Property::sometimes("both confirm", |_, now: &Deployment| {
            now.stored.confirmation == Confirmation::Held && now.stored.primary == Colour::Green
        }));
        all.push(Property::sometimes("a primary that is gone is replaced", |_, now: &Deployment| {
            let promoting = stage(now).is_some_and(|stage| matches!(stage, Stage::Promoting { .. }));
            promoting && matches!(now.stored.phase, Phase::HandingOver { fenced: true, .. })
        }));
    }
    if bounds.accept_loss {
        all.push(Property::sometimes("a person accepts a loss", |_, now: &Deployment| now.forgiven != 0));
    }
    all
}

fn stage(now: &Deployment) -> Option<&Stage> {
    match &now.stored.phase {
        Phase::HandingOver { stage, .. } => Some(stage),
        _ => None,
    }
}

/// Two records of the same epoch at the same place are the same, and so is everything before them.
fn histories_agree(now: &Deployment) -> bool {
    let (blue, green) = (&now.nodes.blue.log, &now.nodes.green.log);
    let common = blue.len().min(green.len());
    let alike = (0..common).rev().find(|place| blue[*place].epoch == green[*place].epoch);
    alike.is_none_or(|place| blue[..=place] == green[..=place])
}
