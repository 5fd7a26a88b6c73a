//! Which connections are kept, which are closed, and when.

use crate::support::*;
use gateway::Routing;
use http::{Method, StatusCode};
use std::sync::Arc;
use std::time::Duration;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use tokio::sync::Notify;
use wire::{ByColour, Colour};

#[tokio::test]
async fn connections_to_a_backend_are_used_again() {
    let node = Node::named("blue").await;
    let gateway = start(Routing::only(Colour::Blue, node.address)).await;
    for _ in 0..5 {
        let mut client = Client::open(gateway.address()).await;
        for _ in 0..40 {
            client.get("/v1/databases").await;
            client.post("/v1/databases", "{}").await;
            client.post("/v1/databases/d/search", "{}").await;
        }
    }
    assert_eq!((node.accepted(), node.seen()), (1, 600));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_more_connections_than_requests_at_one_time() {
    let node = Node::named("blue").await;
    let gateway = start(Routing::only(Colour::Blue, node.address)).await;
    let clients: Vec<_> = (0..10)
        .map(|_| {
            let address = gateway.address();
            tokio::spawn(async move {
                let mut client = Client::open(address).await;
                for _ in 0..100 {
                    assert_eq!(client.get("/v1/databases").await.status, StatusCode::OK);
                }
            })
        })
        .collect();
    for client in clients {
        client.await.unwrap();
    }
    assert!(node.accepted() <= 10, "{} connections for 10 clients", node.accepted());
    assert_eq!(gateway.in_flight(Colour::Blue), 0);
}

#[tokio::test]
async fn a_colour_that_serves_no_more_is_left_at_once() {
    let (blue, green) = (Node::named("blue").await, Node::named("green").await);
    let mut table = routing(blue.address, green.address).with_share(Colour::Green, 100);
    let gateway = start(table.clone()).await;
    let mut client = Client::open(gateway.address()).await;
    client.get("/v1/databases").await;
    client.post("/v1/databases", "{}").await;
    assert_eq!((blue.open(), green.open()), (1, 1));
    table.reads = ByColour::new(100, 0);
    gateway.set_routing(table.clone());
    eventually("green's idle connection is closed", || green.open() == 0).await;
    // Blue keeps its own: nothing changed for it.
    client.post("/v1/databases", "{}").await;
    assert_eq!(blue.accepted(), 1);
    // Still reached by header, and then without a connection for each request.
    for _ in 0..3 {
        let answer = client.send(with_header(request(Method::GET, "/health", ""), "canary", "green")).await;
        assert_eq!(answer.text(), "green");
    }
    assert_eq!(green.accepted(), 2);
}

#[tokio::test]
async fn a_request_in_progress_finishes_while_its_colour_is_drained() {
    let release = Arc::new(Notify::new());
    let waiting = release.clone();
    let green = Node::start(move |_| {
        let release = waiting.clone();
        async move {
            release.notified().await;
            text(StatusCode::OK, "green")
        }
    })
    .await;
    let blue = Node::named("blue").await;
    let mut table = routing(blue.address, green.address).with_share(Colour::Green, 100);
    let gateway = start(table.clone()).await;
    let mut client = Client::open(gateway.address()).await;
    let read = tokio::spawn(async move { client.get("/v1/databases").await });
    eventually("it is in flight", || gateway.in_flight(Colour::Green) == 1 && green.seen() == 1).await;
    table.reads = ByColour::new(100, 0);
    gateway.set_routing(table);
    assert_eq!(once(&gateway, request(Method::GET, "/health", "")).await.text(), "blue");
    assert_eq!(gateway.in_flight(Colour::Green), 1);
    release.notify_one();
    assert_eq!(read.await.unwrap().text(), "green");
    eventually("its connection is not kept", || green.open() == 0 && gateway.in_flight(Colour::Green) == 0).await;
}

#[tokio::test]
async fn idle_connections_are_dropped_by_age_and_when_closed() {
    let (blue, green) = (Node::named("blue").await, Node::named("green").await);
    let limits = gateway::Limits { idle_upstream_ms: 50, ..Default::default() };
    let gateway = start_with(routing(blue.address, green.address), limits).await;
    let mut client = Client::open(gateway.address()).await;
    client.get("/health").await;
    assert_eq!(blue.open(), 1);
    eventually("the idle connection is closed", || blue.open() == 0).await;
    assert_eq!(client.get("/health").await.text(), "blue");
}

#[tokio::test]
async fn a_client_that_leaves_ends_its_request() {
    let node = Node::start(|_| std::future::pending()).await;
    let gateway = start(Routing::only(Colour::Blue, node.address)).await;
    let mut stream = TcpStream::connect(gateway.address()).await.unwrap();
    stream.write_all(b"GET /health HTTP/1.1\r\nhost: d\r\n\r\n").await.unwrap();
    eventually("the node works on it", || node.seen() == 1).await;
    drop(stream);
    eventually("the node's connection is closed", || node.open() == 0).await;
    assert_eq!(gateway.in_flight(Colour::Blue), 0);
    assert_eq!(gateway.metrics().blue.reads, 0);
}

#[tokio::test]
async fn pipelined_requests_are_answered_in_order() {
    let node = Node::start(|seen| async move { text(StatusCode::OK, seen.uri.path().to_string()) }).await;
    let gateway = start(Routing::only(Colour::Blue, node.address)).await;
    let mut bytes = String::new();
    for number in 0..20 {
        bytes.push_str(&format!("GET /request-{number}- HTTP/1.1\r\nhost: d\r\n\r\n"));
    }
    bytes.push_str("GET /last HTTP/1.1\r\nhost: d\r\nconnection: close\r\n\r\n");
    let answers = raw(gateway.address(), bytes.as_bytes()).await;
    let places: Vec<_> = (0..20).map(|number| answers.find(&format!("/request-{number}-")).unwrap()).collect();
    assert!(places.is_sorted() && answers.ends_with("/last"), "{answers}");
}

#[tokio::test]
async fn shutdown_finishes_requests_and_frees_the_port() {
    let release = Arc::new(Notify::new());
    let waiting = release.clone();
    let node = Node::start(move |seen| {
        let release = waiting.clone();
        async move {
            if seen.uri.path() == "/slow" {
                release.notified().await;
            }
            text(StatusCode::OK, "done")
        }
    })
    .await;
    let gateway = Arc::new(start(Routing::only(Colour::Blue, node.address)).await);
    let mut idle = Client::open(gateway.address()).await;
    idle.get("/").await;
    let mut busy = Client::open(gateway.address()).await;
    let slow = tokio::spawn(async move { busy.get("/slow").await });
    eventually("the slow one is at the node", || node.seen() == 2).await;
    let stopping = tokio::spawn({
        let gateway = gateway.clone();
        async move { gateway.shutdown(LONG).await }
    });
    eventually("the idle client is closed", || gateway.connections() == 1).await;
    assert!(TcpStream::connect(gateway.address()).await.is_err());
    assert!(!stopping.is_finished());
    release.notify_one();
    let answer = slow.await.unwrap();
    assert_eq!((answer.text(), &answer.headers["connection"]), ("done", &"close".parse().unwrap()));
    stopping.await.unwrap();
    eventually("the node is left", || node.open() == 0).await;
    start_again(gateway.address()).await;
}

async fn start_again(address: std::net::SocketAddr) {
    gateway::Gateway::start(gateway::GatewayOptions::new(address)).await.expect("the port is free");
}

#[tokio::test]
async fn shutdown_does_not_wait_longer_than_its_grace() {
    let node = Node::start(|_| std::future::pending()).await;
    let gateway = start(Routing::only(Colour::Blue, node.address)).await;
    let mut client = Client::open(gateway.address()).await;
    let slow = tokio::spawn(async move { client.try_send(request(Method::GET, "/", "")).await });
    eventually("it is at the node", || node.seen() == 1).await;
    tokio::time::timeout(LONG, gateway.shutdown(Duration::from_millis(20))).await.unwrap();
    assert!(slow.await.unwrap().is_err());
    assert_eq!(gateway.connections(), 0);
}
