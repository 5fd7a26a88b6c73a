//! Who was told what, and what every log and every role said: noted while it happens, so that what must never be is found
//! at the moment at which it is.

use super::report::Count;
use super::trace::fingerprint;
use super::world::World;
use changelog::{Epoch, FrameDecoder, Lsn, SmallFile};
use jadevectordb::record::Op;
use parking_lot::Mutex;
use rollout::{Phase, Stage, State};
use serde_json::Value;
use std::collections::BTreeMap;
use std::sync::Weak;
use wire::Colour;

/// What every client shows.
pub(super) const API_KEY: &str = "jadevdb_simulated";
/// First byte of what says in a log that everything before was synced, and its length.
const MARK: (u8, usize) = (0x80, 21);
/// What a log file begins with.
const HEADER_BYTES: usize = 48;
/// Violations that are kept; one is enough to have failed.
const VIOLATIONS_MAX: usize = 20;

/// What a record of the log does, as far as the books care.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Deed {
    /// Vectors by id, each with its unique value.
    Put(Vec<(String, u64)>),
    Delete(Vec<String>),
    Other,
}

/// What may be found under an id at the end.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Expected {
    /// By the last write that was acknowledged; `None`: nothing.
    pub acknowledged: Option<u64>,
    /// By writes after that of which nobody knows.
    pub perhaps: Vec<Option<u64>>,
}

/// A write that was acknowledged.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Acknowledged {
    pub id: String,
    /// `None`: deleted.
    pub value: Option<u64>,
    pub lsn: Lsn,
}

pub(super) struct Books {
    world: Weak<World>,
    inner: Mutex<Inner>,
}

#[derive(Default)]
struct Inner {
    violations: Vec<String>,
    lost: u64,
    duplicated: u64,
    expected: BTreeMap<String, Expected>,
    acknowledged: Vec<Acknowledged>,
    /// Every record that was ever synced, by whomever.
    records: BTreeMap<(Epoch, Lsn), (u64, Deed)>,
    /// Who was ever primary of an epoch.
    reigns: BTreeMap<Epoch, Colour>,
    /// Values that were given out.
    values: u64,
}

impl Books {
    pub fn new(world: Weak<World>) -> Books {
        Books { world, inner: Mutex::default() }
    }

    /// Something is so that must never be.
    pub fn violation(&self, text: impl Into<String>) {
        let text = text.into();
        let now_ms = self.world.upgrade().map_or(0, |world| {
            world.trace.line(|| format!("VIOLATION: {text}"));
            world.trace.now_ms()
        });
        let mut inner = self.inner.lock();
        if inner.violations.len() < VIOLATIONS_MAX {
            inner.violations.push(format!("at {now_ms} ms: {text}"));
        }
    }

    pub fn violations(&self) -> Vec<String> {
        self.inner.lock().violations.clone()
    }

    pub fn lost(&self) -> u64 {
        self.inner.lock().lost
    }

    pub fn duplicated(&self) -> u64 {
        self.inner.lock().duplicated
    }

    pub fn add_lost(&self, text: String) {
        self.inner.lock().lost += 1;
        self.violation(format!("lost: {text}"));
    }

    pub fn add_duplicated(&self, text: String) {
        self.inner.lock().duplicated += 1;
        self.violation(format!("duplicated: {text}"));
    }

    /// A value that no other write has.
    pub fn new_value(&self) -> u64 {
        let mut inner = self.inner.lock();
        inner.values += 1;
        inner.values
    }

    pub fn acknowledged(&self, id: &str, value: Option<u64>, lsn: Lsn) {
        let mut inner = self.inner.lock();
        inner.expected.insert(id.into(), Expected { acknowledged: value, perhaps: Vec::new() });
        inner.acknowledged.push(Acknowledged { id: id.into(), value, lsn });
    }

    /// Nobody knows whether a write was done, or will be.
    pub fn unknown(&self, id: &str, value: Option<u64>) {
        let mut inner = self.inner.lock();
        inner.expected.entry(id.into()).or_default().perhaps.push(value);
    }

    pub fn expected(&self, id: &str) -> Expected {
        self.inner.lock().expected.get(id).cloned().unwrap_or_default()
    }

    pub fn all_expected(&self) -> BTreeMap<String, Expected> {
        self.inner.lock().expected.clone()
    }

    pub fn all_acknowledged(&self) -> Vec<Acknowledged> {
        self.inner.lock().acknowledged.clone()
    }

