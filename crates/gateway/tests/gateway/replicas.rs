//! Colours of several nodes.

use crate::support::*;
use gateway::Routing;
use http::{Method, StatusCode};
use wire::ByColour;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn reads_are_spread_and_writes_go_to_the_head() {
    let (head, other, green) = (Node::named("head").await, Node::named("other").await, Node::named("green").await);
    let others = ByColour::new(vec![other.address], Vec::new());
    let gateway = start(Routing { others, ..routing(head.address, green.address) }).await;
    let mut client = Client::open(gateway.address()).await;
    for _ in 0..100 {
        let answer = client.get("/v1/databases").await;
        assert_eq!((answer.status, answer.colour()), (StatusCode::OK, "blue"));
    }
    assert!(head.seen() > 10 && other.seen() > 10, "{} and {}", head.seen(), other.seen());
    assert_eq!(head.seen() + other.seen(), 100);
    let before = other.seen();
    for _ in 0..20 {
        assert_eq!(client.post("/v1/databases", "{}").await.text(), "head");
    }
    assert_eq!((other.seen(), green.seen()), (before, 0));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_that_is_gone_is_stood_in_for_by_its_own_colour_and_left_out() {
    let (head, other, green) = (Node::named("head").await, Node::named("other").await, Node::named("green").await);
    let others = ByColour::new(vec![other.address], Vec::new());
    let gateway = start(Routing { others, ..routing(head.address, green.address) }).await;
    other.kill().await;
    let mut client = Client::open(gateway.address()).await;
    for number in 0..100 {
        // Also where the header leaves no other colour.
        let read = request(Method::GET, "/v1/databases", "");
        let read = if number % 2 == 0 { with_header(read, "canary", "blue") } else { read };
        assert_eq!(client.send(read).await.text(), "head");
    }
    assert_eq!((head.seen(), green.seen()), (100, 0));
    let failed = gateway.metrics().blue.read_errors;
    assert!((1..20).contains(&failed), "it was counted, and not asked every other time: {failed}");
}
