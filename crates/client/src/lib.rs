//! HTTP client: the node's admin protocol as typed calls, and plain requests for forwarding.
//!
//! Apart from `wire`, which stays free of I/O, this is the one place that speaks HTTP as a client. (The gateway keeps
//! connections of its own, because its retries depend on knowing whether a request was sent.)

mod admin;
mod http;

pub use admin::{Admin, CallError};
pub use http::{Http, HttpError, JsonResponse, Request, StreamingResponse};
