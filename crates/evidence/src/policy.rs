//! What counts as worse, and how sure one has to be.

use crate::ByThreshold;
use serde::{Deserialize, Serialize};

/// How a rollout is judged. Ratios are of the candidate's rate to the active environment's; rates are from 0 to 1.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Policy {
    /// Probability, at most, that a rollout of a version that is not worse is taken back.
    pub false_alarm_budget: f64,
    /// How many times the active environment's errors are allowed.
    pub error_ratio_max: f64,
    /// Fewer errors than this are good whatever the active environment does.
    pub error_rate_harmless: f64,
    /// Where nobody is left to compare with, as at a share of 100 %, more errors than this are too many.
    pub error_rate_max: f64,
    /// How many times as many answers slower than each threshold are allowed.
    pub latency_ratio_max: ByThreshold<f64>,
    /// Part of the replayed searches that may find other results.
    pub bad_results_rate_max: f64,
    /// Part of the true neighbours that a search may lose on average against the active environment.
    pub recall_loss_max: f64,
}

impl Default for Policy {
    fn default() -> Self {
        Self {
            false_alarm_budget: 0.001,
            error_ratio_max: 1.0,
            error_rate_harmless: 0.01,
            error_rate_max: 0.05,
            latency_ratio_max: [1.5, 1.5, 1.25, 1.25],
            bad_results_rate_max: 0.02,
            recall_loss_max: 0.005,
        }
    }
}
