//! A closed-loop HTTP/1.1 load client that costs little processor time, because it shares the machine with what it
//! measures: one connection a client, requests written as bytes, and of an answer only the status and the length are read.

use anyhow::{Context, Result, bail};
use hdrhistogram::Histogram;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::task::JoinSet;

/// Longest latency that is told apart, microseconds.
const LATENCY_US_MAX: u64 = 60_000_000;
/// A client that fails this often in a row gives up.
const FAILURES_IN_A_ROW_MAX: u32 = 20;
/// Pause after a failed exchange, before the next connection.
const PAUSE_AFTER_FAILURE: Duration = Duration::from_millis(10);
/// How long after its planned end a load of limited duration may still wait for its last answers.
const OVERTIME: Duration = Duration::from_secs(30);
/// Longest head of an answer.
const HEAD_BYTES_MAX: usize = 16 << 10;

/// Who is asked, by how many, for how long.
pub struct Plan {
    /// The clients are spread over these evenly.
    pub addresses: Vec<SocketAddr>,
    pub clients: usize,
    pub until: Until,
    /// Every other status counts as a failure.
    pub expected_status: u16,
}

/// When a load ends.
#[derive(Clone, Copy)]
pub enum Until {
    /// After so many requests, or at the latest after the given time.
    Requests(u64, Duration),
    Elapsed(Duration),
}

/// What a load measured.
pub struct Outcome {
    /// Requests answered with the expected status.
    pub answered: u64,
    pub failed: u64,
    /// The first failure in words.
    pub first_failure: Option<String>,
    /// From the first request to the last answer.
    pub elapsed: Duration,
    /// Of the answered requests.
    pub latency_us: Histogram<u32>,
}

/// One keep-alive connection and its buffers.
pub struct Connection {
    address: SocketAddr,
    stream: Option<TcpStream>,
    answer: Vec<u8>,
}

/// The head of an answer, as far as a load client needs it.
#[derive(Debug, PartialEq, Eq)]
struct Head {
    status: u16,
    head_bytes: usize,
    body_bytes: usize,
    closes: bool,
}

/// Appends a whole request to `out`. `host` is what the `host` header says, `token` a bearer token.
pub fn write_request(method: &str, path: &str, host: &str, token: Option<&str>, body: &[u8], out: &mut Vec<u8>) {
    let authorization = token.map(|token| format!("authorization: Bearer {token}\r\n")).unwrap_or_default();
    let content = match body.len() {
        0 if method == "GET" => String::new(),
        length => format!("content-type: application/json\r\ncontent-length: {length}\r\n"),
    };
    let head = format!("{method} {path} HTTP/1.1\r\nhost: {host}\r\n{authorization}{content}\r\n");
    out.extend_from_slice(head.as_bytes());
    out.extend_from_slice(body);
}

/// Runs the load. `request` appends the request of a given number (counted from 0 over all clients) to an empty buffer.
///
/// Fails when no connection can be made or the time limit of the plan is over; failures of single requests are counted.
pub async fn run(plan: &Plan, request: impl Fn(u64, &mut Vec<u8>) + Send + Sync + 'static) -> Result<Outcome> {
    let mut connections = Vec::new();
    for client in 0..plan.clients {
        connections.push(Connection::open(plan.addresses[client % plan.addresses.len()]).await?);
    }
    let limit = match plan.until {
        Until::Requests(_, limit) => limit,
        Until::Elapsed(duration) => duration + OVERTIME,
    };
    let (request, next) = (Arc::new(request), Arc::new(AtomicU64::new(0)));
    let started = Instant::now();
    let mut clients = JoinSet::new();
    for connection in connections {
        let (request, next) = (request.clone(), next.clone());
        clients.spawn(one_client(connection, plan.until, plan.expected_status, started, next, request));
    }
    let mut total = Outcome::empty();
    let collecting = async {
        while let Some(outcome) = clients.join_next().await {
            total.add(&outcome.context("a load client panicked")?);
        }
        anyhow::Ok(())
    };
    match tokio::time::timeout(limit, collecting).await {
        Ok(result) => result?,
        Err(_) => bail!("the load on {:?} did not end within {} s", plan.addresses, limit.as_secs()),
    }
    total.elapsed = started.elapsed();
    Ok(total)
}

async fn one_client(
    mut connection: Connection,
    until: Until,
    expected_status: u16,
    started: Instant,
    next: Arc<AtomicU64>,
    request: Arc<impl Fn(u64, &mut Vec<u8>)>,
) -> Outcome {
    let mut outcome = Outcome::empty();
    let mut failures_in_a_row = 0;
    let mut bytes = Vec::new();
    let mut now = Instant::now();
    loop {
        if matches!(until, Until::Elapsed(duration) if now - started >= duration) {
            return outcome;
        }
        let number = next.fetch_add(1, Ordering::Relaxed);
        if matches!(until, Until::Requests(count, _) if number >= count) {
            return outcome;
        }
        bytes.clear();
        request(number, &mut bytes);
        let sent = Instant::now();
        let result = connection.exchange(&bytes).await;
        now = Instant::now();
        let failure = match result {
            Ok((status, _)) if status == expected_status => {
                outcome.answered += 1;
                outcome.latency_us.saturating_record((now - sent).as_micros() as u64);
                failures_in_a_row = 0;
                continue;
            }
            Ok((status, body)) => {
                format!("status {status}: {}", String::from_utf8_lossy(&body[..body.len().min(200)]))
            }
            Err(error) => error.to_string(),
        };
        outcome.failed += 1;
        outcome.first_failure.get_or_insert(failure);
        failures_in_a_row += 1;
        if failures_in_a_row == FAILURES_IN_A_ROW_MAX {
            return outcome;
        }
        tokio::time::sleep(PAUSE_AFTER_FAILURE).await;
        now = Instant::now();
    }
}

