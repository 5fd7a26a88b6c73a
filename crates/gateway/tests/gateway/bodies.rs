//! Bodies of every shape, in both directions.

use crate::support::*;
use bytes::Bytes;
use gateway::{Limits, Routing};
use http::{Method, Request, StatusCode};
use http_body::Frame;
use http_body_util::BodyExt;
use std::hash::{DefaultHasher, Hasher};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use wire::Colour;

/// A body of `left` bytes in pieces of 64 KiB, of unknown length, counting what was taken from it.
struct Pieces {
    left: usize,
    taken: Arc<AtomicUsize>,
}

impl Pieces {
    fn body(bytes: usize) -> Body {
        let pieces = Pieces { left: bytes, taken: Arc::default() };
        BodyExt::map_err(pieces, |never| match never {}).boxed()
    }
}

fn piece(at: usize, size: usize) -> Bytes {
    (at..at + size).map(|place| (place.wrapping_mul(31) >> 3) as u8).collect()
}

impl http_body::Body for Pieces {
    type Data = Bytes;
    type Error = std::convert::Infallible;

    fn poll_frame(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        let body = self.get_mut();
        let size = body.left.min(64 * 1024);
        if size == 0 {
            return Poll::Ready(None);
        }
        let data = piece(body.left, size);
        body.left -= size;
        body.taken.fetch_add(size, Ordering::SeqCst);
        Poll::Ready(Some(Ok(Frame::data(data))))
    }
}

/// A body whose pieces come through a channel.
struct Received(tokio::sync::mpsc::Receiver<Bytes>);

impl http_body::Body for Received {
    type Data = Bytes;
    type Error = std::convert::Infallible;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        self.get_mut().0.poll_recv(cx).map(|data| data.map(|data| Ok(Frame::data(data))))
    }
}

async fn fingerprint<B: http_body::Body<Data = Bytes> + Unpin>(mut body: B) -> Option<(usize, u64)> {
    let (mut bytes, mut hash) = (0, DefaultHasher::new());
    while let Some(frame) = body.frame().await {
        let data = frame.ok()?.into_data().ok()?;
        bytes += data.len();
        data.iter().for_each(|&byte| hash.write_u8(byte));
    }
    Some((bytes, hash.finish()))
}

const BIG: usize = 30 * 1024 * 1024;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn big_bodies_pass_intact_in_both_directions() {
    let node = Node::streaming(|_, request: Request<hyper::body::Incoming>| async move {
        match *request.method() {
            Method::GET => http::Response::new(Pieces::body(BIG)),
            _ => {
                let print = fingerprint(request.into_body()).await;
                text(StatusCode::OK, format!("{print:?}"))
            }
        }
    })
    .await;
    let gateway = start(Routing::only(Colour::Blue, node.address)).await;
    let expected = fingerprint(Pieces::body(BIG)).await;
    let mut client = Client::open(gateway.address()).await;
    // Up, of unknown length (a write, and a read that is too large to be kept).
    for path in ["/v1/databases/d/vectors/batch", "/v1/databases/d/search"] {
        let mut message = request(Method::POST, path, "");
        *message.body_mut() = Pieces::body(BIG);
        assert_eq!(client.send(message).await.text(), format!("{expected:?}"));
    }
    // Up, with a length.
    let whole = Pieces::body(BIG).collect().await.unwrap().to_bytes();
    assert_eq!(client.post("/v1/databases/d/vectors/batch", whole).await.text(), format!("{expected:?}"));
    // Down.
    let answer = client.get("/v1/databases/d/vectors").await;
    assert_eq!(fingerprint(full(answer.body)).await, expected);
}

/// The gateway must not take more from a client than the backend takes from it: what it buffers is not more than what
/// the sockets' own buffers hold.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_backend_that_does_not_read_stops_the_client() {
    let node = Node::sockets(|_, stream| async move {
        std::future::pending::<()>().await;
        drop(stream);
    })
    .await;
    let gateway = start(Routing::only(Colour::Blue, node.address)).await;
    let taken = Arc::new(AtomicUsize::new(0));
    let pieces = Pieces { left: 60 * 1024 * 1024, taken: taken.clone() };
    let mut message = request(Method::POST, "/v1/databases/d/vectors/batch", "");
    *message.body_mut() = BodyExt::map_err(pieces, |never| match never {}).boxed();
    let address = gateway.address();
    let sending = tokio::spawn(async move { Client::open(address).await.try_send(message).await });
    // Ends when nothing was taken for half a second, or when everything was.
    let mut before = 0;
    loop {
        tokio::time::sleep(Duration::from_millis(500)).await;
        let now = taken.load(Ordering::SeqCst);
        if now > 0 && now == before {
            break;
        }
        before = now;
    }
    assert!(before < 40 * 1024 * 1024, "{before} bytes were taken though nobody reads them");
    sending.abort();
}

