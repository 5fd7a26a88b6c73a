//! Test nodes, test clients, and waiting with a bound.

use bytes::Bytes;
use gateway::{Gateway, GatewayOptions, Limits, Routing};
use http::{HeaderMap, Method, Request, Response, StatusCode, Uri};
use http_body_util::combinators::BoxBody;
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::client::conn::http1::SendRequest;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use parking_lot::Mutex;
use std::convert::Infallible;
use std::future::Future;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::task::{JoinHandle, JoinSet};
use wire::{ByColour, Colour};

pub type Body = BoxBody<Bytes, hyper::Error>;
/// A bound for everything that must happen; far above what it takes.
pub const LONG: Duration = Duration::from_secs(60);

/// A request as a node saw it.
#[derive(Debug, Clone)]
pub struct Seen {
    pub method: Method,
    pub uri: Uri,
    pub headers: HeaderMap,
    pub body_bytes: usize,
}

#[derive(Debug, Default)]
pub struct NodeState {
    /// Connections accepted.
    pub accepted: AtomicUsize,
    /// Connections open now.
    pub open: AtomicUsize,
    pub requests: Mutex<Vec<Seen>>,
}

/// A test node; dropped or killed, its sockets are closed.
pub struct Node {
    pub address: SocketAddr,
    pub state: Arc<NodeState>,
    task: JoinHandle<()>,
}

struct Open(Arc<NodeState>);

impl Drop for Open {
    fn drop(&mut self) {
        self.0.open.fetch_sub(1, Ordering::SeqCst);
    }
}

impl Node {
    /// Answers everything with 200 and its name.
    pub async fn named(name: &'static str) -> Node {
        Node::start(move |_| async move { text(StatusCode::OK, name) }).await
    }

    /// `answer` gets the request after its body was read.
    pub async fn start<F, R>(answer: F) -> Node
    where
        F: Fn(Seen) -> R + Clone + Send + Sync + 'static,
        R: Future<Output = Response<Body>> + Send,
    {
        Node::streaming(move |state, request: Request<Incoming>| {
            let answer = answer.clone();
            async move {
                let (parts, body) = request.into_parts();
                let Ok(body) = body.collect().await else { return text(StatusCode::BAD_REQUEST, "broken body") };
                let body_bytes = body.to_bytes().len();
                let seen = Seen { method: parts.method, uri: parts.uri, headers: parts.headers, body_bytes };
                state.requests.lock().push(seen.clone());
                answer(seen).await
            }
        })
        .await
    }

    pub async fn streaming<F, R>(answer: F) -> Node
    where
        F: Fn(Arc<NodeState>, Request<Incoming>) -> R + Clone + Send + Sync + 'static,
        R: Future<Output = Response<Body>> + Send,
    {
        Node::sockets(move |state, stream| {
            let answer = answer.clone();
            async move {
                let service = service_fn(|request| {
                    let answer = answer(state.clone(), request);
                    async move { Ok::<_, Infallible>(answer.await) }
                });
                let server = hyper::server::conn::http1::Builder::new();
                let _ = server.serve_connection(TokioIo::new(stream), service).await;
            }
        })
        .await
    }

    /// `serve` gets each accepted socket.
    pub async fn sockets<F, R>(serve: F) -> Node
    where
        F: Fn(Arc<NodeState>, TcpStream) -> R + Clone + Send + Sync + 'static,
        R: Future<Output = ()> + Send,
    {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let state = Arc::new(NodeState::default());
        let shared = state.clone();
        let task = tokio::spawn(async move {
            let mut connections = JoinSet::new();
            while let Ok((stream, _)) = listener.accept().await {
                let (state, serve) = (shared.clone(), serve.clone());
                state.accepted.fetch_add(1, Ordering::SeqCst);
                state.open.fetch_add(1, Ordering::SeqCst);
                let open = Open(state.clone());
                connections.spawn(async move {
                    serve(state, stream).await;
                    drop(open);
                });
            }
        });
        Node { address, state, task }
    }

    pub fn accepted(&self) -> usize {
        self.state.accepted.load(Ordering::SeqCst)
    }

    pub fn open(&self) -> usize {
        self.state.open.load(Ordering::SeqCst)
    }

    pub fn seen(&self) -> usize {
        self.state.requests.lock().len()
    }

    pub fn last(&self) -> Seen {
        self.state.requests.lock().last().cloned().expect("the node saw a request")
    }

    /// Closes the port and every connection, as a killed process would.
    pub async fn kill(self) {
        self.task.abort();
        eventually("the node's connections are closed", || self.open() == 0).await;
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        self.task.abort();
    }
}

