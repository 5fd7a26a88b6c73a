//! `/v1/security`: what happened to accounts on this node, and who is logged in.

use super::Rest;
use super::answer::{Answer, Outcome, Problem};
use super::call::Call;
use crate::account::Token;
use crate::auth::audit::Event;
use crate::auth::{Caller, credential, iso, secret};
use serde_json::{Value, json};
use std::sync::Arc;

const EVENTS_DEFAULT: usize = 100;
/// Characters of a token's hash that name its session.
const SESSION_CHARS: usize = 16;
/// Characters of a client's `User-Agent` that are kept.
const CLIENT_CHARS: usize = 128;

/// Notes an event of this request.
pub fn note(rest: &Rest, call: &Call, kind: &'static str, user_id: &str, success: bool, details: String) {
    let session = credential(&call.headers).map(|given| session_id(&secret::hash(given))).unwrap_or_default();
    rest.auth.audit.note(Event {
        event_id: String::new(),
        event_type: kind,
        user_id: user_id.to_owned(),
        ip_address: call.address.to_string(),
        resource_accessed: call.uri.path().chars().take(CLIENT_CHARS).collect(),
        operation: operation(call),
        success,
        details,
        session_id: session,
        client_info: call.header("user-agent").unwrap_or_default().chars().take(CLIENT_CHARS).collect(),
        timestamp: iso(rest.now_ms()),
    });
}

fn operation(call: &Call) -> &'static str {
    match call.method.as_str() {
        "POST" => "POST",
        "PUT" => "PUT",
        "DELETE" => "DELETE",
        _ => "GET",
    }
}

fn session_id(token_hash: &str) -> String {
    token_hash.chars().take(SESSION_CHARS).collect()
}

pub async fn audit_log(rest: Arc<Rest>, call: Arc<Call>, _caller: Caller) -> Outcome {
    let limit = match call.query("limit")? {
        None => EVENTS_DEFAULT,
        Some(text) => text
            .parse()
            .map_err(|_| Problem::BadRequest(format!("the query parameter `limit` must be a number, got `{text}`")))?,
    };
    let (user_id, kind) = (call.query("user_id")?, call.query("event_type")?);
    let filled = |text: Option<String>| text.filter(|text| !text.is_empty());
    let events = rest.auth.audit.latest(filled(user_id).as_deref(), filled(kind).as_deref(), limit);
    Ok(Answer::ok(&json!({ "count": events.len(), "events": events })))
}

pub async fn audit_stats(rest: Arc<Rest>, _call: Arc<Call>, _caller: Caller) -> Outcome {
    Ok(Answer::ok(&rest.auth.audit.stats()))
}

/// Sessions are the logins in the log, so they are the same on every node.
pub async fn sessions(rest: Arc<Rest>, call: Arc<Call>, caller: Caller) -> Outcome {
    let user_id = call.query("user_id")?.filter(|user_id| !user_id.is_empty());
    let user_id = user_id.ok_or_else(|| Problem::BadRequest("the query parameter `user_id` is required".into()))?;
    if !caller.is_admin() && caller.user_id() != user_id {
        return Err(Problem::Forbidden("only an administrator lists the sessions of other users".into()));
    }
    let now_ms = rest.now_ms();
    let tokens = rest.node.store().tokens_of(&user_id);
    let live = tokens.iter().filter(|token| token.expires_ms > now_ms);
    let sessions: Vec<Value> = live.map(|token| describe(token)).collect();
    Ok(Answer::ok(&json!({ "user_id": user_id, "count": sessions.len(), "sessions": sessions })))
}

fn describe(token: &Token) -> Value {
    let session_id = session_id(&token.token_hash);
    json!({
        "session_id": session_id,
        "user_id": token.user_id,
        "token_id": session_id,
        "ip_address": "",
        "is_active": true,
        "created_at": iso(token.created_ms),
        "last_activity": iso(token.created_ms),
        "expires_at": iso(token.expires_ms),
    })
}
