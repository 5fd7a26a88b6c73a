//! An order-independent fingerprint of all records, kept up to date record by record.
//!
//! Each record has a 256-bit hash of its identity, version and content. A bucket holds the sum modulo 2^256 of the hashes
//! of its records; which bucket a record belongs to depends on its identity only, so differing buckets narrow down
//! where two nodes differ. Sums are taken away as easily as added: no scan is ever needed.
//! (Bellare and Micciancio, "A New Paradigm for Collision-Free Hashing", 1997: AdHash. 256 bits guard against accident
//! and bugs; they are no defence against somebody who may choose records at will.)

use blake3::hazmat::{ChainingValue, HasherExt, Mode, merge_subtrees_non_root, merge_subtrees_root};
use bytes::{BufMut, Bytes, BytesMut};
use std::sync::LazyLock;
use wire::admin::{BUCKET_SUM_BYTES, BUCKETS, Lsn};

/// Buckets that are hashed anew when one of them has changed: 8 KiB.
const STRETCH: usize = 256;
/// A power of two.
const STRETCHES: usize = BUCKETS / STRETCH;

/// The sums of all buckets: 2 MiB.
///
/// The digest is BLAKE3 over all of them. That is a tree, whose nodes are kept: only those above a change are computed anew, so
/// a digest at the moment at which writes wait costs microseconds.
pub struct DigestTable {
    buckets: Vec<[u64; 4]>,
    records: u64,
    /// As a heap: the children of node n are 2n and 2n + 1, the stretches are the last half. 0 and 1, the root, are unused.
    nodes: Vec<ChainingValue>,
    /// Nodes that are not what their buckets say.
    changed: Vec<bool>,
}

/// The nodes when all sums are 0.
static EMPTY: LazyLock<Vec<ChainingValue>> = LazyLock::new(|| {
    let nothing = [[0; 4]; STRETCH];
    let mut nodes = vec![ChainingValue::default(); 2 * STRETCHES];
    for (number, node) in nodes[STRETCHES..].iter_mut().enumerate() {
        *node = stretch_hash(number, &nothing);
    }
    for number in (2..STRETCHES).rev() {
        nodes[number] = merge_subtrees_non_root(&nodes[2 * number], &nodes[2 * number + 1], Mode::Hash);
    }
    nodes
});

/// Fingerprint of a whole store.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Digest {
    /// Hexadecimal.
    pub root: String,
    pub records: u64,
}

/// A 256-bit number, least significant word first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct RecordHash([u64; 4]);

impl RecordHash {
    /// Hash of one record: `space` (a database id, or a kind of account), `id`, version, content in parts.
    pub fn of(space: &str, id: &str, version: Lsn, content: &[&[u8]]) -> Self {
        let mut hasher = blake3::Hasher::new();
        for part in [space.as_bytes(), id.as_bytes(), &version.to_le_bytes()].iter().chain(content) {
            hasher.update(&(part.len() as u64).to_le_bytes());
            hasher.update(part);
        }
        let hash = hasher.finalize();
        let mut words = [0; 4];
        for (word, bytes) in words.iter_mut().zip(hash.as_bytes().as_chunks::<8>().0) {
            *word = u64::from_le_bytes(*bytes);
        }
        Self(words)
    }

    pub fn to_hex(self) -> String {
        let mut bytes = [0; BUCKET_SUM_BYTES];
        for (place, word) in bytes.as_chunks_mut::<8>().0.iter_mut().zip(self.0) {
            *place = word.to_le_bytes();
        }
        blake3::Hash::from_bytes(bytes).to_hex().to_string()
    }

    fn plus(self, other: Self) -> Self {
        let mut sum = [0; 4];
        let mut carry = false;
        for (place, word) in sum.iter_mut().enumerate() {
            (*word, carry) = self.0[place].carrying_add(other.0[place], carry);
        }
        Self(sum)
    }

    fn minus(self, other: Self) -> Self {
        let mut difference = [0; 4];
        let mut borrow = false;
        for (place, word) in difference.iter_mut().enumerate() {
            (*word, borrow) = self.0[place].borrowing_sub(other.0[place], borrow);
        }
        Self(difference)
    }
}

impl Default for DigestTable {
    fn default() -> Self {
        Self::new()
    }
}

impl DigestTable {
    pub fn new() -> Self {
        Self { buckets: vec![[0; 4]; BUCKETS], records: 0, nodes: EMPTY.clone(), changed: vec![false; 2 * STRETCHES] }
    }

    pub fn add(&mut self, space: &str, id: &str, hash: RecordHash) {
        let bucket = self.bucket(space, id);
        *bucket = RecordHash(*bucket).plus(hash).0;
        self.records += 1;
    }

    pub fn remove(&mut self, space: &str, id: &str, hash: RecordHash) {
        let bucket = self.bucket(space, id);
        *bucket = RecordHash(*bucket).minus(hash).0;
        self.records -= 1;
    }

    /// The bucket of a record, to be changed.
    fn bucket(&mut self, space: &str, id: &str) -> &mut [u64; 4] {
        let number = bucket_of(space, id);
        let mut node = STRETCHES + number / STRETCH;
        while node > 1 && !std::mem::replace(&mut self.changed[node], true) {
            node /= 2;
        }
        &mut self.buckets[number]
    }

