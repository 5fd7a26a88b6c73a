//! Where requests go: a value that is swapped as a whole.

use crate::limits::Limits;
use crate::pool::Backend;
use http::Method;
use parking_lot::{Mutex, RwLock};
use serde::{Deserialize, Serialize};
use std::net::SocketAddr;
use std::sync::{Arc, Weak};
use std::time::Duration;
use tokio::sync::watch;
use wire::{ByColour, Colour};

/// Where requests go.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Routing {
    /// REST address of each colour's node; `None`: nothing runs there.
    pub backends: ByColour<Option<SocketAddr>>,
    /// Further nodes of each colour that answer its reads as well.
    #[serde(default)]
    pub others: ByColour<Vec<SocketAddr>>,
    /// Share of reads of each colour. They are weights: percentages if they sum up to 100. A colour without a backend
    /// gets none. If nothing has a share, reads go to the primary.
    pub reads: ByColour<u8>,
    /// Who gets the writes; `None`: they wait.
    pub primary: Option<Colour>,
    /// New writes wait until a later routing has this unset.
    pub hold_writes: bool,
    /// Number given by the caller, for those who look at it.
    pub generation: u64,
}

impl Routing {
    /// Everything to one colour at `address`.
    pub fn only(colour: Colour, address: SocketAddr) -> Self {
        let mut routing = Routing { primary: Some(colour), ..Routing::default() };
        *routing.backends.get_mut(colour) = Some(address);
        *routing.reads.get_mut(colour) = 100;
        routing
    }

    /// The same with `percent` (at most 100) of the reads for `colour` and the rest for the other one.
    pub fn with_share(mut self, colour: Colour, percent: u8) -> Self {
        *self.reads.get_mut(colour) = percent.min(100);
        *self.reads.get_mut(colour.other()) = 100 - percent.min(100);
        self
    }

    /// Gets requests without having been asked for by header.
    fn serves(&self, colour: Colour) -> bool {
        *self.reads.get(colour) > 0 || self.primary == Some(colour)
    }

    fn has_reader(&self, colour: Colour) -> bool {
        self.backends.get(colour).is_some() || !self.others.get(colour).is_empty()
    }

    /// Sum of the shares of colours that have a backend.
    fn weight(&self, colour: Colour) -> u32 {
        if self.has_reader(colour) { u32::from(*self.reads.get(colour)) } else { 0 }
    }

    /// Picks the colour of a read. `coin(n)` is uniform in `0..n` and asked at most once. `None`: no backend at all.
    fn pick(&self, coin: impl FnOnce(u32) -> u32) -> Option<Colour> {
        let (blue, green) = (self.weight(Colour::Blue), self.weight(Colour::Green));
        match (blue, green) {
            (0, 0) => {
                let first = self.primary.unwrap_or(Colour::Blue);
                [first, first.other()].into_iter().find(|&colour| self.has_reader(colour))
            }
            (_, 0) => Some(Colour::Blue),
            (0, _) => Some(Colour::Green),
            _ if coin(blue + green) < blue => Some(Colour::Blue),
            _ => Some(Colour::Green),
        }
    }
}

/// What a request does to the data, as far as the gateway must know.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RequestKind {
    /// Changes nothing, so any colour may answer it and it may be sent twice.
    Read,
    Write,
}

/// Reads are GET, HEAD and OPTIONS, and the POST routes that only ask: searches, `batch-get`, `/v1/rerank` and
/// `/v1/embeddings/generate`. The segments are matched at their places, so that a database named `search` does not turn
/// the writes to it into reads.
pub fn kind_of(method: &Method, path: &str) -> RequestKind {
    match *method {
        Method::GET | Method::HEAD | Method::OPTIONS => RequestKind::Read,
        Method::POST if post_reads(path) => RequestKind::Read,
        _ => RequestKind::Write,
    }
}

fn post_reads(path: &str) -> bool {
    if path == "/v1/rerank" || path == "/v1/embeddings/generate" {
        return true;
    }
    let Some((database, rest)) = path.strip_prefix("/v1/databases/").and_then(|tail| tail.split_once('/')) else {
        return false;
    };
    !database.is_empty() && (rest == "search" || rest.starts_with("search/") || rest == "vectors/batch-get")
}

/// A routing with its backends, as requests use it.
#[derive(Debug)]
pub(crate) struct Table {
    pub(crate) routing: Routing,
    backends: ByColour<Option<Arc<Backend>>>,
    others: ByColour<Vec<Arc<Backend>>>,
    /// Counts the swaps.
    pub(crate) version: u64,
}

