//! The client side: accepts connections and serves each in one task of its own.

use crate::gateway::Shared;
use crate::proxy;
use crate::session::{ClientSocket, Session};
use crate::signal::{Level, Registered};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use std::net::SocketAddr;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::task::Poll;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

/// Pause after a failed accept: as a rule the process has no file descriptor left, and some will be freed.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);
/// Connections over the limit that are being answered at one time; more are just closed.
const REFUSALS_MAX: u64 = 64;
const REFUSAL_TIME: Duration = Duration::from_secs(1);
const REFUSAL: &str = "{\"error\":\"the gateway has as many connections as it may (limit connections_max)\"}";
/// Read buffers of a connection grow up to this while bodies stream.
const BUFFER_BYTES_MAX: usize = 128 * 1024;

/// Accepts until `stop` becomes true, or its sender is gone.
pub(crate) async fn accept(listener: TcpListener, shared: Arc<Shared>, mut stop: watch::Receiver<bool>) {
    let builder = builder(&shared);
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            _ = stop.wait_for(|stop| *stop) => return,
        };
        match accepted {
            Ok((stream, peer)) if shared.clients.len() < shared.limits.connections_max => {
                let signal = shared.clients.register();
                tokio::spawn(serve(stream, peer, shared.clone(), signal, builder.clone()));
            }
            Ok((stream, _)) => refuse(stream, &shared),
            Err(error) => {
                tracing::warn!(%error, address = %shared.address, "could not accept a connection");
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

fn builder(shared: &Shared) -> http1::Builder {
    let limits = &shared.limits;
    let mut builder = http1::Builder::new();
    // Times are kept by `serve`, with one timer for each connection instead of one for each request.
    builder.header_read_timeout(None);
    builder.max_header_size(limits.header_bytes_max);
    builder.max_buf_size(BUFFER_BYTES_MAX.max(limits.header_bytes_max));
    if limits.header_fields_max != 100 {
        // hyper keeps its own default of 100 on the stack, and any other number on the heap.
        builder.max_headers(limits.header_fields_max);
    }
    builder
}

async fn serve(stream: TcpStream, peer: SocketAddr, shared: Arc<Shared>, signal: Registered, builder: http1::Builder) {
    // Fails only for a socket that is closed already, which the first read tells, too.
    let _ = stream.set_nodelay(true);
    let session = Arc::new(Session::new(shared.clone(), peer));
    let io = TokioIo::new(ClientSocket::new(stream, session.clone()));
    let service = service_fn(|request| proxy::answer(session.clone(), request));
    let mut connection = pin!(builder.serve_connection(io, service));
    let period = shared.limits.tick();
    let mut tick = pin!(tokio::time::sleep(period));
    let mut leaving = false;
    std::future::poll_fn(|cx| {
        signal.register(cx.waker());
        match signal.level() {
            Level::Stay => {}
            Level::Leave if leaving => {}
            Level::Leave => {
                leaving = true;
                connection.as_mut().graceful_shutdown();
            }
            Level::End => return Poll::Ready(()),
        }
        while tick.as_mut().poll(cx).is_ready() {
            if session.activity.overdue(&shared.limits) {
                return Poll::Ready(());
            }
            tick.as_mut().reset(tokio::time::Instant::now() + period);
        }
        // An error is the client's: it sent nonsense or went away, and hyper has answered what can be answered.
        connection.as_mut().poll(cx).map(|_| ())
    })
    .await;
}

/// Answers 503 and closes, whatever the client wants.
fn refuse(mut stream: TcpStream, shared: &Arc<Shared>) {
    shared.metrics.connections_refused.fetch_add(1, Ordering::Relaxed);
    if shared.refusing.fetch_add(1, Ordering::Relaxed) >= REFUSALS_MAX {
        shared.refusing.fetch_sub(1, Ordering::Relaxed);
        return;
    }
    let shared = shared.clone();
    tokio::spawn(async move {
        let talk = async {
            let head = "HTTP/1.1 503 Service Unavailable\r\ncontent-type: application/json\r\nretry-after: 1\r\n";
            let length = REFUSAL.len();
            let answer = format!("{head}connection: close\r\ncontent-length: {length}\r\n\r\n{REFUSAL}");
            // First the request's begin: an answer to nothing confuses clients. Then the rest of it: closing over unread
            // bytes would reset the connection, and the client might not see the answer.
            let mut bytes = [0u8; 4096];
            if stream.read(&mut bytes).await? == 0 {
                return Ok(());
            }
            stream.write_all(answer.as_bytes()).await?;
            stream.shutdown().await?;
            while stream.read(&mut bytes).await? > 0 {}
            std::io::Result::Ok(())
        };
        // However it ends, the connection is closed.
        let _ = tokio::time::timeout(REFUSAL_TIME, talk).await;
        shared.refusing.fetch_sub(1, Ordering::Relaxed);
    });
}
