//! The admin protocol: what a coordinator asks of a node, and what one node asks of another (`wire::admin` lists it).

use crate::engine::{Node, RoleError, WriteError};
use crate::fault::Faults;
use crate::feed;
use crate::record;
use crate::rest;
use crate::surroundings::Execution;
use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::{Query, Request, State};
use axum::http::{StatusCode, header};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use client::Admin;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use std::sync::atomic::Ordering;
use std::time::Duration;
use wire::admin::{
    AcknowledgeCall, AdminError, AdminErrorCode, Confirm, Confirmed, Counters, Digest, Epoch, EpochCall, Follow,
    FollowerState, Lsn, MakeFaults, Marker, NodeState, Promote, ProveFollow, RecordsIn, Replay, ResumeCall, Role,
    SampledReads, Shed,
};
use wire::document::Mode;
use wire::headers::{WIRE_VERSION, WIRE_VERSION_MIN};

/// How long a digest call waits for its marker.
const MARKER_WAIT: Duration = Duration::from_secs(5);
/// How long the other node may take to show that it could be followed.
const PROOF_TIMEOUT: Duration = Duration::from_millis(500);

/// All calls of the protocol, behind the admin token.
pub fn router(node: Node) -> Router {
    Router::new()
        .route("/admin/v1/state", get(async |State(node): State<Node>| Answer(Ok(state(&node)))))
        .route("/admin/v1/prove-follow", post(prove_follow))
        .route("/admin/v1/seal", post(seal))
        .route("/admin/v1/resume", post(resume))
        .route("/admin/v1/promote", post(promote))
        .route("/admin/v1/follow", post(follow))
        .route("/admin/v1/acknowledge", post(acknowledge))
        .route("/admin/v1/confirm", post(confirm))
        .route("/admin/v1/shed", post(shed))
        .route("/admin/v1/fault", post(fault))
        .route("/admin/v1/marker", post(marker))
        .route("/admin/v1/digest", get(digest))
        .route("/admin/v1/bucket-sums", get(bucket_sums))
        .route("/admin/v1/records", post(records))
        .route("/admin/v1/rehash", post(rehash))
        .route("/admin/v1/reads", get(reads))
        .route("/admin/v1/replay", post(replay))
        .route("/admin/v1/stop", post(stop))
        .route("/admin/v1/feed", get(serve_feed))
        .route("/admin/v1/snapshot", get(serve_snapshot))
        .layer(middleware::from_fn_with_state(node.clone(), authorise))
        .with_state(node)
}

/// An answer of the protocol: JSON either way.
struct Answer<T>(Result<T, AdminError>);

impl<T: serde::Serialize> IntoResponse for Answer<T> {
    fn into_response(self) -> Response {
        match self.0 {
            Ok(value) => json(StatusCode::OK, &value),
            Err(error) => refusal(&error),
        }
    }
}

fn json(status: StatusCode, value: &impl serde::Serialize) -> Response {
    match serde_json::to_vec(value) {
        Ok(body) => (status, [(header::CONTENT_TYPE, "application/json")], body).into_response(),
        Err(error) => (StatusCode::INTERNAL_SERVER_ERROR, error.to_string()).into_response(),
    }
}

fn refusal(error: &AdminError) -> Response {
    let status = match error.code {
        AdminErrorCode::BadRequest => StatusCode::BAD_REQUEST,
        AdminErrorCode::Unauthorised => StatusCode::UNAUTHORIZED,
        AdminErrorCode::NotFound => StatusCode::NOT_FOUND,
        AdminErrorCode::StaleEpoch
        | AdminErrorCode::WrongState
        | AdminErrorCode::LogTruncated
        | AdminErrorCode::Diverged => StatusCode::CONFLICT,
        AdminErrorCode::Unavailable => StatusCode::SERVICE_UNAVAILABLE,
    };
    json(status, error)
}

/// A refusal with the highest epoch this node has seen.
pub(crate) fn refuse(node: &Node, code: AdminErrorCode, message: impl Into<String>) -> AdminError {
    AdminError { code, message: message.into(), epoch_seen: node.shared().status.borrow().file.epoch_seen }
}

/// A call that gives the right to write is obeyed by the process that it was meant for. The other side may have been made
/// primary since that one ended, without this folder having heard of a higher epoch.
fn meant(node: &Node, instance: &str) -> Result<(), AdminError> {
    let here = &node.shared().instance;
    if instance.is_empty() || instance == here {
        return Ok(());
    }
    let message = format!("the call was meant for process `{instance}` of this node, which is gone; this is `{here}`");
    Err(refuse(node, AdminErrorCode::WrongState, message))
}

