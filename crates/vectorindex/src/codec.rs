//! Vectors in the form in which the graph keeps and compares them.
//!
//! For cosine the graph gets unit vectors and compares dot products, which is cheaper than comparing angles. Bytes are
//! the exception: each vector is scaled so that its largest component uses the whole byte, and angles are compared.

use crate::options::{Metric, Quantization};
use crate::score::inverse_norm;
use std::hash::{BuildHasher, RandomState};
use usearch::{MetricKind, ScalarKind};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Codec {
    metric: Metric,
    quantization: Quantization,
}

#[derive(Debug)]
pub(crate) enum Encoded {
    Floats(Vec<f32>),
    Bytes(Vec<i8>),
}

/// The largest finite half float.
const HALF_MAX: f32 = 65_504.0;
/// Below this a vector would lose all its precision in half floats, whose normal numbers end at 2^-14.
const HALF_MIN: f32 = 1.0 / 1024.0;
/// The squares of 65,536 differences of such components add up to less than the largest float.
const FLOAT_MAX: f32 = 1e16;

impl Codec {
    pub(crate) fn new(metric: Metric, quantization: Quantization) -> Codec {
        let quantization = match (metric, quantization) {
            (Metric::Euclidean | Metric::DotProduct, Quantization::I8) => Quantization::F16,
            (_, quantization) => quantization,
        };
        Codec { metric, quantization }
    }

    /// For vectors that do not fit.
    pub(crate) fn widened(self) -> Codec {
        Codec { quantization: Quantization::F32, ..self }
    }

    pub(crate) fn quantization(self) -> Quantization {
        self.quantization
    }

    pub(crate) fn metric_kind(self) -> MetricKind {
        match (self.metric, self.quantization) {
            (Metric::Cosine, Quantization::I8) => MetricKind::Cos,
            (Metric::Cosine | Metric::DotProduct, _) => MetricKind::IP,
            (Metric::Euclidean, _) => MetricKind::L2sq,
        }
    }

    pub(crate) fn scalar_kind(self) -> ScalarKind {
        match self.quantization {
            Quantization::F32 => ScalarKind::F32,
            Quantization::F16 => ScalarKind::F16,
            Quantization::Bf16 => ScalarKind::BF16,
            Quantization::I8 => ScalarKind::I8,
        }
    }

    /// True if the encoding keeps enough of the vector to find it again. Unit vectors and bytes always do.
    pub(crate) fn fits(self, values: &[f32]) -> bool {
        if self.quantization != Quantization::F16 || self.metric == Metric::Cosine {
            return true;
        }
        let largest = largest(values);
        largest == 0.0 || (HALF_MIN..=HALF_MAX).contains(&largest)
    }

    pub(crate) fn encode(self, values: &[f32]) -> Encoded {
        match (self.metric, self.quantization) {
            (Metric::Cosine, Quantization::I8) => Encoded::Bytes(bytes(values)),
            (Metric::Cosine, _) => Encoded::Floats(unit(values)),
            (Metric::Euclidean | Metric::DotProduct, _) => Encoded::Floats(bounded(values)),
        }
    }

    /// Equal for vectors between which the graph cannot tell a difference.
    pub(crate) fn fingerprint(self, vector: &Encoded, hasher: &RandomState) -> u64 {
        match vector {
            // Rounded to the upper half, as bfloat16 is.
            Encoded::Floats(values) if self.quantization == Quantization::Bf16 => {
                let halves = values.iter().map(|value| (u64::from(value.to_bits()) + 0x8000) >> 16);
                hasher.hash_one(halves.map(|half| half as u16).collect::<Vec<u16>>())
            }
            Encoded::Floats(values) => {
                hasher.hash_one(values.iter().map(|value| value.to_bits()).collect::<Vec<u32>>())
            }
            Encoded::Bytes(values) => hasher.hash_one(values),
        }
    }

    /// As `encode`; `None` for a query that does not fit. The length of a query does not change the order of dot
    /// products, so there a unit vector stands for it, which always fits.
    pub(crate) fn encode_query(self, values: &[f32]) -> Option<Encoded> {
        match self.metric {
            Metric::Cosine => Some(self.encode(values)),
            Metric::DotProduct => Some(Encoded::Floats(unit(values))),
            Metric::Euclidean => self.fits(values).then(|| self.encode(values)),
        }
    }

    /// How many candidates of the graph get an exact score so that the best `k` are among them.
    pub(crate) fn rescored(self, k: usize) -> usize {
        match self.quantization {
            Quantization::I8 => k.saturating_mul(3).saturating_add(16),
            // Also for 32 bits: the graph's distances are rounded, and order near equals by chance.
            Quantization::F32 | Quantization::F16 | Quantization::Bf16 => k.saturating_add(k / 2).saturating_add(8),
        }
    }
}

fn largest(values: &[f32]) -> f32 {
    values.iter().fold(0.0, |largest, value| value.abs().max(largest))
}

fn unit(values: &[f32]) -> Vec<f32> {
    let scale = inverse_norm(values);
    values.iter().map(|&value| (f64::from(value) * scale) as f32).collect()
}

/// The vector, without components so large that a distance would be infinite.
fn bounded(values: &[f32]) -> Vec<f32> {
    values.iter().map(|value| value.clamp(-FLOAT_MAX, FLOAT_MAX)).collect()
}

fn bytes(values: &[f32]) -> Vec<i8> {
    let largest = f64::from(largest(values));
    let scale = if largest > 0.0 { 127.0 / largest } else { 0.0 };
    values.iter().map(|&value| (f64::from(value) * scale).round() as i8).collect()
}
