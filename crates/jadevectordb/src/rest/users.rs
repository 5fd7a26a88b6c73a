//! `/v1/users`: for administrators, and for everybody about themselves.

use super::Rest;
use super::answer::{Answer, Outcome, Problem};
use super::body::{self, Field};
use super::call::Call;
use super::once;
use super::security::note;
use crate::account::User;
use crate::auth::first_admin::PASSWORD_CHARS_MIN;
use crate::auth::password::PASSWORD_BYTES_MAX;
use crate::auth::{ADMIN, Caller, iso, secret};
use crate::engine::{Applied, Condition};
use crate::record::Op;
use serde::Deserialize;
use serde_json::{Value, json};
use std::sync::Arc;
use wire::document::Mode;

pub const NAME_BYTES_MAX: usize = 256;
const ROLES_MAX: usize = 32;

/// What a body says of a new user.
pub struct NewUser {
    username: String,
    password: String,
    roles: Vec<String>,
    email: Option<String>,
}

#[derive(Deserialize)]
struct Given<'a> {
    #[serde(borrow, default)]
    username: Field<'a>,
    #[serde(borrow, default)]
    password: Field<'a>,
    #[serde(borrow, default)]
    roles: Field<'a>,
    #[serde(borrow, default)]
    email: Field<'a>,
    #[serde(borrow, default)]
    is_active: Field<'a>,
}

impl NewUser {
    pub fn read(rest: &Rest, call: &Call) -> Result<Self, Problem> {
        let given: Given<'_> = body::parse(&call.body)?;
        let username = body::required_text("username", given.username, NAME_BYTES_MAX)?.into_owned();
        let password = new_password(rest, "password", given.password)?;
        let roles = roles(given.roles)?.unwrap_or_else(|| vec!["user".into()]);
        Ok(Self { username, password, roles, email: email(given.email)? })
    }
}

fn roles(field: Field<'_>) -> Result<Option<Vec<String>>, Problem> {
    let Some(roles) = body::texts("roles", field)? else { return Ok(None) };
    if roles.len() > ROLES_MAX {
        return Err(Problem::BadRequest(format!("`roles` has {} elements, the limit is {ROLES_MAX}", roles.len())));
    }
    for (position, role) in roles.iter().enumerate() {
        body::bounded_text(&format!("roles[{position}]"), role, NAME_BYTES_MAX)?;
    }
    Ok(Some(roles))
}

fn email(field: Field<'_>) -> Result<Option<String>, Problem> {
    let email = body::text("email", field)?.filter(|email| !email.is_empty());
    if let Some(email) = &email {
        body::bounded_text("email", email, NAME_BYTES_MAX)?;
    }
    Ok(email.map(|email| email.into_owned()))
}

/// A password that may be set.
///
/// # Errors
/// 400 when it is absent, too short or too long.
pub fn new_password(rest: &Rest, name: &str, field: Field<'_>) -> Result<String, Problem> {
    let password = body::required_text(name, field, PASSWORD_BYTES_MAX)?.into_owned();
    let chars = password.chars().count();
    if rest.node.config().mode != Mode::Development && chars < PASSWORD_CHARS_MIN {
        return Err(Problem::BadRequest(format!(
            "`{name}` has {chars} characters, it needs at least {PASSWORD_CHARS_MIN}"
        )));
    }
    Ok(password)
}

/// Writes a new user.
///
/// # Errors
/// 409 when the name is taken.
pub async fn add(rest: &Rest, new: NewUser) -> Result<(User, Applied), Problem> {
    let taken = || Problem::Conflict(format!("user `{}` exists already", new.username));
    if rest.node.store().user_named(&new.username).is_some() {
        return Err(taken());
    }
    let user = User {
        user_id: secret::random_hex(8)?,
        email: new.email.unwrap_or_else(|| format!("{}@jadevectordb.local", new.username)),
        password_hash: rest.auth.passwords.hash(&new.password).await?,
        username: new.username,
        roles: new.roles,
        is_active: true,
        must_change_password: false,
        created_ms: rest.now_ms(),
    };
    let free = Condition::UsernameFree(user.username.clone());
    let timer = rest.metrics.user_operation();
    let applied = rest.node.write_if(Op::PutUser(user.clone()), free).await?;
    timer.observe_duration();
    Ok((user, applied))
}

pub async fn create(rest: Arc<Rest>, call: Arc<Call>, _caller: Caller) -> Outcome {
    let new = NewUser::read(&rest, &call)?;
    let (user, applied) = add(&rest, new).await?;
    note(&rest, &call, "user_created", &user.user_id, true, format!("`{}` created", user.username));
    let body = json!({
        "user_id": user.user_id,
        "username": user.username,
        "email": user.email,
        "roles": user.roles,
        "message": "User created successfully",
        "created_at": iso(user.created_ms),
    });
    Ok(Answer::created(&body).at(applied))
}

