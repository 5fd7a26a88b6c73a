//! The handle of a running gateway.

use crate::hold::Hold;
use crate::limits::{Limits, LimitsError};
use crate::metrics::{ColourMetrics, Metrics};
use crate::own_writes::OwnWrites;
use crate::routing::{Router, Routing};
use crate::server;
use crate::signal::{Level, Signals};
use http::HeaderValue;
use parking_lot::Mutex;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::{Duration, Instant};
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use wire::{ByColour, Colour};

/// What a gateway is started with.
#[derive(Debug, Clone)]
pub struct GatewayOptions {
    /// Port 0 picks a free one.
    pub listen: SocketAddr,
    pub limits: Limits,
    /// The first routing; the default has no backend.
    pub routing: Routing,
    /// Let each credential read its own writes, whichever node answers.
    pub read_own_writes: bool,
    /// LSN of the last write that may have been acknowledged before this gateway started: all reads demand it.
    pub acknowledged_lsn: u64,
}

impl GatewayOptions {
    pub fn new(listen: SocketAddr) -> Self {
        let (limits, routing) = (Limits::default(), Routing::default());
        Self { listen, limits, routing, read_own_writes: true, acknowledged_lsn: 0 }
    }
}

/// Why a gateway did not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    #[error("the gateway cannot listen on {address}: it is in use by another program; choose another port")]
    AddressInUse { address: SocketAddr },
    #[error("the gateway cannot listen on {address}: {source}")]
    Listen { address: SocketAddr, source: io::Error },
    #[error(transparent)]
    Limits(#[from] LimitsError),
}

/// A running gateway. Dropped, it stops accepting and lets requests in progress finish.
#[derive(Debug)]
pub struct Gateway {
    shared: Arc<Shared>,
    stop: watch::Sender<bool>,
    tasks: Mutex<Option<Tasks>>,
}

#[derive(Debug)]
struct Tasks {
    accept: JoinHandle<()>,
    sweep: JoinHandle<()>,
}

/// What all connections of a gateway share.
#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) address: SocketAddr,
    /// `Host` for clients so old that they send none.
    pub(crate) own_host: HeaderValue,
    pub(crate) started: Instant,
    pub(crate) limits: Arc<Limits>,
    pub(crate) router: Router,
    pub(crate) metrics: Metrics,
    pub(crate) hold: Hold,
    pub(crate) own_writes: OwnWrites,
    pub(crate) clients: Arc<Signals>,
    /// Connections over the limit that are being answered.
    pub(crate) refusing: AtomicU64,
}

/// How often idle connections to backends are looked at.
const SWEEP: Duration = Duration::from_secs(1);
/// Time for tasks that were told to end.
const END_TIME: Duration = Duration::from_secs(1);

impl Gateway {
    /// Listens and serves. Must be called within a tokio runtime, which then runs the gateway's tasks.
    pub async fn start(options: GatewayOptions) -> Result<Gateway, StartError> {
        options.limits.validate()?;
        let listen = options.listen;
        let refused = |source: io::Error| match source.kind() {
            io::ErrorKind::AddrInUse => StartError::AddressInUse { address: listen },
            _ => StartError::Listen { address: listen, source },
        };
        let listener = TcpListener::bind(listen).await.map_err(refused)?;
        let address = listener.local_addr().map_err(refused)?;
        let own_writes = match options.read_own_writes {
            true => OwnWrites::new(options.limits.writers_max, options.acknowledged_lsn),
            false => OwnWrites::off(),
        };
        let limits = Arc::new(options.limits);
        let shared = Arc::new(Shared {
            address,
            own_host: HeaderValue::from_str(&address.to_string()).unwrap_or(HeaderValue::from_static("localhost")),
            started: Instant::now(),
            router: Router::new(limits.clone()),
            limits,
            metrics: Metrics::new(),
            hold: Hold::default(),
            own_writes,
            clients: Arc::new(Signals::default()),
            refusing: AtomicU64::new(0),
        });
        shared.router.set(options.routing);
        let stop = watch::Sender::new(false);
        let accept = tokio::spawn(server::accept(listener, shared.clone(), stop.subscribe()));
        let sweep = tokio::spawn(sweep(shared.clone(), stop.subscribe()));
        Ok(Gateway { shared, stop, tasks: Mutex::new(Some(Tasks { accept, sweep })) })
    }

