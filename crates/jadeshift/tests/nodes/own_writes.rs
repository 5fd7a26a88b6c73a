//! A client reads its own writes through the real gateway from two real nodes, one of which lags.

use crate::replica::{PASSWORD, Replica, listen};
use bytes::Bytes;
use client::{Http, JsonResponse};
use gateway::{Gateway, GatewayOptions, Routing};
use http_body_util::Full;
use jadevectordb::engine::Node;
use serde_json::{Value, json};
use std::net::SocketAddr;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;
use tokio::time::Instant;
use wire::admin::Peer;
use wire::{ByColour, Colour};

const SHARES: [u8; 4] = [10, 50, 90, 100];
/// How late a follower gets what its primary sends: far longer than the time between a client's write and its read.
const LATE: Duration = Duration::from_millis(80);
const BOUND: Duration = Duration::from_secs(20);

/// Passes on what a node sends, [`LATE`], or not at all while it is stopped.
struct SlowLink {
    /// The node, as seen from the other end.
    peer: Peer,
    stopped: watch::Sender<bool>,
    accepting: JoinHandle<()>,
}

impl SlowLink {
    async fn to(replica: &Replica) -> Self {
        let (listener, target) = (listen().await, replica.admin);
        let peer = Peer { admin: listener.local_addr().unwrap().to_string(), ..replica.peer() };
        let stopped = watch::Sender::new(false);
        let seen = stopped.subscribe();
        let accepting = tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                tokio::spawn(pass(client, target, seen.clone()));
            }
        });
        Self { peer, stopped, accepting }
    }
}

impl Drop for SlowLink {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

/// Ends when one of both sides does.
async fn pass(client: TcpStream, target: SocketAddr, mut stopped: watch::Receiver<bool>) {
    let Ok(server) = TcpStream::connect(target).await else { return };
    let (mut from_client, mut to_client) = client.into_split();
    let (mut from_server, mut to_server) = server.into_split();
    let (late, mut due) = mpsc::channel::<(Instant, Vec<u8>)>(1_024);
    let receive = async move {
        let mut piece = vec![0; 64 << 10];
        while let Ok(length @ 1..) = from_server.read(&mut piece).await {
            if late.send((Instant::now() + LATE, piece[..length].to_vec())).await.is_err() {
                return;
            }
        }
    };
    let deliver = async move {
        while let Some((at, piece)) = due.recv().await {
            tokio::time::sleep_until(at).await;
            if stopped.wait_for(|stopped| !stopped).await.is_err() || to_client.write_all(&piece).await.is_err() {
                return;
            }
        }
    };
    tokio::select! {
        _ = tokio::io::copy(&mut from_client, &mut to_server) => {}
        ((), ()) = async { tokio::join!(receive, deliver) } => {}
    }
}

/// Blue is the primary, green follows it over a slow link.
struct Stage {
    nodes: ByColour<Replica>,
    /// The ways to them, for their followers.
    links: ByColour<SlowLink>,
    gateway: Gateway,
    client: Http,
    token: String,
    vectors: String,
    written: u32,
}

impl Stage {
    async fn start(read_own_writes: bool) -> Self {
        let nodes = ByColour::new(Replica::start(false).await, Replica::start(true).await);
        let links = ByColour::new(SlowLink::to(&nodes.blue).await, SlowLink::to(&nodes.green).await);
        nodes.green.node.follow(nodes.blue.node.position().epoch, links.blue.peer.clone()).await.unwrap();
        let gateway = GatewayOptions { read_own_writes, ..GatewayOptions::new("127.0.0.1:0".parse().unwrap()) };
        let gateway = Gateway::start(gateway).await.unwrap();
        let (token, vectors) = (String::new(), String::new());
        let mut stage = Self { nodes, links, gateway, client: Http::new(), token, vectors, written: 0 };
        stage.route(Colour::Blue, 0);
        let login = json!({ "username": "admin", "password": PASSWORD });
        let login = stage.call("POST", "/v1/auth/login", None, &login).await;
        stage.token = json_of(&login)["token"].as_str().unwrap().to_owned();
        let database = stage.call("POST", "/v1/databases", None, &json!({ "name": "x", "vectorDimension": 2 })).await;
        stage.vectors = format!("/v1/databases/{}/vectors", json_of(&database)["databaseId"].as_str().unwrap());
        stage.caught_up(Colour::Green).await;
        stage
    }

    fn node(&self, colour: Colour) -> &Node {
        &self.nodes.get(colour).node
    }

    /// `primary` gets the writes, the other colour `share` of the reads.
    fn route(&self, primary: Colour, share: u8) {
        let backends = ByColour::from_fn(|colour| Some(self.nodes.get(colour).http));
        let routing = Routing { backends, primary: Some(primary), ..Routing::default() };
        self.gateway.set_routing(routing.with_share(primary.other(), share));
    }

    async fn caught_up(&self, colour: Colour) {
        let lsn = self.node(colour.other()).lsn();
        assert!(self.node(colour).applied(lsn, BOUND).await && self.node(colour).ready(), "{colour} has everything");
    }

