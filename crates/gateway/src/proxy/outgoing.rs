//! A request on its way out, and whether it may go a second time.

use crate::body::RequestBody;
use bytes::Bytes;
use http::{HeaderMap, Method, Request, Uri, request};
use hyper::body::Incoming;

/// A request to be sent.
pub(super) enum Outgoing {
    /// Changes nothing and is known as a whole: a copy is sent, as often as needed.
    Repeatable { method: Method, uri: Uri, headers: HeaderMap, body: Bytes },
    /// Goes out once; it is back here only if not a byte of it was sent.
    Once(Option<Request<RequestBody>>),
}

impl Outgoing {
    pub(super) fn repeatable(parts: request::Parts, body: Bytes) -> Self {
        Outgoing::Repeatable { method: parts.method, uri: parts.uri, headers: parts.headers, body }
    }

    pub(super) fn once(parts: request::Parts, body: RequestBody) -> Self {
        Outgoing::Once(Some(Request::from_parts(parts, body)))
    }

    pub(super) fn is_repeatable(&self) -> bool {
        matches!(self, Outgoing::Repeatable { .. })
    }

    /// Can be sent now.
    pub(super) fn is_here(&self) -> bool {
        !matches!(self, Outgoing::Once(None))
    }

    /// As they will be sent; `None` once it is gone.
    pub(super) fn headers_mut(&mut self) -> Option<&mut HeaderMap> {
        match self {
            Outgoing::Repeatable { headers, .. } => Some(headers),
            Outgoing::Once(request) => request.as_mut().map(Request::headers_mut),
        }
    }

    pub(super) fn take(&mut self) -> Option<Request<RequestBody>> {
        match self {
            Outgoing::Repeatable { method, uri, headers, body } => {
                let mut request = Request::new(RequestBody::kept(body.clone()));
                *request.method_mut() = method.clone();
                *request.uri_mut() = uri.clone();
                *request.headers_mut() = headers.clone();
                Some(request)
            }
            Outgoing::Once(request) => request.take(),
        }
    }

    /// After a connection that did not send it.
    pub(super) fn give_back(&mut self, unsent: Request<RequestBody>) {
        if let Outgoing::Once(slot) = self {
            *slot = Some(unsent);
        }
    }

    /// The body as far as the client was not asked for it.
    pub(super) fn into_unread(self) -> Option<Incoming> {
        match self {
            Outgoing::Once(Some(request)) => request.into_body().into_unread(),
            _ => None,
        }
    }
}
