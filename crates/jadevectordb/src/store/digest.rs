//! An order-independent fingerprint of all records, kept up to date record by record.
//!
//! Each record has a 256-bit hash of its identity, version and content. A bucket holds the sum modulo 2^256 of the hashes
//! of its records; which bucket a record belongs to depends on its identity only, so differing buckets narrow down
//! where two nodes differ. Sums are taken away as easily as added: no scan is ever needed.
//! (Bellare and Micciancio, "A New Paradigm for Collision-Free Hashing", 1997: AdHash. 256 bits guard against accident
//! and bugs; they are no defence against somebody who may choose records at will.)

use wire::admin::Lsn;

const BUCKETS: usize = 65_536;

/// The sums of all buckets: 2 MiB.
pub struct DigestTable {
    buckets: Vec<RecordHash>,
    records: u64,
}

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
        Self { buckets: vec![RecordHash::default(); BUCKETS], records: 0 }
    }

    pub fn add(&mut self, space: &str, id: &str, hash: RecordHash) {
        let bucket = &mut self.buckets[bucket_of(space, id)];
        *bucket = bucket.plus(hash);
        self.records += 1;
    }

    pub fn remove(&mut self, space: &str, id: &str, hash: RecordHash) {
        let bucket = &mut self.buckets[bucket_of(space, id)];
        *bucket = bucket.minus(hash);
        self.records -= 1;
    }

    pub fn digest(&self) -> Digest {
        let mut hasher = blake3::Hasher::new();
        for stretch in self.buckets.chunks(1024) {
            let mut bytes = Vec::with_capacity(stretch.len() * 32);
            for word in stretch.iter().flat_map(|bucket| bucket.0) {
                bytes.extend_from_slice(&word.to_le_bytes());
            }
            hasher.update(&bytes);
        }
        Digest { root: hasher.finalize().to_hex().to_string(), records: self.records }
    }
}

fn bucket_of(space: &str, id: &str) -> usize {
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
