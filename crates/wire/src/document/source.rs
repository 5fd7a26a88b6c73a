//! Signals of the user's own: where they are asked for, and what counts as worse.

use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::path::PathBuf;

/// Asked while a rollout is judged, in an interval of its own. Exactly one of `prometheus`, `webhook` and `command` says where.
///
/// What it is judged by follows from the fields: `ratioMax` or `rateMax` want counts, `min` or `max` want a value, and without
/// any of them a webhook or a command says `pass` or `fail` itself.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Source {
    /// Name of the signal.
    pub name: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub prometheus: Option<PrometheusSource>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub webhook: Option<WebhookSource>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub command: Option<CommandSource>,
    /// Counts: how many times the active environment's rate of events is allowed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ratio_max: Option<f64>,
    /// Counts: part of the candidate's requests that may be events, whatever the active environment does.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rate_max: Option<f64>,
    /// A value: the least that is good.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub min: Option<f64>,
    /// A value: the most that is good.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max: Option<f64>,
    /// Counts: part of the false-alarm budget, relative to the other signals, whose parts add up to about 1.
    #[serde(default = "Source::default_weight")]
    pub weight: f64,
    /// Counts: instead of `spec.evidence.evidenceMin`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub evidence_min: Option<f64>,
    /// A value, or a verdict: so many bad answers one after the other fail the candidate.
    #[serde(default = "Source::default_failures_in_a_row")]
    pub failures_in_a_row: u32,
    #[serde(default = "Source::default_interval_ms")]
    pub interval_ms: u64,
    /// How long one answer may take.
    #[serde(default = "Source::default_timeout_ms")]
    pub timeout_ms: u64,
    /// What was measured longer ago says nothing any more.
    #[serde(default = "Source::default_age_ms_max")]
    pub age_ms_max: u64,
}

/// Instant queries of the HTTP API. In a query, `$colour` and `$version` stand for each environment's own.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct PrometheusSource {
    /// Without `/api/v1/query`.
    pub url: String,
    /// Counter of all requests.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub requests: Option<String>,
    /// Counter of those that are events, such as errors.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub events: Option<String>,
    /// A value, of the candidate.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub value: Option<String>,
    /// A file with the token of `Authorization: Bearer`, read anew for each query.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub token_file: Option<PathBuf>,
    /// A file with the certificates (PEM) to trust instead of those of the machine.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ca_file: Option<PathBuf>,
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub headers: BTreeMap<String, String>,
}

/// A POST with JSON that is answered with JSON.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct WebhookSource {
    pub url: String,
    /// A file with the secret that requests are signed with, as the Standard Webhooks specification says (`whsec_` and base64,
    /// or any text).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub secret_file: Option<PathBuf>,
    /// A file with the certificates (PEM) to trust instead of those of the machine.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ca_file: Option<PathBuf>,
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub headers: BTreeMap<String, String>,
}

/// A program that gets JSON and answers with JSON, or with its exit code: 0 passes, 1 fails, any other says nothing.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct CommandSource {
    pub program: String,
    #[serde(default)]
    pub args: Vec<String>,
    #[serde(default)]
    pub env: BTreeMap<String, String>,
}

/// What the answers of a source are judged by.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum SourceRule {
    /// Counts of both environments.
    Ratio { ratio_max: f64 },
    /// Counts of the candidate.
    Rate { rate_max: f64 },
    /// A value of the candidate between these bounds.
    Value { min: Option<f64>, max: Option<f64> },
    /// The source's own verdict.
    Verdict,
}

impl SourceRule {
    pub fn wants_counts(self) -> bool {
        matches!(self, SourceRule::Ratio { .. } | SourceRule::Rate { .. })
    }
}

impl Source {
    fn default_weight() -> f64 {
        0.1
    }

    fn default_failures_in_a_row() -> u32 {
        3
    }

    fn default_interval_ms() -> u64 {
        5_000
    }

    fn default_timeout_ms() -> u64 {
        2_000
    }

    fn default_age_ms_max() -> u64 {
        30_000
    }

    /// As validated: one kind of rule at most. Counters of Prometheus are compared when nothing else is said.
    pub fn rule(&self) -> SourceRule {
        let counters = self.prometheus.as_ref().is_some_and(|prometheus| prometheus.requests.is_some());
        match (self.ratio_max, self.rate_max) {
            (Some(ratio_max), _) => SourceRule::Ratio { ratio_max },
            (None, Some(rate_max)) => SourceRule::Rate { rate_max },
            (None, None) if self.min.is_some() || self.max.is_some() => {
                SourceRule::Value { min: self.min, max: self.max }
            }
            (None, None) if counters => SourceRule::Ratio { ratio_max: 1.0 },
            (None, None) => SourceRule::Verdict,
        }
    }

    /// It can say something before the candidate has a single reader.
    pub fn speaks_early(&self) -> bool {
        self.prometheus.is_none() && !self.rule().wants_counts()
    }
}
