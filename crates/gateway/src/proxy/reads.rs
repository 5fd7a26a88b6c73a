//! A read: to a node of the colour the coin or the header picks, and if that gives no answer, a server error, or does not know
//! who asks, to another one.

use super::Asked;
use super::attempt::{Failure, attempt};
use super::outgoing::Outgoing;
use crate::body::AnswerBody;
use crate::own_writes::{self, Behind, Demand};
use crate::pool::Backend;
use crate::refusal::Refusal;
use crate::routing::Table;
use crate::session::Session;
use http::{Response, StatusCode};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use wire::{ByColour, Colour};

pub(super) async fn read(
    session: &Arc<Session>,
    mut outgoing: Outgoing,
    asked: Asked,
) -> Result<Response<AnswerBody>, Refusal> {
    let router = &session.shared.router;
    let table = router.current();
    let picked = asked.wanted.or_else(|| table.pick_reader());
    let Some(first) = picked.and_then(|colour| table.reader(colour)).cloned() else {
        return Err(no_backend(&table, asked.wanted).with_unread(outgoing.into_unread()));
    };
    drop(table);

    let own_writes = &session.shared.own_writes;
    let demand = outgoing.headers_mut().and_then(|headers| own_writes.demand(asked.credential, headers));
    let mut read = Read { session, outgoing, wanted: asked.wanted, demand, counted: ByColour::default() };
    let failure = match read.ask(&first).await {
        Ok(response) if read.is_doubtful(&response, &first) => return Ok(read.unless_better(response, &first).await),
        Ok(response) => return Ok(response),
        Err(failure) => failure,
    };
    let second = read.second_choice(&first, Trouble::NoAnswer);
    let Some(second) = second.filter(|_| failure.is_worth_repeating()) else {
        return Err(failure.into_refusal(&first, session).with_unread_of(read.outgoing));
    };
    session.shared.metrics.reads_repeated.fetch_add(1, Ordering::Relaxed);
    match read.ask(&second).await {
        Ok(response) => Ok(response),
        Err(failure) => Err(failure.into_refusal(&second, session).with_unread_of(read.outgoing)),
    }
}

/// Why one answer is not enough.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Trouble {
    NoAnswer,
    Error,
    /// It has not what the client wrote, or does not know who asks.
    Lags,
}

/// A read on its way.
struct Read<'a> {
    session: &'a Arc<Session>,
    outgoing: Outgoing,
    wanted: Option<Colour>,
    /// Of the gateway, not of the client.
    demand: Option<Demand>,
    counted: ByColour<bool>,
}

impl Read<'_> {
    /// The answer of one backend. If that is the primary, and does not have what its client wrote, nobody has: then it is
    /// asked once more for what there is.
    async fn ask(&mut self, backend: &Arc<Backend>) -> Result<Response<AnswerBody>, Failure> {
        let response = attempt(self.session, backend, &mut self.outgoing, true, &mut self.counted).await?;
        if own_writes::behind(&response) != Some(Behind::Primary) {
            return Ok(response);
        }
        let shared = &self.session.shared;
        // A former primary that has not heard of its end yet must not say what there is.
        let reigns = shared.router.current().routing.primary == Some(backend.colour);
        let Some(demand) =
            self.demand.take_if(|demand| reigns && shared.own_writes.give_up(demand, response.headers()))
        else {
            return Ok(response);
        };
        let Some(headers) = self.outgoing.headers_mut() else { return Ok(response) };
        demand.withdraw(headers);
        shared.metrics.reads_repeated.fetch_add(1, Ordering::Relaxed);
        // Boxed: rare, and its state would be carried along by every request.
        Box::pin(attempt(self.session, backend, &mut self.outgoing, true, &mut self.counted)).await
    }

    /// The other colour may have a better answer: it is a server error, or a follower does not know a credential. That one
    /// may be a login of a moment ago, a write like others, but of nobody who was known before it.
    fn is_doubtful(&self, answer: &Response<AnswerBody>, of: &Arc<Backend>) -> bool {
        let status = answer.status();
        status.is_server_error()
            || status == StatusCode::UNAUTHORIZED && self.session.shared.router.current().is_follower(of)
    }

    /// The other colour's answer, if it has a better one than the first. A server error was counted against the first already,
    /// unless that only lags: what is repeated here hides nothing from those who judge.
    async fn unless_better(mut self, error: Response<AnswerBody>, first: &Arc<Backend>) -> Response<AnswerBody> {
        let lags = error.status() == StatusCode::UNAUTHORIZED || own_writes::behind(&error).is_some();
        let trouble = if lags { Trouble::Lags } else { Trouble::Error };
        let Some(second) = self.second_choice(first, trouble) else { return error };
        self.session.shared.metrics.reads_repeated.fetch_add(1, Ordering::Relaxed);
        match self.ask(&second).await {
            Ok(response) if !response.status().is_server_error() => response,
            _ => error,
        }
    }

    /// Who may do better. A node that gives no answer is stood in for by one of its own colour, if there is one; an error may
    /// be that colour's fault, so the other is asked; what a follower lacks, the primary has. Who asked for a colour by header
    /// gets no other.
    fn second_choice(&self, first: &Arc<Backend>, trouble: Trouble) -> Option<Arc<Backend>> {
        if !self.outgoing.is_here() {
            return None;
        }
        let table = self.session.shared.router.current();
        let (own, other) = (first.colour, first.colour.other());
        let primary = table.routing.primary.and_then(|primary| table.backend(primary));
        let well = |backend: &&Arc<Backend>| !backend.is_left_out();
        let candidates: [Option<&Arc<Backend>>; 3] = match trouble {
            Trouble::NoAnswer => {
                let beside = table.nodes(own).filter(well).find(|backend| !Arc::ptr_eq(backend, first));
                let beside = beside.filter(|_| !table.routing.others.get(own).is_empty());
                [beside, table.reader(other), table.backend(own)]
            }
            Trouble::Lags => [primary, table.backend(other), table.backend(own)],
            Trouble::Error => {
                let beside = table.nodes(own).find(|backend| !Arc::ptr_eq(backend, first));
                [table.reader(other), table.backend(own), beside]
            }
        };
        let allowed = |backend: &&Arc<Backend>| self.wanted.is_none_or(|wanted| wanted == backend.colour);
        candidates.into_iter().flatten().filter(allowed).find(|backend| !Arc::ptr_eq(backend, first)).cloned()
    }
}

/// Says which environment is missing.
fn no_backend(table: &Table, wanted: Option<Colour>) -> Refusal {
    let generation = table.routing.generation;
    Refusal::unavailable(match wanted {
        Some(colour) => format!("header canary: the {colour} environment has no backend (routing {generation})"),
        None => format!("no environment has a backend (routing {generation})"),
    })
}

impl Refusal {
    /// Keeps an unread body that it has already.
    fn with_unread_of(self, outgoing: Outgoing) -> Self {
        if self.unread.is_some() { self } else { self.with_unread(outgoing.into_unread()) }
    }
}
