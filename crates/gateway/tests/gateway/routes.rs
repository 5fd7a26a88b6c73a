//! Where requests go, and what their heads look like on both sides.

use crate::support::*;
use gateway::Routing;
use http::{Method, StatusCode};
use wire::{ByColour, Colour};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn reads_are_shared_by_an_independent_coin() {
    let (blue, green) = (Node::named("blue").await, Node::named("green").await);
    let gateway = start(routing(blue.address, green.address).with_share(Colour::Green, 10)).await;
    let mut clients = Vec::new();
    for _ in 0..4 {
        let address = gateway.address();
        clients.push(tokio::spawn(async move {
            let mut client = Client::open(address).await;
            let mut greens = Vec::new();
            for number in 0..1_250 {
                let answer = match number % 2 {
                    0 => client.get("/v1/databases").await,
                    _ => client.post("/v1/databases/d/search", "{}").await,
                };
                assert_eq!((answer.status, answer.colour()), (StatusCode::OK, answer.text()));
                greens.push(answer.text() == "green");
            }
            greens
        }));
    }
    let mut greens = 0;
    let mut pairs = 0;
    for client in clients {
        let line = client.await.unwrap();
        greens += line.iter().filter(|&&green| green).count();
        pairs += line.windows(2).filter(|pair| pair[0] && pair[1]).count();
    }
    // Four standard deviations: 5,000 x 0.1 = 500, sigma = sqrt(5,000 x 0.1 x 0.9) = 21.
    assert!((415..=585).contains(&greens), "{greens} of 5,000 reads at 10 %");
    // Independent: about 5,000 x 0.01 = 50 neighbours on one connection are both green; none if shares went by turns.
    assert!((18..=100).contains(&pairs), "{pairs} pairs");

    let metrics = gateway.metrics();
    assert_eq!((metrics.green.reads as usize, metrics.blue.reads as usize), (greens, 5_000 - greens));
    assert_eq!(metrics.green.read_latency.count(), metrics.green.reads);
    assert_eq!(green.seen(), greens);
}

#[tokio::test]
async fn a_header_picks_the_environment() {
    let (blue, green) = (Node::named("blue").await, Node::named("green").await);
    let gateway = start(routing(blue.address, green.address)).await;
    let mut client = Client::open(gateway.address()).await;
    for _ in 0..20 {
        let read = with_header(request(Method::GET, "/v1/databases", ""), "canary", "green");
        assert_eq!(client.send(read).await.colour(), "green");
        let write = with_header(request(Method::POST, "/v1/databases", "{}"), "canary", "green");
        assert_eq!(client.send(write).await.text(), "green");
        let back = with_header(request(Method::GET, "/v1/databases", ""), "canary", "blue");
        assert_eq!(client.send(back).await.text(), "blue");
    }
    assert_eq!(gateway.metrics().green.writes, 20);
}

#[tokio::test]
async fn another_header_value_is_a_400_that_names_it() {
    let blue = Node::named("blue").await;
    let gateway = start(Routing::only(Colour::Blue, blue.address)).await;
    let mut client = Client::open(gateway.address()).await;
    let answer = client.send(with_header(request(Method::GET, "/health", ""), "canary", "pur\"ple")).await;
    assert_eq!(answer.status, StatusCode::BAD_REQUEST);
    assert!(answer.error().starts_with("header canary: `pur\"ple` is not an environment"), "{}", answer.error());
    assert_eq!(blue.seen(), 0);
    // The connection goes on, and a colour without backend is named.
    let answer = client.send(with_header(request(Method::GET, "/health", ""), "canary", "green")).await;
    assert_eq!(answer.status, StatusCode::SERVICE_UNAVAILABLE);
    assert!(answer.error().contains("the green environment has no backend"), "{}", answer.error());
    assert_eq!(client.get("/health").await.text(), "blue");
}

#[tokio::test]
async fn writes_go_to_the_primary_whatever_the_shares_are() {
    let (blue, green) = (Node::named("blue").await, Node::named("green").await);
    let mut table = routing(blue.address, green.address).with_share(Colour::Green, 100);
    let gateway = start(table.clone()).await;
    let mut client = Client::open(gateway.address()).await;
    for method in [Method::POST, Method::PUT, Method::DELETE, Method::PATCH] {
        assert_eq!(client.send(request(method, "/v1/databases/d/vectors/1", "{}")).await.text(), "blue");
    }
    assert_eq!(client.get("/v1/databases").await.text(), "green");
    table.primary = Some(Colour::Green);
    table.generation = 7;
    gateway.set_routing(table.clone());
    assert_eq!(client.post("/v1/databases/d/vectors", "{}").await.text(), "green");
    assert_eq!(gateway.routing(), table);
    let metrics = gateway.metrics();
    assert_eq!((metrics.blue.writes, metrics.green.writes, metrics.green.reads), (4, 1, 1));
    assert!(gateway.prometheus_text().contains("jadeshift_gateway_routing_generation 7"));
}

