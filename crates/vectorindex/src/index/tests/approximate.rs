//! The graph: its recall, what it does about removals and equal vectors, and when it is built anew.

use super::*;
use crate::score::Scorer;

/// Small enough expansions that a graph of a few hundred vectors is asked instead of scanned.
fn small(metric: Metric, quantization: Quantization) -> Options {
    Options { quantization, expansion_search: 32, exact_up_to: 100, ..Options::new(24, metric) }
}

fn asks_graph(index: &VectorIndex, query: &[f32], k: usize) -> bool {
    index.search_graph(&Scorer::new(index.options.metric, query), k).is_some()
}

#[test]
fn recall_is_high_for_every_metric_and_quantization() {
    for metric in METRICS {
        for quantization in [Quantization::F32, Quantization::F16, Quantization::Bf16, Quantization::I8] {
            let mut random = StdRng::seed_from_u64(2);
            let index = VectorIndex::new(small(metric, quantization)).unwrap();
            let mut vectors = clustered(&mut random, 2_050, 24);
            let queries = vectors.split_off(2_000);
            let slots = index.insert_batch(&vectors).unwrap();
            let naive = Naive { metric, vectors: slots.into_iter().zip(vectors).collect() };
            index_all(&index);
            assert!(asks_graph(&index, &queries[0], 10));
            let recall = naive.recall(&index, &queries, 10);
            assert!(recall >= 0.95, "{metric:?} {quantization:?}: recall {recall}");
        }
    }
}

#[test]
fn a_flat_or_small_index_has_no_graph() {
    let mut random = StdRng::seed_from_u64(3);
    for options in [
        Options { kind: Kind::Flat, exact_up_to: 0, ..Options::new(8, Metric::Cosine) },
        Options { exact_up_to: 500, ..Options::new(8, Metric::Cosine) },
    ] {
        let index = VectorIndex::new(options).unwrap();
        index.insert_batch(&clustered(&mut random, 500, 8)).unwrap();
        assert_eq!(index.unindexed(), 0);
        assert_eq!(index.index_some(1_000).unwrap(), Default::default());
        assert_eq!(index.stats().quantization, None);
    }
}

#[test]
fn what_waits_is_found_beside_what_is_in_the_graph() {
    let mut random = StdRng::seed_from_u64(4);
    let index = VectorIndex::new(small(Metric::Euclidean, Quantization::F16)).unwrap();
    let vectors = clustered(&mut random, 1_500, 24);
    let slots = index.insert_batch(&vectors).unwrap();
    let check = |slots: &[Slot], vectors: &[Vec<f32>]| {
        for (slot, values) in slots.iter().zip(vectors) {
            let hits = index.search(values, 5, SearchMode::Auto).unwrap();
            assert_eq!((hits[0].slot, hits[0].score, hits.len()), (*slot, 1.0, 5));
        }
    };
    // The first graph is complete before it is used.
    let progress = index.index_some(1_000).unwrap();
    assert_eq!((progress.done, progress.remaining), (1_000, 500));
    assert!(!asks_graph(&index, &vectors[0], 5));
    check(&slots, &vectors);
    index_all(&index);
    assert!(asks_graph(&index, &vectors[0], 5));
    // Later ones join it one by one.
    let more = clustered(&mut random, 500, 24);
    let more_slots = index.insert_batch(&more).unwrap();
    assert_eq!(index.unindexed(), 500);
    let progress = index.index_some(200).unwrap();
    assert_eq!((progress.done, progress.remaining), (200, 300));
    assert!(asks_graph(&index, &vectors[0], 5));
    check(&more_slots[200..], &more[200..]);
    index_all(&index);
    assert_eq!((index.stats().indexed, index.stats().rebuilds), (2_000, 0));
}

#[test]
fn crowded_tombstones_do_not_shorten_the_result() {
    let mut random = StdRng::seed_from_u64(5);
    let index = VectorIndex::new(small(Metric::Euclidean, Quantization::Bf16)).unwrap();
    let vectors = clustered(&mut random, 3_000, 24);
    let slots = index.insert_batch(&vectors).unwrap();
    index_all(&index);
    // All 500 nearest go, far fewer than the rebuild waits for.
    let middle = vectors[0].clone();
    let gone = index.search(&middle, 500, SearchMode::Exact).unwrap();
    let gone: Vec<Slot> = gone.iter().map(|hit| hit.slot).collect();
    assert_eq!(index.remove_batch(&gone), 500);
    assert_eq!((index.stats().tombstones, index.unindexed()), (500, 0));
    let vectors = slots.into_iter().zip(vectors).filter(|(slot, _)| !gone.contains(slot)).collect();
    let naive = Naive { metric: Metric::Euclidean, vectors };
    let beside: Vec<Vec<f32>> = naive.search(&middle, 20).iter().map(|(_, slot)| index.get(*slot).unwrap()).collect();
    assert!(naive.recall(&index, &beside, 10) >= 0.95);
    for k in [1, 10, 100, 2_500] {
        let hits = index.search(&middle, k, SearchMode::Auto).unwrap();
        assert_eq!(hits.len(), k);
        naive.check_hits(&middle, &hits);
    }
}

