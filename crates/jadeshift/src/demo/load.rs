//! The clients of the demonstration: they log in, load the packages, and then read and write for the whole time.

use super::checker::{self, Checker, Content};
use super::connection::{Connection, NoAnswer, Tally};
use super::data::{DIMENSION, DataSet};
use super::pauses::{PauseMeter, now_ms};
use bytes::Bytes;
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use serde_json::{Value, json};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;
use tokio::sync::RwLock;
use tokio::task::JoinSet;

/// Packages loaded in batches before the clients begin; the others are left to the writers.
pub const LOADED: usize = 8_000;
/// Packages in a batch.
const BATCH: usize = 100;
/// Clients that search.
const READERS: usize = 6;
/// Clients that write one record after the other.
pub const WRITERS: usize = 4;
/// Each reader begins a search this often, if the one before has been answered: 400 searches a second in total.
const READ_PERIOD: Duration = Duration::from_millis(15);
/// What a writer does between two writes; short, so that some write is always under way when a handover begins.
const WRITE_THINKING: Duration = Duration::from_millis(10);
/// Every so many writes, a writer reads back what it has just written.
const WRITES_PER_READ_BACK: u64 = 8;
/// Results asked for by each search.
const TOP_K: usize = 10;

/// A logged-in user and a database.
#[derive(Clone)]
pub struct Session {
    pub gateway: String,
    pub token: String,
    pub database: String,
}

/// What all clients share.
#[derive(Clone)]
pub struct Shared {
    pub data: Arc<DataSet>,
    pub checker: Arc<Checker>,
    pub tally: Arc<Tally>,
    pub pauses: Arc<PauseMeter>,
    /// Writers hold it for reading during a write; a check holds it for writing, so that the records stand still.
    pub gate: Arc<RwLock<()>>,
    /// Position of the log of the newest acknowledged write.
    pub newest_lsn: Arc<AtomicU64>,
}

impl Session {
    /// Registers a user, logs in and creates a database, with the calls that existing clients make.
    pub async fn open(gateway: &str, tally: &Arc<Tally>) -> Result<Self, NoAnswer> {
        let mut anyone = Connection::new(gateway, None, tally);
        // Random, because a password that stands in the source is one.
        let password = format!("{:032x}", rand::random::<u128>());
        let account = json!({"username": "demo", "password": password});
        anyone.call("POST", "/v1/auth/register", text(&account)).await?;
        let login = anyone.call("POST", "/v1/auth/login", text(&account)).await?.json()?;
        let token = string(&login, "token")?;
        let mut user = Connection::new(gateway, Some(&token), tally);
        let database = json!({"name": "packages", "vectorDimension": DIMENSION, "indexType": "HNSW"});
        let created = user.call("POST", "/v1/databases", text(&database)).await?.json()?;
        let database = string(&created, "databaseId")?;
        Ok(Self { gateway: gateway.into(), token, database })
    }

    pub fn connect(&self, tally: &Arc<Tally>) -> Connection {
        Connection::new(&self.gateway, Some(&self.token), tally)
    }

    /// Path below the database.
    pub fn path(&self, rest: &str) -> String {
        format!("/v1/databases/{}{rest}", self.database)
    }

    /// Stores the first [`LOADED`] packages in batches.
    pub async fn load(&self, shared: &Shared) -> Result<(), NoAnswer> {
        let mut connection = self.connect(&shared.tally);
        for first in (0..LOADED).step_by(BATCH) {
            let rows = first..(first + BATCH).min(LOADED);
            let vectors: Vec<Value> = rows.clone().map(|row| checker::body(&shared.data, row, 0)).collect();
            let body = text(&json!({ "vectors": vectors }));
            connection.call("POST", &self.path("/vectors/batch"), body).await?;
            rows.for_each(|row| shared.checker.acknowledge(row, Content::Stored { revision: 0 }));
        }
        Ok(())
    }

    /// Searches by a vector, by the index or (`exact`) by looking at everything; returns ids with scores, best first, and the version that answered.
    pub async fn search(
        &self,
        connection: &mut Connection,
        vector: &[f32],
        top_k: usize,
        exact: bool,
    ) -> Result<(Vec<(String, f64)>, Option<String>), NoAnswer> {
        let body = json!({"queryVector": vector, "topK": top_k, "exact": exact});
        let answer = connection.call("POST", &self.path("/search"), text(&body)).await?;
        let results = answer.json()?["results"].as_array().cloned().unwrap_or_default();
        let result = |result: &Value| {
            Some((result["vectorId"].as_str()?.to_string(), result["score"].as_f64().unwrap_or(f64::NAN)))
        };
        Ok((results.iter().filter_map(result).collect(), answer.version))
    }
}

