//! A started database node, with a user, a database, and the requests that a benchmark sends to it.

use super::dataset::{Dataset, JsonNumbers};
use super::load::{Connection, Outcome, Plan, Until, run, write_request};
use super::process::{Process, wait_for_json};
use anyhow::{Context, Result, bail, ensure};
use client::{Admin, Http};
use serde::Deserialize;
use serde_json::{Value, json};
use std::fs;
use std::io::Write;
use std::net::SocketAddr;
use std::ops::Range;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::time::{Duration, Instant};
use wire::admin::{Follow, NodeState, Peer};

/// How long a node may take until it is ready.
const READY_LIMIT: Duration = Duration::from_secs(60);
/// How long one call outside of a load may take.
const CALL_TIMEOUT: Duration = Duration::from_secs(30);
/// How often a node is asked whether its index is complete.
const INDEX_POLL: Duration = Duration::from_millis(10);
/// Vectors in one batch.
pub const BATCH: usize = 100;
/// Results asked of a search.
pub const TOP_K: usize = 10;

/// Makes nodes: the program and what every one of them is given.
#[derive(Clone)]
pub struct NodeProgram {
    pub program: PathBuf,
    /// Further arguments, such as `--index-kind`.
    pub arguments: Vec<String>,
}

/// A running node.
pub struct Node {
    pub process: Process,
    pub http: SocketAddr,
    admin: Admin,
    peer: Peer,
    /// Bearer token of a user; known after [`Node::sign_in`].
    token: Arc<str>,
}

/// What a node says about itself when it is ready.
#[derive(Deserialize)]
struct Ready {
    http: SocketAddr,
    admin: SocketAddr,
}

/// Everything that is sent to one database of one node: cheap to clone, so that a load can own it.
#[derive(Clone)]
pub struct Requests {
    host: Arc<str>,
    token: Arc<str>,
    base: Arc<str>,
    data: Arc<Dataset>,
    numbers: Arc<JsonNumbers>,
}

impl NodeProgram {
    /// Starts nodes that wait to be told whom to follow.
    pub fn joining(mut self) -> NodeProgram {
        self.arguments.push("--join".into());
        self
    }

    /// Starts a node on `folder` (which keeps data, token and output) and returns when it says that it is ready.
    pub async fn start(&self, folder: &Path) -> Result<Node> {
        let (ready_file, token_file) = (folder.join("ready.json"), folder.join("admin-token"));
        fs::create_dir_all(folder)?;
        if ready_file.exists() {
            fs::remove_file(&ready_file)?;
        }
        if !token_file.exists() {
            let token = format!("{:032x}", rand::random::<u128>());
            let mut file = fs::OpenOptions::new().create_new(true).write(true).mode(0o600).open(&token_file)?;
            file.write_all(token.as_bytes())?;
        }
        let mut command = Command::new(&self.program);
        for (name, _) in std::env::vars_os() {
            let foreign = ["JADEVECTORDB_", "JDB_", "JADE_DB_", "JWT_"];
            if name.to_str().is_some_and(|name| foreign.iter().any(|prefix| name.starts_with(prefix))) {
                command.env_remove(name);
            }
        }
        command.env("JADEVECTORDB_ENV", "development");
        command.args(["--http", "127.0.0.1:0", "--admin", "127.0.0.1:0", "--node-version", "bench"]);
        command.arg("--data-dir").arg(folder.join("data"));
        command.arg("--admin-token-file").arg(&token_file);
        command.arg("--ready-file").arg(&ready_file);
        command.args(&self.arguments);
        let mut process = Process::start("jadevectordb", &mut command, &folder.join("output"))?;
        let ready: Ready = wait_for_json(&ready_file, &mut process, READY_LIMIT).await?;
        let admin_token = fs::read_to_string(&token_file)?;
        let admin = Admin::new(Http::new(), &ready.admin.to_string(), admin_token.trim(), CALL_TIMEOUT);
        let peer = Peer { admin: ready.admin.to_string(), http: ready.http.to_string() };
        Ok(Node { process, http: ready.http, admin, peer, token: "".into() })
    }
}

impl Node {
    /// Registers a user and logs in; from then on requests carry a token.
    pub async fn sign_in(&mut self) -> Result<()> {
        let user = json!({"username": "bench", "password": "Bench-mark-2718", "roles": ["admin"]});
        let (status, answer) = self.call("POST", "/v1/auth/register", Some(&user)).await?;
        ensure!(status == 201 || status == 409, "registering a user answered {status}: {answer}");
        let (status, answer) = self.call("POST", "/v1/auth/login", Some(&user)).await?;
        match (status, answer["token"].as_str()) {
            (200, Some(token)) => self.token = token.into(),
            _ => bail!("logging in answered {status}: {answer}"),
        }
        Ok(())
    }

