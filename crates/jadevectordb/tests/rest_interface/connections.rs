//! What happens on the connection itself.

use crate::common::{ADMIN_TOKEN, TestNode, eventually};
use client::{Admin, Http};
use serde_json::json;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use wire::headers::HOPS;

/// No wait in these tests is longer.
const PATIENCE: Duration = Duration::from_secs(15);

async fn connect(node: &TestNode) -> TcpStream {
    TcpStream::connect(node.http).await.unwrap()
}

/// Everything until the other side closes.
async fn rest_of(stream: &mut TcpStream) -> String {
    let mut text = Vec::new();
    tokio::time::timeout(PATIENCE, stream.read_to_end(&mut text)).await.expect("closed in time").unwrap();
    String::from_utf8(text).unwrap()
}

/// Asks how the node is, on a connection that may go on. The head of the answer, once all of it is there.
async fn ask(stream: &mut TcpStream, headers: &str) -> String {
    stream.write_all(format!("GET /health HTTP/1.1\r\nhost: x\r\n{headers}\r\n").as_bytes()).await.unwrap();
    let answer = async {
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            head.push(stream.read_u8().await.unwrap());
        }
        let head = String::from_utf8(head).unwrap().to_ascii_lowercase();
        let length = head.lines().find_map(|line| line.strip_prefix("content-length: "));
        let mut body = vec![0; length.expect("an answer has a length").parse().unwrap()];
        stream.read_exact(&mut body).await.unwrap();
        head
    };
    tokio::time::timeout(PATIENCE, answer).await.expect("answered in time")
}

/// The answer says that its connection ends with it.
fn is_last(answer: &str) -> bool {
    answer.to_ascii_lowercase().contains("\r\nconnection: close\r\n")
}

/// Begins a write on a connection that may go on.
async fn begin_write(node: &TestNode, db: &str) -> TcpStream {
    let mut stream = connect(node).await;
    let body = json!({ "id": "a", "values": [1] }).to_string();
    let request = format!(
        "POST /v1/databases/{db}/vectors HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {}\r\ncontent-length: {}\r\n\r\n{body}",
        node.token,
        body.len()
    );
    stream.write_all(request.as_bytes()).await.unwrap();
    stream
}

/// Tells the node whether to send its clients elsewhere.
async fn tell_to_shed(node: &TestNode, shed: bool) {
    let admin = Admin::new(Http::new(), &node.admin.to_string(), ADMIN_TOKEN, PATIENCE);
    assert_eq!(admin.shed(shed).await.unwrap().sheds, shed);
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
    let mut busy = begin_write(&node, &db).await;
    eventually("the write is held", async || node.node.held_writes() == 1).await;

    node.node.request_shutdown();
    assert_eq!(rest_of(&mut idle).await, "");
    assert_eq!(rest_of(&mut fresh).await, "");
    eventually("no new connection is accepted", async || TcpStream::connect(node.http).await.is_err()).await;
    node.node.resume(epoch + 1).await.unwrap();
    let answer = rest_of(&mut busy).await;
    assert!(answer.starts_with("HTTP/1.1 201 "), "{answer}");
    assert!(is_last(&answer), "{answer}");
    let serving = node.serving.take().unwrap();
    tokio::time::timeout(Duration::from_secs(5), serving).await.expect("serving ended").unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_sheds_its_clients_answers_them_and_ends_each_connection_after_the_answer_under_way() {
    let node = TestNode::with(|config| config.limits.hold_ms = 30_000).await;
    let db = node.database(1).await;
    let mut idle = connect(&node).await;
    let head = ask(&mut idle, "").await;
    assert!(!is_last(&head), "{head}");
    // A write that waits at a seal is under way when the node is told.
    let epoch = node.node.position().epoch + 1;
    node.node.seal(epoch).await.unwrap();
    let mut busy = begin_write(&node, &db).await;
    eventually("the write is held", async || node.node.held_writes() == 1).await;

    tell_to_shed(&node, true).await;
    let mut asking = connect(&node).await;
    let head = ask(&mut asking, "").await;
    assert!(head.starts_with("http/1.1 200 ") && is_last(&head), "{head}");
    assert_eq!(rest_of(&mut asking).await, "");
    assert_eq!(rest_of(&mut idle).await, "", "nobody asks there, so no answer can say it");
    assert_eq!(node.node.held_writes(), 1, "the write goes on waiting");
    node.node.resume(epoch + 1).await.unwrap();
    let answer = rest_of(&mut busy).await;
    assert!(answer.starts_with("HTTP/1.1 201 ") && is_last(&answer), "{answer}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_is_told_to_keep_its_clients_keeps_connections_again() {
    let node = TestNode::start().await;
    // It may be about to ask for the first time, so it is not ended meanwhile.
    let mut silent = connect(&node).await;
    let mut idle = connect(&node).await;
    ask(&mut idle, "").await;
    tell_to_shed(&node, true).await;
    assert_eq!(rest_of(&mut idle).await, "");
    tell_to_shed(&node, false).await;
    let mut fresh = connect(&node).await;
    for stream in [&mut silent, &mut fresh] {
        for _ in 0..3 {
            let head = ask(stream, "").await;
            assert!(head.starts_with("http/1.1 200 ") && !is_last(&head), "{head}");
        }
    }
}

/// What the other node passes on came to the right place; its connections are no clients' connections.
#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_sheds_its_clients_does_not_shed_the_other_node() {
    let node = TestNode::start().await;
    tell_to_shed(&node, true).await;
    let (mut client, mut other) = (connect(&node).await, connect(&node).await);
    let head = ask(&mut client, "").await;
    assert!(is_last(&head), "{head}");
    let head = ask(&mut other, &format!("{HOPS}: 1\r\n")).await;
    assert!(head.starts_with("http/1.1 200 ") && !is_last(&head), "{head}");
}
