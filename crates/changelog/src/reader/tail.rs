//! The last groups of the log in memory, encoded, bounded by their bytes.

use std::collections::VecDeque;

use bytes::Bytes;

use crate::Lsn;

/// Frames that were written together, without marks.
#[derive(Debug)]
pub(crate) struct Group {
    pub first_lsn: Lsn,
    pub last_lsn: Lsn,
    pub encoded: Bytes,
}

/// Consecutive groups, the newest last.
pub(crate) struct Tail {
    groups: VecDeque<Group>,
    bytes: usize,
    bytes_max: usize,
}

impl Tail {
    pub(crate) fn new(bytes_max: usize) -> Tail {
        Tail { groups: VecDeque::new(), bytes: 0, bytes_max }
    }

    pub(crate) fn push(&mut self, group: Group) {
        self.bytes += group.encoded.len();
        self.groups.push_back(group);
        while self.bytes > self.bytes_max {
            let Some(oldest) = self.groups.pop_front() else { break };
            self.bytes -= oldest.encoded.len();
        }
    }

    /// The groups that have the frames after `lsn`, enough for `max_bytes`; `None` if the next frame is older than all.
    pub(crate) fn after(&self, lsn: Lsn, max_bytes: usize) -> Option<Vec<Bytes>> {
        if self.groups.front()?.first_lsn > lsn + 1 {
            return None;
        }
        let from = self.groups.partition_point(|group| group.last_lsn <= lsn);
        let mut groups = Vec::new();
        let mut bytes = 0;
        for group in self.groups.range(from..) {
            groups.push(group.encoded.clone());
            // The first may have frames that are skipped, so it does not count.
            if groups.len() > 1 {
                bytes += group.encoded.len();
            }
            if bytes >= max_bytes {
                break;
            }
        }
        (!groups.is_empty()).then_some(groups)
    }

    pub(crate) fn clear(&mut self) {
        self.groups.clear();
        self.bytes = 0;
    }
}
