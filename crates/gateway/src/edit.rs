//! Changes to a request's head before it goes to a backend, and to an answer's head before it goes to the client. The
//! maps are edited in place; nothing is rebuilt.

use crate::refusal::Refusal;
use http::header::{self, CONNECTION, Entry, HOST, HeaderName};
use http::{HeaderMap, HeaderValue, StatusCode, Uri, Version, request, response, uri};
use wire::Colour;

static X_FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
static KEEP_ALIVE: HeaderName = HeaderName::from_static("keep-alive");
static PROXY_CONNECTION: HeaderName = HeaderName::from_static("proxy-connection");
static CANARY: HeaderName = HeaderName::from_static(wire::headers::CANARY);
static COLOUR: HeaderName = HeaderName::from_static(wire::headers::COLOUR);

/// The colour a request asks for by header.
pub(crate) fn wanted_colour(headers: &HeaderMap) -> Result<Option<Colour>, Refusal> {
    let mut wanted = None;
    for value in headers.get_all(&CANARY) {
        let colour = match value.as_bytes() {
            b"blue" => Colour::Blue,
            b"green" => Colour::Green,
            other => {
                let shown: String = String::from_utf8_lossy(other).chars().take(64).collect();
                let error = format!("header canary: `{shown}` is not an environment: it must be `blue` or `green`");
                return Err(Refusal::new(StatusCode::BAD_REQUEST, error));
            }
        };
        if wanted.is_some_and(|before| before != colour) {
            let error = "header canary: it names both environments: it must be `blue` or `green`, once";
            return Err(Refusal::new(StatusCode::BAD_REQUEST, error));
        }
        wanted = Some(colour);
    }
    Ok(wanted)
}

/// Makes a client's head one for a backend: origin form, HTTP/1.1, one `Host`, no hop-by-hop fields, the client's
/// address appended to `X-Forwarded-For`. `Expect` is the gateway's own business.
pub(crate) fn request_head(
    parts: &mut request::Parts,
    peer: &HeaderValue,
    own_host: &HeaderValue,
) -> Result<(), Refusal> {
    one_host(parts, own_host)?;
    strip_hop_by_hop(&mut parts.headers);
    parts.headers.remove(header::PROXY_AUTHORIZATION);
    parts.headers.remove(header::EXPECT);
    match parts.headers.entry(&X_FORWARDED_FOR) {
        Entry::Vacant(entry) => {
            entry.insert(peer.clone());
        }
        Entry::Occupied(mut entry) => {
            let mut joined = Vec::new();
            for value in entry.iter().chain([peer]) {
                if !joined.is_empty() {
                    joined.extend_from_slice(b", ");
                }
                joined.extend_from_slice(value.as_bytes());
            }
            // Joined out of valid values, so it is one; if not, the peer alone is the truth.
            entry.insert(HeaderValue::from_bytes(&joined).unwrap_or_else(|_| peer.clone()));
        }
    }
    parts.version = Version::HTTP_11;
    Ok(())
}

fn one_host(parts: &mut request::Parts, own_host: &HeaderValue) -> Result<(), Refusal> {
    if parts.uri.scheme().is_some() || parts.uri.authority().is_some() {
        // Absolute form: its authority stands above the header.
        let host = parts.uri.authority().and_then(|authority| HeaderValue::from_str(authority.as_str()).ok());
        let path = parts.uri.path_and_query().cloned().unwrap_or(uri::PathAndQuery::from_static("/"));
        parts.uri = Uri::from(path);
        if let Some(host) = host {
            parts.headers.insert(HOST, host);
        }
    }
    let hosts = parts.headers.get_all(HOST).iter().take(2).count();
    match hosts {
        1 => Ok(()),
        0 if parts.version < Version::HTTP_11 => {
            parts.headers.insert(HOST, own_host.clone());
            Ok(())
        }
        0 => Err(Refusal::new(StatusCode::BAD_REQUEST, "header host: missing: HTTP/1.1 requires it")),
        _ => Err(Refusal::new(StatusCode::BAD_REQUEST, "header host: given more than once")),
    }
}

/// Makes a backend's head one for the client: HTTP/1.1 (hyper lowers it for a client that speaks less), no hop-by-hop
/// fields, the colour that answered.
pub(crate) fn response_head(parts: &mut response::Parts, colour: Colour) {
    strip_hop_by_hop(&mut parts.headers);
    let value = HeaderValue::from_static(colour.as_str());
    parts.headers.insert(&COLOUR, value);
    parts.version = Version::HTTP_11;
}

/// Removes what concerns one connection only. `Transfer-Encoding` stays: hyper writes the body by it, so a coding other
/// than `chunked` keeps its name.
fn strip_hop_by_hop(headers: &mut HeaderMap) {
    if headers.contains_key(CONNECTION) {
        let named: Vec<HeaderName> = headers.get_all(CONNECTION).iter().flat_map(named_fields).collect();
        headers.remove(CONNECTION);
        named.into_iter().for_each(|name| {
            headers.remove(name);
        });
    }
    headers.remove(&KEEP_ALIVE);
    headers.remove(&PROXY_CONNECTION);
    headers.remove(header::TE);
    headers.remove(header::UPGRADE);
}

/// Fields that a `Connection` field names, except those that frame or address the message: a client must not be able
/// to have them removed.
fn named_fields(value: &HeaderValue) -> impl Iterator<Item = HeaderName> + use<'_> {
    value.as_bytes().split(|&byte| byte == b',').filter_map(|token| {
        let token = token.trim_ascii();
        if token.eq_ignore_ascii_case(b"close") || token.eq_ignore_ascii_case(b"keep-alive") {
            return None;
        }
        let name = HeaderName::from_bytes(token).ok()?;
        let kept = [HOST, header::CONTENT_LENGTH, header::TRANSFER_ENCODING, header::AUTHORIZATION];
        (!kept.contains(&name)).then_some(name)
    })
}

#[cfg(test)]
mod tests;
