//! The walk over all records that a snapshot takes, in strides with nothing held in between.
//!
//! **Invariant.** Records come in the order of their ids (idempotency keys in that of their writes), never in that of
//! where they are kept. So what is not touched during a walk is met exactly once, however long the walk pauses and
//! whatever moves meanwhile, and what is touched is set right by replaying the log from before the walk. A place means
//! the same on every node and after every restart.

use super::{Database, Store, decode_item};
use crate::record::{self, DecodeError, FORMAT_MAX, Op};
use bytes::{BufMut, Bytes};
use std::collections::BTreeMap;
use std::ops::Bound;
use std::sync::Arc;
use wire::admin::Lsn;
use wire::snapshot::Place;

/// Bytes of items that [`Store::snapshot`] copies at once: writes wait for some hundred microseconds.
const STRIDE_BYTES: usize = 256 << 10;

impl Store {
    /// Calls `emit` with every record as a snapshot item, while writes go on: what is touched meanwhile may or may not
    /// be in it, and is set right by replaying the log from before the call.
    ///
    /// # Errors
    /// Whatever `emit` fails with ends it.
    pub fn snapshot<E>(&self, mut emit: impl FnMut(Bytes) -> Result<(), E>) -> Result<(), E> {
        let (mut place, mut more) = (None, true);
        while more {
            let mut items = Vec::new();
            more = self.stride(&mut place, STRIDE_BYTES, |item| items.push(Bytes::copy_from_slice(item)));
            // The store is not held meanwhile: this may wait for a disk.
            items.into_iter().try_for_each(&mut emit)?;
        }
        Ok(())
    }

    /// Hands the items behind `place` to `emit` until they have `bytes_max` bytes together, and moves the place to the
    /// last of them; false when there are no more. `emit` may only copy: writes wait for it.
    pub fn stride(&self, place: &mut Option<Place>, bytes_max: usize, mut emit: impl FnMut(&[u8])) -> bool {
        let (mut item, mut bytes) = (Vec::new(), 0);
        while bytes < bytes_max {
            if let Some((database, after)) = self.within(place.as_ref()) {
                let name = database.record().database_id.clone();
                let last = database.walk(after, |version, id, values, metadata| {
                    item.clear();
                    item.put_u64_le(version);
                    record::encode_vector(&name, id, values, metadata, &mut item);
                    bytes += item.len();
                    emit(&item);
                    bytes < bytes_max
                });
                if let Some(id) = last {
                    *place = Some(Place::Vector { database: name, id: id.to_string() });
                    continue;
                }
            }
            let Some((next, version, op)) = self.next_after(place.as_ref()) else { return false };
            item.clear();
            item.put_u64_le(version);
            op.encode_into(&mut item);
            bytes += item.len();
            emit(&item);
            *place = Some(next);
        }
        true
    }

    /// The database that the place is in, and the vector there.
    pub(super) fn within<'a>(&self, place: Option<&'a Place>) -> Option<(Arc<Database>, Option<&'a str>)> {
        match place? {
            Place::Database { id } => Some((self.database(id)?, None)),
            Place::Vector { database, id } => Some((self.database(database)?, Some(id))),
            Place::User { .. } | Place::ApiKey { .. } | Place::Token { .. } | Place::Key { .. } => None,
        }
    }

    /// What is not a vector: the account, the idempotency key, or the description of a database, behind `place`.
    pub(super) fn next_after(&self, place: Option<&Place>) -> Option<(Place, Lsn, Op)> {
        let after = match place {
            Some(Place::Database { id } | Place::Vector { database: id, .. }) => Some(id.as_str()),
            Some(Place::Key { lsn }) => return self.next_key(*lsn).or_else(|| self.next_database(None)),
            None | Some(Place::User { .. } | Place::ApiKey { .. } | Place::Token { .. }) => {
                let account = self.content.read().accounts.next_after(place);
                return account.or_else(|| self.next_key(0)).or_else(|| self.next_database(None));
            }
        };
        self.next_database(after)
    }

    fn next_key(&self, after: Lsn) -> Option<(Place, Lsn, Op)> {
        let (lsn, op) = self.keys.read().next_after(after)?;
        Some((Place::Key { lsn }, lsn, op))
    }

    fn next_database(&self, after: Option<&str>) -> Option<(Place, Lsn, Op)> {
        let content = self.content.read();
        let (id, database) = next_in(&content.databases, after)?;
        let (version, record) = database.versioned_record();
        Some((Place::Database { id: id.clone() }, version, Op::PutDatabase((*record).clone())))
    }
}

/// The place of a snapshot item; `None` for what is no record of a store.
///
/// # Errors
/// [`DecodeError`] when the item is damaged or of a newer version.
pub fn place_of(item: &[u8]) -> Result<Option<Place>, DecodeError> {
    let (version, op) = decode_item(item, FORMAT_MAX)?;
    Ok(match op {
        Op::PutVectors { database, vectors } => {
            vectors.into_iter().next_back().map(|vector| Place::Vector { database, id: vector.id })
        }
        Op::PutDatabase(record) => Some(Place::Database { id: record.database_id }),
        Op::PutUser(user) => Some(Place::User { id: user.user_id }),
        Op::PutApiKey(key) => Some(Place::ApiKey { id: key.key_id }),
        Op::PutToken(token) => Some(Place::Token { id: token.token_hash }),
        Op::Keyed { .. } => Some(Place::Key { lsn: version }),
        Op::DeleteVectors { .. }
        | Op::DropDatabase { .. }
        | Op::DropTokens { .. }
        | Op::OpenEpoch
        | Op::Marker
        | Op::Nothing => None,
    })
}

/// The entry behind `after`, or the first.
pub(super) fn next_in<'a, V>(map: &'a BTreeMap<String, V>, after: Option<&str>) -> Option<(&'a String, &'a V)> {
    map.range::<str, _>((behind(after), Bound::Unbounded)).next()
}

pub(super) fn behind(after: Option<&str>) -> Bound<&str> {
    after.map_or(Bound::Unbounded, Bound::Excluded)
}