#[tokio::test]
async fn an_announced_body_over_the_limit_is_a_413_that_names_it() {
    let node = Node::named("blue").await;
    let limits = Limits { body_bytes_max: 100_000, ..Limits::default() };
    let gateway = start_with(Routing::only(Colour::Blue, node.address), limits).await;
    for path in ["/v1/databases/d/vectors/batch", "/v1/databases/d/search"] {
        let mut client = Client::open(gateway.address()).await;
        assert_eq!(client.post(path, vec![b'x'; 100_000]).await.status, StatusCode::OK);
        let answer = client.post(path, vec![b'x'; 3_000_000]).await;
        assert_eq!(answer.status, StatusCode::PAYLOAD_TOO_LARGE);
        assert!(answer.error().contains("3000000 bytes"), "{}", answer.error());
        assert!(answer.error().contains("body_bytes_max is 100000 bytes"), "{}", answer.error());
    }
    assert_eq!(node.seen(), 2);
}

#[tokio::test]
async fn a_client_that_sends_all_before_it_reads_meets_no_reset() {
    let node = Node::named("blue").await;
    let limits = Limits { body_bytes_max: 100_000, ..Limits::default() };
    let gateway = start_with(Routing::only(Colour::Blue, node.address), limits).await;
    let size = 20_000_000;
    let chunk = format!("{size:x}\r\n{}\r\n0\r\n\r\n", "x".repeat(size));
    for (framing, body) in
        [(format!("content-length: {size}"), "x".repeat(size)), ("transfer-encoding: chunked".into(), chunk)]
    {
        let mut stream = TcpStream::connect(gateway.address()).await.unwrap();
        let head = format!("POST /v1/databases HTTP/1.1\r\nhost: d\r\n{framing}\r\n\r\n");
        stream.write_all(head.as_bytes()).await.unwrap();
        stream.write_all(body.as_bytes()).await.expect("the gateway takes the rest");
        let answer = read_to_end(stream).await;
        assert!(answer.starts_with("HTTP/1.1 413") && answer.contains("connection: close"), "{answer}");
    }
}

#[tokio::test]
async fn a_chunked_body_over_the_limit_is_cut_and_a_413() {
    let node = Node::named("blue").await;
    let limits = Limits { body_bytes_max: 100_000, ..Limits::default() };
    let gateway = start_with(Routing::only(Colour::Blue, node.address), limits).await;
    let mut client = Client::open(gateway.address()).await;
    let chunked = |bytes| {
        let mut message = request(Method::POST, "/v1/databases/d/vectors/batch", "");
        *message.body_mut() = Pieces::body(bytes);
        message
    };
    assert_eq!(client.send(chunked(100_000)).await.status, StatusCode::OK);
    let answer = client.send(chunked(3_000_000)).await;
    assert_eq!(answer.status, StatusCode::PAYLOAD_TOO_LARGE);
    assert!(answer.error().contains("body_bytes_max is 100000 bytes"), "{}", answer.error());
    // The node never had a whole body, and the client's fault is not the colour's.
    assert_eq!((node.seen(), gateway.metrics().blue.write_errors), (1, 0));
}

#[tokio::test]
async fn expect_continue_is_answered_by_the_gateway() {
    let node = Node::named("blue").await;
    let limits = Limits { body_bytes_max: 10, ..Limits::default() };
    let gateway = start_with(Routing::only(Colour::Blue, node.address), limits).await;
    let head = |length| {
        format!(
            "POST /v1/databases HTTP/1.1\r\nhost: d\r\nexpect: 100-continue\r\ncontent-length: {length}\r\n\
             connection: close\r\n\r\n"
        )
    };
    let mut stream = TcpStream::connect(gateway.address()).await.unwrap();
    stream.write_all(head(5).as_bytes()).await.unwrap();
    let mut interim = [0u8; 25];
    tokio::time::timeout(LONG, stream.read_exact(&mut interim)).await.unwrap().unwrap();
    assert_eq!(&interim, b"HTTP/1.1 100 Continue\r\n\r\n");
    stream.write_all(b"12345").await.unwrap();
    let answer = read_to_end(stream).await;
    assert!(answer.starts_with("HTTP/1.1 200 OK") && answer.ends_with("blue"), "{answer}");
    assert_eq!((node.last().body_bytes, node.last().headers.get("expect")), (5, None));
    // Refused without having been asked for the body.
    let answer = raw(gateway.address(), head(5_000).as_bytes()).await;
    assert!(answer.starts_with("HTTP/1.1 413") && answer.contains("content-length: "), "{answer}");
}

#[tokio::test]
async fn answers_without_a_body_keep_their_heads_and_the_connection() {
    let node = Node::start(|seen| async move {
        let mut response = match seen.uri.path() {
            "/204" => text(StatusCode::NO_CONTENT, ""),
            "/304" => text(StatusCode::NOT_MODIFIED, ""),
            "/empty" => text(StatusCode::OK, ""),
            _ => text(StatusCode::OK, "twelve bytes"),
        };
        response.headers_mut().insert("etag", "\"7\"".parse().unwrap());
        response
    })
    .await;
    let gateway = start(Routing::only(Colour::Blue, node.address)).await;
    let mut client = Client::open(gateway.address()).await;
    for _ in 0..3 {
        let answer = client.send(request(Method::HEAD, "/health", "")).await;
        assert_eq!((answer.status, answer.body.len()), (StatusCode::OK, 0));
        assert_eq!(answer.headers["content-length"], "12");
        for (path, status) in [("/204", 204), ("/304", 304), ("/empty", 200)] {
            let answer = client.get(path).await;
            assert_eq!((answer.status.as_u16(), answer.body.len()), (status, 0));
            assert_eq!(answer.headers["etag"], "\"7\"");
        }
        assert_eq!(client.get("/health").await.text(), "twelve bytes");
    }
    assert_eq!((node.accepted(), node.seen()), (1, 15));
}

