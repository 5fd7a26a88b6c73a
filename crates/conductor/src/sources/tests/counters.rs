//! A page of counters that a test writes, and a Prometheus that scrapes it.

use axum::Router;
use axum::routing::get;
use std::net::TcpListener as StdListener;
use std::process::Stdio;
use std::sync::Arc;
use std::time::Duration;
use tempfile::TempDir;
use tokio::net::TcpListener;
use tokio::process::{Child, Command};

const PATIENCE: Duration = Duration::from_secs(30);

/// What is shown at each scrape.
pub(super) type Page = Arc<dyn Fn() -> String + Send + Sync>;

pub(super) struct Prometheus {
    pub url: String,
    _server: Child,
    _folder: TempDir,
}

impl Prometheus {
    /// Scrapes `page` ten times a second. Ends with the value.
    pub async fn scraping(page: Page) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let target = listener.local_addr().unwrap();
        let handler = move || async move { page() };
        tokio::spawn(async move { axum::serve(listener, Router::new().route("/metrics", get(handler))).await });
        let folder = tempfile::tempdir().unwrap();
        let config = format!(
            "global: {{scrape_interval: 100ms, scrape_timeout: 100ms}}\nscrape_configs:\n- job_name: shop\n  \
             static_configs: [{{targets: ['{target}']}}]\n"
        );
        std::fs::write(folder.path().join("prometheus.yml"), config).unwrap();
        let port = StdListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let path = |name: &str| folder.path().join(name).display().to_string();
        let server = Command::new("prometheus")
            .arg(format!("--config.file={}", path("prometheus.yml")))
            .arg(format!("--storage.tsdb.path={}", path("data")))
            .arg(format!("--web.listen-address=127.0.0.1:{port}"))
            .arg("--log.level=error")
            .stdin(Stdio::null())
            .kill_on_drop(true)
            .spawn()
            .expect("the tests need Prometheus: apt-get install --no-install-recommends prometheus");
        let started = Self { url: format!("http://127.0.0.1:{port}"), _server: server, _folder: folder };
        started.until_ready(port).await;
        started
    }

    async fn until_ready(&self, port: u16) {
        let ready = async {
            while tokio::net::TcpStream::connect(("127.0.0.1", port)).await.is_err() {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        tokio::time::timeout(PATIENCE, ready).await.expect("Prometheus does not listen");
    }
}

/// Asks until the answer is as wanted; shows the last one when that does not come.
pub(super) async fn until<T: std::fmt::Debug>(mut ask: impl AsyncFnMut() -> T, wanted: impl Fn(&T) -> bool) -> T {
    let ends = tokio::time::Instant::now() + PATIENCE;
    loop {
        let answer = ask().await;
        if wanted(&answer) {
            return answer;
        }
        assert!(tokio::time::Instant::now() < ends, "the last answer is {answer:?}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}
