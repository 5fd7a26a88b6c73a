//! Backends that close, die, hang or are taken away.

use crate::support::*;
use gateway::{Gateway, Limits, Routing};
use http::{Method, StatusCode};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::Notify;
use tokio::task::JoinHandle;
use wire::{ByColour, Colour};

/// Reads the next request's head and body (by content-length) off a socket; `None` when the peer closed.
async fn next_request(stream: &mut TcpStream, buffer: &mut Vec<u8>) -> Option<String> {
    loop {
        if let Some(end) = buffer.windows(4).position(|window| window == b"\r\n\r\n") {
            let head = String::from_utf8_lossy(&buffer[..end]).into_owned();
            let length =
                head.lines().find_map(|line| line.strip_prefix("content-length: ")).map_or(0, |n| n.parse().unwrap());
            if buffer.len() >= end + 4 + length {
                buffer.drain(..end + 4 + length);
                return Some(head);
            }
        }
        let mut chunk = [0u8; 16 * 1024];
        match stream.read(&mut chunk).await {
            Ok(count) if count > 0 => buffer.extend_from_slice(&chunk[..count]),
            _ => return None,
        }
    }
}

const OK: &[u8] = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok";

/// Closes each connection, without announcing it, after `each` answers.
async fn closing_node(each: usize) -> Node {
    Node::sockets(move |_, mut stream| async move {
        let mut buffer = Vec::new();
        for _ in 0..each {
            if next_request(&mut stream, &mut buffer).await.is_none() {
                return;
            }
            stream.write_all(OK).await.unwrap();
        }
    })
    .await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn reads_never_see_a_connection_that_the_backend_closed() {
    let node = closing_node(3).await;
    let gateway = start(Routing::only(Colour::Blue, node.address)).await;
    let mut clients = Vec::new();
    for _ in 0..8 {
        let address = gateway.address();
        clients.push(tokio::spawn(async move {
            let mut client = Client::open(address).await;
            for number in 0..150 {
                let answer = match number % 2 {
                    0 => client.get("/v1/databases").await,
                    _ => client.post("/v1/databases/d/search", "{\"topK\":1}").await,
                };
                assert_eq!((answer.status, answer.text()), (StatusCode::OK, "ok"));
            }
        }));
    }
    for client in clients {
        client.await.unwrap();
    }
    let metrics = gateway.metrics().blue;
    assert_eq!((metrics.reads, metrics.read_errors), (1_200, 0));
    assert!(node.accepted() >= 400, "{} connections for 1,200 requests, 3 each", node.accepted());
}

/// A write must not go out on a connection that was closed before, although the close may not have been noticed yet by
/// the runtime: the kernel is asked.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn writes_never_go_out_on_a_connection_that_was_closed() {
    let node = closing_node(2).await;
    let gateway = start(Routing::only(Colour::Blue, node.address)).await;
    let mut client = Client::open(gateway.address()).await;
    for number in 0..300 {
        let answer = client.post("/v1/databases/d/vectors", "{\"id\":\"1\"}").await;
        assert_eq!((answer.status, answer.text()), (StatusCode::OK, "ok"), "write {number}");
        if number % 2 == 1 {
            // From here on the connection is closed for certain; the next write comes at once.
            while node.open() > 0 {
                std::hint::spin_loop();
            }
        }
    }
    let metrics = gateway.metrics().blue;
    assert_eq!((metrics.writes, metrics.write_errors), (300, 0));
    assert_eq!(node.accepted(), 150);
}