fn refuse_role(node: &Node, error: RoleError) -> AdminError {
    let code = match &error {
        RoleError::StaleEpoch { .. } => AdminErrorCode::StaleEpoch,
        RoleError::WrongState { .. } | RoleError::WrongPosition { .. } | RoleError::Discontinuous(_) => {
            AdminErrorCode::WrongState
        }
        RoleError::Disk(_) | RoleError::Closing => AdminErrorCode::Unavailable,
    };
    refuse(node, code, error.to_string())
}

async fn authorise(State(node): State<Node>, request: Request, next: Next) -> Response {
    let given = request.headers().get(header::AUTHORIZATION).and_then(|value| value.to_str().ok());
    let token = given.and_then(|value| value.strip_prefix("Bearer ")).unwrap_or_default();
    // Compared by hash, so that the time taken says nothing about the token.
    if blake3::hash(token.as_bytes()) != blake3::hash(node.config().admin_token.as_bytes()) {
        let message = "send `Authorization: Bearer` with this node's admin token";
        return refusal(&refuse(&node, AdminErrorCode::Unauthorised, message));
    }
    next.run(request).await
}

fn parse<T: DeserializeOwned>(node: &Node, body: &[u8]) -> Result<T, AdminError> {
    serde_json::from_slice(body).map_err(|error| refuse(node, AdminErrorCode::BadRequest, format!("body: {error}")))
}

/// Everything a coordinator needs to know.
pub fn state(node: &Node) -> NodeState {
    let shared = node.shared();
    let status = shared.status.borrow().clone();
    let position = node.position();
    let follows = matches!(status.file.role, Role::Follower { .. });
    let counters = &shared.counters;
    NodeState {
        cluster_id: status.file.cluster_id,
        node_id: status.file.node_id,
        instance: shared.instance.clone(),
        version: shared.config.version.clone(),
        wire_version: WIRE_VERSION,
        records: record::formats(shared.config.record_format),
        role: status.file.role,
        epoch_seen: status.file.epoch_seen,
        lsn: position.lsn,
        lsn_epoch: position.epoch,
        ready: node.ready(),
        failed: status.failed,
        held_writes: node.held_writes(),
        sheds: node.sheds(),
        feed: follows.then(|| shared.feed.lock().clone()),
        acknowledge: Some(shared.confirmations.state()),
        dormant: status.dormant,
        followers: followers(node),
        counters: Counters {
            reads: counters.reads.load(Ordering::Relaxed),
            read_errors: counters.read_errors.load(Ordering::Relaxed),
            writes: counters.writes.load(Ordering::Relaxed),
            write_errors: counters.write_errors.load(Ordering::Relaxed),
            replays: counters.replays.load(Ordering::Relaxed),
            forwarded: counters.forwarded.load(Ordering::Relaxed),
        },
        read_latency: Some(counters.read_latency.snapshot()),
        databases: shared.store.databases().len() as u64,
        vectors: shared.store.vector_count() as u64,
        unindexed: shared.store.unindexed() as u64,
        // Of a simulated node there is no process to look at.
        resident_bytes: match shared.config.surroundings.execution {
            Execution::Threads => resident_bytes(),
            Execution::Tasks { .. } => 0,
        },
        set_aside: node.set_aside(),
    }
}

fn followers(node: &Node) -> Vec<FollowerState> {
    let followers = node.shared().followers.lock();
    followers.iter().map(|(id, seen)| FollowerState { node_id: id.clone(), sent_lsn: seen.sent_lsn }).collect()
}

/// Resident memory of this process; 0 where the system does not tell.
pub fn resident_bytes() -> u64 {
    let statm = std::fs::read_to_string("/proc/self/statm").unwrap_or_default();
    let pages: u64 = statm.split(' ').nth(1).and_then(|pages| pages.parse().ok()).unwrap_or(0);
    pages * rustix::param::page_size() as u64
}

async fn prove_follow(State(node): State<Node>, body: Bytes) -> Answer<NodeState> {
    Answer(prove(&node, &body).await)
}