    /// Uses the token that another process of the same history gave out: users and tokens survive a restart.
    pub fn use_token_of(&mut self, other: &Requests) {
        self.token = other.token.clone();
    }

    /// Makes a database for `data` and returns the requests to it.
    pub async fn create_database(&self, name: &str, data: &Arc<Dataset>) -> Result<Requests> {
        let body = json!({"name": name, "vectorDimension": data.vectors.dimension(), "indexType": "HNSW"});
        let (status, answer) = self.call("POST", "/v1/databases", Some(&body)).await?;
        let (201, Some(database)) = (status, answer["databaseId"].as_str()) else {
            bail!("creating a database answered {status}: {answer}");
        };
        Ok(Requests {
            host: self.http.to_string().into(),
            token: self.token.clone(),
            base: format!("/v1/databases/{database}").into(),
            data: data.clone(),
            numbers: Arc::new(JsonNumbers::default()),
        })
    }

    /// One call outside of a load: status and JSON (null when the body is not JSON).
    pub async fn call(&self, method: &str, path: &str, body: Option<&Value>) -> Result<(u16, Value)> {
        let body = body.map(Value::to_string).unwrap_or_default();
        let token = Some(&*self.token).filter(|token| !token.is_empty());
        let mut request = Vec::new();
        write_request(method, path, &self.http.to_string(), token, body.as_bytes(), &mut request);
        let mut connection = Connection::open(self.http).await?;
        let exchange = tokio::time::timeout(CALL_TIMEOUT, connection.exchange(&request)).await;
        let (status, answer) = exchange
            .with_context(|| format!("{method} {path} was not answered within {} s", CALL_TIMEOUT.as_secs()))?
            .with_context(|| format!("{method} {path} was not answered"))?;
        Ok((status, serde_json::from_slice(answer).unwrap_or_default()))
    }

    /// The admin protocol of this node.
    pub fn admin(&self) -> &Admin {
        &self.admin
    }

    pub async fn state(&self) -> Result<NodeState> {
        self.admin.state().await.context("the node does not tell its state")
    }

    /// Makes this node follow `primary`, which has the same admin token.
    pub async fn follow(&self, primary: &Node) -> Result<()> {
        let epoch = primary.state().await?.epoch_seen;
        let call = Follow { epoch, primary: primary.peer.clone() };
        self.admin.follow(&call).await.context("the node does not follow")?;
        Ok(())
    }

    /// Waits until every vector is in the approximate index; returns how long that took.
    pub async fn wait_indexed(&mut self, limit: Duration) -> Result<Duration> {
        let started = Instant::now();
        loop {
            let unindexed = self.state().await?.unindexed;
            if unindexed == 0 {
                return Ok(started.elapsed());
            }
            self.process.must_run()?;
            ensure!(started.elapsed() < limit, "{unindexed} vectors are not indexed after {} s", limit.as_secs());
            tokio::time::sleep(INDEX_POLL).await;
        }
    }

    /// Loads all vectors of the requests' data in batches and expects every one to be acknowledged.
    pub async fn load_batches(&self, requests: &Requests, clients: usize, limit: Duration) -> Result<Outcome> {
        let rows = requests.data.vectors.rows();
        let batches = rows.div_ceil(BATCH) as u64;
        let plan =
            Plan { addresses: vec![self.http], clients, until: Until::Requests(batches, limit), expected_status: 201 };
        let requests = requests.clone();
        let write = move |number: u64, out: &mut Vec<u8>| {
            let from = number as usize * BATCH;
            requests.write_batch(from..(from + BATCH).min(rows), out);
        };
        run(&plan, write).await?.all_answered("batches")
    }

    /// Searches for `duration`, going round the queries.
    pub async fn load_searches(&self, requests: &Requests, clients: usize, duration: Duration) -> Result<Outcome> {
        let plan = Plan { addresses: vec![self.http], clients, until: Until::Elapsed(duration), expected_status: 200 };
        let searches = requests.searches();
        let write = move |number: u64, out: &mut Vec<u8>| {
            out.extend_from_slice(&searches[number as usize % searches.len()]);
        };
        run(&plan, write).await?.all_answered("searches")
    }

