//! The gateway with real sockets: test nodes and clients on 127.0.0.1, ports picked by the system.

mod bodies;
mod bounds;
mod connections;
mod failures;
mod hold;
mod own_writes;
mod replicas;
mod routes;
mod support;
