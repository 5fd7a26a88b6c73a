//! Writes that wait while the right to write moves.

use crate::support::*;
use gateway::{Limits, Routing};
use http::{Method, StatusCode};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use wire::Colour;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn handing_the_primary_over_under_load_fails_no_write() {
    let (blue, green) = (Node::named("blue").await, Node::named("green").await);
    let gateway = start(routing(blue.address, green.address)).await;
    let (stop, acknowledged) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)));
    let writer = |_| {
        let (address, stop, acknowledged) = (gateway.address(), stop.clone(), acknowledged.clone());
        tokio::spawn(async move {
            let mut client = Client::open(address).await;
            while !stop.load(Ordering::SeqCst) {
                let answer = client.post("/v1/databases/d/vectors", "{\"id\":\"1\"}").await;
                assert_eq!(answer.status, StatusCode::OK, "{}", answer.text());
                acknowledged.fetch_add(1, Ordering::SeqCst);
            }
        })
    };
    let writers: Vec<_> = (0..8).map(writer).collect();
    let mut primary = Colour::Blue;
    for _ in 0..10 {
        let before = acknowledged.load(Ordering::SeqCst);
        eventually("writes go on", || acknowledged.load(Ordering::SeqCst) > before + 50).await;
        let mut table = gateway.routing();
        table.hold_writes = true;
        gateway.set_routing(table.clone());
        eventually("all writers wait", || gateway.held_writes() == 8).await;
        let (at_blue, at_green) = (blue.seen(), green.seen());
        // Reads go on meanwhile.
        assert_eq!(once(&gateway, request(Method::GET, "/health", "")).await.status, StatusCode::OK);
        assert_eq!((blue.seen(), green.seen()), (at_blue + 1, at_green));
        primary = primary.other();
        table.primary = Some(primary);
        table.hold_writes = false;
        gateway.set_routing(table);
    }
    stop.store(true, Ordering::SeqCst);
    for writer in writers {
        writer.await.unwrap();
    }
    let metrics = gateway.metrics();
    assert_eq!((metrics.blue.write_errors, metrics.green.write_errors), (0, 0));
    assert_eq!(metrics.blue.writes + metrics.green.writes, acknowledged.load(Ordering::SeqCst) as u64);
    assert!(metrics.green.writes > 200 && gateway.held_writes() == 0);
}

#[tokio::test]
async fn a_hold_has_an_end_and_a_size() {
    let blue = Node::named("blue").await;
    let mut table = Routing::only(Colour::Blue, blue.address);
    table.hold_writes = true;
    let limits = Limits { hold_ms_max: 200, held_writes_max: 2, ..Limits::default() };
    let gateway = start_with(table.clone(), limits).await;
    let held = |_| {
        let address = gateway.address();
        tokio::spawn(async move { Client::open(address).await.post("/v1/databases", "{}").await })
    };
    let waiting: Vec<_> = (0..2).map(held).collect();
    eventually("two writes wait", || gateway.held_writes() == 2).await;
    let third = once(&gateway, request(Method::POST, "/v1/databases", "{}")).await;
    assert_eq!((third.status, &third.headers["retry-after"]), (StatusCode::SERVICE_UNAVAILABLE, &"1".parse().unwrap()));
    assert!(third.error().contains("2 writes wait already (limit 2)"), "{}", third.error());
    for write in waiting {
        let answer = write.await.unwrap();
        assert_eq!(answer.status, StatusCode::SERVICE_UNAVAILABLE);
        assert!(answer.error().contains("longer than a write is held (200 ms)"), "{}", answer.error());
    }
    assert_eq!((gateway.held_writes(), blue.seen()), (0, 0));
    table.hold_writes = false;
    gateway.set_routing(table);
    assert_eq!(once(&gateway, request(Method::POST, "/v1/databases", "{}")).await.text(), "blue");
}

#[tokio::test]
async fn a_held_write_of_a_client_that_left_is_forgotten() {
    let blue = Node::named("blue").await;
    let mut table = Routing::only(Colour::Blue, blue.address);
    table.hold_writes = true;
    let gateway = start(table.clone()).await;
    let address = gateway.address();
    let write = tokio::spawn(async move { Client::open(address).await.post("/v1/databases", "{}").await });
    eventually("the write waits", || gateway.held_writes() == 1).await;
    write.abort();
    eventually("it is forgotten", || gateway.held_writes() == 0 && gateway.connections() == 0).await;
    table.hold_writes = false;
    gateway.set_routing(table);
    assert_eq!(once(&gateway, request(Method::POST, "/v1/databases", "{}")).await.text(), "blue");
    assert_eq!(blue.seen(), 1);
}
