//! Writers that never stop, search in between, and remember what was acknowledged.

use crate::api::Api;
use anyhow::{Context, Result, bail, ensure};
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};
use tokio::task::JoinHandle;

/// Clients, unless told otherwise.
pub const WRITERS: usize = 4;
const DIMENSION: usize = 16;
/// After a write that was not acknowledged; short, because the end of an outage is measured by it.
const RETRY_PAUSE: Duration = Duration::from_millis(2);
/// Between two writes of one writer.
const PAUSE: Duration = Duration::from_millis(4);
const PAGE: usize = 1_000;
/// So many acknowledged writes show that there is somebody who takes them.
const SOME: usize = 50;
/// Longest wait for the first of them.
const BEGUN_WITHIN: Duration = Duration::from_secs(20);

pub struct Writers {
    api: Api,
    stop: Arc<AtomicBool>,
    acknowledged: Arc<AtomicUsize>,
    tasks: Vec<JoinHandle<Written>>,
}

/// What was written: ids with their first component.
#[derive(Default)]
pub struct Written {
    acknowledged: BTreeMap<String, f32>,
    /// Without an answer: may be there or not.
    unknown: BTreeMap<String, f32>,
    /// When each request, writes and searches alike, was begun and answered, and whether it failed.
    pub requests: Vec<Request>,
    api: Option<Api>,
}

pub struct Request {
    pub write: bool,
    pub begun: Instant,
    pub ended: Instant,
    pub failed: bool,
}

pub struct Found {
    pub lost: usize,
    pub duplicated: usize,
}

impl Writers {
    /// Registers, logs in, makes a database and begins to write.
    pub async fn start(gateway: &str, writers: usize) -> Result<Writers> {
        Self::start_asking_for(gateway, gateway, writers).await
    }

    /// The same by a name that leads to the database there, once some of what they wrote is acknowledged.
    pub async fn at_work(gateway: &str, host: &str, writers: usize) -> Result<Writers> {
        let writers = Self::start_asking_for(gateway, host, writers).await?;
        writers.until_acknowledged(SOME, BEGUN_WITHIN).await?;
        Ok(writers)
    }

    async fn start_asking_for(gateway: &str, host: &str, writers: usize) -> Result<Writers> {
        let api = Api::open_asking_for(gateway, host, DIMENSION).await?;
        let stop = Arc::new(AtomicBool::new(false));
        let acknowledged = Arc::new(AtomicUsize::new(0));
        let tasks = (0..writers)
            .map(|writer| tokio::spawn(write(writer, api.clone(), stop.clone(), acknowledged.clone())))
            .collect();
        Ok(Writers { api, stop, acknowledged, tasks })
    }

    /// What they write to.
    pub fn api(&self) -> &Api {
        &self.api
    }

    /// Writes that were acknowledged so far.
    pub fn acknowledged_now(&self) -> usize {
        self.acknowledged.load(Ordering::Relaxed)
    }

    pub async fn until_acknowledged(&self, number: usize, limit: Duration) -> Result<()> {
        let began = Instant::now();
        while self.acknowledged_now() < number {
            ensure!(began.elapsed() < limit, "only {} writes acknowledged", self.acknowledged_now());
            tokio::time::sleep(PAUSE).await;
        }
        Ok(())
    }

    /// Waits until some more writes are acknowledged than there are now.
    pub async fn until_written_again(&self, limit: Duration) -> Result<()> {
        self.until_acknowledged(self.acknowledged_now() + SOME, limit).await
    }

    pub async fn stop(self) -> Result<Written> {
        self.stop.store(true, Ordering::Relaxed);
        let mut all = Written { api: Some(self.api), ..Written::default() };
        for task in self.tasks {
            let written = task.await.context("a writer panicked")?;
            all.acknowledged.extend(written.acknowledged);
            all.unknown.extend(written.unknown);
            all.requests.extend(written.requests);
        }
        Ok(all)
    }
}

