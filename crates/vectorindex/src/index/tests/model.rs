//! A long random life of an index beside a naive model of it.

use super::*;

/// Runs `steps` random steps. Everything that is random comes from `seed`.
fn live(seed: u64, metric: Metric, options: Options, steps: usize) {
    println!("seed {seed}, {metric:?}");
    let mut random = StdRng::seed_from_u64(seed);
    let dimensions = options.dimensions;
    let index = VectorIndex::new(options).unwrap();
    let mut naive = Naive::new(metric);
    let mut removed: Vec<Slot> = Vec::new();
    for _ in 0..steps {
        match random.random_range(0..100) {
            0..30 => {
                let values = random_vector(&mut random, dimensions);
                let slot = naive.insert(&index, values.clone());
                check_newest(&index, metric, &values, slot);
            }
            30..34 => {
                let batch: Vec<Vec<f32>> = (0..40).map(|_| random_vector(&mut random, dimensions)).collect();
                let slots = index.insert_batch(&batch).unwrap();
                naive.vectors.extend(slots.into_iter().zip(batch));
            }
            34..45 => {
                for _ in 0..random.random_range(1..30) {
                    if !naive.vectors.is_empty() {
                        let victim = random.random_range(0..naive.vectors.len());
                        let (slot, _) = naive.vectors.swap_remove(victim);
                        assert!(index.remove(slot));
                        removed.push(slot);
                    }
                }
            }
            45..65 if !naive.vectors.is_empty() => {
                let updated = random.random_range(0..naive.vectors.len());
                let values = random_vector(&mut random, dimensions);
                let old = naive.vectors.swap_remove(updated).0;
                let slot = index.insert(&values).unwrap();
                assert!(index.remove(old));
                naive.vectors.push((slot, values.clone()));
                removed.push(old);
                check_newest(&index, metric, &values, slot);
            }
            65..85 => {
                let progress = index.index_some(random.random_range(1..200)).unwrap();
                assert_eq!(progress.remaining, index.unindexed());
            }
            _ => {
                let query = random_vector(&mut random, dimensions);
                let k = random.random_range(1..20);
                naive.check_exact(&index, &query, k);
                let hits = index.search(&query, k, SearchMode::Auto).unwrap();
                naive.check_hits(&query, &hits);
                assert_eq!(hits.len(), k.min(naive.vectors.len()));
            }
        }
        assert_eq!(index.len(), naive.vectors.len());
    }
    for (slot, values) in &naive.vectors {
        assert_eq!(index.get(*slot).as_ref(), Some(values));
    }
    assert!(removed.iter().all(|slot| index.get(*slot).is_none() && !index.remove(*slot)));
    index_all(&index);
    let stats = index.stats();
    assert_eq!((stats.vectors, stats.unindexed, stats.graph_failures), (naive.vectors.len(), 0, 0));
    let queries: Vec<Vec<f32>> = (0..30).map(|_| random_vector(&mut random, dimensions)).collect();
    assert!(naive.recall(&index, &queries, 5) >= 0.9);
}

/// Nothing is nearer to a vector than itself, by the metrics that know a nearest.
fn check_newest(index: &VectorIndex, metric: Metric, values: &[f32], slot: Slot) {
    let hits = index.search(values, 3, SearchMode::Auto).unwrap();
    if metric == Metric::DotProduct {
        assert!(hits.len() == 3.min(index.len()));
    } else {
        assert_eq!(hits[0].slot, slot);
        assert!(close(hits[0].score, 1.0));
    }
}

#[test]
fn a_random_life_matches_the_model() {
    for (seed, metric) in (10..).zip(METRICS) {
        let options = Options { expansion_search: 24, exact_up_to: 150, ..Options::new(12, metric) };
        live(seed, metric, options, 4_000);
    }
}

#[test]
fn a_random_life_of_a_flat_index_matches_the_model() {
    let options = Options { kind: Kind::Flat, ..Options::new(5, Metric::Cosine) };
    live(20, Metric::Cosine, options, 1_000);
}

#[test]
fn churn_that_is_never_indexed_does_not_grow() {
    let index = VectorIndex::new(Options::new(4, Metric::Cosine)).unwrap();
    let mut slots = index.insert_batch(&[[1.0, 0.0, 0.0, 0.0]; 10]).unwrap();
    for _ in 0..10_000 {
        let newer = index.insert_batch(&[[0.0, 1.0, 0.0, 0.0]; 10]).unwrap();
        assert_eq!(index.remove_batch(&std::mem::replace(&mut slots, newer)), 10);
    }
    assert!(index.memory_bytes() < 500_000, "{} bytes for 10 vectors", index.memory_bytes());
    let hits = index.search(&[0.0, 1.0, 0.0, 0.0], 20, SearchMode::Auto).unwrap();
    assert_eq!(hits.len(), 10);
    assert!(hits.iter().all(|hit| hit.score == 1.0 && slots.contains(&hit.slot)));
}
