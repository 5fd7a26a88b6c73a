//! A node to talk to, and a client.

use bytes::Bytes;
use client::{Http, JsonResponse, Request};
use http_body_util::Full;
use jadevectordb::auth::limits::Rate;
use jadevectordb::auth::{RateLimits, ensure_first_admin};
use jadevectordb::config::{Config, Limits};
use jadevectordb::engine::Node;
use jadevectordb::fault::Faults;
use jadevectordb::surroundings::Surroundings;
use jadevectordb::{admin, rest};
use serde_json::{Value, json};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use tempfile::TempDir;
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use wire::admin::Peer;
use wire::document::{Index, Mode};

pub const PASSWORD: &str = "correct horse battery";
pub const ADMIN_TOKEN: &str = "admin token of the tests";
const TIMEOUT: Duration = Duration::from_secs(20);

/// A running node with an administrator, and that one's login.
pub struct TestNode {
    pub node: Node,
    pub http: SocketAddr,
    pub admin: SocketAddr,
    pub token: String,
    client: Http,
    pub serving: Option<JoinHandle<()>>,
    admin_serving: JoinHandle<()>,
    dir: Arc<TempDir>,
}

/// An answer.
pub struct Reply {
    pub status: u16,
    pub headers: hyper::HeaderMap,
    pub body: Bytes,
}

impl Reply {
    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|error| panic!("{error}: {:?}", self.body))
    }

    pub fn error(&self) -> String {
        assert_eq!(self.header("content-type"), "application/json");
        self.json()["error"].as_str().expect("an error has a text").to_owned()
    }

    pub fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |value| value.to_str().unwrap())
    }

    pub fn lsn(&self) -> u64 {
        self.header("jadevectordb-lsn").parse().expect("every answer under /v1 has an LSN")
    }

    /// The body, provided that the status is as expected.
    pub fn expect(self, status: u16) -> Value {
        assert_eq!(self.status, status, "{:?}", self.body);
        self.json()
    }
}

pub fn config(dir: &TempDir) -> Config {
    let any = SocketAddr::from(([127, 0, 0, 1], 0));
    Config {
        data_dir: dir.path().join("data"),
        http: any,
        admin: any,
        version: "1.0.0-test".into(),
        admin_token: ADMIN_TOKEN.into(),
        join: false,
        index: Index::default(),
        record_format: jadevectordb::record::FORMAT_MAX,
        faults: Faults::default(),
        mode: Mode::Production,
        limits: Limits::default(),
        surroundings: Surroundings::default(),
    }
}

/// As many logins as a test wants; the limits themselves have tests of their own.
pub fn patient() -> RateLimits {
    let rate = Rate { burst: 1_000, refill_ms: 1 };
    RateLimits { login: rate, register: rate, failed_logins_max: 1_000, ..RateLimits::default() }
}

impl TestNode {
    pub async fn start() -> Self {
        Self::with(|_| {}).await
    }

    pub async fn with(change: impl FnOnce(&mut Config)) -> Self {
        Self::limited(change, patient()).await
    }

    pub async fn limited(change: impl FnOnce(&mut Config), limits: RateLimits) -> Self {
        Self::in_folder(Arc::new(tempfile::tempdir().unwrap()), change, limits).await
    }

    /// Ends the node, and starts another on its folder.
    pub async fn restarted(self, change: impl FnOnce(&mut Config)) -> Self {
        let (dir, node) = (self.dir.clone(), self.node.clone());
        tokio::task::spawn_blocking(move || node.close()).await.unwrap();
        drop(self);
        Self::in_folder(dir, change, patient()).await
    }

    async fn in_folder(dir: Arc<TempDir>, change: impl FnOnce(&mut Config), limits: RateLimits) -> Self {
        let mut config = config(&dir);
        change(&mut config);
        let (http, admin) = (listen().await, listen().await);
        (config.http, config.admin) = (http.local_addr().unwrap(), admin.local_addr().unwrap());
        let (http_address, admin_address) = (config.http, config.admin);
        let node = Node::open(config).unwrap();
        ensure_first_admin(&node, Some(PASSWORD.into())).await.unwrap();
        let stopping = node.clone();
        let until = async move { stopping.until_shutdown().await };
        let serving = tokio::spawn(rest::serve(http, rest::router(node.clone(), limits), node.shed(), until));
        let forever = std::future::pending();
        let admin_serving =
            tokio::spawn(rest::serve(admin, admin::router(node.clone()), watch::channel(false).1, forever));
        let client = Http::new();
        let mut test = Self {
            node,
            http: http_address,
            admin: admin_address,
            token: String::new(),
            client,
            serving: Some(serving),
            admin_serving,
            dir,
        };
        if test.node.standing() == jadevectordb::engine::Standing::Primary {
            test.token = test.login("admin", PASSWORD).await;
        }
        test
    }

