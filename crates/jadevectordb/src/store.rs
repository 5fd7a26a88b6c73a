//! Everything a node knows, in memory: databases with their vectors, accounts, and the digest over all of it.
//!
//! Invariant: changed only by [`Store::apply`], in the order of the log, by one thread; the same log gives the same store
//! and the same digest on every node. Applying is setting: replaying a stretch of the log over a snapshot taken while it
//! was written gives the state at the end of the stretch.

mod accounts;
mod database;
mod digest;
mod keys;
mod listing;
mod walk;

pub use accounts::Accounts;
pub use database::{Database, Match, StoredVector};
pub use digest::{Digest, DigestTable, RecordHash};
pub use keys::KeyLimits;
pub use vectorindex::SearchError;
pub use walk::place_of;

use crate::account::{ApiKey, Token, User};
use crate::config::Config;
use crate::record::{self, Answered, DatabaseRecord, DecodeError, FORMAT_MAX, Op};
use bytes::{Buf, Bytes};
use keys::Keys;
use parking_lot::{Mutex, RwLock};
use std::collections::BTreeMap;
use std::sync::Arc;
use wire::admin::Lsn;
use wire::document::Index;

/// What stands before the record in an item of a snapshot.
const VERSION_BYTES: usize = 8;

pub struct Store {
    index: Index,
    content: RwLock<Content>,
    /// The newest format of records that snapshots may have.
    reads: u8,
    keys: RwLock<Keys>,
    digest: Mutex<DigestTable>,
}

#[derive(Default)]
struct Content {
    databases: BTreeMap<String, Arc<Database>>,
    accounts: Accounts,
}

impl Store {
    pub fn new(index: Index) -> Self {
        Self::with(index, KeyLimits::default(), FORMAT_MAX)
    }

    /// An empty one, as this node's settings want it.
    pub fn of(config: &Config) -> Self {
        Self::with(config.index.clone(), config.limits.keys, config.record_format)
    }

    fn with(index: Index, keys: KeyLimits, reads: u8) -> Self {
        let (keys, digest) = (RwLock::new(Keys::new(keys)), Mutex::new(DigestTable::new()));
        Self { index, content: RwLock::default(), reads, keys, digest }
    }

    /// All databases, ordered by id.
    pub fn databases(&self) -> Vec<Arc<Database>> {
        self.content.read().databases.values().cloned().collect()
    }

    pub fn database(&self, id: &str) -> Option<Arc<Database>> {
        self.content.read().databases.get(id).cloned()
    }

    /// Ordered by id.
    pub fn users(&self) -> Vec<Arc<User>> {
        self.content.read().accounts.users()
    }

    pub fn user(&self, user_id: &str) -> Option<Arc<User>> {
        self.content.read().accounts.user(user_id)
    }

    pub fn user_named(&self, username: &str) -> Option<Arc<User>> {
        self.content.read().accounts.user_named(username)
    }

    /// Ordered by id.
    pub fn api_keys(&self) -> Vec<Arc<ApiKey>> {
        self.content.read().accounts.api_keys()
    }

    pub fn api_key(&self, key_id: &str) -> Option<Arc<ApiKey>> {
        self.content.read().accounts.api_key(key_id)
    }

    pub fn api_key_hashed(&self, key_hash: &str) -> Option<Arc<ApiKey>> {
        self.content.read().accounts.api_key_hashed(key_hash)
    }

    pub fn token_hashed(&self, token_hash: &str) -> Option<Arc<Token>> {
        self.content.read().accounts.token_hashed(token_hash)
    }

    pub fn tokens_of(&self, user_id: &str) -> Vec<Arc<Token>> {
        self.content.read().accounts.tokens_of(user_id)
    }

    /// Logins that have not ended at `now_ms`.
    pub fn live_tokens(&self, now_ms: u64) -> usize {
        self.content.read().accounts.live_tokens(now_ms)
    }

    /// The request that was done with an idempotency key, and the LSN of its write. It may be known a moment before the
    /// write is applied.
    pub fn answered(&self, key: &[u8; 32]) -> Option<(Lsn, Answered)> {
        self.keys.read().get(key).cloned()
    }

    /// Requests remembered by their idempotency key.
    pub fn answered_count(&self) -> usize {
        self.keys.read().len()
    }

    /// Vectors in all databases.
    pub fn vector_count(&self) -> usize {
        self.content.read().databases.values().map(|database| database.len()).sum()
    }

