//! What a handler gives back: an answer, or the problem that stands in its place. Both become JSON.

use crate::auth::limits::Refusal;
use crate::auth::password::PasswordError;
use crate::auth::secret::NoRandomness;
use crate::engine::{Applied, Repeated, WriteError};
use axum::body::Body;
use axum::response::Response;
use bytes::Bytes;
use http::header::{CONTENT_TYPE, HeaderName, HeaderValue, RETRY_AFTER, WWW_AUTHENTICATE};
use http::{HeaderMap, StatusCode};
use serde::Serialize;
use serde_json::json;
use wire::admin::Lsn;

/// What a handler gives back.
pub type Outcome = Result<Answer, Problem>;

pub const JSON: HeaderValue = HeaderValue::from_static("application/json");
/// Text exposition format of Prometheus.
pub const PROMETHEUS: HeaderValue = HeaderValue::from_static("text/plain; version=0.0.4");

/// A success, or an answer passed on from the primary.
pub struct Answer {
    pub status: StatusCode,
    pub content_type: HeaderValue,
    pub body: Bytes,
    /// The LSN of the write that this answer confirms.
    pub lsn: Option<Lsn>,
    /// It was given before, to an earlier request with the same idempotency key.
    pub repeated: bool,
    /// Set when the answer was made by another node: these headers are given instead of this node's own.
    pub passed_on: Option<HeaderMap>,
}

impl Answer {
    /// `body` is JSON text.
    pub fn json(status: StatusCode, body: impl Into<Bytes>) -> Self {
        Self { status, content_type: JSON, body: body.into(), lsn: None, repeated: false, passed_on: None }
    }

    pub fn ok(body: &impl Serialize) -> Self {
        // Values that are put together here (strings, numbers, lists) always have a JSON form.
        Self::json(StatusCode::OK, serde_json::to_vec(body).unwrap_or_default())
    }

    pub fn created(body: &impl Serialize) -> Self {
        Self { status: StatusCode::CREATED, ..Self::ok(body) }
    }

    /// Says at which LSN the write stands.
    pub fn at(mut self, applied: Applied) -> Self {
        self.lsn = Some(applied.lsn);
        self
    }
}

/// Why a request is not answered as asked.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum Problem {
    #[error("{0}")]
    BadRequest(String),
    #[error("{0}")]
    Unauthorised(String),
    #[error("{0}")]
    Forbidden(String),
    #[error("{0}")]
    NotFound(String),
    #[error("{0}")]
    Conflict(String),
    /// Another request with the same idempotency key.
    #[error("{0}")]
    KeyReused(String),
    /// Done before: not a refusal, but the way of the first answer to the client.
    #[error("the request was done before")]
    Repeated(Box<Repeated>),
    #[error("the body did not arrive within {seconds} s")]
    BodyTimeout { seconds: u64 },
    #[error("{0}")]
    TooLarge(String),
    #[error("too many attempts")]
    Limited(Refusal),
    #[error("{0}")]
    Internal(String),
    #[error("{what} is not part of this version of the node; COMPATIBILITY.md lists what is")]
    NotBuilt { what: &'static str },
    #[error("{0}")]
    BadGateway(String),
    #[error("{0}")]
    GatewayTimeout(String),
    #[error("{text}")]
    Unavailable { text: String, retry_after_s: u64 },
    /// The LSN that a read demands is not here, and on a primary it is nowhere.
    #[error("{text}")]
    Behind { text: String, primary: bool },
    /// Nothing was done: the request is to be routed again.
    #[error("this node stopped being the primary while the request was under way; try again")]
    NotPrimary,
}

impl Problem {
    pub fn unavailable(text: impl Into<String>) -> Self {
        Problem::Unavailable { text: text.into(), retry_after_s: 1 }
    }

    pub fn unknown_database(id: &str) -> Self {
        Problem::NotFound(format!("database `{id}` does not exist"))
    }

    pub fn status(&self) -> StatusCode {
        match self {
            Problem::BadRequest(_) => StatusCode::BAD_REQUEST,
            Problem::Unauthorised(_) => StatusCode::UNAUTHORIZED,
            Problem::Forbidden(_) | Problem::Limited(Refusal::Blocked { .. }) => StatusCode::FORBIDDEN,
            Problem::NotFound(_) => StatusCode::NOT_FOUND,
            Problem::Conflict(_) | Problem::Repeated(_) => StatusCode::CONFLICT,
            Problem::KeyReused(_) => StatusCode::UNPROCESSABLE_ENTITY,
            Problem::BodyTimeout { .. } => StatusCode::REQUEST_TIMEOUT,
            Problem::TooLarge(_) => StatusCode::PAYLOAD_TOO_LARGE,
            Problem::Limited(Refusal::TooMany { .. }) => StatusCode::TOO_MANY_REQUESTS,
            Problem::Internal(_) => StatusCode::INTERNAL_SERVER_ERROR,
            Problem::NotBuilt { .. } => StatusCode::NOT_IMPLEMENTED,
            Problem::BadGateway(_) => StatusCode::BAD_GATEWAY,
            Problem::GatewayTimeout(_) => StatusCode::GATEWAY_TIMEOUT,
            Problem::Unavailable { .. } | Problem::Behind { .. } | Problem::NotPrimary => {
                StatusCode::SERVICE_UNAVAILABLE
            }
        }
    }

