//! One client of the demonstration: a keep-alive HTTP connection that never retries.

use bytes::{Bytes, BytesMut};
use http_body_util::{BodyExt, Full};
use hyper::client::conn::http1::{SendRequest, handshake};
use hyper_util::rt::TokioIo;
use serde_json::Value;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};
use tokio::net::TcpStream;

/// A request that takes longer has failed.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(10);
/// Longest answer read into memory; a page of 1,000 vectors has about 2 MB.
const ANSWER_BYTES_MAX: usize = 64 << 20;
/// Failures kept word by word.
const FAILURES_KEPT_MAX: usize = 10;

/// Counts of all clients' requests.
#[derive(Default)]
pub struct Tally {
    total: AtomicU64,
    failed: AtomicU64,
    examples: Mutex<Vec<String>>,
}

impl Tally {
    pub fn total(&self) -> u64 {
        self.total.load(Ordering::Relaxed)
    }

    pub fn failed(&self) -> u64 {
        self.failed.load(Ordering::Relaxed)
    }

    /// The first failures, as the clients saw them.
    pub fn examples(&self) -> Vec<String> {
        self.examples.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn count(&self) {
        self.total.fetch_add(1, Ordering::Relaxed);
    }

    /// Counts a request that was answered, but wrongly, or not at all.
    pub fn fail(&self, description: String) {
        self.failed.fetch_add(1, Ordering::Relaxed);
        let mut examples = self.examples.lock().unwrap_or_else(PoisonError::into_inner);
        if examples.len() < FAILURES_KEPT_MAX {
            examples.push(description);
        }
    }
}

/// A whole answer with status 2xx.
pub struct Answer {
    /// Version label of the node that answered, when it says so.
    pub version: Option<String>,
    /// Position of the log at which the answer was made.
    pub lsn: Option<u64>,
    pub body: Bytes,
    /// Time from sending until the whole answer was there.
    pub latency: Duration,
}

impl Answer {
    pub fn json(&self) -> Result<Value, NoAnswer> {
        serde_json::from_slice(&self.body)
            .map_err(|error| NoAnswer { status: None, why: format!("the answer is not JSON: {error}") })
    }
}

/// A request that failed; it was counted.
#[derive(Debug, Clone, thiserror::Error)]
#[error("{why}")]
pub struct NoAnswer {
    /// Status of the answer, if there was one.
    pub status: Option<u16>,
    pub why: String,
}

/// A connection to the gateway that is opened anew when it was closed.
pub struct Connection {
    address: String,
    token: Option<String>,
    sender: Option<SendRequest<Full<Bytes>>>,
    /// Answers must be at least as new as this position of the log.
    min_lsn: u64,
    tally: Arc<Tally>,
}

impl Connection {
    pub fn new(address: &str, token: Option<&str>, tally: &Arc<Tally>) -> Self {
        Self { address: address.into(), token: token.map(Into::into), sender: None, min_lsn: 0, tally: tally.clone() }
    }

    /// Demands answers at least as new as `lsn`, as a client does that wants to see its own writes on either environment.
    pub fn demand_lsn(&mut self, lsn: u64) {
        self.min_lsn = lsn;
    }

    /// Sends one request and reads the whole answer. Whatever is no 2xx within [`REQUEST_TIMEOUT`] is counted as failed.
    pub async fn call(&mut self, method: &str, path: &str, body: Bytes) -> Result<Answer, NoAnswer> {
        self.tally.count();
        let started = Instant::now();
        let result = match tokio::time::timeout(REQUEST_TIMEOUT, self.exchange(method, path, body)).await {
            Ok(result) => result,
            Err(_) => Err(NoAnswer { status: None, why: format!("no answer within {} s", REQUEST_TIMEOUT.as_secs()) }),
        };
        match result {
            Ok(answer) => Ok(Answer { latency: started.elapsed(), ..answer }),
            Err(failure) => {
                // Half an answer may still be on its way; the next request must not read it.
                self.sender = None;
                self.tally.fail(format!("{method} {path}: {}", failure.why));
                Err(failure)
            }
        }
    }

    async fn exchange(&mut self, method: &str, path: &str, body: Bytes) -> Result<Answer, NoAnswer> {
        let broken = |why: String| NoAnswer { status: None, why };
        let mut request = hyper::Request::builder()
            .method(method)
            .uri(path)
            .header("host", &self.address)
            .header("content-type", "application/json");
        if let Some(token) = &self.token {
            request = request.header("authorization", format!("Bearer {token}"));
        }
        if self.min_lsn > 0 {
            request = request.header(wire::headers::MIN_LSN, self.min_lsn);
        }
        let request = request.body(Full::new(body)).map_err(|error| broken(error.to_string()))?;
        let response = self
            .sender()
            .await?
            .send_request(request)
            .await
            .map_err(|error| broken(format!("the connection broke: {error}")))?;
        let (head, mut body) = response.into_parts();
        let mut collected = BytesMut::new();
        while let Some(frame) = body.frame().await {
            let frame = frame.map_err(|error| broken(format!("the answer broke off: {error}")))?;
            let Ok(data) = frame.into_data() else { continue };
            if collected.len() + data.len() > ANSWER_BYTES_MAX {
                return Err(broken(format!("the answer is longer than {ANSWER_BYTES_MAX} bytes")));
            }
            collected.extend_from_slice(&data);
        }
        if !head.status.is_success() {
            let status = head.status.as_u16();
            let text = String::from_utf8_lossy(&collected[..collected.len().min(200)]).into_owned();
            return Err(NoAnswer { status: Some(status), why: format!("status {status}: {text}") });
        }
        let header = |name| head.headers.get(name).and_then(|value| value.to_str().ok());
        Ok(Answer {
            version: header(wire::headers::VERSION).map(Into::into),
            lsn: header(wire::headers::LSN).and_then(|lsn| lsn.parse().ok()),
            body: collected.freeze(),
            latency: Duration::ZERO,
        })
    }

    /// The open connection, or a new one when it was closed between two requests.
    async fn sender(&mut self) -> Result<&mut SendRequest<Full<Bytes>>, NoAnswer> {
        let open = match &mut self.sender {
            Some(sender) => sender.ready().await.is_ok(),
            None => false,
        };
        if !open {
            let broken = |why: String| NoAnswer { status: None, why };
            let stream = TcpStream::connect(&self.address)
                .await
                .map_err(|error| broken(format!("could not connect to {}: {error}", self.address)))?;
            stream.set_nodelay(true).map_err(|error| broken(error.to_string()))?;
            let (sender, connection) =
                handshake(TokioIo::new(stream)).await.map_err(|error| broken(error.to_string()))?;
            tokio::spawn(connection);
            self.sender = Some(sender);
        }
        self.sender.as_mut().ok_or_else(|| NoAnswer { status: None, why: "no connection".into() })
    }
}
