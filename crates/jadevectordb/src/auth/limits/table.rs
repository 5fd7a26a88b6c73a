//! A map of a bounded number of entries that lose their meaning with time.

use std::collections::HashMap;
use std::hash::Hash;

pub trait Entry {
    /// From this moment on the entry says no more than its absence.
    fn meaningless_from_ms(&self) -> u64;
}

pub struct Table<K, V> {
    entries: HashMap<K, V>,
    max: usize,
}

impl<K: Hash + Eq + Clone, V: Entry> Table<K, V> {
    pub fn new(max: usize) -> Self {
        Self { entries: HashMap::new(), max: max.max(1) }
    }

    pub fn get(&self, key: &K) -> Option<&V> {
        self.entries.get(key)
    }

    pub fn remove(&mut self, key: &K) {
        self.entries.remove(key);
    }

    pub fn values(&self) -> impl Iterator<Item = &V> {
        self.entries.values()
    }

    /// The entry of `key`, begun if there is none; a full table makes place first.
    pub fn entry(&mut self, key: K, now_ms: u64, begin: impl FnOnce() -> V) -> &mut V {
        if self.entries.len() >= self.max && !self.entries.contains_key(&key) {
            self.make_place(now_ms);
        }
        self.entries.entry(key).or_insert_with(begin)
    }

    fn make_place(&mut self, now_ms: u64) {
        self.entries.retain(|_, entry| entry.meaningless_from_ms() > now_ms);
        if self.entries.len() < self.max {
            return;
        }
        let soonest = self.entries.iter().min_by_key(|(_, entry)| entry.meaningless_from_ms());
        if let Some(key) = soonest.map(|(key, _)| key.clone()) {
            self.entries.remove(&key);
        }
    }

    #[cfg(test)]
    pub fn len(&self) -> usize {
        self.entries.len()
    }
}
