//! What is stored, exact searches, and input that is refused.

use super::*;
use crate::index::searching::SearchError;

#[test]
fn exact_search_equals_a_naive_computation() {
    for metric in METRICS {
        for kind in [Kind::Flat, Kind::Hnsw] {
            // 13 components leave a remainder behind every width of a vector instruction.
            let index = VectorIndex::new(Options { kind, ..Options::new(13, metric) }).unwrap();
            let mut random = StdRng::seed_from_u64(1);
            let mut naive = Naive::new(metric);
            for number in 0..700 {
                let values = match number % 10 {
                    0 => vec![0.0; 13],
                    1 => vec![0.5; 13],
                    _ => random_vector(&mut random, 13),
                };
                naive.insert(&index, values);
            }
            for query in [random_vector(&mut random, 13), vec![0.0; 13], vec![-0.5; 13]] {
                for k in [1, 10, 150, 700, 1_000] {
                    naive.check_exact(&index, &query, k);
                }
            }
            assert!(index.search(&[1.0; 13], 0, SearchMode::Exact).unwrap().is_empty());
        }
    }
}

#[test]
fn scores_are_those_of_the_original() {
    let score = |metric, a: [f32; 2], b: [f32; 2]| {
        let index = VectorIndex::new(Options::new(2, metric)).unwrap();
        index.insert(&a).unwrap();
        index.search(&b, 1, SearchMode::Auto).unwrap()[0].score
    };
    assert_eq!(score(Metric::Cosine, [3.0, 4.0], [3.0, 4.0]), 1.0);
    assert_eq!(score(Metric::Cosine, [3.0, 4.0], [-6.0, -8.0]), -1.0);
    assert_eq!(score(Metric::Cosine, [0.0, 0.0], [1.0, 0.0]), 0.0);
    assert_eq!(score(Metric::Cosine, [1.0, 0.0], [0.0, 0.0]), 0.0);
    assert_eq!(score(Metric::Euclidean, [0.0, 0.0], [3.0, 4.0]), 1.0 / 6.0);
    assert_eq!(score(Metric::DotProduct, [2.0, 3.0], [4.0, -5.0]), -7.0);
    // The largest and the smallest floats neither overflow nor vanish.
    assert_eq!(score(Metric::Cosine, [f32::MAX, f32::MAX], [1e-45, 1e-45]), 1.0);
    assert_eq!(score(Metric::DotProduct, [f32::MAX, f32::MAX], [f32::MAX, 1.0]), f32::MAX);
}

#[test]
fn every_bit_is_kept() {
    let special = [0.0, -0.0, f32::MIN_POSITIVE, 1e-45, -1e-40, f32::MAX, f32::MIN, 0.1, 1.0 + f32::EPSILON];
    for metric in METRICS {
        let index = VectorIndex::new(Options::new(special.len(), metric)).unwrap();
        let slot = index.insert(&special).unwrap();
        let bits = |values: &[f32]| values.iter().map(|value| value.to_bits()).collect::<Vec<u32>>();
        assert_eq!(bits(&index.get(slot).unwrap()), bits(&special));
        let mut appended = vec![7.0];
        assert!(index.read_into(slot, &mut appended));
        assert_eq!(bits(&appended[1..]), bits(&special));
    }
}

#[test]
fn a_removed_slot_stays_invalid_when_its_place_is_used_again() {
    let index = VectorIndex::new(Options::new(2, Metric::Cosine)).unwrap();
    let first = index.insert(&[1.0, 0.0]).unwrap();
    assert!(index.remove(first));
    assert!(!index.remove(first));
    assert!(index.search(&[1.0, 0.0], 5, SearchMode::Auto).unwrap().is_empty());
    let second = index.insert(&[0.0, 1.0]).unwrap();
    assert_eq!(first.index(), second.index());
    assert_ne!(first, second);
    assert!(!index.remove(first));
    assert_eq!(index.get(first), None);
    assert_eq!(index.get(second), Some(vec![0.0, 1.0]));
    assert_eq!(index.len(), 1);
}

#[test]
fn equal_scores_are_in_the_order_of_their_slots() {
    let index = VectorIndex::new(Options::new(4, Metric::Cosine)).unwrap();
    let slots = index.insert_batch(&vec![[1.0, 2.0, 3.0, 4.0]; 600]).unwrap();
    let hits = index.search(&[1.0, 1.0, 1.0, 1.0], 50, SearchMode::Exact).unwrap();
    assert_eq!(hits.iter().map(|hit| hit.slot).collect::<Vec<Slot>>(), slots[..50]);
}

#[test]
fn bad_input_is_refused_with_a_reason_and_changes_nothing() {
    let index = VectorIndex::new(Options::new(3, Metric::Cosine)).unwrap();
    let error = index.insert_batch(&[vec![1.0; 3], vec![1.0; 4]]).unwrap_err();
    assert_eq!(error, InsertError::Dimensions { number: 1, given: 4, expected: 3 });
    assert_eq!(error.to_string(), "vector 1 of the batch has 4 dimensions: the index has 3");
    let error = index.insert(&[0.0, f32::NAN, 0.0]).unwrap_err();
    assert_eq!(error, InsertError::NotFinite { number: 0, position: 1 });
    assert!(index.is_empty());
    let error = index.search(&[1.0], 1, SearchMode::Auto).unwrap_err();
    assert_eq!(error, SearchError::Dimensions { given: 1, expected: 3 });
    let error = index.search(&[1.0, 1.0, f32::INFINITY], 1, SearchMode::Auto).unwrap_err();
    assert_eq!(error, SearchError::NotFinite { position: 2 });

    let refused = |options: Options| VectorIndex::new(options).unwrap_err();
    assert_eq!(refused(Options::new(0, Metric::Cosine)), OptionsError::Dimensions { given: 0 });
    let options = Options { connectivity: 1, ..Options::new(3, Metric::Cosine) };
    assert_eq!(refused(options), OptionsError::Connectivity { given: 1 });
    let options = Options { expansion_search: 0, ..Options::new(3, Metric::Cosine) };
    assert_eq!(refused(options), OptionsError::Expansion { name: "expansion_search", given: 0 });
}

#[test]
fn memory_is_given_back_after_many_removals() {
    let index = VectorIndex::new(Options { kind: Kind::Flat, ..Options::new(512, Metric::Cosine) }).unwrap();
    let slots = index.insert_batch(&vec![vec![1.0; 512]; 5_000]).unwrap();
    let before = index.memory_bytes();
    assert!(before > 5_000 * 512 * 4);
    assert_eq!(index.remove_batch(&slots[100..]), 4_900);
    assert!(index.memory_bytes() < before / 3, "{before} before, {} after", index.memory_bytes());
    // And taken again: all places are found, and the vectors are there.
    let again = index.insert_batch(&vec![vec![2.0; 512]; 4_900]).unwrap();
    assert!(again.iter().all(|slot| slot.index() < 5_000));
    assert_eq!(index.get(again[0]), Some(vec![2.0; 512]));
    assert_eq!(index.get(slots[99]), Some(vec![1.0; 512]));
}