/// Clients that read until told to stop; each counts its requests and panics at a failure.
fn readers(gateway: &Gateway, stop: &Arc<AtomicBool>, done: &Arc<AtomicUsize>) -> Vec<JoinHandle<()>> {
    let reader = |number: usize| {
        let (address, stop, done) = (gateway.address(), stop.clone(), done.clone());
        tokio::spawn(async move {
            let mut client = Client::open(address).await;
            while !stop.load(Ordering::SeqCst) {
                let answer = match number % 2 {
                    0 => client.get("/v1/databases/d/vectors/1").await,
                    _ => client.post("/v1/databases/d/search", "{\"topK\":1}").await,
                };
                assert_eq!(answer.status, StatusCode::OK, "{}", answer.text());
                done.fetch_add(1, Ordering::SeqCst);
            }
        })
    };
    (0..6).map(reader).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_killed_backend_costs_no_read() {
    let (blue, green) = (Node::named("blue").await, Node::named("green").await);
    let gateway = start(routing(blue.address, green.address).with_share(Colour::Green, 50)).await;
    let (stop, done) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)));
    let readers = readers(&gateway, &stop, &done);
    eventually("green is asked", || gateway.metrics().green.reads > 200).await;
    green.kill().await;
    let (then, errors) = (done.load(Ordering::SeqCst), gateway.metrics().green.read_errors);
    eventually("500 more reads", || done.load(Ordering::SeqCst) > then + 500).await;
    stop.store(true, Ordering::SeqCst);
    for reader in readers {
        reader.await.unwrap();
    }
    // Clients saw nothing, but the colour's failures are counted.
    let metrics = gateway.metrics();
    assert!(metrics.green.read_errors > errors + 100, "{} errors of green", metrics.green.read_errors);
    assert_eq!(metrics.blue.read_errors, 0);
}

#[tokio::test]
async fn a_read_that_breaks_before_its_answer_goes_to_the_other_colour() {
    // Takes the request and closes without a word, on fresh connections, too.
    let broken = Node::sockets(|_, mut stream| async move {
        next_request(&mut stream, &mut Vec::new()).await;
    })
    .await;
    let green = Node::named("green").await;
    let gateway = start(routing(broken.address, green.address)).await;
    let mut client = Client::open(gateway.address()).await;
    for _ in 0..10 {
        assert_eq!(client.get("/v1/databases").await.colour(), "green");
        assert_eq!(client.post("/v1/databases/d/search", "{}").await.colour(), "green");
    }
    let metrics = gateway.metrics();
    assert_eq!((metrics.blue.reads, metrics.blue.read_errors), (20, 20));
    assert_eq!((metrics.green.reads, metrics.green.read_errors), (20, 0));
    // Who asked for blue by header is told the truth about blue.
    let answer = client.send(with_header(request(Method::GET, "/health", ""), "canary", "blue")).await;
    assert_eq!(answer.status, StatusCode::BAD_GATEWAY);
    assert!(answer.error().contains("the blue environment (127.0.0.1:"), "{}", answer.error());
}

#[tokio::test]
async fn a_write_that_was_sent_is_not_sent_again() {
    let times = Arc::new(AtomicUsize::new(0));
    let counter = times.clone();
    let broken = Node::sockets(move |_, mut stream| {
        let times = counter.clone();
        async move {
            let mut buffer = Vec::new();
            // The first request of a connection is answered, so that the second finds it in the pool.
            if next_request(&mut stream, &mut buffer).await.is_some() {
                stream.write_all(OK).await.unwrap();
            }
            if next_request(&mut stream, &mut buffer).await.is_some() {
                times.fetch_add(1, Ordering::SeqCst);
            }
        }
    })
    .await;
    let green = Node::named("green").await;
    let gateway = start(routing(broken.address, green.address)).await;
    let mut client = Client::open(gateway.address()).await;
    assert_eq!(client.get("/v1/databases").await.text(), "ok");
    let answer = client.post("/v1/databases/d/vectors", "{}").await;
    assert_eq!(answer.status, StatusCode::BAD_GATEWAY);
    assert_eq!(times.load(Ordering::SeqCst), 1);
    assert_eq!((gateway.metrics().blue.writes, gateway.metrics().blue.write_errors), (1, 1));
    assert_eq!(green.seen(), 0);
}

#[tokio::test]
async fn a_write_waits_for_a_primary_that_is_away_for_a_moment() {
    let ((away, _held), green) = (dead_address(), Node::named("green").await);
    let gateway = start(routing(away, green.address)).await;
    let mut client = Client::open(gateway.address()).await;
    let write = tokio::spawn(async move { client.post("/v1/databases/d/vectors", "{}").await });
    eventually("the failure is counted", || gateway.metrics().blue.write_errors == 1).await;
    let mut table = gateway.routing();
    table.primary = Some(Colour::Green);
    gateway.set_routing(table);
    let answer = write.await.unwrap();
    assert_eq!((answer.status, answer.text()), (StatusCode::OK, "green"));
    // Many looks, one failed request.
    assert_eq!((gateway.metrics().blue.writes, gateway.metrics().blue.write_errors), (1, 1));
}

