//! The control protocol of a running `up` (see `wire::control`): on loopback, for who can read the folder's token.

use crate::folder::Folder;
use axum::body::Bytes;
use axum::extract::{DefaultBodyLimit, Query, Request, State};
use axum::http::{StatusCode, header};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use conductor::{CommandError, Conductor};
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::future::Future;
use std::hint::black_box;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use wire::control::{ControlError, ReportRequest, VerifyRequest};

/// Longest body of a call.
const BODY_BYTES_MAX: usize = 64 << 10;
/// Time for answers under way when the server ends.
const GRACE: Duration = Duration::from_secs(2);

/// Answers `jadeshift info` and its like.
pub struct ControlServer {
    stop: watch::Sender<bool>,
    down: watch::Receiver<bool>,
    task: JoinHandle<()>,
}

struct Control {
    conductor: Arc<Conductor>,
    folder: Folder,
    token: String,
    down: watch::Sender<bool>,
}

impl ControlServer {
    /// Serves on `listener` whoever knows `token`.
    pub fn start(listener: TcpListener, token: String, conductor: Arc<Conductor>, folder: Folder) -> Self {
        let (down, down_said) = watch::channel(false);
        let (stop, mut stopping) = watch::channel(false);
        let router = router(Arc::new(Control { conductor, folder, token, down }));
        let task = tokio::spawn(async move {
            let stopped = async move {
                // Who started the server and is gone cannot want it any more.
                let _ = stopping.wait_for(|stop| *stop).await;
            };
            if let Err(error) = axum::serve(listener, router).with_graceful_shutdown(stopped).await {
                tracing::error!(%error, "the control server broke off");
            }
        });
        Self { stop, down: down_said, task }
    }

    /// Waits until somebody said `down`.
    pub fn down_requested(&self) -> impl Future<Output = ()> + Send + 'static {
        let mut down = self.down.clone();
        async move {
            if down.wait_for(|down| *down).await.is_err() {
                // The server is gone, and nobody can say it any more.
                std::future::pending::<()>().await;
            }
        }
    }

    /// Lets answers under way finish, for a moment.
    pub async fn stop(mut self) {
        self.stop.send_replace(true);
        if tokio::time::timeout(GRACE, &mut self.task).await.is_err() {
            self.task.abort();
        }
    }
}

fn router(control: Arc<Control>) -> axum::Router {
    axum::Router::new()
        .route("/control/v1/info", get(info))
        .route("/control/v1/command", post(command))
        .route("/control/v1/verify", post(verify))
        .route("/control/v1/report", get(report))
        .route("/control/v1/down", post(down))
        .fallback(|| async {
            refusal(StatusCode::NOT_FOUND, "there is no such call; they are listed by `jadeshift help`")
        })
        .layer(DefaultBodyLimit::max(BODY_BYTES_MAX))
        .layer(middleware::from_fn_with_state(control.clone(), authorise))
        .with_state(control)
}

async fn authorise(State(control): State<Arc<Control>>, request: Request, next: Next) -> Response {
    let given = request.headers().get(header::AUTHORIZATION).map(|value| value.as_bytes());
    match given.and_then(|value| value.strip_prefix(b"Bearer ")) {
        Some(token) if same(token, control.token.as_bytes()) => next.run(request).await,
        _ => {
            refusal(StatusCode::UNAUTHORIZED, "this call needs `Authorization: Bearer` with the token of control.json")
        }
    }
}

async fn info(State(control): State<Arc<Control>>) -> Response {
    json(StatusCode::OK, &control.conductor.info())
}

async fn command(State(control): State<Arc<Control>>, body: Bytes) -> Response {
    let command = match parse(&body) {
        Ok(command) => command,
        Err(refused) => return *refused,
    };
    match control.conductor.command(command).await {
        Ok(info) => json(StatusCode::OK, &info),
        Err(error @ CommandError::Refused(_)) => refusal(StatusCode::CONFLICT, &error.to_string()),
        Err(error @ (CommandError::NotStored(_) | CommandError::Stopped(_))) => {
            refusal(StatusCode::SERVICE_UNAVAILABLE, &error.to_string())
        }
    }
}

async fn verify(State(control): State<Arc<Control>>, body: Bytes) -> Response {
    let request = match body.is_empty() {
        true => VerifyRequest::default(),
        false => match parse(&body) {
            Ok(request) => request,
            Err(refused) => return *refused,
        },
    };
    match control.conductor.verify(request.deep).await {
        Ok(verified) => json(StatusCode::OK, &verified),
        Err(error) => refusal(StatusCode::SERVICE_UNAVAILABLE, &error.to_string()),
    }
}

/// The rollout under way has not been kept in the folder yet.
async fn report(State(control): State<Arc<Control>>, Query(wanted): Query<ReportRequest>) -> Response {
    let under_way = control.conductor.report().filter(|report| wanted.run.is_none_or(|run| run == report.run.id));
    if let Some(report) = under_way {
        return json(StatusCode::OK, report.as_ref());
    }
    match control.folder.load_report(wanted.run) {
        Ok(Some(report)) => json(StatusCode::OK, &report),
        Ok(None) => refusal(StatusCode::NOT_FOUND, &wanted.missing()),
        Err(error) => refusal(StatusCode::SERVICE_UNAVAILABLE, &error.to_string()),
    }
}

async fn down(State(control): State<Arc<Control>>) -> StatusCode {
    control.down.send_replace(true);
    StatusCode::ACCEPTED
}

fn parse<T: DeserializeOwned>(body: &[u8]) -> Result<T, Box<Response>> {
    serde_json::from_slice(body)
        .map_err(|error| Box::new(refusal(StatusCode::BAD_REQUEST, &format!("the body cannot be understood: {error}"))))
}

fn refusal(status: StatusCode, error: &str) -> Response {
    json(status, &ControlError { error: error.into() })
}

fn json(status: StatusCode, body: &impl Serialize) -> Response {
    match serde_json::to_vec(body) {
        Ok(body) => (status, [(header::CONTENT_TYPE, "application/json")], body).into_response(),
        Err(error) => {
            tracing::error!(%error, "an answer cannot be written as JSON");
            StatusCode::INTERNAL_SERVER_ERROR.into_response()
        }
    }
}

/// Compares without telling by the time taken how much is right. (The length is no secret.)
fn same(given: &[u8], token: &[u8]) -> bool {
    let difference = given.iter().zip(token).fold(0, |difference, (a, b)| black_box(difference | (a ^ b)));
    given.len() == token.len() && black_box(difference) == 0
}

#[cfg(test)]
mod tests {
    use super::same;

    #[test]
    fn only_the_whole_token_opens() {
        assert!(same(b"abc", b"abc"));
        for wrong in [&b""[..], b"ab", b"abd", b"abcd", b"xbc"] {
            assert!(!same(wrong, b"abc"));
        }
    }
}
