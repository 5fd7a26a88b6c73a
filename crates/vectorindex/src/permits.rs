//! A bound for the searches that are in the graph at the same time: usearch refuses those for which it reserved no
//! context, so no more than that many are let in, and the others wait for the few microseconds that a search takes.

use parking_lot::{Condvar, Mutex};
use std::sync::LazyLock;
use std::thread::available_parallelism;

#[derive(Debug)]
pub(crate) struct Permits {
    free: Mutex<usize>,
    freed: Condvar,
}

#[derive(Debug)]
pub(crate) struct Permit<'a> {
    permits: &'a Permits,
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
        Permits { free: Mutex::new(searches_max()), freed: Condvar::new() }
    }

    /// Waits until one is free.
    pub(crate) fn acquire(&self) -> Permit<'_> {
        let mut free = self.free.lock();
        while *free == 0 {
            self.freed.wait(&mut free);
        }
        *free -= 1;
        Permit { permits: self }
    }
}

impl Drop for Permit<'_> {
    fn drop(&mut self) {
        *self.permits.free.lock() += 1;
        self.permits.freed.notify_one();
    }
}