    /// Vectors that are still found by scan only.
    pub fn unindexed(&self) -> usize {
        self.content.read().databases.values().map(|database| database.unindexed()).sum()
    }

    /// What the digest is the hash of: the sums of all buckets.
    pub fn sums(&self) -> Bytes {
        self.digest.lock().sums()
    }

    /// Fingerprint of everything applied so far.
    pub fn digest(&self) -> Digest {
        self.digest.lock().digest()
    }

    /// Nothing is applied while the guard lives.
    #[cfg(test)]
    pub(crate) fn hold(&self) -> impl Drop + '_ {
        self.digest.lock()
    }

    /// Applies one record; returns how many vectors it stored or removed.
    pub fn apply(&self, lsn: Lsn, op: Op) -> usize {
        if let Op::Keyed { op, answered } = op {
            // Before the change: whoever sees that, and fails because of it, finds that it was its own doing.
            self.keys.write().remember(lsn, answered);
            return self.apply(lsn, *op);
        }
        let mut digest = self.digest.lock();
        match op {
            Op::PutVectors { database, vectors } => {
                let count = vectors.len();
                if let Some(database) = self.database(&database) {
                    database.put(lsn, vectors, &mut digest);
                }
                count
            }
            Op::DeleteVectors { database, ids } => {
                self.database(&database).map_or(0, |database| database.delete(&ids, &mut digest))
            }
            Op::PutDatabase(record) => {
                self.put_database(lsn, record, &mut digest);
                1
            }
            Op::DropDatabase { database } => {
                let dropped = self.content.write().databases.remove(&database);
                dropped.map_or(0, |database| {
                    database.forget(&mut digest);
                    1
                })
            }
            Op::OpenEpoch | Op::Marker | Op::Nothing => 0,
            account => self.content.write().accounts.apply(lsn, account, &mut digest),
        }
    }

    fn put_database(&self, lsn: Lsn, record: DatabaseRecord, digest: &mut DigestTable) {
        if let Some(existing) = self.database(&record.database_id) {
            existing.describe(lsn, record, &self.index, digest);
            return;
        }
        match Database::create(lsn, record, &self.index, digest) {
            Ok(database) => {
                let id = database.record().database_id.clone();
                self.content.write().databases.insert(id, Arc::new(database));
            }
            // Checked before the record was written: only a node with impossible index settings comes here.
            Err(error) => tracing::error!(%error, lsn, "a database cannot be made with this node's index settings"),
        }
    }

    /// Puts the content of `other` in the place of this one's.
    pub fn replace_by(&self, other: Store) {
        let mut digest = self.digest.lock();
        *self.keys.write() = other.keys.into_inner();
        *self.content.write() = other.content.into_inner();
        *digest = other.digest.into_inner();
    }

    /// Number of items [`Store::snapshot`] would give now.
    pub fn item_count(&self) -> u64 {
        let content = self.content.read();
        let vectors: usize = content.databases.values().map(|database| database.len() + 1).sum();
        (vectors + content.accounts.len() + self.answered_count()) as u64
    }

    /// Applies one item of a snapshot.
    ///
    /// # Errors
    /// [`DecodeError`] when the item is damaged or of a newer version.
    pub fn restore(&self, item: &[u8]) -> Result<(), DecodeError> {
        match decode_item(item, self.reads)? {
            (version, token @ Op::PutToken(_)) => {
                let mut digest = self.digest.lock();
                self.content.write().accounts.restore(version, token, &mut digest);
            }
            (version, op) => {
                self.apply(version, op);
            }
        }
        Ok(())
    }
}

/// The item of a snapshot that only says that an idempotency key was used.
pub fn is_only_a_key(item: &[u8]) -> bool {
    item.get(VERSION_BYTES..).is_some_and(record::is_only_a_key)
}

/// A snapshot item: the LSN that wrote the record, and the record.
///
/// # Errors
/// [`DecodeError`] when the item is damaged or of a newer version.
pub(crate) fn decode_item(mut item: &[u8], reads: u8) -> Result<(Lsn, Op), DecodeError> {
    if item.len() < VERSION_BYTES {
        return Err(DecodeError::Damaged("a snapshot item shorter than its version".into()));
    }
    let version = item.get_u64_le();
    Ok((version, Op::decode_up_to(item, reads)?))
}

#[cfg(test)]
mod tests;
