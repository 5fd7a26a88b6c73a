//! Every bound on sizes, numbers and times of the client side.

use crate::support::*;
use gateway::{Gateway, GatewayOptions, Limits, Routing, StartError};
use http::{Method, StatusCode};
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use wire::Colour;

async fn limited(limits: Limits) -> (Node, Gateway) {
    let node = Node::named("blue").await;
    let gateway = start_with(Routing::only(Colour::Blue, node.address), limits).await;
    (node, gateway)
}

fn with_fields(count: usize, value: &str) -> Vec<u8> {
    let fields: String = (0..count).map(|number| format!("x-{number}: {value}\r\n")).collect();
    format!("GET /health HTTP/1.1\r\nhost: d\r\nconnection: close\r\n{fields}\r\n").into_bytes()
}

#[tokio::test]
async fn too_many_or_too_large_header_fields_are_a_431() {
    for limits in [Limits::default(), Limits { header_fields_max: 50, ..Limits::default() }] {
        let most = limits.header_fields_max;
        let (node, gateway) = limited(limits).await;
        let address = gateway.address();
        assert!(raw(address, &with_fields(most - 2, "v")).await.starts_with("HTTP/1.1 200"));
        assert!(raw(address, &with_fields(most, "v")).await.starts_with("HTTP/1.1 431"));
        assert!(raw(address, &with_fields(8, &"v".repeat(3_500))).await.starts_with("HTTP/1.1 200"));
        assert!(raw(address, &with_fields(8, &"v".repeat(5_000))).await.starts_with("HTTP/1.1 431"));
        // The node saw only the good ones.
        assert_eq!(node.seen(), 2);
    }
}

#[tokio::test]
async fn nonsense_is_a_400_and_reaches_no_node() {
    let (node, gateway) = limited(Limits::default()).await;
    for nonsense in ["GET /\x01 HTTP/1.1\r\n\r\n", "hello\r\n\r\n", "GET / HTTP/1.1\r\nhost d\r\n\r\n"] {
        let answer = raw(gateway.address(), nonsense.as_bytes()).await;
        assert!(answer.starts_with("HTTP/1.1 400"), "{nonsense:?} -> {answer}");
    }
    // Both framings at once is how requests are smuggled past a gateway: only the chunked body counts, and the
    // connection ends.
    let both = "POST /v1/databases HTTP/1.1\r\nhost: d\r\ncontent-length: 40\r\ntransfer-encoding: chunked\r\n\r\n\
                3\r\nabc\r\n0\r\n\r\nGET /smuggled HTTP/1.1\r\nhost: d\r\n\r\n";
    let answer = raw(gateway.address(), both.as_bytes()).await;
    assert_eq!(answer.matches("HTTP/1.1").count(), 1, "{answer}");
    assert_eq!((node.seen(), node.last().body_bytes), (1, 3));
    assert!(node.last().headers.get("content-length").is_none());
}

#[tokio::test]
async fn slow_heads_are_cut() {
    let (node, gateway) = limited(Limits { header_ms: 100, ..Limits::default() }).await;
    // One client sends nothing, one a byte at a time: arriving bytes do not buy time.
    let silent = TcpStream::connect(gateway.address()).await.unwrap();
    let mut dripping = TcpStream::connect(gateway.address()).await.unwrap();
    let drip = async {
        let begin = b"GET /health HTTP/1.1\r\nhost: d\r\n";
        if dripping.write_all(begin).await.is_err() {
            return;
        }
        loop {
            tokio::time::sleep(std::time::Duration::from_millis(5)).await;
            if dripping.write_all(b"x: y\r\n").await.is_err() {
                return;
            }
        }
    };
    tokio::time::timeout(LONG, drip).await.expect("the dripping client is cut");
    assert_eq!(read_to_end(silent).await, "");
    eventually("both are gone", || gateway.connections() == 0).await;
    assert_eq!(node.seen(), 0);
}

