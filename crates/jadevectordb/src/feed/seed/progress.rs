//! How a seed gets on, for those who wait for it.

use super::incoming::Came;
use crate::engine::Node;
use std::time::Duration;
use tokio::time::Instant;
use wire::admin::Seeding;

/// The rate is that of the last second or two.
const RATE_OVER: Duration = Duration::from_secs(1);
/// How often the log tells.
const LOG_EVERY: Duration = Duration::from_secs(10);

/// Progress of one stream.
pub(super) struct Progress {
    node: Node,
    peer: String,
    began: Instant,
    /// What had come when the stream began.
    before: Came,
    came: Came,
    /// When the rate was computed last, and what had come then.
    measured: (Instant, u64),
    bytes_per_s: u64,
    logged: Instant,
}

impl Progress {
    pub fn new(node: &Node, peer: &str, before: Came) -> Progress {
        let began = Instant::now();
        if before.records > 0 {
            if let Some(seeding) = &mut node.shared().feed.lock().seeding {
                seeding.resumed += 1;
            }
            tracing::info!(peer, records = before.records, bytes = before.bytes, "the snapshot is gone on with");
        }
        let progress = Progress {
            node: node.clone(),
            peer: peer.into(),
            began,
            before,
            came: before,
            measured: (began, before.bytes),
            bytes_per_s: 0,
            logged: began,
        };
        progress.publish();
        progress
    }

    pub fn note(&mut self, came: Came) {
        // A sender that could not go on began anew.
        if came.resumed_behind < self.before.records {
            self.before = Came::default();
            self.measured = (self.began, 0);
        }
        self.came = came;
        let (since, bytes) = self.measured;
        if since.elapsed() >= RATE_OVER {
            self.bytes_per_s = per_second(came.bytes.saturating_sub(bytes), since.elapsed());
            self.measured = (Instant::now(), came.bytes);
        } else if self.bytes_per_s == 0 {
            // Better than nothing until the first second is over.
            self.bytes_per_s = per_second(came.bytes.saturating_sub(bytes), since.elapsed());
        }
        let seeding = self.publish();
        if self.logged.elapsed() >= LOG_EVERY {
            self.logged = Instant::now();
            let left_s = seeding.left_ms().map(|left_ms| left_ms / 1_000);
            let Seeding { records, records_total, bytes, bytes_per_s, .. } = seeding;
            tracing::info!(
                peer = self.peer,
                records,
                records_total,
                bytes,
                bytes_per_s,
                left_s,
                "receiving a snapshot"
            );
        }
    }

    pub fn finished(&self, complete_at: u64) {
        let (records, bytes) = (self.came.records, self.came.bytes);
        let ms = self.began.elapsed().as_millis() as u64;
        let bytes_per_s = per_second(bytes.saturating_sub(self.before.bytes), self.began.elapsed());
        tracing::info!(peer = self.peer, records, bytes, ms, bytes_per_s, complete_at, "snapshot received");
    }

    /// Nothing comes for the time being.
    pub fn pause(node: &Node) {
        if let Some(seeding) = &mut node.shared().feed.lock().seeding {
            seeding.bytes_per_s = 0;
        }
    }

    fn publish(&self) -> Seeding {
        let mut feed = self.node.shared().feed.lock();
        let resumed = feed.seeding.as_ref().map_or(u64::from(self.before.records > 0), |seeding| seeding.resumed);
        let Came { records, records_total, bytes, .. } = self.came;
        let seeding = Seeding { records, records_total, bytes, bytes_per_s: self.bytes_per_s, resumed };
        feed.seeding = Some(seeding.clone());
        seeding
    }
}

fn per_second(bytes: u64, time: Duration) -> u64 {
    // A millisecond at least, so that the first pieces give no rate beyond all reason.
    (u128::from(bytes) * 1_000 / time.as_millis().max(1)) as u64
}