async fn prove(node: &Node, body: &[u8]) -> Result<NodeState, AdminError> {
    let call: ProveFollow = parse(node, body)?;
    let wrong = |why: String| refuse(node, AdminErrorCode::WrongState, why);
    let http = node.config().surroundings.http.clone();
    let other = Admin::new(http, &call.primary.admin, &node.config().admin_token, PROOF_TIMEOUT);
    let seen = other.state().await.map_err(|error| wrong(format!("{}: {error}", call.primary.admin)))?;
    if !(WIRE_VERSION_MIN..=WIRE_VERSION).contains(&seen.wire_version) {
        return Err(wrong(format!(
            "{} speaks wire version {}, this node reads {WIRE_VERSION_MIN} to {WIRE_VERSION}",
            call.primary.admin, seen.wire_version
        )));
    }
    let here = state(node);
    // Before the handover, and not when the first record comes that cannot be read.
    seen.records.for_follower(&here.records).map_err(|why| wrong(format!("{} {why}", call.primary.admin)))?;
    if seen.cluster_id != here.cluster_id {
        return Err(wrong(format!("{} holds another history ({})", call.primary.admin, seen.cluster_id)));
    }
    Ok(here)
}

async fn seal(State(node): State<Node>, body: Bytes) -> Response {
    let call = match parse::<EpochCall>(&node, &body) {
        Ok(call) => call,
        Err(error) => return refusal(&error),
    };
    Answer(node.seal(call.epoch).await.map_err(|error| refuse_role(&node, error))).into_response()
}

async fn resume(State(node): State<Node>, body: Bytes) -> Answer<NodeState> {
    let call = match parse::<ResumeCall>(&node, &body).and_then(|call| meant(&node, &call.instance).map(|()| call)) {
        Ok(call) => call,
        Err(error) => return Answer(Err(error)),
    };
    let done = node.resume(call.epoch).await;
    Answer(done.map(|()| state(&node)).map_err(|error| refuse_role(&node, error)))
}

async fn promote(State(node): State<Node>, body: Bytes) -> Answer<NodeState> {
    let call = match parse::<Promote>(&node, &body).and_then(|call| meant(&node, &call.instance).map(|()| call)) {
        Ok(call) => call,
        Err(error) => return Answer(Err(error)),
    };
    let done = node.promote_acknowledging(call.epoch, call.lsn, call.acknowledge).await;
    Answer(done.map(|()| state(&node)).map_err(|error| refuse_role(&node, error)))
}

async fn follow(State(node): State<Node>, body: Bytes) -> Answer<NodeState> {
    let call = match parse::<Follow>(&node, &body) {
        Ok(call) => call,
        Err(error) => return Answer(Err(error)),
    };
    let done = node.follow(call.epoch, call.primary).await;
    Answer(done.map(|()| state(&node)).map_err(|error| refuse_role(&node, error)))
}

async fn acknowledge(State(node): State<Node>, body: Bytes) -> Answer<NodeState> {
    let call = match parse::<AcknowledgeCall>(&node, &body) {
        Ok(call) => call,
        Err(error) => return Answer(Err(error)),
    };
    let done = node.acknowledge(call.epoch, call.by).await;
    Answer(done.map(|()| state(&node)).map_err(|error| refuse_role(&node, error)))
}

async fn confirm(State(node): State<Node>, body: Bytes) -> Answer<Confirmed> {
    Answer(parse::<Confirm>(&node, &body).and_then(|call| feed::hear_confirmation(&node, &call)))
}

async fn shed(State(node): State<Node>, body: Bytes) -> Answer<NodeState> {
    let call: Shed = match parse(&node, &body) {
        Ok(call) => call,
        Err(error) => return Answer(Err(error)),
    };
    node.shared().shed.send_replace(call.shed);
    Answer(Ok(state(&node)))
}

/// Other faults than before, for tests; what is meant for production has none.
async fn fault(State(node): State<Node>, body: Bytes) -> Answer<NodeState> {
    let wrong = |why: String| Answer(Err(refuse(&node, AdminErrorCode::BadRequest, why)));
    let call: MakeFaults = match parse(&node, &body) {
        Ok(call) => call,
        Err(error) => return Answer(Err(error)),
    };
    if node.config().mode == Mode::Production {
        return wrong("faults are for development; this node runs in production".into());
    }
    match Faults::parse(&call.faults) {
        Ok(faults) => {
            node.set_faults(faults);
            Answer(Ok(state(&node)))
        }
        Err(error) => wrong(error.to_string()),
    }
}

