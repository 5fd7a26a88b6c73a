//! What happened to accounts on this node since it started: the last events, and how many of each kind.

use parking_lot::Mutex;
use serde::Serialize;
use std::collections::{BTreeMap, VecDeque};

/// Events kept; about 300 bytes each, so 3 MB.
const KEPT_MAX: usize = 10_000;

/// One thing that happened.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Event {
    pub event_id: String,
    pub event_type: &'static str,
    pub user_id: String,
    pub ip_address: String,
    pub resource_accessed: String,
    pub operation: &'static str,
    pub success: bool,
    pub details: String,
    pub session_id: String,
    pub client_info: String,
    pub timestamp: String,
}

#[derive(Default)]
pub struct Audit {
    inner: Mutex<Inner>,
}

#[derive(Default)]
struct Inner {
    events: VecDeque<Event>,
    counts: BTreeMap<&'static str, u64>,
    failures: u64,
    total: u64,
}

impl Audit {
    /// Keeps `event` (its id is given here) and writes it to the log of the process.
    pub fn note(&self, mut event: Event) {
        tracing::info!(
            target: "audit",
            event = event.event_type, user = %event.user_id, address = %event.ip_address, success = event.success,
            "{}", event.details
        );
        let mut inner = self.inner.lock();
        inner.total += 1;
        event.event_id = format!("evt_{}", inner.total);
        *inner.counts.entry(event.event_type).or_default() += 1;
        if !event.success {
            inner.failures += 1;
        }
        if inner.events.len() == KEPT_MAX {
            inner.events.pop_front();
        }
        inner.events.push_back(event);
    }

    /// The latest first, at most `limit`.
    pub fn latest(&self, user_id: Option<&str>, event_type: Option<&str>, limit: usize) -> Vec<Event> {
        let inner = self.inner.lock();
        let wanted = inner.events.iter().rev().filter(|event| {
            user_id.is_none_or(|user| event.user_id == user) && event_type.is_none_or(|kind| event.event_type == kind)
        });
        wanted.take(limit).cloned().collect()
    }

    /// Number of events by kind, as text.
    pub fn stats(&self) -> BTreeMap<String, String> {
        let inner = self.inner.lock();
        let mut stats: BTreeMap<String, String> =
            inner.counts.iter().map(|(kind, count)| ((*kind).to_owned(), count.to_string())).collect();
        stats.insert("total_events".into(), inner.total.to_string());
        stats.insert("failed_events".into(), inner.failures.to_string());
        stats
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn event(kind: &'static str, user: &str) -> Event {
        Event {
            event_id: String::new(),
            event_type: kind,
            user_id: user.into(),
            ip_address: "127.0.0.1".into(),
            resource_accessed: String::new(),
            operation: "POST",
            success: kind != "login_failed",
            details: String::new(),
            session_id: String::new(),
            client_info: String::new(),
            timestamp: String::new(),
        }
    }

    #[test]
    fn the_latest_come_first_and_the_oldest_go() {
        let audit = Audit::default();
        for _ in 0..KEPT_MAX {
            audit.note(event("login", "ada"));
        }
        audit.note(event("login_failed", "bob"));
        assert_eq!(audit.latest(None, None, usize::MAX).len(), KEPT_MAX);
        assert_eq!(audit.latest(None, None, 1)[0].user_id, "bob");
        assert_eq!(audit.latest(Some("bob"), None, 10).len(), 1);
        assert_eq!(audit.latest(Some("bob"), Some("login"), 10).len(), 0);
        let stats = audit.stats();
        assert_eq!((stats["login"].as_str(), stats["failed_events"].as_str()), ("10000", "1"));
    }
}
