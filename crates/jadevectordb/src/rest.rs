//! The REST interface: the original's routes, as its clients need them (see COMPATIBILITY.md for what is different).
//!
//! ```text
//! serve ──► router ──► gate ──► read ─────────────► handler ──► store
//!                       │                              ▲
//!                       └────► write (whose turn? ─────┘ or held, or forwarded to the primary)
//! ```
//!
//! | file | what it holds |
//! |---|---|
//! | `serve` | connections, and their graceful end |
//! | `call`, `answer` | what goes into a handler and what comes out |
//! | `gate` | what every request goes through: credentials, readiness, counters, headers |
//! | `write`, `forward` | the way of a write to the primary |
//! | `once` | writes with an idempotency key |
//! | `body`, `numbers`, `metadata` | JSON without loss, and errors that name the field |
//! | the others | the handlers, a file for each group of routes |
//!
//! Invariant: a handler of a write does nothing but [`Node::write`], may be called again for the same request, and the
//! last thing it writes is the one that cannot be repeated; that one goes through `once::write`.

mod answer;
mod api_keys;
mod body;
mod call;
mod databases;
mod forward;
mod gate;
mod login;
mod metadata;
mod numbers;
mod once;
pub mod search;
mod security;
mod serve;
mod system;
mod users;
mod vectors;
mod write;

pub use serve::serve;

use crate::auth::{Access, Auth, Caller, RateLimits};
use crate::engine::Node;
use crate::metrics::Metrics;
use answer::{Outcome, Problem};
use axum::Router;
use axum::extract::Request;
use axum::response::Response;
use axum::routing::{MethodFilter, on};
use call::Call;
use gate::{Kind, Route};
use http::{HeaderValue, Method, StatusCode};
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use tokio::sync::Semaphore;
use tokio::time::Instant;

/// Reads with an unknown credential that may wait for it at the same time.
const CREDENTIAL_WAITS_MAX: usize = 64;

/// A path below one database.
macro_rules! under {
    ($rest:literal) => {
        concat!("/v1/databases/{db}", $rest)
    };
}

/// What all requests of one node share.
pub(crate) struct Rest {
    pub node: Node,
    pub auth: Auth,
    pub metrics: Metrics,
    pub http: client::Http,
    /// With which nodes vouch to each other for the address of a client.
    pub client_key: [u8; 32],
    pub bodies: Arc<Semaphore>,
    pub credential_waits: Semaphore,
    /// Held from reading an account or description to writing it back.
    pub read_modify_write: tokio::sync::Mutex<()>,
    pub version: HeaderValue,
    pub newest_database_ns: AtomicU64,
    pub processor: system::Processor,
    pub started: Instant,
}

impl Rest {
    fn new(node: Node, limits: RateLimits) -> Self {
        // A label that is no header value is left out rather than refused.
        let version = HeaderValue::from_str(&node.config().version).unwrap_or(HeaderValue::from_static("unknown"));
        Self {
            auth: Auth::new(limits),
            metrics: Metrics::new(&node.config().version),
            http: node.config().surroundings.http.clone(),
            client_key: forward::client_key(&node.config().admin_token),
            bodies: Arc::new(Semaphore::new(call::BODY_BUDGET_UNITS)),
            credential_waits: Semaphore::new(CREDENTIAL_WAITS_MAX),
            read_modify_write: tokio::sync::Mutex::new(()),
            version,
            newest_database_ns: AtomicU64::new(0),
            processor: system::Processor::default(),
            started: Instant::now(),
            node,
        }
    }

    /// Milliseconds since 1970, for what is written down or shown.
    pub fn now_ms(&self) -> u64 {
        self.node.config().surroundings.clock.now_ms()
    }
}