    pub fn peer(&self) -> Peer {
        Peer { admin: self.admin.to_string(), http: self.http.to_string() }
    }

    pub async fn login(&self, username: &str, password: &str) -> String {
        let body = json!({ "username": username, "password": password });
        let reply = self.post("/v1/auth/login", &body).await.expect(200);
        reply["token"].as_str().unwrap().to_owned()
    }

    /// Creates a user, and logs in.
    pub async fn user(&self, username: &str, roles: &[&str]) -> (String, String) {
        let body = json!({ "username": username, "password": PASSWORD, "roles": roles });
        let created = self.post("/v1/users", &body).await.expect(201);
        (created["user_id"].as_str().unwrap().to_owned(), self.login(username, PASSWORD).await)
    }

    /// A database of this dimension.
    pub async fn database(&self, dimension: usize) -> String {
        let body = json!({ "name": "test", "vectorDimension": dimension });
        let created = self.post("/v1/databases", &body).await.expect(201);
        created["databaseId"].as_str().unwrap().to_owned()
    }

    pub async fn get(&self, path: &str) -> Reply {
        self.send("GET", path, &[], Bytes::new()).await
    }

    pub async fn post(&self, path: &str, body: &Value) -> Reply {
        self.send("POST", path, &[], body.to_string().into()).await
    }

    pub async fn put(&self, path: &str, body: &Value) -> Reply {
        self.send("PUT", path, &[], body.to_string().into()).await
    }

    pub async fn delete(&self, path: &str) -> Reply {
        self.send("DELETE", path, &[], Bytes::new()).await
    }

    /// With the administrator's login, unless `headers` has an `authorization`; an empty value sends none.
    pub async fn send(&self, method: &str, path: &str, headers: &[(&str, &str)], body: Bytes) -> Reply {
        let mut request: Request = hyper::Request::builder()
            .method(method)
            .uri(format!("http://{}{path}", self.http))
            .body(Full::new(body))
            .unwrap();
        request.headers_mut().insert("authorization", format!("Bearer {}", self.token).parse().unwrap());
        for (name, value) in headers {
            let name: http::HeaderName = name.parse().unwrap();
            if value.is_empty() {
                request.headers_mut().remove(name);
            } else {
                request.headers_mut().insert(name, value.parse().unwrap());
            }
        }
        let JsonResponse { status, headers, body } = self.client.whole(request, TIMEOUT, 256 << 20).await.unwrap();
        Reply { status, headers, body }
    }

    pub async fn as_user(&self, token: &str, method: &str, path: &str, body: &Value) -> Reply {
        let authorization = if token.is_empty() { String::new() } else { format!("Bearer {token}") };
        self.send(method, path, &[("authorization", &authorization)], body.to_string().into()).await
    }

    /// The text of a 400.
    pub async fn refusal(&self, method: &str, path: &str, body: &str) -> String {
        let reply = self.send(method, path, &[], Bytes::copy_from_slice(body.as_bytes())).await;
        assert_eq!(reply.status, 400, "{body}: {:?}", reply.body);
        reply.error()
    }
}

impl Drop for TestNode {
    fn drop(&mut self) {
        if let Some(serving) = &self.serving {
            serving.abort();
        }
        self.admin_serving.abort();
        self.node.close();
    }
}

pub async fn listen() -> TcpListener {
    TcpListener::bind("127.0.0.1:0").await.unwrap()
}

/// Waits, at most ten seconds, until `done` is true.
pub async fn eventually(what: &str, mut done: impl AsyncFnMut() -> bool) {
    for _ in 0..1_000 {
        if done().await {
            return;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("{what} did not come true within 10 s");
}
