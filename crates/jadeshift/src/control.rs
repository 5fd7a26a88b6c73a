//! The caller's side of the control protocol: how every command talks to the running `jadeshift up`.

use crate::exit::ExitCode;
use crate::failure::Failure;
use bytes::Bytes;
use client::{Http, HttpError, JsonResponse};
use conductor::{Info, Report};
use http_body_util::Full;
use local::Folder;
use rollout::Command;
use serde::de::DeserializeOwned;
use std::path::Path;
use std::time::Duration;
use wire::control::{ControlAddress, ControlError, Verified, VerifyRequest};

/// Longest wait for an answer that only reads or notes something.
const TIMEOUT: Duration = Duration::from_secs(10);
/// Longest wait for the comparison of the digests; it waits for a marker to arrive on the other side.
const VERIFY_TIMEOUT: Duration = Duration::from_secs(30);
/// Longest wait when everything is read from disk again.
const VERIFY_DEEP_TIMEOUT: Duration = Duration::from_secs(900);
/// Longest answer.
const ANSWER_BYTES_MAX: usize = 16 << 20;

/// A running `jadeshift up`.
#[derive(Clone)]
pub struct Control {
    http: Http,
    at: ControlAddress,
    /// The folder as the user named it, for messages.
    dir: String,
}

impl Control {
    /// Finds the deployment of a folder; does not yet ask it anything.
    ///
    /// # Errors
    /// With [`ExitCode::NotRunning`] when no `up` left an address in the folder.
    pub fn find(dir: &Path) -> Result<Self, Failure> {
        let name = dir.display().to_string();
        let not_running = |why: &str| {
            Failure::new(ExitCode::NotRunning, format!("no deployment runs in {name}"), why)
                .advise(format!("start one with `{} up`", command_prefix(dir)))
        };
        let unreadable = |error| Failure::failed(format!("could not use the folder {name}"), error);
        let Some(folder) = Folder::open_existing(dir).map_err(unreadable)? else {
            return Err(not_running("the folder holds no deployment"));
        };
        match folder.load_control().map_err(unreadable)? {
            Some(at) => Ok(Self { http: Http::new(), at, dir: name }),
            None => Err(not_running("it was ended")),
        }
    }

    /// Process number of the running `up`.
    pub fn pid(&self) -> u32 {
        self.at.pid
    }

    pub async fn info(&self) -> Result<Info, Failure> {
        self.json("could not ask for the state", "GET", "info", Bytes::new(), TIMEOUT).await
    }

    /// Says `command`; the answer is the state right after it.
    ///
    /// # Errors
    /// With [`ExitCode::Refused`] and the reason when it does not fit the state.
    pub async fn command(&self, command: &Command) -> Result<Info, Failure> {
        let what = format!("{} was not accepted", name_of(command));
        self.json(&what, "POST", "command", body(command)?, TIMEOUT).await
    }

    pub async fn verify(&self, deep: bool) -> Result<Verified, Failure> {
        let timeout = if deep { VERIFY_DEEP_TIMEOUT } else { VERIFY_TIMEOUT };
        self.json("could not compare the environments", "POST", "verify", body(&VerifyRequest { deep })?, timeout).await
    }

    /// The report of a rollout; without a number of the one under way, or else of the last one.
    pub async fn report(&self, run: Option<u64>) -> Result<Report, Failure> {
        let path = run.map_or_else(|| "report".to_string(), |run| format!("report?run={run}"));
        self.json("could not get the report", "GET", &path, Bytes::new(), TIMEOUT).await
    }

    /// Asks the `up` to end; it answers before it does.
    pub async fn down(&self) -> Result<(), Failure> {
        self.call("could not end the deployment", "POST", "down", Bytes::new(), TIMEOUT).await.map(|_| ())
    }

    async fn json<A: DeserializeOwned>(
        &self,
        what: &str,
        method: &str,
        path: &str,
        body: Bytes,
        timeout: Duration,
    ) -> Result<A, Failure> {
        let answer = self.call(what, method, path, body, timeout).await?;
        serde_json::from_slice(&answer.body).map_err(|error| {
            Failure::failed(what, format!("the answer of process {} cannot be understood ({error})", self.at.pid))
                .advise("use the same version of jadeshift as the one that runs")
        })
    }

    async fn call(
        &self,
        what: &str,
        method: &str,
        path: &str,
        body: Bytes,
        timeout: Duration,
    ) -> Result<JsonResponse, Failure> {
        let request = hyper::Request::builder()
            .method(method)
            .uri(format!("http://{}/control/v1/{path}", self.at.address))
            .header("authorization", format!("Bearer {}", self.at.token))
            .header("content-type", "application/json")
            .body(Full::new(body))
            .map_err(|error| Failure::failed(what, error))?;
        let answer = self.http.whole(request, timeout, ANSWER_BYTES_MAX).await.map_err(|error| self.silent(&error))?;
        match answer.status {
            200..300 => Ok(answer),
            status => Err(self.refusal(what, status, &answer.body)),
        }
    }

    /// The `up` that left its address does not answer there.
    fn silent(&self, error: &HttpError) -> Failure {
        let code = match error {
            HttpError::TimedOut { .. } => ExitCode::TimedOut,
            _ => ExitCode::NotRunning,
        };
        Failure::new(code, format!("the deployment in {} does not answer", self.dir), error).advise(format!(
            "if process {} is gone, `{} up` continues where it was",
            self.at.pid,
            command_prefix(Path::new(&self.dir))
        ))
    }

    fn refusal(&self, what: &str, status: u16, body: &[u8]) -> Failure {
        let why = match serde_json::from_slice::<ControlError>(body) {
            Ok(error) => error.error,
            Err(_) => format!("status {status}: {}", String::from_utf8_lossy(&body[..body.len().min(200)])),
        };
        match status {
            409 => Failure::new(ExitCode::Refused, what, why)
                .advise(format!("see `{} info`", command_prefix(Path::new(&self.dir)))),
            400 | 422 => Failure::usage(what, why),
            _ => Failure::failed(what, why),
        }
    }
}

/// How a command for this folder is typed.
pub fn command_prefix(dir: &Path) -> String {
    if dir == Path::new(local::FOLDER_DEFAULT) {
        "jadeshift".into()
    } else {
        format!("jadeshift --dir {}", dir.display())
    }
}

fn body(value: &impl serde::Serialize) -> Result<Bytes, Failure> {
    serde_json::to_vec(value).map(Bytes::from).map_err(|error| Failure::failed("could not write the request", error))
}

pub fn name_of(command: &Command) -> String {
    match command {
        Command::Deploy { version } => format!("`deploy {version}`"),
        Command::Promote { full: true } => "`promote --full`".into(),
        Command::Promote { full: false } => "`promote`".into(),
        Command::Pause => "`pause`".into(),
        Command::Resume => "`resume`".into(),
        Command::Rollback { .. } => "`rollback`".into(),
        Command::Canary { share_percent } => format!("`canary` with {share_percent} %"),
        Command::Switch { to } => format!("`switch {to}`"),
    }
}
