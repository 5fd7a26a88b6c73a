//! Which records are in some buckets of the digest, for those who look for a difference between two nodes.

use super::Store;
use super::accounts::{API_KEYS, TOKENS, USERS, hash};
use super::database::{DATABASES, hash_of, record_hash};
use super::digest::{RecordHash, bucket_of};
use crate::record::Op;
use wire::admin::{BUCKETS, ListedRecord, Lsn, RecordVersion};
use wire::snapshot::Place;

/// Records looked at while writes wait, for about 200 microseconds.
const STRIDE: usize = 1_024;

impl Store {
    /// The records in `buckets`, each as it was at some moment of the call; `None` when there are more than `max`. Looks at
    /// every record there is.
    pub fn records_in(&self, buckets: &[u16], max: usize) -> Option<Vec<ListedRecord>> {
        let mut wanted = vec![false; BUCKETS];
        buckets.iter().for_each(|&bucket| wanted[usize::from(bucket)] = true);
        let mut found = Vec::new();
        let mut place = None;
        while found.len() <= max {
            if let Some((database, after)) = self.within(place.as_ref()) {
                let name = database.record().database_id.clone();
                let mut seen = 0;
                let last = database.walk(after, |version, id, values, metadata| {
                    if wanted[bucket_of(&name, id)] {
                        let record = Place::Vector { database: name.clone(), id: id.to_owned() };
                        found.push(listed(record, version, hash_of(&name, id, version, values, metadata)));
                    }
                    seen += 1;
                    seen < STRIDE && found.len() <= max
                });
                if let Some(id) = last {
                    place = Some(Place::Vector { database: name, id: id.to_string() });
                    continue;
                }
            }
            let Some((next, version, op)) = self.next_after(place.as_ref()) else { return Some(found) };
            if let Some((space, id, hash)) = rare(version, &op)
                && wanted[bucket_of(space, id)]
            {
                found.push(listed(next.clone(), version, hash));
            }
            place = Some(next);
        }
        None
    }
}

fn listed(record: Place, lsn: Lsn, hash: RecordHash) -> ListedRecord {
    ListedRecord { record, version: RecordVersion { lsn, hash: hash.to_hex() } }
}

/// Space, id and hash of everything but vectors, as the digest has them. Idempotency keys are not in it.
fn rare(version: Lsn, op: &Op) -> Option<(&'static str, &str, RecordHash)> {
    Some(match op {
        Op::PutUser(user) => (USERS, &user.user_id, hash(USERS, &user.user_id, version, user)),
        Op::PutApiKey(key) => (API_KEYS, &key.key_id, hash(API_KEYS, &key.key_id, version, key)),
        Op::PutToken(token) => (TOKENS, &token.token_hash, hash(TOKENS, &token.token_hash, version, token)),
        Op::PutDatabase(record) => (DATABASES, &record.database_id, record_hash(version, record)),
        _ => return None,
    })
}