#[tokio::test]
async fn no_backend_at_all_is_a_503_that_says_so() {
    let limits = gateway::Limits { write_wait_ms: 20, ..Default::default() };
    let gateway = start_with(Routing::default(), limits).await;
    let read = once(&gateway, request(Method::GET, "/health", "")).await;
    assert_eq!((read.status, read.headers["retry-after"].to_str().unwrap()), (StatusCode::SERVICE_UNAVAILABLE, "1"));
    assert!(read.error().contains("no environment has a backend"));
    let write = once(&gateway, request(Method::POST, "/v1/databases", "{}")).await;
    assert_eq!(write.status, StatusCode::SERVICE_UNAVAILABLE);
    assert!(write.error().contains("there is no primary"), "{}", write.error());
    let health = once(&gateway, request(Method::GET, "/__jadeshift/health", "")).await;
    assert_eq!((health.status, health.text()), (StatusCode::OK, r#"{"generation":0,"status":"ok"}"#));
}

/// Each routing sends reads and writes to one colour; an answer must never mix two of them.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_request_sees_the_old_or_the_new_routing() {
    let (blue, green) = (Node::named("blue").await, Node::named("green").await);
    let one = Routing::only(Colour::Blue, blue.address);
    let two = Routing::only(Colour::Green, green.address);
    let gateway = std::sync::Arc::new(start(one.clone()).await);
    let swapping = tokio::spawn({
        let gateway = gateway.clone();
        async move {
            for number in 0..2_000 {
                gateway.set_routing(if number % 2 == 0 { two.clone() } else { one.clone() });
                tokio::task::yield_now().await;
            }
        }
    });
    let mut client = Client::open(gateway.address()).await;
    let mut requests = 0;
    while !swapping.is_finished() || requests < 200 {
        let answer = match requests % 2 {
            0 => client.get("/v1/databases").await,
            _ => client.post("/v1/databases", "{}").await,
        };
        assert_eq!((answer.status, answer.colour()), (StatusCode::OK, answer.text()));
        requests += 1;
    }
    swapping.await.unwrap();
}

#[tokio::test]
async fn heads_pass_unchanged_but_for_the_connections_own_fields() {
    let node = Node::start(|_| async {
        let mut response = text(StatusCode::CREATED, "made");
        response.headers_mut().insert("connection", "x-own, keep-alive".parse().unwrap());
        response.headers_mut().insert("x-own", "1".parse().unwrap());
        response.headers_mut().insert("keep-alive", "timeout=5".parse().unwrap());
        response.headers_mut().insert("jadevectordb-lsn", "17".parse().unwrap());
        response
    })
    .await;
    let gateway = start(Routing::only(Colour::Blue, node.address)).await;
    let mut sent = request(Method::PUT, "/v1/databases/a%2Fb%20c/vectors/%C3%A4?x=%26&y=a+b", "12345");
    for (name, value) in [
        ("authorization", "Bearer t"),
        ("connection", "x-mine"),
        ("x-mine", "1"),
        ("te", "trailers"),
        ("x-forwarded-for", "10.1.1.1"),
        ("idempotency-key", "k"),
    ] {
        sent = with_header(sent, name, value);
    }
    let answer = once(&gateway, sent).await;
    assert_eq!((answer.status, answer.text()), (StatusCode::CREATED, "made"));
    assert_eq!(answer.headers["jadevectordb-lsn"], "17");
    assert!(!answer.headers.contains_key("x-own") && !answer.headers.contains_key("keep-alive"));

    let seen = node.last();
    assert_eq!(seen.method, Method::PUT);
    assert_eq!(seen.uri.to_string(), "/v1/databases/a%2Fb%20c/vectors/%C3%A4?x=%26&y=a+b");
    assert_eq!(seen.body_bytes, 5);
    let get = |name: &str| seen.headers.get(name).map(|value| value.to_str().unwrap().to_string());
    assert_eq!(get("host").as_deref(), Some("database.example"));
    assert_eq!(get("authorization").as_deref(), Some("Bearer t"));
    assert_eq!(get("idempotency-key").as_deref(), Some("k"));
    assert_eq!(get("x-forwarded-for").as_deref(), Some("10.1.1.1, 127.0.0.1"));
    assert_eq!((get("connection"), get("te"), get("x-mine")), (None, None, None));
}

#[tokio::test]
async fn an_old_client_is_answered_in_its_own_version() {
    let node = Node::named("blue").await;
    let gateway = start(Routing::only(Colour::Blue, node.address)).await;
    let answer = raw(gateway.address(), b"GET /health HTTP/1.0\r\n\r\n").await;
    assert!(answer.starts_with("HTTP/1.0 200 OK\r\n") && answer.ends_with("\r\n\r\nblue"), "{answer}");
    let answer = raw(gateway.address(), b"CONNECT a:1 HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n").await;
    assert!(answer.starts_with("HTTP/1.1 405"), "{answer}");
}

#[tokio::test]
async fn shares_are_weights_of_the_colours_that_are_there() {
    let green = Node::named("green").await;
    let mut table = Routing::only(Colour::Green, green.address);
    table.reads = ByColour::new(100, 0);
    let gateway = start(table).await;
    assert_eq!(once(&gateway, request(Method::GET, "/health", "")).await.text(), "green");
}
