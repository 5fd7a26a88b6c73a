//! `Idempotency-Key`: a write is done once, however often it is sent, and to whichever node.

use crate::common::{PASSWORD, Reply, TestNode, eventually};
use crate::handover::{caught_up, hand_over, pair};
use serde_json::{Value, json};
use std::sync::Arc;
use wire::admin::{AcknowledgeBy, AcknowledgeMode};
use wire::headers::{IDEMPOTENCY_KEY, IDEMPOTENT_REPLAYED};

async fn send(node: &TestNode, key: &str, method: &str, path: &str, body: Value) -> Reply {
    let body = if body.is_null() { Default::default() } else { body.to_string().into() };
    node.send(method, path, &[(IDEMPOTENCY_KEY, key)], body).await
}

fn database(name: &str) -> Value {
    json!({ "name": name, "vectorDimension": 2 })
}

async fn create(node: &TestNode, key: &str) -> Reply {
    send(node, key, "POST", "/v1/databases", database("x")).await
}

async fn databases(node: &TestNode) -> u64 {
    node.get("/v1/databases").await.expect(200)["total"].as_u64().unwrap()
}

/// `again` is the answer that was given before as `first`.
fn assert_repeated(first: &Reply, again: &Reply) {
    assert_eq!((again.status, &again.body, again.lsn()), (first.status, &first.body, first.lsn()));
    assert_eq!((first.header(IDEMPOTENT_REPLAYED), again.header(IDEMPOTENT_REPLAYED)), ("", "true"));
    assert_eq!(again.header("content-type"), "application/json");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_retry_is_answered_and_not_done_again() {
    let node = TestNode::start().await;
    let first = create(&node, "one").await;
    assert_eq!(first.status, 201);
    let lsn = node.node.lsn();
    for _ in 0..3 {
        assert_repeated(&first, &create(&node, "one").await);
    }
    assert_eq!((node.node.lsn(), databases(&node).await), (lsn, 1));
    // Another key is another request, and without one each is.
    create(&node, "two").await.expect(201);
    node.post("/v1/databases", &database("x")).await.expect(201);
    assert_eq!(databases(&node).await, 3);
    let metrics = String::from_utf8(node.get("/metrics").await.body.to_vec()).unwrap();
    for line in ["jadevectordb_idempotent_replays_total 3", "jadevectordb_idempotency_keys 2"] {
        assert!(metrics.lines().any(|found| found == line), "{line}\n{metrics}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn every_kind_of_write_is_remembered() {
    let node = TestNode::start().await;
    let db = node.database(2).await;
    let user = json!({ "username": "bob", "password": "correct horse" });
    let user = node.post("/v1/users", &user).await.expect(201)["user_id"].as_str().unwrap().to_owned();
    let new_key = json!({ "user_id": user });
    let key = node.post("/v1/api-keys", &new_key).await.expect(201)["key_id"].as_str().unwrap().to_owned();
    let vectors = format!("/v1/databases/{db}/vectors");
    let vector = |id: &str| json!({ "id": id, "values": [1, 0] });
    let writes = [
        ("PUT", format!("/v1/databases/{db}"), json!({ "name": "y" })),
        ("POST", vectors.clone(), vector("a\n\u{1}ä")),
        ("PUT", format!("{vectors}/b"), json!({ "values": [0, 1] })),
        ("POST", format!("{vectors}/batch"), json!({ "vectors": [vector("c"), vector("d")] })),
        ("DELETE", format!("{vectors}/c"), Value::Null),
        ("PUT", format!("/v1/users/{user}"), json!({ "roles": ["reader"] })),
        ("DELETE", format!("/v1/users/{user}"), Value::Null),
        ("DELETE", format!("/v1/api-keys/{key}"), Value::Null),
        // Last, because its retry finds nothing to delete any more.
        ("DELETE", format!("/v1/databases/{db}"), Value::Null),
    ];
    for (number, (method, path, body)) in writes.iter().enumerate() {
        let first = send(&node, &number.to_string(), method, path, body.clone()).await;
        assert!(first.status < 300, "{method} {path}: {:?}", first.body);
        assert_repeated(&first, &send(&node, &number.to_string(), method, path, body.clone()).await);
    }
    let lsn = node.node.lsn();
    for (number, (method, path, body)) in writes.iter().enumerate() {
        assert!(send(&node, &number.to_string(), method, path, body.clone()).await.status < 300);
    }
    assert_eq!(node.node.lsn(), lsn);
    // The login ends with the first one: nobody is left who could ask again.
    let token = node.login("admin", PASSWORD).await;
    let authorization = format!("Bearer {token}");
    let headers = [("authorization", authorization.as_str()), (IDEMPOTENCY_KEY, "logout")];
    node.send("POST", "/v1/auth/logout", &headers, Default::default()).await.expect(200);
    assert_eq!(node.send("POST", "/v1/auth/logout", &headers, Default::default()).await.status, 401);
}

#[tokio::test(flavor = "multi_thread")]
async fn another_request_with_the_same_key_is_refused() {
    let node = TestNode::start().await;
    let first = create(&node, "one").await.expect(201);
    let db = first["databaseId"].as_str().unwrap();
    let lsn = node.node.lsn();
    for (method, path, body) in [
        ("POST", "/v1/databases".to_owned(), database("other")),
        ("POST", "/v1/databases?x=1".to_owned(), database("x")),
        ("PUT", format!("/v1/databases/{db}"), database("x")),
    ] {
        let refused = send(&node, "one", method, &path, body).await;
        assert_eq!(refused.status, 422, "{method} {path}: {:?}", refused.body);
        assert_eq!(
            refused.error(),
            "the idempotency key was used before for another request (another method, path or body): a retry must be \
             the same request, and another request needs a key of its own"
        );
    }
    assert_eq!(node.node.lsn(), lsn);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_belongs_to_its_user() {
    let node = TestNode::start().await;
    let user = json!({ "username": "bob", "password": "correct horse" });
    node.post("/v1/users", &user).await.expect(201);
    let token = node.login("bob", "correct horse").await;
    let first = create(&node, "one").await.expect(201);
    let authorization = format!("Bearer {token}");
    let headers = [("authorization", authorization.as_str()), (IDEMPOTENCY_KEY, "one")];
    let other = node.send("POST", "/v1/databases", &headers, database("x").to_string().into()).await;
    assert_ne!(other.expect(201)["databaseId"], first["databaseId"]);
    // By whichever credential of the same user.
    let key = node.post("/v1/api-keys", &json!({ "user_id": "x" })).await;
    assert_eq!(key.status, 400);
    let again = node.login("admin", PASSWORD).await;
    let authorization = format!("Bearer {again}");
    let headers = [("authorization", authorization.as_str()), (IDEMPOTENCY_KEY, "one")];
    let again = node.send("POST", "/v1/databases", &headers, database("x").to_string().into()).await;
    assert_eq!(again.expect(201)["databaseId"], first["databaseId"]);
    // Nor is one answered who may not ask.
    let headers = [("authorization", "Bearer nobody"), (IDEMPOTENCY_KEY, "one")];
    assert_eq!(node.send("POST", "/v1/databases", &headers, database("x").to_string().into()).await.status, 401);
}

#[tokio::test(flavor = "multi_thread")]
async fn of_retries_at_the_same_moment_one_is_done_and_all_are_answered() {
    let node = Arc::new(TestNode::start().await);
    for round in 0..10 {
        let created = all(&node, format!("create {round}"), "POST", "/v1/databases".into(), database("x")).await;
        let db = created[0].json()["databaseId"].as_str().unwrap().to_owned();
        let path = format!("/v1/databases/{db}/vectors");
        let vector = json!({ "id": "a", "values": [1, 0] });
        let stored = all(&node, format!("store {round}"), "POST", path.clone(), vector).await;
        let deleted = all(&node, format!("delete {round}"), "DELETE", format!("{path}/a"), Value::Null).await;
        // The one that is done takes away what the handlers of the others look for.
        let dropped = all(&node, format!("drop {round}"), "DELETE", format!("/v1/databases/{db}"), Value::Null).await;
        for replies in [created, stored, deleted, dropped] {
            let first = &replies[0];
            let done = replies.iter().filter(|reply| reply.header(IDEMPOTENT_REPLAYED).is_empty()).count();
            assert_eq!(done, 1);
            for reply in &replies {
                assert_eq!((reply.status, &reply.body, reply.lsn()), (first.status, &first.body, first.lsn()));
            }
            assert!(first.status < 300, "{:?}", first.body);
        }
    }
    assert_eq!(databases(&node).await, 0);
}

async fn all(node: &Arc<TestNode>, key: String, method: &'static str, path: String, body: Value) -> Vec<Reply> {
    let sent = (0..12).map(|_| {
        let (node, key, path, body) = (node.clone(), key.clone(), path.clone(), body.clone());
        tokio::spawn(async move { send(&node, &key, method, &path, body).await })
    });
    let mut replies = Vec::new();
    for reply in sent.collect::<Vec<_>>() {
        replies.push(reply.await.unwrap());
    }
    replies
}

#[tokio::test(flavor = "multi_thread")]
async fn what_failed_is_not_remembered_and_may_be_tried_again() {
    let node = TestNode::start().await;
    let db = node.database(2).await;
    let vectors = format!("/v1/databases/{db}/vectors");
    let path = format!("{vectors}/a");
    let lsn = node.node.lsn();
    for _ in 0..2 {
        let missing = send(&node, "delete", "DELETE", &path, Value::Null).await;
        assert_eq!(missing.status, 404);
        assert_eq!(missing.error(), format!("vector `a` does not exist in database `{db}`"));
        assert_eq!(send(&node, "store", "POST", &vectors, json!({ "id": "a", "values": [1] })).await.status, 400);
    }
    assert_eq!(node.node.lsn(), lsn, "nothing was written for them");
    // The same key, now for a request that can be done.
    let stored = send(&node, "store", "POST", &vectors, json!({ "id": "a", "values": [1, 0] })).await;
    assert_eq!(stored.status, 201);
    let deleted = send(&node, "delete", "DELETE", &path, Value::Null).await;
    assert_repeated(&deleted, &send(&node, "delete", "DELETE", &path, Value::Null).await);
    // A retry that comes late does not bring back what was deleted since.
    assert_repeated(&stored, &send(&node, "store", "POST", &vectors, json!({ "id": "a", "values": [1, 0] })).await);
    assert_eq!(node.get(&path).await.status, 404);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_retry_at_the_other_colour_after_a_handover_is_answered() {
    let (blue, green) = pair().await;
    let first = create(&blue, "one").await;
    assert_eq!(first.status, 201);
    // Asked of the follower, it is passed on.
    assert_repeated(&first, &create(&green, "one").await);
    let forwarded = create(&green, "two").await;
    assert_eq!(forwarded.status, 201);
    hand_over(&blue, &green).await;
    for node in [&green, &blue] {
        assert_repeated(&first, &create(node, "one").await);
        assert_repeated(&forwarded, &create(node, "two").await);
    }
    let later = create(&blue, "three").await;
    assert_eq!(later.status, 201);
    hand_over(&green, &blue).await;
    for node in [&blue, &green] {
        assert_repeated(&later, &create(node, "three").await);
        assert_repeated(&first, &create(node, "one").await);
    }
    caught_up(&green, &blue).await;
    assert_eq!((databases(&blue).await, databases(&green).await), (3, 3));
    assert_eq!(blue.node.digest_now().await.unwrap(), green.node.digest_now().await.unwrap());
}

#[tokio::test(flavor = "multi_thread")]
async fn retries_that_wait_at_a_seal_are_done_once_behind_it() {
    let (blue, green) = pair().await;
    let epoch = blue.node.position().epoch + 1;
    let sealed = blue.node.seal(epoch).await.unwrap();
    let waiting: Vec<_> = (0..12)
        .map(|number| {
            let node = if number % 2 == 0 { blue.clone() } else { green.clone() };
            tokio::spawn(async move { create(&node, "one").await })
        })
        .collect();
    eventually("all retries are held", async || blue.node.held_writes() == 12).await;
    assert!(green.node.applied(sealed.lsn, std::time::Duration::from_secs(10)).await);
    green.node.promote(epoch, sealed.lsn).await.unwrap();
    blue.node.follow(epoch, green.peer()).await.unwrap();
    let mut ids = Vec::new();
    for reply in waiting {
        ids.push(reply.await.unwrap().expect(201)["databaseId"].as_str().unwrap().to_owned());
    }
    ids.dedup();
    assert_eq!((ids.len(), databases(&green).await), (1, 1));
}

#[tokio::test(flavor = "multi_thread")]
async fn keys_are_known_after_a_restart_from_log_and_from_snapshot() {
    let soon = |config: &mut jadevectordb::config::Config| {
        config.limits.snapshot_log_bytes = 20_000;
        config.limits.segment_bytes = 8_000;
        config.limits.retained_log_bytes = 8_000;
    };
    let node = TestNode::start().await;
    let first = create(&node, "one").await;
    let node = node.restarted(soon).await;
    assert_repeated(&first, &create(&node, "one").await);
    let second = create(&node, "two").await;
    let db = second.json()["databaseId"].as_str().unwrap().to_owned();
    let path = format!("/v1/databases/{db}/vectors");
    let cut_off = |node: &TestNode| node.node.log_begins_at() > second.lsn();
    for number in 0.. {
        if cut_off(&node) {
            break;
        }
        assert!(number < 5_000, "the log was never cut");
        let vector = json!({ "id": number.to_string(), "values": [1, 0], "metadata": { "text": "x".repeat(200) } });
        node.post(&path, &vector).await.expect(201);
    }
    // From here on the snapshot is all that knows them.
    let node = node.restarted(soon).await;
    assert_repeated(&first, &create(&node, "one").await);
    assert_repeated(&second, &create(&node, "two").await);
    assert_eq!(databases(&node).await, 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_follower_that_was_seeded_knows_the_keys() {
    let blue = TestNode::start().await;
    let first = create(&blue, "one").await;
    let mut green = TestNode::with(|config| config.join = true).await;
    green.token = blue.token.clone();
    green.node.follow(blue.node.position().epoch, blue.peer()).await.unwrap();
    caught_up(&green, &blue).await;
    assert_eq!(green.node.store().answered_count(), 1, "the log it has begins behind that write");
    hand_over(&blue, &green).await;
    drop(blue);
    assert_repeated(&first, &create(&green, "one").await);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_oldest_keys_are_forgotten_and_by_every_node_alike() {
    let few = |config: &mut jadevectordb::config::Config| config.limits.keys.number = 3;
    let blue = TestNode::with(few).await;
    let mut green = TestNode::with(|config| {
        few(config);
        config.join = true;
    })
    .await;
    green.token = blue.token.clone();
    green.node.follow(blue.node.position().epoch, blue.peer()).await.unwrap();
    let mut first = Vec::new();
    for key in ["1", "2", "3", "4"] {
        first.push(create(&blue, key).await);
    }
    caught_up(&green, &blue).await;
    hand_over(&blue, &green).await;
    for (key, reply) in ["2", "3", "4"].iter().zip(&first[1..]) {
        assert_repeated(reply, &create(&green, key).await);
    }
    let forgotten = create(&green, "1").await;
    assert_eq!((forgotten.status, forgotten.header(IDEMPOTENT_REPLAYED)), (201, ""));
    assert_ne!(forgotten.body, first[0].body);
    assert_eq!(databases(&green).await, 5);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_that_breaks_the_rule_is_refused_wherever_it_arrives() {
    let (blue, green) = pair().await;
    for node in [&blue, &green] {
        let refused = send(node, &"k".repeat(256), "POST", "/v1/databases", database("x")).await;
        assert_eq!(refused.status, 400);
        let expected =
            "the header idempotency-key has 256 characters: it must have 1 to 255 printable ASCII characters";
        assert_eq!(refused.error(), expected);
        create(node, &"k".repeat(255)).await.expect(201);
        // A read has nothing to repeat.
        send(node, &"k".repeat(256), "GET", "/v1/databases", Value::Null).await.expect(200);
    }
    assert_eq!(databases(&blue).await, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn requests_that_hold_a_password_take_no_key() {
    let node = TestNode::start().await;
    let lsn = node.node.lsn();
    for (method, path) in [
        ("POST", "/v1/auth/register"),
        ("POST", "/v1/auth/login"),
        ("POST", "/v1/users"),
        ("PUT", "/v1/users/u/password"),
        ("POST", "/v1/admin/users/u/reset-password"),
    ] {
        let refused = send(&node, "k", method, path, json!({ "username": "u", "password": "correct horse" })).await;
        assert_eq!(refused.status, 400);
        assert!(refused.error().starts_with(&format!("{method} {path} takes no header idempotency-key")));
    }
    assert_eq!(node.node.lsn(), lsn);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_api_key_is_created_once_and_shown_once() {
    let node = TestNode::start().await;
    let users = node.get("/v1/users").await.expect(200);
    let body = json!({ "user_id": users["users"][0]["user_id"], "description": "importer" });
    let created = send(&node, "k", "POST", "/v1/api-keys", body.clone()).await.expect(201);
    let (secret, key_id) = (created["api_key"].as_str().unwrap(), created["key_id"].as_str().unwrap());
    let again = send(&node, "k", "POST", "/v1/api-keys", body).await;
    assert_eq!((again.status, again.header(IDEMPOTENT_REPLAYED)), (409, "true"));
    assert_eq!(again.json()["key_id"], key_id);
    assert!(again.error().contains(&format!("DELETE /v1/api-keys/{key_id}")), "{}", again.error());
    assert!(!String::from_utf8_lossy(&again.body).contains(secret));
    assert_eq!(node.get("/v1/api-keys").await.expect(200)["count"], 1);
    // In no file of the node stands the key.
    let dir = &node.node.config().data_dir;
    for folder in ["log", "snapshot"] {
        for file in std::fs::read_dir(dir.join(folder)).into_iter().flatten().flatten() {
            let bytes = std::fs::read(file.path()).unwrap();
            assert!(!bytes.windows(secret.len()).any(|window| window == secret.as_bytes()), "{:?}", file.path());
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_retry_is_acknowledged_no_sooner_than_the_first_attempt() {
    let node = TestNode::with(|config| config.limits.hold_ms = 100).await;
    let epoch = node.node.position().epoch;
    let by = |mode, number| AcknowledgeBy { mode, confirmer: "another node".into(), number };
    node.node.acknowledge(epoch, by(AcknowledgeMode::Required, 1)).await.unwrap();
    // It is on this disk, and nobody confirms it: the first attempt and its retries are not acknowledged.
    for _ in 0..2 {
        let unconfirmed = create(&node, "one").await;
        assert_eq!(unconfirmed.status, 504);
        assert!(unconfirmed.error().contains("with the same Idempotency-Key"), "{}", unconfirmed.error());
    }
    let lsn = node.node.lsn();
    node.node.acknowledge(epoch, by(AcknowledgeMode::Alone, 2)).await.unwrap();
    let done = create(&node, "one").await;
    assert_eq!((done.status, done.header(IDEMPOTENT_REPLAYED), done.lsn()), (201, "true", lsn));
    assert_eq!(databases(&node).await, 1);
}