/// The clients at work.
pub struct Load {
    tasks: JoinSet<()>,
    stop: Arc<AtomicBool>,
}

impl Load {
    pub fn start(session: &Session, shared: &Shared) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let mut tasks = JoinSet::new();
        let queries: Arc<Vec<Bytes>> = Arc::new(
            (0..shared.data.queries.len()).map(|row| search_body(&shared.data.query_vector(row), TOP_K)).collect(),
        );
        for reader in 0..READERS {
            tasks.spawn(read(reader, session.clone(), shared.clone(), queries.clone(), stop.clone()));
        }
        for number in 0..WRITERS {
            let writer = Writer::new(number, session, shared);
            tasks.spawn(writer.run(stop.clone()));
        }
        Self { tasks, stop }
    }

    /// Lets every client finish its request. A client that panicked is an error in the demonstration itself.
    pub async fn stop(mut self) -> Result<(), String> {
        self.stop.store(true, Ordering::Relaxed);
        let mut result = Ok(());
        while let Some(ended) = self.tasks.join_next().await {
            if let Err(error) = ended {
                result = Err(format!("a client ended by itself: {error}"));
            }
        }
        result
    }
}

async fn read(reader: usize, session: Session, shared: Shared, queries: Arc<Vec<Bytes>>, stop: Arc<AtomicBool>) {
    let mut connection = session.connect(&shared.tally);
    let path = session.path("/search");
    let mut ticks = tokio::time::interval(READ_PERIOD);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    // Each reader begins elsewhere, so that all queries are asked soon.
    let mut next = reader * queries.len() / READERS;
    while !stop.load(Ordering::Relaxed) {
        ticks.tick().await;
        // A failure is counted by the connection; the next search goes on.
        if let Ok(answer) = connection.call("POST", &path, queries[next].clone()).await {
            let found = answer.json().ok().and_then(|answer| answer["results"].as_array().map(Vec::len));
            if found != Some(TOP_K) {
                shared.tally.fail(format!("POST {path}: {found:?} results instead of {TOP_K}"));
            }
        }
        next = (next + 1) % queries.len();
    }
}

/// A client that inserts, updates, deletes and puts back the packages that belong to it alone.
struct Writer {
    number: usize,
    session: Session,
    shared: Shared,
    connection: Connection,
    random: StdRng,
    fresh: Vec<usize>,
    stored: Vec<usize>,
    deleted: Vec<usize>,
    /// Highest revision given to any of its packages.
    revision: u32,
    writes: u64,
}

#[derive(Debug, Clone, Copy)]
enum Kind {
    Insert,
    Update,
    Delete,
    PutBack,
}

impl Writer {
    fn new(number: usize, session: &Session, shared: &Shared) -> Self {
        let fresh = (LOADED..shared.data.packages.len()).filter(|row| row % WRITERS == number).collect();
        Self {
            number,
            session: session.clone(),
            shared: shared.clone(),
            connection: session.connect(&shared.tally),
            random: StdRng::seed_from_u64(number as u64),
            fresh,
            stored: Vec::new(),
            deleted: Vec::new(),
            revision: 0,
            writes: 0,
        }
    }

    async fn run(mut self, stop: Arc<AtomicBool>) {
        let gate = self.shared.gate.clone();
        while !stop.load(Ordering::Relaxed) {
            {
                let _open = gate.read().await;
                self.write_one().await;
            }
            tokio::time::sleep(WRITE_THINKING).await;
        }
    }

