//! One request and its answer on their way through the network.
//!
//! A connection either exists or has to be made; only while it is made can the sender know that nothing arrived. After that
//! a request may arrive though nobody waits for the answer any more, and an answer may be lost though the work was done.

use super::mutation;
use super::network::{Host, Life, Port};
use super::report::Count;
use super::world::World;
use axum::Router;
use axum::body::Body;
use bytes::{Bytes, BytesMut};
use client::{AnswerBody, BodyError, HttpError, Request, StreamingResponse};
use http::{Method, Uri};
use http_body::Frame;
use http_body_util::{BodyExt, Full};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::sync::{mpsc, oneshot};
use tower::ServiceExt;
use wire::Colour;

/// Attempts to make a connection, a second apart, before it is given up.
const CONNECT_ATTEMPTS: u32 = 2;
const CONNECT_RETRY: Duration = Duration::from_secs(1);
/// Pieces of a stream on their way.
const PIECES_UNDER_WAY: usize = 4;
/// How often a cut stream looks whether the network is there again.
const CUT_POLL: Duration = Duration::from_millis(50);
/// A connection over which nothing went for so long is given up by its machine.
const CUT_MAX: Duration = Duration::from_secs(20);

type Reply = oneshot::Sender<Result<StreamingResponse, HttpError>>;

/// What chance has in store for one exchange.
struct Plan {
    request_lost: bool,
    answer_lost: bool,
    /// A call of the admin protocol arrives once more, later.
    twice: bool,
    /// The sender learns of what is lost; otherwise it waits until its patience ends.
    told: bool,
    /// The other side stops working when the sender hangs up.
    cancels: bool,
}

/// Sends `request` and waits for the head of the answer.
pub(super) async fn exchange(
    world: &Arc<World>,
    from: Host,
    (colour, port): (Colour, Port),
    request: Request,
) -> Result<StreamingResponse, HttpError> {
    let to = request.uri().authority().map(ToString::to_string).unwrap_or_default();
    let target = Host::Node(colour);
    // Most requests go over a connection that is there.
    if world.chance.hits(1, 4) {
        connect(world, from, target, colour).await.map_err(|why| HttpError::Connect { to: to.clone(), why })?;
    }
    let rates = world.network_rates();
    let plan = Plan {
        request_lost: world.chance.hits(rates.lost, 10_000),
        answer_lost: world.chance.hits(rates.lost, 10_000),
        twice: port == Port::Admin && request.method() == Method::POST && world.chance.hits(rates.twice, 1_000),
        told: world.chance.coin(),
        cancels: world.chance.coin(),
    };
    let (reply, answer) = oneshot::channel();
    tokio::spawn(carry(world.clone(), from, (colour, port), request, plan, reply));
    match answer.await {
        Ok(result) => result,
        // Lost, and nobody says so.
        Err(_) => std::future::pending().await,
    }
}

async fn connect(world: &World, from: Host, target: Host, colour: Colour) -> Result<(), String> {
    for attempt in 0..CONNECT_ATTEMPTS {
        if attempt > 0 {
            tokio::time::sleep(CONNECT_RETRY).await;
        }
        if !world.network.is_cut(from, target) && !world.network.is_cut(target, from) {
            return match world.network.service(colour) {
                Some(_) => Ok(()),
                None => Err("connection refused".into()),
            };
        }
    }
    tokio::time::sleep(CONNECT_RETRY).await;
    Err("connection timed out".into())
}

async fn carry(
    world: Arc<World>,
    from: Host,
    (colour, port): (Colour, Port),
    request: Request,
    plan: Plan,
    mut reply: Reply,
) {
    let target = Host::Node(colour);
    let to = request.uri().authority().map(ToString::to_string).unwrap_or_default();
    let broken = |why: &str| HttpError::Broken { to: to.clone(), why: why.into() };
    let delay = |from, to| world.network.delay(&world.chance, world.network_rates().usual_ms, from, to);
    let lose = async |reply: Reply, way| {
        if plan.told {
            tokio::time::sleep(delay(from, target)).await;
            // Whoever asked may have hung up.
            let _ = reply.send(Err(broken(way)));
        }
    };
    tokio::time::sleep(delay(from, target)).await;
    if plan.request_lost || world.network.is_cut(from, target) {
        if plan.request_lost {
            world.count(Count::RequestLost);
        }
        return lose(reply, "connection reset").await;
    }
    let Some(service) = world.network.service(colour) else {
        let _ = reply.send(Err(broken("connection reset by peer")));
        return;
    };
    let request = arrived(&world, from, (colour, port), request);
    if plan.twice {
        world.count(Count::CallRepeated);
        tokio::spawn(arrive_again(world.clone(), colour, copy(&request), delay(from, target)));
    }
    world
        .trace
        .note("arrived", &[colour as u64, port as u64, super::trace::fingerprint(request.uri().path().as_bytes())]);
    let router = if port == Port::Admin { service.admin.clone() } else { service.rest.clone() };
    let answer = tokio::select! {
        biased;
        () = service.life.until_over() => None,
        () = reply.closed(), if plan.cancels => {
            world.count(Count::HungUp);
            return;
        }
        answer = answer(&world, (colour, port), router, request) => Some(answer),
    };
    tokio::time::sleep(delay(target, from)).await;
    let Some(answer) = answer.filter(|_| !service.life.is_over()) else {
        if !world.network.is_cut(target, from) {
            let _ = reply.send(Err(broken("connection reset by peer")));
        }
        return;
    };
    if plan.answer_lost || world.network.is_cut(target, from) {
        if plan.answer_lost {
            world.count(Count::AnswerLost);
        }
        return lose(reply, "connection reset").await;
    }
    world.trace.note("answered", &[colour as u64, u64::from(answer.status().as_u16())]);
    let (head, body) = answer.into_parts();
    let body = match http_body::Body::size_hint(&body).exact() {
        // Short, and there at once.
        Some(_) => match body.collect().await {
            Ok(body) => AnswerBody::told(Full::new(body.to_bytes()).map_err(|never| match never {})),
            Err(error) => {
                let _ = reply.send(Err(broken(&error.to_string())));
                return;
            }
        },
        None => {
            let (pieces, received) = mpsc::channel(PIECES_UNDER_WAY);
            tokio::spawn(stream(world.clone(), target, from, service.life, body, pieces));
            AnswerBody::told(Pieces { received })
        }
    };
    let _ = reply.send(Ok(http::Response::from_parts(head, body)));
}

