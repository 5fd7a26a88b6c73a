//! Users, logins, API keys, and who may do what.

use crate::common::{PASSWORD, TestNode};
use bytes::Bytes;
use jadevectordb::auth::{RateLimits, ensure_first_admin};
use serde_json::json;
use wire::document::Mode;

#[tokio::test(flavor = "multi_thread")]
async fn a_login_gives_a_token_that_a_logout_ends() {
    let node = TestNode::start().await;
    let body = json!({ "username": "admin", "password": PASSWORD });
    let login = node.post("/v1/auth/login", &body).await.expect(200);
    let token = login["token"].as_str().unwrap();
    assert_eq!((token.len(), login["token_type"].as_str()), (32, Some("Bearer")));
    assert_eq!(login["must_change_password"], true);
    assert!(login["message"].as_str().unwrap().starts_with("Password must be changed"));
    assert!(login["expires_at"].as_str().unwrap().ends_with('Z'));
    node.as_user(token, "GET", "/v1/databases", &json!({})).await.expect(200);
    let out = node.as_user(token, "POST", "/v1/auth/logout", &json!({})).await.expect(200);
    assert_eq!(out["user_id"], login["user_id"]);
    let dead = node.as_user(token, "GET", "/v1/databases", &json!({})).await;
    assert_eq!((dead.status, dead.error().as_str()), (401, "the token or API key is unknown, expired or revoked"));
    node.get("/v1/databases").await.expect(200);
    let none = node.as_user("", "GET", "/v1/databases", &json!({})).await;
    assert_eq!(none.status, 401);
    assert!(none.error().starts_with("this needs a login"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wrong_login_says_the_same_for_every_name() {
    let node = TestNode::start().await;
    for (username, password) in [("admin", "wrong"), ("nobody", PASSWORD)] {
        let refused = node.post("/v1/auth/login", &json!({ "username": username, "password": password })).await;
        assert_eq!((refused.status, refused.error().as_str()), (401, "Invalid username or password"));
    }
    let refusal = node.refusal("POST", "/v1/auth/login", r#"{"username":"admin"}"#).await;
    assert_eq!(refusal, "`password` is required: a non-empty string");
    let refusal = node.refusal("POST", "/v1/auth/login", r#"{"username":5,"password":"x"}"#).await;
    assert_eq!(refusal, "`username` must be a string, got 5");
}

#[tokio::test(flavor = "multi_thread")]
async fn logins_are_limited_by_address() {
    let node = TestNode::limited(|_| {}, RateLimits::default()).await;
    let wrong = json!({ "username": "nobody", "password": "wrong" }).to_string();
    let from = |address: &'static str| [("x-forwarded-for", address)];
    // Five at once from one address, behind a proxy on this machine.
    for _ in 0..5 {
        assert_eq!(node.send("POST", "/v1/auth/login", &from("192.0.2.1"), wrong.clone().into()).await.status, 401);
    }
    let limited = node.send("POST", "/v1/auth/login", &from("192.0.2.1"), wrong.clone().into()).await;
    assert_eq!(limited.status, 429);
    let seconds: u64 = limited.header("retry-after").parse().unwrap();
    assert!((1..=12).contains(&seconds), "{seconds}");
    let body = limited.json();
    assert_eq!((body["error"].as_str(), body["retry_after"].as_u64()), (Some("rate_limit_exceeded"), Some(seconds)));
    assert!(body["message"].is_string());
    assert_eq!(node.send("POST", "/v1/auth/login", &from("192.0.2.2"), wrong.into()).await.status, 401);
    // Four registrations of one hour, were they open; three forgotten passwords of one name.
    for _ in 0..3 {
        let said = node.post("/v1/auth/forgot-password", &json!({ "username": "admin" })).await.expect(200);
        assert_eq!(said["message"], "If the account exists, an administrator can reset its password");
    }
    node.post("/v1/auth/forgot-password", &json!({ "username": "admin" })).await.expect(429);
    node.post("/v1/auth/forgot-password", &json!({ "email": "a@b" })).await.expect(200);
    let text = String::from_utf8(node.get("/metrics").await.body.to_vec()).unwrap();
    assert!(text.contains("\njadevectordb_rate_limit_exceeded_total 2\n"));
    assert!(text.contains("\njadevectordb_failed_logins_total 6\n"));
}

#[tokio::test(flavor = "multi_thread")]
async fn ten_failed_logins_block_the_address() {
    let limits = RateLimits { failed_logins_max: 10, ..crate::common::patient() };
    let node = TestNode::limited(|_| {}, limits).await;
    let from = [("x-forwarded-for", "192.0.2.1")];
    for _ in 0..10 {
        // A request that cannot be read counts too.
        assert_eq!(node.send("POST", "/v1/auth/login", &from, Bytes::from_static(b"{}")).await.status, 400);
    }
    let right = json!({ "username": "admin", "password": PASSWORD }).to_string();
    let blocked = node.send("POST", "/v1/auth/login", &from, right.clone().into()).await;
    assert_eq!(blocked.header("retry-after"), "3600");
    let body = blocked.expect(403);
    assert_eq!((body["error"].as_str(), body["retry_after"].as_u64()), (Some("ip_blocked"), Some(3600)));
    assert_eq!(body["reason"], "too many failed logins");
    node.send("POST", "/v1/auth/login", &[], right.into()).await.expect(200);
}

#[tokio::test(flavor = "multi_thread")]
async fn five_wrong_passwords_lock_the_account() {
    let node = TestNode::start().await;
    let (user_id, token) = node.user("ada", &["user"]).await;
    for _ in 0..5 {
        node.post("/v1/auth/login", &json!({ "username": "ada", "password": "wrong" })).await.expect(401);
    }
    node.post("/v1/auth/login", &json!({ "username": "ada", "password": PASSWORD })).await.expect(401);
    let text = String::from_utf8(node.get("/metrics").await.body.to_vec()).unwrap();
    assert!(text.contains("\njadevectordb_locked_accounts_total 1\n"));
    node.as_user(&token, "GET", "/v1/databases", &json!({})).await.expect(200);
    let reset = format!("/v1/admin/users/{user_id}/reset-password");
    node.post(&reset, &json!({ "new_password": "another password" })).await.expect(200);
    node.login("ada", "another password").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn registration_is_closed_in_production_and_open_in_development() {
    let node = TestNode::start().await;
    let body = json!({ "username": "ada", "password": "x", "roles": ["user"] });
    let refused = node.as_user("", "POST", "/v1/auth/register", &body).await;
    assert_eq!(refused.status, 403);
    assert!(refused.error().starts_with("registration is closed: an administrator creates users with POST /v1/users"));

    let node = TestNode::with(|config| config.mode = Mode::Development).await;
    let created = node.as_user("", "POST", "/v1/auth/register", &body).await.expect(201);
    assert_eq!(created["username"], "ada");
    assert!(created["user_id"].is_string() && created["created_at"].is_string() && created["message"].is_string());
    let taken = node.as_user("", "POST", "/v1/auth/register", &body).await;
    assert_eq!((taken.status, taken.error().as_str()), (409, "user `ada` exists already"));
    let missing = node.as_user("", "POST", "/v1/auth/register", &json!({ "username": "bob" })).await;
    assert_eq!((missing.status, missing.error().as_str()), (400, "`password` is required: a non-empty string"));
    // As in the original, the new user may do everything.
    let token = node.login("ada", "x").await;
    node.as_user(&token, "GET", "/v1/users", &json!({})).await.expect(200);
    node.as_user(&token, "POST", "/v1/databases", &json!({ "name": "x" })).await.expect(201);
}

#[tokio::test(flavor = "multi_thread")]
async fn users_are_administered() {
    let node = TestNode::start().await;
    let body = json!({ "username": "ada", "password": PASSWORD, "email": "ada@example.org" });
    let created = node.post("/v1/users", &body).await.expect(201);
    assert_eq!(created["email"], "ada@example.org");
    assert_eq!(created["roles"], json!(["user"]));
    let ada = created["user_id"].as_str().unwrap();
    assert_eq!(ada.len(), 16);
    node.post("/v1/users", &body).await.expect(409);
    let path = format!("/v1/users/{ada}");
    let token = node.login("ada", PASSWORD).await;

    let got = node.get(&path).await.expect(200);
    assert_eq!((got["username"].as_str(), got["is_active"].as_bool()), (Some("ada"), Some(true)));
    assert!(got["last_login"].as_str().unwrap().ends_with('Z'));
    let list = node.get("/v1/users").await.expect(200);
    assert_eq!((list["count"].as_u64(), list["users"].as_array().unwrap().len()), (Some(2), 2));
    assert_eq!(node.get("/v1/users?role=admin").await.expect(200)["count"], 1);
    assert_eq!(node.get("/v1/users?status=inactive").await.expect(200)["count"], 0);

    let update = json!({ "username": "lovelace", "roles": ["developer"], "email": "l@example.org" });
    let changed = node.put(&path, &update).await.expect(200);
    assert_eq!(changed["username"], "lovelace");
    assert!(changed["message"].is_string());
    let taken = node.put(&path, &json!({ "username": "admin" })).await;
    assert_eq!((taken.status, taken.error().as_str()), (409, "user `admin` exists already"));
    node.login("lovelace", PASSWORD).await;

    let stopped = node.put(&path, &json!({ "is_active": false })).await.expect(200);
    assert_eq!(stopped["is_active"], false);
    node.as_user(&token, "GET", "/v1/databases", &json!({})).await.expect(401);
    node.post("/v1/auth/login", &json!({ "username": "lovelace", "password": PASSWORD })).await.expect(401);
    assert_eq!(node.get("/v1/users?status=inactive").await.expect(200)["count"], 1);
    node.put(&path, &json!({ "is_active": true })).await.expect(200);
    node.login("lovelace", PASSWORD).await;
    let deleted = node.delete(&path).await.expect(200);
    assert_eq!((deleted["user_id"].as_str(), deleted["username"].as_str()), (Some(ada), Some("lovelace")));
    node.post("/v1/auth/login", &json!({ "username": "lovelace", "password": PASSWORD })).await.expect(401);
    assert_eq!(node.get(&path).await.expect(200)["is_active"], false, "the record stays");

    let unknown = node.delete("/v1/users/none").await;
    assert_eq!((unknown.status, unknown.error().as_str()), (404, "user `none` does not exist"));
    let admin = node.get("/v1/users?role=admin").await.expect(200)["users"][0]["user_id"].as_str().unwrap().to_owned();
    let last = "`admin` is the last active administrator: give another user the role `admin` first";
    assert_eq!(node.refusal("DELETE", &format!("/v1/users/{admin}"), "").await, last);
    assert_eq!(node.refusal("PUT", &format!("/v1/users/{admin}"), r#"{"roles":["user"]}"#).await, last);
    for (body, expected) in [
        (r#"{"password":"12345678"}"#, "`username` is required: a non-empty string"),
        (r#"{"username":"x"}"#, "`password` is required: a non-empty string"),
        (r#"{"username":"x","password":"1234567"}"#, "`password` has 7 characters, it needs at least 8"),
        (
            r#"{"username":"x","password":"12345678","roles":"admin"}"#,
            "`roles` must be an array of strings, got \"admin\"",
        ),
    ] {
        assert_eq!(node.refusal("POST", "/v1/users", body).await, expected);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn passwords_are_changed_by_their_owner_and_reset_by_an_administrator() {
    let node = TestNode::start().await;
    let (ada, token) = node.user("ada", &["user"]).await;
    let other = node.login("ada", PASSWORD).await;
    let path = format!("/v1/users/{ada}/password");
    let change = |old: &str, new: &str| json!({ "old_password": old, "new_password": new });
    let same = node.as_user(&token, "PUT", &path, &change(PASSWORD, PASSWORD)).await;
    assert_eq!((same.status, same.error().as_str()), (400, "`new_password` is the same as `old_password`"));
    let wrong = node.as_user(&token, "PUT", &path, &change("wrong", "a new password")).await;
    assert_eq!((wrong.status, wrong.error().as_str()), (401, "`old_password` is wrong"));
    let short = node.as_user(&token, "PUT", &path, &change(PASSWORD, "short")).await;
    assert_eq!((short.status, short.error().as_str()), (400, "`new_password` has 5 characters, it needs at least 8"));
    let changed = node.as_user(&token, "PUT", &path, &change(PASSWORD, "a new password")).await.expect(200);
    assert_eq!(changed["success"], true);
    node.as_user(&token, "GET", "/v1/databases", &json!({})).await.expect(200);
    node.as_user(&other, "GET", "/v1/databases", &json!({})).await.expect(401);
    node.post("/v1/auth/login", &json!({ "username": "ada", "password": PASSWORD })).await.expect(401);

    let reset = format!("/v1/admin/users/{ada}/reset-password");
    let body = json!({ "new_password": "from an admin" });
    node.as_user(&token, "POST", &reset, &body).await.expect(403);
    node.as_user("", "POST", &reset, &body).await.expect(401);
    assert_eq!(node.post(&reset, &body).await.expect(200)["must_change_password"], true);
    node.as_user(&token, "GET", "/v1/databases", &json!({})).await.expect(401);
    let login =
        node.post("/v1/auth/login", &json!({ "username": "ada", "password": "from an admin" })).await.expect(200);
    assert_eq!(login["must_change_password"], true);
    node.put("/v1/users/none/password", &change("a", "12345678")).await.expect(404);
    let refusal =
        node.refusal("POST", "/v1/auth/reset-password", r#"{"reset_token":"x","new_password":"12345678"}"#).await;
    assert!(refusal.starts_with("`reset_token` is not valid"));
}

#[tokio::test(flavor = "multi_thread")]
async fn api_keys_are_made_used_listed_and_revoked() {
    let node = TestNode::start().await;
    let (ada, token) = node.user("ada", &["user"]).await;
    let body = json!({ "user_id": ada, "description": "ci", "permissions": ["read"], "validity_days": 1 });
    let created = node.as_user(&token, "POST", "/v1/api-keys", &body).await.expect(201);
    let key = created["api_key"].as_str().unwrap();
    assert!(key.starts_with("jadevdb_") && key.len() == 40, "{key}");
    let key_id = created["key_id"].as_str().unwrap();

    node.as_user(key, "GET", "/v1/databases", &json!({})).await.expect(200);
    let as_key = format!("ApiKey {key}");
    node.send("GET", "/v1/databases", &[("authorization", &as_key)], Bytes::new()).await.expect(200);
    let headers = [("authorization", ""), ("x-api-key", key)];
    node.send("GET", "/v1/databases", &headers, Bytes::new()).await.expect(200);
    let logout = node.as_user(key, "POST", "/v1/auth/logout", &json!({})).await;
    assert_eq!(logout.status, 401);

    let list = node.get(&format!("/v1/api-keys?user_id={ada}")).await.expect(200);
    assert_eq!(list["count"], 1);
    let shown = &list["api_keys"][0];
    assert_eq!((shown["key_id"].as_str(), shown["key_prefix"].as_str()), (Some(key_id), Some(&key[..12])));
    assert_eq!((shown["usage_count"].as_u64(), shown["is_active"].as_bool()), (Some(4), Some(true)));
    assert_eq!(shown["permissions"], json!(["read"]));
    assert!(shown["expires_at"].is_string() && shown["last_used_at"].is_string());
    assert!(!list.to_string().contains(key), "the key itself is shown only once");

    // Other users neither see nor touch it.
    let (_, other) = node.user("bob", &["user"]).await;
    assert_eq!(node.as_user(&other, "GET", "/v1/api-keys", &json!({})).await.expect(200)["count"], 0);
    node.as_user(&other, "GET", &format!("/v1/api-keys?user_id={ada}"), &json!({})).await.expect(403);
    node.as_user(&other, "POST", "/v1/api-keys", &json!({ "user_id": ada })).await.expect(403);
    node.as_user(&other, "DELETE", &format!("/v1/api-keys/{key_id}"), &json!({})).await.expect(404);

    let revoked = node.delete(&format!("/v1/api-keys/{key_id}")).await.expect(200);
    assert_eq!(revoked["key_id"], key_id);
    node.as_user(key, "GET", "/v1/databases", &json!({})).await.expect(401);
    node.delete("/v1/api-keys/none").await.expect(404);
    let refusal = node.refusal("POST", "/v1/api-keys", r#"{"user_id":"none"}"#).await;
    assert_eq!(refusal, "`user_id`: user `none` does not exist");
    assert_eq!(node.refusal("POST", "/v1/api-keys", "{}").await, "`user_id` is required: a non-empty string");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_open_in_the_original_needs_an_administrator() {
    let node = TestNode::start().await;
    let (ada, user) = node.user("ada", &["user"]).await;
    for (method, path) in [
        ("GET", "/v1/users"),
        ("POST", "/v1/users"),
        ("DELETE", &format!("/v1/users/{ada}")),
        ("GET", "/v1/security/audit-log"),
        ("GET", "/v1/security/audit-stats"),
    ] {
        assert_eq!(node.as_user("", method, path, &json!({})).await.status, 401, "{method} {path}");
        assert_eq!(node.as_user(&user, method, path, &json!({})).await.status, 403, "{method} {path}");
    }
    let own = format!("/v1/users/{ada}");
    node.as_user(&user, "GET", &own, &json!({})).await.expect(200);
    node.as_user(&user, "PUT", &own, &json!({ "email": "new@example.org" })).await.expect(200);
    let promoted = node.as_user(&user, "PUT", &own, &json!({ "roles": ["admin"] })).await;
    assert_eq!(promoted.status, 403);
    assert_eq!(promoted.error(), "only an administrator changes `username`, `roles` and `is_active`");
    let admin = node.get("/v1/users?role=admin").await.expect(200)["users"][0]["user_id"].as_str().unwrap().to_owned();
    node.as_user(&user, "GET", &format!("/v1/users/{admin}"), &json!({})).await.expect(404);
    // Databases are for every user.
    node.as_user(&user, "POST", "/v1/databases", &json!({ "name": "x" })).await.expect(201);
}

#[tokio::test(flavor = "multi_thread")]
async fn sessions_and_events_are_listed() {
    let node = TestNode::start().await;
    let (ada, token) = node.user("ada", &["user"]).await;
    node.login("ada", PASSWORD).await;
    let path = format!("/v1/security/sessions?user_id={ada}");
    let sessions = node.as_user(&token, "GET", &path, &json!({})).await.expect(200);
    assert_eq!((sessions["count"].as_u64(), sessions["user_id"].as_str()), (Some(2), Some(ada.as_str())));
    assert_eq!(sessions["sessions"][0]["is_active"], true);
    assert!(!sessions.to_string().contains(&token));
    assert_eq!(node.refusal("GET", "/v1/security/sessions", "").await, "the query parameter `user_id` is required");

    let log = node.get(&format!("/v1/security/audit-log?user_id={ada}&event_type=login&limit=1")).await.expect(200);
    assert_eq!(log["count"], 1);
    let event = &log["events"][0];
    assert_eq!((event["event_type"].as_str(), event["success"].as_bool()), (Some("login"), Some(true)));
    assert_eq!((event["ip_address"].as_str(), event["operation"].as_str()), (Some("127.0.0.1"), Some("POST")));
    let stats = node.get("/v1/security/audit-stats").await.expect(200);
    assert_eq!((stats["login"].as_str(), stats["user_created"].as_str()), (Some("3"), Some("1")));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_first_administrator_is_created_once() {
    let node = TestNode::start().await;
    assert_eq!(ensure_first_admin(&node.node, None).await.unwrap(), None);
    assert_eq!(node.get("/v1/users").await.expect(200)["count"], 1);

    let node = TestNode::with(|config| config.join = true).await;
    assert_eq!(ensure_first_admin(&node.node, None).await.unwrap(), None, "a follower gets its users from its primary");
}
