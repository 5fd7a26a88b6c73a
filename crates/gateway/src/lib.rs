//! The HTTP/1.1 data path between clients and the two colours.
//!
//! [`Gateway`] listens, and sends each *request* (not each connection) where the current [`Routing`] says: reads by an
//! independent coin per request, writes to the primary, and either to the colour named by the header `canary`. Changing
//! the routing is one swap that the next request sees; nobody's connection is closed for it.
//!
//! A map of the files:
//!
//! | file | holds |
//! |---|---|
//! | `gateway.rs` | the handle: start, set the routing, read the metrics, shut down |
//! | `routing.rs` | where requests go, and the swap of it; what is a read and what is a write |
//! | `server.rs` | the client side: accept, one task per connection, time limits |
//! | `session.rs` | what is known about one client connection while it lives |
//! | `proxy.rs` | one request, from its head to the head of the answer; reads and writes below it |
//! | `edit.rs` | the changes made to a request's and an answer's head |
//! | `pool.rs` | connections to one backend: taken, returned, drained, ended |
//! | `body.rs` | the bodies that pass through, in either direction |
//! | `hold.rs` | writes that wait while the right to write moves |
//! | `own_writes.rs` | the last write of each credential, which its reads demand |
//! | `limits.rs`, `refusal.rs`, `metrics.rs`, `signal.rs` | bounds; answers of the gateway itself; counts; stop signals |
//!
//! **Life of a request.** The task of the client's connection reads the head, takes an upstream connection out of the
//! pool and *drives it itself* until the answer has passed: there is no second task and no channel between threads per
//! request. The upstream connection goes back into the pool as soon as the answer has been read from it.
//!
//! **Invariant.** A request is sent a second time only if it is a read whose body is kept, or if not a byte of it had
//! been given to a connection that was still open.
//! **Invariant.** Memory per request does not depend on the size of its body: bodies stream, except those of reads up to
//! [`Limits::replay_bytes_max`].
//! **Invariant.** A read is answered from a state that has every write that was acknowledged to the same credential before,
//! or not at all. To lag is not to fail: a node that says so is not counted as if it had.
//! **Invariant.** A failure of a colour is counted for that colour also where a second attempt saved the client.

mod body;
mod edit;
mod gateway;
mod hold;
mod limits;
mod metrics;
mod own_writes;
mod pool;
mod proxy;
mod refusal;
mod routing;
mod server;
mod session;
mod signal;

pub use gateway::{Gateway, GatewayOptions, StartError};
pub use limits::{Limits, LimitsError};
pub use metrics::ColourMetrics;
pub use routing::{RequestKind, Routing, kind_of};
pub use wire::Latency;
