//! `/v1/auth`: registering, logging in and out, forgotten passwords.

use super::Rest;
use super::answer::{Answer, Outcome, Problem};
use super::body::{self, Field};
use super::call::Call;
use super::once;
use super::security::note;
use super::users::{self, NewUser};
use crate::account::Token;
use crate::auth::limits::Refusal;
use crate::auth::{Caller, TOKEN_MS, TOKENS_PER_USER_MAX, iso, secret};
use crate::engine::Condition;
use crate::record::Op;
use serde::Deserialize;
use serde_json::json;
use std::sync::Arc;
use wire::document::Mode;

const CLOSED: &str = "registration is closed: an administrator creates users with POST /v1/users \
                      (only a node with JADEVECTORDB_ENV=development lets everybody register)";
const WRONG: &str = "Invalid username or password";

#[derive(Deserialize)]
struct Credentials<'a> {
    #[serde(borrow, default)]
    username: Field<'a>,
    #[serde(borrow, default)]
    password: Field<'a>,
}

pub async fn register(rest: Arc<Rest>, call: Arc<Call>, _caller: Caller) -> Outcome {
    if rest.node.config().mode != Mode::Development {
        return Err(Problem::Forbidden(CLOSED.into()));
    }
    limited(&rest, rest.auth.limiter.register(call.address, rest.auth.limits_ms()))?;
    let new = NewUser::read(&rest, &call)?;
    let (user, applied) = users::add(&rest, new).await?;
    note(&rest, &call, "user_registered", &user.user_id, true, format!("`{}` registered", user.username));
    let body = json!({
        "user_id": user.user_id,
        "username": user.username,
        "message": "User registered successfully",
        "created_at": iso(user.created_ms),
    });
    Ok(Answer::created(&body).at(applied))
}

/// Counts a refusal on its way to the client.
fn limited(rest: &Rest, tried: Result<(), Refusal>) -> Result<(), Problem> {
    tried.map_err(|refusal| {
        match refusal {
            Refusal::TooMany { .. } => rest.metrics.rate_limited.inc(),
            Refusal::Blocked { .. } => rest.metrics.blocked.inc(),
        }
        refusal.into()
    })
}

pub async fn login(rest: Arc<Rest>, call: Arc<Call>, _caller: Caller) -> Outcome {
    let _timer = rest.metrics.auth_duration.start_timer();
    rest.metrics.auth_requests.inc();
    limited(&rest, rest.auth.limiter.login(call.address, rest.auth.limits_ms()))?;
    let outcome = try_login(&rest, &call).await;
    if let Err(problem) = &outcome
        && problem.status().is_client_error()
    {
        rest.metrics.auth_errors.inc();
        if rest.auth.limiter.login_failed(call.address, rest.auth.limits_ms()) {
            tracing::warn!(address = %call.address, "blocked after too many failed logins");
        }
    }
    outcome
}

async fn try_login(rest: &Rest, call: &Call) -> Outcome {
    let given: Credentials<'_> = body::parse(&call.body)?;
    let username = body::required_text("username", given.username, users::NAME_BYTES_MAX)?;
    let password = body::required_text("password", given.password, crate::auth::password::PASSWORD_BYTES_MAX)?;
    let user = rest.node.store().user_named(&username);
    let limiter = &rest.auth.limiter;
    let locked = user.as_ref().is_some_and(|user| limiter.is_locked(&user.user_id, rest.auth.limits_ms()));
    // A locked account takes as long as any other, and is refused whatever the password.
    let hash = user.as_ref().map(|user| user.password_hash.as_str());
    let right = rest.auth.passwords.verify(&password, hash).await?;
    let user = match user {
        Some(user) if right && !locked && user.is_active => user,
        refused => {
            rest.metrics.failed_logins.inc();
            let user_id = refused.as_ref().map_or("", |user| &user.user_id);
            if refused.is_some() && !right && !locked && limiter.wrong_password(user_id, rest.auth.limits_ms()) {
                tracing::warn!(user = user_id, "locked after too many wrong passwords");
            }
            note(rest, call, "login_failed", user_id, false, if locked { "locked" } else { "refused" }.to_owned());
            return Err(Problem::Unauthorised(WRONG.into()));
        }
    };
    limiter.forgive(&user.user_id);
    let (token, created_ms) = (secret::new_token()?, rest.now_ms());
    let record = Token {
        token_hash: secret::hash(&token),
        user_id: user.user_id.clone(),
        created_ms,
        expires_ms: created_ms + TOKEN_MS,
    };
    let applied = rest.node.write(Op::PutToken(record)).await?;
    end_oldest_logins(rest, &user.user_id).await;
    note(rest, call, "login", &user.user_id, true, format!("`{}` logged in", user.username));
    let mut body = json!({
        "token": token,
        "user_id": user.user_id,
        "expires_at": iso(created_ms + TOKEN_MS),
        "token_type": "Bearer",
        "must_change_password": user.must_change_password,
    });
    if user.must_change_password {
        let path = format!("PUT /v1/users/{}/password", user.user_id);
        body["message"] = format!("Password must be changed: {path}").into();
    }
    Ok(Answer::ok(&body).at(applied))
}

