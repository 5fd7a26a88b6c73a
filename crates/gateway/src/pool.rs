//! Connections to one backend. A request takes one, *drives it in its own task* and gives it back once the answer has
//! been read from it. Idle ones are driven by nobody; a sweep each second drops those that are old or closed.

use crate::body::RequestBody;
use crate::limits::Limits;
use crate::session::Session;
use crate::signal::{Level, Registered, Signals};
use http::{Request, Response};
use hyper::body::Incoming;
use hyper::client::conn::http1::{self, Connection, SendRequest};
use hyper_util::rt::TokioIo;
use parking_lot::Mutex;
use rustix::net::RecvFlags;
use std::io;
use std::net::SocketAddr;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use wire::Colour;

/// How long a node that gave no answer is not asked while others of its colour can be.
const LEFT_OUT_MS: u64 = 1_000;

/// One node at one address, and the connections to it.
#[derive(Debug)]
pub(crate) struct Backend {
    pub(crate) colour: Colour,
    pub(crate) address: SocketAddr,
    limits: Arc<Limits>,
    links: Arc<Signals>,
    pool: Mutex<Pool>,
    /// When it failed last, ms since `created`, plus 1; 0: it did not since its last answer.
    failed_ms: AtomicU64,
    created: Instant,
}

#[derive(Debug, Default)]
struct Pool {
    /// The last returned is taken first, so the first are the oldest.
    #[allow(clippy::vec_box, reason = "links move between requests and the pool: a pointer, not the link")]
    idle: Vec<Box<Link>>,
    /// Connections taken before the last drain are not wanted back.
    drains: u64,
    retired: bool,
}

/// A connection to a backend.
struct Link {
    sender: SendRequest<RequestBody>,
    /// `None` once it has ended.
    connection: Option<Connection<TokioIo<BackendSocket>, RequestBody>>,
    signal: Registered,
    /// Makes the socket look for an end of stream before its next read.
    probe: Arc<AtomicBool>,
    drains: u64,
    idle_since: Instant,
}

impl std::fmt::Debug for Link {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Link").field("signal", &self.signal).finish_non_exhaustive()
    }
}

/// A connection in use by one request. Dropped without [`Upstream::release`], it is closed.
#[derive(Debug)]
pub(crate) struct Upstream {
    pub(crate) backend: Arc<Backend>,
    link: Box<Link>,
}

/// Why there is no answer.
#[derive(Debug)]
pub(crate) enum Broken {
    /// The connection had ended before any of the request was given to it.
    Unsent(Box<Request<RequestBody>>),
    /// It broke after some or all of the request had been sent.
    Sent(hyper::Error),
    /// It was ended by [`Backend::end_all`].
    Ended,
    /// The backend was retired, and the request can go elsewhere.
    Left,
    /// Nothing came in time.
    Silent,
}

impl Backend {
    pub(crate) fn new(colour: Colour, address: SocketAddr, limits: Arc<Limits>) -> Self {
        let (links, pool) = (Arc::new(Signals::default()), Mutex::new(Pool::default()));
        Self { colour, address, limits, links, pool, failed_ms: AtomicU64::new(0), created: Instant::now() }
    }

    /// An idle connection that is not known to be closed. With `probe` the kernel is asked, too: for requests that could
    /// not be sent a second time.
    pub(crate) fn take_idle(self: &Arc<Self>, probe: bool) -> Option<Upstream> {
        for _ in 0..=self.limits.idle_upstream_max {
            let link = self.pool.lock().idle.pop()?;
            let mut upstream = Upstream { backend: self.clone(), link };
            if upstream.link.rests(probe) {
                return Some(upstream);
            }
        }
        None
    }

    pub(crate) async fn connect(self: &Arc<Self>) -> io::Result<Upstream> {
        let drains = self.pool.lock().drains;
        let time = Duration::from_millis(self.limits.connect_ms);
        let Ok(stream) = tokio::time::timeout(time, TcpStream::connect(self.address)).await else {
            let text = format!("no connection within {} ms", self.limits.connect_ms);
            return Err(io::Error::new(io::ErrorKind::TimedOut, text));
        };
        let stream = stream?;
        stream.set_nodelay(true)?;
        let probe = Arc::new(AtomicBool::new(false));
        let socket = TokioIo::new(BackendSocket { stream, probe: probe.clone() });
        let (sender, connection) = http1::handshake(socket).await.map_err(io::Error::other)?;
        let signal = self.links.register();
        let link = Link { sender, connection: Some(connection), signal, probe, drains, idle_since: Instant::now() };
        Ok(Upstream { backend: self.clone(), link: Box::new(link) })
    }

    fn put(&self, mut link: Box<Link>) {
        if link.signal.level() != Level::Stay || !link.sender.is_ready() {
            return;
        }
        link.idle_since = Instant::now();
        let mut pool = self.pool.lock();
        if !pool.retired && pool.drains == link.drains && pool.idle.len() < self.limits.idle_upstream_max {
            pool.idle.push(link);
        }
    }

    /// It gave no answer, or an answer.
    pub(crate) fn answered(&self, well: bool) {
        if !well {
            self.failed_ms.store(self.created.elapsed().as_millis() as u64 + 1, Ordering::Relaxed);
        } else if self.failed_ms.load(Ordering::Relaxed) != 0 {
            self.failed_ms.store(0, Ordering::Relaxed);
        }
    }

    /// It failed a moment ago: others of its colour are asked instead.
    pub(crate) fn is_left_out(&self) -> bool {
        let failed_ms = self.failed_ms.load(Ordering::Relaxed);
        failed_ms != 0 && self.created.elapsed().as_millis() as u64 <= failed_ms + LEFT_OUT_MS
    }

