//! The bodies that pass through: a request's on its way to a backend, an answer's on its way to a client.

use crate::metrics::Counters;
use crate::pool::Upstream;
use crate::session::{BodyFault, Phase, Session};
use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use hyper::body::Incoming;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;
use tokio::time::{Instant, Sleep};
use wire::Colour;

/// A request's body could not be passed on.
#[derive(Debug, thiserror::Error)]
pub(crate) enum RequestBodyError {
    #[error("the body is larger than {0} bytes")]
    TooLarge(u64),
    #[error("the client broke off its request's body: {0}")]
    Client(hyper::Error),
}

/// A request's body as it goes to a backend.
#[derive(Debug)]
pub(crate) enum RequestBody {
    /// Known as a whole; `None` once it is sent, or if there is none.
    Kept(Option<Bytes>),
    Streamed {
        incoming: Option<Incoming>,
        /// Bytes that may still come.
        left: u64,
        session: Arc<Session>,
    },
}

impl RequestBody {
    pub(crate) fn kept(body: Bytes) -> Self {
        RequestBody::Kept(Some(body).filter(|body| !body.is_empty()))
    }

    pub(crate) fn streamed(incoming: Incoming, session: Arc<Session>) -> Self {
        let left = session.shared.limits.body_bytes_max;
        RequestBody::Streamed { incoming: Some(incoming), left, session }
    }

    /// What the client has not been asked for yet.
    pub(crate) fn into_unread(self) -> Option<Incoming> {
        match self {
            RequestBody::Kept(_) => None,
            RequestBody::Streamed { incoming, .. } => incoming,
        }
    }
}

impl Body for RequestBody {
    type Data = Bytes;
    type Error = RequestBodyError;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, RequestBodyError>>> {
        let (slot, left, session) = match self.get_mut() {
            RequestBody::Kept(body) => return Poll::Ready(body.take().map(|bytes| Ok(Frame::data(bytes)))),
            RequestBody::Streamed { incoming, left, session } => (incoming, left, session),
        };
        let Some(incoming) = slot else { return Poll::Ready(None) };
        let polled = Pin::new(incoming).poll_frame(cx);
        session.activity.set_body_awaited(polled.is_pending());
        match ready!(polled) {
            Some(Ok(frame)) => {
                let size = frame.data_ref().map_or(0, Bytes::len) as u64;
                if size > *left {
                    *session.cut_body.lock() = slot.take();
                    session.activity.set_body_fault(BodyFault::TooLarge);
                    let error = RequestBodyError::TooLarge(session.shared.limits.body_bytes_max);
                    return Poll::Ready(Some(Err(error)));
                }
                *left -= size;
                Poll::Ready(Some(Ok(frame)))
            }
            Some(Err(error)) => {
                session.activity.set_body_fault(BodyFault::ClientBroke);
                Poll::Ready(Some(Err(RequestBodyError::Client(error))))
            }
            None => Poll::Ready(None),
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            RequestBody::Kept(body) => body.is_none(),
            RequestBody::Streamed { incoming, .. } => incoming.as_ref().is_none_or(Incoming::is_end_stream),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            RequestBody::Kept(body) => SizeHint::with_exact(body.as_ref().map_or(0, Bytes::len) as u64),
            RequestBody::Streamed { incoming, .. } => incoming.as_ref().map_or_else(SizeHint::new, Body::size_hint),
        }
    }
}

/// Counts a request at a colour from its first attempt there until its answer has passed.
#[derive(Debug)]
pub(crate) struct InFlight {
    session: Arc<Session>,
    colour: Colour,
}

impl InFlight {
    pub(crate) fn enter(session: &Arc<Session>, colour: Colour) -> Self {
        session.shared.metrics.of(colour).enter();
        Self { session: session.clone(), colour }
    }

    fn counters(&self) -> &Counters {
        self.session.shared.metrics.of(self.colour)
    }
}

impl Drop for InFlight {
    fn drop(&mut self) {
        self.counters().leave();
    }
}

/// An answer's body as it goes to a client. While it lives, an answer is being passed on.
pub(crate) struct AnswerBody {
    content: Content,
    session: Arc<Session>,
}

enum Content {
    /// An answer of the gateway itself.
    Own(Option<Bytes>),
    /// The same, and then the rest of the request's body is read and thrown away for a while: a client that is still
    /// sending would otherwise meet a reset connection instead of the answer.
    OwnThenDrain { answer: Option<Bytes>, rest: Box<Drain> },
    Passed {
        incoming: Incoming,
        /// Driven for more of the body; `None` when all of it has been read.
        upstream: Option<Upstream>,
        in_flight: InFlight,
        read: bool,
    },
}

