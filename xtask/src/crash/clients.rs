//! The clients: writers that insert, overwrite, delete and put back records of their own, and readers that search.

use super::books::{self, Books, Content, DIMENSION, Outcome};
use super::outages::Outages;
use crate::api::{self, Api};
use anyhow::{Result, ensure};
use client::{HttpError, JsonResponse};
use parking_lot::Mutex;
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use serde_json::{Value, json};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};
use tokio::sync::RwLock;
use tokio::task::JoinSet;

const WRITERS: u64 = 4;
const READERS: u64 = 3;
/// Between two requests of one client, so that the machine has time for what is tested.
const WRITE_PAUSE: Duration = Duration::from_millis(8);
const READ_PAUSE: Duration = Duration::from_millis(8);
/// After a request that reached nobody.
const UNREACHABLE_PAUSE: Duration = Duration::from_millis(15);
/// Records of one writer that are there at a time.
const STORED_MAX: usize = 2_500;
/// Records in a batch.
const BATCH: usize = 4;
/// A writer reads back one in so many of its writes.
const READ_BACK_ONE_IN: u32 = 4;
/// Wrong answers that are kept for the report.
const WRONG_MAX: usize = 1_000;

/// What all clients share.
#[derive(Default)]
pub struct Shared {
    pub books: Books,
    pub outages: Outages,
    /// Clients hold it for reading during a request; a check holds it for writing, so that the records stand still.
    pub gate: RwLock<()>,
    /// Position of the newest acknowledged write.
    pub newest_lsn: AtomicU64,
    pub reads: AtomicU64,
    pub reads_back: AtomicU64,
    pub reads_failed: AtomicU64,
    /// Failed reads that were not judged yet.
    failed_reads: Mutex<Vec<FailedRead>>,
    /// Those that no outage explains.
    unexplained: Mutex<Vec<String>>,
    /// Answers that are wrong whatever was killed.
    wrong: Mutex<Vec<String>>,
}

struct FailedRead {
    begun: Instant,
    ended: Instant,
    why: String,
}

/// Clients at work.
pub struct Clients {
    tasks: JoinSet<()>,
    stop: Arc<AtomicBool>,
}

impl Shared {
    /// Sorts the failed reads of before now into those that an outage explains and the others.
    pub fn judge_reads(&self) {
        let failed = std::mem::take(&mut *self.failed_reads.lock());
        let unexplained = failed.into_iter().filter(|read| !self.outages.explain(read.begun, read.ended));
        self.unexplained.lock().extend(unexplained.map(|read| read.why));
        self.outages.forget();
    }

    pub fn unexplained_reads(&self) -> Vec<String> {
        self.unexplained.lock().clone()
    }

    pub fn wrong_answers(&self) -> Vec<String> {
        self.wrong.lock().clone()
    }

    pub fn wrong(&self, what: String) {
        let mut wrong = self.wrong.lock();
        if wrong.len() < WRONG_MAX {
            wrong.push(what);
        }
    }

    fn failed_read(&self, begun: Instant, why: String) {
        self.reads_failed.fetch_add(1, Ordering::Relaxed);
        self.failed_reads.lock().push(FailedRead { begun, ended: Instant::now(), why });
    }
}

impl Clients {
    pub fn start(api: &Api, shared: &Arc<Shared>, seed: u64) -> Clients {
        let stop = Arc::new(AtomicBool::new(false));
        let mut tasks = JoinSet::new();
        for number in 0..WRITERS {
            let writer = Writer {
                number,
                api: api.clone(),
                shared: shared.clone(),
                random: StdRng::seed_from_u64(seed ^ (number + 1)),
                stored: Vec::new(),
                deleted: Vec::new(),
                ids: 0,
                revision: 0,
            };
            tasks.spawn(writer.run(stop.clone()));
        }
        for number in 0..READERS {
            let random = StdRng::seed_from_u64(seed ^ (number + 1_001));
            tasks.spawn(read(api.clone(), shared.clone(), random, stop.clone()));
        }
        Clients { tasks, stop }
    }

