//! The time by which phases are measured. A phase says when it began by the time of day, and lasts as long as time really goes by:
//! while something is under way, the machine's clock may jump, and no step, watch or time limit ends the earlier for it.

use clock::Clock;
use std::time::Duration;
use tokio::time::Instant;

pub(crate) struct PhaseTime {
    clock: Clock,
    /// Milliseconds since 1970 when the clock was read, and when that was.
    clock_ms: u64,
    read: Instant,
}

impl PhaseTime {
    pub fn new(clock: Clock) -> Self {
        Self { clock_ms: clock.now_ms(), clock, read: Instant::now() }
    }

    /// Milliseconds since 1970, by the clock as it was read last and the time that went by since.
    pub fn now_ms(&self) -> u64 {
        self.clock_ms + self.read.elapsed().as_millis() as u64
    }

    /// Nothing is under way: reads the clock anew.
    pub fn follow_clock(&mut self) {
        (self.clock_ms, self.read) = (self.clock.now_ms(), Instant::now());
    }

    /// How far the clock has moved away from the time that went by, if that is more than `by`; forward is positive.
    pub fn clock_moved(&self, by: Duration) -> Option<i64> {
        let moved = self.clock.now_ms().cast_signed() - self.now_ms().cast_signed();
        (moved.unsigned_abs() > by.as_millis() as u64).then_some(moved)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;
    use std::sync::atomic::{AtomicU64, Ordering};

    #[tokio::test(start_paused = true)]
    async fn a_jump_of_the_clock_changes_nothing_until_it_is_read_anew() {
        let shown_ms = Arc::new(AtomicU64::new(1_000_000));
        let shown = shown_ms.clone();
        let mut time = PhaseTime::new(Clock::told(move || Duration::from_millis(shown.load(Ordering::Relaxed))));
        let slack = Duration::from_secs(2);
        assert_eq!((time.now_ms(), time.clock_moved(slack)), (1_000_000, None));
        tokio::time::advance(Duration::from_secs(5)).await;
        shown_ms.store(8_605_000, Ordering::Relaxed);
        assert_eq!((time.now_ms(), time.clock_moved(slack)), (1_005_000, Some(7_600_000)));
        shown_ms.store(5_000, Ordering::Relaxed);
        assert_eq!((time.now_ms(), time.clock_moved(slack)), (1_005_000, Some(-1_000_000)));
        time.follow_clock();
        assert_eq!((time.now_ms(), time.clock_moved(slack)), (5_000, None));
    }
}