    pub fn record(&self, epoch: Epoch, lsn: Lsn) -> Option<Deed> {
        self.inner.lock().records.get(&(epoch, lsn)).map(|(_, deed)| deed.clone())
    }

    /// A node's log has these bytes, from `offset` on, on its disk.
    pub fn log_synced(&self, colour: Colour, offset: usize, mut bytes: &[u8]) {
        if offset == 0 {
            bytes = bytes.get(HEADER_BYTES..).unwrap_or_default();
        }
        while let Some(&first) = bytes.first() {
            if first == MARK.0 {
                bytes = bytes.get(MARK.1..).unwrap_or_default();
                continue;
            }
            let mut decoder = FrameDecoder::new();
            decoder.push(bytes);
            // Zeros, or the end of a group that was cut by the length of a read.
            let Ok(Some(frame)) = decoder.next() else { return };
            bytes = &bytes[frame.encoded_len()..];
            self.record_synced(colour, &frame);
        }
    }

    fn record_synced(&self, colour: Colour, frame: &changelog::Frame) {
        let print = fingerprint(&frame.payload);
        let mut inner = self.inner.lock();
        match inner.records.get(&(frame.epoch, frame.lsn)) {
            Some((known, _)) if *known == print => return,
            Some((_, known)) => {
                let known = known.clone();
                drop(inner);
                let now = deed(&frame.payload);
                self.violation(format!(
                    "epoch {} has two histories: at LSN {} {colour} has {now:?}, and there was {known:?}",
                    frame.epoch, frame.lsn
                ));
                return;
            }
            None => {}
        }
        inner.records.insert((frame.epoch, frame.lsn), (print, deed(&frame.payload)));
    }

    /// A node's role file has been replaced, or written over, and has these bytes.
    pub fn role_written(&self, colour: Colour, file: &[u8]) {
        let content = SmallFile::content_of(file.to_vec()).ok();
        let role = content.and_then(|content| serde_json::from_slice::<Value>(&content).ok());
        let Some(role) = role else {
            return self.violation(format!("{colour} wrote a role that cannot be read"));
        };
        let (Some("primary"), Some(epoch)) = (role["role"].as_str(), role["epoch"].as_u64()) else { return };
        let before = self.inner.lock().reigns.insert(epoch, colour);
        if before.is_some_and(|before| before != colour) {
            self.violation(format!("both environments became primary in epoch {epoch}"));
        }
    }

    /// A coordinator made `state` durable.
    pub fn state_stored(&self, before: Option<&State>, state: &State) {
        let Some(world) = self.world.upgrade() else { return };
        let Some(before) = before else { return };
        if before.epoch > state.epoch || before.primary_epoch > state.primary_epoch {
            self.violation(format!("the stored epoch fell from {} to {}", before.epoch, state.epoch));
        }
        let Phase::HandingOver { stage, fenced, .. } = &state.phase else { return };
        if before.primary != state.primary {
            world.count(Count::Handover);
            if *fenced {
                world.count(Count::HandoverForced);
            }
        }
        let goes_back = |state: &State| matches!(state.phase, Phase::HandingOver { stage: Stage::Resuming { .. }, .. });
        if matches!(stage, Stage::Resuming { .. }) && !goes_back(before) {
            world.count(Count::HandoverGivenUp);
        }
    }

    /// A node did not start. That happens only to disks that are full, failing or off.
    pub fn start_failed(&self, colour: Colour, why: &str) {
        let excused = ["on purpose", "the machine is off", "is full", "no storage space", "No space left", "in use by"];
        if !excused.iter().any(|excuse| why.contains(excuse)) {
            self.violation(format!("{colour} does not start: {why}"));
        }
    }
}

fn deed(payload: &[u8]) -> Deed {
    Op::decode(payload).map_or(Deed::Other, deed_of)
}

fn deed_of(op: Op) -> Deed {
    match op {
        Op::PutVectors { vectors, .. } => {
            Deed::Put(vectors.into_iter().map(|vector| (vector.id, value_of(&vector.metadata))).collect())
        }
        Op::DeleteVectors { ids, .. } => Deed::Delete(ids),
        Op::Keyed { op, .. } => deed_of(*op),
        _ => Deed::Other,
    }
}

/// The unique value in the metadata of a vector; 0 is none.
pub(super) fn value_of(metadata: &str) -> u64 {
    serde_json::from_str::<Value>(metadata).ok().and_then(|metadata| metadata["n"].as_u64()).unwrap_or(0)
}
