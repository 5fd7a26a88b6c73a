//! What the operator answers over HTTP: whether it lives, and its figures.

use crate::figures::Figures;
use axum::Router;
use axum::http::{StatusCode, header};
use axum::routing::get;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use tokio::net::TcpListener;
use tokio::task::JoinHandle;

/// Ends with the operator.
pub struct Server {
    /// Everything was listed once.
    pub ready: Arc<AtomicBool>,
    task: JoinHandle<()>,
}

impl Server {
    pub fn start(listener: TcpListener, figures: Figures) -> Self {
        let ready = Arc::new(AtomicBool::new(false));
        let asked = ready.clone();
        let is_ready = async move || match asked.load(Ordering::Relaxed) {
            true => (StatusCode::OK, "ok\n"),
            false => (StatusCode::SERVICE_UNAVAILABLE, "the objects of the cluster are being listed\n"),
        };
        let text = async move || ([(header::CONTENT_TYPE, "text/plain; version=0.0.4")], figures.text());
        let router = Router::new()
            .route("/healthz", get(async || "ok\n"))
            .route("/readyz", get(is_ready))
            .route("/metrics", get(text));
        let task = tokio::spawn(async move {
            if let Err(error) = axum::serve(listener, router).await {
                tracing::error!(%error, "the operator's own server broke off");
            }
        });
        Self { ready, task }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.task.abort();
    }
}