    /// Asks one search and returns the ids.
    pub async fn search(&self, requests: &Requests, query: &[i8]) -> Result<Vec<String>> {
        let mut connection = Connection::open(self.http).await?;
        search_on(&mut connection, &requests.search(query)).await
    }

    /// Mean recall of the first queries, one for each of `exact`.
    pub async fn recall(&self, requests: &Requests, exact: &[super::dataset::ExactAnswer]) -> Result<f64> {
        let rows = requests.data.rows_by_name();
        let mut connection = Connection::open(self.http).await?;
        let mut sum = 0.0;
        for (query, exact) in exact.iter().enumerate() {
            let ids = search_on(&mut connection, &requests.search(requests.data.queries.row(query))).await?;
            let found: Vec<usize> = ids.iter().filter_map(|id| rows.get(id.as_str()).copied()).collect();
            ensure!(found.len() == ids.len(), "the answer to query {query} has an id that was never stored: {ids:?}");
            sum += requests.data.recall(query, exact, &found);
        }
        Ok(sum / exact.len().max(1) as f64)
    }
}

impl Requests {
    /// The same database on a node that was started anew, at another address.
    pub fn moved_to(&self, address: SocketAddr) -> Requests {
        Requests { host: address.to_string().into(), ..self.clone() }
    }

    /// The same database, for other rows.
    pub fn with_data(&self, data: &Arc<Dataset>) -> Requests {
        Requests { data: data.clone(), ..self.clone() }
    }

    /// Vectors of the data.
    pub fn rows(&self) -> usize {
        self.data.vectors.rows()
    }

    /// Path of the database.
    pub fn base(&self) -> &str {
        &self.base
    }

    /// Stores the vector of one row.
    pub fn write_insert(&self, row: usize, out: &mut Vec<u8>) {
        let mut body = Vec::with_capacity(5_000);
        self.write_vector(row, &mut body);
        self.write("vectors", &body, out);
    }

    /// Stores several rows in one batch.
    pub fn write_batch(&self, rows: Range<usize>, out: &mut Vec<u8>) {
        let mut body = Vec::with_capacity(rows.len() * 5_000);
        body.extend_from_slice(b"{\"vectors\":[");
        for row in rows {
            if body.ends_with(b"}") {
                body.push(b',');
            }
            self.write_vector(row, &mut body);
        }
        body.extend_from_slice(b"]}");
        self.write("vectors/batch", &body, out);
    }

    pub fn search(&self, query: &[i8]) -> Vec<u8> {
        let mut body = b"{\"queryVector\":".to_vec();
        self.numbers.write(query, &mut body);
        body.extend_from_slice(format!(",\"topK\":{TOP_K}}}").as_bytes());
        let mut request = Vec::new();
        self.write("search", &body, &mut request);
        request
    }

    /// One ready request for each query of the data set.
    pub fn searches(&self) -> Vec<Vec<u8>> {
        (0..self.data.queries.rows()).map(|query| self.search(self.data.queries.row(query))).collect()
    }

    fn write_vector(&self, row: usize, out: &mut Vec<u8>) {
        // Names of packages and sections need no escapes.
        out.extend_from_slice(format!("{{\"id\":\"{}\",\"values\":", self.data.names[row]).as_bytes());
        self.numbers.write(self.data.vectors.row(row), out);
        out.extend_from_slice(format!(",\"metadata\":{{\"section\":\"{}\"}}}}", self.data.sections[row]).as_bytes());
    }

    fn write(&self, path: &str, body: &[u8], out: &mut Vec<u8>) {
        write_request("POST", &format!("{}/{path}", self.base), &self.host, Some(&self.token), body, out);
    }
}

async fn search_on(connection: &mut Connection, request: &[u8]) -> Result<Vec<String>> {
    #[derive(Deserialize)]
    struct Answer {
        results: Vec<Hit>,
    }
    #[derive(Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct Hit {
        vector_id: String,
    }
    let exchange = tokio::time::timeout(CALL_TIMEOUT, connection.exchange(request)).await;
    let (status, body) = exchange.context("a search was not answered in time")?.context("a search was not answered")?;
    ensure!(status == 200, "a search answered {status}: {}", String::from_utf8_lossy(&body[..body.len().min(200)]));
    let answer: Answer = serde_json::from_slice(body).context("the answer to a search is not as agreed")?;
    Ok(answer.results.into_iter().map(|hit| hit.vector_id).collect())
}
