//! The writes of each credential, so that it reads them from whichever node answers.
//!
//! For each credential the LSN of its last acknowledged write is kept, and demanded (`jadevectordb-min-lsn`) of every node
//! that is to answer a read of it. The table is of a fixed size and is never cleaned by a clock: where a set of it is full,
//! the write that is furthest back in the history makes room, and its LSN becomes the floor, which is demanded of everybody's
//! reads. What was forgotten is therefore demanded of too many reads rather than of none, and costs only where a follower
//! lags further behind than the last [`Limits::writers_max`](crate::Limits) or so writers.
//!
//! Reads take no lock and write nothing: cores do not wait for each other. Writes lock a part of the table for a few
//! instructions, beside the fsync that each of them waited for.

use http::header::{AUTHORIZATION, HeaderName};
use http::{HeaderMap, HeaderValue, Response, StatusCode};
use parking_lot::{Mutex, MutexGuard};
use std::hash::{BuildHasher, RandomState};
use std::sync::atomic::{AtomicU64, Ordering};

static LSN: HeaderName = HeaderName::from_static(wire::headers::LSN);
static MIN_LSN: HeaderName = HeaderName::from_static(wire::headers::MIN_LSN);
static BEHIND: HeaderName = HeaderName::from_static(wire::headers::BEHIND);
static API_KEY: HeaderName = HeaderName::from_static("x-api-key");

/// Places of one set, two cache lines.
const WAYS: usize = 8;
/// Parts of the table that are locked apart.
const LOCKS: usize = 64;

/// Who is asking: a hash of the secret, keyed by a random number of this process. Two that fell together would see each
/// other's writes, which does no harm. Requests without a secret are one credential.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Credential(u64);

/// What a read is to see, if it is more than its client said.
#[derive(Debug, Clone)]
pub(crate) struct Demand {
    credential: Credential,
    lsn: u64,
    /// The client's own words, which stand again when the demand is dropped.
    client: Option<HeaderValue>,
}

/// Who has not reached what a read demands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Behind {
    Follower,
    /// Nobody has it.
    Primary,
}

/// LSNs of the last writes.
#[derive(Debug)]
pub(crate) struct OwnWrites {
    hasher: RandomState,
    /// A power of two of them; none: nothing is remembered, nothing demanded.
    sets: Box<[Set]>,
    locks: [Mutex<()>; LOCKS],
    /// Demanded of all reads.
    floor: AtomicU64,
}

#[derive(Debug, Default)]
#[repr(align(128))]
struct Set([Place; WAYS]);

/// 0 is no credential.
#[derive(Debug, Default)]
struct Place {
    credential: AtomicU64,
    lsn: AtomicU64,
}

impl OwnWrites {
    /// Room for `writers_max` credentials, rounded up: 16 bytes each. `floor` stands for all writes before.
    pub(crate) fn new(writers_max: usize, floor: u64) -> Self {
        let sets = writers_max.div_ceil(WAYS).next_power_of_two();
        Self { sets: (0..sets).map(|_| Set::default()).collect(), floor: AtomicU64::new(floor), ..Self::off() }
    }

    pub(crate) fn off() -> Self {
        Self {
            hasher: RandomState::new(),
            sets: Box::default(),
            locks: [const { Mutex::new(()) }; LOCKS],
            floor: AtomicU64::new(0),
        }
    }

    /// The secret as a node finds it, however it is written.
    pub(crate) fn credential(&self, headers: &HeaderMap) -> Credential {
        let secret = match headers.get(AUTHORIZATION) {
            Some(value) => {
                let value = value.as_bytes();
                value.strip_prefix(b"Bearer ").or_else(|| value.strip_prefix(b"ApiKey ")).unwrap_or(value)
            }
            None => headers.get(&API_KEY).map_or(&b""[..], HeaderValue::as_bytes),
        };
        Credential(self.hasher.hash_one(secret).max(1))
    }

    /// Remembers a write by the headers of its answer, which a client must not get before.
    pub(crate) fn acknowledged(&self, credential: Credential, answer: &HeaderMap) {
        if let Some(lsn) = lsn_of(answer) {
            self.remember(credential, lsn);
        }
    }

