//! Writes that wait while the right to write moves: bounded in number and time, released by the next routing.

use crate::limits::Limits;
use crate::routing::{Router, Table};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

/// The number of held writes.
#[derive(Debug, Default)]
pub(crate) struct Hold {
    held: AtomicUsize,
}

/// Why a held write is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum HoldError {
    #[error("the right to write is moving between the environments, and {held} writes wait already (limit {max})")]
    TooMany { held: usize, max: usize },
    #[error("the right to write is moving between the environments, for longer than a write is held ({limit_ms} ms)")]
    TooLong { limit_ms: u64 },
}

struct Place<'a>(&'a Hold);

impl Drop for Place<'_> {
    fn drop(&mut self) {
        self.0.held.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Hold {
    pub(crate) fn held(&self) -> usize {
        self.held.load(Ordering::Relaxed)
    }

    fn enter(&self, max: usize) -> Result<Place<'_>, HoldError> {
        let held = self.held.fetch_add(1, Ordering::Relaxed);
        let place = Place(self);
        if held >= max { Err(HoldError::TooMany { held, max }) } else { Ok(place) }
    }

    /// Waits while the routing holds writes; gives the table that lets them go. `since` is when this write was held first:
    /// a second hold does not get a second measure of time.
    pub(crate) async fn wait(
        &self,
        router: &Router,
        limits: &Limits,
        since: &mut Option<Instant>,
    ) -> Result<Arc<Table>, HoldError> {
        let table = router.current();
        if !table.routing.hold_writes {
            return Ok(table);
        }
        let _place = self.enter(limits.held_writes_max)?;
        let end = *since.get_or_insert_with(Instant::now) + Duration::from_millis(limits.hold_ms_max);
        let mut table = table;
        while table.routing.hold_writes {
            let left = end.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Err(HoldError::TooLong { limit_ms: limits.hold_ms_max });
            }
            router.changed(table.version, left).await;
            table = router.current();
        }
        Ok(table)
    }
}