    async fn hand_over(&self, from: Colour) {
        let epoch = self.node(from).position().epoch + 1;
        let sealed = self.node(from).seal(epoch).await.unwrap();
        assert!(self.node(from.other()).applied(sealed.lsn, BOUND).await);
        self.node(from.other()).promote(epoch, sealed.lsn).await.unwrap();
        self.node(from).follow(epoch, self.links.get(from.other()).peer.clone()).await.unwrap();
    }

    async fn call(&self, method: &str, path: &str, canary: Option<Colour>, body: &Value) -> JsonResponse {
        let mut request = hyper::Request::builder()
            .method(method)
            .uri(format!("http://{}{path}", self.gateway.address()))
            .header("authorization", format!("Bearer {}", self.token));
        if let Some(colour) = canary {
            request = request.header("canary", colour.as_str());
        }
        let body = if method == "GET" { Bytes::new() } else { body.to_string().into() };
        let request = request.body(Full::new(body)).unwrap();
        self.client.whole(request, BOUND, 1 << 20).await.unwrap()
    }

    /// Writes one vector; gives its path.
    async fn write(&mut self, canary: Option<Colour>) -> String {
        self.written += 1;
        let body = json!({ "id": format!("v{}", self.written), "values": [1, self.written] });
        let answer = self.call("POST", &self.vectors, canary, &body).await;
        assert_eq!(answer.status, 201, "{:?}", answer.body);
        if self.written.is_multiple_of(2) {
            // A connection is not who asks.
            self.client = Http::new();
        }
        format!("{}/v{}", self.vectors, self.written)
    }

    async fn read(&self, path: &str, canary: Option<Colour>) -> JsonResponse {
        self.call("GET", path, canary, &Value::Null).await
    }

    /// Writes and reads at once until `enough` reads were the follower's; how many of all reads missed the write.
    async fn misses(&mut self, follower: Colour, enough: u64) -> usize {
        let began = self.gateway.metrics().get(follower).reads;
        let mut misses = 0;
        for _ in 0..5_000 {
            if self.gateway.metrics().get(follower).reads >= began + enough {
                return misses;
            }
            let path = self.write(None).await;
            let answer = self.read(&path, None).await;
            assert!(matches!(answer.status, 200 | 404), "{} {:?}", answer.status, answer.body);
            misses += usize::from(answer.status == 404);
        }
        panic!("{follower} is not asked");
    }
}

fn json_of(answer: &JsonResponse) -> Value {
    serde_json::from_slice(&answer.body).unwrap_or_else(|error| panic!("{error}: {:?}", answer.body))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_client_sees_its_writes_at_every_share_though_the_follower_lags() {
    let mut stage = Stage::start(true).await;
    for share in SHARES {
        stage.route(Colour::Blue, share);
        assert_eq!(stage.misses(Colour::Green, 6).await, 0, "at {share} %");
    }
    // Written through the follower, read from the primary, and the other way round.
    for (writes, reads) in [(Colour::Green, Colour::Blue), (Colour::Blue, Colour::Green)] {
        let path = stage.write(Some(writes)).await;
        assert_eq!(stage.read(&path, Some(reads)).await.status, 200);
    }
    // The history goes on under the other primary, and so does what is remembered of it.
    let last = stage.write(None).await;
    stage.hand_over(Colour::Blue).await;
    assert_eq!(stage.read(&last, None).await.status, 200);
    for share in SHARES {
        stage.route(Colour::Green, share);
        assert_eq!(stage.misses(Colour::Blue, 6).await, 0, "at {share} % after the handover");
    }
    let metrics = stage.gateway.metrics();
    assert_eq!((metrics.blue.read_errors, metrics.green.read_errors), (0, 0));
    assert_eq!((metrics.blue.reads_behind, metrics.green.reads_behind), (0, 0), "followers were waited for");
}

/// The same without the gateway's memory: what the test above is worth.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn without_the_gateway_s_memory_a_client_misses_its_writes() {
    let mut stage = Stage::start(false).await;
    for share in SHARES {
        stage.route(Colour::Blue, share);
        assert!(stage.misses(Colour::Green, 6).await > 0, "at {share} %");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_follower_that_stands_still_is_passed_over_and_not_blamed() {
    let mut stage = Stage::start(true).await;
    stage.route(Colour::Blue, 100);
    stage.links.blue.stopped.send_replace(true);
    let path = stage.write(None).await;
    let answer = stage.read(&path, None).await;
    assert_eq!((answer.status, &answer.headers["jadeshift-colour"]), (200, &"blue".parse().unwrap()));
    let refused = stage.read(&path, Some(Colour::Green)).await;
    assert_eq!((refused.status, &refused.headers["retry-after"]), (503, &"1".parse().unwrap()));
    let metrics = stage.gateway.metrics().green;
    assert_eq!((metrics.reads_behind, metrics.read_errors), (2, 0));
    let errors = &stage.node(Colour::Green).counters().read_errors;
    assert_eq!(errors.load(std::sync::atomic::Ordering::Relaxed), 0);
    // It is asked again as soon as it gets on.
    stage.links.blue.stopped.send_replace(false);
    stage.caught_up(Colour::Green).await;
    let answer = stage.read(&path, None).await;
    assert_eq!((answer.status, &answer.headers["jadeshift-colour"]), (200, &"green".parse().unwrap()));
}
