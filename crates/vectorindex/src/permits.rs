//! A bound for the searches that are in the graph at the same time: usearch refuses those for which it reserved no
//! context, so no more than that many are let in, and the others wait for the few microseconds that a search takes.

use parking_lot::{Mutex, MutexGuard};
use std::sync::LazyLock;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread::available_parallelism;

/// Each permit is a lock of its own. These are fair in the end (a semaphore made of a counter is not: whoever comes
/// just then takes the permit for which another has been woken up).
#[derive(Debug)]
pub(crate) struct Permits {
    permits: Vec<Mutex<()>>,
    turn: AtomicUsize,
}

#[derive(Debug)]
pub(crate) struct Permit<'a> {
    _held: MutexGuard<'a, ()>,
}

/// Twice the cores, so that a search that was descheduled in the graph does not leave a core idle. More would only
/// spread the contexts (some 50 KB each) over more memory than the caches hold.
pub(crate) fn searches_max() -> usize {
    static SEARCHES_MAX: LazyLock<usize> =
        LazyLock::new(|| available_parallelism().map_or(8, |cores| cores.get() * 2).clamp(4, 64));
    *SEARCHES_MAX
}

impl Permits {
    pub(crate) fn new() -> Permits {
        Permits { permits: (0..searches_max()).map(|_| Mutex::new(())).collect(), turn: AtomicUsize::new(0) }
    }

    /// Waits until one is free.
    pub(crate) fn acquire(&self) -> Permit<'_> {
        let turn = self.turn.fetch_add(1, Ordering::Relaxed) % self.permits.len();
        let (before, from) = self.permits.split_at(turn);
        let free = from.iter().chain(before).find_map(Mutex::try_lock);
        Permit { _held: free.unwrap_or_else(|| self.permits[turn].lock()) }
    }
}
