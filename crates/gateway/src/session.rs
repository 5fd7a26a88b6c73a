//! What is known about one client connection while it lives, and the socket that notes what moves.

use crate::gateway::Shared;
use crate::limits::Limits;
use http::HeaderValue;
use hyper::body::Incoming;
use parking_lot::Mutex;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU64, Ordering};
use std::task::{Context, Poll};
use std::time::Instant;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;

/// One client connection. Its request, its answer and its socket hold it.
#[derive(Debug)]
pub(crate) struct Session {
    pub(crate) shared: Arc<Shared>,
    /// The client's address, as `X-Forwarded-For` gets it.
    pub(crate) peer: HeaderValue,
    pub(crate) activity: Activity,
    /// A body that was cut at the limit: the rest of it, to be drained while 413 is answered.
    pub(crate) cut_body: Mutex<Option<Incoming>>,
}

impl Session {
    pub(crate) fn new(shared: Arc<Shared>, peer: SocketAddr) -> Self {
        let address = peer.ip().to_canonical().to_string();
        let peer = HeaderValue::from_str(&address).unwrap_or(HeaderValue::from_static("unknown"));
        let activity = Activity::new(shared.started);
        Self { shared, peer, activity, cut_body: Mutex::new(None) }
    }
}

/// What a client's connection is doing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Phase {
    /// A head has begun (or the connection has).
    Head = 0,
    /// A request waits for the head of its answer, and watches the time itself.
    Waiting = 1,
    /// An answer is being passed on.
    Passing = 2,
    /// Between two requests.
    Resting = 3,
}

/// What is wrong with the body of the current request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum BodyFault {
    None = 0,
    TooLarge = 1,
    ClientBroke = 2,
}

/// Phase of a connection and when something last happened on it. Written and read by one task; atomics only because a
/// task may move between threads.
#[derive(Debug)]
pub(crate) struct Activity {
    started: Instant,
    phase: AtomicU8,
    /// Milliseconds since `started`: the phase's begin, or the last byte that moved in it.
    at_ms: AtomicU64,
    /// The upstream side waits for the client to send more of the body.
    body_awaited: AtomicBool,
    body_fault: AtomicU8,
}

impl Activity {
    fn new(started: Instant) -> Self {
        let activity = Self {
            started,
            phase: AtomicU8::new(Phase::Head as u8),
            at_ms: AtomicU64::new(0),
            body_awaited: AtomicBool::new(false),
            body_fault: AtomicU8::new(BodyFault::None as u8),
        };
        activity.touch();
        activity
    }

    fn now_ms(&self) -> u64 {
        self.started.elapsed().as_millis() as u64
    }

    fn phase(&self) -> Phase {
        match self.phase.load(Ordering::Relaxed) {
            0 => Phase::Head,
            1 => Phase::Waiting,
            2 => Phase::Passing,
            _ => Phase::Resting,
        }
    }

    pub(crate) fn enter(&self, phase: Phase) {
        self.phase.store(phase as u8, Ordering::Relaxed);
        self.touch();
    }

    pub(crate) fn touch(&self) {
        self.at_ms.store(self.now_ms(), Ordering::Relaxed);
    }

    /// Time since a byte moved or the phase began.
    pub(crate) fn silent_ms(&self) -> u64 {
        self.now_ms().saturating_sub(self.at_ms.load(Ordering::Relaxed))
    }

    fn note_read(&self) {
        match self.phase() {
            // A head must not gain time by arriving byte by byte.
            Phase::Head => {}
            Phase::Resting => self.enter(Phase::Head),
            Phase::Waiting | Phase::Passing => self.touch(),
        }
    }

    fn note_write(&self) {
        if self.phase() != Phase::Head {
            self.touch();
        }
    }

    /// The connection has taken longer than its phase may take.
    pub(crate) fn overdue(&self, limits: &Limits) -> bool {
        let limit_ms = match self.phase() {
            Phase::Head => limits.header_ms,
            Phase::Resting => limits.keep_alive_ms,
            Phase::Passing => limits.stall_ms,
            Phase::Waiting => return false,
        };
        self.silent_ms() >= limit_ms
    }

    pub(crate) fn begin_request(&self) {
        self.body_awaited.store(false, Ordering::Relaxed);
        self.body_fault.store(BodyFault::None as u8, Ordering::Relaxed);
        self.enter(Phase::Waiting);
    }

    pub(crate) fn set_body_awaited(&self, awaited: bool) {
        self.body_awaited.store(awaited, Ordering::Relaxed);
    }

    pub(crate) fn body_awaited(&self) -> bool {
        self.body_awaited.load(Ordering::Relaxed)
    }

    pub(crate) fn set_body_fault(&self, fault: BodyFault) {
        self.body_fault.store(fault as u8, Ordering::Relaxed);
    }

    pub(crate) fn body_fault(&self) -> BodyFault {
        match self.body_fault.load(Ordering::Relaxed) {
            0 => BodyFault::None,
            1 => BodyFault::TooLarge,
            _ => BodyFault::ClientBroke,
        }
    }
}

/// A client's socket that notes each byte that moves.
#[derive(Debug)]
pub(crate) struct ClientSocket {
    stream: TcpStream,
    session: Arc<Session>,
}

impl ClientSocket {
    pub(crate) fn new(stream: TcpStream, session: Arc<Session>) -> Self {
        Self { stream, session }
    }

    fn note(&self, written: &Poll<io::Result<usize>>) {
        if matches!(written, Poll::Ready(Ok(count)) if *count > 0) {
            self.session.activity.note_write();
        }
    }
}

impl AsyncRead for ClientSocket {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let socket = self.get_mut();
        let before = buf.filled().len();
        let result = Pin::new(&mut socket.stream).poll_read(cx, buf);
        if buf.filled().len() > before {
            socket.session.activity.note_read();
        }
        result
    }
}

impl AsyncWrite for ClientSocket {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        let socket = self.get_mut();
        let written = Pin::new(&mut socket.stream).poll_write(cx, buf);
        socket.note(&written);
        written
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let socket = self.get_mut();
        let written = Pin::new(&mut socket.stream).poll_write_vectored(cx, bufs);
        socket.note(&written);
        written
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