async fn end_oldest_logins(rest: &Rest, user_id: &str) {
    let mut tokens = rest.node.store().tokens_of(user_id);
    let Some(surplus) = tokens.len().checked_sub(TOKENS_PER_USER_MAX).filter(|surplus| *surplus > 0) else { return };
    tokens.sort_by_key(|token| token.created_ms);
    let token_hashes = tokens.iter().take(surplus).map(|token| token.token_hash.clone()).collect();
    // The next login tries again.
    if let Err(error) = rest.node.write(Op::DropTokens { token_hashes }).await {
        tracing::debug!(%error, user = user_id, "the oldest logins could not be ended");
    }
}

pub async fn logout(rest: Arc<Rest>, call: Arc<Call>, caller: Caller) -> Outcome {
    let Some(token_hash) = caller.token_hash() else {
        return Err(Problem::Unauthorised(
            "only a login can be ended, an API key is revoked: DELETE /v1/api-keys".into(),
        ));
    };
    let answer = Answer::ok(&json!({ "message": "Logged out successfully", "user_id": caller.user_id() }));
    let op = Op::DropTokens { token_hashes: vec![token_hash.to_owned()] };
    let applied = once::write(&rest, &call, op, Condition::None, &answer).await?;
    note(&rest, &call, "logout", caller.user_id(), true, String::new());
    Ok(answer.at(applied))
}

#[derive(Deserialize)]
struct Forgotten<'a> {
    #[serde(borrow, default)]
    username: Field<'a>,
    #[serde(borrow, default)]
    email: Field<'a>,
}

/// Says the same for every name. There is no mail to send a reset token by, so none is made.
pub async fn forgot_password(rest: Arc<Rest>, call: Arc<Call>, _caller: Caller) -> Outcome {
    let given: Forgotten<'_> = body::parse(&call.body)?;
    let name = match body::text("username", given.username)? {
        Some(name) => Some(name),
        None => body::text("email", given.email)?,
    };
    let name = name.filter(|name| !name.is_empty()).ok_or_else(|| body::missing("username", "or `email`"))?;
    limited(&rest, rest.auth.limiter.forgot_password(&name, rest.auth.limits_ms()))?;
    note(&rest, &call, "password_forgotten", "", true, String::new());
    let message = "If the account exists, an administrator can reset its password";
    Ok(Answer::ok(&json!({ "message": message })))
}

#[derive(Deserialize)]
struct Reset<'a> {
    #[serde(borrow, default)]
    reset_token: Field<'a>,
    #[serde(borrow, default)]
    new_password: Field<'a>,
}

/// No reset tokens are given out, so none is valid.
pub async fn reset_password(rest: Arc<Rest>, call: Arc<Call>, _caller: Caller) -> Outcome {
    let given: Reset<'_> = body::parse(&call.body)?;
    body::required_text("reset_token", given.reset_token, users::NAME_BYTES_MAX)?;
    users::new_password(&rest, "new_password", given.new_password)?;
    Err(Problem::BadRequest(
        "`reset_token` is not valid: this node gives none out; an administrator resets passwords with \
         POST /v1/admin/users/{user_id}/reset-password"
            .into(),
    ))
}
