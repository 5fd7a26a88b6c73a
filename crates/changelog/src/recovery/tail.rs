//! Tells a torn tail from damage, in the last segment, where a record cannot be read.
//!
//! A crash leaves some sectors of the last groups written and others not, in any order. Those not written are zero from
//! there to the end of the sector, because space is zero before it is used, and was never anything else. So:
//!
//! 1. A mark behind it says that it had been synced: damage.
//! 2. An intact frame behind it, and no sector between them is missing: damage, for a crash does not do that.
//! 3. Otherwise it was being written when the crash came: a torn tail.
//!
//! What this cannot see is damage in the very last group before a stop: no later record exists that could prove that
//! the group was synced. It is reported as a torn tail, with its length.

use crate::frame::{FRAME_HEADER_BYTES, FRAME_VERSION, Layout};
use crate::prepare::is_zero;
use crate::segment::{MARK_TAG, decode_mark};
use crate::{Epoch, Lsn};

/// The smallest unit that a disk writes as a whole.
const SECTOR_BYTES: u64 = 512;
/// How much of zeros is skipped at once in the search.
const SKIP_BYTES: usize = 4096;

/// What should be where the unreadable record is.
pub(super) struct Expected {
    pub lsn: Lsn,
    /// Epoch of the record before.
    pub epoch: Epoch,
    /// Salt of the segment.
    pub salt: u64,
}

#[derive(Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// Never synced; `bytes` from the record to the last that is not zero.
    Torn { bytes: u64 },
    /// A later mark says that the record had been synced.
    Synced,
    /// The frame with this LSN at this offset is intact, and nothing between is missing.
    BeforeIntact { lsn: Lsn, offset: u64 },
}

/// Judges `rest`, the segment from the unreadable record (at `offset`) to the end of the file.
pub(super) fn judge(rest: &[u8], offset: u64, expected: &Expected) -> Verdict {
    let mut at = first_candidate(rest);
    let mut intact = None;
    // Payloads may be made to look like many long frames; without a bound each would be read to its end.
    let mut budget = rest.len().saturating_mul(16);
    while at < rest.len() {
        let tail = &rest[at..];
        if at.is_multiple_of(SKIP_BYTES) && is_zero(&tail[..SKIP_BYTES.min(tail.len())]) {
            at += SKIP_BYTES;
            continue;
        }
        match tail[0] {
            // Only the group that was being written can lack its mark, so any mark here is of a later group.
            MARK_TAG if decode_mark(tail, expected.salt).is_some_and(|synced| synced >= expected.lsn) => {
                return Verdict::Synced;
            }
            FRAME_VERSION => match intact_frame(tail, at, expected, &mut budget) {
                Some(layout) => {
                    intact.get_or_insert((layout.lsn, at));
                    at += layout.total;
                }
                None => at += 1,
            },
            _ => at += 1,
        }
    }
    match intact {
        Some((lsn, at)) if !is_sector_missing(rest, offset, at) => {
            Verdict::BeforeIntact { lsn, offset: offset + at as u64 }
        }
        _ => Verdict::Torn { bytes: rest.iter().rposition(|&byte| byte != 0).map_or(0, |last| last as u64 + 1) },
    }
}

/// Where the next record can start: behind the unreadable one if its header still tells how long it is.
fn first_candidate(rest: &[u8]) -> usize {
    match Layout::check_header(rest) {
        Ok(Some(layout)) => layout.total,
        _ => 1,
    }
}

/// The frame at the start of `tail`, `at` bytes behind the expected one, if it is intact and can be of this history.
fn intact_frame(tail: &[u8], at: usize, expected: &Expected, budget: &mut usize) -> Option<Layout> {
    let layout = Layout::check_header(tail).ok()??;
    let between_max = (at / FRAME_HEADER_BYTES) as u64;
    if layout.lsn < expected.lsn || layout.lsn - expected.lsn > between_max || layout.epoch < expected.epoch {
        return None;
    }
    *budget = budget.checked_sub(layout.total)?;
    Layout::check(tail).ok()?
}

/// Whether a sector that overlaps the first `bytes` of `rest` is zero to its end.
fn is_sector_missing(rest: &[u8], offset: u64, bytes: usize) -> bool {
    let mut at = 0;
    while at < bytes {
        let sector_end = ((offset + at as u64) / SECTOR_BYTES + 1) * SECTOR_BYTES;
        let end = ((sector_end - offset) as usize).min(rest.len());
        if is_zero(&rest[at..end]) {
            return true;
        }
        at = end;
    }
    false
}
