//! What every request goes through, before and after its handler.

use super::answer::{self, BEHIND_HEADER, LSN_HEADER, Outcome, Problem, VERSION_HEADER};
use super::call::Call;
use super::{Rest, once, write};
use crate::auth::{Access, Caller, credential};
use crate::engine::Standing;
use crate::metrics::RouteMetrics;
use axum::extract::rejection::RawPathParamsRejection;
use axum::extract::{RawPathParams, Request};
use axum::response::Response;
use http::Method;
use http::header::{CONNECTION, HeaderValue};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use tokio::time::Instant;
use wire::admin::Lsn;

/// How long a read waits for the LSN that its client demands.
const MIN_LSN_WAIT: Duration = Duration::from_secs(2);
/// How long a read on a follower waits for a credential that it does not know: a login of a moment ago, on the primary.
const CREDENTIAL_WAIT: Duration = Duration::from_millis(250);
const CREDENTIAL_POLL: Duration = Duration::from_millis(5);

/// What a route is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// About this process: answered whatever the state of the node.
    System,
    /// Answered where it lands.
    Read,
    /// Answered by the primary.
    Write,
}

pub struct Route {
    kind: Kind,
    access: Access,
    /// Under `/v1`: the answer carries LSN and version.
    versioned: bool,
    /// Its requests may carry an idempotency key.
    takes_key: bool,
    metrics: Arc<RouteMetrics>,
}

impl Route {
    pub fn new(kind: Kind, access: Access, method: &Method, path: &str, metrics: Arc<RouteMetrics>) -> Self {
        let takes_key = once::taken_by(method, path);
        Self { kind, access, versioned: path.starts_with("/v1"), takes_key, metrics }
    }
}

/// Answers one request.
pub async fn pass<H, F>(
    rest: &Arc<Rest>,
    route: &Route,
    handler: &H,
    params: Result<RawPathParams, RawPathParamsRejection>,
    request: Request,
) -> Response
where
    H: Fn(Arc<Rest>, Arc<Call>, Caller) -> F,
    F: Future<Output = Outcome>,
{
    let started = Instant::now();
    let replayed = request.headers().contains_key(wire::headers::REPLAY);
    // What the other node forwards came to the right place.
    let forwarded = request.headers().contains_key(wire::headers::HOPS);
    let mut response = answer::response(outcome(rest, route, handler, params, request).await);
    let node = &rest.node;
    let headers = response.headers_mut();
    if route.versioned {
        // Present already on an answer that another node made, or that confirms a write.
        headers.entry(LSN_HEADER).or_insert_with(|| node.lsn().into());
        headers.entry(VERSION_HEADER).or_insert_with(|| rest.version.clone());
    }
    if node.shutdown_requested() || (node.sheds() && !forwarded) {
        headers.insert(CONNECTION, HeaderValue::from_static("close"));
    }
    let status = response.status().as_u16();
    // A route that is not built says nothing about the health of the node, and neither does lag, which has a measure of
    // its own.
    let failed = status >= 500 && status != 501 && !response.headers().contains_key(BEHIND_HEADER);
    let elapsed = started.elapsed();
    count(rest, route.kind, failed, replayed, elapsed);
    route.metrics.observe(status, elapsed);
    response
}

fn count(rest: &Rest, kind: Kind, failed: bool, replayed: bool, elapsed: Duration) {
    let counters = rest.node.counters();
    let add = |all: &AtomicU64, errors: Option<&AtomicU64>| {
        all.fetch_add(1, Ordering::Relaxed);
        if let Some(errors) = errors.filter(|_| failed) {
            errors.fetch_add(1, Ordering::Relaxed);
        }
    };
    match kind {
        Kind::System => {}
        Kind::Read if replayed => add(&counters.replays, None),
        Kind::Read => {
            counters.read_latency.record(u64::try_from(elapsed.as_micros()).unwrap_or(u64::MAX));
            add(&counters.reads, Some(&counters.read_errors));
        }
        Kind::Write => add(&counters.writes, Some(&counters.write_errors)),
    }
}