async fn marker(State(node): State<Node>) -> Answer<Marker> {
    Answer(node.marker().await.map(|lsn| Marker { lsn }).map_err(|error| {
        let code = match error {
            WriteError::NotPrimary => AdminErrorCode::WrongState,
            _ => AdminErrorCode::Unavailable,
        };
        refuse(&node, code, error.to_string())
    }))
}

#[derive(Deserialize)]
struct AtLsn {
    lsn: Lsn,
}

async fn digest(State(node): State<Node>, Query(at): Query<AtLsn>) -> Answer<Digest> {
    Answer(match node.digest_at(at.lsn, MARKER_WAIT).await {
        Some(digest) => Ok(Digest { lsn: at.lsn, digest: digest.root, records: digest.records }),
        None => Err(refuse(
            &node,
            AdminErrorCode::NotFound,
            format!(
                "no digest is known at LSN {}: this node stands at {}, and keeps those at markers",
                at.lsn,
                node.lsn()
            ),
        )),
    })
}

/// The only answer that is not JSON: it would be half as long again.
async fn bucket_sums(State(node): State<Node>, Query(at): Query<AtLsn>) -> Response {
    match node.sums_at(at.lsn) {
        Some(sums) => ([(header::CONTENT_TYPE, "application/octet-stream")], sums).into_response(),
        None => refusal(&refuse(
            &node,
            AdminErrorCode::NotFound,
            format!("no sums are known at LSN {}: they are kept at the last markers that were asked for", at.lsn),
        )),
    }
}

async fn records(State(node): State<Node>, body: Bytes) -> Response {
    let call = match parse::<RecordsIn>(&node, &body) {
        Ok(call) => call,
        Err(error) => return refusal(&error),
    };
    if !node.applied(call.at_least, MARKER_WAIT).await {
        let (at, seconds) = (node.lsn(), MARKER_WAIT.as_secs());
        let why = format!("this node is at LSN {at} and did not reach {} within {seconds} s", call.at_least);
        return refusal(&refuse(&node, AdminErrorCode::Unavailable, why));
    }
    let listed = node.records_in(call.buckets).await;
    Answer(listed.map_err(|why| refuse(&node, AdminErrorCode::Unavailable, why))).into_response()
}

async fn rehash(State(node): State<Node>) -> Response {
    let rehashed = feed::rehash(&node).await;
    Answer(rehashed.map_err(|error| refuse(&node, AdminErrorCode::Unavailable, error))).into_response()
}

#[derive(Deserialize)]
struct Most {
    max: usize,
}

async fn reads(State(node): State<Node>, Query(most): Query<Most>) -> Answer<SampledReads> {
    Answer(Ok(SampledReads { reads: node.sample().take(most.max) }))
}

async fn replay(State(node): State<Node>, body: Bytes) -> Response {
    match parse::<Replay>(&node, &body) {
        Ok(call) => Answer(Ok(rest::search::replay(&node, &call).await)).into_response(),
        Err(error) => refusal(&error),
    }
}

async fn stop(State(node): State<Node>) -> Answer<NodeState> {
    let last = state(&node);
    node.request_shutdown();
    Answer(Ok(last))
}

#[derive(Deserialize)]
struct FeedQuery {
    after: Lsn,
    epoch: Epoch,
    #[serde(default)]
    cluster: String,
    follower: String,
    /// Newest format of records that the follower reads; who does not say knows the first.
    #[serde(default = "first_format")]
    record_format: u8,
    /// Oldest format in which what it has came.
    #[serde(default = "first_format")]
    held_format: u8,
}

fn first_format() -> u8 {
    record::FORMAT_MIN
}

async fn serve_feed(State(node): State<Node>, Query(query): Query<FeedQuery>) -> Response {
    let FeedQuery { after, epoch, cluster, follower, record_format, held_format } = query;
    let follower = feed::Follower { id: follower, record_format };
    match feed::serve(&node, (after, epoch), &cluster, follower, held_format) {
        Ok(body) => Body::new(body).into_response(),
        Err(error) => refusal(&error),
    }
}

#[derive(Deserialize)]
struct SnapshotQuery {
    follower: String,
    resume: Option<String>,
    #[serde(default = "first_format")]
    record_format: u8,
}

async fn serve_snapshot(State(node): State<Node>, Query(query): Query<SnapshotQuery>) -> Response {
    let follower = feed::Follower { id: query.follower, record_format: query.record_format };
    match feed::serve_snapshot(&node, follower, query.resume.as_deref()) {
        Ok(body) => Body::new(body).into_response(),
        Err(error) => refusal(&error),
    }
}