#[test]
fn the_graph_is_built_anew_after_many_removals() {
    let mut random = StdRng::seed_from_u64(6);
    let index = VectorIndex::new(small(Metric::Cosine, Quantization::F32)).unwrap();
    let mut vectors = clustered(&mut random, 4_000, 24);
    let slots = index.insert_batch(&vectors).unwrap();
    index_all(&index);
    let before = index.stats();
    assert_eq!((before.indexed, before.tombstones, before.rebuilds), (4_000, 0, 0));

    assert_eq!(index.remove_batch(&slots[..999]), 999);
    assert_eq!(index.unindexed(), 0, "too few for a rebuild");
    assert_eq!(index.remove_batch(&slots[999..2_000]), 1_001);
    assert_eq!(index.unindexed(), 2_000);
    // In portions, during which vectors go on to come and go.
    assert_eq!(index.index_some(500).unwrap().done, 500);
    assert_eq!(index.stats().rebuilds, 0);
    assert!(index.remove(slots[2_001]), "one that the new graph has already");
    assert!(index.remove(slots[3_999]), "one that it does not have yet");
    let late = random_vector(&mut random, 24);
    let late_slot = index.insert(&late).unwrap();
    assert_eq!(index.search(&late, 1, SearchMode::Auto).unwrap()[0].slot, late_slot);
    index_all(&index);

    let after = index.stats();
    assert_eq!((after.vectors, after.indexed, after.tombstones, after.rebuilds), (1_999, 1_999, 1, 1));
    assert!(after.graph_bytes < before.graph_bytes * 6 / 10, "{before:?} {after:?}");
    vectors.push(late);
    let live = slots.into_iter().chain([late_slot]).zip(vectors);
    let naive =
        Naive { metric: Metric::Cosine, vectors: live.filter(|(slot, _)| index.get(*slot).is_some()).collect() };
    assert_eq!(naive.vectors.len(), 1_999);
    assert!(naive.recall(&index, &clustered(&mut random, 20, 24), 10) >= 0.95);

    assert_eq!(index.remove_batch(&naive.vectors.iter().map(|(slot, _)| *slot).collect::<Vec<Slot>>()), 1_999);
    index_all(&index);
    assert_eq!((index.stats().quantization, index.stats().graph_bytes), (None, 0));
    assert!(index.search(&[1.0; 24], 3, SearchMode::Auto).unwrap().is_empty());
}

#[test]
fn equal_vectors_do_not_hide_each_other() {
    let mut random = StdRng::seed_from_u64(7);
    for quantization in [Quantization::F32, Quantization::Bf16, Quantization::I8] {
        let index = VectorIndex::new(small(Metric::Cosine, quantization)).unwrap();
        index.insert_batch(&clustered(&mut random, 1_000, 24)).unwrap();
        let same = random_vector(&mut random, 24);
        let mut slots = index.insert_batch(&vec![same.clone(); 300]).unwrap();
        index_all(&index);
        let hits = index.search(&same, 300, SearchMode::Exact).unwrap();
        assert_eq!(hits.iter().map(|hit| hit.slot).collect::<Vec<Slot>>(), slots);
        for k in [1, 20] {
            assert!(asks_graph(&index, &same, k));
            assert_eq!(index.search(&same, k, SearchMode::Auto).unwrap(), hits[..k]);
        }
        // Written again and again, all but one removed: the last one is still in reach, and no tombstones gather.
        for _ in 0..100 {
            let newest = index.insert(&same).unwrap();
            index_all(&index);
            for slot in std::mem::replace(&mut slots, vec![newest]) {
                assert!(index.remove(slot));
            }
            assert!(asks_graph(&index, &same, 1));
            assert_eq!(index.search(&same, 1, SearchMode::Auto).unwrap()[0].slot, newest);
        }
        let stats = index.stats();
        assert_eq!((stats.vectors, stats.tombstones), (1_001, 1));
    }
}

#[test]
fn vectors_beyond_half_floats_are_found_too() {
    for (factor, fits) in [(1.0, true), (1e6, false), (1e-6, false), (2e38, false)] {
        let mut random = StdRng::seed_from_u64(8);
        let index = VectorIndex::new(small(Metric::Euclidean, Quantization::F16)).unwrap();
        let ordinary = clustered(&mut random, 600, 24);
        let ordinary_slots = index.insert_batch(&ordinary).unwrap();
        index_all(&index);
        assert_eq!(index.stats().quantization, Some(Quantization::F16));
        let scaled: Vec<Vec<f32>> = clustered(&mut random, 600, 24)
            .into_iter()
            .map(|values| values.into_iter().map(|value| value * factor).collect())
            .collect();
        let slots = index.insert_batch(&scaled).unwrap();
        index_all(&index);
        let expected = if fits { Quantization::F16 } else { Quantization::F32 };
        assert_eq!(index.stats().quantization, Some(expected));
        assert_eq!(index.stats().indexed, 1_200);
        let found = |vectors: &[Vec<f32>], slots: &[Slot]| {
            let pairs = vectors.iter().zip(slots);
            pairs.filter(|(values, slot)| index.search(values, 1, SearchMode::Auto).unwrap()[0].slot == **slot).count()
        };
        assert!(found(&ordinary, &ordinary_slots) >= 540);
        // The graph cannot tell the largest of all apart, but they do not spoil it for the others.
        assert!(found(&scaled, &slots) >= 590 || factor > 1e16);
    }
}