#[tokio::test]
async fn a_write_that_waited_in_vain_gets_503_and_a_reason() {
    let (away, _held) = dead_address();
    let limits = Limits { write_wait_ms: 60, ..Limits::default() };
    let gateway = start_with(Routing::only(Colour::Blue, away), limits).await;
    let answer = once(&gateway, request(Method::POST, "/v1/databases", "{}")).await;
    assert_eq!(answer.status, StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(answer.headers["retry-after"], "1");
    let error = answer.error();
    assert!(error.contains("waited 60 ms") && error.contains("blue") && error.contains("cannot be reached"), "{error}");
    // Many looks, one failed request.
    assert_eq!((gateway.metrics().blue.writes, gateway.metrics().blue.write_errors), (1, 1));
}

/// Answers a request only when told so; counts those that wait.
async fn hanging_node(release: Arc<Notify>) -> Node {
    Node::start(move |_| {
        let release = release.clone();
        async move {
            release.notified().await;
            text(StatusCode::OK, "late")
        }
    })
    .await
}

#[tokio::test]
async fn connections_of_a_hanging_side_can_be_closed() {
    let (hanging, blue) = (hanging_node(Arc::new(Notify::new())).await, Node::named("blue").await);
    let gateway = start(routing(blue.address, hanging.address).with_share(Colour::Green, 100)).await;
    let (mut reader, mut writer) = (Client::open(gateway.address()).await, Client::open(gateway.address()).await);
    let read = tokio::spawn(async move { reader.get("/v1/databases").await });
    let write = tokio::spawn(async move {
        writer.send(with_header(request(Method::POST, "/v1/databases", "{}"), "canary", "green")).await
    });
    eventually("both hang", || hanging.seen() == 2 && gateway.in_flight(Colour::Green) == 2).await;
    gateway.close_connections(Colour::Green);
    let (read, write) = (read.await.unwrap(), write.await.unwrap());
    assert_eq!((read.status, read.colour()), (StatusCode::OK, "blue"));
    assert_eq!(write.status, StatusCode::BAD_GATEWAY);
    assert!(write.error().contains("closed before the answer"), "{}", write.error());
    let metrics = gateway.metrics().green;
    assert_eq!((metrics.read_errors, metrics.write_errors, metrics.in_flight), (1, 1, 0));
    eventually("no connection is left", || hanging.open() == 0).await;
}

#[tokio::test]
async fn reads_leave_a_backend_that_is_taken_away_and_writes_finish() {
    let release = Arc::new(Notify::new());
    let (hanging, blue) = (hanging_node(release.clone()).await, Node::named("blue").await);
    let mut table = routing(blue.address, hanging.address).with_share(Colour::Green, 100);
    table.primary = Some(Colour::Green);
    let gateway = start(table.clone()).await;
    let (mut reader, mut writer) = (Client::open(gateway.address()).await, Client::open(gateway.address()).await);
    let read = tokio::spawn(async move { reader.post("/v1/databases/d/search", "{}").await });
    let write = tokio::spawn(async move { writer.post("/v1/databases", "{}").await });
    eventually("both wait", || hanging.seen() == 2).await;
    table.backends.green = None;
    table.reads = ByColour::new(100, 0);
    table.primary = Some(Colour::Blue);
    gateway.set_routing(table);
    assert_eq!(read.await.unwrap().text(), "blue");
    release.notify_waiters();
    assert_eq!(write.await.unwrap().text(), "late");
    // It was our doing, so it is no error of green.
    assert_eq!(gateway.metrics().green.read_errors, 0);
    eventually("no connection is left", || hanging.open() == 0).await;
}

#[tokio::test]
async fn a_backend_that_does_not_answer_in_time_is_a_504() {
    let hanging = hanging_node(Arc::new(Notify::new())).await;
    let limits = Limits { response_head_ms: 80, ..Limits::default() };
    let gateway = start_with(Routing::only(Colour::Blue, hanging.address), limits).await;
    for message in [request(Method::GET, "/health", ""), request(Method::POST, "/v1/databases", "{}")] {
        let answer = once(&gateway, message).await;
        assert_eq!(answer.status, StatusCode::GATEWAY_TIMEOUT);
        assert!(answer.error().contains("80 ms (limit response_head_ms)"), "{}", answer.error());
    }
    let metrics = gateway.metrics().blue;
    assert_eq!((metrics.read_errors, metrics.write_errors), (1, 1));
}

#[tokio::test]
async fn an_answer_that_breaks_off_is_an_error_and_not_a_short_answer() {
    let node = Node::sockets(|_, mut stream| async move {
        next_request(&mut stream, &mut Vec::new()).await;
        stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\nhalf").await.unwrap();
    })
    .await;
    let gateway = start(Routing::only(Colour::Blue, node.address)).await;
    let mut client = Client::open(gateway.address()).await;
    let answer = tokio::time::timeout(LONG, client.try_send(request(Method::GET, "/health", ""))).await.unwrap();
    assert!(answer.is_err());
    let metrics = gateway.metrics().blue;
    assert_eq!((metrics.reads, metrics.read_errors), (1, 1));
}

#[tokio::test]
async fn errors_of_a_colour_are_counted_as_its_own() {
    let bad = Node::start(|seen| async move {
        text(if seen.method == Method::GET { StatusCode::INTERNAL_SERVER_ERROR } else { StatusCode::NOT_FOUND }, "no")
    })
    .await;
    let gateway = start(Routing::only(Colour::Green, bad.address)).await;
    let mut client = Client::open(gateway.address()).await;
    for _ in 0..5 {
        assert_eq!(client.get("/health").await.status, StatusCode::INTERNAL_SERVER_ERROR);
        assert_eq!(client.post("/v1/databases", "{}").await.status, StatusCode::NOT_FOUND);
    }
    let metrics = gateway.metrics();
    assert_eq!((metrics.green.reads, metrics.green.read_errors), (5, 5));
    assert_eq!((metrics.green.writes, metrics.green.write_errors), (5, 0));
    assert_eq!(metrics.blue.reads, 0);
    tokio::time::timeout(LONG, gateway.shutdown(Duration::from_secs(5))).await.unwrap();
}

#[tokio::test]
async fn a_server_error_of_a_read_is_asked_of_the_other_colour_and_still_counted() {
    let bad = Node::start(|_| async move { text(StatusCode::INTERNAL_SERVER_ERROR, "broken release") }).await;
    let good = Node::named("blue").await;
    let gateway = start(routing(good.address, bad.address).with_share(Colour::Green, 100)).await;
    let mut client = Client::open(gateway.address()).await;
    for _ in 0..10 {
        assert_eq!(client.post("/v1/databases/d/search", "{}").await.colour(), "blue");
    }
    let metrics = gateway.metrics();
    assert_eq!((metrics.green.reads, metrics.green.read_errors), (10, 10), "retries hide nothing");
    // A request that asked for green by header gets green's answer.
    let answer = client.send(with_header(request(Method::GET, "/v1/databases", ""), "canary", "green")).await;
    assert_eq!((answer.status, answer.text()), (StatusCode::INTERNAL_SERVER_ERROR, "broken release"));
    // A write is never repeated because of its answer.
    let before = good.seen();
    gateway.set_routing(Routing { primary: Some(Colour::Green), ..routing(good.address, bad.address) });
    assert_eq!(client.post("/v1/databases", "{}").await.status, StatusCode::INTERNAL_SERVER_ERROR);
    assert_eq!(good.seen(), before);
}

#[tokio::test]
async fn when_both_colours_fail_the_first_one_s_answer_counts() {
    let blue = Node::start(|_| async move { text(StatusCode::INTERNAL_SERVER_ERROR, "blue's error") }).await;
    let green = Node::start(|_| async move { text(StatusCode::SERVICE_UNAVAILABLE, "green's error") }).await;
    let gateway = start(routing(blue.address, green.address).with_share(Colour::Green, 0)).await;
    let answer = once(&gateway, request(Method::GET, "/v1/databases", "")).await;
    assert_eq!((answer.status, answer.text()), (StatusCode::INTERNAL_SERVER_ERROR, "blue's error"));
}
