use super::*;
use crate::account::{ApiKey, Token, User};
use crate::engine::tests::{Running, WAIT, create, eventually, forgetful, put, write_many};
use crate::record::{Answered, VectorRecord};
use serde_json::{Value, json};
use tempfile::TempDir;

#[test]
fn histories_are_one_up_to_where_an_epoch_or_its_end_differs() {
    let common = |mine: &[(Epoch, Lsn)], my_last, other: &[(Epoch, Lsn)], last| {
        common_end(mine, my_last, &Start { lsn: last, generation: 1, epochs: other.to_vec() })
    };
    assert_eq!(common(&[(1, 1)], 100, &[(1, 1)], 500), 100, "shorter");
    assert_eq!(common(&[(1, 1)], 100, &[(1, 1)], 60), 60, "longer");
    assert_eq!(common(&[(1, 1)], 100, &[(1, 1), (2, 51)], 90), 50, "went on in the old epoch");
    assert_eq!(common(&[(1, 1), (2, 41)], 100, &[(1, 1), (3, 61)], 90), 40, "a reign of its own");
    assert_eq!(common(&[(1, 1), (2, 41)], 60, &[(1, 1), (2, 41), (3, 51)], 90), 50);
    assert_eq!(common(&[(1, 1), (2, 41)], 60, &[(1, 1), (2, 41), (3, 61)], 90), 60);
    assert_eq!(common(&[(1, 1)], 60, &[(2, 1)], 90), 0, "nothing in common");
    assert_eq!(common(&[], 0, &[(2, 1)], 90), 0, "empty");
}

