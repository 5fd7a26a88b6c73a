//! Connections: accepting, serving, and ending them in order.

use axum::Router;
use hyper::server::conn::http1;
use hyper::service::{Service, service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, watch};
use tokio::task::JoinSet;

/// Connections at the same time; further ones wait in the kernel's queue.
const CONNECTIONS_MAX: usize = 8_192;
/// How long a connection may be silent, between requests or in the head of one. Longer than clients and proxies keep
/// unused connections, so that they end them and not we.
const SILENCE_TIMEOUT: Duration = Duration::from_secs(75);
/// How long requests under way may take to finish at the end.
pub const DRAIN_TIMEOUT: Duration = Duration::from_secs(10);
/// How long, at the end, a connection that was never used may still begin its first request.
const FIRST_REQUEST_TIMEOUT: Duration = Duration::from_millis(500);
/// How long a connection of a node that sheds its clients may go without a request: one that is in use ends with its next
/// answer, and closing it before would meet a request on its way.
const SHED_IDLE: Duration = Duration::from_secs(1);
/// Pause after an error of `accept` (out of file descriptors, say).
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// What a request knows about its connection.
#[derive(Debug)]
pub struct Connection {
    pub peer: SocketAddr,
    begun: AtomicU64,
    answered: AtomicU64,
    open: Arc<AtomicUsize>,
}

impl Connection {
    /// Connections of this listener at the moment.
    pub fn open(&self) -> usize {
        self.open.load(Ordering::Relaxed)
    }

    /// Requests that began and were answered.
    fn requests(&self) -> (u64, u64) {
        (self.begun.load(Ordering::Relaxed), self.answered.load(Ordering::Relaxed))
    }

    fn used(&self) -> bool {
        self.requests().0 > 0
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        self.open.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Serves `router` until `shutdown` completes; then requests under way have ten seconds to finish. While `shed` says so,
/// connections that nobody uses are ended; those in use end by what their answers say.
pub async fn serve(
    listener: TcpListener,
    router: Router,
    shed: watch::Receiver<bool>,
    shutdown: impl Future<Output = ()>,
) {
    let stop = watch::Sender::new(false);
    let places = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    let open = Arc::new(AtomicUsize::new(0));
    let mut connections = JoinSet::new();
    let mut shutdown = std::pin::pin!(shutdown);
    loop {
        let accepting = async {
            // The semaphore is never closed.
            let place = places.clone().acquire_owned().await.ok();
            (listener.accept().await, place)
        };
        let (accepted, place) = tokio::select! {
            accepted = accepting => accepted,
            () = &mut shutdown => break,
        };
        while connections.try_join_next().is_some() {}
        match accepted {
            Ok((stream, peer)) => {
                open.fetch_add(1, Ordering::Relaxed);
                let (begun, answered) = (AtomicU64::new(0), AtomicU64::new(0));
                let connection = Arc::new(Connection { peer, begun, answered, open: open.clone() });
                let serving = connect(stream, connection, router.clone(), shed.clone(), stop.subscribe());
                connections.spawn(async move {
                    serving.await;
                    drop(place);
                });
            }
            Err(error) => {
                tracing::warn!(%error, "a connection could not be accepted");
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
    drop(listener);
    stop.send_replace(true);
    let finishing = async { while connections.join_next().await.is_some() {} };
    if tokio::time::timeout(DRAIN_TIMEOUT, finishing).await.is_err() {
        tracing::warn!("requests were still under way after {} s, they are cut off", DRAIN_TIMEOUT.as_secs());
    }
    connections.shutdown().await;
}

async fn connect(
    stream: TcpStream,
    connection: Arc<Connection>,
    router: Router,
    mut shed: watch::Receiver<bool>,
    mut stop: watch::Receiver<bool>,
) {
    if let Err(error) = stream.set_nodelay(true) {
        tracing::debug!(%error, "TCP_NODELAY could not be set");
    }
    let router = TowerToHyperService::new(router);
    let shown = connection.clone();
    let service = service_fn(move |mut request: hyper::Request<hyper::body::Incoming>| {
        shown.begun.fetch_add(1, Ordering::Relaxed);
        request.extensions_mut().insert(shown.clone());
        let (answer, shown) = (router.call(request), shown.clone());
        async move {
            let answer = answer.await;
            shown.answered.fetch_add(1, Ordering::Relaxed);
            answer
        }
    });
    let serving = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(SILENCE_TIMEOUT)
        .serve_connection(TokioIo::new(stream), service);
    let mut serving = std::pin::pin!(serving);
    let ended = tokio::select! {
        ended = serving.as_mut() => Some(ended),
        () = unused_while_shedding(&connection, &mut shed) => {
            serving.as_mut().graceful_shutdown();
            Some(serving.as_mut().await)
        }
        () = asked_to_end(&mut stop) => None,
    };
    let ended = match ended {
        Some(ended) => ended,
        None => {
            // Ends an idle connection at once, and a busy one with `Connection: close` after its answer.
            serving.as_mut().graceful_shutdown();
            if !connection.used() {
                // hyper goes on waiting for the first request of a connection; a client may never send one.
                let first = tokio::time::timeout(FIRST_REQUEST_TIMEOUT, serving.as_mut()).await;
                if first.is_ok() || !connection.used() {
                    return;
                }
            }
            serving.await
        }
    };
    if let Err(error) = ended {
        // The client's doing: it went away, or did not speak HTTP.
        tracing::debug!(%error, "a connection ended early");
    }
}

/// Returns when clients are to go elsewhere and this one says nothing. One that never asked anything may be about to.
async fn unused_while_shedding(connection: &Connection, shed: &mut watch::Receiver<bool>) {
    loop {
        if shed.wait_for(|shed| *shed).await.is_err() {
            std::future::pending::<()>().await;
        }
        let (begun, answered) = connection.requests();
        tokio::time::sleep(SHED_IDLE).await;
        let silent = begun > 0 && begun == answered && connection.requests() == (begun, answered);
        if silent && *shed.borrow() {
            return;
        }
    }
}

async fn asked_to_end(stop: &mut watch::Receiver<bool>) {
    // A dropped sender is as good as a word.
    let _ = stop.wait_for(|stop| *stop).await;
}
