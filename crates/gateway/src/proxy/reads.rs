//! A read: to the colour the coin or the header picks, and if that gives no answer or a server error, to the other one.

use super::attempt::attempt;
use super::outgoing::Outgoing;
use crate::body::AnswerBody;
use crate::pool::Backend;
use crate::refusal::Refusal;
use crate::routing::Table;
use crate::session::Session;
use http::Response;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use wire::{ByColour, Colour};

pub(super) async fn read(
    session: &Arc<Session>,
    mut outgoing: Outgoing,
    wanted: Option<Colour>,
) -> Result<Response<AnswerBody>, Refusal> {
    let router = &session.shared.router;
    let table = router.current();
    let picked = wanted.or_else(|| table.pick_reader());
    let Some(first) = picked.and_then(|colour| table.backend(colour)).cloned() else {
        return Err(no_backend(&table, wanted).with_unread(outgoing.into_unread()));
    };
    drop(table);

    let mut counted = ByColour::default();
    let failure = match attempt(session, &first, &mut outgoing, true, &mut counted).await {
        Ok(response) if response.status().is_server_error() => {
            return Ok(unless_better(session, response, &first, outgoing, wanted).await);
        }
        Ok(response) => return Ok(response),
        Err(failure) => failure,
    };
    let second = second_choice(&router.current(), &first, wanted);
    let Some(second) = second.filter(|_| failure.is_worth_repeating() && outgoing.is_here()) else {
        return Err(failure.into_refusal(&first, session).with_unread_of(outgoing));
    };
    session.shared.metrics.reads_repeated.fetch_add(1, Ordering::Relaxed);
    match attempt(session, &second, &mut outgoing, true, &mut counted).await {
        Ok(response) => Ok(response),
        Err(failure) => Err(failure.into_refusal(&second, session).with_unread_of(outgoing)),
    }
}

/// The other colour's answer, if it has a better one than the server error of the first. The error was counted against the
/// first already: what is repeated here hides nothing from those who judge.
async fn unless_better(
    session: &Arc<Session>,
    error: Response<AnswerBody>,
    first: &Arc<Backend>,
    mut outgoing: Outgoing,
    wanted: Option<Colour>,
) -> Response<AnswerBody> {
    let second = second_choice(&session.shared.router.current(), first, wanted);
    let Some(second) = second.filter(|_| outgoing.is_here()) else { return error };
    session.shared.metrics.reads_repeated.fetch_add(1, Ordering::Relaxed);
    match attempt(session, &second, &mut outgoing, true, &mut ByColour::default()).await {
        Ok(response) if !response.status().is_server_error() => response,
        _ => error,
    }
}

/// The other colour, or the same one if it has another address by now. Who asked for a colour by header gets no other.
fn second_choice(table: &Table, first: &Arc<Backend>, wanted: Option<Colour>) -> Option<Arc<Backend>> {
    let colours = [first.colour.other(), first.colour];
    let allowed = colours.into_iter().filter(|&colour| wanted.is_none_or(|wanted| wanted == colour));
    allowed.filter_map(|colour| table.backend(colour)).find(|backend| !Arc::ptr_eq(backend, first)).cloned()
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
