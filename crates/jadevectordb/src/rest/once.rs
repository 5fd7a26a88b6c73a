//! Writes with an `Idempotency-Key`: done once, however often they are sent, and to whichever node.
//!
//! The key and the answer go into the log in the same record as the last write of the request. A retry is recognised before
//! its handler runs; one that comes while the first is under way is recognised by the writer thread, or, when the first has
//! meanwhile changed what the handler looks at, after its handler failed. It is never refused for being too early: it gets
//! the first one's answer as soon as that is on disk.

use super::answer::{Answer, Outcome, Problem};
use super::call::Call;
use super::{Rest, gate, vectors};
use crate::auth::{Access, Caller};
use crate::engine::{Applied, Condition, Repeated, WriteError};
use crate::record::{Answered, Op};
use bytes::Bytes;
use http::{HeaderMap, Method, StatusCode};
use std::sync::Arc;
use std::time::Duration;
use wire::headers::IDEMPOTENCY_KEY;

/// Characters of a key.
const KEY_CHARS_MAX: usize = 255;
/// Longest answer that is kept; longer ones are those to ids of many escaped characters, and long lists of roles.
const ANSWER_BYTES_MAX: usize = 8 << 10;
/// How long applying a write may take that is on disk already.
const APPLIED_WAIT: Duration = Duration::from_secs(5);
/// From here on hashing a body takes a moment of its own.
const LONG_BODY_BYTES: usize = 1 << 20;

/// Routes that take no key: their bodies hold a password, and a quick hash of one in the log would undo the slow one beside
/// it. Each may be repeated as it is: a name is given once, the other changes are the same the second time.
const SECRET_BODIES: [(Method, &str); 5] = [
    (Method::POST, "/v1/auth/register"),
    (Method::POST, "/v1/auth/login"),
    (Method::POST, "/v1/users"),
    (Method::PUT, "/v1/users/{user}/password"),
    (Method::POST, "/v1/admin/users/{user}/reset-password"),
];

/// Who asked with which key, and for what, as hashes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RequestKey {
    key: [u8; 32],
    request: [u8; 32],
}

/// Whether requests of a route may carry a key.
pub fn taken_by(method: &Method, path: &str) -> bool {
    !SECRET_BODIES.iter().any(|(secret_method, secret_path)| secret_method == method && *secret_path == path)
}

/// Checks a request before it is routed anywhere.
///
/// # Errors
/// 400 when the key breaks the rule, or the route takes none (`taken`).
pub fn check(call: &Call, taken: bool) -> Result<(), Problem> {
    if given(&call.headers)?.is_some() && !taken {
        return Err(Problem::BadRequest(format!(
            "{} {} takes no header {IDEMPOTENCY_KEY}: its body holds a password, of which nothing is kept but a slow hash; \
             send it without, it may be repeated",
            call.method,
            call.uri.path()
        )));
    }
    Ok(())
}

fn given(headers: &HeaderMap) -> Result<Option<&str>, Problem> {
    let rule = format!("it must have 1 to {KEY_CHARS_MAX} printable ASCII characters");
    let wrong = |what: String| Problem::BadRequest(format!("the header {IDEMPOTENCY_KEY} {what}: {rule}"));
    let mut values = headers.get_all(IDEMPOTENCY_KEY).iter();
    let Some(value) = values.next() else { return Ok(None) };
    if values.next().is_some() {
        return Err(wrong("is there more than once".into()));
    }
    let bytes = value.as_bytes();
    if let Some(position) = bytes.iter().position(|byte| !matches!(byte, b' '..=b'~')) {
        return Err(wrong(format!("has the byte {:#04x} at position {position}", bytes[position])));
    }
    if !(1..=KEY_CHARS_MAX).contains(&bytes.len()) {
        return Err(wrong(format!("has {} characters", bytes.len())));
    }
    // Printable ASCII is a text.
    Ok(value.to_str().ok())
}

