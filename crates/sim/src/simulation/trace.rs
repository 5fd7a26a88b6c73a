//! What happened: a fingerprint of every event, and lines for people when they ask for them.

use parking_lot::Mutex;
use std::cell::RefCell;
use std::fmt::Display;
use std::io::Write;
use tokio::time::Instant;

/// Events in order. Two runs of one seed have the same fingerprint, or they were not the same run.
pub(super) struct Trace {
    began: Instant,
    verbose: bool,
    inner: Mutex<Inner>,
}

struct Inner {
    fingerprint: u64,
    events: u64,
}

impl Trace {
    pub fn new(verbose: bool) -> Trace {
        Trace { began: Instant::now(), verbose, inner: Mutex::new(Inner { fingerprint: 0, events: 0 }) }
    }

    pub fn now_ms(&self) -> u64 {
        self.began.elapsed().as_millis() as u64
    }

    /// Notes an event by its name and what tells it from others.
    pub fn note(&self, name: &'static str, details: &[u64]) {
        let now_ms = self.now_ms();
        let mut inner = self.inner.lock();
        inner.events += 1;
        let mut fingerprint = fold(inner.fingerprint, now_ms);
        fingerprint = name.bytes().fold(fingerprint, |so_far, byte| fold(so_far, byte.into()));
        inner.fingerprint = details.iter().fold(fingerprint, |so_far, detail| fold(so_far, *detail));
    }

    /// A line for people.
    pub fn line(&self, line: impl FnOnce() -> String) {
        if self.verbose {
            // Whoever reads may have had enough.
            let _ = writeln!(std::io::stdout(), "{:>9} {}", self.now_ms(), line());
        }
    }

    pub fn fingerprint(&self) -> (u64, u64) {
        let inner = self.inner.lock();
        (inner.fingerprint, inner.events)
    }
}

fn fold(so_far: u64, more: u64) -> u64 {
    (so_far.rotate_left(5) ^ more).wrapping_mul(0x517c_c1b7_2722_0a95)
}

/// A fingerprint of bytes.
pub(super) fn fingerprint(bytes: &[u8]) -> u64 {
    let words = bytes.chunks(8).map(|piece| {
        let mut word = [0; 8];
        word[..piece.len()].copy_from_slice(piece);
        u64::from_le_bytes(word)
    });
    words.fold(bytes.len() as u64, fold)
}

thread_local! {
    static PANICS: RefCell<Vec<String>> = const { RefCell::new(Vec::new()) };
}

/// From here on a panic on this thread, which the runtime would swallow with its task, is remembered.
pub(super) fn catch_panics() {
    let before = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| {
        let place = panic.location().map_or(&"nowhere" as &dyn Display, |place| place as &dyn Display).to_string();
        let text = format!("panic at {place}: {}", panic.payload_as_str().unwrap_or("?"));
        PANICS.with_borrow_mut(|panics| panics.push(text));
        before(panic);
    }));
}

pub(super) fn panics() -> Vec<String> {
    PANICS.take()
}
