//! What evidence can say.

use serde::{Deserialize, Serialize};

/// `Inconclusive` is the answer to no data, too little data and broken sources.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Outcome {
    Pass,
    Fail,
    Inconclusive,
}

/// An outcome with the sentence that explains it by its numbers.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Verdict {
    pub outcome: Outcome,
    /// Which signal spoke: `errors`, `results`.
    pub signal: String,
    pub why: String,
    /// The evidence behind it, where there is a number: against the candidate when it fails, for it otherwise.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub e_value: Option<f64>,
}

impl Verdict {
    /// No data speaks for or against; `why` says what is missing.
    pub fn inconclusive(signal: &str, why: impl Into<String>) -> Self {
        Self { outcome: Outcome::Inconclusive, signal: signal.into(), why: why.into(), e_value: None }
    }

    pub fn pass(signal: &str, why: impl Into<String>) -> Self {
        Self { outcome: Outcome::Pass, signal: signal.into(), why: why.into(), e_value: None }
    }

    pub fn fail(signal: &str, why: impl Into<String>) -> Self {
        Self { outcome: Outcome::Fail, signal: signal.into(), why: why.into(), e_value: None }
    }
}