impl Table {
    pub(crate) fn backend(&self, colour: Colour) -> Option<&Arc<Backend>> {
        self.backends.get(colour).as_ref()
    }

    pub(crate) fn pick_reader(&self) -> Option<Colour> {
        self.routing.pick(|sides| rand::random_range(0..sides))
    }

    /// All nodes of a colour, the one that gets its writes first.
    pub(crate) fn nodes(&self, colour: Colour) -> impl Iterator<Item = &Arc<Backend>> {
        self.backend(colour).into_iter().chain(self.others.get(colour))
    }

    /// A node of `colour` for a read: any one that did not fail a moment ago, if there is one.
    pub(crate) fn reader(&self, colour: Colour) -> Option<&Arc<Backend>> {
        if self.others.get(colour).is_empty() {
            return self.backend(colour);
        }
        let well = || self.nodes(colour).filter(|backend| !backend.is_left_out());
        match well().count() {
            0 => self.nodes(colour).next(),
            count => well().nth(rand::random_range(0..count)),
        }
    }

    /// It follows another node: what it lacks, that may have.
    pub(crate) fn is_follower(&self, backend: &Arc<Backend>) -> bool {
        let colour = backend.colour;
        self.routing.primary.is_some_and(|primary| match primary == colour {
            true => self.others.get(colour).iter().any(|other| Arc::ptr_eq(other, backend)),
            false => true,
        })
    }
}

/// The current table, and the swap of it.
#[derive(Debug)]
pub(crate) struct Router {
    current: RwLock<Arc<Table>>,
    version: watch::Sender<u64>,
    limits: Arc<Limits>,
    /// Every backend that still has connections, retired ones too. The lock also orders the swaps.
    known: Mutex<ByColour<Vec<Weak<Backend>>>>,
}

impl Router {
    pub(crate) fn new(limits: Arc<Limits>) -> Self {
        let (backends, others) = (ByColour::default(), ByColour::default());
        let empty = Table { routing: Routing::default(), backends, others, version: 0 };
        Self {
            current: RwLock::new(Arc::new(empty)),
            version: watch::Sender::new(0),
            limits,
            known: Mutex::new(ByColour::default()),
        }
    }

    pub(crate) fn current(&self) -> Arc<Table> {
        self.current.read().clone()
    }

    /// Swaps the routing. Backends whose address stays keep their connections; a colour that no longer serves has its
    /// idle ones closed; one that is gone is left by the reads that have no answer yet.
    pub(crate) fn set(&self, routing: Routing) {
        let mut known = self.known.lock();
        let before = self.current();
        // A node keeps its connections, also when it becomes the one that gets the writes, or is that no more.
        let mut at = |colour: Colour, address: SocketAddr| {
            if let Some(same) = before.nodes(colour).find(|backend| backend.address == address) {
                return same.clone();
            }
            let backend = Arc::new(Backend::new(colour, address, self.limits.clone()));
            let list = known.get_mut(colour);
            list.retain(|weak| weak.strong_count() > 0);
            list.push(Arc::downgrade(&backend));
            backend
        };
        let backends = ByColour::from_fn(|colour| routing.backends.get(colour).map(|address| at(colour, address)));
        let others = ByColour::from_fn(|colour| {
            routing.others.get(colour).iter().map(|address| at(colour, *address)).collect::<Vec<_>>()
        });
        let table = Arc::new(Table { routing, backends, others, version: before.version + 1 });
        *self.current.write() = table.clone();
        self.version.send_replace(table.version);

        for colour in Colour::BOTH {
            for old in before.nodes(colour) {
                match table.nodes(colour).any(|same| Arc::ptr_eq(same, old)) {
                    true if before.routing.serves(colour) && !table.routing.serves(colour) => old.drain(),
                    true => (),
                    false => old.retire(),
                }
            }
        }
    }

    /// Waits until the table is another than `version`, at most for `time`.
    pub(crate) async fn changed(&self, version: u64, time: Duration) {
        let mut versions = self.version.subscribe();
        // A timeout is an answer like the other: the caller looks at the table again.
        let _ = tokio::time::timeout(time, versions.wait_for(|now| *now != version)).await;
    }

    /// All backends of a colour that may have connections.
    pub(crate) fn backends_of(&self, colour: Colour) -> Vec<Arc<Backend>> {
        self.known.lock().get(colour).iter().filter_map(Weak::upgrade).collect()
    }
}

#[cfg(test)]
mod tests;