struct Drain {
    incoming: Incoming,
    bytes_left: u64,
    /// Ends the drain when the client pauses, and in any case at `end`.
    pause: Pin<Box<Sleep>>,
    end: Instant,
}

const DRAIN_PAUSE: Duration = Duration::from_millis(200);
const DRAIN_TIME: Duration = Duration::from_secs(5);
const DRAIN_BYTES_MAX: u64 = 256 * 1024 * 1024;

impl AnswerBody {
    pub(crate) fn own(text: Bytes, session: Arc<Session>) -> Self {
        Self { content: Content::Own(Some(text)), session }
    }

    pub(crate) fn own_then_drain(text: Bytes, incoming: Incoming, session: Arc<Session>) -> Self {
        let now = Instant::now();
        let pause = Box::pin(tokio::time::sleep_until(now + DRAIN_PAUSE));
        let rest = Drain { incoming, bytes_left: DRAIN_BYTES_MAX, pause, end: now + DRAIN_TIME };
        Self { content: Content::OwnThenDrain { answer: Some(text), rest: Box::new(rest) }, session }
    }

    /// `upstream` goes back at once if the whole answer has been read with its head, as short ones are.
    pub(crate) fn passed(incoming: Incoming, upstream: Upstream, in_flight: InFlight, read: bool) -> Self {
        let session = in_flight.session.clone();
        let upstream = if upstream.is_ready() {
            upstream.release();
            None
        } else {
            Some(upstream)
        };
        Self { content: Content::Passed { incoming, upstream, in_flight, read }, session }
    }
}

impl Drain {
    fn poll_done(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        loop {
            match Pin::new(&mut self.incoming).poll_frame(cx) {
                Poll::Ready(Some(Ok(frame))) => {
                    let size = frame.data_ref().map_or(0, Bytes::len) as u64;
                    let now = Instant::now();
                    if size > self.bytes_left || now >= self.end {
                        return Poll::Ready(());
                    }
                    self.bytes_left -= size;
                    self.pause.as_mut().reset((now + DRAIN_PAUSE).min(self.end));
                }
                Poll::Ready(Some(Err(_)) | None) => return Poll::Ready(()),
                Poll::Pending => return self.pause.as_mut().poll(cx),
            }
        }
    }
}

impl Body for AnswerBody {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        let (incoming, upstream, in_flight, read) = match &mut self.get_mut().content {
            Content::Own(text) => return Poll::Ready(text.take().map(|bytes| Ok(Frame::data(bytes)))),
            Content::OwnThenDrain { answer, rest } => {
                return match answer.take() {
                    Some(text) => Poll::Ready(Some(Ok(Frame::data(text)))),
                    None => rest.poll_done(cx).map(|()| None),
                };
            }
            Content::Passed { incoming, upstream, in_flight, read } => (incoming, upstream, in_flight, *read),
        };
        let mut polled = Pin::new(&mut *incoming).poll_frame(cx);
        if polled.is_pending()
            && let Some(upstream) = upstream
        {
            upstream.drive(cx);
            polled = Pin::new(&mut *incoming).poll_frame(cx);
        }
        let frame = ready!(polled);
        match &frame {
            Some(Err(_)) => {
                // Unless the request's body, still on its way, was what broke.
                if in_flight.session.activity.body_fault() == BodyFault::None {
                    in_flight.counters().record_error(read);
                }
                *upstream = None;
            }
            Some(Ok(_)) if !incoming.is_end_stream() => {}
            Some(Ok(_)) | None => {
                if let Some(upstream) = upstream.take() {
                    upstream.release();
                }
            }
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        match &self.content {
            Content::Own(text) => text.is_none(),
            Content::OwnThenDrain { .. } => false,
            Content::Passed { incoming, .. } => incoming.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match &self.content {
            Content::Own(text) => SizeHint::with_exact(text.as_ref().map_or(0, Bytes::len) as u64),
            Content::OwnThenDrain { .. } => SizeHint::default(),
            Content::Passed { incoming, .. } => incoming.size_hint(),
        }
    }
}

impl Drop for AnswerBody {
    fn drop(&mut self) {
        self.session.activity.enter(Phase::Resting);
    }
}
