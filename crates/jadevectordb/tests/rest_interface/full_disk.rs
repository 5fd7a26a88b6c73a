//! A disk that fills up: a small memory file system in a mount namespace of the test's own.

use client::{Http, JsonResponse};
use http_body_util::Full;
use serde_json::{Value, json};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};
use tempfile::TempDir;

const DISK: &str = "24m";
const DIMENSION: usize = 256;
const BATCH: usize = 100;
const LIMIT: Duration = Duration::from_secs(30);
/// 40 batches have 10 MB of vectors; the log, written ahead, takes the rest.
const BATCHES_MAX: usize = 400;

/// Two nodes one after the other on the same small disk; ended when dropped.
struct TwoLives {
    shell: Child,
    dir: TempDir,
}

impl TwoLives {
    fn start() -> Self {
        let dir = TempDir::new().unwrap();
        let data = dir.path().join("data");
        std::fs::create_dir(&data).unwrap();
        let life = format!(
            "\"$NODE\" --http 127.0.0.1:0 --admin 127.0.0.1:0 --data-dir '{}' --ready-file '{}'",
            data.display(),
            dir.path().join("ready").display()
        );
        let script = format!("mount -t tmpfs -o size={DISK} none '{}' && {{ {life}; {life}; }}", data.display());
        let shell = Command::new("unshare")
            .args(["--map-root-user", "--mount", "sh", "-c", &script])
            .env("NODE", env!("CARGO_BIN_EXE_jadevectordb"))
            .env("JADEVECTORDB_ENV", "development")
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("`unshare` (util-linux) gives the test a mount namespace");
        Self { shell, dir }
    }

    /// Address and process of the node that runs now and is not `before`.
    async fn node(&mut self, before: Option<u64>) -> (String, u64) {
        let deadline = Instant::now() + LIMIT;
        loop {
            assert!(self.shell.try_wait().unwrap().is_none(), "the shell ended: no mount namespace, or no node");
            assert!(Instant::now() < deadline, "no node was ready");
            let ready = std::fs::read(self.dir.path().join("ready")).unwrap_or_default();
            if let Ok(ready) = serde_json::from_slice::<Value>(&ready)
                && ready["pid"].as_u64() != before
            {
                let http = ready["http"].as_str().unwrap().to_string();
                if call(&http, "", "GET", "/health", Value::Null).await.is_ok_and(|answer| answer.status == 200) {
                    return (http, ready["pid"].as_u64().unwrap());
                }
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }
}

impl Drop for TwoLives {
    fn drop(&mut self) {
        // The shell first, so that it starts no second node; then the node that the ready file names.
        let _ = self.shell.kill();
        let _ = self.shell.wait();
        terminate(self.dir.path());
    }
}

fn terminate(dir: &Path) {
    let ready = std::fs::read(dir.join("ready")).unwrap_or_default();
    let pid = serde_json::from_slice::<Value>(&ready).ok().and_then(|ready| ready["pid"].as_i64());
    if let Some(pid) = pid.and_then(|pid| rustix::process::Pid::from_raw(pid as i32)) {
        // It may have ended already.
        let _ = rustix::process::kill_process(pid, rustix::process::Signal::TERM);
    }
}

async fn call(
    http: &str,
    token: &str,
    method: &str,
    path: &str,
    body: Value,
) -> Result<JsonResponse, client::HttpError> {
    let request = hyper::Request::builder()
        .method(method)
        .uri(format!("http://{http}{path}"))
        .header("authorization", format!("Bearer {token}"))
        .body(Full::new(body.to_string().into()))
        .unwrap();
    Http::new().whole(request, LIMIT, 64 << 20).await
}

async fn expect(http: &str, token: &str, method: &str, path: &str, body: Value, status: u16) -> Value {
    let answer = call(http, token, method, path, body).await.unwrap();
    assert_eq!(answer.status, status, "{method} {path}: {:?}", answer.body);
    serde_json::from_slice(&answer.body).unwrap()
}

async fn log_in(http: &str) -> String {
    let account = json!({"username": "a", "password": "password of a"});
    expect(http, "", "POST", "/v1/auth/login", account, 200).await["token"].as_str().unwrap().to_string()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_disk_refuses_writes_and_loses_nothing() {
    let mut lives = TwoLives::start();
    let (http, pid) = lives.node(None).await;
    let account = json!({"username": "a", "password": "password of a"});
    expect(&http, "", "POST", "/v1/auth/register", account, 201).await;
    let token = log_in(&http).await;
    let made = json!({"name": "n", "vectorDimension": DIMENSION});
    let made = expect(&http, &token, "POST", "/v1/databases", made, 201).await;
    let vectors = format!("/v1/databases/{}/vectors", made["databaseId"].as_str().unwrap());
    let batch = |number: usize| -> Value {
        let vector = |row: usize| json!({"id": format!("{number}-{row}"), "values": vec![(number * BATCH + row) as f32; DIMENSION]});
        json!({"vectors": (0..BATCH).map(vector).collect::<Vec<_>>()})
    };
    let mut acknowledged = 0;
    let refusal = loop {
        let answer = call(&http, &token, "POST", &format!("{vectors}/batch"), batch(acknowledged)).await.unwrap();
        if answer.status != 201 {
            break answer;
        }
        acknowledged += 1;
        assert!(acknowledged < BATCHES_MAX, "the disk never filled");
    };
    assert!(acknowledged > 10, "{acknowledged} batches went in");
    let text = String::from_utf8_lossy(&refusal.body).into_owned();
    assert_eq!(refusal.status, 503, "{text}");
    assert!(text.contains("is full") && text.contains("free space"), "{text}");
    // Reads go on, and nothing of the refused batch is there.
    let listed = expect(&http, &token, "GET", &format!("{vectors}?limit=1"), Value::Null, 200).await;
    assert_eq!(listed["total"], acknowledged * BATCH);
    let last = format!("{vectors}/{}-{}", acknowledged - 1, BATCH - 1);
    expect(&http, &token, "GET", &last, Value::Null, 200).await;

    terminate(lives.dir.path());
    let (http, _) = lives.node(Some(pid)).await;
    let listed = expect(&http, &token, "GET", &format!("{vectors}?limit=1"), Value::Null, 200).await;
    assert_eq!(listed["total"], acknowledged * BATCH, "after a restart on the full disk");
    expect(&http, &token, "GET", &last, Value::Null, 200).await;
}
