//! Many threads at once. Each test ends after a fixed amount of work, and says nothing about time.

use super::*;
use std::collections::HashSet;
use std::sync::atomic::AtomicBool;
use std::thread;

/// Runs `write` while one thread indexes and four run `search` again and again.
fn beside(index: &VectorIndex, search: impl Fn(&mut StdRng) + Sync, write: impl FnOnce()) {
    struct Stop<'a>(&'a AtomicBool);
    impl Drop for Stop<'_> {
        fn drop(&mut self) {
            self.0.store(true, Ordering::Release);
        }
    }
    let stopped = AtomicBool::new(false);
    let running = || !stopped.load(Ordering::Acquire);
    thread::scope(|scope| {
        scope.spawn(|| {
            while running() {
                index.index_some(50).unwrap();
                thread::yield_now();
            }
        });
        for thread in 0..4 {
            let search = &search;
            scope.spawn(move || {
                let mut random = StdRng::seed_from_u64(100 + thread);
                while running() {
                    search(&mut random);
                }
            });
        }
        // Also when `write` panics: the others must end for the test to fail.
        let _stop = Stop(&stopped);
        write();
    });
}

#[test]
fn searches_are_right_while_vectors_come_and_go() {
    let options = Options { expansion_search: 24, exact_up_to: 100, ..Options::new(16, Metric::Cosine) };
    let index = VectorIndex::new(options).unwrap();
    let mut random = StdRng::seed_from_u64(30);
    // Those that stay point one way, those that come and go another: each kind has scores of its own.
    let toward = |random: &mut StdRng, sign: f32| -> Vec<f32> {
        (0..16).map(|at| random.random_range(0.1..1.0) * if at < 8 { sign } else { 1.0 }).collect()
    };
    let staying: Vec<Vec<f32>> = (0..800).map(|_| toward(&mut random, 1.0)).collect();
    index.insert_batch(&staying).unwrap();
    let search = |random: &mut StdRng| {
        let k = random.random_range(1..15);
        let sign = if random.random_bool(0.5) { 1.0 } else { -1.0 };
        let query = toward(random, sign);
        let hits = index.search(&query, k, SearchMode::Auto).unwrap();
        assert_eq!(hits.len(), k);
        let places: HashSet<u32> = hits.iter().map(|hit| hit.slot.index()).collect();
        assert_eq!(places.len(), k, "one place twice: {hits:?}");
        for hit in hits {
            // Its score, if it is still there, is that of the vector that it is.
            if let Some(values) = index.get(hit.slot) {
                assert!(close(hit.score, naive_score(Metric::Cosine, &query, &values)));
            }
        }
    };
    beside(&index, search, || {
        let mut going: Vec<Slot> = Vec::new();
        for _ in 0..120 {
            let batch: Vec<Vec<f32>> = (0..50).map(|_| toward(&mut random, -1.0)).collect();
            going.extend(index.insert_batch(&batch).unwrap());
            let newest = index.search(&batch[0], 1, SearchMode::Auto).unwrap();
            assert!(close(newest[0].score, 1.0), "what was just inserted is not found: {newest:?}");
            if going.len() > 400 {
                let gone: Vec<Slot> = going.drain(..100).collect();
                assert_eq!(index.remove_batch(&gone), 100);
            }
        }
        index.remove_batch(&going);
    });
    assert_eq!(index.len(), 800);
    index_all(&index);
    assert_eq!(index.stats().graph_failures, 0);
}

#[test]
fn an_update_is_never_seen_as_neither() {
    for kind in [Kind::Hnsw, Kind::Flat] {
        let options = Options { kind, expansion_search: 24, exact_up_to: 100, ..Options::new(512, Metric::Euclidean) };
        let index = VectorIndex::new(options).unwrap();
        let mut random = StdRng::seed_from_u64(31);
        let others = index.insert_batch(&clustered(&mut random, 800, 512)).unwrap();
        index_all(&index);
        // Far from all others, so that it must be the first hit, old or new. Its versions take turns in two slots, the
        // first and the last, which a scan does not meet at the same time.
        let record = |version: usize| [10.0 + (version % 100) as f32 / 100.0; 512];
        let mut slot = index.insert(&record(0)).unwrap();
        assert!(index.remove(others[0]));
        let search = |_: &mut StdRng| {
            let hits = index.search(&record(0), 2, SearchMode::Auto).unwrap();
            let distance = 1.0 / hits[0].score - 1.0;
            assert!(distance < 30.0, "neither the old nor the new version was found: {hits:?}");
        };
        beside(&index, search, || {
            for version in 1..3_000 {
                let newer = index.insert(&record(version)).unwrap();
                assert!(index.remove(std::mem::replace(&mut slot, newer)));
            }
        });
        assert_eq!(index.len(), 800);
    }
}
