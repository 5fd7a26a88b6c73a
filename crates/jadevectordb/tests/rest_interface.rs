//! The REST interface over real sockets: the real router, a real node in a temporary folder.

#[path = "rest_interface/accounts.rs"]
mod accounts;
#[path = "rest_interface/common.rs"]
mod common;
#[path = "rest_interface/connections.rs"]
mod connections;
#[path = "rest_interface/databases.rs"]
mod databases;
#[path = "rest_interface/full_disk.rs"]
mod full_disk;
#[path = "rest_interface/handover.rs"]
mod handover;
#[path = "rest_interface/idempotency.rs"]
mod idempotency;
#[path = "rest_interface/program.rs"]
mod program;
#[path = "rest_interface/search.rs"]
mod search;
#[path = "rest_interface/system.rs"]
mod system;
#[path = "rest_interface/vectors.rs"]
mod vectors;