    /// Where it listens, with the port that was picked.
    pub fn address(&self) -> SocketAddr {
        self.shared.address
    }

    /// Swaps the routing: every request sees the old or the new one, as a whole.
    ///
    /// Held writes go on if the new one does not hold them. A colour that serves nothing any more (no share, not
    /// primary) has its idle connections closed, and those in use after their answers. Reads that wait for an answer of
    /// a backend that is gone go to the other colour.
    pub fn set_routing(&self, routing: Routing) {
        self.shared.router.set(routing);
    }

    pub fn routing(&self) -> Routing {
        self.shared.router.current().routing.clone()
    }

    /// What each colour answered since the start. Counters only grow: take differences.
    pub fn metrics(&self) -> ByColour<ColourMetrics> {
        self.shared.metrics.snapshot()
    }

    /// Requests at a colour now, until the last byte of their answers.
    pub fn in_flight(&self, colour: Colour) -> u64 {
        self.shared.metrics.of(colour).in_flight()
    }

    /// Requests at one node of a colour now.
    pub fn in_use(&self, colour: Colour, address: SocketAddr) -> usize {
        let backends = self.shared.router.backends_of(colour);
        backends.iter().filter(|backend| backend.address == address).map(|backend| backend.in_use()).sum()
    }

    /// Writes that wait because of [`Routing::hold_writes`].
    pub fn held_writes(&self) -> usize {
        self.shared.hold.held()
    }

    /// Open client connections.
    pub fn connections(&self) -> usize {
        self.shared.clients.len()
    }

    /// Everything in Prometheus text format 0.0.4.
    pub fn prometheus_text(&self) -> String {
        let generation = self.shared.router.current().routing.generation;
        self.shared.metrics.prometheus_text(&[
            ("connections", "Open client connections.", self.connections() as u64),
            ("held_writes", "Writes that wait while the right to write moves.", self.held_writes() as u64),
            ("lsn_min", "LSN that all reads demand.", self.shared.own_writes.floor()),
            ("routing_generation", "Generation of the routing in effect.", generation),
        ])
    }

    /// Closes all connections to a colour, also those with a request in progress: for a side that hangs. Reads without
    /// an answer go to the other colour; a write without an answer gets 502, because nobody knows whether it was done.
    pub fn close_connections(&self, colour: Colour) {
        self.shared.router.backends_of(colour).iter().for_each(|backend| backend.end_all());
    }

    /// As [`Gateway::close_connections`], of one node of a colour.
    pub fn close_connections_to(&self, colour: Colour, address: SocketAddr) {
        let backends = self.shared.router.backends_of(colour);
        backends.iter().filter(|backend| backend.address == address).for_each(|backend| backend.end_all());
    }

    /// Stops accepting, lets requests in progress finish for at most `grace`, and ends what is left then.
    pub async fn shutdown(&self, grace: Duration) {
        self.stop.send_replace(true);
        let tasks = self.tasks.lock().take();
        if let Some(Tasks { accept, sweep }) = tasks {
            // Afterwards the port is free and no connection can be added. Neither task panics or is cancelled.
            let _ = accept.await;
            let _ = sweep.await;
        }
        self.shared.clients.raise(Level::Leave);
        self.wait_until_empty(grace).await;
        self.shared.clients.raise(Level::End);
        self.wait_until_empty(END_TIME).await;
        for colour in Colour::BOTH {
            self.close_connections(colour);
        }
    }

    async fn wait_until_empty(&self, time: Duration) {
        let end = Instant::now() + time;
        while self.connections() > 0 && Instant::now() < end {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    }
}

impl Drop for Gateway {
    fn drop(&mut self) {
        self.stop.send_replace(true);
        self.shared.clients.raise(Level::Leave);
    }
}

async fn sweep(shared: Arc<Shared>, mut stop: watch::Receiver<bool>) {
    while tokio::time::timeout(SWEEP, stop.wait_for(|stop| *stop)).await.is_err() {
        for colour in Colour::BOTH {
            shared.router.backends_of(colour).iter().for_each(|backend| backend.sweep());
        }
    }
}
