//! Writes on nodes that are not, or not any more, or not yet, the primary.

use crate::common::{Reply, TestNode, eventually, listen};
use bytes::Bytes;
use jadevectordb::engine::Standing;
use serde_json::{Value, json};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;
use wire::admin::Peer;

/// A primary, and a node that follows it and has everything.
pub async fn pair() -> (Arc<TestNode>, Arc<TestNode>) {
    let patient = |config: &mut jadevectordb::config::Config| config.limits.hold_ms = 10_000;
    let blue = TestNode::with(patient).await;
    let mut green = TestNode::with(|config| {
        patient(config);
        config.join = true;
    })
    .await;
    let epoch = blue.node.position().epoch;
    green.node.follow(epoch, blue.peer()).await.unwrap();
    green.token = blue.token.clone();
    caught_up(&green, &blue).await;
    (Arc::new(blue), Arc::new(green))
}

pub async fn caught_up(follower: &TestNode, primary: &TestNode) {
    eventually("the follower has everything", async || {
        follower.node.ready() && follower.node.lsn() >= primary.node.lsn()
    })
    .await;
}

/// Moves the right to write from `from` to `to`, in the order of the handover.
pub async fn hand_over(from: &TestNode, to: &TestNode) {
    let epoch = from.node.position().epoch + 1;
    let sealed = from.node.seal(epoch).await.unwrap();
    assert!(to.node.applied(sealed.lsn, Duration::from_secs(10)).await);
    to.node.promote(epoch, sealed.lsn).await.unwrap();
    from.node.follow(epoch, to.peer()).await.unwrap();
}

fn vector(id: &str) -> Value {
    json!({ "id": id, "values": [1, 0] })
}

