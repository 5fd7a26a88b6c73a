//! Answers of the gateway itself: a status and `{"error": "..."}`.

use crate::body::AnswerBody;
use crate::session::Session;
use bytes::Bytes;
use http::header::{CONNECTION, CONTENT_TYPE, RETRY_AFTER};
use http::{HeaderValue, Response, StatusCode};
use http_body::Body;
use hyper::body::Incoming;
use std::sync::Arc;

/// A request the gateway does not pass on, or could not.
#[derive(Debug)]
pub(crate) struct Refusal {
    pub(crate) status: StatusCode,
    pub(crate) error: String,
    /// Says that the same request may do better in a second.
    pub(crate) retry: bool,
    /// The request's body as far as it was not read, if the client is sending it.
    pub(crate) unread: Option<Incoming>,
}

/// A body up to this size is left to hyper, which drains what has arrived and keeps the connection.
const UNREAD_SMALL_BYTES: u64 = 4 * 1024;

impl Refusal {
    pub(crate) fn new(status: StatusCode, error: impl Into<String>) -> Self {
        Self { status, error: error.into(), retry: false, unread: None }
    }

    /// 503 with `Retry-After: 1`.
    pub(crate) fn unavailable(error: impl Into<String>) -> Self {
        Self { retry: true, ..Self::new(StatusCode::SERVICE_UNAVAILABLE, error) }
    }

    pub(crate) fn with_unread(mut self, unread: Option<Incoming>) -> Self {
        self.unread = unread.filter(|body| body.size_hint().upper().is_none_or(|size| size > UNREAD_SMALL_BYTES));
        self
    }

    pub(crate) fn into_response(self, session: &Arc<Session>) -> Response<AnswerBody> {
        let text = Bytes::from(serde_json::json!({ "error": self.error }).to_string());
        let closes = self.unread.is_some();
        let body = match self.unread {
            Some(unread) => AnswerBody::own_then_drain(text, unread, session.clone()),
            None => AnswerBody::own(text, session.clone()),
        };
        let mut response = Response::new(body);
        *response.status_mut() = self.status;
        let headers = response.headers_mut();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        if self.retry {
            headers.insert(RETRY_AFTER, HeaderValue::from_static("1"));
        }
        if closes {
            headers.insert(CONNECTION, HeaderValue::from_static("close"));
        }
        response
    }
}
