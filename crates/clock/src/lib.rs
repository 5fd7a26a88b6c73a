//! The time of day as an argument: whoever writes a time down is handed the clock to read it from.
//!
//! Two kinds of time are kept apart. How long something takes is measured with `tokio::time::Instant`, which never jumps.
//! What stands in a record, a state or an answer is the time of a [`Clock`], which may jump, as the clocks of machines do:
//! nothing may be decided wrongly because of it.

use std::sync::Arc;
use std::time::{Duration, UNIX_EPOCH};

/// A clock; cloning shares it.
#[derive(Clone, Default)]
pub struct Clock {
    /// `None` is the machine's.
    told: Option<Arc<dyn Fn() -> Duration + Send + Sync>>,
}

impl Clock {
    /// The machine's clock.
    pub fn system() -> Clock {
        Clock::default()
    }

    /// A clock that shows what `since_1970` says.
    pub fn told(since_1970: impl Fn() -> Duration + Send + Sync + 'static) -> Clock {
        Clock { told: Some(Arc::new(since_1970)) }
    }

    /// Time since the beginning of 1970; 0 before that.
    pub fn since_1970(&self) -> Duration {
        match &self.told {
            Some(told) => told(),
            None => UNIX_EPOCH.elapsed().unwrap_or_default(),
        }
    }

    /// Milliseconds since 1970.
    pub fn now_ms(&self) -> u64 {
        self.since_1970().as_millis() as u64
    }
}

impl std::fmt::Debug for Clock {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(if self.told.is_some() { "Clock(told)" } else { "Clock(system)" })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shows_the_time_it_is_told_or_that_of_the_machine() {
        assert_eq!(Clock::told(|| Duration::from_micros(7_999)).now_ms(), 7);
        let this_line_was_written_ms = 1_760_000_000_000;
        assert!(Clock::system().now_ms() > this_line_was_written_ms);
    }
}
