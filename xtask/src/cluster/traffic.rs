//! Readers of two kinds, as clients are: some keep their connections as long as they can, some make one for each request. Every
//! request is remembered with its time, who answered it, and whether it failed.

use crate::api::Api;
use anyhow::{Context, Result, ensure};
use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::client::conn::http1::SendRequest;
use hyper_util::rt::TokioIo;
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use tokio::net::TcpStream;
use tokio::task::JoinHandle;
use tokio::time::Instant;

/// Connections that are kept.
const KEEPING: usize = 8;
const PASSING: usize = 2;
/// Between two requests of one reader.
const PAUSE: Duration = Duration::from_millis(10);
/// A request without an answer has failed.
const TIMEOUT: Duration = Duration::from_secs(10);

/// One request.
#[derive(Debug, Clone)]
pub struct Shot {
    pub keeps: bool,
    pub begun: Instant,
    pub ended: Instant,
    /// Version label of who answered.
    pub by: String,
    pub failed: Option<String>,
}

pub struct Readers {
    stop: Arc<AtomicBool>,
    tasks: Vec<JoinHandle<Vec<Shot>>>,
}

/// What all readers saw.
pub struct Shots(pub Vec<Shot>);

#[derive(Clone)]
struct Target {
    address: String,
    host: String,
    path: String,
    authorization: String,
    body: Bytes,
    timeout: Duration,
}

impl Readers {
    /// Search where `api` leads, for what it may see.
    pub fn start(api: &Api) -> Readers {
        Readers::impatient(api, TIMEOUT)
    }

    /// Those that make a connection for each request give it up after `timeout`.
    pub fn impatient(api: &Api, timeout: Duration) -> Readers {
        let body = serde_json::json!({"queryVector": vec![1.0; api.dimension], "topK": 3}).to_string();
        let target = Target {
            address: api.address.clone(),
            host: api.host.clone(),
            path: api.path("/search"),
            authorization: api.authorization(),
            body: body.into(),
            timeout,
        };
        let stop = Arc::new(AtomicBool::new(false));
        let reader = |keeps: bool| tokio::spawn(read(target.clone(), keeps, stop.clone()));
        let tasks = (0..KEEPING).map(|_| reader(true)).chain((0..PASSING).map(|_| reader(false))).collect();
        Readers { stop, tasks }
    }

    pub async fn stop(self) -> Result<Shots> {
        self.stop.store(true, Ordering::Relaxed);
        let mut all = Vec::new();
        for task in self.tasks {
            all.extend(task.await.context("a reader panicked")?);
        }
        Ok(Shots(all))
    }
}

async fn read(target: Target, keeps: bool, stop: Arc<AtomicBool>) -> Vec<Shot> {
    let mut shots = Vec::new();
    let mut connection: Option<SendRequest<Full<Bytes>>> = None;
    while !stop.load(Ordering::Relaxed) {
        let begun = Instant::now();
        // One that the other side has closed is no failure: nothing was sent.
        let usable = connection.take().filter(|connection| !connection.is_closed());
        let timeout = if keeps { TIMEOUT } else { target.timeout };
        let (answer, kept) = match tokio::time::timeout(timeout, ask(&target, usable)).await {
            Ok(Ok((answer, kept))) => (Ok(answer), Some(kept)),
            Ok(Err(error)) => (Err(format!("{error:#}")), None),
            Err(_) => (Err(format!("no answer within {} ms", timeout.as_millis())), None),
        };
        connection = kept.filter(|_| keeps);
        let (by, failed) = match answer {
            Ok((200, by)) => (by, None),
            Ok((status, by)) => (by, Some(format!("status {status}"))),
            Err(why) => (String::new(), Some(why)),
        };
        shots.push(Shot { keeps, begun, ended: Instant::now(), by, failed });
        tokio::time::sleep(PAUSE).await;
    }
    shots
}

type Answer = ((u16, String), SendRequest<Full<Bytes>>);

async fn ask(target: &Target, connection: Option<SendRequest<Full<Bytes>>>) -> Result<Answer> {
    let mut connection = match connection {
        Some(connection) => connection,
        None => {
            let stream = TcpStream::connect(&target.address).await.context("connecting")?;
            stream.set_nodelay(true)?;
            let (sender, serving) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await?;
            tokio::spawn(serving);
            sender
        }
    };
    let request = hyper::Request::post(&target.path)
        .header("host", &target.host)
        .header("authorization", &target.authorization)
        .header("content-type", "application/json")
        .body(Full::new(target.body.clone()))?;
    let answer = connection.send_request(request).await.context("the connection broke")?;
    let by = answer.headers().get(wire::headers::VERSION).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let (status, by) = (answer.status().as_u16(), by.to_string());
    answer.into_body().collect().await.context("the answer broke off")?;
    Ok(((status, by), connection))
}

impl Shots {
    pub fn failed(&self) -> Vec<&Shot> {
        self.0.iter().filter(|shot| shot.failed.is_some()).collect()
    }

    /// When the first request was begun.
    pub fn began(&self) -> Instant {
        self.0.iter().map(|shot| shot.begun).min().unwrap_or_else(Instant::now)
    }

    pub fn must_not_fail(&self) -> Result<()> {
        let failed = self.failed();
        let first =
            failed.first().map(|shot| (shot.keeps, shot.by.as_str(), shot.failed.as_deref().unwrap_or_default()));
        ensure!(failed.is_empty(), "{} of {} reads failed, the first: {first:?}", failed.len(), self.0.len());
        Ok(())
    }

    /// Part of the requests from `from` to `to` that `version` answered, for readers that keep connections and for those that do
    /// not, with how many there were.
    pub fn answered_by(&self, version: &str, from: Instant, to: Instant) -> [(f64, usize); 2] {
        [true, false].map(|keeps| {
            let within: Vec<&Shot> =
                self.0.iter().filter(|shot| shot.keeps == keeps && shot.begun >= from && shot.begun < to).collect();
            let answered = within.iter().filter(|shot| shot.by == version).count();
            (answered as f64 / within.len().max(1) as f64, within.len())
        })
    }

    /// How long after `from` another version than `version` still answered.
    pub fn last_other_than(&self, version: &str, from: Instant, to: Instant) -> Option<Duration> {
        let others = self.0.iter().filter(|shot| shot.begun >= from && shot.begun < to && shot.by != version);
        others.map(|shot| shot.begun - from).max()
    }
}

impl fmt::Display for Shots {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} reads, {} failed", self.0.len(), self.failed().len())
    }
}
