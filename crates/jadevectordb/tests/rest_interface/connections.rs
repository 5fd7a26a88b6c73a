//! What happens on the connection itself.

use crate::common::{TestNode, eventually};
use serde_json::json;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

async fn connect(node: &TestNode) -> TcpStream {
    TcpStream::connect(node.http).await.unwrap()
}

/// Everything until the other side closes.
async fn rest_of(stream: &mut TcpStream) -> String {
    let mut text = Vec::new();
    tokio::time::timeout(Duration::from_secs(15), stream.read_to_end(&mut text))
        .await
        .expect("closed in time")
        .unwrap();
    String::from_utf8(text).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_chunked_body_over_the_limit_is_refused_too() {
    let node = TestNode::with(|config| config.limits.body_bytes = 1_000).await;
    let mut stream = connect(&node).await;
    let head = "POST /v1/auth/login HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\nconnection: close\r\n\r\n";
    stream.write_all(head.as_bytes()).await.unwrap();
    for _ in 0..3 {
        stream.write_all(format!("1f4\r\n{}\r\n", "x".repeat(500)).as_bytes()).await.unwrap();
    }
    stream.write_all(b"0\r\n\r\n").await.unwrap();
    let answer = rest_of(&mut stream).await;
    assert!(answer.starts_with("HTTP/1.1 413 "), "{answer}");
    assert!(answer.contains("the body has more, the limit is 1000 bytes: send it in smaller parts"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_asks_first_is_told_before_it_sends() {
    let node = TestNode::with(|config| config.limits.body_bytes = 1_000).await;
    let mut stream = connect(&node).await;
    let head = "POST /v1/auth/login HTTP/1.1\r\nhost: x\r\ncontent-length: 5000\r\nexpect: 100-continue\r\n\r\n";
    stream.write_all(head.as_bytes()).await.unwrap();
    let answer = rest_of(&mut stream).await;
    assert!(answer.starts_with("HTTP/1.1 413 "), "{answer}");
}

#[tokio::test(flavor = "multi_thread")]
async fn several_requests_in_one_packet_are_answered_in_order() {
    let node = TestNode::start().await;
    let mut stream = connect(&node).await;
    let requests = "GET /health HTTP/1.1\r\nhost: x\r\n\r\nGET /none HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n";
    stream.write_all(requests.as_bytes()).await.unwrap();
    let answer = rest_of(&mut stream).await;
    let (first, second) = (answer.find("HTTP/1.1 200").unwrap(), answer.find("HTTP/1.1 404").unwrap());
    assert!(first < second);
}

#[tokio::test(flavor = "multi_thread")]
async fn at_the_end_idle_connections_close_at_once_and_requests_finish() {
    let mut node = TestNode::with(|config| config.limits.hold_ms = 30_000).await;
    let db = node.database(1).await;
    let mut idle = connect(&node).await;
    let used = "GET /health HTTP/1.1\r\nhost: x\r\n\r\n";
    idle.write_all(used.as_bytes()).await.unwrap();
    let mut buffer = [0; 4096];
    assert!(idle.read(&mut buffer).await.unwrap() > 0);
    let mut fresh = connect(&node).await;

    // A write that waits at a seal is under way when the end is asked for.
    let epoch = node.node.position().epoch + 1;
    node.node.seal(epoch).await.unwrap();
    let mut busy = connect(&node).await;
    let body = json!({ "id": "a", "values": [1] }).to_string();
    let request = format!(
        "POST /v1/databases/{db}/vectors HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {}\r\ncontent-length: {}\r\n\r\n{body}",
        node.token,
        body.len()
    );
    busy.write_all(request.as_bytes()).await.unwrap();
    eventually("the write is held", async || node.node.held_writes() == 1).await;

    node.node.request_shutdown();
    assert_eq!(rest_of(&mut idle).await, "");
    assert_eq!(rest_of(&mut fresh).await, "");
    eventually("no new connection is accepted", async || TcpStream::connect(node.http).await.is_err()).await;
    node.node.resume(epoch + 1).await.unwrap();
    let answer = rest_of(&mut busy).await;
    assert!(answer.starts_with("HTTP/1.1 201 "), "{answer}");
    assert!(answer.to_ascii_lowercase().contains("connection: close"), "{answer}");
    let serving = node.serving.take().unwrap();
    tokio::time::timeout(Duration::from_secs(5), serving).await.expect("serving ended").unwrap();
}
