//! A folder for one test, and the looks at it. Whatever still runs in it ends with the test, also with a failed one.

use client::{Http, HttpError};
use http_body_util::Full;
use local::Folder;
use local::launch::Launch;
use local::process::{self, Identity, Process};
use local::supervisor::{Adopted, NoDrain, Patience, Running, Status, Supervisor, SupervisorOptions, Wanted};
use std::future::Future;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;
use wire::Colour;
use wire::document::{BlueGreen, Mode};

/// Nothing here takes this long.
const WAIT_MAX: Duration = Duration::from_secs(20);
const POLL: Duration = Duration::from_millis(5);

pub struct Place {
    pub folder: Folder,
    pub document: BlueGreen,
    pub patience: Patience,
    _place: tempfile::TempDir,
}

impl Place {
    pub fn new() -> Self {
        let place = tempfile::tempdir().unwrap();
        let folder = Folder::open(&place.path().join("shop")).unwrap();
        let mut document = BlueGreen::named("shop");
        document.spec.mode = Mode::Development;
        document.spec.local.gateway = "127.0.0.1:0".into();
        Self { folder, document, patience: patience(), _place: place }
    }

    /// `FAKE_…` settings of a version.
    pub fn set(&mut self, version: &str, name: &str, value: &str) {
        self.document.spec.versions.entry(version.into()).or_default().env.insert(name.into(), value.into());
    }

    pub fn run(&self, version: &str, join: bool) -> Wanted {
        Wanted::Run(Box::new(Launch::of(&self.document, version, join)))
    }

    pub async fn adopt(&self) -> Adopted {
        Adopted::find(SupervisorOptions {
            replicas: 1,
            folder: self.folder.clone(),
            local: self.document.spec.local.clone(),
            node_program: program(),
            patience: self.patience,
        })
        .await
        .unwrap()
    }

    pub async fn supervise(&self) -> Supervisor {
        self.adopt().await.supervise(Arc::new(NoDrain))
    }

    /// The flags of each start of an environment's process so far.
    pub fn starts(&self, colour: Colour) -> Vec<String> {
        let starts = std::fs::read_to_string(self.folder.data(colour).join("starts")).unwrap_or_default();
        starts.lines().map(str::to_string).collect()
    }

    pub fn log(&self, colour: Colour) -> String {
        std::fs::read_to_string(self.folder.log_path(colour)).unwrap_or_default()
    }

    /// Every process of this folder that lives now.
    pub fn processes(&self) -> Vec<Identity> {
        let of = |colour| process::started_with("--ready-file", &self.folder.ready_path(colour)).unwrap();
        Colour::BOTH.into_iter().flat_map(of).collect()
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        for left in self.processes() {
            if let Some(process) = Process::attach(left) {
                let _ = process.kill();
            }
        }
    }
}

/// This very program: with the word `node` it is one.
pub fn program() -> PathBuf {
    std::env::current_exe().unwrap()
}

pub fn patience() -> Patience {
    Patience {
        stop: Duration::from_millis(500),
        terminate: Duration::from_millis(500),
        answer: Duration::from_secs(3),
        restart_min: Duration::from_millis(20),
        restart_max: Duration::from_millis(200),
        ..Patience::default()
    }
}

/// Waits until `look` sees something.
pub async fn until<T>(what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    until_async(what, || std::future::ready(look())).await
}

pub async fn until_async<T, F: Future<Output = Option<T>>>(what: &str, mut look: impl FnMut() -> F) -> T {
    let waiting = async {
        loop {
            match look().await {
                Some(seen) => return seen,
                None => tokio::time::sleep(POLL).await,
            }
        }
    };
    match tokio::time::timeout(WAIT_MAX, waiting).await {
        Ok(seen) => seen,
        Err(_) => panic!("waited {WAIT_MAX:?} in vain: {what}"),
    }
}

/// Waits for a process that is ready and is not `before`.
pub async fn running(supervisor: &Supervisor, colour: Colour, before: Option<&Identity>) -> Running {
    until("a running node", || match supervisor.status(colour) {
        Status::Running(running) if running.ready && Some(&running.process) != before => Some(running),
        _ => None,
    })
    .await
}

/// Status and body of a GET.
pub async fn get(address: SocketAddr, path: &str, headers: &[(&str, &str)]) -> Result<(u16, String), HttpError> {
    ask("GET", address, path, headers, Vec::new()).await
}

pub async fn ask(
    method: &str,
    address: SocketAddr,
    path: &str,
    headers: &[(&str, &str)],
    body: Vec<u8>,
) -> Result<(u16, String), HttpError> {
    let mut request = hyper::Request::builder().method(method).uri(format!("http://{address}{path}"));
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    let request = request.body(Full::new(body.into())).unwrap();
    let answer = Http::new().whole(request, WAIT_MAX, 1 << 20).await?;
    Ok((answer.status, String::from_utf8(answer.body.to_vec()).unwrap()))
}

pub fn signal(identity: &Identity, signal: &str) {
    let status = std::process::Command::new("kill").args([signal, &identity.pid.to_string()]).status().unwrap();
    assert!(status.success());
}
