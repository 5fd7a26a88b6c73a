//! One attempt at one backend: on an idle connection, then on a fresh one.

use super::outgoing::Outgoing;
use super::{too_large, too_slow};
use crate::body::{AnswerBody, InFlight};
use crate::edit;
use crate::own_writes;
use crate::pool::{Backend, Broken, Upstream};
use crate::refusal::Refusal;
use crate::session::{BodyFault, Session};
use http::{Response, StatusCode};
use hyper::body::Incoming;
use std::io;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Instant;
use wire::ByColour;

/// Why a backend gave no answer.
#[derive(Debug, thiserror::Error)]
pub(super) enum Failure {
    #[error("it cannot be reached: {0}")]
    Connect(io::Error),
    #[error("it closed a new connection before the request was sent")]
    Closed,
    #[error("the connection broke before the answer: {0}")]
    Broke(hyper::Error),
    #[error("its connections were closed before the answer")]
    Ended,
    #[error("it was taken out of the routing before the answer")]
    Left,
    #[error("no answer within {0} ms (limit response_head_ms)")]
    Silent(u64),
    #[error("it answered 101 though no other protocol was asked for")]
    Switched,
    #[error("the request had been sent already")]
    Spent,
    /// The client's fault, not the backend's.
    #[error("the request's body broke off")]
    Client(BodyFault),
    /// Likewise: the client stopped sending.
    #[error("the request's body stopped arriving")]
    ClientSilent,
}

impl Failure {
    fn of(broken: Broken, session: &Session) -> Self {
        let activity = &session.activity;
        match (broken, activity.body_fault()) {
            (_, fault @ (BodyFault::TooLarge | BodyFault::ClientBroke)) => Failure::Client(fault),
            (Broken::Unsent(_), _) => Failure::Closed,
            (Broken::Sent(error), _) => Failure::Broke(error),
            (Broken::Ended, _) => Failure::Ended,
            (Broken::Left, _) => Failure::Left,
            (Broken::Silent, _) if activity.body_awaited() => Failure::ClientSilent,
            (Broken::Silent, _) => Failure::Silent(session.shared.limits.response_head_ms),
        }
    }

    /// Not a byte of the request was given to the backend.
    pub(super) fn is_unsent(&self) -> bool {
        matches!(self, Failure::Connect(_) | Failure::Closed)
    }

    /// Another backend may do better with the same read.
    pub(super) fn is_worth_repeating(&self) -> bool {
        !matches!(self, Failure::Silent(_) | Failure::Client(_) | Failure::ClientSilent | Failure::Spent)
    }

    /// Is it something the backend did? Leaving it was our doing.
    fn is_of_backend(&self) -> bool {
        !matches!(self, Failure::Left | Failure::Client(_) | Failure::ClientSilent | Failure::Spent)
    }

    pub(super) fn describe(&self, backend: &Backend) -> String {
        format!("the {} environment ({}) did not answer: {self}", backend.colour, backend.address)
    }

    pub(super) fn into_refusal(self, backend: &Backend, session: &Session) -> Refusal {
        match self {
            Failure::Client(BodyFault::TooLarge) => {
                let limit = session.shared.limits.body_bytes_max;
                too_large("more than announced or allowed", limit).with_unread(session.cut_body.lock().take())
            }
            Failure::Client(_) => Refusal::new(StatusCode::BAD_REQUEST, "the body broke off"),
            Failure::ClientSilent => too_slow(session),
            Failure::Silent(_) => Refusal::new(StatusCode::GATEWAY_TIMEOUT, self.describe(backend)),
            _ => Refusal::new(StatusCode::BAD_GATEWAY, self.describe(backend)),
        }
    }
}

/// Sends the request to one backend and counts what came of it; a failure once per request and colour (`counted`).
pub(super) async fn attempt(
    session: &Arc<Session>,
    backend: &Arc<Backend>,
    outgoing: &mut Outgoing,
    read: bool,
    counted: &mut ByColour<bool>,
) -> Result<Response<AnswerBody>, Failure> {
    let started = Instant::now();
    let in_flight = InFlight::enter(session, backend.colour);
    let counters = session.shared.metrics.of(backend.colour);
    match exchange(session, backend, outgoing).await {
        Ok((upstream, response)) => {
            backend.answered(true);
            let behind = read && own_writes::behind(&response).is_some();
            counters.record(read, response.status().is_server_error() && !behind, started.elapsed());
            if behind {
                counters.record_behind();
            }
            let (mut parts, incoming) = response.into_parts();
            edit::response_head(&mut parts, backend.colour);
            Ok(Response::from_parts(parts, AnswerBody::passed(incoming, upstream, in_flight, read)))
        }
        Err(failure) => {
            if failure.is_of_backend() {
                backend.answered(false);
            }
            if failure.is_of_backend() && !std::mem::replace(counted.get_mut(backend.colour), true) {
                counters.record(read, true, started.elapsed());
            }
            Err(failure)
        }
    }
}

async fn exchange(
    session: &Arc<Session>,
    backend: &Arc<Backend>,
    outgoing: &mut Outgoing,
) -> Result<(Upstream, Response<Incoming>), Failure> {
    let repeatable = outgoing.is_repeatable();
    if let Some(mut upstream) = backend.take_idle(!repeatable) {
        let request = outgoing.take().ok_or(Failure::Spent)?;
        match upstream.exchange(request, session, repeatable).await {
            Ok(response) => return checked(upstream, response),
            Err(Broken::Unsent(request)) => outgoing.give_back(*request),
            // The backend may have closed it for its age at this very moment. That is no failure yet: a fresh
            // connection will tell.
            Err(Broken::Sent(_)) if repeatable => {
                session.shared.metrics.reads_repeated.fetch_add(1, Ordering::Relaxed);
            }
            Err(broken) => return Err(Failure::of(broken, session)),
        }
    }
    // Boxed: rare, and its state would be carried along by every request.
    let mut upstream = Box::pin(backend.connect()).await.map_err(Failure::Connect)?;
    let request = outgoing.take().ok_or(Failure::Spent)?;
    match upstream.exchange(request, session, repeatable).await {
        Ok(response) => checked(upstream, response),
        Err(Broken::Unsent(request)) => {
            outgoing.give_back(*request);
            Err(Failure::Closed)
        }
        Err(broken) => Err(Failure::of(broken, session)),
    }
}

fn checked(upstream: Upstream, response: Response<Incoming>) -> Result<(Upstream, Response<Incoming>), Failure> {
    match response.status() {
        StatusCode::SWITCHING_PROTOCOLS => Err(Failure::Switched),
        _ => Ok((upstream, response)),
    }
}