fn describe(rest: &Rest, user: &User) -> Value {
    let last_login = rest.node.store().tokens_of(&user.user_id).iter().map(|token| token.created_ms).max();
    json!({
        "user_id": user.user_id,
        "username": user.username,
        "email": user.email,
        "is_active": user.is_active,
        "roles": user.roles,
        "must_change_password": user.must_change_password,
        "created_at": iso(user.created_ms),
        "last_login": last_login.map(iso),
    })
}

/// `?role=` and `?status=active|inactive`, which a client sends, are honoured.
pub async fn list(rest: Arc<Rest>, call: Arc<Call>, _caller: Caller) -> Outcome {
    let role = call.query("role")?.filter(|role| !role.is_empty());
    let active = match call.query("status")?.as_deref() {
        None | Some("") => None,
        Some("active") => Some(true),
        Some("inactive") => Some(false),
        Some(other) => {
            return Err(Problem::BadRequest(format!("`status` is `{other}`, it must be active or inactive")));
        }
    };
    let users = rest.node.store().users();
    let wanted = users.iter().filter(|user| {
        active.is_none_or(|active| user.is_active == active)
            && role.as_ref().is_none_or(|role| user.roles.contains(role))
    });
    let users: Vec<Value> = wanted.map(|user| describe(&rest, user)).collect();
    Ok(Answer::ok(&json!({ "count": users.len(), "users": users })))
}

/// The user of the path, if the caller may ask about it. To others it does not exist.
fn find(rest: &Rest, call: &Call, caller: &Caller) -> Result<Arc<User>, Problem> {
    let user_id = call.param("user");
    let user = rest.node.store().user(user_id).filter(|user| caller.is_admin() || caller.user_id() == user.user_id);
    user.ok_or_else(|| Problem::NotFound(format!("user `{user_id}` does not exist")))
}

pub async fn get(rest: Arc<Rest>, call: Arc<Call>, caller: Caller) -> Outcome {
    let user = find(&rest, &call, &caller)?;
    Ok(Answer::ok(&describe(&rest, &user)))
}

pub async fn update(rest: Arc<Rest>, call: Arc<Call>, caller: Caller) -> Outcome {
    let given: Given<'_> = body::parse(&call.body)?;
    let username = match given.username {
        Some(_) => Some(body::required_text("username", given.username, NAME_BYTES_MAX)?.into_owned()),
        None => None,
    };
    let (email, roles) = (email(given.email)?, roles(given.roles)?);
    let is_active = body::flag("is_active", given.is_active)?;
    if !caller.is_admin() && (username.is_some() || roles.is_some() || is_active.is_some()) {
        let text = "only an administrator changes `username`, `roles` and `is_active`";
        return Err(Problem::Forbidden(text.into()));
    }
    let _exclusive = rest.read_modify_write.lock().await;
    let mut user = (*find(&rest, &call, &caller)?).clone();
    let condition = match username.filter(|name| *name != user.username) {
        Some(name) => {
            user.username.clone_from(&name);
            Condition::UsernameFree(name)
        }
        None => Condition::UserExists(user.user_id.clone()),
    };
    user.email = email.unwrap_or(user.email);
    user.roles = roles.unwrap_or(user.roles);
    user.is_active = is_active.unwrap_or(user.is_active);
    keep_an_administrator(&rest, &user)?;
    if !user.is_active {
        end_logins(&rest, &user.user_id, caller.token_hash()).await?;
    }
    let answer = Answer::ok(&json!({
        "user_id": user.user_id,
        "username": user.username,
        "email": user.email,
        "roles": user.roles,
        "is_active": user.is_active,
        "message": "User updated successfully",
    }));
    let timer = rest.metrics.user_operation();
    let applied = once::write(&rest, &call, Op::PutUser(user.clone()), condition, &answer).await?;
    timer.observe_duration();
    note(&rest, &call, "user_updated", &user.user_id, true, format!("by `{}`", caller.user_id()));
    Ok(answer.at(applied))
}

/// # Errors
/// 400 when `changed` would leave nobody who may administer the node.
fn keep_an_administrator(rest: &Rest, changed: &User) -> Result<(), Problem> {
    let may = |user: &User| user.is_active && user.roles.iter().any(|role| role == ADMIN);
    let users = rest.node.store().users();
    let mut administrators = users.iter().filter(|user| may(user)).peekable();
    if rest.node.config().mode == Mode::Development || administrators.peek().is_none() || may(changed) {
        return Ok(());
    }
    if administrators.any(|user| user.user_id != changed.user_id) {
        return Ok(());
    }
    Err(Problem::BadRequest(format!(
        "`{}` is the last active administrator: give another user the role `admin` first",
        changed.username
    )))
}

