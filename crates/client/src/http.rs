//! Plain HTTP/1.1 requests over pooled connections.

use crate::body::AnswerBody;
use bytes::{Bytes, BytesMut};
use http_body_util::{BodyExt, Full};
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::{Client, connect::HttpConnector};
use hyper_util::rt::{TokioExecutor, TokioTimer};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::{self, PemObject};
use rustls::{ClientConfig, RootCertStore};
use std::error::Error;
use std::path::Path;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

/// How long a TCP connection may take.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(2);
/// How long an unused connection is kept.
const IDLE_TIMEOUT: Duration = Duration::from_secs(30);

pub type Request = hyper::Request<Full<Bytes>>;
/// An answer whose body is read as it arrives.
pub type StreamingResponse = hyper::Response<AnswerBody>;
/// An answer under way.
pub type Sending = Pin<Box<dyn Future<Output = Result<StreamingResponse, HttpError>> + Send>>;

/// Connections to any number of hosts; cloning shares them.
#[derive(Clone)]
pub struct Http {
    transport: Transport,
}

#[derive(Clone)]
enum Transport {
    Tcp(Client<HttpConnector, Full<Bytes>>),
    Tls(Client<HttpsConnector<HttpConnector>, Full<Bytes>>),
    Told(Arc<dyn Network>),
}

/// Carries requests in the place of TCP connections.
pub trait Network: Send + Sync {
    /// Sends `request` (absolute URI); ready when the head of the answer is there. Dropped by whoever no longer waits.
    fn send(&self, request: Request) -> Sending;
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

impl std::fmt::Debug for Http {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self.transport {
            Transport::Tcp(_) => "Http(TCP)",
            Transport::Tls(_) => "Http(TCP or TLS)",
            Transport::Told(_) => "Http(told)",
        })
    }
}

impl Http {
    pub fn new() -> Self {
        Self { transport: Transport::Tcp(builder().build(connector())) }
    }

    /// Speaks `https` as well, and trusts the certificates in `ca_file` (PEM) and no others; without one, whom the machine trusts:
    /// its own certificates, or those of the file that the variable `SSL_CERT_FILE` names.
    ///
    /// # Errors
    /// When the file cannot be read or has no certificate, or the machine has none.
    pub fn with_tls(ca_file: Option<&Path>) -> std::io::Result<Self> {
        let mut connector = connector();
        connector.enforce_http(false);
        let tls = match ca_file {
            Some(file) => HttpsConnectorBuilder::new().with_tls_config(trusting(file)?),
            None => HttpsConnectorBuilder::new().with_native_roots()?,
        };
        let connector = tls.https_or_http().enable_http1().wrap_connector(connector);
        Ok(Self { transport: Transport::Tls(builder().build(connector)) })
    }

    /// Sends every request over `network`.
    pub fn over(network: Arc<dyn Network>) -> Self {
        Self { transport: Transport::Told(network) }
    }

    /// Sends `request` (absolute URI) and returns as soon as the head of the answer is there.
    pub async fn stream(&self, request: Request, timeout: Duration) -> Result<StreamingResponse, HttpError> {
        let to = request.uri().authority().map(ToString::to_string).unwrap_or_default();
        let sending = async {
            let answer = match &self.transport {
                Transport::Tcp(client) => client.request(request).await,
                Transport::Tls(client) => client.request(request).await,
                Transport::Told(network) => return network.send(request).await,
            };
            match answer {
                Err(error) if error.is_connect() => Err(HttpError::Connect { to: to.clone(), why: cause(&error) }),
                Err(error) => Err(HttpError::Broken { to: to.clone(), why: cause(&error) }),
                Ok(response) => Ok(response.map(AnswerBody::received)),
            }
        };
        match tokio::time::timeout(timeout, sending).await {
            Err(_) => Err(HttpError::TimedOut { to: to.clone(), timeout_ms: timeout.as_millis() as u64 }),
            Ok(result) => result,
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
                let frame = frame.map_err(|error| HttpError::Broken { to: to.clone(), why: cause(&*error) })?;
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

/// A POST with these headers.
///
/// # Errors
/// [`HttpError::BadRequest`] when the address or a header has a character that none may have.
pub fn post<'a>(
    url: &str,
    headers: impl IntoIterator<Item = (&'a str, &'a str)>,
    body: impl Into<Bytes>,
) -> Result<Request, HttpError> {
    let mut request = hyper::Request::post(url);
    for (name, value) in headers {
        request = request.header(name, value);
    }
    let bad = |error: hyper::http::Error| HttpError::BadRequest { to: url.into(), why: error.to_string() };
    request.body(Full::new(body.into())).map_err(bad)
}

fn connector() -> HttpConnector {
    let mut connector = HttpConnector::new();
    connector.set_nodelay(true);
    connector.set_connect_timeout(Some(CONNECT_TIMEOUT));
    connector
}

/// Trusts the certificates of this file.
fn trusting(ca_file: &Path) -> std::io::Result<ClientConfig> {
    let odd = |why: String| std::io::Error::new(std::io::ErrorKind::InvalidData, why);
    let found = CertificateDer::pem_file_iter(ca_file).and_then(Iterator::collect::<Result<Vec<_>, _>>);
    let found = found.map_err(|error| match error {
        pem::Error::Io(error) => error,
        error => odd(error.to_string()),
    })?;
    let mut roots = RootCertStore::empty();
    if roots.add_parsable_certificates(found).0 == 0 {
        return Err(odd("it has no certificate (PEM)".into()));
    }
    Ok(ClientConfig::builder().with_root_certificates(roots).with_no_client_auth())
}

fn builder() -> hyper_util::client::legacy::Builder {
    let mut builder = Client::builder(TokioExecutor::new());
    builder.pool_timer(TokioTimer::new()).pool_idle_timeout(IDLE_TIMEOUT);
    builder
}

/// The innermost cause: "Connection refused" says more than "client error (Connect)".
fn cause(error: &dyn Error) -> String {
    let mut innermost = error;
    while let Some(source) = innermost.source() {
        innermost = source;
    }
    innermost.to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Answers with the path that was asked for, or never.
    struct Echo {
        silent: bool,
    }

    impl Network for Echo {
        fn send(&self, request: Request) -> Sending {
            let silent = self.silent;
            Box::pin(async move {
                if silent {
                    std::future::pending::<()>().await;
                }
                let path = Bytes::from(request.uri().path().to_owned());
                let body = Full::new(path).map_err(|never| match never {});
                Ok(hyper::Response::new(AnswerBody::told(body)))
            })
        }
    }

    fn request() -> Request {
        hyper::Request::builder().uri("http://blue:8080/health").body(Full::default()).unwrap()
    }

    #[tokio::test]
    async fn requests_go_over_the_network_that_was_told_and_keep_their_bounds() {
        let http = Http::over(Arc::new(Echo { silent: false }));
        let answer = http.whole(request(), Duration::from_secs(10), 7).await.unwrap();
        assert_eq!((answer.status, &answer.body[..]), (200, &b"/health"[..]));
        let error = http.whole(request(), Duration::from_secs(10), 6).await.unwrap_err();
        assert!(matches!(error, HttpError::TooLong { ref to, limit_bytes: 6 } if to == "blue:8080"), "{error}");
        let http = Http::over(Arc::new(Echo { silent: true }));
        let error = http.whole(request(), Duration::from_millis(10), 7).await.unwrap_err();
        assert!(matches!(error, HttpError::TimedOut { timeout_ms: 10, .. }), "{error}");
    }
}