#[tokio::test]
async fn a_chunked_answer_arrives_piece_by_piece() {
    let (sender, receiver) = tokio::sync::mpsc::channel::<Bytes>(1);
    let receiver = Arc::new(parking_lot::Mutex::new(Some(receiver)));
    let node = Node::start(move |_| {
        let receiver = receiver.clone();
        async move {
            match receiver.lock().take() {
                Some(pieces) => http::Response::new(BodyExt::map_err(Received(pieces), |never| match never {}).boxed()),
                None => text(StatusCode::OK, "second"),
            }
        }
    })
    .await;
    let gateway = start(Routing::only(Colour::Blue, node.address)).await;
    let mut stream = TcpStream::connect(gateway.address()).await.unwrap();
    stream.write_all(b"GET / HTTP/1.1\r\nhost: d\r\n\r\n").await.unwrap();
    let mut got = String::new();
    for word in ["one", "two", "three"] {
        sender.send(Bytes::from(word)).await.unwrap();
        // The next piece is sent only when this one has come through.
        while !got.contains(word) {
            let mut bytes = [0u8; 1024];
            let count = tokio::time::timeout(LONG, stream.read(&mut bytes)).await.unwrap().unwrap();
            assert!(count > 0, "closed after {got}");
            got.push_str(std::str::from_utf8(&bytes[..count]).unwrap());
        }
    }
    assert!(got.contains("transfer-encoding: chunked\r\n") && gateway.in_flight(Colour::Blue) == 1, "{got}");
    drop(sender);
    stream.write_all(b"GET / HTTP/1.1\r\nhost: d\r\nconnection: close\r\n\r\n").await.unwrap();
    let rest = read_to_end(stream).await;
    assert!(rest.starts_with("0\r\n\r\nHTTP/1.1 200 OK") && rest.ends_with("second"), "{rest}");
    assert_eq!((node.accepted(), gateway.in_flight(Colour::Blue)), (1, 0));
}

#[tokio::test]
async fn an_answer_that_ends_with_its_connection_is_whole() {
    let node = Node::sockets(|_, mut stream| async move {
        let mut bytes = [0u8; 1024];
        let _ = stream.read(&mut bytes).await;
        stream.write_all(b"HTTP/1.0 200 OK\r\n\r\n").await.unwrap();
        stream.write_all(&vec![b'y'; 300_000]).await.unwrap();
    })
    .await;
    let gateway = start(Routing::only(Colour::Blue, node.address)).await;
    let mut client = Client::open(gateway.address()).await;
    for _ in 0..2 {
        let answer = client.get("/health").await;
        assert_eq!((answer.status, answer.body.len()), (StatusCode::OK, 300_000));
    }
}

#[tokio::test]
async fn a_small_body_in_pieces_is_put_together_for_the_read() {
    let node = Node::start(|seen| async move { text(StatusCode::OK, seen.body_bytes.to_string()) }).await;
    let gateway = start(Routing::only(Colour::Blue, node.address)).await;
    let mut stream = TcpStream::connect(gateway.address()).await.unwrap();
    stream.set_nodelay(true).unwrap();
    let head = "POST /v1/databases/d/search HTTP/1.1\r\nhost: d\r\ncontent-length: 9\r\nconnection: close\r\n\r\n";
    for part in [head, "abc", "def", "ghi"] {
        stream.write_all(part.as_bytes()).await.unwrap();
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    let answer = read_to_end(stream).await;
    assert!(answer.ends_with("\r\n\r\n9"), "{answer}");
    assert_eq!(node.last().headers["content-length"], "9");
}

#[tokio::test]
async fn a_client_that_breaks_off_its_body_is_no_error_of_the_colour() {
    let node = Node::named("blue").await;
    let gateway = start(Routing::only(Colour::Blue, node.address)).await;
    for path in ["/v1/databases", "/v1/databases/d/search"] {
        let mut stream = TcpStream::connect(gateway.address()).await.unwrap();
        let head = format!("POST {path} HTTP/1.1\r\nhost: d\r\ncontent-length: 5000\r\n\r\nshort");
        stream.write_all(head.as_bytes()).await.unwrap();
        eventually("the request has begun", || gateway.connections() == 1).await;
        drop(stream);
        eventually("the client is forgotten", || gateway.connections() == 0).await;
    }
    let metrics = gateway.metrics().blue;
    assert_eq!((metrics.read_errors, metrics.write_errors, metrics.in_flight, node.seen()), (0, 0, 0, 0));
}