    /// Demands in `headers` what the credential has written, unless its client demands as much itself.
    pub(crate) fn demand(&self, credential: Credential, headers: &mut HeaderMap) -> Option<Demand> {
        let lsn = self.lsn_of(credential);
        let client = headers.get(&MIN_LSN);
        match client.map(parsed) {
            None if lsn == 0 => return None,
            // Not a number: the node says so to the client.
            Some(None) => return None,
            Some(Some(own)) if own >= lsn => return None,
            _ => {}
        }
        let client = client.cloned();
        headers.insert(&MIN_LSN, HeaderValue::from(lsn));
        Some(Demand { credential, lsn, client })
    }

    /// Lowers what is remembered to where the primary stands, which cannot meet `demand`: writes beyond that are not in the
    /// history any more (a forced rollback gave them up), and to wait for them would be to wait for ever. `false` when the
    /// answer does not say so.
    pub(crate) fn give_up(&self, demand: &Demand, primary: &HeaderMap) -> bool {
        let Some(at) = lsn_of(primary).filter(|&at| at < demand.lsn) else { return false };
        let lowered = |lsn: u64| (at..=demand.lsn).contains(&lsn).then_some(at);
        // What is higher by now was written meanwhile and stays.
        let _ = self.floor.fetch_update(Ordering::AcqRel, Ordering::Acquire, lowered);
        if let Some(set) = self.set(demand.credential) {
            let _lock = self.lock(demand.credential);
            if let Some(place) = set.place_of(demand.credential) {
                let _ = place.lsn.fetch_update(Ordering::AcqRel, Ordering::Acquire, lowered);
            }
        }
        true
    }

    /// What everybody's reads demand.
    pub(crate) fn floor(&self) -> u64 {
        self.floor.load(Ordering::Acquire)
    }

    fn lsn_of(&self, credential: Credential) -> u64 {
        let Some(set) = self.set(credential) else { return 0 };
        let own = set.place_of(credential).map_or(0, |place| place.lsn.load(Ordering::Acquire));
        // Last: whoever took the place of this credential meanwhile has raised the floor before (see `remember`).
        own.max(self.floor())
    }

    fn remember(&self, credential: Credential, lsn: u64) {
        let Some(set) = self.set(credential) else { return };
        let _lock = self.lock(credential);
        if let Some(place) = set.place_of(credential) {
            // Answers overtake each other.
            place.lsn.fetch_max(lsn, Ordering::AcqRel);
            return;
        }
        // An empty place has the lowest LSN of all.
        let Some(oldest) = set.0.iter().min_by_key(|place| place.lsn.load(Ordering::Acquire)) else { return };
        self.floor.fetch_max(oldest.lsn.load(Ordering::Acquire), Ordering::AcqRel);
        oldest.lsn.store(lsn, Ordering::Release);
        oldest.credential.store(credential.0, Ordering::Release);
    }

    fn set(&self, credential: Credential) -> Option<&Set> {
        // Without sets the mask wraps around, and finds nothing.
        self.sets.get(credential.0 as usize & self.sets.len().wrapping_sub(1))
    }

    /// One lock for all sets whose numbers end alike.
    fn lock(&self, credential: Credential) -> MutexGuard<'_, ()> {
        let set = credential.0 as usize & self.sets.len().wrapping_sub(1);
        self.locks[set % LOCKS].lock()
    }
}

impl Set {
    fn place_of(&self, credential: Credential) -> Option<&Place> {
        self.0.iter().find(|place| place.credential.load(Ordering::Acquire) == credential.0)
    }
}

impl Demand {
    /// Gives the client's own words back to `headers`.
    pub(crate) fn withdraw(self, headers: &mut HeaderMap) {
        match self.client {
            Some(client) => headers.insert(&MIN_LSN, client),
            None => headers.remove(&MIN_LSN),
        };
    }
}

/// Why a node has not answered, if it is that it has not what the read demands.
pub(crate) fn behind<B>(answer: &Response<B>) -> Option<Behind> {
    if answer.status() != StatusCode::SERVICE_UNAVAILABLE {
        return None;
    }
    let primary = answer.headers().get(&BEHIND)? == wire::headers::BEHIND_PRIMARY;
    Some(if primary { Behind::Primary } else { Behind::Follower })
}

fn lsn_of(answer: &HeaderMap) -> Option<u64> {
    answer.get(&LSN).and_then(parsed)
}

fn parsed(value: &HeaderValue) -> Option<u64> {
    value.to_str().ok()?.trim().parse().ok()
}

#[cfg(test)]
mod tests;
