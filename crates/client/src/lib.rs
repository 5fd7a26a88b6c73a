//! HTTP client: the node's admin protocol as typed calls, and plain requests for forwarding.
//!
//! Apart from `wire`, which stays free of I/O, this is the one place that speaks HTTP as a client. (The gateway keeps
//! connections of its own, because its retries depend on knowing whether a request was sent.)

mod admin;
mod body;
mod http;

pub use admin::{Admin, CallError};
pub use body::{AnswerBody, BodyError};
pub use http::{Http, HttpError, JsonResponse, Network, Request, Sending, StreamingResponse, post};