    /// Connections with a request on them.
    pub(crate) fn in_use(&self) -> usize {
        self.links.len().saturating_sub(self.pool.lock().idle.len())
    }

    /// Closes the idle connections, and those in use as soon as their answers have passed.
    pub(crate) fn drain(&self) {
        let mut pool = self.pool.lock();
        pool.drains += 1;
        let idle = std::mem::take(&mut pool.idle);
        drop(pool);
        drop(idle);
    }

    /// Drains for good, and lets requests that can go elsewhere do so.
    pub(crate) fn retire(&self) {
        self.pool.lock().retired = true;
        self.drain();
        self.links.raise(Level::Leave);
    }

    /// Ends all connections, with whatever is in progress on them.
    pub(crate) fn end_all(&self) {
        self.drain();
        self.links.raise(Level::End);
    }

    /// Drops idle connections that are too old or were closed by the backend.
    pub(crate) fn sweep(&self) {
        let time = Duration::from_millis(self.limits.idle_upstream_ms);
        let mut pool = self.pool.lock();
        let dead: Vec<_> =
            pool.idle.extract_if(.., |link| link.idle_since.elapsed() >= time || !link.rests(false)).collect();
        drop(pool);
        drop(dead);
    }
}

impl Link {
    /// Lets the connection work; afterwards its answer and body have what there is.
    fn drive(&mut self, cx: &mut Context<'_>) {
        let Some(connection) = &mut self.connection else { return };
        self.signal.register(cx.waker());
        if self.signal.level() == Level::End || Pin::new(connection).poll(cx).is_ready() {
            // Dropping it resolves whoever waits for an answer or a part of a body.
            self.connection = None;
        }
    }

    /// Is it idle and, as far as one can see, open? Leaves no waker behind: until it is driven again, nobody is to be
    /// woken for it.
    fn rests(&mut self, probe: bool) -> bool {
        if probe {
            self.probe.store(true, Ordering::Relaxed);
        }
        let mut nobody = Context::from_waker(Waker::noop());
        match &mut self.connection {
            Some(connection) => Pin::new(connection).poll(&mut nobody).is_pending() && self.sender.is_ready(),
            None => false,
        }
    }
}

impl Upstream {
    /// Sends a request and waits for the head of the answer. `may_leave`: give up when the backend is retired.
    pub(crate) async fn exchange(
        &mut self,
        request: Request<RequestBody>,
        session: &Session,
        may_leave: bool,
    ) -> Result<Response<Incoming>, Broken> {
        let activity = &session.activity;
        activity.touch();
        let link = &mut *self.link;
        let mut answer = pin!(link.sender.try_send_request(request));
        std::future::poll_fn(|cx| {
            link.drive(cx);
            // Only the connection, driven here, resolves the answer: nobody else need be able to wake us for it.
            match answer.as_mut().poll(&mut Context::from_waker(Waker::noop())) {
                Poll::Ready(Ok(response)) => Poll::Ready(Ok(response)),
                Poll::Ready(Err(mut error)) => Poll::Ready(Err(match error.take_message() {
                    Some(request) => Broken::Unsent(Box::new(request)),
                    None if link.signal.level() == Level::End => Broken::Ended,
                    None => Broken::Sent(error.into_error()),
                })),
                Poll::Pending if may_leave && link.signal.level() >= Level::Leave => Poll::Ready(Err(Broken::Left)),
                // The task of the client's connection ticks, so this is looked at again in time.
                Poll::Pending if activity.silent_ms() >= session.shared.limits.response_head_ms => {
                    Poll::Ready(Err(Broken::Silent))
                }
                Poll::Pending => Poll::Pending,
            }
        })
        .await
    }

    /// Lets the connection work for a body that is being read from it.
    pub(crate) fn drive(&mut self, cx: &mut Context<'_>) {
        self.link.drive(cx);
    }

    /// The answer has been read to its end, and the next request may come.
    pub(crate) fn is_ready(&self) -> bool {
        self.link.sender.is_ready()
    }

    /// Gives the connection back; it is closed if it is not [`Upstream::is_ready`] or not wanted any more.
    pub(crate) fn release(self) {
        self.backend.put(self.link);
    }
}

/// A socket to a backend.
#[derive(Debug)]
struct BackendSocket {
    stream: TcpStream,
    probe: Arc<AtomicBool>,
}

impl BackendSocket {
    /// Looks for an end of stream past the runtime's memory of what is readable, which is as old as its last look at
    /// the kernel. What a write is sent on must not have been closed by then.
    fn has_ended(&self) -> bool {
        let mut byte = [0u8; 1];
        match rustix::net::recv(&self.stream, &mut byte, RecvFlags::PEEK | RecvFlags::DONTWAIT) {
            // A byte that nobody asked for is no better than an end.
            Ok(_) => true,
            Err(error) => error != rustix::io::Errno::WOULDBLOCK && error != rustix::io::Errno::INTR,
        }
    }
}

impl AsyncRead for BackendSocket {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let socket = self.get_mut();
        if socket.probe.load(Ordering::Relaxed) {
            socket.probe.store(false, Ordering::Relaxed);
            if socket.has_ended() {
                return Poll::Ready(Err(io::ErrorKind::ConnectionReset.into()));
            }
        }
        Pin::new(&mut socket.stream).poll_read(cx, buf)
    }
}

impl AsyncWrite for BackendSocket {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.get_mut().stream).poll_write(cx, buf)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.get_mut().stream).poll_write_vectored(cx, bufs)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests;