/// Runs the handler of a write here and now, unless its request was done before.
pub async fn run<H, F>(rest: &Arc<Rest>, access: Access, handler: &H, call: &Arc<Call>) -> Outcome
where
    H: Fn(Arc<Rest>, Arc<Call>, Caller) -> F,
    F: Future<Output = Outcome>,
{
    let caller = gate::admit(rest, access, call).await?;
    if !rest.node.keeps_keys() {
        // As a version that knows no keys.
        return handler(rest.clone(), call.clone(), caller).await;
    }
    let Some(key) = key_of(call, &caller).await? else { return handler(rest.clone(), call.clone(), caller).await };
    if let Err(error) = rest.node.unless_done(&key.key, &key.request) {
        return refuse_or_repeat(rest, error.into()).await;
    }
    match handler(rest.clone(), call.clone(), caller).await {
        Ok(answer) => Ok(answer),
        // Nothing was done; done before; done and not confirmed.
        Err(problem @ (Problem::NotPrimary | Problem::Repeated(_) | Problem::GatewayTimeout(_))) => {
            refuse_or_repeat(rest, problem).await
        }
        // What stands in its way may be the work of the first request with this key.
        Err(problem) => match rest.node.unless_done(&key.key, &key.request) {
            Err(error @ WriteError::Repeated(_)) => refuse_or_repeat(rest, error.into()).await,
            _ => Err(problem),
        },
    }
}

async fn key_of<'a>(call: &'a Call, caller: &Caller) -> Result<Option<&'a RequestKey>, Problem> {
    let Some(key) = given(&call.headers)? else { return Ok(None) };
    if let Some(known) = call.once.get() {
        return Ok(Some(known));
    }
    // Every route that takes a key knows its user.
    let key = hash("jadevectordb idempotency key 1", &[caller.user_id().as_bytes(), key.as_bytes()]);
    let path = call.uri.path_and_query().map_or("/", |path| path.as_str()).to_owned();
    let (method, body) = (call.method.clone(), call.body.clone());
    let parts = move || {
        hash("jadevectordb idempotent request 1", &[method.as_str().as_bytes(), path.as_bytes(), body.as_ref()])
    };
    let request = vectors::aside(call.body.len() > LONG_BODY_BYTES, parts).await?;
    Ok(Some(call.once.get_or_init(|| RequestKey { key, request })))
}

fn hash(context: &str, parts: &[&[u8]]) -> [u8; 32] {
    let mut hasher = blake3::Hasher::new_derive_key(context);
    for part in parts {
        hasher.update(&(part.len() as u64).to_le_bytes());
        hasher.update(part);
    }
    hasher.finalize().into()
}

async fn refuse_or_repeat(rest: &Rest, problem: Problem) -> Outcome {
    let Problem::Repeated(repeated) = problem else { return Err(problem) };
    let Repeated { lsn, answered } = *repeated;
    if !rest.node.applied(lsn, APPLIED_WAIT).await {
        return Err(Problem::unavailable(format!("the request was done at LSN {lsn} and is being applied; try again")));
    }
    // The first may have been answered that it is not known whether it lasts.
    rest.node.acknowledged(lsn).await?;
    rest.metrics.repeated_writes.inc();
    let status = StatusCode::from_u16(answered.status)
        .map_err(|error| Problem::Internal(format!("the answer that was kept at LSN {lsn} has no status: {error}")))?;
    Ok(Answer { lsn: Some(lsn), repeated: true, ..Answer::json(status, answered.body) })
}

/// Writes `op`, the last of its request, with the answer that a retry will get.
///
/// # Errors
/// [`WriteError`]; nothing was written then.
pub async fn write(
    rest: &Rest,
    call: &Call,
    op: Op,
    condition: Condition,
    answer: &Answer,
) -> Result<Applied, WriteError> {
    let op = match call.once.get() {
        Some(key) => Op::Keyed { op: Box::new(op), answered: key.answered(answer, rest.now_ms()) },
        None => op,
    };
    rest.node.write_if(op, condition).await
}

impl RequestKey {
    fn answered(&self, answer: &Answer, at_ms: u64) -> Answered {
        let body = match answer.body.len() {
            0..=ANSWER_BYTES_MAX => answer.body.clone(),
            bytes => Bytes::from(format!(
                "{{\"status\":\"success\",\"message\":\"done by the first request with this idempotency key; its answer \
                 had {bytes} bytes, and at most {ANSWER_BYTES_MAX} are kept\"}}"
            )),
        };
        Answered { key: self.key, request: self.request, at_ms, status: answer.status.as_u16(), body }
    }
}

#[cfg(test)]
mod tests;
