//! `jadeshift gateway`: the gateway alone, told by the operator where requests go.

use crate::cli::Gateway as Arguments;
use crate::exit::ExitCode;
use crate::failure::Failure;
use crate::signals::Interrupts;
use axum::body::Bytes;
use axum::extract::{DefaultBodyLimit, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, put};
use gateway::{Gateway, GatewayOptions, Routing};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use tokio::net::TcpListener;
use wire::Colour;

/// Time for requests under way at the end.
const GRACE: Duration = Duration::from_secs(20);
/// New connections still arrive for a moment after the cluster was told that this one ends.
const LAST_COMERS: Duration = Duration::from_secs(2);
const BODY_BYTES_MAX: usize = 64 << 10;

struct Control {
    gateway: Gateway,
    token: String,
    /// It was told once whom to ask. When nobody is left to ask, requests wait here, and are not refused at the door.
    has_begun: AtomicBool,
}

pub async fn run(arguments: &Arguments) -> Result<ExitCode, Failure> {
    let what = "the gateway could not start";
    let token = std::fs::read_to_string(&arguments.token_file)
        .map_err(|error| Failure::usage(format!("{what}: --token-file {}", arguments.token_file.display()), error))?;
    let token = token.trim().to_string();
    if token.is_empty() {
        return Err(Failure::usage(what, format!("--token-file {} is empty", arguments.token_file.display())));
    }
    jadevectordb::cli::raise_file_limit();
    let started = Gateway::start(GatewayOptions::new(arguments.listen)).await;
    let gateway = started.map_err(|error| Failure::failed(what, error))?;
    let listener = TcpListener::bind(arguments.control).await;
    let listener =
        listener.map_err(|error| Failure::failed(what, format!("--control {}: {error}", arguments.control)))?;
    let mut interrupts = Interrupts::listen()?;
    tracing::info!(address = %gateway.address(), control = %arguments.control, "waiting to be told where requests go");
    let control = Arc::new(Control { gateway, token, has_begun: AtomicBool::new(false) });
    let serving = tokio::spawn(axum::serve(listener, router(control.clone())).into_future());
    interrupts.next().await;
    tokio::select! {
        () = tokio::time::sleep(LAST_COMERS) => (),
        () = interrupts.next() => (),
    }
    control.gateway.shutdown(GRACE).await;
    serving.abort();
    Ok(ExitCode::Ok)
}

fn router(control: Arc<Control>) -> axum::Router {
    let routed = async |State(control): State<Arc<Control>>| match control.has_begun.load(Ordering::Relaxed) {
        true => (StatusCode::OK, "ok\n"),
        false => (StatusCode::SERVICE_UNAVAILABLE, "it was not told yet where requests go\n"),
    };
    let figures = async |State(control): State<Arc<Control>>| {
        ([(header::CONTENT_TYPE, "text/plain; version=0.0.4")], control.gateway.prometheus_text())
    };
    axum::Router::new()
        .route("/healthz", get(async || "ok\n"))
        .route("/readyz", get(routed))
        .route("/metrics", get(figures))
        .route("/gateway/v1/routing", put(set_routing).get(routing))
        .layer(DefaultBodyLimit::max(BODY_BYTES_MAX))
        .with_state(control)
}

fn has_backend(routing: &Routing) -> bool {
    Colour::BOTH.iter().any(|colour| routing.backends.get(*colour).is_some() || !routing.others.get(*colour).is_empty())
}

async fn routing(State(control): State<Arc<Control>>, headers: HeaderMap) -> Response {
    match authorised(&control, &headers) {
        true => axum::Json(control.gateway.routing()).into_response(),
        false => unauthorised(),
    }
}

async fn set_routing(State(control): State<Arc<Control>>, headers: HeaderMap, body: Bytes) -> Response {
    if !authorised(&control, &headers) {
        return unauthorised();
    }
    let routing: Routing = match serde_json::from_slice(&body) {
        Ok(routing) => routing,
        Err(error) => {
            return (StatusCode::BAD_REQUEST, format!("the routing cannot be read: {error}\n")).into_response();
        }
    };
    let before = control.gateway.routing();
    if routing.generation < before.generation {
        let why = format!("generation {} is over, {} is in force\n", routing.generation, before.generation);
        return (StatusCode::CONFLICT, why).into_response();
    }
    if routing != before {
        tracing::info!(
            generation = routing.generation, blue = routing.reads.blue, green = routing.reads.green,
            writes = ?routing.primary, "told where requests go"
        );
        let leads_somewhere = has_backend(&routing);
        control.gateway.set_routing(routing);
        control.has_begun.fetch_or(leads_somewhere, Ordering::Relaxed);
    }
    StatusCode::NO_CONTENT.into_response()
}

/// Compared by hash, so that the time taken says nothing about the token.
fn authorised(control: &Control, headers: &HeaderMap) -> bool {
    let given = headers.get(header::AUTHORIZATION).and_then(|value| value.to_str().ok());
    let given = given.and_then(|value| value.strip_prefix("Bearer ")).unwrap_or_default();
    blake3::hash(given.as_bytes()) == blake3::hash(control.token.as_bytes())
}

fn unauthorised() -> Response {
    (StatusCode::UNAUTHORIZED, "send `Authorization: Bearer` with the deployment's admin token\n").into_response()
}

#[cfg(test)]
mod tests;