async fn outcome<H, F>(
    rest: &Arc<Rest>,
    route: &Route,
    handler: &H,
    params: Result<RawPathParams, RawPathParamsRejection>,
    request: Request,
) -> Outcome
where
    H: Fn(Arc<Rest>, Arc<Call>, Caller) -> F,
    F: Future<Output = Outcome>,
{
    let params = params.map_err(|error| Problem::BadRequest(format!("the path cannot be read: {error}")))?;
    let call = Arc::new(Call::read(request, params, rest).await?);
    match route.kind {
        Kind::System => run(rest, route.access, handler, &call).await,
        Kind::Read => read(rest, route.access, handler, &call).await,
        Kind::Write => {
            once::check(&call, route.takes_key)?;
            write::routed(rest, route.access, handler, &call).await
        }
    }
}

/// Runs the handler here and now, if the caller may.
pub async fn run<H, F>(rest: &Arc<Rest>, access: Access, handler: &H, call: &Arc<Call>) -> Outcome
where
    H: Fn(Arc<Rest>, Arc<Call>, Caller) -> F,
    F: Future<Output = Outcome>,
{
    let caller = admit(rest, access, call).await?;
    handler(rest.clone(), call.clone(), caller).await
}

async fn read<H, F>(rest: &Arc<Rest>, access: Access, handler: &H, call: &Arc<Call>) -> Outcome
where
    H: Fn(Arc<Rest>, Arc<Call>, Caller) -> F,
    F: Future<Output = Outcome>,
{
    let node = &rest.node;
    if !node.ready() {
        return Err(Problem::unavailable("this node is not ready: it is still receiving its data"));
    }
    if let Some(wanted) = call.header(wire::headers::MIN_LSN) {
        await_lsn(rest, wanted).await?;
    }
    let faults = node.faults();
    if !faults.latency.is_zero() {
        tokio::time::sleep(faults.latency).await;
    }
    if faults.hits_errors() {
        return Err(Problem::Internal("a fault on purpose (--fault errors)".into()));
    }
    // Taken before the read: the answer is at least as new.
    let lsn = node.lsn();
    let mut answer = run(rest, access, handler, call).await?;
    answer.lsn.get_or_insert(lsn);
    Ok(answer)
}

async fn await_lsn(rest: &Rest, wanted: &str) -> Result<(), Problem> {
    let name = wire::headers::MIN_LSN;
    let lsn: Lsn = wanted
        .parse()
        .map_err(|_| Problem::BadRequest(format!("the header {name} must be a whole number, got `{wanted}`")))?;
    // A primary has everything that was ever acknowledged: what it does not have by now, it never will.
    let primary = rest.node.standing() == Standing::Primary;
    if rest.node.applied(lsn, if primary { Duration::ZERO } else { MIN_LSN_WAIT }).await {
        return Ok(());
    }
    let (at, seconds) = (rest.node.lsn(), MIN_LSN_WAIT.as_secs());
    let text = match primary {
        true => format!("this node is the primary, at LSN {at}, and LSN {lsn} is not in its history"),
        false => format!("this node is at LSN {at} and did not reach {lsn} within {seconds} s"),
    };
    Err(Problem::Behind { text, primary })
}

/// Who is asking, if the route is open to them.
///
/// # Errors
/// 401 and 403.
pub async fn admit(rest: &Rest, access: Access, call: &Call) -> Result<Caller, Problem> {
    if access == Access::Open {
        return Ok(Caller::default());
    }
    let Some(secret) = credential(&call.headers) else {
        return Err(Problem::Unauthorised(
            "this needs a login: send `Authorization: Bearer` with a token or an API key".into(),
        ));
    };
    let refused = || Problem::Unauthorised("the token or API key is unknown, expired or revoked".into());
    let caller = match identify(rest, secret) {
        Some(caller) => caller,
        None => await_credential(rest, secret).await.ok_or_else(refused)?,
    };
    rest.metrics.permission_checks.inc();
    if access == Access::Admin && !caller.is_admin() {
        return Err(Problem::Forbidden("this needs the role `admin`".into()));
    }
    Ok(caller)
}

fn identify(rest: &Rest, secret: &str) -> Option<Caller> {
    rest.auth.identify(rest.node.store(), rest.node.config().mode, secret, rest.now_ms())
}

async fn await_credential(rest: &Rest, secret: &str) -> Option<Caller> {
    if !matches!(rest.node.standing(), Standing::Follower { .. }) {
        return None;
    }
    // When many wait already, this one is refused at once.
    let _place = rest.credential_waits.try_acquire().ok()?;
    let until = Instant::now() + CREDENTIAL_WAIT;
    while Instant::now() < until {
        tokio::time::sleep(CREDENTIAL_POLL).await;
        if let Some(caller) = identify(rest, secret) {
            return Some(caller);
        }
    }
    None
}