#[tokio::test(flavor = "multi_thread")]
async fn a_follower_forwards_writes_and_reads_them_back() {
    let (blue, green) = pair().await;
    let created = green.post("/v1/databases", &json!({ "name": "x", "vectorDimension": 2 })).await;
    assert_eq!(created.status, 201);
    let lsn = created.lsn();
    assert!(green.node.lsn() >= lsn, "answered when the local copy has it");
    let db = created.json()["databaseId"].as_str().unwrap().to_owned();
    let base = format!("/v1/databases/{db}/vectors");
    for n in 0..20 {
        green.post(&base, &vector(&n.to_string())).await.expect(201);
        green.get(&format!("{base}/{n}")).await.expect(200);
    }
    assert_eq!(blue.get(&base).await.expect(200)["total"], 20);
    assert_eq!(green.node.counters().forwarded.load(Ordering::Relaxed), 21);
    // Status, body and headers of a refusal are the primary's.
    let refused = green.post(&base, &json!({ "id": "a", "values": [1] })).await;
    assert_eq!(
        (refused.status, refused.error().as_str()),
        (400, "`values` has 1 numbers, the database has dimension 2")
    );
    // Who may is decided by the node that does it.
    assert_eq!(green.as_user("wrong", "POST", &base, &vector("x")).await.status, 401);
    green.delete(&format!("{base}/0")).await.expect(200);
    green.put(&format!("{base}/new%20one"), &json!({ "values": [0, 1] })).await.expect(200);
    blue.get(&format!("{base}/new%20one")).await.expect(200);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_follower_waits_for_the_lsn_that_a_read_demands_and_says_when_it_is_behind() {
    let (blue, green) = pair().await;
    let read = |lsn: u64| {
        let green = green.clone();
        tokio::spawn(async move {
            let demand = [("jadevectordb-min-lsn", lsn.to_string())];
            let demand = demand.each_ref().map(|(name, lsn)| (*name, lsn.as_str()));
            green.send("GET", "/v1/databases", &demand, Bytes::new()).await
        })
    };
    let (met, missed) = (read(green.node.lsn() + 1), read(green.node.lsn() + 1_000));
    blue.database(2).await;
    let met = met.await.unwrap();
    assert_eq!(met.json()["databases"].as_array().map(Vec::len), Some(1));
    let missed = missed.await.unwrap();
    assert_eq!((missed.status, missed.header("retry-after")), (503, "1"));
    assert_eq!(missed.header("jadevectordb-behind"), "follower");
    let lsn = green.node.lsn();
    assert_eq!(missed.error(), format!("this node is at LSN {lsn} and did not reach {} within 2 s", lsn + 999));
    assert_eq!(green.node.counters().read_errors.load(Ordering::Relaxed), 0, "it is counted as lag, not as an error");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_login_on_either_node_is_good_on_both() {
    let (blue, green) = pair().await;
    for _ in 0..20 {
        let token = blue.login("admin", crate::common::PASSWORD).await;
        green.as_user(&token, "GET", "/v1/databases", &json!({})).await.expect(200);
        let token = green.login("admin", crate::common::PASSWORD).await;
        blue.as_user(&token, "GET", "/v1/databases", &json!({})).await.expect(200);
    }
    let unknown = green.as_user("unknown", "GET", "/v1/databases", &json!({})).await;
    assert_eq!(unknown.status, 401);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_primary_limits_clients_and_not_the_follower_that_forwards() {
    let blue = TestNode::limited(|_| {}, jadevectordb::auth::RateLimits::default()).await;
    let green = TestNode::with(|config| config.join = true).await;
    green.node.follow(blue.node.position().epoch, blue.peer()).await.unwrap();
    caught_up(&green, &blue).await;
    let wrong = json!({ "username": "nobody", "password": "wrong" }).to_string();
    for (client, expected) in [("192.0.2.1", 429), ("192.0.2.2", 401)] {
        let mut last = 0;
        let tries = if expected == 429 { 6 } else { 1 };
        for _ in 0..tries {
            // From a proxy beside green, which tells green who asks.
            let headers = [("x-forwarded-for", client)];
            last = green.send("POST", "/v1/auth/login", &headers, wrong.clone().into()).await.status;
        }
        assert_eq!(last, expected, "{client}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn writes_at_a_seal_wait_and_go_to_the_new_primary() {
    let (blue, green) = pair().await;
    let db = blue.database(2).await;
    caught_up(&green, &blue).await;
    let base = format!("/v1/databases/{db}/vectors");
    let epoch = blue.node.position().epoch + 1;
    let sealed = blue.node.seal(epoch).await.unwrap();
    assert_eq!(blue.node.standing(), Standing::Sealed);
    let mut waiting = Vec::new();
    for (n, node) in [&blue, &green].into_iter().cycle().take(20).enumerate() {
        let (node, base) = (node.clone(), base.clone());
        waiting.push(tokio::spawn(async move { node.post(&base, &vector(&n.to_string())).await }));
    }
    // Those that green forwarded wait in blue too.
    eventually("all writes are held", async || blue.node.held_writes() == 20).await;
    blue.get(&base).await.expect(200);
    assert!(green.node.applied(sealed.lsn, Duration::from_secs(10)).await);
    green.node.promote(epoch, sealed.lsn).await.unwrap();
    blue.node.follow(epoch, green.peer()).await.unwrap();
    for task in waiting {
        let reply: Reply = task.await.unwrap();
        assert_eq!(reply.status, 201, "{:?}", reply.body);
    }
    assert_eq!(blue.node.held_writes(), 0);
    assert_eq!(green.get(&base).await.expect(200)["total"], 20);
    eventually("blue has the writes of green", async || blue.node.lsn() >= green.node.lsn()).await;
    assert_eq!(blue.get(&base).await.expect(200)["total"], 20);
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_fails_while_the_right_to_write_moves_back_and_forth() {
    let (blue, green) = pair().await;
    let db = blue.database(2).await;
    let base = format!("/v1/databases/{db}/vectors");
    let stop = Arc::new(std::sync::atomic::AtomicBool::new(false));
    let mut writers = Vec::new();
    for writer in 0..6 {
        let node = if writer % 2 == 0 { blue.clone() } else { green.clone() };
        let (base, stop) = (base.clone(), stop.clone());
        writers.push(tokio::spawn(async move {
            let mut written = 0;
            while !stop.load(Ordering::Relaxed) {
                let id = format!("w{writer}-{written}");
                let reply = node.post(&base, &vector(&id)).await;
                assert_eq!(reply.status, 201, "{id}: {:?}", reply.body);
                let read = node.get(&format!("{base}/{id}")).await;
                assert_eq!(read.status, 200, "{id} is not found where it was written: {:?}", read.body);
                written += 1;
            }
            written
        }));
    }
    for turn in 0..6 {
        let (from, to) = if turn % 2 == 0 { (&blue, &green) } else { (&green, &blue) };
        tokio::time::sleep(Duration::from_millis(50)).await;
        hand_over(from, to).await;
    }
    stop.store(true, Ordering::Relaxed);
    let mut written = 0;
    for writer in writers {
        written += writer.await.unwrap();
    }
    assert!(written > 0);
    assert_eq!(blue.get(&base).await.expect(200)["total"], written);
    caught_up(&green, &blue).await;
    assert_eq!(green.get(&base).await.expect(200)["total"], written);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_held_write_is_refused_when_the_hold_is_over_or_full() {
    let node = TestNode::with(|config| {
        config.limits.hold_ms = 200;
        config.limits.held_writes = 3;
    })
    .await;
    let db = node.database(2).await;
    let path = format!("/v1/databases/{db}/vectors");
    node.node.seal(node.node.position().epoch + 1).await.unwrap();
    let late = node.post(&path, &vector("a")).await;
    assert_eq!((late.status, late.header("retry-after")), (503, "1"));
    assert_eq!(late.error(), "the right to write is moving between nodes; waited 200 ms, try again");
    let node = Arc::new(node);
    let replies = (0..10).map(|n| {
        let (node, path) = (node.clone(), path.clone());
        tokio::spawn(async move { node.post(&path, &vector(&n.to_string())).await.error() })
    });
    let mut texts = Vec::new();
    for reply in replies.collect::<Vec<_>>() {
        texts.push(reply.await.unwrap());
    }
    let full = "the right to write is moving between nodes, and too many writes wait for that; try again";
    assert!(texts.iter().any(|text| text == full), "{texts:?}");
    assert_eq!(node.node.held_writes(), 0);
    node.get(&path).await.expect(200);
    let counters = node.node.counters();
    assert_eq!(counters.write_errors.load(Ordering::Relaxed), 11);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_primary_that_cannot_be_reached_is_tried_for_the_hold_time() {
    let node = TestNode::with(|config| {
        config.limits.hold_ms = 300;
        config.join = true;
    })
    .await;
    // Bound and held, but without listening: nobody answers there, and nobody else can take the port.
    let silent = tokio::net::TcpSocket::new_v4().unwrap();
    silent.bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let nobody = silent.local_addr().unwrap().to_string();
    let primary = Peer { admin: nobody.clone(), http: nobody.clone() };
    node.node.follow(1, primary).await.unwrap();
    let reply = node.post("/v1/databases", &json!({ "name": "x" })).await;
    assert_eq!((reply.status, reply.header("retry-after")), (503, "1"));
    let text = reply.error();
    assert!(text.starts_with(&format!("the primary cannot be reached: could not connect to {nobody}")), "{text}");
    assert!(text.ends_with("; waited 300 ms, try again"), "{text}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_forwarded_write_whose_answer_is_lost_is_unknown() {
    use tokio::io::AsyncReadExt;
    let node = TestNode::with(|config| config.join = true).await;
    let listener = listen().await;
    let address = listener.local_addr().unwrap().to_string();
    let breaking = tokio::spawn(async move {
        loop {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut head = [0; 1024];
            // The request has arrived; its answer never comes.
            let _ = stream.read(&mut head).await;
        }
    });
    node.node.follow(1, Peer { admin: address.clone(), http: address }).await.unwrap();
    let reply = node.post("/v1/databases", &json!({ "name": "x" })).await;
    assert_eq!(reply.status, 502);
    let expected = "the write was forwarded to the primary, and it is not known whether it was done: ";
    assert!(reply.error().starts_with(expected));
    breaking.abort();
}

#[tokio::test(flavor = "multi_thread")]
async fn forwarding_ends_after_four_hops() {
    let (_blue, green) = pair().await;
    let body = json!({ "name": "x" }).to_string();
    let reply = green.send("POST", "/v1/databases", &[("jadevectordb-hops", "4")], Bytes::from(body)).await;
    assert_eq!(reply.status, 503);
    assert_eq!(reply.error(), "the write was forwarded 4 times and found no primary; try again");
}

#[tokio::test(flavor = "multi_thread")]
async fn two_nodes_that_follow_each_other_do_not_forward_for_ever() {
    let one = TestNode::with(|config| config.join = true).await;
    let other = TestNode::with(|config| config.join = true).await;
    one.node.follow(1, other.peer()).await.unwrap();
    other.node.follow(1, one.peer()).await.unwrap();
    let reply = one.post("/v1/databases", &json!({ "name": "x" })).await;
    assert_eq!(reply.status, 503);
    assert_eq!(reply.error(), "the write was forwarded 4 times and found no primary; try again");
}