#[tokio::test]
async fn a_resting_connection_is_closed_after_its_time() {
    let (_node, gateway) = limited(Limits { keep_alive_ms: 100, ..Limits::default() }).await;
    let mut stream = TcpStream::connect(gateway.address()).await.unwrap();
    stream.write_all(b"GET /health HTTP/1.1\r\nhost: d\r\n\r\n").await.unwrap();
    let answer = read_to_end(stream).await;
    assert!(answer.starts_with("HTTP/1.1 200 OK") && answer.ends_with("blue"), "{answer}");
}

#[tokio::test]
async fn a_body_that_stops_arriving_is_a_408() {
    let (_node, gateway) = limited(Limits { response_head_ms: 100, ..Limits::default() }).await;
    for path in ["/v1/databases/d/search", "/v1/databases/d/vectors"] {
        let head = format!("POST {path} HTTP/1.1\r\nhost: d\r\ncontent-length: 100\r\n\r\nbegin");
        let answer = raw(gateway.address(), head.as_bytes()).await;
        assert!(answer.starts_with("HTTP/1.1 408") && answer.contains("nothing for 100 ms"), "{answer}");
    }
    let metrics = gateway.metrics().blue;
    assert_eq!((metrics.read_errors, metrics.write_errors), (0, 0));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_that_does_not_take_its_answer_is_cut() {
    let node = Node::start(|_| async { text(StatusCode::OK, vec![b'z'; 40 * 1024 * 1024]) }).await;
    let limits = Limits { stall_ms: 200, ..Limits::default() };
    let gateway = start_with(Routing::only(Colour::Blue, node.address), limits).await;
    let mut stream = TcpStream::connect(gateway.address()).await.unwrap();
    stream.write_all(b"GET /health HTTP/1.1\r\nhost: d\r\n\r\n").await.unwrap();
    eventually("the answer has begun", || gateway.metrics().blue.reads == 1).await;
    eventually("the client is cut", || gateway.connections() == 0).await;
    assert_eq!(gateway.in_flight(Colour::Blue), 0);
    eventually("the node's side is closed, too", || node.open() == 0).await;
}

#[tokio::test]
async fn connections_over_the_limit_are_told_so_and_closed() {
    let (_node, gateway) = limited(Limits { connections_max: 2, ..Limits::default() }).await;
    let mut clients = Vec::new();
    for _ in 0..2 {
        let mut client = Client::open(gateway.address()).await;
        assert_eq!(client.get("/health").await.status, StatusCode::OK);
        clients.push(client);
    }
    let refused = Client::open(gateway.address()).await.get("/health").await;
    assert_eq!(refused.status, StatusCode::SERVICE_UNAVAILABLE);
    assert!(refused.error().contains("limit connections_max"));
    assert!(gateway.prometheus_text().contains("jadeshift_gateway_connections_refused_total 1\n"));
    drop(clients.pop());
    eventually("one place is free", || gateway.connections() == 1).await;
    assert_eq!(once(&gateway, request(Method::GET, "/health", "")).await.status, StatusCode::OK);
}

#[tokio::test]
async fn an_address_in_use_is_named() {
    let (_node, gateway) = limited(Limits::default()).await;
    let error = Gateway::start(GatewayOptions::new(gateway.address())).await.unwrap_err();
    assert!(matches!(error, StartError::AddressInUse { address } if address == gateway.address()));
    let address = gateway.address();
    assert!(error.to_string().starts_with(&format!("the gateway cannot listen on {address}: it is in use")));
    let foreign = Gateway::start(GatewayOptions::new("192.0.2.1:80".parse().unwrap())).await.unwrap_err();
    assert!(foreign.to_string().contains("192.0.2.1:80"), "{foreign}");
}

#[tokio::test]
async fn an_unusable_limit_is_refused_at_the_start() {
    let mut options = GatewayOptions::new("127.0.0.1:0".parse().unwrap());
    options.limits.connections_max = 0;
    let error = Gateway::start(options).await.unwrap_err().to_string();
    assert_eq!(error, "limit connections_max: 0 is out of range: it must be 1 to 1000000");
}
