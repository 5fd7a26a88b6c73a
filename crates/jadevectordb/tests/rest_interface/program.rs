//! The program itself: start, refusals, and an orderly end.

use client::{Http, Request};
use http_body_util::Full;
use serde_json::{Value, json};
use std::io::Read;
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};
use tempfile::TempDir;

fn command(dir: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_jadevectordb"));
    for (name, _) in std::env::vars().filter(|(name, _)| name.starts_with('J')) {
        command.env_remove(name);
    }
    command.args(["--http", "127.0.0.1:0", "--admin", "127.0.0.1:0", "--data-dir"]).arg(dir.join("data"));
    command.arg("--ready-file").arg(dir.join("ready")).stdin(Stdio::null());
    command.stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

/// A started program; killed when dropped.
struct Program(Child);

impl Drop for Program {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

impl Program {
    fn start(dir: &Path, change: impl FnOnce(&mut Command)) -> Self {
        let mut command = command(dir);
        change(&mut command);
        Self(command.spawn().unwrap())
    }

    /// What it wrote and how it ended, within twenty seconds.
    fn end(mut self) -> (ExitStatus, String) {
        let deadline = Instant::now() + Duration::from_secs(20);
        let status = loop {
            if let Some(status) = self.0.try_wait().unwrap() {
                break status;
            }
            assert!(Instant::now() < deadline, "the program did not end");
            std::thread::sleep(Duration::from_millis(10));
        };
        let mut text = String::new();
        self.0.stderr.take().unwrap().read_to_string(&mut text).unwrap();
        (status, text)
    }

    fn signal(&self, signal: rustix::process::Signal) {
        let pid = rustix::process::Pid::from_child(&self.0);
        rustix::process::kill_process(pid, signal).unwrap();
    }
}

/// Waits for the ready file, then for health; gives the REST address.
async fn ready(dir: &Path) -> String {
    for _ in 0..1_000 {
        if let Ok(text) = std::fs::read_to_string(dir.join("ready")) {
            let ready: Value = serde_json::from_str(&text).unwrap();
            assert!(ready["pid"].is_u64() && ready["admin"].is_string());
            let address = ready["http"].as_str().unwrap().to_owned();
            if get(&address, "/health").await.is_some_and(|(status, _)| status == 200) {
                return address;
            }
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("the program was not ready within 10 s");
}

async fn get(address: &str, path: &str) -> Option<(u16, Value)> {
    send(address, "GET", path, Value::Null).await
}

async fn send(address: &str, method: &str, path: &str, body: Value) -> Option<(u16, Value)> {
    let request: Request = hyper::Request::builder()
        .method(method)
        .uri(format!("http://{address}{path}"))
        .body(Full::new(body.to_string().into()))
        .unwrap();
    let answer = Http::new().whole(request, Duration::from_secs(10), 1 << 20).await.ok()?;
    Some((answer.status, serde_json::from_slice(&answer.body).unwrap_or_default()))
}

#[tokio::test(flavor = "multi_thread")]
async fn the_first_password_is_printed_once_and_survives() {
    let dir = TempDir::new().unwrap();
    let program = Program::start(dir.path(), |_| {});
    ready(dir.path()).await;
    program.signal(rustix::process::Signal::TERM);
    let (status, text) = program.end();
    assert_eq!(status.code(), Some(0), "{text}");
    assert!(!dir.path().join("ready").exists());
    let password = text.lines().find_map(|line| line.trim().strip_prefix("password")).expect("a password is shown");
    let password = password.trim();
    assert!(password.len() >= 16, "{password}");
    assert_eq!(text.matches(password).count(), 1);

    let program = Program::start(dir.path(), |_| {});
    let address = ready(dir.path()).await;
    let login = json!({ "username": "admin", "password": password });
    assert_eq!(send(&address, "POST", "/v1/auth/login", login).await.unwrap().0, 200);
    program.signal(rustix::process::Signal::INT);
    let (status, text) = program.end();
    assert_eq!(status.code(), Some(0), "{text}");
    assert!(!text.contains("password"), "{text}");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_first_password_may_be_given() {
    let dir = TempDir::new().unwrap();
    std::fs::write(dir.path().join("secret"), "from a file\n").unwrap();
    let file = dir.path().join("secret");
    let _program = Program::start(dir.path(), |command| {
        command.env("JADEVECTORDB_ADMIN_PASSWORD_FILE", file).env("JADEVECTORDB_ADMIN_PASSWORD", "another one");
    });
    let address = ready(dir.path()).await;
    let login = json!({ "username": "admin", "password": "from a file" });
    assert_eq!(send(&address, "POST", "/v1/auth/login", login).await.unwrap().0, 200);

    let dir = TempDir::new().unwrap();
    let short = Program::start(dir.path(), |command| {
        command.env("JADEVECTORDB_ADMIN_PASSWORD", "short");
    });
    let (status, text) = short.end();
    assert_eq!(status.code(), Some(1));
    assert!(text.contains("the first administrator's password has 5 characters, it needs at least 8"), "{text}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_port_in_use_is_named_with_its_argument() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    for flag in ["--http", "--admin"] {
        let dir = TempDir::new().unwrap();
        let mut command = Command::new(env!("CARGO_BIN_EXE_jadevectordb"));
        command.args(["--data-dir"]).arg(dir.path().join("data"));
        let other = if flag == "--http" { "--admin" } else { "--http" };
        command.args([flag, &address, other, "127.0.0.1:0"]).stderr(Stdio::piped());
        let (status, text) = Program(command.spawn().unwrap()).end();
        assert_eq!(status.code(), Some(1));
        assert!(text.contains(&format!("{flag} {address} cannot be listened on")), "{text}");
        assert!(text.contains("another process has it"), "{text}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_data_folder_in_use_or_of_a_newer_version_is_refused() {
    let dir = TempDir::new().unwrap();
    let program = Program::start(dir.path(), |_| {});
    ready(dir.path()).await;
    let second = Program::start(dir.path(), |command| {
        command.arg("--join");
    });
    let (status, text) = second.end();
    assert_eq!(status.code(), Some(1));
    assert!(text.contains(&format!("process {}", program.0.id())), "{text}");
    program.signal(rustix::process::Signal::TERM);
    assert_eq!(program.end().0.code(), Some(0));

    let format = dir.path().join("data/FORMAT");
    let text = std::fs::read_to_string(&format).unwrap();
    let (word, _) = text.trim().rsplit_once(' ').unwrap();
    std::fs::write(&format, format!("{word} 999\n")).unwrap();
    let (status, text) = Program::start(dir.path(), |_| {}).end();
    assert_eq!(status.code(), Some(1));
    assert!(text.contains("999"), "{text}");
    assert_eq!(std::fs::read_to_string(&format).unwrap(), format!("{word} 999\n"));
}

#[tokio::test(flavor = "multi_thread")]
async fn development_is_loud_and_local_and_names_unused_variables() {
    let dir = TempDir::new().unwrap();
    let program = Program::start(dir.path(), |command| {
        command.env("JADEVECTORDB_ENV", "development").env("JADE_DB_CLUSTER_SIZE", "3");
        command.args(["--fault", "errors=0.5"]);
    });
    let address = ready(dir.path()).await;
    let ada = json!({ "username": "ada", "password": "x" });
    assert_eq!(send(&address, "POST", "/v1/auth/register", ada.clone()).await.unwrap().0, 201);
    let (status, login) = send(&address, "POST", "/v1/auth/login", ada).await.unwrap();
    assert_eq!(status, 200);
    let token = login["token"].as_str().unwrap();
    let request: Request = hyper::Request::builder()
        .method("POST")
        .uri(format!("http://{address}/shutdown"))
        .header("authorization", format!("Bearer {token}"))
        .body(Full::default())
        .unwrap();
    assert_eq!(Http::new().whole(request, Duration::from_secs(10), 1 << 20).await.unwrap().status, 200);
    let (status, text) = program.end();
    assert_eq!(status.code(), Some(0), "{text}");
    assert!(text.contains("DEVELOPMENT MODE: everybody who reaches 127.0.0.1:"), "{text}");
    assert!(text.contains("these environment variables have no effect here: JADE_DB_CLUSTER_SIZE"), "{text}");
    assert!(text.contains("makes faults on purpose"), "{text}");

    let mut remote = Command::new(env!("CARGO_BIN_EXE_jadevectordb"));
    remote.arg("--data-dir").arg(dir.path().join("data")).stderr(Stdio::piped());
    remote.env("JADEVECTORDB_ENV", "development").env("JDB_HOST", "0.0.0.0").env("JDB_PORT", "1");
    let (status, text) = Program(remote.spawn().unwrap()).end();
    assert_eq!(status.code(), Some(1));
    assert!(text.contains("--http is 0.0.0.0:1: set JADEVECTORDB_ENV=production, or add --allow-remote-development"));
}

#[test]
fn arguments_that_make_no_sense_are_refused_with_2() {
    let dir = TempDir::new().unwrap();
    for (arguments, expected) in [
        (["--fault", "speed=1"], "known faults are errors, wrong-results, latency and unready"),
        (["--connectivity", "1"], "1 is not in 2..=256"),
        (["--index-kind", "tree"], "the known kinds are hnsw and flat"),
    ] {
        let program = Program::start(dir.path(), |command| {
            command.args(arguments);
        });
        let (status, text) = program.end();
        assert_eq!(status.code(), Some(2), "{text}");
        assert!(text.contains(expected), "{text}");
    }
}
