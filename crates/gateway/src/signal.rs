//! Signals to tasks that are in the middle of something: leave when you can, or end now.
//!
//! A signal costs its owner one load per poll; raising it wakes the owner. Connections of both sides have one each.

use parking_lot::Mutex;
use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, AtomicU64, Ordering};
use std::task::Waker;

/// What the owner of a connection is asked for. Levels only rise.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u8)]
pub(crate) enum Level {
    Stay = 0,
    /// Finish what cannot be done elsewhere, begin nothing new.
    Leave = 1,
    /// Close, whatever is in progress.
    End = 2,
}

#[derive(Debug, Default)]
pub(crate) struct Signal {
    level: AtomicU8,
    waker: Mutex<Option<Waker>>,
}

impl Signal {
    pub(crate) fn level(&self) -> Level {
        match self.level.load(Ordering::Acquire) {
            0 => Level::Stay,
            1 => Level::Leave,
            _ => Level::End,
        }
    }

    /// Who is woken by the next rise. To be called *before* looking at the level, so that no rise is missed.
    pub(crate) fn register(&self, waker: &Waker) {
        let mut known = self.waker.lock();
        match &*known {
            Some(same) if same.will_wake(waker) => {}
            _ => *known = Some(waker.clone()),
        }
    }

    fn raise(&self, level: Level) {
        self.level.fetch_max(level as u8, Ordering::AcqRel);
        let waker = self.waker.lock().take();
        if let Some(waker) = waker {
            waker.wake();
        }
    }
}

/// All signals of one kind of connection.
#[derive(Debug, Default)]
pub(crate) struct Signals {
    next: AtomicU64,
    live: Mutex<HashMap<u64, Arc<Signal>>>,
}

impl Signals {
    pub(crate) fn register(self: &Arc<Self>) -> Registered {
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        let signal = Arc::new(Signal::default());
        self.live.lock().insert(number, signal.clone());
        Registered { number, signal, home: self.clone() }
    }

    pub(crate) fn raise(&self, level: Level) {
        let live: Vec<Arc<Signal>> = self.live.lock().values().cloned().collect();
        live.iter().for_each(|signal| signal.raise(level));
    }

    pub(crate) fn len(&self) -> usize {
        self.live.lock().len()
    }
}

/// A signal that is forgotten when its owner is dropped.
#[derive(Debug)]
pub(crate) struct Registered {
    number: u64,
    signal: Arc<Signal>,
    home: Arc<Signals>,
}

impl std::ops::Deref for Registered {
    type Target = Signal;

    fn deref(&self) -> &Signal {
        &self.signal
    }
}

impl Drop for Registered {
    fn drop(&mut self) {
        self.home.live.lock().remove(&self.number);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::AtomicUsize;
    use std::task::Wake;

    struct Count(AtomicUsize);

    impl Wake for Count {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }

    #[test]
    fn raising_wakes_the_owner_once_and_never_lowers() {
        let signals = Arc::new(Signals::default());
        let owner = signals.register();
        let count = Arc::new(Count(AtomicUsize::new(0)));
        owner.register(&Waker::from(count.clone()));
        signals.raise(Level::End);
        assert_eq!((owner.level(), count.0.load(Ordering::Relaxed)), (Level::End, 1));
        signals.raise(Level::Leave);
        assert_eq!(owner.level(), Level::End);
    }

    #[test]
    fn a_dropped_owner_is_forgotten() {
        let signals = Arc::new(Signals::default());
        let owner = signals.register();
        assert_eq!(signals.len(), 1);
        drop(owner);
        assert_eq!(signals.len(), 0);
    }
}
