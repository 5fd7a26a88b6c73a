//! When requests could not be answered by nature: the gateway was killed, or no node was left to ask.
//!
//! A failed read outside of these times is one that the gateway should have answered with the other colour.

use parking_lot::Mutex;
use std::time::{Duration, Instant};

/// Around an outage: a request that failed in it is counted a moment later, and the gateway learns of a node's return by
/// looking now and then.
const MARGIN: Duration = Duration::from_millis(500);

/// Why nothing could answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Why {
    NoGateway,
    NoNode,
}

/// All outages so far; shared.
#[derive(Default)]
pub struct Outages {
    spans: Mutex<Vec<Span>>,
}

struct Span {
    why: Why,
    from: Instant,
    until: Option<Instant>,
}

impl Outages {
    /// Begins an outage, unless one of this kind is under way.
    pub fn begin(&self, why: Why) {
        let mut spans = self.spans.lock();
        if !spans.iter().any(|span| span.why == why && span.until.is_none()) {
            spans.push(Span { why, from: Instant::now(), until: None });
        }
    }

    /// Ends the outage of this kind that is under way, because what was asked at `asked` was answered: an outage that
    /// began later goes on.
    pub fn end(&self, why: Why, asked: Instant) {
        let over = |span: &&mut Span| span.why == why && span.until.is_none() && span.from < asked;
        for span in self.spans.lock().iter_mut().filter(over) {
            span.until = Some(Instant::now());
        }
    }

    /// Drops what is long over, once every failed read of that time was judged.
    pub fn forget(&self) {
        self.spans.lock().retain(|span| span.until.is_none_or(|until| until.elapsed() < 2 * MARGIN));
    }

    /// Whether a request from `begun` to `ended` can have met an outage.
    pub fn explain(&self, begun: Instant, ended: Instant) -> bool {
        self.spans
            .lock()
            .iter()
            .any(|span| span.from <= ended + MARGIN && span.until.is_none_or(|until| begun <= until + MARGIN))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_requests_near_an_outage_are_explained_by_it() {
        let outages = Outages::default();
        let before = Instant::now();
        assert!(!outages.explain(before, before));
        outages.begin(Why::NoGateway);
        outages.begin(Why::NoGateway);
        outages.end(Why::NoNode, Instant::now());
        outages.end(Why::NoGateway, before);
        let within = Instant::now() + 4 * MARGIN;
        assert!(outages.explain(within, within), "it is not over");
        outages.end(Why::NoGateway, Instant::now());
        assert!(!outages.explain(within, within));
        assert!(outages.explain(before, within));
    }
}
