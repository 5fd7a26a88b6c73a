//! Where the next group goes: space ahead of the position, and the next segment.

use std::io;

use super::{Active, AppendError, Log, new_header};
use crate::Lsn;
use crate::durable::is_disk_full;
use crate::prepare::{Prepared, Request};

impl Log {
    /// Syncs the active segment and begins the next one, in which a group of `bytes` comes first.
    ///
    /// What is in a segment is durable before the next one exists: so only in the last one a torn tail is possible.
    pub(super) fn begin_segment(&mut self, bytes: u64) -> Result<(), AppendError> {
        self.sync()?;
        let answer = self.preparer.settle();
        self.absorb(answer)?;
        let header = new_header(self.generation, self.last_lsn, self.last_epoch);
        let (active, segment) =
            match Active::created(&**self.held.disk(), &self.dir, &header, self.spare.take(), &self.options) {
                Ok(created) => created,
                Err(error) if error.is_only_disk_full() => {
                    return Err(AppendError::DiskFull { path: error.path, lsn: header.first_lsn, bytes });
                }
                Err(error) => return Err(self.fail(error.action, error.path, error.error)),
            };
        let finished = std::mem::replace(&mut self.active, active);
        if let Err(error) = finished.file.set_len(finished.position) {
            // Harmless: what is left are zeros that take space.
            tracing::debug!(path = %finished.path.display(), %error, "the unused space of a segment was not freed");
        }
        self.shared.state.write().segments.push_back(segment);
        Ok(())
    }

    /// Makes sure that the active segment has space up to `end`, so that a full disk is found before a write.
    pub(super) fn reserve(&mut self, end: u64, lsn: Lsn) -> Result<(), AppendError> {
        let answer = self.preparer.poll();
        self.absorb(answer)?;
        if end <= self.active.reserved {
            return Ok(());
        }
        let answer = self.preparer.settle();
        self.absorb(answer)?;
        let from = self.active.reserved;
        if end <= from {
            return Ok(());
        }
        match self.active.file.reserve(from, end) {
            Ok(()) => {
                self.active.reserved = end;
                Ok(())
            }
            Err(error) if is_disk_full(&error) => {
                let path = self.active.path.to_path_buf();
                Err(AppendError::DiskFull { path, lsn, bytes: end - self.active.position })
            }
            Err(error) => Err(self.fail("reserve space in", self.active.path.to_path_buf(), error)),
        }
    }

    /// Has space written ahead, in good time and by another thread.
    pub(super) fn prepare_ahead(&mut self) -> Result<(), AppendError> {
        let answer = self.preparer.poll();
        self.absorb(answer)?;
        if !self.preparer.is_free() || self.active.position < self.active.quiet_until {
            return Ok(());
        }
        let (segment, chunk) = (self.options.segment_bytes, self.options.prepare_bytes);
        let (position, reserved) = (self.active.position, self.active.reserved);
        if reserved < segment && reserved - position < chunk {
            let to = (reserved + chunk).min(segment);
            self.preparer.request(Request::Extend { path: self.active.path.to_path_buf(), from: reserved, to });
        } else if self.spare.is_none() && position + chunk.saturating_mul(2) > segment {
            let path = self.dir.join("next.tmp");
            self.preparer.request(Request::Spare { path, bytes: chunk.min(segment) });
        }
        Ok(())
    }

    /// Takes note of what the preparer did.
    pub(super) fn absorb(&mut self, answer: Option<io::Result<Prepared>>) -> Result<(), AppendError> {
        match answer {
            None => Ok(()),
            Some(Ok(Prepared::Extended { to })) => {
                self.active.reserved = self.active.reserved.max(to);
                Ok(())
            }
            Some(Ok(Prepared::Spare { path })) => {
                self.spare = Some(path);
                Ok(())
            }
            Some(Err(error)) if is_disk_full(&error) => {
                // There may be enough for what is appended, which is tried anyhow; preparing is not, for a while.
                self.active.quiet_until = self.active.position + self.options.prepare_bytes / 4;
                Ok(())
            }
            Some(Err(error)) => Err(self.fail("prepare space in", self.dir.clone(), error)),
        }
    }

    /// Waits until nobody else writes to the log's files, for a log whose segment is given up.
    pub(super) fn settle_for_good(&mut self) {
        if let Some(Ok(Prepared::Spare { path })) = self.preparer.settle() {
            self.spare = Some(path);
        }
    }
}