    async fn write_one(&mut self) {
        let Some((kind, row)) = self.choose() else { return };
        self.revision += 1;
        let revision = self.revision;
        let id = self.shared.data.packages[row].name;
        let one = self.session.path(&format!("/vectors/{}", percent_encoded(id)));
        let body = || text(&checker::body(&self.shared.data, row, revision));
        let sent_ms = now_ms();
        let (content, result) = match kind {
            Kind::Insert => {
                let all = self.session.path("/vectors");
                (Content::Stored { revision }, self.connection.call("POST", &all, body()).await)
            }
            Kind::Update | Kind::PutBack => {
                (Content::Stored { revision }, self.connection.call("PUT", &one, body()).await)
            }
            Kind::Delete => (Content::Deleted, self.connection.call("DELETE", &one, Bytes::new()).await),
        };
        let Ok(answer) = result else {
            // Nobody writes this package again: it is in none of the lists any more.
            self.shared.checker.outcome_unknown(row, content);
            return;
        };
        self.shared.checker.acknowledge(row, content);
        self.shared.pauses.note(self.number, sent_ms, answer.latency);
        let lsn = answer.lsn.unwrap_or_default();
        self.shared.newest_lsn.fetch_max(lsn, Ordering::Relaxed);
        match content {
            Content::Stored { .. } => self.stored.push(row),
            Content::Deleted => self.deleted.push(row),
        }
        self.writes += 1;
        if self.writes.is_multiple_of(WRITES_PER_READ_BACK) && content != Content::Deleted {
            self.connection.demand_lsn(lsn);
            self.read_back(&one, row, revision).await;
            self.connection.demand_lsn(0);
        }
    }

    /// A client that says how new the answer must be finds its own acknowledged write on either environment.
    async fn read_back(&mut self, path: &str, row: usize, revision: u32) {
        let Ok(answer) = self.connection.call("GET", path, Bytes::new()).await else { return };
        let found = answer.json().map_err(|error| error.why);
        match found.and_then(|vector| checker::revision_of(&self.shared.data, row, &vector)) {
            Ok(found) if found == revision => {}
            Ok(found) => self.shared.tally.fail(format!("GET {path}: revision {found} after {revision} was written")),
            Err(why) => self.shared.tally.fail(format!("GET {path}: {why}")),
        }
    }

    /// What to write next; the package leaves its list.
    fn choose(&mut self) -> Option<(Kind, usize)> {
        let dice = self.random.random_range(0..100);
        let kind = match dice {
            0..20 if !self.fresh.is_empty() => Kind::Insert,
            20..32 if !self.deleted.is_empty() => Kind::PutBack,
            32..44 if !self.stored.is_empty() => Kind::Delete,
            _ if !self.stored.is_empty() => Kind::Update,
            _ if !self.fresh.is_empty() => Kind::Insert,
            _ => Kind::PutBack,
        };
        let list = match kind {
            Kind::Insert => &mut self.fresh,
            Kind::Update | Kind::Delete => &mut self.stored,
            Kind::PutBack => &mut self.deleted,
        };
        if list.is_empty() {
            return None;
        }
        let position = self.random.random_range(0..list.len());
        Some((kind, list.swap_remove(position)))
    }
}

fn search_body(vector: &[f32], top_k: usize) -> Bytes {
    text(&json!({"queryVector": vector, "topK": top_k}))
}

pub fn text(value: &Value) -> Bytes {
    Bytes::from(value.to_string())
}

fn string(answer: &Value, key: &str) -> Result<String, NoAnswer> {
    answer[key]
        .as_str()
        .map(Into::into)
        .ok_or_else(|| NoAnswer { status: None, why: format!("the answer has no {key}") })
}

/// Package names have `+` and `.`; what is not allowed in a path segment is encoded.
fn percent_encoded(id: &str) -> String {
    let mut encoded = String::with_capacity(id.len());
    for byte in id.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => encoded.push(char::from(byte)),
            other => encoded.push_str(&format!("%{other:02X}")),
        }
    }
    encoded
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_become_one_path_segment() {
        assert_eq!(percent_encoded("g++-12"), "g%2B%2B-12");
        assert_eq!(percent_encoded("a/b c"), "a%2Fb%20c");
    }

    #[tokio::test]
    async fn writers_share_no_package() {
        let shared = Shared {
            data: Arc::new(DataSet::carried().unwrap()),
            checker: Arc::new(Checker::new(10_000)),
            tally: Arc::default(),
            pauses: Arc::default(),
            gate: Arc::default(),
            newest_lsn: Arc::default(),
        };
        let session = Session { gateway: "127.0.0.1:1".into(), token: "t".into(), database: "d".into() };
        let mut owned: Vec<usize> =
            (0..WRITERS).flat_map(|number| Writer::new(number, &session, &shared).fresh).collect();
        owned.sort();
        assert_eq!(owned, (LOADED..10_000).collect::<Vec<_>>());
    }
}