pub fn text(status: StatusCode, text: impl Into<Bytes>) -> Response<Body> {
    let mut response = Response::new(full(text));
    *response.status_mut() = status;
    response
}

pub fn full(text: impl Into<Bytes>) -> Body {
    Full::new(text.into()).map_err(|never| match never {}).boxed()
}

/// An address that refuses connections as long as the socket is held.
pub fn dead_address() -> (SocketAddr, TcpSocket) {
    let held = TcpSocket::new_v4().unwrap();
    held.bind("127.0.0.1:0".parse().unwrap()).unwrap();
    (held.local_addr().unwrap(), held)
}

pub fn routing(blue: SocketAddr, green: SocketAddr) -> Routing {
    Routing {
        backends: ByColour::new(Some(blue), Some(green)),
        others: ByColour::default(),
        reads: ByColour::new(100, 0),
        primary: Some(Colour::Blue),
        hold_writes: false,
        generation: 1,
    }
}

pub async fn start(routing: Routing) -> Gateway {
    start_with(routing, Limits::default()).await
}

pub async fn start_with(routing: Routing, limits: Limits) -> Gateway {
    let mut options = GatewayOptions::new("127.0.0.1:0".parse().unwrap());
    options.routing = routing;
    options.limits = limits;
    Gateway::start(options).await.unwrap()
}

/// What a client got.
#[derive(Debug)]
pub struct Answer {
    pub status: StatusCode,
    pub headers: HeaderMap,
    pub body: Bytes,
}

impl Answer {
    pub fn text(&self) -> &str {
        std::str::from_utf8(&self.body).unwrap()
    }

    pub fn colour(&self) -> &str {
        self.headers.get("jadeshift-colour").map_or("none", |value| value.to_str().unwrap())
    }

    /// The text of an answer of the gateway itself.
    pub fn error(&self) -> String {
        let value: serde_json::Value = serde_json::from_slice(&self.body).unwrap_or_else(|_| panic!("{self:?}"));
        value["error"].as_str().unwrap().to_string()
    }
}

/// A client's keep-alive connection.
pub struct Client {
    sender: SendRequest<Body>,
}

impl Client {
    pub async fn open(address: SocketAddr) -> Client {
        let stream = TcpStream::connect(address).await.unwrap();
        stream.set_nodelay(true).unwrap();
        let (sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.unwrap();
        tokio::spawn(connection);
        Client { sender }
    }

    pub async fn try_send(&mut self, request: Request<Body>) -> Result<Answer, hyper::Error> {
        self.sender.ready().await?;
        let (parts, body) = self.sender.send_request(request).await?.into_parts();
        let body = body.collect().await?.to_bytes();
        Ok(Answer { status: parts.status, headers: parts.headers, body })
    }

    pub async fn send(&mut self, request: Request<Body>) -> Answer {
        let answer = tokio::time::timeout(LONG, self.try_send(request)).await;
        answer.expect("an answer in time").expect("an answer")
    }

    pub async fn get(&mut self, path: &str) -> Answer {
        self.send(request(Method::GET, path, "")).await
    }

    pub async fn post(&mut self, path: &str, body: impl Into<Bytes>) -> Answer {
        self.send(request(Method::POST, path, body)).await
    }
}

pub fn request(method: Method, path: &str, body: impl Into<Bytes>) -> Request<Body> {
    Request::builder().method(method).uri(path).header("host", "database.example").body(full(body)).unwrap()
}

pub fn with_header(mut request: Request<Body>, name: &'static str, value: &str) -> Request<Body> {
    request.headers_mut().append(name, value.parse().unwrap());
    request
}

/// One request on a connection of its own.
pub async fn once(gateway: &Gateway, request: Request<Body>) -> Answer {
    Client::open(gateway.address()).await.send(request).await
}

/// Sends bytes as they are and reads until the peer closes.
pub async fn raw(address: SocketAddr, bytes: &[u8]) -> String {
    let mut stream = TcpStream::connect(address).await.unwrap();
    stream.write_all(bytes).await.unwrap();
    read_to_end(stream).await
}

pub async fn read_to_end(mut stream: TcpStream) -> String {
    let mut answer = Vec::new();
    // A reset after the answer is an end, too.
    let _ = tokio::time::timeout(LONG, stream.read_to_end(&mut answer)).await.expect("the peer closes in time");
    String::from_utf8_lossy(&answer).into_owned()
}

pub async fn eventually(what: &str, mut holds: impl FnMut() -> bool) {
    let end = Instant::now() + LONG;
    while !holds() {
        assert!(Instant::now() < end, "did not come true: {what}");
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
}
