//! Passing a write on to the primary, and its answer back.

use super::Rest;
use super::answer::{Answer, Outcome, Problem};
use super::call::Call;
use client::HttpError;
use http::header::{self, HeaderMap, HeaderName, HeaderValue};
use http::{Request, StatusCode};
use http_body_util::Full;
use std::net::IpAddr;
use std::sync::atomic::Ordering;
use std::time::Duration;
use wire::admin::{Lsn, Peer};

const TIMEOUT: Duration = Duration::from_secs(30);
/// A follower of an environment's head, that head, the old primary, the new one, and whoever has just taken its place: the
/// longest honest way.
const HOPS_MAX: u32 = 4;
/// Longest answer to a write; a batch of 100,000 is confirmed in a few bytes.
const ANSWER_BYTES_MAX: usize = 16 << 20;
/// The client that a forwarding node vouches for: an address, a space, and a keyed hash of it. Without it, the limits of
/// the primary would take all clients of a follower for one.
const CLIENT: HeaderName = HeaderName::from_static("jadevectordb-client");

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
    let request = match request(rest, primary, call) {
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

fn request(rest: &Rest, primary: &Peer, call: &Call) -> Result<client::Request, Problem> {
    let hops = call.header(wire::headers::HOPS).and_then(|hops| hops.parse::<u32>().ok()).unwrap_or(0);
    if hops >= HOPS_MAX {
        return Err(Problem::unavailable(format!(
            "the write was forwarded {hops} times and found no primary; try again"
        )));
    }
    let path = call.uri.path_and_query().map_or("/", |path| path.as_str());
    let mut headers = end_to_end(&call.headers);
    headers.insert(HeaderName::from_static(wire::headers::HOPS), (hops + 1).into());
    headers.remove(CLIENT);
    if let Ok(vouched) = HeaderValue::from_str(&vouch(&rest.client_key, call.address)) {
        headers.insert(CLIENT, vouched);
    }
    let mut request = Request::builder()
        .method(call.method.clone())
        .uri(format!("http://{}{path}", primary.http))
        .body(Full::new(call.body.clone()))
        .map_err(|error| Problem::Internal(format!("the write cannot be forwarded to {}: {error}", primary.http)))?;
    *request.headers_mut() = headers;
    Ok(request)
}

/// Nodes that follow each other have the same admin token.
pub fn client_key(admin_token: &str) -> [u8; 32] {
    blake3::derive_key("jadevectordb client of a forwarded request", admin_token.as_bytes())
}

fn vouch(key: &[u8; 32], client: IpAddr) -> String {
    let client = client.to_string();
    format!("{client} {}", blake3::keyed_hash(key, client.as_bytes()).to_hex())
}

/// The client that another node vouches for.
pub fn vouched_client(key: &[u8; 32], headers: &HeaderMap) -> Option<IpAddr> {
    let (client, given) = headers.get(CLIENT)?.to_str().ok()?.split_once(' ')?;
    let given = blake3::Hash::from_hex(given).ok()?;
    // Compares in constant time.
    if given != blake3::keyed_hash(key, client.as_bytes()) {
        return None;
    }
    client.parse().ok()
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
    Ok(Answer { passed_on, lsn, ..Answer::json(status, response.body) })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_node_with_the_same_token_vouches_for_a_client() {
        let (key, other) = (client_key("secret"), client_key("another"));
        let client: IpAddr = "2001:db8::1".parse().unwrap();
        let read = |key: &[u8; 32], value: &str| {
            let mut headers = HeaderMap::new();
            headers.insert(CLIENT, value.parse().unwrap());
            vouched_client(key, &headers)
        };
        let vouched = vouch(&key, client);
        assert_eq!(read(&key, &vouched), Some(client));
        assert_eq!(read(&other, &vouched), None);
        assert_eq!(read(&key, &vouched.replace("::1", "::2")), None);
        assert_eq!(read(&key, "192.0.2.1"), None);
        assert_eq!(vouched_client(&key, &HeaderMap::new()), None);
    }

    #[test]
    fn headers_of_one_connection_are_not_passed_on() {
        let mut headers = HeaderMap::new();
        for (name, value) in [
            ("connection", "keep-alive, x-private"),
            ("x-private", "1"),
            ("keep-alive", "timeout=5"),
            ("transfer-encoding", "chunked"),
            ("host", "here"),
            ("authorization", "Bearer x"),
            ("idempotency-key", "k"),
            ("canary", "green"),
        ] {
            headers.insert(HeaderName::from_static(name), value.parse().unwrap());
        }
        let kept = end_to_end(&headers);
        let mut names: Vec<&str> = kept.keys().map(HeaderName::as_str).collect();
        names.sort_unstable();
        assert_eq!(names, ["authorization", "canary", "idempotency-key"]);
    }
}