/// The routes of `node`.
pub fn router(node: Node, limits: RateLimits) -> Router {
    let rest = Arc::new(Rest::new(node, limits));
    use Access::{Admin, Open, User};
    use Kind::{Read, System, Write};
    Routes { rest, router: Router::new() }
        .on(System, Method::GET, "/health", Open, system::health)
        .on(System, Method::GET, "/health/db", Open, system::health_db)
        .on(System, Method::GET, "/status", User, system::status)
        .on(System, Method::GET, "/metrics", Open, system::metrics)
        .on(System, Method::POST, "/shutdown", Admin, system::shutdown)
        .on(System, Method::POST, "/v1/admin/shutdown", Admin, system::shutdown)
        .on(Write, Method::POST, "/v1/auth/register", Open, login::register)
        .on(Write, Method::POST, "/v1/auth/login", Open, login::login)
        .on(Write, Method::POST, "/v1/auth/logout", User, login::logout)
        .on(System, Method::POST, "/v1/auth/forgot-password", Open, login::forgot_password)
        .on(System, Method::POST, "/v1/auth/reset-password", Open, login::reset_password)
        .on(Read, Method::GET, "/v1/users", Admin, users::list)
        .on(Write, Method::POST, "/v1/users", Admin, users::create)
        .on(Read, Method::GET, "/v1/users/{user}", User, users::get)
        .on(Write, Method::PUT, "/v1/users/{user}", User, users::update)
        .on(Write, Method::DELETE, "/v1/users/{user}", Admin, users::delete)
        .on(Write, Method::PUT, "/v1/users/{user}/password", User, users::change_password)
        .on(Write, Method::POST, "/v1/admin/users/{user}/reset-password", Admin, users::reset_password)
        .on(Read, Method::GET, "/v1/api-keys", User, api_keys::list)
        .on(Write, Method::POST, "/v1/api-keys", User, api_keys::create)
        .on(Write, Method::DELETE, "/v1/api-keys/{key}", User, api_keys::revoke)
        .on(Read, Method::GET, "/v1/security/audit-log", Admin, security::audit_log)
        .on(Read, Method::GET, "/v1/security/audit-stats", Admin, security::audit_stats)
        .on(Read, Method::GET, "/v1/security/sessions", User, security::sessions)
        .on(Read, Method::GET, "/v1/databases", User, databases::list)
        .on(Write, Method::POST, "/v1/databases", User, databases::create)
        .on(Read, Method::GET, under!(""), User, databases::get)
        .on(Write, Method::PUT, under!(""), User, databases::update)
        .on(Write, Method::DELETE, under!(""), User, databases::delete)
        .on(Read, Method::GET, under!("/vectors"), User, vectors::list)
        .on(Write, Method::POST, under!("/vectors"), User, vectors::store)
        .on(Read, Method::GET, under!("/vectors/{id}"), User, vectors::get)
        .on(Write, Method::PUT, under!("/vectors/{id}"), User, vectors::update)
        .on(Write, Method::DELETE, under!("/vectors/{id}"), User, vectors::delete)
        // Vectors may be called `batch` and `batch-get` too.
        .on(Write, Method::POST, under!("/vectors/batch"), User, vectors::store_batch)
        .on(Read, Method::GET, under!("/vectors/batch"), User, vectors::get)
        .on(Write, Method::PUT, under!("/vectors/batch"), User, vectors::update)
        .on(Write, Method::DELETE, under!("/vectors/batch"), User, vectors::delete)
        .on(Read, Method::POST, under!("/vectors/batch-get"), User, vectors::get_batch)
        .on(Read, Method::GET, under!("/vectors/batch-get"), User, vectors::get)
        .on(Write, Method::PUT, under!("/vectors/batch-get"), User, vectors::update)
        .on(Write, Method::DELETE, under!("/vectors/batch-get"), User, vectors::delete)
        .on(Read, Method::POST, under!("/search"), User, search::search)
        .on(Read, Method::POST, under!("/search/advanced"), User, search::search)
        .not_built(Method::POST, under!("/search/hybrid"), "hybrid search")
        .not_built(Method::POST, under!("/search/rerank"), "reranking")
        .not_built(Method::GET, under!("/reranking/config"), "reranking")
        .not_built(Method::PUT, under!("/reranking/config"), "reranking")
        .not_built(Method::POST, "/v1/rerank", "reranking")
        .not_built(Method::POST, "/v1/embeddings/generate", "generating embeddings")
        .not_built(Method::GET, under!("/indexes"), "index administration")
        .not_built(Method::POST, under!("/indexes"), "index administration")
        .not_built(Method::PUT, under!("/indexes/{index}"), "index administration")
        .not_built(Method::DELETE, under!("/indexes/{index}"), "index administration")
        .not_built(Method::POST, under!("/bm25-index/build"), "the BM25 index")
        .not_built(Method::POST, under!("/bm25-index/rebuild"), "the BM25 index")
        .not_built(Method::GET, under!("/bm25-index/status"), "the BM25 index")
        .not_built(Method::POST, under!("/bm25-index/documents"), "the BM25 index")
        .not_built(Method::GET, under!("/analytics/{report}"), "query analytics")
        .not_built(Method::POST, under!("/analytics/{report}"), "query analytics")
        .finish()
}

/// The table of routes while it is written.
struct Routes {
    rest: Arc<Rest>,
    router: Router,
}

impl Routes {
    fn on<H, F>(mut self, kind: Kind, method: Method, path: &'static str, access: Access, handler: H) -> Self
    where
        H: Fn(Arc<Rest>, Arc<Call>, Caller) -> F + Clone + Send + Sync + 'static,
        F: Future<Output = Outcome> + Send + 'static,
    {
        let route = Arc::new(Route::new(kind, access, &method, path, self.rest.metrics.route(path, method.as_str())));
        let rest = self.rest.clone();
        let endpoint = move |params, request: Request| {
            let (rest, route, handler) = (rest.clone(), route.clone(), handler.clone());
            async move { gate::pass(&rest, &route, &handler, params, request).await }
        };
        // The table names only methods that axum knows.
        if let Ok(filter) = MethodFilter::try_from(method) {
            self.router = self.router.route(path, on(filter, endpoint));
        }
        self
    }

    fn not_built(self, method: Method, path: &'static str, what: &'static str) -> Self {
        let refuse = move |_, _, _| async move { Err(Problem::NotBuilt { what }) };
        self.on(Kind::System, method, path, Access::User, refuse)
    }

    fn finish(self) -> Router {
        let (unknown, wrong_method) = (self.rest.metrics.route("unknown", ""), self.rest.metrics.route("unknown", ""));
        let not_found = move |request: Request| async move {
            let started = Instant::now();
            let (method, path) = (request.method(), request.uri().path());
            let response = Problem::NotFound(format!("there is no route {method} {path}")).response();
            unknown.observe(response.status().as_u16(), started.elapsed());
            response
        };
        let not_allowed = move |request: Request| async move {
            let started = Instant::now();
            let response = refuse_method(&request);
            wrong_method.observe(response.status().as_u16(), started.elapsed());
            response
        };
        self.router.fallback(not_found).method_not_allowed_fallback(not_allowed)
    }
}

/// 204 for OPTIONS, else 405; axum adds `Allow`.
fn refuse_method(request: &Request) -> Response {
    let mut response = Response::default();
    if request.method() == Method::OPTIONS {
        *response.status_mut() = StatusCode::NO_CONTENT;
        return response;
    }
    let (method, path) = (request.method(), request.uri().path());
    let text = format!("{path} does not understand {method}; the header Allow names what it does");
    response = Problem::BadRequest(text).response();
    *response.status_mut() = StatusCode::METHOD_NOT_ALLOWED;
    response
}
