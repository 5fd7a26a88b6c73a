//! Connections: accepting, serving, and ending them in order.

use axum::Router;
use hyper::server::conn::http1;
use hyper::service::{Service, service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
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
/// Pause after an error of `accept` (out of file descriptors, say).
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// What a request knows about its connection.
#[derive(Debug)]
pub struct Connection {
    pub peer: SocketAddr,
    used: AtomicBool,
    open: Arc<AtomicUsize>,
}

impl Connection {
    /// Connections of this listener at the moment.
    pub fn open(&self) -> usize {
        self.open.load(Ordering::Relaxed)
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        self.open.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Serves `router` until `shutdown` completes; then requests under way have ten seconds to finish.
pub async fn serve(listener: TcpListener, router: Router, shutdown: impl Future<Output = ()>) {
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
                let connection = Arc::new(Connection { peer, used: AtomicBool::new(false), open: open.clone() });
                let serving = connect(stream, connection, router.clone(), stop.subscribe());
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

async fn connect(stream: TcpStream, connection: Arc<Connection>, router: Router, mut stop: watch::Receiver<bool>) {
    if let Err(error) = stream.set_nodelay(true) {
        tracing::debug!(%error, "TCP_NODELAY could not be set");
    }
    let router = TowerToHyperService::new(router);
    let shown = connection.clone();
    let service = service_fn(move |mut request: hyper::Request<hyper::body::Incoming>| {
        shown.used.store(true, Ordering::Relaxed);
        request.extensions_mut().insert(shown.clone());
        router.call(request)
    });
    let serving = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(SILENCE_TIMEOUT)
        .serve_connection(TokioIo::new(stream), service);
    let mut serving = std::pin::pin!(serving);
    let ended = tokio::select! {
        ended = serving.as_mut() => Some(ended),
        () = asked_to_end(&mut stop) => None,
    };
    let ended = match ended {
        Some(ended) => ended,
        None => {
            // Ends an idle connection at once, and a busy one with `Connection: close` after its answer.
            serving.as_mut().graceful_shutdown();
            if !connection.used.load(Ordering::Relaxed) {
                // hyper goes on waiting for the first request of a connection; a client may never send one.
                let first = tokio::time::timeout(FIRST_REQUEST_TIMEOUT, serving.as_mut()).await;
                if first.is_ok() || !connection.used.load(Ordering::Relaxed) {
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

async fn asked_to_end(stop: &mut watch::Receiver<bool>) {
    // A dropped sender is as good as a word.
    let _ = stop.wait_for(|stop| *stop).await;
}