/// The request as the server sees it.
fn arrived(world: &World, from: Host, (colour, port): (Colour, Port), mut request: Request) -> Request {
    if let Some(path) = request.uri().path_and_query().cloned() {
        *request.uri_mut() = Uri::from(path);
    }
    mutation::tamper(world, colour, port, &mut request);
    world.trace.line(|| format!("{from:?} -> {colour} {} {}", request.method(), request.uri()));
    request
}

async fn answer(
    world: &World,
    (colour, port): (Colour, Port),
    router: Router,
    request: Request,
) -> http::Response<Body> {
    if let Some(invented) = mutation::invented(world, colour, port, &request).await {
        return http::Response::new(Body::from(invented.to_string()));
    }
    router.oneshot(request.map(Body::new)).await.unwrap_or_else(|never| match never {})
}

fn copy(request: &Request) -> Request {
    let mut copy = Request::new(request.body().clone());
    *copy.method_mut() = request.method().clone();
    *copy.uri_mut() = request.uri().clone();
    *copy.headers_mut() = request.headers().clone();
    copy
}

/// What somebody said before the connection broke, and says again over another.
async fn arrive_again(world: Arc<World>, colour: Colour, mut request: Request, usual: Duration) {
    tokio::time::sleep(usual * 2 + world.chance.ms(0..=world.network_rates().again_ms_max)).await;
    let Some(service) = world.network.service(colour) else { return };
    mutation::tamper(&world, colour, Port::Admin, &mut request);
    tokio::select! {
        biased;
        () = service.life.until_over() => {}
        _ = service.admin.clone().oneshot(request.map(Body::new)) => {}
    }
}

/// Passes on a stream, piece by piece.
async fn stream(
    world: Arc<World>,
    from: Host,
    to: Host,
    life: Life,
    mut body: Body,
    pieces: mpsc::Sender<Result<Bytes, BodyError>>,
) {
    loop {
        let rates = world.network_rates();
        let frame = tokio::select! {
            biased;
            () = life.until_over() => break,
            () = pieces.closed() => return,
            frame = body.frame() => frame,
        };
        let Some(Ok(frame)) = frame else { return };
        let Ok(mut piece) = frame.into_data() else { continue };
        tokio::time::sleep(world.network.delay(&world.chance, rates.usual_ms, from, to)).await;
        let cut = tokio::time::Instant::now();
        while world.network.is_cut(from, to) {
            if pieces.is_closed() || life.is_over() || cut.elapsed() > CUT_MAX {
                return;
            }
            tokio::time::sleep(CUT_POLL).await;
        }
        if world.chance.hits(rates.stream_cut, 10_000) {
            world.count(Count::StreamCut);
            break;
        }
        if world.chance.hits(rates.flipped, 10_000) {
            world.count(Count::BitFlipped);
            piece = flip(&world, &piece);
        }
        if pieces.send(Ok(piece)).await.is_err() {
            return;
        }
    }
    // The receiver may be gone as well.
    let _ = pieces.send(Err("connection reset by peer".into())).await;
}

/// The piece with one bit changed.
fn flip(world: &World, piece: &Bytes) -> Bytes {
    let mut flipped = BytesMut::from(&piece[..]);
    let bit = world.chance.below(piece.len() as u64 * 8);
    if let Some(byte) = flipped.get_mut((bit / 8) as usize) {
        *byte ^= 1 << (bit % 8);
    }
    flipped.freeze()
}

/// A stream as its receiver has it.
struct Pieces {
    received: mpsc::Receiver<Result<Bytes, BodyError>>,
}

impl http_body::Body for Pieces {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        self.received.poll_recv(context).map(|piece| piece.map(|piece| piece.map(Frame::data)))
    }
}
