//! A write: to the primary, or where the header says. It waits while writes are held, and while the primary cannot be
//! reached; it is never sent a second time.

use super::Asked;
use super::attempt::attempt;
use super::outgoing::Outgoing;
use crate::body::AnswerBody;
use crate::refusal::Refusal;
use crate::routing::Table;
use crate::session::Session;
use http::Response;
use std::sync::Arc;
use std::time::{Duration, Instant};
use wire::{ByColour, Colour};

/// First and longest pause between two looks at a primary that cannot be reached. A new routing ends a pause at once.
const PAUSE_MIN: Duration = Duration::from_millis(5);
const PAUSE_MAX: Duration = Duration::from_millis(50);

pub(super) async fn write(
    session: &Arc<Session>,
    mut outgoing: Outgoing,
    asked: Asked,
) -> Result<Response<AnswerBody>, Refusal> {
    let wanted = asked.wanted;
    let shared = &session.shared;
    let mut held_since = None;
    let mut deadline = None;
    let mut pause = PAUSE_MIN;
    let mut counted = ByColour::default();
    // Bounded by `hold_ms_max` and `write_wait_ms`: each turn answers, waits within the one, or uses up the other.
    loop {
        let mut table = shared.router.current();
        if table.routing.hold_writes {
            // Boxed: rare, and its state would be carried along by every request.
            let held = Box::pin(shared.hold.wait(&shared.router, &shared.limits, &mut held_since)).await;
            table = match held {
                Ok(table) => table,
                Err(error) => {
                    let refusal = Refusal::unavailable(error.to_string());
                    return Err(refusal.with_unread(outgoing.into_unread()));
                }
            };
        }
        let target = wanted.or(table.routing.primary).and_then(|colour| table.backend(colour));
        let why = match target {
            None => no_target(&table, wanted),
            Some(backend) => match attempt(session, backend, &mut outgoing, false, &mut counted).await {
                Ok(response) => {
                    if response.status().is_success() {
                        shared.own_writes.acknowledged(asked.credential, response.headers());
                    }
                    return Ok(response);
                }
                Err(failure) if failure.is_unsent() => failure.describe(backend),
                Err(failure) => return Err(failure.into_refusal(backend, session)),
            },
        };
        let now = Instant::now();
        let end = *deadline.get_or_insert(now + Duration::from_millis(shared.limits.write_wait_ms));
        if now >= end {
            let waited = shared.limits.write_wait_ms;
            let refusal = Refusal::unavailable(format!("the write waited {waited} ms and was not sent: {why}"));
            return Err(refusal.with_unread(outgoing.into_unread()));
        }
        Box::pin(shared.router.changed(table.version, pause.min(end - now))).await;
        pause = (pause * 2).min(PAUSE_MAX);
    }
}

fn no_target(table: &Table, wanted: Option<Colour>) -> String {
    let generation = table.routing.generation;
    match wanted {
        Some(colour) => format!("header canary: the {colour} environment has no backend (routing {generation})"),
        None => match table.routing.primary {
            Some(colour) => format!("the primary, {colour}, has no backend (routing {generation})"),
            None => format!("there is no primary (routing {generation})"),
        },
    }
}