fn lines(path: &str) -> Vec<Value> {
    std::fs::read_to_string(path).unwrap().lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

fn accounts() -> Vec<Op> {
    let text = |text: &str| text.to_string();
    let user = User {
        user_id: text("u1"),
        username: text("one"),
        email: text("one@example.org"),
        password_hash: text("SECRET-a"),
        roles: vec![],
        is_active: true,
        must_change_password: false,
        created_ms: 1,
    };
    let key = ApiKey {
        key_id: text("k1"),
        key_hash: text("SECRET-b"),
        key_prefix: text("SECRET-c"),
        user_id: text("u1"),
        description: text("nightly"),
        permissions: vec![],
        is_active: true,
        created_ms: 1,
        expires_ms: 0,
    };
    let token = Token { token_hash: text("SECRET-d"), user_id: text("u1"), created_ms: 1, expires_ms: u64::MAX };
    let dropped = Op::DropTokens { token_hashes: vec![text("SECRET-d")] };
    vec![Op::PutUser(user), Op::PutApiKey(key), Op::PutToken(token), dropped]
}

/// Blue, which goes on in epoch 1 while green, which has all before, is promoted to epoch 2.
async fn parted(blue: &Running, green: &Running) -> Lsn {
    blue.node.write(create()).await.unwrap();
    write_many(&blue.node, 0..5).await;
    green.node.follow(1, blue.peer.clone()).await.unwrap();
    assert!(green.node.applied(blue.node.lsn(), WAIT).await);
    let cut = green.node.lsn();
    green.node.promote(2, cut).await.unwrap();
    cut
}

async fn rejoined(blue: &Running, green: &Running) {
    blue.node.follow(2, green.peer.clone()).await.unwrap();
    eventually("the same content", || {
        blue.node.lsn() == green.node.lsn() && blue.node.store().digest() == green.node.store().digest()
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn each_diverging_record_is_in_the_file_without_its_secrets_and_named_until_it_is_removed() {
    let (blue_dir, green_dir) = (TempDir::new().unwrap(), TempDir::new().unwrap());
    let (blue, green) = (Running::start(blue_dir.path(), false).await, Running::start(green_dir.path(), true).await);
    let cut = parted(&blue, &green).await;
    let named = |id: &str, metadata: &str| VectorRecord {
        id: id.into(),
        values: vec![0.5, -1.0, 0.1, 2.0],
        metadata: metadata.into(),
    };
    let both = Op::PutVectors { database: "db".into(), vectors: vec![named("x", "{\"a\":[1]}"), named("y", "")] };
    let answered = Answered { key: [7; 32], request: [0; 32], at_ms: 1, status: 201, body: "SECRET-e".into() };
    blue.node.write(Op::Keyed { op: Box::new(both), answered }).await.unwrap();
    blue.node.write(Op::DeleteVectors { database: "db".into(), ids: vec!["v1".into()] }).await.unwrap();
    for account in accounts() {
        blue.node.write(account).await.unwrap();
    }
    blue.node.marker().await.unwrap();
    blue.node.write(Op::DropDatabase { database: "db".into() }).await.unwrap();
    let last = blue.node.lsn();
    write_many(&green.node, 10..30).await;
    rejoined(&blue, &green).await;

    let kept = blue.node.set_aside();
    let [aside] = &kept[..] else { panic!("{kept:?}") };
    let expected = (9, cut + 1, last, cut + 1);
    assert_eq!((aside.records, aside.first_lsn, aside.last_lsn, aside.first_lsn_in_log), expected);
    assert_eq!(crate::admin::state(&blue.node).set_aside, kept);
    let text = std::fs::read_to_string(&aside.path).unwrap();
    assert!(!text.contains("SECRET"), "{text}");
    let found = lines(&aside.path);
    let key = "07".repeat(32);
    let vector = json!({
        "lsn": cut + 1, "epoch": 1, "kind": "put_vector", "database": "db", "id": "x", "values": [0.5, -1.0, 0.1, 2.0],
        "metadata": {"a": [1]}, "idempotency_key_hash": key,
    });
    assert_eq!(found[0], vector);
    assert_eq!((&found[1]["id"], found[1].get("metadata")), (&json!("y"), None));
    let deleted = json!({"lsn": cut + 2, "epoch": 1, "kind": "delete_vector", "database": "db", "id": "v1"});
    assert_eq!(found[2], deleted);
    let kinds: Vec<&str> = found[3..].iter().filter_map(|line| line["kind"].as_str()).collect();
    assert_eq!(kinds, ["put_user", "put_api_key", "put_token", "drop_tokens", "marker", "drop_database"]);
    assert_eq!(found[3]["content"]["email"], "one@example.org");
    let beside = Path::new(&aside.path).parent().unwrap();
    assert!(std::fs::read_dir(beside.join("log")).unwrap().count() > 0, "the raw log is beside it");

    blue.stop().await;
    let blue = Running::start(blue_dir.path(), false).await;
    assert_eq!(blue.node.set_aside(), kept, "named after a restart");
    std::fs::remove_dir_all(beside).unwrap();
    assert_eq!(blue.node.set_aside(), []);
    blue.stop().await;
    green.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_is_only_behind_has_nothing_to_set_aside() {
    let (blue_dir, green_dir) = (TempDir::new().unwrap(), TempDir::new().unwrap());
    let blue = Running::start_with(forgetful(blue_dir.path())).await;
    blue.node.write(create()).await.unwrap();
    let green = Running::start(green_dir.path(), true).await;
    green.node.follow(1, blue.peer.clone()).await.unwrap();
    assert!(green.node.applied(blue.node.lsn(), WAIT).await);
    let left_at = green.node.lsn();
    green.stop().await;
    let mut number = 0;
    while blue.node.log_begins_at() <= left_at + 1 {
        write_many(&blue.node, number..number + 100).await;
        number += 100;
        assert!(number < 50_000, "the log was never cut");
    }
    let green = Running::start(green_dir.path(), true).await;
    assert!(green.node.applied(blue.node.lsn(), WAIT).await);
    assert_eq!(green.node.set_aside(), []);
    assert!(!green_dir.path().join(FOLDER).exists());
    green.stop().await;
    blue.stop().await;
}

/// The log was cut behind the fork: what the store still has is written, and said to be from there.
#[tokio::test(flavor = "multi_thread")]
async fn what_is_no_longer_in_the_log_comes_from_the_store() {
    let (blue_dir, green_dir) = (TempDir::new().unwrap(), TempDir::new().unwrap());
    let blue = Running::start_with(forgetful(blue_dir.path())).await;
    let green = Running::start(green_dir.path(), true).await;
    let cut = parted(&blue, &green).await;
    // Whoever followed is not waited for.
    blue.node.shared().followers.lock().clear();
    blue.node.write(put(3)).await.unwrap();
    let mut number = 100;
    while blue.node.log_begins_at() <= cut + 2 {
        write_many(&blue.node, number..number + 100).await;
        blue.node.shared().followers.lock().clear();
        number += 100;
        assert!(number < 50_000, "the log was never cut");
    }
    let last = blue.node.lsn();
    rejoined(&blue, &green).await;
    let aside = blue.node.set_aside().remove(0);
    assert_eq!((aside.first_lsn, aside.last_lsn), (cut + 1, last));
    assert!(aside.first_lsn_in_log > cut + 2, "{aside:?}");
    let found = lines(&aside.path);
    assert_eq!((found.len() as u64, aside.records), (last - cut, last - cut), "each was stored once");
    let of_store = |line: &Value| line.get("from_store").is_some();
    let before = |line: &Value| line["lsn"].as_u64().unwrap() < aside.first_lsn_in_log;
    assert!(found.iter().all(|line| of_store(line) == before(line)));
    assert!(found.iter().any(|line| line["id"] == "v3" && line["lsn"] == cut + 1 && line["epoch"] == 1));
    blue.stop().await;
    green.stop().await;
}