    /// Lets every client finish its request.
    pub async fn stop(mut self) -> Result<()> {
        self.stop.store(true, Ordering::Relaxed);
        while let Some(ended) = self.tasks.join_next().await {
            ensure!(ended.is_ok(), "a client broke off: {ended:?}");
        }
        Ok(())
    }
}

async fn read(api: Api, shared: Arc<Shared>, mut random: StdRng, stop: Arc<AtomicBool>) {
    let (search, list) = (api.path("/search"), api.path("/vectors?limit=3"));
    while !stop.load(Ordering::Relaxed) {
        let reached = {
            let _open = shared.gate.read().await;
            let begun = Instant::now();
            let answer = if random.random_range(0..4) == 0 {
                api.call("GET", &list, &Value::Null).await
            } else {
                let query: Vec<f32> = (0..DIMENSION).map(|_| random.random_range(-1.0..1.0)).collect();
                api.call("POST", &search, &json!({"queryVector": query, "topK": 5})).await
            };
            shared.reads.fetch_add(1, Ordering::Relaxed);
            let reached = answer.is_ok();
            match answer {
                Ok(answer) if answer.status == 200 => {}
                Ok(answer) if answer.status < 500 => {
                    shared.wrong(format!("a read: status {}: {}", answer.status, api::text(&answer)));
                }
                Ok(answer) => {
                    shared.failed_read(begun, format!("status {}: {}", answer.status, api::text(&answer)));
                }
                Err(error) => shared.failed_read(begun, error.to_string()),
            }
            reached
        };
        tokio::time::sleep(if reached { READ_PAUSE } else { UNREACHABLE_PAUSE }).await;
    }
}

/// A client that writes records that belong to it alone.
struct Writer {
    number: u64,
    api: Api,
    shared: Arc<Shared>,
    random: StdRng,
    /// Ids that are there, and ids that are not there any more; one whose last write is unknown is in neither.
    stored: Vec<String>,
    deleted: Vec<String>,
    /// Ids given out.
    ids: u64,
    /// Highest revision given to any of its records.
    revision: u32,
}

enum Write {
    Insert,
    InsertBatch,
    Update(String),
    Delete(String),
    PutBack(String),
}

impl Writer {
    async fn run(mut self, stop: Arc<AtomicBool>) {
        let shared = self.shared.clone();
        while !stop.load(Ordering::Relaxed) {
            let reached = {
                let _open = shared.gate.read().await;
                self.write().await
            };
            tokio::time::sleep(if reached { WRITE_PAUSE } else { UNREACHABLE_PAUSE }).await;
        }
    }

    /// Makes one write and notes how it ended. False when it reached nobody: then it is as if it had never been.
    async fn write(&mut self) -> bool {
        let write = self.choose();
        self.revision += 1;
        let revision = self.revision;
        let (path, content) = (self.api.path("/vectors"), Content::Stored { revision });
        let one = |id: &str| format!("{path}/{id}");
        let (ids, content, answer) = match &write {
            Write::Insert => {
                let id = self.new_id();
                let answer = self.api.call("POST", &path, &books::body(&id, revision)).await;
                (vec![id], content, answer)
            }
            Write::InsertBatch => {
                let ids: Vec<String> = (0..BATCH).map(|_| self.new_id()).collect();
                let vectors: Vec<Value> = ids.iter().map(|id| books::body(id, revision)).collect();
                let answer = self.api.call("POST", &format!("{path}/batch"), &json!({"vectors": vectors})).await;
                (ids, content, answer)
            }
            Write::Update(id) | Write::PutBack(id) => {
                (vec![id.clone()], content, self.api.call("PUT", &one(id), &books::body(id, revision)).await)
            }
            Write::Delete(id) => {
                (vec![id.clone()], Content::Deleted, self.api.call("DELETE", &one(id), &Value::Null).await)
            }
        };
        let Some(outcome) = self.outcome(&ids, &answer) else {
            self.give_back(write);
            return false;
        };
        for id in &ids {
            self.shared.books.note(id, content, outcome);
        }
        match outcome {
            Outcome::Acknowledged => {
                let lsn = answer.ok().as_ref().and_then(api::lsn).unwrap_or_default();
                self.shared.newest_lsn.fetch_max(lsn, Ordering::Relaxed);
                if self.random.random_range(0..READ_BACK_ONE_IN) == 0 {
                    self.read_back(&ids[0], content, lsn).await;
                }
                match content {
                    Content::Stored { .. } => self.stored.extend(ids),
                    Content::Deleted => self.deleted.extend(ids),
                }
            }
            Outcome::Refused => self.give_back(write),
            Outcome::Unknown => {}
        }
        true
    }

