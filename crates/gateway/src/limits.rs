//! Every bound of the gateway, with its default.

use serde::{Deserialize, Serialize};
use std::time::Duration;

/// Bounds on clients, backends, sizes and times. Times are checked to about an eighth of the smallest of them, at most
/// 2 s late.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Limits {
    /// Client connections at one time; one more is answered 503 and closed.
    pub connections_max: usize,
    /// Header fields of a request; more are answered 431.
    pub header_fields_max: usize,
    /// Bytes of a request's head; more are answered 431.
    pub header_bytes_max: usize,
    /// Bytes of a request's body; more are answered 413.
    pub body_bytes_max: u64,
    /// A read's body up to this size is kept until the answer comes, so that the read can be sent again.
    pub replay_bytes_max: usize,
    /// Time for a request's head, from its first byte (or from the connection's start).
    pub header_ms: u64,
    /// Time a client's connection may rest between two requests.
    pub keep_alive_ms: u64,
    /// Time without a byte moving while an answer is being passed on.
    pub stall_ms: u64,
    /// Time without a byte of the request arriving until the answer's head comes; then 504.
    pub response_head_ms: u64,
    /// Time for connecting to a backend.
    pub connect_ms: u64,
    /// Time a write waits for a primary that cannot be reached; then 503.
    pub write_wait_ms: u64,
    /// Time a write is held while the right to write moves; then 503.
    pub hold_ms_max: u64,
    /// Writes held at one time; one more is answered 503 at once. A held write's body is not read, so each costs what
    /// arrived together with its head: 8 KiB as a rule.
    pub held_writes_max: usize,
    /// Credentials whose last write is remembered, at least; 16 bytes each, 2 MiB by default. Writes of more than that raise
    /// what everybody's reads demand.
    pub writers_max: usize,
    /// Idle connections kept to each backend.
    pub idle_upstream_max: usize,
    /// Time an idle connection to a backend is kept.
    pub idle_upstream_ms: u64,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            connections_max: 10_000,
            header_fields_max: 100,
            header_bytes_max: 32 * 1024,
            body_bytes_max: 64 * 1024 * 1024,
            replay_bytes_max: 1024 * 1024,
            header_ms: 30_000,
            keep_alive_ms: 75_000,
            stall_ms: 120_000,
            response_head_ms: 30_000,
            connect_ms: 2_000,
            write_wait_ms: 2_000,
            hold_ms_max: 5_000,
            held_writes_max: 10_000,
            writers_max: 100_000,
            idle_upstream_max: 512,
            idle_upstream_ms: 30_000,
        }
    }
}

/// A limit that cannot work.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("limit {name}: {value} is out of range: it must be {least} to {most}")]
pub struct LimitsError {
    pub name: &'static str,
    pub value: u64,
    pub least: u64,
    pub most: u64,
}

impl Limits {
    /// Refuses values with which the gateway could not answer anything, and such that would be no bound.
    pub fn validate(&self) -> Result<(), LimitsError> {
        const DAY_MS: u64 = 24 * 3_600 * 1_000;
        let checks = [
            ("connections_max", self.connections_max as u64, 1, 1_000_000),
            ("header_fields_max", self.header_fields_max as u64, 8, 10_000),
            ("header_bytes_max", self.header_bytes_max as u64, 1_024, 16 << 20),
            ("body_bytes_max", self.body_bytes_max, 1, 1 << 40),
            ("replay_bytes_max", self.replay_bytes_max as u64, 0, 1 << 30),
            ("header_ms", self.header_ms, 1, DAY_MS),
            ("keep_alive_ms", self.keep_alive_ms, 1, DAY_MS),
            ("stall_ms", self.stall_ms, 1, DAY_MS),
            ("response_head_ms", self.response_head_ms, 1, DAY_MS),
            ("connect_ms", self.connect_ms, 1, DAY_MS),
            ("write_wait_ms", self.write_wait_ms, 0, DAY_MS),
            ("hold_ms_max", self.hold_ms_max, 0, DAY_MS),
            ("held_writes_max", self.held_writes_max as u64, 0, 1_000_000),
            ("writers_max", self.writers_max as u64, 1, 100_000_000),
            ("idle_upstream_max", self.idle_upstream_max as u64, 0, 100_000),
            ("idle_upstream_ms", self.idle_upstream_ms, 1, DAY_MS),
        ];
        match checks.into_iter().find(|&(_, value, least, most)| value < least || value > most) {
            Some((name, value, least, most)) => Err(LimitsError { name, value, least, most }),
            None => Ok(()),
        }
    }

    /// How often a connection's task looks at its clock. One timer per connection, not per request.
    pub(crate) fn tick(&self) -> Duration {
        let shortest = self.header_ms.min(self.keep_alive_ms).min(self.stall_ms).min(self.response_head_ms);
        Duration::from_millis((shortest / 8).clamp(5, 2_000))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn defaults_are_valid() {
        assert_eq!(Limits::default().validate(), Ok(()));
    }

    #[test]
    fn an_unusable_limit_is_named_with_its_range() {
        let limits = Limits { header_bytes_max: 10, ..Limits::default() };
        let error = limits.validate().unwrap_err().to_string();
        assert_eq!(error, "limit header_bytes_max: 10 is out of range: it must be 1024 to 16777216");
    }
}
