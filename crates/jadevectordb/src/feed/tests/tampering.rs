//! A way to a node's admin protocol on which somebody changes what passes.

use crate::engine::Node;
use axum::body::Body;
use axum::extract::{Request, State};
use axum::middleware::Next;
use axum::response::Response;
use bytes::Bytes;
use http::header::CONTENT_LENGTH;
use http_body::Frame;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll};
use wire::admin::Peer;

/// What becomes of each piece of one answer; `None` ends it.
pub(crate) type Change = Box<dyn FnMut(Bytes) -> Option<Bytes> + Send>;

/// While it tampers, answers whose path ends with `path` are changed by a `Change` of their own.
pub(crate) struct Tampering {
    pub peer: Peer,
    on: Arc<AtomicBool>,
    server: tokio::task::JoinHandle<()>,
}

#[derive(Clone)]
struct Rule {
    path: &'static str,
    on: Arc<AtomicBool>,
    change: Arc<dyn Fn() -> Change + Send + Sync>,
}

impl Tampering {
    pub async fn with(node: &Node, path: &'static str, change: impl Fn() -> Change + Send + Sync + 'static) -> Self {
        let on = Arc::new(AtomicBool::new(true));
        let rule = Rule { path, on: on.clone(), change: Arc::new(change) };
        let tamper = axum::middleware::from_fn_with_state(rule, pass);
        let router = crate::admin::router(node.clone()).layer(tamper);
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let peer = Peer { admin: listener.local_addr().unwrap().to_string(), http: "127.0.0.1:1".into() };
        let server = tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
        Self { peer, on, server }
    }

    /// Further answers pass as they are.
    pub fn end(&self) {
        self.on.store(false, Ordering::SeqCst);
    }
}

impl Drop for Tampering {
    fn drop(&mut self) {
        self.server.abort();
    }
}

async fn pass(State(rule): State<Rule>, mut request: Request, next: Next) -> Response {
    let affected = request.uri().path().ends_with(rule.path) && rule.on.load(Ordering::SeqCst);
    if affected {
        // As a node that cannot go on with a snapshot: each stream is the same, and is changed at the same place.
        let uri = request.uri().to_string();
        let whole = uri.split_once("&resume=").map_or(uri.as_str(), |(whole, _)| whole);
        *request.uri_mut() = whole.parse().unwrap();
    }
    let response = next.run(request).await;
    if !affected || !response.status().is_success() {
        return response;
    }
    let (mut parts, body) = response.into_parts();
    parts.headers.remove(CONTENT_LENGTH);
    Response::from_parts(parts, Body::new(Changed { body, change: (rule.change)() }))
}

struct Changed {
    body: Body,
    change: Change,
}

impl http_body::Body for Changed {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        let Poll::Ready(next) = Pin::new(&mut self.body).poll_frame(context) else { return Poll::Pending };
        Poll::Ready(match next {
            Some(Ok(frame)) => match frame.into_data() {
                Ok(piece) => (self.change)(piece).map(|piece| Ok(Frame::data(piece))),
                Err(other) => Some(Ok(other)),
            },
            other => other,
        })
    }
}

/// The bit at `position` of the bytes of an answer.
pub(crate) fn flip(position: u64) -> Change {
    let mut passed = 0;
    Box::new(move |piece| {
        let (begin, bit) = (passed, 1 << (position % 8));
        passed += 8 * piece.len() as u64;
        let mut bytes = piece.to_vec();
        if (begin..passed).contains(&position) {
            bytes[((position - begin) / 8) as usize] ^= bit;
        }
        Some(bytes.into())
    })
}

/// Ends an answer after so many bytes.
pub(crate) fn cut(after: usize) -> Change {
    let mut left = after;
    Box::new(move |piece| {
        let kept = piece.slice(..piece.len().min(left));
        left -= kept.len();
        (!kept.is_empty()).then_some(kept)
    })
}
