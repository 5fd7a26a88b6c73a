//! Passing a write on to the primary, and its answer back.

use super::Rest;
use super::answer::{Answer, Outcome, Problem};
use super::call::Call;
use axum::body::Body;
use client::HttpError;
use http::header::{self, HeaderMap, HeaderName, HeaderValue};
use http::{Request, StatusCode};
use http_body_util::Full;
use std::sync::atomic::Ordering;
use std::time::Duration;
use wire::admin::{Lsn, Peer};

const TIMEOUT: Duration = Duration::from_secs(30);
/// Follower to old primary to new primary is the longest honest way.
const HOPS_MAX: u32 = 3;
/// Longest answer to a write; a batch of 100,000 is confirmed in a few bytes.
const ANSWER_BYTES_MAX: usize = 16 << 20;
const FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");

/// Headers that concern one connection only, and those that the next request gets anew.
const OF_THE_CONNECTION: [HeaderName; 10] = [
    header::CONNECTION,
    header::HOST,
    header::CONTENT_LENGTH,
    header::TRANSFER_ENCODING,
    header::TE,
    header::TRAILER,
    header::UPGRADE,
    header::EXPECT,
    header::PROXY_AUTHORIZATION,
    header::PROXY_AUTHENTICATE,
];
const KEEP_ALIVE: &str = "keep-alive";

/// How an attempt ended.
pub enum Forwarding {
    /// The primary's answer, or a problem that another attempt would not mend.
    Done(Outcome),
    /// The primary knows nothing of the request: it may be tried again.
    NeverSent(String),
}

/// Sends `call` to `primary`.
pub async fn to(rest: &Rest, primary: &Peer, call: &Call) -> Forwarding {
    let request = match request(primary, call) {
        Ok(request) => request,
        Err(problem) => return Forwarding::Done(Err(problem)),
    };
    match rest.http.whole(request, TIMEOUT, ANSWER_BYTES_MAX).await {
        Ok(response) => {
            rest.node.counters().forwarded.fetch_add(1, Ordering::Relaxed);
            Forwarding::Done(pass_on(rest, response).await)
        }
        Err(error @ HttpError::BadRequest { .. }) => {
            Forwarding::Done(Err(Problem::Internal(format!("the write cannot be forwarded: {error}"))))
        }
        Err(error) if error.never_sent() => Forwarding::NeverSent(error.to_string()),
        Err(error @ HttpError::TimedOut { .. }) => Forwarding::Done(Err(Problem::GatewayTimeout(unknown(&error)))),
        Err(error) => Forwarding::Done(Err(Problem::BadGateway(unknown(&error)))),
    }
}

fn unknown(error: &HttpError) -> String {
    format!("the write was forwarded to the primary, and it is not known whether it was done: {error}")
}

fn request(primary: &Peer, call: &Call) -> Result<client::Request, Problem> {
    let hops = call.header(wire::headers::HOPS).and_then(|hops| hops.parse::<u32>().ok()).unwrap_or(0);
    if hops >= HOPS_MAX {
        return Err(Problem::unavailable(format!(
            "the write was forwarded {hops} times and found no primary; try again"
        )));
    }
    let path = call.uri.path_and_query().map_or("/", |path| path.as_str());
    let mut headers = end_to_end(&call.headers);
    headers.insert(HeaderName::from_static(wire::headers::HOPS), (hops + 1).into());
    // The client that this node decided upon: what stands in the header may have been sent by anybody.
    if let Ok(address) = HeaderValue::from_str(&call.address.to_string()) {
        headers.insert(FORWARDED_FOR, address);
    }
    let mut request = Request::builder()
        .method(call.method.clone())
        .uri(format!("http://{}{path}", primary.http))
        .body(Full::new(call.body.clone()))
        .map_err(|error| Problem::Internal(format!("the write cannot be forwarded to {}: {error}", primary.http)))?;
    *request.headers_mut() = headers;
    Ok(request)
}

fn end_to_end(headers: &HeaderMap) -> HeaderMap {
    let mut kept = headers.clone();
    // `Connection` may name further headers that concern only this connection.
    let named: Vec<HeaderName> = headers
        .get_all(header::CONNECTION)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .filter_map(|name| name.trim().parse().ok())
        .collect();
    for name in named.iter().chain(&OF_THE_CONNECTION) {
        kept.remove(name);
    }
    kept.remove(KEEP_ALIVE);
    kept
}

/// The primary's answer, once this node has what it says.
async fn pass_on(rest: &Rest, response: client::JsonResponse) -> Outcome {
    let status = StatusCode::from_u16(response.status)
        .map_err(|error| Problem::BadGateway(format!("the primary's answer has no valid status: {error}")))?;
    let lsn = response.headers.get(wire::headers::LSN).and_then(|lsn| lsn.to_str().ok()?.parse::<Lsn>().ok());
    if let Some(lsn) = lsn.filter(|_| status.is_success()) {
        // Acknowledged by the primary, so it is answered even if the copy takes longer.
        let wait = Duration::from_millis(rest.node.config().limits.local_copy_wait_ms);
        if !rest.node.applied(lsn, wait).await {
            tracing::warn!(lsn, at = rest.node.lsn(), "a forwarded write is acknowledged, its local copy is late");
        }
    }
    let passed_on = Some(end_to_end(&response.headers));
    Ok(Answer { passed_on, lsn, ..Answer::json(status, Body::from(response.body)) })
}