/// Ends the user's logins except `but`: the caller's own, with which this request may be routed again.
async fn end_logins(rest: &Rest, user_id: &str, but: Option<&str>) -> Result<(), Problem> {
    let tokens = rest.node.store().tokens_of(user_id);
    let token_hashes: Vec<String> =
        tokens.iter().map(|token| token.token_hash.clone()).filter(|hash| Some(hash.as_str()) != but).collect();
    if !token_hashes.is_empty() {
        rest.node.write(Op::DropTokens { token_hashes }).await?;
    }
    Ok(())
}

/// The user stays, and may do nothing.
pub async fn delete(rest: Arc<Rest>, call: Arc<Call>, caller: Caller) -> Outcome {
    let _exclusive = rest.read_modify_write.lock().await;
    let mut user = (*find(&rest, &call, &caller)?).clone();
    user.is_active = false;
    keep_an_administrator(&rest, &user)?;
    end_logins(&rest, &user.user_id, caller.token_hash()).await?;
    let answer = Answer::ok(&json!({
        "user_id": user.user_id,
        "username": user.username,
        "message": "User deleted successfully",
    }));
    let condition = Condition::UserExists(user.user_id.clone());
    let timer = rest.metrics.user_operation();
    let applied = once::write(&rest, &call, Op::PutUser(user.clone()), condition, &answer).await?;
    timer.observe_duration();
    note(&rest, &call, "user_deleted", &user.user_id, true, format!("by `{}`", caller.user_id()));
    Ok(answer.at(applied))
}

#[derive(Deserialize)]
struct Passwords<'a> {
    #[serde(borrow, default)]
    old_password: Field<'a>,
    #[serde(borrow, default)]
    new_password: Field<'a>,
}

pub async fn change_password(rest: Arc<Rest>, call: Arc<Call>, caller: Caller) -> Outcome {
    let given: Passwords<'_> = body::parse(&call.body)?;
    let user = find(&rest, &call, &caller)?;
    let old = body::required_text("old_password", given.old_password, PASSWORD_BYTES_MAX)?;
    let new = new_password(&rest, "new_password", given.new_password)?;
    if old == new {
        return Err(Problem::BadRequest("`new_password` is the same as `old_password`".into()));
    }
    let locked = rest.auth.limiter.is_locked(&user.user_id, rest.auth.limits_ms());
    let right = rest.auth.passwords.verify(&old, Some(&user.password_hash)).await?;
    if !right || locked {
        if !locked {
            rest.auth.limiter.wrong_password(&user.user_id, rest.auth.limits_ms());
        }
        note(&rest, &call, "password_change_failed", &user.user_id, false, String::new());
        return Err(Problem::Unauthorised("`old_password` is wrong".into()));
    }
    let applied = set_password(&rest, &call, &caller, &new, false).await?;
    note(&rest, &call, "password_changed", &user.user_id, true, format!("by `{}`", caller.user_id()));
    Ok(Answer::ok(&json!({ "success": true, "message": "Password changed successfully" })).at(applied))
}

pub async fn reset_password(rest: Arc<Rest>, call: Arc<Call>, caller: Caller) -> Outcome {
    let given: Passwords<'_> = body::parse(&call.body)?;
    let user = find(&rest, &call, &caller)?;
    let new = new_password(&rest, "new_password", given.new_password)?;
    let applied = set_password(&rest, &call, &caller, &new, true).await?;
    note(&rest, &call, "password_reset", &user.user_id, true, format!("by `{}`", caller.user_id()));
    let body = json!({
        "success": true,
        "message": "Password reset successfully",
        "must_change_password": true,
    });
    Ok(Answer::ok(&body).at(applied))
}

async fn set_password(
    rest: &Rest,
    call: &Call,
    caller: &Caller,
    password: &str,
    must_change_password: bool,
) -> Result<Applied, Problem> {
    let password_hash = rest.auth.passwords.hash(password).await?;
    let _exclusive = rest.read_modify_write.lock().await;
    let mut user = (*find(rest, call, caller)?).clone();
    user.password_hash = password_hash;
    user.must_change_password = must_change_password;
    end_logins(rest, &user.user_id, caller.token_hash()).await?;
    let user_id = user.user_id.clone();
    let timer = rest.metrics.user_operation();
    let applied = rest.node.write_if(Op::PutUser(user), Condition::UserExists(user_id.clone())).await?;
    timer.observe_duration();
    rest.auth.limiter.forgive(&user_id);
    Ok(applied)
}