    pub fn digest(&mut self) -> Digest {
        for number in (2..2 * STRETCHES).rev() {
            if !std::mem::take(&mut self.changed[number]) {
                continue;
            }
            self.nodes[number] = match number.checked_sub(STRETCHES) {
                Some(stretch) => stretch_hash(stretch, &self.buckets[stretch * STRETCH..(stretch + 1) * STRETCH]),
                None => merge_subtrees_non_root(&self.nodes[2 * number], &self.nodes[2 * number + 1], Mode::Hash),
            };
        }
        let root = merge_subtrees_root(&self.nodes[2], &self.nodes[3], Mode::Hash);
        Digest { root: root.to_hex().to_string(), records: self.records }
    }

    /// The sums of all buckets, in order, least significant byte first: 2 MiB, of which the digest is the hash.
    pub fn sums(&self) -> Bytes {
        let mut bytes = BytesMut::with_capacity(BUCKETS * BUCKET_SUM_BYTES);
        for &word in self.buckets.as_flattened() {
            bytes.put_u64_le(word);
        }
        bytes.freeze()
    }
}

/// Hash of the stretch with this number, as a part of the tree.
fn stretch_hash(number: usize, stretch: &[[u64; 4]]) -> ChainingValue {
    let mut bytes = [0; STRETCH * BUCKET_SUM_BYTES];
    for (place, word) in bytes.as_chunks_mut::<8>().0.iter_mut().zip(stretch.as_flattened()) {
        *place = word.to_le_bytes();
    }
    let offset = (number * STRETCH * BUCKET_SUM_BYTES) as u64;
    blake3::Hasher::new().set_input_offset(offset).update(&bytes).finalize_non_root()
}

/// The bucket of a record, whatever its content is.
pub(super) fn bucket_of(space: &str, id: &str) -> usize {
    let mut hasher = blake3::Hasher::new();
    hasher.update(&(space.len() as u64).to_le_bytes());
    hasher.update(space.as_bytes());
    hasher.update(id.as_bytes());
    let hash = hasher.finalize();
    usize::from(u16::from_le_bytes([hash.as_bytes()[0], hash.as_bytes()[1]]))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hash(n: u64) -> RecordHash {
        RecordHash::of("db", &n.to_string(), n, &[b"content"])
    }

    #[test]
    fn order_does_not_matter_and_removal_undoes() {
        let mut forwards = DigestTable::new();
        let mut backwards = DigestTable::new();
        for n in 0..500 {
            forwards.add("db", &n.to_string(), hash(n));
            backwards.add("db", &(499 - n).to_string(), hash(499 - n));
        }
        assert_eq!(forwards.digest(), backwards.digest());
        for n in 0..500 {
            forwards.remove("db", &n.to_string(), hash(n));
        }
        assert_eq!(forwards.digest(), DigestTable::new().digest());
    }

    /// The digest without anything kept.
    fn computed_anew(table: &DigestTable) -> String {
        let bytes: Vec<u8> = table.buckets.as_flattened().iter().flat_map(|word| word.to_le_bytes()).collect();
        blake3::hash(&bytes).to_hex().to_string()
    }

    #[test]
    fn the_digest_is_the_hash_of_all_buckets_however_they_changed() {
        let mut table = DigestTable::new();
        assert_eq!(table.digest().root, computed_anew(&table));
        for round in 0..20 {
            for n in 0..round * 3 {
                table.add("db", &format!("{round}-{n}"), hash(n));
            }
            if round > 1 && round % 3 == 0 {
                table.remove("db", "1-0", hash(0));
                table.add("db", "1-0", hash(0));
            }
            assert_eq!(table.digest().root, computed_anew(&table), "round {round}");
            assert_eq!(table.digest().root, computed_anew(&table), "asked again");
        }
    }

    #[test]
    fn the_digest_is_the_hash_of_the_sums_and_a_record_shows_in_its_bucket_only() {
        let mut table = DigestTable::new();
        table.add("db", "a", hash(1));
        let before = table.sums();
        table.add("db", "b", hash(2));
        let after = table.sums();
        assert_eq!(table.digest().root, blake3::hash(&after).to_hex().to_string());
        assert_eq!(after.len(), 2 << 20);
        let sum = |sums: &Bytes, bucket: usize| sums[bucket * BUCKET_SUM_BYTES..][..BUCKET_SUM_BYTES].to_vec();
        let differing = (0..BUCKETS).filter(|&bucket| sum(&before, bucket) != sum(&after, bucket));
        let bucket = bucket_of("db", "b");
        assert_eq!(differing.collect::<Vec<_>>(), [bucket]);
        let hex: String = sum(&after, bucket).iter().map(|byte| format!("{byte:02x}")).collect();
        assert_eq!(hash(2).to_hex(), hex);
    }

    #[test]
    fn every_part_of_a_record_counts() {
        let of = |space, id, version, content: &[&[u8]]| RecordHash::of(space, id, version, content);
        let one = of("db", "a", 1, &[b"xy", b""]);
        assert_ne!(one, of("d", "ba", 1, &[b"xy", b""]));
        assert_ne!(one, of("db", "a", 2, &[b"xy", b""]));
        assert_ne!(one, of("db", "a", 1, &[b"x", b"y"]));
    }

    #[test]
    fn sums_carry_over_words() {
        let most = RecordHash([u64::MAX; 4]);
        let one = RecordHash([1, 0, 0, 0]);
        assert_eq!(most.plus(one), RecordHash([0; 4]));
        assert_eq!(RecordHash([0; 4]).minus(one), most);
    }
}
