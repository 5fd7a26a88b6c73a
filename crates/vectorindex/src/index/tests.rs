//! The index against a naive computation: exactly, approximately, over time, and with many threads.

mod approximate;
mod concurrent;
mod exact;
mod model;

use super::*;
use crate::index::searching::SearchMode;
use crate::ranking::Hit;
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};

/// What an index should hold, and answers by the plainest code there is.
struct Naive {
    metric: Metric,
    vectors: Vec<(Slot, Vec<f32>)>,
}

impl Naive {
    fn new(metric: Metric) -> Naive {
        Naive { metric, vectors: Vec::new() }
    }

    fn insert(&mut self, index: &VectorIndex, values: Vec<f32>) -> Slot {
        let slot = index.insert(&values).unwrap();
        assert!(self.vectors.iter().all(|(other, _)| other.index() != slot.index()), "{slot:?} was given twice");
        self.vectors.push((slot, values));
        slot
    }

    fn search(&self, query: &[f32], k: usize) -> Vec<(f64, Slot)> {
        let mut scored: Vec<(f64, Slot)> =
            self.vectors.iter().map(|(slot, values)| (naive_score(self.metric, query, values), *slot)).collect();
        scored.sort_by(|a, b| b.0.total_cmp(&a.0).then(a.1.cmp(&b.1)));
        scored.truncate(k);
        scored
    }

    /// Every hit is live, once, in order, with the score of its own vector.
    fn check_hits(&self, query: &[f32], hits: &[Hit]) {
        for hit in hits {
            let (_, values) =
                self.vectors.iter().find(|(slot, _)| *slot == hit.slot).expect("a removed vector was hit");
            let score = naive_score(self.metric, query, values);
            assert!(close(hit.score, score), "{hit:?} should have the score {score}");
        }
        for pair in hits.windows(2) {
            let in_order = pair[0].score > pair[1].score
                || (pair[0].score == pair[1].score && pair[0].slot.index() < pair[1].slot.index());
            assert!(in_order, "not in order: {pair:?}");
        }
    }

    fn check_exact(&self, index: &VectorIndex, query: &[f32], k: usize) {
        let hits = index.search(query, k, SearchMode::Exact).unwrap();
        self.check_hits(query, &hits);
        let expected = self.search(query, k);
        assert_eq!(hits.len(), expected.len());
        for (hit, (score, slot)) in hits.iter().zip(&expected) {
            assert!(close(hit.score, *score), "{hit:?} where {slot:?} with {score} was expected");
        }
    }

    fn recall(&self, index: &VectorIndex, queries: &[Vec<f32>], k: usize) -> f64 {
        let mut found = 0;
        let mut expected = 0;
        for query in queries {
            let hits = index.search(query, k, SearchMode::Auto).unwrap();
            self.check_hits(query, &hits);
            let best = self.search(query, k);
            expected += best.len();
            found += best.iter().filter(|(_, slot)| hits.iter().any(|hit| hit.slot == *slot)).count();
        }
        found as f64 / expected as f64
    }
}

fn naive_score(metric: Metric, a: &[f32], b: &[f32]) -> f64 {
    let product = |a: &[f32], b: &[f32]| a.iter().zip(b).map(|(x, y)| f64::from(*x) * f64::from(*y)).sum::<f64>();
    match metric {
        Metric::DotProduct => product(a, b),
        Metric::Euclidean => {
            let squared: f64 = a.iter().zip(b).map(|(x, y)| (f64::from(*x) - f64::from(*y)).powi(2)).sum();
            1.0 / (1.0 + squared.sqrt())
        }
        Metric::Cosine => match product(a, a) * product(b, b) {
            0.0 => 0.0,
            norms => product(a, b) / norms.sqrt(),
        },
    }
}

fn close(given: f32, expected: f64) -> bool {
    (f64::from(given) - expected).abs() <= 1e-6 * expected.abs().max(1.0)
}

fn random_vector(random: &mut StdRng, dimensions: usize) -> Vec<f32> {
    (0..dimensions).map(|_| random.random_range(-1.0..1.0)).collect()
}

/// Vectors around some centres, as embeddings are, and queries of the same kind.
fn clustered(random: &mut StdRng, count: usize, dimensions: usize) -> Vec<Vec<f32>> {
    let centres: Vec<Vec<f32>> = (0..count.div_ceil(50)).map(|_| random_vector(random, dimensions)).collect();
    (0..count)
        .map(|_| {
            let centre = &centres[random.random_range(0..centres.len())];
            centre.iter().map(|value| value + random.random_range(-0.4..0.4)).collect()
        })
        .collect()
}

fn index_all(index: &VectorIndex) {
    while index.unindexed() > 0 {
        let progress = index.index_some(100).unwrap();
        assert!(progress.done > 0 || progress.remaining == 0, "no progress: {progress:?}, {:?}", index.stats());
    }
}

const METRICS: [Metric; 3] = [Metric::Cosine, Metric::Euclidean, Metric::DotProduct];
