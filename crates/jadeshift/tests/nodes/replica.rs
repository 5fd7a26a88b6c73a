//! One real node on loopback.

use jadevectordb::auth::{RateLimits, ensure_first_admin};
use jadevectordb::config::{Config, Limits};
use jadevectordb::engine::Node;
use jadevectordb::fault::Faults;
use jadevectordb::surroundings::Surroundings;
use jadevectordb::{admin, rest};
use std::net::SocketAddr;
use tempfile::TempDir;
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use wire::admin::Peer;
use wire::document::{Index, Mode};

pub const PASSWORD: &str = "correct horse battery";
pub const ADMIN_TOKEN: &str = "admin token of the tests";

pub struct Replica {
    pub node: Node,
    pub http: SocketAddr,
    pub admin: SocketAddr,
    serving: [JoinHandle<()>; 2],
    _dir: TempDir,
}

impl Replica {
    /// Begins a history, or waits to `join` one.
    pub async fn start(join: bool) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let (rest_listener, admin_listener) = (listen().await, listen().await);
        let (http, admin_address) = (rest_listener.local_addr().unwrap(), admin_listener.local_addr().unwrap());
        let node = Node::open(Config {
            data_dir: dir.path().join("data"),
            http,
            admin: admin_address,
            version: "1.0.0-test".into(),
            admin_token: ADMIN_TOKEN.into(),
            join,
            index: Index::default(),
            record_format: jadevectordb::record::FORMAT_MAX,
            faults: Faults::default(),
            mode: Mode::Production,
            limits: Limits::default(),
            surroundings: Surroundings::default(),
        })
        .unwrap();
        ensure_first_admin(&node, Some(PASSWORD.into())).await.unwrap();
        let forever = std::future::pending;
        let router = rest::router(node.clone(), RateLimits::default());
        let rest_serving = rest::serve(rest_listener, router, node.shed(), forever());
        let admin_serving =
            rest::serve(admin_listener, admin::router(node.clone()), watch::channel(false).1, forever());
        let serving = [tokio::spawn(rest_serving), tokio::spawn(admin_serving)];
        Self { node, http, admin: admin_address, serving, _dir: dir }
    }

    pub fn peer(&self) -> Peer {
        Peer { admin: self.admin.to_string(), http: self.http.to_string() }
    }
}

impl Drop for Replica {
    fn drop(&mut self) {
        self.serving.iter().for_each(JoinHandle::abort);
        self.node.close();
    }
}

pub async fn listen() -> TcpListener {
    TcpListener::bind("127.0.0.1:0").await.unwrap()
}
