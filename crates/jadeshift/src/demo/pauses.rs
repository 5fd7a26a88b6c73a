//! How long a handover makes a writer wait.
//!
//! The clients write one record after the other, all the time; each notes when it sent a write and how long the whole
//! answer took. Afterwards, when the moments at which each handover began and ended are known from the deployment's own
//! account (from the seal until the old primary follows, and 250 ms more), every writer has for every handover one *pause*: the longest of its writes that were under way at some moment
//! of that handover. Nothing is subtracted for the time a write takes anyway. `p50`, `p99` and `max` are over all those
//! values (nearest rank), so with 4 writers and 3 handovers over 12.

use serde::Serialize;
use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// A handover, ms since 1970.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Window {
    pub began_ms: u64,
    pub ended_ms: u64,
}

/// Milliseconds, rounded to hundredths.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize)]
pub struct Pauses {
    pub p50: f64,
    pub p99: f64,
    pub max: f64,
}

/// Collects every write of every writer.
#[derive(Default)]
pub struct PauseMeter {
    writes: Mutex<Vec<Write>>,
}

struct Write {
    writer: usize,
    sent_ms: u64,
    latency: Duration,
}

impl PauseMeter {
    /// Notes a write that was answered just now.
    pub fn note(&self, writer: usize, sent_ms: u64, latency: Duration) {
        self.writes.lock().unwrap_or_else(PoisonError::into_inner).push(Write { writer, sent_ms, latency });
    }

    /// `None` when no write was under way in any of the windows.
    pub fn during(&self, windows: &[Window]) -> Option<Pauses> {
        let writes = self.writes.lock().unwrap_or_else(PoisonError::into_inner);
        let mut longest: BTreeMap<(usize, usize), Duration> = BTreeMap::new();
        for write in writes.iter() {
            let answered_ms = write.sent_ms + write.latency.as_millis() as u64;
            for (position, window) in windows.iter().enumerate() {
                if write.sent_ms <= window.ended_ms && answered_ms >= window.began_ms {
                    let pause = longest.entry((position, write.writer)).or_default();
                    *pause = (*pause).max(write.latency);
                }
            }
        }
        let mut pauses: Vec<Duration> = longest.into_values().collect();
        pauses.sort();
        let max = *pauses.last()?;
        let at = |part: f64| pauses[((part * pauses.len() as f64).ceil() as usize).max(1) - 1];
        let ms = |duration: Duration| (duration.as_secs_f64() * 100_000.0).round() / 100.0;
        Some(Pauses { p50: ms(at(0.5)), p99: ms(at(0.99)), max: ms(max) })
    }
}

/// Now, ms since 1970: the clock that the deployment's events use.
pub fn now_ms() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_millis() as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_writer_has_one_pause_for_each_handover_and_other_times_do_not_count() {
        let meter = PauseMeter::default();
        let note = |writer, sent_ms, ms| meter.note(writer, sent_ms, Duration::from_millis(ms));
        note(0, 100, 900); // before the first window
        note(0, 1_990, 30); // reaches into it
        note(0, 2_050, 5);
        note(1, 2_010, 10);
        note(1, 2_020, 40);
        note(0, 5_000, 20);
        note(1, 4_990, 700); // reaches into the second
        let windows = [Window { began_ms: 2_000, ended_ms: 2_100 }, Window { began_ms: 5_000, ended_ms: 5_050 }];
        // Pauses: 30, 40, 20, 700.
        assert_eq!(meter.during(&windows), Some(Pauses { p50: 30.0, p99: 700.0, max: 700.0 }));
        assert_eq!(meter.during(&[Window { began_ms: 9_000, ended_ms: 9_001 }]), None);
    }
}
