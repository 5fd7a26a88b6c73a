//! `/v1/api-keys`: for administrators, and for everybody about their own.

use super::Rest;
use super::answer::{Answer, Outcome, Problem};
use super::body::{self, Field};
use super::call::Call;
use super::once;
use super::security::note;
use super::users::NAME_BYTES_MAX;
use crate::account::ApiKey;
use crate::auth::{Caller, iso, secret};
use crate::engine::{Condition, WriteError};
use crate::record::Op;
use http::StatusCode;
use serde::Deserialize;
use serde_json::{Value, json};
use std::sync::Arc;
use std::sync::atomic::Ordering;

const DESCRIPTION_BYTES_MAX: usize = 4 << 10;
const DAY_MS: u64 = 86_400_000;
/// A hundred years.
const VALIDITY_DAYS_MAX: usize = 36_500;

#[derive(Deserialize)]
struct Given<'a> {
    #[serde(borrow, default)]
    user_id: Field<'a>,
    #[serde(borrow, default)]
    description: Field<'a>,
    #[serde(borrow, default)]
    permissions: Field<'a>,
    #[serde(borrow, default)]
    validity_days: Field<'a>,
}

pub async fn create(rest: Arc<Rest>, call: Arc<Call>, caller: Caller) -> Outcome {
    let given: Given<'_> = body::parse(&call.body)?;
    let user_id = body::required_text("user_id", given.user_id, NAME_BYTES_MAX)?.into_owned();
    if !caller.is_admin() && caller.user_id() != user_id {
        return Err(Problem::Forbidden("only an administrator creates API keys of other users".into()));
    }
    let description = body::text("description", given.description)?.unwrap_or_default().into_owned();
    if !description.is_empty() {
        body::bounded_text("description", &description, DESCRIPTION_BYTES_MAX)?;
    }
    let permissions = body::texts("permissions", given.permissions)?.unwrap_or_default();
    let validity_days = body::whole("validity_days", given.validity_days, 0..=VALIDITY_DAYS_MAX)?.unwrap_or(0) as u64;
    let (key, created_ms) = (secret::new_api_key()?, rest.now_ms());
    let record = ApiKey {
        key_id: secret::random_hex(8)?,
        key_hash: secret::hash(&key),
        key_prefix: secret::shown_part(&key).to_owned(),
        user_id: user_id.clone(),
        description,
        permissions,
        is_active: true,
        created_ms,
        expires_ms: if validity_days == 0 { 0 } else { created_ms + validity_days * DAY_MS },
    };
    let body = json!({
        "api_key": key,
        "key_id": record.key_id,
        "user_id": user_id,
        "description": record.description,
        "message": "API key created; it is shown only now",
        "created_at": iso(created_ms),
    });
    // The key itself is in no record: a retry is told what was done.
    let text = format!(
        "API key `{0}` was created by the first request with this idempotency key, and shown only then: if it did not \
         arrive, revoke it (DELETE /v1/api-keys/{0}) and create another",
        record.key_id
    );
    let kept = Answer::json(StatusCode::CONFLICT, json!({ "error": text, "key_id": record.key_id }).to_string());
    let condition = Condition::UserExists(user_id.clone());
    let written = once::write(&rest, &call, Op::PutApiKey(record), condition, &kept).await;
    let applied = written.map_err(|error| match error {
        WriteError::Conflict(_) => Problem::BadRequest(format!("`user_id`: user `{user_id}` does not exist")),
        other => other.into(),
    })?;
    note(&rest, &call, "api_key_created", &user_id, true, format!("by `{}`", caller.user_id()));
    Ok(Answer::created(&body).at(applied))
}

pub async fn list(rest: Arc<Rest>, call: Arc<Call>, caller: Caller) -> Outcome {
    let asked = call.query("user_id")?.filter(|user_id| !user_id.is_empty());
    let user_id = match asked {
        Some(user_id) if caller.is_admin() || user_id == caller.user_id() => Some(user_id),
        Some(_) => return Err(Problem::Forbidden("only an administrator lists API keys of other users".into())),
        None if caller.is_admin() => None,
        None => Some(caller.user_id().to_owned()),
    };
    let keys = rest.node.store().api_keys();
    let wanted = keys.iter().filter(|key| user_id.as_ref().is_none_or(|user_id| key.user_id == *user_id));
    let keys: Vec<Value> = wanted.map(|key| describe(&rest, key)).collect();
    Ok(Answer::ok(&json!({ "count": keys.len(), "api_keys": keys })))
}

/// Uses are counted by each node since its start.
fn describe(rest: &Rest, key: &ApiKey) -> Value {
    let usage = rest.auth.usage(&key.key_id).unwrap_or_default();
    let moment = |ms: u64| (ms != 0).then(|| iso(ms));
    json!({
        "key_id": key.key_id,
        "key_prefix": key.key_prefix,
        "description": key.description,
        "user_id": key.user_id,
        "is_active": key.is_active,
        "created_at": iso(key.created_ms),
        "expires_at": moment(key.expires_ms),
        "last_used_at": moment(usage.last_ms.load(Ordering::Relaxed)),
        "usage_count": usage.count.load(Ordering::Relaxed),
        "permissions": key.permissions,
    })
}

pub async fn revoke(rest: Arc<Rest>, call: Arc<Call>, caller: Caller) -> Outcome {
    let key_id = call.param("key");
    let _exclusive = rest.read_modify_write.lock().await;
    let known = rest.node.store().api_key(key_id);
    let key = known.filter(|key| caller.is_admin() || key.user_id == caller.user_id());
    let key = key.ok_or_else(|| Problem::NotFound(format!("API key `{key_id}` does not exist")))?;
    let revoked = ApiKey { is_active: false, ..(*key).clone() };
    let answer = Answer::ok(&json!({ "key_id": key_id, "message": "API key revoked successfully" }));
    let condition = Condition::ApiKeyExists(key_id.to_owned());
    let applied = once::write(&rest, &call, Op::PutApiKey(revoked), condition, &answer).await?;
    note(&rest, &call, "api_key_revoked", &key.user_id, true, format!("by `{}`", caller.user_id()));
    Ok(answer.at(applied))
}
