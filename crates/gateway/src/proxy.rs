//! One request: from its head to the head of its answer.

mod attempt;
mod outgoing;
mod reads;
mod writes;

use crate::body::{AnswerBody, RequestBody};
use crate::edit;
use crate::own_writes::Credential;
use crate::refusal::Refusal;
use crate::routing::{RequestKind, kind_of};
use crate::session::{Phase, Session};
use bytes::{Bytes, BytesMut};
use http::header::{CONTENT_TYPE, EXPECT};
use http::{HeaderValue, Method, Request, Response, StatusCode, request};
use http_body::Body;
use hyper::body::Incoming;
use outgoing::Outgoing;
use std::convert::Infallible;
use std::pin::Pin;
use std::sync::Arc;
use std::task::Poll;
use wire::Colour;

/// The gateway's own health, for whoever supervises it.
const HEALTH_PATH: &str = "/__jadeshift/health";

/// Answers one request of a client's connection.
pub(crate) async fn answer(
    session: Arc<Session>,
    request: Request<Incoming>,
) -> Result<Response<AnswerBody>, Infallible> {
    session.activity.begin_request();
    let response = match forward(&session, request).await {
        Ok(response) => response,
        Err(refusal) => refusal.into_response(&session),
    };
    session.activity.enter(Phase::Passing);
    Ok(response)
}

async fn forward(session: &Arc<Session>, request: Request<Incoming>) -> Result<Response<AnswerBody>, Refusal> {
    let (mut parts, incoming) = request.into_parts();
    if parts.uri.path() == HEALTH_PATH {
        return Ok(health(session));
    }
    // A client that waits for `100 Continue` has not sent its body: there is nothing to drain.
    let expects = parts.headers.contains_key(EXPECT);
    let size = incoming.size_hint().upper();
    let asked = match prepare(session, &mut parts, size) {
        Ok(asked) => asked,
        Err(refusal) => return Err(refusal.with_unread((!expects).then_some(incoming))),
    };
    if incoming.is_end_stream() {
        let outgoing = match asked.kind {
            RequestKind::Read => Outgoing::repeatable(parts, Bytes::new()),
            RequestKind::Write => Outgoing::once(parts, RequestBody::kept(Bytes::new())),
        };
        return send(session, outgoing, asked).await;
    }
    let outgoing = match (asked.kind, size) {
        (RequestKind::Read, Some(size)) if size <= session.shared.limits.replay_bytes_max as u64 => {
            Outgoing::repeatable(parts, keep(session, incoming).await?)
        }
        _ => Outgoing::once(parts, RequestBody::streamed(incoming, session.clone())),
    };
    send(session, outgoing, asked).await
}

/// What is asked, and by whom.
#[derive(Debug, Clone, Copy)]
struct Asked {
    kind: RequestKind,
    /// The colour that the request names.
    wanted: Option<Colour>,
    credential: Credential,
}

async fn send(session: &Arc<Session>, outgoing: Outgoing, asked: Asked) -> Result<Response<AnswerBody>, Refusal> {
    match asked.kind {
        RequestKind::Read => reads::read(session, outgoing, asked).await,
        RequestKind::Write => writes::write(session, outgoing, asked).await,
    }
}

/// Everything that can be refused by looking at the head, and the head as the backend will get it.
fn prepare(session: &Session, parts: &mut request::Parts, size: Option<u64>) -> Result<Asked, Refusal> {
    if parts.method == Method::CONNECT {
        return Err(Refusal::new(StatusCode::METHOD_NOT_ALLOWED, "method CONNECT: this is not a proxy for tunnels"));
    }
    let wanted = edit::wanted_colour(&parts.headers)?;
    let limit = session.shared.limits.body_bytes_max;
    if let Some(size) = size.filter(|&size| size > limit) {
        return Err(too_large(&format!("{size} bytes"), limit));
    }
    edit::request_head(parts, &session.peer, &session.shared.own_host)?;
    let kind = kind_of(&parts.method, parts.uri.path());
    Ok(Asked { kind, wanted, credential: session.shared.own_writes.credential(&parts.headers) })
}

fn too_large(size: &str, limit: u64) -> Refusal {
    let error = format!("the body is too large: {size}, and the limit body_bytes_max is {limit} bytes");
    Refusal::new(StatusCode::PAYLOAD_TOO_LARGE, error)
}

fn too_slow(session: &Session) -> Refusal {
    let limit = session.shared.limits.response_head_ms;
    let error = format!("the body stopped arriving: nothing for {limit} ms (limit response_head_ms)");
    Refusal::new(StatusCode::REQUEST_TIMEOUT, error)
}

fn health(session: &Arc<Session>) -> Response<AnswerBody> {
    let table = session.shared.router.current();
    let text = serde_json::json!({ "status": "ok", "generation": table.routing.generation }).to_string();
    let mut response = Response::new(AnswerBody::own(Bytes::from(text), session.clone()));
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response
}

/// Reads a small body of known size as a whole. As a rule it arrived with its head, and nothing is copied.
async fn keep(session: &Session, mut incoming: Incoming) -> Result<Bytes, Refusal> {
    let size = incoming.size_hint().upper().unwrap_or(0) as usize;
    let mut first = Bytes::new();
    let mut whole = BytesMut::new();
    std::future::poll_fn(|cx| {
        while !incoming.is_end_stream() {
            match Pin::new(&mut incoming).poll_frame(cx) {
                Poll::Ready(Some(Ok(frame))) => {
                    let Ok(data) = frame.into_data() else { continue };
                    if first.is_empty() && whole.is_empty() {
                        first = data;
                        continue;
                    }
                    if whole.is_empty() {
                        whole.reserve(size);
                        whole.extend_from_slice(&first);
                    }
                    whole.extend_from_slice(&data);
                }
                Poll::Ready(Some(Err(error))) => {
                    let error = format!("the body could not be read: {error}");
                    return Poll::Ready(Err(Refusal::new(StatusCode::BAD_REQUEST, error)));
                }
                Poll::Ready(None) => break,
                Poll::Pending if session.activity.silent_ms() >= session.shared.limits.response_head_ms => {
                    return Poll::Ready(Err(too_slow(session)));
                }
                Poll::Pending => return Poll::Pending,
            }
        }
        Poll::Ready(Ok(()))
    })
    .await?;
    Ok(if whole.is_empty() { first } else { whole.freeze() })
}