impl Connection {
    pub async fn open(address: SocketAddr) -> Result<Connection> {
        let stream = connect(address).await.with_context(|| format!("cannot connect to {address}"))?;
        Ok(Connection { address, stream: Some(stream), answer: Vec::with_capacity(16 << 10) })
    }

    /// Sends a whole request and reads the whole answer: its status and its body. Connects again when the last exchange
    /// ended the connection; a failed exchange is not repeated.
    pub async fn exchange(&mut self, request: &[u8]) -> io::Result<(u16, &[u8])> {
        let mut stream = match self.stream.take() {
            Some(stream) => stream,
            None => connect(self.address).await?,
        };
        stream.write_all(request).await?;
        self.answer.clear();
        let head = loop {
            if stream.read_buf(&mut self.answer).await? == 0 {
                return Err(bad_answer("the connection was closed before the end of the answer's head"));
            }
            if let Some(head) = parse_head(&self.answer)? {
                break head;
            }
        };
        let end = head.head_bytes + head.body_bytes;
        while self.answer.len() < end {
            if stream.read_buf(&mut self.answer).await? == 0 {
                return Err(bad_answer("the connection was closed before the end of the answer's body"));
            }
        }
        if !head.closes {
            self.stream = Some(stream);
        }
        Ok((head.status, &self.answer[head.head_bytes..end]))
    }
}

impl Outcome {
    fn empty() -> Outcome {
        let latency_us = Histogram::new_with_max(LATENCY_US_MAX, 3).expect("three digits up to a constant are valid");
        Outcome { answered: 0, failed: 0, first_failure: None, elapsed: Duration::ZERO, latency_us }
    }

    /// Adds the counts and latencies of `other`, and its time: rounds that were run one after another.
    pub fn add(&mut self, other: &Outcome) {
        self.answered += other.answered;
        self.failed += other.failed;
        self.first_failure = self.first_failure.take().or_else(|| other.first_failure.clone());
        self.elapsed += other.elapsed;
        self.latency_us.add(&other.latency_us).expect("all histograms have the same range");
    }

    pub fn per_second(&self) -> f64 {
        self.answered as f64 / self.elapsed.as_secs_f64().max(1e-9)
    }

    /// Latency that the share `quantile` of the answered requests did not exceed, milliseconds.
    pub fn latency_ms(&self, quantile: f64) -> f64 {
        self.latency_us.value_at_quantile(quantile) as f64 / 1000.0
    }

    /// An error when any request failed.
    pub fn all_answered(self, what: &str) -> Result<Outcome> {
        match &self.first_failure {
            None => Ok(self),
            Some(failure) => {
                bail!(
                    "{what}: {} of {} requests failed, the first with: {failure}",
                    self.failed,
                    self.failed + self.answered
                )
            }
        }
    }
}

async fn connect(address: SocketAddr) -> io::Result<TcpStream> {
    let stream = TcpStream::connect(address).await?;
    stream.set_nodelay(true)?;
    Ok(stream)
}

/// Nothing while the head is incomplete.
fn parse_head(bytes: &[u8]) -> io::Result<Option<Head>> {
    let Some(end) = bytes.windows(4).position(|window| window == b"\r\n\r\n") else {
        return if bytes.len() > HEAD_BYTES_MAX { Err(bad_answer("the answer's head is too long")) } else { Ok(None) };
    };
    let Ok(text) = std::str::from_utf8(&bytes[..end]) else { return Err(bad_answer("the answer's head is not text")) };
    let mut lines = text.split("\r\n");
    let status = lines.next().and_then(|line| line.strip_prefix("HTTP/1.1 ")).and_then(|rest| rest.get(..3));
    let Some(status) = status.and_then(|status| status.parse::<u16>().ok()) else {
        return Err(bad_answer("the answer does not begin as HTTP/1.1"));
    };
    let mut head = Head { status, head_bytes: end + 4, body_bytes: 0, closes: false };
    let mut length_known = status == 204 || status == 304;
    for line in lines {
        let Some((name, value)) = line.split_once(':') else { continue };
        if name.eq_ignore_ascii_case("content-length") {
            head.body_bytes = value.trim().parse().map_err(|_| bad_answer("content-length is not a number"))?;
            length_known = true;
        } else if name.eq_ignore_ascii_case("connection") {
            head.closes = value.trim().eq_ignore_ascii_case("close");
        }
    }
    if !length_known {
        return Err(bad_answer("the answer has no content-length, which this client needs"));
    }
    Ok(Some(head))
}

fn bad_answer(what: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, what)
}

#[cfg(test)]
mod tests;
