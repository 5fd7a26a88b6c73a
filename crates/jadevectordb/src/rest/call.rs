//! A request as handlers see it: whole, and the same every time it is routed.

use super::Rest;
use super::answer::Problem;
use super::forward;
use super::once::RequestKey;
use super::serve::Connection;
use axum::body::{Body, HttpBody};
use axum::extract::{Query, RawPathParams, Request};
use bytes::{Bytes, BytesMut};
use http::header::{CONTENT_LENGTH, EXPECT};
use http::request::Parts;
use http::{HeaderMap, Method, Uri};
use http_body_util::BodyExt;
use std::net::{IpAddr, Ipv4Addr};
use std::sync::{Arc, OnceLock};
use std::time::Duration;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// Bodies of all requests together, in units of [`BUDGET_UNIT`]: 512 MiB.
pub const BODY_BUDGET_UNITS: usize = 32 * 1_024;
const BUDGET_UNIT: usize = 16 << 10;
/// How long a body may take to arrive.
const BODY_TIMEOUT: Duration = Duration::from_secs(60);
/// How long a body that is too large is read on, so that its sender gets to read the refusal.
const DISCARD_TIMEOUT: Duration = Duration::from_secs(2);

/// One request.
pub struct Call {
    pub method: Method,
    pub uri: Uri,
    pub headers: HeaderMap,
    pub body: Bytes,
    /// The client's, also through a proxy on this machine.
    pub address: IpAddr,
    pub connection: Option<Arc<Connection>>,
    /// Set once the caller is known, if the request has an idempotency key.
    pub once: OnceLock<RequestKey>,
    params: RawPathParams,
    _budget: Option<OwnedSemaphorePermit>,
}

impl Call {
    /// Reads the whole request.
    ///
    /// # Errors
    /// 413 over the limit, 408 when the body does not arrive, 503 when the bodies of all requests together are over
    /// their bound.
    pub async fn read(request: Request, params: RawPathParams, rest: &Rest) -> Result<Self, Problem> {
        let limit_bytes = rest.node.config().limits.body_bytes;
        let (parts, body) = request.into_parts();
        let (body, held) = if body.is_end_stream() {
            (Bytes::new(), None)
        } else {
            let reading = read_body(&parts, body, limit_bytes, &rest.bodies);
            let timeout = Problem::BodyTimeout { seconds: BODY_TIMEOUT.as_secs() };
            tokio::time::timeout(BODY_TIMEOUT, reading).await.unwrap_or(Err(timeout))?
        };
        let connection = parts.extensions.get::<Arc<Connection>>().cloned();
        let peer = connection.as_ref().map_or(IpAddr::V4(Ipv4Addr::LOCALHOST), |connection| connection.peer.ip());
        let address = forward::vouched_client(&rest.client_key, &parts.headers);
        let address = address.unwrap_or_else(|| client_address(peer, &parts.headers));
        let Parts { method, uri, headers, .. } = parts;
        Ok(Self { method, uri, headers, body, address, connection, once: OnceLock::new(), params, _budget: held })
    }

    /// A part of the path, percent-decoded; empty if the route has none of that name.
    pub fn param(&self, name: &str) -> &str {
        self.params.iter().find(|(known, _)| *known == name).map_or("", |(_, value)| value)
    }

    /// The vector id of the path, where `/vectors/batch` may also mean the vector called `batch`.
    pub fn vector_id(&self) -> &str {
        match self.param("id") {
            "" => self.uri.path().rsplit('/').next().unwrap_or_default(),
            id => id,
        }
    }

    /// A query parameter, decoded.
    ///
    /// # Errors
    /// 400 when the query cannot be decoded.
    pub fn query(&self, name: &str) -> Result<Option<String>, Problem> {
        if self.uri.query().is_none() {
            return Ok(None);
        }
        let pairs = Query::<Vec<(String, String)>>::try_from_uri(&self.uri)
            .map_err(|error| Problem::BadRequest(format!("the query string cannot be read: {}", error.body_text())))?;
        Ok(pairs.0.into_iter().find(|(known, _)| known == name).map(|(_, value)| value))
    }

    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).and_then(|value| value.to_str().ok())
    }
}

/// The peer, or whom a proxy on this machine names as its client. The last value is the one that proxy wrote itself.
fn client_address(peer: IpAddr, headers: &HeaderMap) -> IpAddr {
    if !peer.to_canonical().is_loopback() {
        return peer;
    }
    let forwarded = headers.get_all("x-forwarded-for").iter().next_back().and_then(|value| value.to_str().ok());
    let last = forwarded.and_then(|value| value.rsplit(',').next()).map(str::trim);
    last.and_then(|address| address.parse().ok()).unwrap_or(peer)
}

