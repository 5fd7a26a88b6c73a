//! The body of an answer, read as it arrives.

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use hyper::body::Incoming;
use std::error::Error;
use std::pin::Pin;
use std::task::{Context, Poll};

/// Why a body broke off.
pub type BodyError = Box<dyn Error + Send + Sync>;

/// The rest of an answer.
pub struct AnswerBody {
    source: Source,
}

enum Source {
    Received(Incoming),
    Told(Pin<Box<dyn Body<Data = Bytes, Error = BodyError> + Send>>),
}

impl AnswerBody {
    pub(crate) fn received(incoming: Incoming) -> AnswerBody {
        AnswerBody { source: Source::Received(incoming) }
    }

    /// The body of an answer that came over a [`Network`](crate::Network).
    pub fn told(body: impl Body<Data = Bytes, Error = BodyError> + Send + 'static) -> AnswerBody {
        AnswerBody { source: Source::Told(Box::pin(body)) }
    }
}

impl Body for AnswerBody {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        match &mut self.source {
            Source::Received(incoming) => {
                Pin::new(incoming).poll_frame(context).map(|frame| frame.map(|frame| frame.map_err(Into::into)))
            }
            Source::Told(body) => body.as_mut().poll_frame(context),
        }
    }

    fn is_end_stream(&self) -> bool {
        match &self.source {
            Source::Received(incoming) => incoming.is_end_stream(),
            Source::Told(body) => body.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match &self.source {
            Source::Received(incoming) => incoming.size_hint(),
            Source::Told(body) => body.size_hint(),
        }
    }
}
