//! Hosts, and what each of them says to which other: the real routers of the nodes, called through links.

use super::chance::Chance;
use super::link;
use super::world::World;
use axum::Router;
use client::{HttpError, Request, Sending};
use parking_lot::Mutex;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Weak};
use std::time::Duration;
use tokio::sync::watch;
use wire::Colour;
use wire::admin::Peer;

const HTTP_PORT: u16 = 8080;
const ADMIN_PORT: u16 = 8081;

/// Somebody with a network of their own.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Host {
    Node(Colour),
    Conductor(u32),
    Client(u32),
}

/// Which of a node's two interfaces.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Port {
    Http,
    Admin,
}

/// A process: over when it is gone.
#[derive(Clone)]
pub(super) struct Life {
    over: Arc<watch::Sender<bool>>,
}

impl Life {
    pub fn new() -> Life {
        Life { over: Arc::new(watch::Sender::new(false)) }
    }

    pub fn end(&self) {
        self.over.send_replace(true);
    }

    pub fn is_over(&self) -> bool {
        *self.over.borrow()
    }

    /// Returns at the end.
    pub async fn until_over(&self) {
        let mut over = self.over.subscribe();
        // The sender lives as long as `self`.
        let _ = over.wait_for(|over| *over).await;
    }
}

/// What a node's process answers with.
#[derive(Clone)]
pub(super) struct Service {
    pub life: Life,
    pub rest: Router,
    pub admin: Router,
}

pub(super) struct Network {
    inner: Mutex<Inner>,
}

#[derive(Default)]
struct Inner {
    services: BTreeMap<Colour, Service>,
    /// What the first says does not reach the second.
    cut: BTreeSet<(Host, Host)>,
    /// Nobody reaches these, and they reach nobody.
    isolated: BTreeSet<Colour>,
    /// Added to every message between the two, ms.
    slow: BTreeMap<(Host, Host), u64>,
}

impl Network {
    pub fn new() -> Network {
        Network { inner: Mutex::default() }
    }

    pub fn open(&self, colour: Colour, service: Service) {
        self.inner.lock().services.insert(colour, service);
    }

    pub fn close(&self, colour: Colour) {
        self.inner.lock().services.remove(&colour);
    }

    pub fn service(&self, colour: Colour) -> Option<Service> {
        self.inner.lock().services.get(&colour).cloned()
    }

    pub fn is_cut(&self, from: Host, to: Host) -> bool {
        let inner = self.inner.lock();
        let isolated = |host| matches!(host, Host::Node(colour) if inner.isolated.contains(&colour));
        isolated(from) || isolated(to) || inner.cut.contains(&(from, to))
    }

    pub fn isolate(&self, colour: Colour, isolated: bool) {
        let mut inner = self.inner.lock();
        match isolated {
            true => inner.isolated.insert(colour),
            false => inner.isolated.remove(&colour),
        };
    }

    pub fn cut(&self, from: Host, to: Host) {
        self.inner.lock().cut.insert((from, to));
    }

    pub fn mend(&self, from: Host, to: Host) {
        self.inner.lock().cut.remove(&(from, to));
    }

    pub fn slow(&self, one: Host, other: Host, by_ms: u64) {
        let mut inner = self.inner.lock();
        for pair in [(one, other), (other, one)] {
            match by_ms {
                0 => inner.slow.remove(&pair),
                by_ms => inner.slow.insert(pair, by_ms),
            };
        }
    }

    /// Everybody reaches everybody at once again.
    pub fn heal(&self) {
        let mut inner = self.inner.lock();
        inner.cut.clear();
        inner.isolated.clear();
        inner.slow.clear();
    }

    /// How long a message takes.
    pub fn delay(&self, chance: &Chance, usual_ms: u64, from: Host, to: Host) -> Duration {
        let slow_ms = self.inner.lock().slow.get(&(from, to)).copied().unwrap_or(0);
        chance.ms(0..=usual_ms) + if slow_ms == 0 { Duration::ZERO } else { chance.ms(slow_ms / 2..=slow_ms) }
    }
}

/// Where a node is spoken to.
pub(super) fn peer(colour: Colour) -> Peer {
    let address = |port| format!("{}:{port}", host_name(colour));
    Peer { admin: address(ADMIN_PORT), http: address(HTTP_PORT) }
}

fn host_name(colour: Colour) -> &'static str {
    match colour {
        Colour::Blue => "10.0.0.1",
        Colour::Green => "10.0.0.2",
    }
}

/// The network as one host, or one process on it, has it.
pub(super) struct Endpoint {
    pub world: Weak<World>,
    pub host: Host,
    /// Of the process; nothing is sent after it.
    pub life: Option<Life>,
}

impl client::Network for Endpoint {
    fn send(&self, request: Request) -> Sending {
        let (world, host) = (self.world.clone(), self.host);
        let is_off = self.life.as_ref().is_some_and(Life::is_over);
        Box::pin(async move {
            let to = request.uri().authority().map(ToString::to_string).unwrap_or_default();
            let connect = |why: &str| HttpError::Connect { to: to.clone(), why: why.into() };
            let Some(world) = world.upgrade().filter(|_| !is_off) else { return Err(connect("this host is off")) };
            let Some((colour, port)) = found(&to) else { return Err(connect("no such host")) };
            link::exchange(&world, host, (colour, port), request).await
        })
    }
}

fn found(address: &str) -> Option<(Colour, Port)> {
    let (host, port) = address.split_once(':')?;
    let colour = Colour::BOTH.into_iter().find(|colour| host_name(*colour) == host)?;
    match port.parse().ok()? {
        HTTP_PORT => Some((colour, Port::Http)),
        ADMIN_PORT => Some((colour, Port::Admin)),
        _ => None,
    }
}
