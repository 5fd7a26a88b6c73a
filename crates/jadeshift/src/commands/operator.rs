//! `jadeshift operator`: a conductor for each BlueGreen object of a cluster.

use crate::cli::{Globals, Operator as Arguments};
use crate::deployment::{command_prefix, failure, on_cluster};
use crate::exit::ExitCode;
use crate::failure::Failure;
use crate::signals::Interrupts;
use kubernetes::figures::Figures;
use kubernetes::lease::Lease;
use kubernetes::operator::Operator;
use kubernetes::serve::Server;
use std::sync::atomic::Ordering;
use tokio::net::TcpListener;

const WHAT: &str = "the operator could not start";
/// Name of the lease that operators compete for.
const LEASE: &str = "jadeshift-operator";

pub async fn run(globals: &Globals, arguments: &Arguments) -> Result<ExitCode, Failure> {
    let failed = |error: &dyn std::fmt::Display| Failure::failed(WHAT, error);
    let namespace = globals.namespace.clone();
    // A connection to each node.
    jadevectordb::cli::raise_file_limit();
    let connected = kubernetes::remote::connect(&on_cluster(globals).unwrap_or_default(), None).await;
    let (client, own_namespace) = connected.map_err(|error| failure(WHAT, error, &command_prefix(globals)))?;
    let figures = Figures::default();
    let listener = TcpListener::bind(arguments.listen).await;
    let listener = listener.map_err(|error| failed(&format!("cannot listen on {}: {error}", arguments.listen)))?;
    let server = Server::start(listener, figures.clone());
    let mut interrupts = Interrupts::listen()?;
    let operator = tokio::select! {
        operator = Operator::start(client.clone(), namespace.clone(), figures.clone(), arguments.gateway_image.clone()) => operator,
        () = interrupts.next() => return Ok(ExitCode::Ok),
    };
    let operator = operator.map_err(|error| failed(&error))?;
    server.ready.store(true, Ordering::Relaxed);
    let lease_namespace = namespace.as_deref().unwrap_or(&own_namespace);
    let mut lease = Lease::new(client, lease_namespace, LEASE, identity());
    loop {
        tokio::select! {
            () = lease.acquire() => (),
            () = interrupts.next() => return Ok(ExitCode::Ok),
        }
        tracing::info!(namespace = namespace.as_deref().unwrap_or("all"), "looking after BlueGreen objects");
        figures.leads(true);
        let mut interrupted = false;
        let until = async {
            tokio::select! {
                () = lease.keep() => (),
                () = interrupts.next() => interrupted = true,
            }
        };
        operator.run(until).await;
        figures.leads(false);
        if interrupted {
            lease.release().await;
            return Ok(ExitCode::Ok);
        }
    }
}

/// Name of this process among operators.
fn identity() -> String {
    let host = std::env::var("HOSTNAME").unwrap_or_else(|_| "operator".into());
    format!("{host}_{}_{:08x}", std::process::id(), rand::random::<u32>())
}
