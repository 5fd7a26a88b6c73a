//! A node without a database: it takes the flags of one, binds its sockets, answers the admin protocol as far as the platform
//! asks, and keeps in its data folder what it was started with.

use axum::extract::{Request, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use parking_lot::Mutex;
use std::collections::HashMap;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use wire::admin::{Counters, Follow, NodeState, Role};

struct Node {
    version: String,
    token: String,
    role: Mutex<Role>,
    role_path: PathBuf,
    stubborn: bool,
}

pub fn main() -> ExitCode {
    if let Ok(last_words) = std::env::var("FAKE_FAILS") {
        eprintln!("{last_words}");
        return ExitCode::from(3);
    }
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(serve());
    ExitCode::SUCCESS
}

async fn serve() {
    let words: Vec<String> = std::env::args().skip(2).collect();
    let flags: HashMap<&str, &str> = words.windows(2).map(|pair| (pair[0].as_str(), pair[1].as_str())).collect();
    let data = PathBuf::from(flags["--data-dir"]);
    let role_path = data.join("role.json");
    let role = match std::fs::read(&role_path) {
        Ok(role) => serde_json::from_slice(&role).unwrap(),
        Err(_) if words.iter().any(|word| word == "--join") => Role::Waiting,
        Err(_) => Role::Primary { epoch: 1 },
    };
    std::fs::write(&role_path, serde_json::to_vec(&role).unwrap()).unwrap();
    let environment =
        ["JADEVECTORDB_ENV", "JADEVECTORDB_ADMIN_PASSWORD_FILE"].map(|name| std::env::var(name).unwrap_or_default());
    let line = format!("{} {}\n", words.join(" "), environment.join(" "));
    let starts = std::fs::read_to_string(data.join("starts")).unwrap_or_default();
    std::fs::write(data.join("starts"), starts + &line).unwrap();
    println!("the fake node of {} starts", flags["--node-version"]);

    let stubborn = std::env::var("FAKE_STUBBORN").is_ok();
    let node = Arc::new(Node {
        version: flags["--node-version"].into(),
        token: std::fs::read_to_string(flags["--admin-token-file"]).unwrap(),
        role: Mutex::new(role),
        role_path,
        stubborn,
    });
    let admin = axum::Router::new()
        .route("/admin/v1/state", get(state))
        .route("/admin/v1/follow", post(follow))
        .route("/admin/v1/stop", post(stop))
        .layer(axum::middleware::from_fn_with_state(node.clone(), authorise))
        .with_state(node.clone());
    let http = axum::Router::new().route("/slow", get(slow)).fallback(get(version)).with_state(node);
    let admin_listener = tokio::net::TcpListener::bind(flags["--admin"]).await.unwrap();
    let http_listener = tokio::net::TcpListener::bind(flags["--http"]).await.unwrap();
    let address = |listener: &tokio::net::TcpListener| -> SocketAddr { listener.local_addr().unwrap() };
    let ready = serde_json::json!({
        "http": address(&http_listener).to_string(),
        "admin": address(&admin_listener).to_string(),
        "pid": std::process::id(),
    });
    let ready_path = PathBuf::from(flags["--ready-file"]);
    std::fs::write(ready_path.with_extension("tmp"), ready.to_string()).unwrap();
    std::fs::rename(ready_path.with_extension("tmp"), ready_path).unwrap();
    while std::env::var("FAKE_RECOVERS").is_ok() && !data.join("recovered").exists() {
        tokio::time::sleep(std::time::Duration::from_millis(5)).await;
    }
    if stubborn {
        let mut terminate = tokio::signal::unix::signal(tokio::signal::unix::SignalKind::terminate()).unwrap();
        tokio::spawn(async move { while terminate.recv().await.is_some() {} });
    }
    let (admin, http) = tokio::join!(axum::serve(admin_listener, admin), axum::serve(http_listener, http));
    admin.and(http).unwrap();
}

async fn authorise(State(node): State<Arc<Node>>, request: Request, next: axum::middleware::Next) -> Response {
    let given = request.headers().get("authorization").and_then(|value| value.to_str().ok());
    if given == Some(&format!("Bearer {}", node.token)) {
        next.run(request).await
    } else {
        StatusCode::UNAUTHORIZED.into_response()
    }
}

async fn version(State(node): State<Arc<Node>>) -> String {
    node.version.clone()
}

/// Answers once the file `release` is there; tells by the file `asked` that it was asked.
async fn slow(State(node): State<Arc<Node>>) -> String {
    std::fs::write(node.role_path.with_file_name("asked"), "").unwrap();
    while !node.role_path.with_file_name("release").exists() {
        tokio::time::sleep(std::time::Duration::from_millis(5)).await;
    }
    node.version.clone()
}

async fn state(State(node): State<Arc<Node>>) -> String {
    node.state()
}

async fn follow(State(node): State<Arc<Node>>, body: String) -> String {
    let Follow { epoch, primary } = serde_json::from_str(&body).unwrap();
    node.become_role(Role::Follower { epoch, primary });
    node.state()
}

async fn stop(State(node): State<Arc<Node>>) -> String {
    if !node.stubborn {
        // The answer goes out first.
        tokio::spawn(async {
            tokio::time::sleep(std::time::Duration::from_millis(20)).await;
            println!("stopped when asked");
            std::process::exit(0);
        });
    }
    node.state()
}

impl Node {
    fn become_role(&self, role: Role) {
        std::fs::write(&self.role_path, serde_json::to_vec(&role).unwrap()).unwrap();
        *self.role.lock() = role;
    }

    fn state(&self) -> String {
        let role = self.role.lock().clone();
        let epoch_seen = match role {
            Role::Primary { epoch } | Role::Follower { epoch, .. } | Role::Sealed { epoch, .. } => epoch,
            Role::Waiting => 0,
        };
        let state = NodeState {
            cluster_id: "c".into(),
            node_id: self.role_path.display().to_string(),
            instance: std::process::id().to_string(),
            version: self.version.clone(),
            wire_version: wire::headers::WIRE_VERSION,
            records: wire::admin::RecordFormats::default(),
            ready: role != Role::Waiting,
            role,
            epoch_seen,
            lsn: 7,
            lsn_epoch: 0,
            failed: None,
            held_writes: 0,
            sheds: false,
            feed: None,
            acknowledge: None,
            dormant: false,
            followers: Vec::new(),
            counters: Counters::default(),
            read_latency: None,
            databases: 0,
            vectors: 0,
            unindexed: 0,
            resident_bytes: 1 << 20,
            set_aside: Vec::new(),
        };
        serde_json::to_string(&state).unwrap()
    }
}
