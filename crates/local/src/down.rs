//! Ending a deployment from outside, whether its `up` runs or died.

use crate::folder::{Folder, FolderError, FolderLock};
use crate::process::Identity;
use crate::supervisor::{Adopted, NoDrain, Patience, Status, SupervisorError, SupervisorOptions};
use client::{Http, HttpError};
use http_body_util::Full;
use hyper::body::Bytes;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;
use tokio::time::Instant;
use wire::Member;
use wire::control::ControlAddress;

/// Longest time for a running `up` to end: gateway, drain and nodes each have their own bound within it.
const END_MAX: Duration = Duration::from_secs(60);
/// Longest time for a folder's holder to tell where it answers.
const TELL_MAX: Duration = Duration::from_secs(5);
const CALL_TIMEOUT: Duration = Duration::from_secs(5);
const ANSWER_BYTES_MAX: usize = 64 << 10;
const POLL: Duration = Duration::from_millis(20);

/// What there was to end.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Downed {
    /// No deployment lives in the folder.
    NoDeployment,
    /// A running `up` was told, and has ended with its nodes.
    Told { pid: u32 },
    /// No `up` ran; these processes of nodes were left, and have ended.
    Ended { nodes: BTreeMap<String, u32> },
}

#[derive(Debug, thiserror::Error)]
pub enum DownError {
    #[error(transparent)]
    Folder(#[from] FolderError),
    #[error(transparent)]
    Supervisor(#[from] SupervisorError),
    #[error("{holder}, but it does not tell where it answers: end that process, then try again")]
    Untold { holder: FolderError },
    #[error("process {pid} could not be told to end ({why}): end that process, then try again")]
    Tell { pid: u32, why: String },
    #[error("process {pid} was told to end, and has not within {} s: look at its output", END_MAX.as_secs())]
    StillUp { pid: u32 },
}

/// Ends the deployment in `root`: its `up` is told to if one runs, otherwise the nodes it left are ended here. The data
/// stays.
///
/// # Errors
/// [`DownError`] names the process that does not end.
pub async fn down(root: &Path, patience: Patience) -> Result<Downed, DownError> {
    let Some(folder) = Folder::open_existing(root)? else { return Ok(Downed::NoDeployment) };
    match folder.lock_after_death().await {
        Ok(lock) => end_nodes(&folder, lock, patience).await,
        Err(holder @ FolderError::Locked { .. }) => tell(&folder, holder).await,
        Err(error) => Err(error.into()),
    }
}

async fn end_nodes(folder: &Folder, lock: FolderLock, patience: Patience) -> Result<Downed, DownError> {
    let spec = folder.load_document()?.map(|document| document.spec).unwrap_or_default();
    let (local, replicas) = (spec.local, spec.replicas);
    // Nothing is started here, so no program is needed.
    let node_program = PathBuf::new();
    let options = SupervisorOptions { folder: folder.clone(), local, replicas, node_program, patience };
    let adopted = Adopted::find(options).await?;
    let pid = |member: Member| match adopted.status(member) {
        Status::Running(running) => Some((member.to_string(), running.process.pid)),
        _ => None,
    };
    let nodes = adopted.members().into_iter().filter_map(pid).collect();
    let supervisor = adopted.supervise(Arc::new(NoDrain));
    let stopped = supervisor.stop(|_| true).await;
    supervisor.leave().await;
    stopped?;
    folder.remove_control()?;
    drop(lock);
    Ok(Downed::Ended { nodes })
}

async fn tell(folder: &Folder, holder: FolderError) -> Result<Downed, DownError> {
    // An `up` that is just starting takes the folder first and tells where it answers last.
    let deadline = Instant::now() + TELL_MAX;
    let control = loop {
        match folder.load_control()? {
            Some(control) if answers(&control).await => break control,
            _ if Instant::now() >= deadline => return Err(DownError::Untold { holder }),
            _ => tokio::time::sleep(POLL).await,
        }
    };
    let pid = control.pid;
    // Its folder is free a moment before it is gone. One that is this very process ends when it likes.
    let process = Identity::of(pid).ok().flatten().filter(|_| pid != std::process::id());
    call(&control, "POST", "down").await.map_err(|why| DownError::Tell { pid, why })?;
    let deadline = Instant::now() + END_MAX;
    loop {
        match folder.lock() {
            Ok(_) if process.as_ref().is_none_or(|process| !process.is_alive()) => return Ok(Downed::Told { pid }),
            Ok(_) | Err(FolderError::Locked { .. }) if Instant::now() < deadline => tokio::time::sleep(POLL).await,
            Ok(_) | Err(FolderError::Locked { .. }) => return Err(DownError::StillUp { pid }),
            Err(error) => return Err(error.into()),
        }
    }
}

/// The address may be left by an `up` that died, while another one is starting.
async fn answers(control: &ControlAddress) -> bool {
    call(control, "GET", "info").await.is_ok()
}

async fn call(control: &ControlAddress, method: &str, path: &str) -> Result<(), String> {
    let request = hyper::Request::builder()
        .method(method)
        .uri(format!("http://{}/control/v1/{path}", control.address))
        .header("authorization", format!("Bearer {}", control.token))
        .body(Full::new(Bytes::new()))
        .map_err(|error| error.to_string())?;
    let answer: Result<_, HttpError> = Http::new().whole(request, CALL_TIMEOUT, ANSWER_BYTES_MAX).await;
    match answer {
        Ok(answer) if (200..300).contains(&answer.status) => Ok(()),
        Ok(answer) => Err(format!("status {}", answer.status)),
        Err(error) => Err(error.to_string()),
    }
}