    fn retry_after_s(&self) -> Option<u64> {
        match self {
            Problem::Limited(Refusal::TooMany { retry_after_s } | Refusal::Blocked { retry_after_s })
            | Problem::Unavailable { retry_after_s, .. } => Some(*retry_after_s),
            Problem::Behind { .. } | Problem::NotPrimary => Some(1),
            _ => None,
        }
    }

    fn body(&self) -> Vec<u8> {
        let body = match self {
            Problem::Limited(Refusal::TooMany { retry_after_s }) => json!({
                "error": "rate_limit_exceeded",
                "retry_after": retry_after_s,
                "message": format!("Too many attempts from here; try again in {retry_after_s} s"),
            }),
            Problem::Limited(Refusal::Blocked { retry_after_s }) => json!({
                "error": "ip_blocked",
                "reason": "too many failed logins",
                "retry_after": retry_after_s,
                "message": format!("This address is blocked; try again in {retry_after_s} s"),
            }),
            other => json!({ "error": other.to_string() }),
        };
        body.to_string().into_bytes()
    }

    pub fn response(&self) -> Response {
        let mut response = Response::new(Body::from(self.body()));
        *response.status_mut() = self.status();
        let headers = response.headers_mut();
        headers.insert(CONTENT_TYPE, JSON);
        if let Some(seconds) = self.retry_after_s() {
            headers.insert(RETRY_AFTER, seconds.into());
        }
        if matches!(self, Problem::Unauthorised(_)) {
            headers.insert(WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        }
        if let Problem::Behind { primary, .. } = self {
            let role = if *primary { wire::headers::BEHIND_PRIMARY } else { wire::headers::BEHIND_FOLLOWER };
            headers.insert(BEHIND_HEADER, HeaderValue::from_static(role));
        }
        response
    }
}

/// The response, without the headers that every answer under `/v1` carries.
pub fn response(outcome: Outcome) -> Response {
    let answer = match outcome {
        Ok(answer) => answer,
        Err(problem) => return problem.response(),
    };
    let mut response = Response::new(Body::from(answer.body));
    *response.status_mut() = answer.status;
    match answer.passed_on {
        Some(headers) => *response.headers_mut() = headers,
        None => {
            response.headers_mut().insert(CONTENT_TYPE, answer.content_type);
            if let Some(lsn) = answer.lsn {
                response.headers_mut().insert(LSN_HEADER, lsn.into());
            }
            if answer.repeated {
                response.headers_mut().insert(REPEATED_HEADER, HeaderValue::from_static("true"));
            }
        }
    }
    response
}

pub const LSN_HEADER: HeaderName = HeaderName::from_static(wire::headers::LSN);
pub const BEHIND_HEADER: HeaderName = HeaderName::from_static(wire::headers::BEHIND);
const REPEATED_HEADER: HeaderName = HeaderName::from_static(wire::headers::IDEMPOTENT_REPLAYED);
pub const VERSION_HEADER: HeaderName = HeaderName::from_static(wire::headers::VERSION);

impl From<WriteError> for Problem {
    fn from(error: WriteError) -> Self {
        let text = error.to_string();
        match error {
            WriteError::NotPrimary => Problem::NotPrimary,
            WriteError::UnknownDatabase(_) => Problem::NotFound(text),
            WriteError::Dimension { .. } => Problem::BadRequest(text),
            WriteError::Conflict(_) => Problem::Conflict(text),
            WriteError::UnknownVector { .. } => Problem::NotFound(text),
            WriteError::Repeated(repeated) => Problem::Repeated(repeated),
            WriteError::KeyReused => Problem::KeyReused(text),
            WriteError::Failed(_) => Problem::Unavailable { text, retry_after_s: 30 },
            WriteError::Overloaded => Problem::unavailable(text),
            WriteError::Unconfirmed { .. } => Problem::GatewayTimeout(text),
        }
    }
}

impl From<PasswordError> for Problem {
    fn from(error: PasswordError) -> Self {
        match error {
            PasswordError::Busy => Problem::unavailable(error.to_string()),
            PasswordError::Hash(_) => Problem::Internal(error.to_string()),
        }
    }
}

impl From<NoRandomness> for Problem {
    fn from(error: NoRandomness) -> Self {
        Problem::Internal(error.to_string())
    }
}

impl From<Refusal> for Problem {
    fn from(refusal: Refusal) -> Self {
        Problem::Limited(refusal)
    }
}
