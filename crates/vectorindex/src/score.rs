//! Exact scores. The products are summed in double precision, so a score does not depend on the instruction set of the
//! machine (beyond the last bit), and no finite vector overflows.

use crate::options::Metric;
use numkong::{Dot, Euclidean};

/// Scores stored vectors against one query.
#[derive(Debug)]
pub(crate) struct Scorer<'a> {
    metric: Metric,
    query: &'a [f32],
    inverse_norm: f64,
}

impl<'a> Scorer<'a> {
    pub(crate) fn new(metric: Metric, query: &'a [f32]) -> Scorer<'a> {
        Scorer { metric, query, inverse_norm: inverse_norm(query) }
    }

    pub(crate) fn query(&self) -> &[f32] {
        self.query
    }

    /// True if the direction of the query decides the score and it has none: all scores are equal.
    pub(crate) fn is_indifferent(&self) -> bool {
        self.inverse_norm == 0.0 && self.metric != Metric::Euclidean
    }

    /// `inverse_norm` belongs to `values`; only cosine looks at it.
    pub(crate) fn score(&self, values: &[f32], inverse_norm: f64) -> f32 {
        let score = match self.metric {
            Metric::Cosine => dot(self.query, values) * self.inverse_norm * inverse_norm,
            Metric::Euclidean => 1.0 / (1.0 + distance(self.query, values)),
            Metric::DotProduct => dot(self.query, values).clamp(f64::from(f32::MIN), f64::from(f32::MAX)),
        };
        // Adding zero makes -0.0 the 0.0 that it is equal to; the ranking tells the two apart.
        score as f32 + 0.0
    }
}

/// 1 / |values|, or 0 for the zero vector.
pub(crate) fn inverse_norm(values: &[f32]) -> f64 {
    let squared = dot(values, values);
    if squared > 0.0 { 1.0 / squared.sqrt() } else { 0.0 }
}

// The lengths are equal (inserts and searches check them), which is the only reason for numkong to answer `None`.

fn dot(a: &[f32], b: &[f32]) -> f64 {
    f32::dot(a, b).unwrap_or_default()
}

fn distance(a: &[f32], b: &[f32]) -> f64 {
    f32::sqeuclidean(a, b).unwrap_or_default().sqrt()
}
