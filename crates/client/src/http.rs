//! Plain HTTP/1.1 requests over pooled connections.

use bytes::{Bytes, BytesMut};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper_util::client::legacy::{Client, connect::HttpConnector};
use hyper_util::rt::{TokioExecutor, TokioTimer};
use std::error::Error;
use std::time::Duration;

/// How long a TCP connection may take.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(2);
/// How long an unused connection is kept.
const IDLE_TIMEOUT: Duration = Duration::from_secs(30);

pub type Request = hyper::Request<Full<Bytes>>;
/// An answer whose body is read as it arrives.
pub type StreamingResponse = hyper::Response<Incoming>;

/// Connections to any number of hosts; cloning shares them.
#[derive(Clone)]
pub struct Http {
    client: Client<HttpConnector, Full<Bytes>>,
}

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub enum HttpError {
    #[error("could not connect to {to}: {why}")]
    Connect { to: String, why: String },
    #[error("{to} broke off: {why}")]
    Broken { to: String, why: String },
    #[error("{to} did not answer within {timeout_ms} ms")]
    TimedOut { to: String, timeout_ms: u64 },
    #[error("the answer of {to} is longer than {limit_bytes} bytes")]
    TooLong { to: String, limit_bytes: usize },
    #[error("the request to {to} cannot be built: {why}")]
    BadRequest { to: String, why: String },
}

impl HttpError {
    /// The request cannot have reached the other side.
    pub fn never_sent(&self) -> bool {
        matches!(self, HttpError::Connect { .. } | HttpError::BadRequest { .. })
    }
}

/// A whole answer.
#[derive(Debug)]
pub struct JsonResponse {
    pub status: u16,
    pub headers: hyper::HeaderMap,
    pub body: Bytes,
}

impl Default for Http {
    fn default() -> Self {
        Self::new()
    }
}

impl Http {
    pub fn new() -> Self {
        let mut connector = HttpConnector::new();
        connector.set_nodelay(true);
        connector.set_connect_timeout(Some(CONNECT_TIMEOUT));
        let client = Client::builder(TokioExecutor::new())
            .pool_timer(TokioTimer::new())
            .pool_idle_timeout(IDLE_TIMEOUT)
            .build(connector);
        Self { client }
    }

    /// Sends `request` (absolute URI) and returns as soon as the head of the answer is there.
    pub async fn stream(&self, request: Request, timeout: Duration) -> Result<StreamingResponse, HttpError> {
        let to = request.uri().authority().map(ToString::to_string).unwrap_or_default();
        match tokio::time::timeout(timeout, self.client.request(request)).await {
            Err(_) => Err(HttpError::TimedOut { to, timeout_ms: timeout.as_millis() as u64 }),
            Ok(Err(error)) if error.is_connect() => Err(HttpError::Connect { to, why: cause(&error) }),
            Ok(Err(error)) => Err(HttpError::Broken { to, why: cause(&error) }),
            Ok(Ok(response)) => Ok(response),
        }
    }

    /// Sends `request` and reads the whole answer, at most `limit_bytes` of it.
    pub async fn whole(
        &self,
        request: Request,
        timeout: Duration,
        limit_bytes: usize,
    ) -> Result<JsonResponse, HttpError> {
        let to = request.uri().authority().map(ToString::to_string).unwrap_or_default();
        let reading = async {
            let (head, mut body) = self.stream(request, timeout).await?.into_parts();
            let mut collected = BytesMut::new();
            while let Some(frame) = body.frame().await {
                let frame = frame.map_err(|error| HttpError::Broken { to: to.clone(), why: cause(&error) })?;
                let Ok(data) = frame.into_data() else { continue };
                if collected.len() + data.len() > limit_bytes {
                    return Err(HttpError::TooLong { to: to.clone(), limit_bytes });
                }
                collected.extend_from_slice(&data);
            }
            Ok(JsonResponse { status: head.status.as_u16(), headers: head.headers, body: collected.freeze() })
        };
        match tokio::time::timeout(timeout, reading).await {
            Err(_) => Err(HttpError::TimedOut { to: to.clone(), timeout_ms: timeout.as_millis() as u64 }),
            Ok(result) => result,
        }
    }
}

/// The innermost cause: "Connection refused" says more than "client error (Connect)".
fn cause(error: &dyn Error) -> String {
    let mut innermost = error;
    while let Some(source) = innermost.source() {
        innermost = source;
    }
    innermost.to_string()
}