    /// How a write ended; `None` when it reached nobody.
    fn outcome(&self, ids: &[String], answer: &Result<JsonResponse, HttpError>) -> Option<Outcome> {
        match answer {
            Err(error) if error.never_sent() => None,
            Err(_) => Some(Outcome::Unknown),
            Ok(answer) => Some(match answer.status {
                200 | 201 => Outcome::Acknowledged,
                503 => Outcome::Refused,
                502 | 504 => Outcome::Unknown,
                status => {
                    self.shared.wrong(format!("a write of {ids:?}: status {status}: {}", api::text(answer)));
                    Outcome::Unknown
                }
            }),
        }
    }

    /// A client that says how new the answer must be finds its own acknowledged write, wherever it asks. No answer, or
    /// none in time, is not wrong.
    async fn read_back(&mut self, id: &str, content: Content, lsn: u64) {
        let path = self.api.path(&format!("/vectors/{id}"));
        let Ok(answer) = self.api.call_with("GET", &path, &Value::Null, Some(lsn)).await else { return };
        let found = match answer.status {
            200 => serde_json::from_slice(&answer.body)
                .map_err(|error| error.to_string())
                .and_then(|record| books::content_of(id, &record)),
            404 => Ok(Content::Deleted),
            500.. => return,
            status => Err(format!("status {status}: {}", api::text(&answer))),
        };
        self.shared.reads_back.fetch_add(1, Ordering::Relaxed);
        if found != Ok(content) {
            self.shared.wrong(format!("{id} read back at LSN {lsn}: {found:?} instead of {content:?}"));
        }
        let Content::Stored { revision } = content else { return };
        let search = self.api.path("/search");
        // The graph may miss one in thousands; a scan may not.
        for exact in [false, true] {
            let query = json!({"queryVector": books::values(id, revision), "topK": 3, "exact": exact});
            let Ok(answer) = self.api.call_with("POST", &search, &query, Some(lsn)).await else { return };
            if answer.status != 200 || finds(id, &answer) {
                return;
            }
        }
        self.shared.wrong(format!("{id} at revision {revision} is not found by a search at LSN {lsn}"));
    }

    /// What to write next; an id that is chosen leaves its list.
    fn choose(&mut self) -> Write {
        let dice = self.random.random_range(0..100);
        let full = self.stored.len() >= STORED_MAX;
        match dice {
            0..30 if !full => Write::Insert,
            30..35 if !full => Write::InsertBatch,
            35..50 => taken(&mut self.random, &mut self.deleted).map_or(Write::Insert, Write::PutBack),
            50..65 => taken(&mut self.random, &mut self.stored).map_or(Write::Insert, Write::Delete),
            _ => taken(&mut self.random, &mut self.stored).map_or(Write::Insert, Write::Update),
        }
    }

    fn give_back(&mut self, write: Write) {
        match write {
            Write::Insert | Write::InsertBatch => {}
            Write::Update(id) | Write::Delete(id) => self.stored.push(id),
            Write::PutBack(id) => self.deleted.push(id),
        }
    }

    fn new_id(&mut self) -> String {
        self.ids += 1;
        format!("w{}-{}", self.number, self.ids)
    }
}

fn taken(random: &mut StdRng, list: &mut Vec<String>) -> Option<String> {
    if list.is_empty() {
        return None;
    }
    let position = random.random_range(0..list.len());
    Some(list.swap_remove(position))
}

/// The best result is `id`, as near as can be.
pub fn finds(id: &str, answer: &JsonResponse) -> bool {
    let Ok(answer) = serde_json::from_slice::<Value>(&answer.body) else { return false };
    let best = &answer["results"][0];
    best["vectorId"] == *id && best["score"].as_f64().is_some_and(|score| score > 0.999)
}