async fn read_body(
    parts: &Parts,
    mut body: Body,
    limit_bytes: usize,
    budget: &Arc<Semaphore>,
) -> Result<(Bytes, Option<OwnedSemaphorePermit>), Problem> {
    let announced = parts.headers.get(CONTENT_LENGTH).and_then(|value| value.to_str().ok()?.parse::<usize>().ok());
    if announced.is_some_and(|bytes| bytes > limit_bytes) {
        if !parts.headers.contains_key(EXPECT) {
            discard(body, limit_bytes).await;
        }
        return Err(too_large(announced, limit_bytes));
    }
    let mut held = Held { budget, permit: None };
    if let Some(bytes) = announced {
        held.grow_to(bytes)?;
    }
    let mut first: Option<Bytes> = None;
    let mut gathered = BytesMut::new();
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|error| Problem::BadRequest(format!("the body broke off: {error}")))?;
        let Ok(data) = frame.into_data() else { continue };
        let length = first.as_ref().map_or(0, Bytes::len) + gathered.len() + data.len();
        if length > limit_bytes {
            discard(body, limit_bytes).await;
            return Err(too_large(None, limit_bytes));
        }
        held.grow_to(length)?;
        // Most bodies arrive in one piece and are never copied.
        match first.take() {
            None if gathered.is_empty() => first = Some(data),
            None => gathered.extend_from_slice(&data),
            Some(piece) => {
                gathered.reserve(announced.unwrap_or(0).max(piece.len() + data.len()));
                gathered.extend_from_slice(&piece);
                gathered.extend_from_slice(&data);
            }
        }
    }
    Ok((first.unwrap_or_else(|| gathered.freeze()), held.permit))
}

/// A share of the budget for bodies.
struct Held<'a> {
    budget: &'a Arc<Semaphore>,
    permit: Option<OwnedSemaphorePermit>,
}

impl Held<'_> {
    fn grow_to(&mut self, bytes: usize) -> Result<(), Problem> {
        // Small bodies are bounded by the number of connections.
        let wanted = bytes / BUDGET_UNIT;
        let more = wanted.saturating_sub(self.permit.as_ref().map_or(0, OwnedSemaphorePermit::num_permits));
        if more == 0 {
            return Ok(());
        }
        let busy = || Problem::unavailable("the bodies of all requests together are over 512 MiB; try again");
        let more = u32::try_from(more).map_err(|_| busy())?;
        let permit = self.budget.clone().try_acquire_many_owned(more).map_err(|_| busy())?;
        match &mut self.permit {
            Some(held) => held.merge(permit),
            none => *none = Some(permit),
        }
        Ok(())
    }
}

async fn discard(mut body: Body, limit_bytes: usize) {
    let reading = async {
        let mut bytes = 0;
        while let Some(Ok(frame)) = body.frame().await {
            bytes += frame.data_ref().map_or(0, Bytes::len);
            if bytes > limit_bytes {
                break;
            }
        }
    };
    // Whether or not the sender came to an end, the refusal follows.
    let _ = tokio::time::timeout(DISCARD_TIMEOUT, reading).await;
}

fn too_large(announced: Option<usize>, limit_bytes: usize) -> Problem {
    let got = announced.map_or_else(|| "more".to_owned(), |bytes| format!("{bytes} bytes"));
    Problem::TooLarge(format!("the body has {got}, the limit is {limit_bytes} bytes: send it in smaller parts"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_proxy_on_this_machine_may_name_another_client() {
        let headers = |values: &[&str]| {
            let mut headers = HeaderMap::new();
            for value in values {
                headers.append("x-forwarded-for", value.parse().unwrap());
            }
            headers
        };
        let [local, remote, client] =
            ["127.0.0.1", "192.0.2.1", "198.51.100.7"].map(|ip| ip.parse::<IpAddr>().unwrap());
        assert_eq!(client_address(local, &headers(&["10.0.0.1, 198.51.100.7"])), client);
        assert_eq!(client_address(local, &headers(&["10.0.0.1", "198.51.100.7"])), client);
        assert_eq!(client_address("::ffff:127.0.0.1".parse().unwrap(), &headers(&["198.51.100.7"])), client);
        assert_eq!(client_address(remote, &headers(&["198.51.100.7"])), remote);
        assert_eq!(client_address(local, &headers(&["nonsense"])), local);
        assert_eq!(client_address(local, &headers(&[])), local);
    }
}
