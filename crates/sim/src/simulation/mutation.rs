//! Things broken on purpose, at the borders of the real code: a run must find each of them, or it could find nothing.

use super::network::Port;
use super::world::World;
use client::Request;
use http_body::Body;
use http_body_util::Full;
use rollout::{Phase, State};
use serde_json::{Value, json};
use std::pin::Pin;
use std::task::{Context, Poll, Waker};
use wire::Colour;

/// What is broken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mutation {
    /// Nodes acknowledge what their disks do not have yet: a sync of the log does nothing.
    AcknowledgeBeforeSync,
    /// Nodes forget their roles: changes of them are not durable.
    RoleIsForgotten,
    /// Nodes obey calls that are over: as if each were of this epoch, meant for this process and for where it stands.
    StaleCallsAreObeyed,
    /// The coordinator goes on as if the commit were stored, and what follows it up to the watch.
    CommitIsNotStored,
    /// The old primary is said to be sealed, and is not told.
    SealIsSkipped,
    /// The new primary is promoted wherever it stands.
    PromotedBeforeCaughtUp,
}

impl Mutation {
    pub const ALL: [Mutation; 6] = [
        Mutation::AcknowledgeBeforeSync,
        Mutation::RoleIsForgotten,
        Mutation::StaleCallsAreObeyed,
        Mutation::CommitIsNotStored,
        Mutation::SealIsSkipped,
        Mutation::PromotedBeforeCaughtUp,
    ];

    pub fn name(self) -> &'static str {
        match self {
            Mutation::AcknowledgeBeforeSync => "acknowledge-before-sync",
            Mutation::RoleIsForgotten => "role-is-forgotten",
            Mutation::StaleCallsAreObeyed => "stale-calls-are-obeyed",
            Mutation::CommitIsNotStored => "commit-is-not-stored",
            Mutation::SealIsSkipped => "seal-is-skipped",
            Mutation::PromotedBeforeCaughtUp => "promoted-before-caught-up",
        }
    }
}

impl std::str::FromStr for Mutation {
    type Err = String;

    fn from_str(name: &str) -> Result<Mutation, String> {
        let names = || Mutation::ALL.map(Mutation::name).join(", ");
        let found = Mutation::ALL.into_iter().find(|mutation| mutation.name() == name);
        found.ok_or_else(|| format!("`{name}` is not a mutation: choose one of {}", names()))
    }
}

/// What is kept of a state that a coordinator stores.
pub(super) fn kept(world: &World, before: Option<&State>, state: &State) -> State {
    let hands_over = matches!(&state.phase, Phase::HandingOver { .. });
    match before {
        Some(before) if world.mutated(Mutation::CommitIsNotStored) && hands_over && before.primary != state.primary => {
            State { generation: state.generation, epoch: state.epoch, ..before.clone() }
        }
        _ => state.clone(),
    }
}

/// Changes a call on its way.
pub(super) fn tamper(world: &World, colour: Colour, port: Port, request: &mut Request) {
    if port != Port::Admin || world.options.mutation.is_none() {
        return;
    }
    let Some(mut call) = body(request) else { return };
    if world.mutated(Mutation::StaleCallsAreObeyed) && call.get("epoch").is_some() {
        let newest = world.platform.stored().map_or(0, |state| state.epoch);
        if call["epoch"] != newest {
            call["epoch"] = newest.into();
            let node = world.machines.get(colour).node();
            if let Some(node) = node.filter(|_| call.get("lsn").is_some()) {
                call["lsn"] = node.lsn().into();
            }
            if let Some(fields) = call.as_object_mut() {
                fields.remove("instance");
            }
        }
    }
    if world.mutated(Mutation::PromotedBeforeCaughtUp) && request.uri().path().ends_with("/promote") {
        let here = world.machines.get(colour).node().map_or(0, |node| node.lsn());
        call["lsn"] = here.into();
    }
    *request.body_mut() = Full::new(call.to_string().into());
}

/// The body of a call as JSON.
fn body(request: &Request) -> Option<Value> {
    // All of it is there at once, in one piece.
    let mut body = request.body().clone();
    match Pin::new(&mut body).poll_frame(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(Some(Ok(frame))) => serde_json::from_slice(&frame.into_data().ok()?).ok(),
        _ => None,
    }
}

/// An answer that the node does not give.
pub(super) async fn invented(world: &World, colour: Colour, port: Port, request: &Request) -> Option<Value> {
    if port != Port::Admin || world.options.mutation.is_none() {
        return None;
    }
    let path = request.uri().path();
    if world.mutated(Mutation::SealIsSkipped) && path.ends_with("/seal") {
        let call = body(request)?;
        let (position, digest) = world.machines.get(colour).node()?.digest_now().await.ok()?;
        return Some(json!({ "epoch": call["epoch"], "lsn": position.lsn, "digest": digest.root }));
    }
    if world.mutated(Mutation::PromotedBeforeCaughtUp) && path.ends_with("/digest") {
        let lsn: u64 = request.uri().query()?.strip_prefix("lsn=")?.parse().ok()?;
        let (position, digest) = world.machines.get(colour.other()).node()?.digest_now().await.ok()?;
        return (position.lsn == lsn).then(|| json!({ "lsn": lsn, "digest": digest.root, "records": digest.records }));
    }
    None
}
