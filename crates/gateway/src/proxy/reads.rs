//! A read: to the colour the coin or the header picks, and if that gives no answer, to the other one.

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