async fn write(writer: usize, api: Api, stop: Arc<AtomicBool>, count: Arc<AtomicUsize>) -> Written {
    let mut written = Written::default();
    let (path, search) = (api.path("/vectors"), api.path("/search"));
    let mut number = 0;
    while !stop.load(Ordering::Relaxed) {
        number += 1;
        let id = format!("w{writer}-{number}");
        let first = number as f32 + writer as f32 / 32.0;
        let values = values(first);
        let body = json!({"id": id, "values": values});
        let query = json!({"queryVector": values, "topK": 10});
        let begun = Instant::now();
        let answer = api.call("POST", &path, &body).await;
        let acknowledged = answer.is_ok_and(|answer| answer.status == 201);
        written.requests.push(Request { write: true, begun, ended: Instant::now(), failed: !acknowledged });
        if acknowledged {
            written.acknowledged.insert(id, first);
            count.fetch_add(1, Ordering::Relaxed);
        } else {
            // While the gateway is gone nothing answers; a write that was under way may have been done.
            written.unknown.insert(id, first);
            tokio::time::sleep(RETRY_PAUSE).await;
        }
        // Reads are what a rollout is judged by.
        let begun = Instant::now();
        let failed = !api.call("POST", &search, &query).await.is_ok_and(|answer| answer.status == 200);
        written.requests.push(Request { write: false, begun, ended: Instant::now(), failed });
        tokio::time::sleep(PAUSE).await;
    }
    written
}

/// Spread over all directions, so that a search has one best answer; the first component names the vector.
fn values(first: f32) -> Vec<f32> {
    let mut state = u64::from(first.to_bits()).wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1;
    let mut values = vec![first];
    values.resize_with(DIMENSION, || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        // As long as the first component, so that it does not decide alone.
        first * ((state >> 40) as f32 / (1 << 23) as f32 - 1.0)
    });
    values
}

impl Written {
    /// From now on it is looked for at this address.
    ///
    /// # Errors
    /// When nothing was written.
    pub fn look_at(&mut self, address: &str) -> Result<&Api> {
        let api = self.api.as_ref().context("nothing was written")?.at(address);
        Ok(self.api.insert(api))
    }

    pub fn acknowledged(&self) -> usize {
        self.acknowledged.len()
    }

    /// Requests that failed, writes and searches alike.
    pub fn failed(&self) -> usize {
        self.requests.iter().filter(|request| request.failed).count()
    }

    pub fn none_failed(&self) -> Result<()> {
        let failed = self.failed();
        ensure!(failed == 0, "{failed} of {} requests of writers failed", self.requests.len());
        Ok(())
    }

    /// What was acknowledged is there, once; requests may have failed.
    pub async fn nothing_lost(&self) -> Result<()> {
        let found = self.check().await?;
        ensure!(found.lost == 0 && found.duplicated == 0, "{} lost, {} duplicated", found.lost, found.duplicated);
        Ok(())
    }

    /// Compares with everything the database lists.
    pub async fn check(&self) -> Result<Found> {
        let api = self.api.as_ref().context("nothing was written")?;
        let mut seen = BTreeSet::new();
        let mut duplicated = 0;
        let mut matching = 0;
        for page in 0.. {
            let path = api.path(&format!("/vectors?limit={PAGE}&offset={}", page * PAGE));
            let listed = api.json("GET", &path, &Value::Null, 200).await?;
            let vectors = listed["vectors"].as_array().context("no vectors in the list")?;
            for vector in vectors {
                let id = vector["id"].as_str().context("a vector without id")?.to_string();
                let value = vector["values"][0].as_f64().context("a vector without values")? as f32;
                match (self.acknowledged.get(&id), self.unknown.get(&id)) {
                    (Some(expected), _) if *expected == value => matching += 1,
                    (None, Some(expected)) if *expected == value => {}
                    _ => bail!("`{id}` with {value} was never written"),
                }
                if !seen.insert(id) {
                    duplicated += 1;
                }
            }
            if vectors.len() < PAGE {
                break;
            }
        }
        Ok(Found { lost: self.acknowledged.len().saturating_sub(matching - duplicated), duplicated })
    }
}

impl fmt::Display for Written {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} writes, {} requests of writers failed", self.acknowledged(), self.failed())
    }
}
