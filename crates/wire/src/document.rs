//! The `BlueGreen` document: a file for `jadeshift up`, an object on a cluster. One schema, validated once, at the edge.
//!
//! Reading goes in two steps: [`BlueGreen::from_yaml`] gives the typed document or an error that names field, value and
//! rule. Everything behind it may rely on [`BlueGreen::validate`] having passed.

mod cluster;
mod source;
mod validate;
mod validate_cluster;
mod validate_source;

pub use cluster::{
    Action, Cluster, GatewayPods, ImagePullPolicy, Parent, Request, Resources, Router, RouterKind, Storage,
};
pub use source::{CommandSource, PrometheusSource, Source, SourceRule, WebhookSource};
pub use validate::{REPLICAS_MAX, version_label};
pub use validate_source::SIGNALS_BUILT_IN;

use crate::Colour;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// `apiVersion` of the document.
pub const API_VERSION: &str = "jadevectordb.io/v1alpha1";
/// `kind` of the document.
pub const KIND: &str = "BlueGreen";

/// A blue-green deployment of one JadeVectorDB.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct BlueGreen {
    pub api_version: String,
    pub kind: String,
    pub metadata: Metadata,
    #[serde(default)]
    pub spec: Spec,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Metadata {
    pub name: String,
    /// Used on a cluster only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub namespace: Option<String>,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Spec {
    /// The version that runs first; later ones come by `jadeshift deploy`.
    pub version: String,
    /// Nodes of each environment: a head, and followers of it that answer reads and can take its place.
    pub replicas: u8,
    pub mode: Mode,
    /// What each version is. A version that is not listed is the built-in node with default settings.
    pub versions: BTreeMap<String, Version>,
    pub rollout: Rollout,
    pub handover: Handover,
    pub evidence: Evidence,
    pub local: Local,
    pub cluster: Cluster,
    /// A command, on a cluster only.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub request: Option<Request>,
}

impl Default for Spec {
    fn default() -> Self {
        Self {
            version: "1.0.0".into(),
            replicas: 1,
            mode: Mode::default(),
            versions: BTreeMap::new(),
            rollout: Rollout::default(),
            handover: Handover::default(),
            evidence: Evidence::default(),
            local: Local::default(),
            cluster: Cluster::default(),
            request: None,
        }
    }
}

/// `production` refuses fault switches and open registration.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "lowercase")]
pub enum Mode {
    #[default]
    Production,
    Development,
}

impl Mode {
    pub fn as_str(self) -> &'static str {
        match self {
            Mode::Production => "production",
            Mode::Development => "development",
        }
    }
}

/// What a version label stands for.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Version {
    /// On a cluster: instead of `spec.cluster.image`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub image: Option<String>,
    /// On one machine: program to start instead of the built-in node.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub program: Option<String>,
    /// Further arguments of the program.
    pub args: Vec<String>,
    pub env: BTreeMap<String, String>,
    pub index: Index,
    /// The newest format of the log's records that this version reads and writes, for stepwise upgrades: a version that is
    /// held back keeps no idempotency keys. Without it, the newest that the program knows.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub record_format: Option<u8>,
    /// For tests and demonstrations; refused in production.
    pub fault: Fault,
}

/// Settings of the vector index.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Index {
    pub kind: IndexKind,
    /// Links per node of the graph (M).
    pub connectivity: usize,
    /// Candidates considered when a vector is added (efConstruction).
    pub expansion_add: usize,
    /// Candidates considered by a search (ef).
    pub expansion_search: usize,
    pub quantization: Quantization,
    /// Up to this many vectors a database is searched exactly.
    pub exact_up_to: usize,
}

impl Default for Index {
    fn default() -> Self {
        Self {
            kind: IndexKind::Hnsw,
            connectivity: 16,
            expansion_add: 128,
            expansion_search: 96,
            quantization: Quantization::F16,
            exact_up_to: 1_000,
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "lowercase")]
pub enum IndexKind {
    #[default]
    Hnsw,
    /// Always exact.
    Flat,
}

/// How the graph keeps its own copy of the vectors. Scores are computed from the full vectors in any case.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "lowercase")]
pub enum Quantization {
    F32,
    #[default]
    F16,
    I8,
}

/// Faults a node makes on purpose.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Fault {
    /// Share of reads answered with an error, 0 to 1.
    pub errors: f64,
    /// Share of searches answered with wrong results, 0 to 1.
    pub wrong_results: f64,
    /// Time added to every read, milliseconds.
    pub latency_ms: u64,
}

impl Fault {
    pub fn is_none(&self) -> bool {
        *self == Self::default()
    }
}

/// How reads move.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Rollout {
    /// Shares of reads for the candidate, rising, the last one 100.
    pub steps: Vec<Step>,
    /// The candidate is filled and checked, and waits for `jadeshift promote` before it gets its first reads.
    pub hold_before_steps: bool,
    /// Largest lag, in records, at which the candidate counts as following.
    pub lag_records_max: u64,
    /// How long a failure still rolls back by itself after the switch.
    pub watch_ms: u64,
    /// How long preparing, seeding or following may take before the rollout goes back.
    pub timeout_ms: u64,
    /// Pause between two looks at the environments, while a rollout is under way.
    pub interval_ms: u64,
    /// How long an environment may not answer before it counts as gone: the candidate loses its reads, and after the switch
    /// the old one takes over without it.
    pub silence_ms_max: u64,
    /// What happens when a step's evidence stays inconclusive until `timeoutMs`.
    pub on_inconclusive: OnInconclusive,
}

impl Default for Rollout {
    fn default() -> Self {
        Self {
            steps: [10, 50, 90, 100].map(Step::of_share).to_vec(),
            hold_before_steps: false,
            lag_records_max: 1_000,
            watch_ms: 300_000,
            timeout_ms: 600_000,
            interval_ms: 100,
            silence_ms_max: 3_000,
            on_inconclusive: OnInconclusive::Pause,
        }
    }
}

/// One share of reads and what must hold before the next.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Step {
    /// Share of reads for the candidate, percent.
    pub share_percent: u8,
    #[serde(default = "Step::default_duration_min_ms")]
    pub duration_min_ms: u64,
    /// Reads the candidate must have answered in this step.
    #[serde(default = "Step::default_requests_min")]
    pub requests_min: u64,
    /// Instead of `spec.evidence.evidenceMin`, in this step.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub evidence_min: Option<f64>,
    /// Wait here for `jadeshift promote`.
    #[serde(default)]
    pub pause: bool,
}

impl Step {
    fn default_duration_min_ms() -> u64 {
        30_000
    }

    fn default_requests_min() -> u64 {
        100
    }

    pub fn of_share(share_percent: u8) -> Step {
        Step {
            share_percent,
            duration_min_ms: Self::default_duration_min_ms(),
            requests_min: Self::default_requests_min(),
            evidence_min: None,
            pause: false,
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "lowercase")]
pub enum OnInconclusive {
    #[default]
    Pause,
    Rollback,
    Promote,
}

/// Bounds of moving the right to write. A running node takes a change at its next start.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Handover {
    /// How long writes may wait at a seal before the handover goes back.
    pub hold_ms_max: u64,
    /// How many writes may wait.
    pub held_writes_max: u64,
    /// On whose disk a write must be before it is acknowledged.
    pub acknowledge: Acknowledge,
    /// With writes acknowledged by both: how long the other environment may take to confirm one before the primary asks to
    /// go on alone.
    pub confirm_ms_max: u64,
    /// With writes acknowledged by both: the primary never goes on alone, it refuses writes instead.
    pub strict: bool,
}

impl Default for Handover {
    fn default() -> Self {
        Self {
            hold_ms_max: 1_000,
            held_writes_max: 10_000,
            acknowledge: Acknowledge::default(),
            confirm_ms_max: 250,
            strict: false,
        }
    }
}

/// Who must have a write on disk before it is acknowledged.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "lowercase")]
pub enum Acknowledge {
    /// Both from the moment a new version may write until its watch is over; otherwise the primary.
    #[default]
    Auto,
    Primary,
    /// Both, whenever the other environment follows.
    Both,
}

/// What counts as worse, and how sure one has to be. Ratios are of the candidate's rate to the active environment's; rates are from
/// 0 to 1.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Evidence {
    /// Probability, at most, that a rollout of a version that is not worse is rolled back, however often it is looked at.
    pub false_alarm_budget: f64,
    /// How many times as likely what was seen must be with a good candidate than with a bad one before a step is done; 0
    /// asks for none.
    pub evidence_min: f64,
    /// How many times the active environment's errors are allowed.
    pub error_ratio_max: f64,
    /// Fewer errors than this are good whatever the active environment does.
    pub error_rate_harmless: f64,
    /// At a share of 100 % nobody is left to compare with; then more errors than this are too many.
    pub error_rate_max: f64,
    /// How many times as many slow answers are allowed.
    pub latency_ratio_max: LatencyRatios,
    /// Answers slower than this are counted as well, milliseconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub latency_limit_ms: Option<f64>,
    /// A replayed search is bad when the candidate finds less than this part of what the active environment clearly found.
    pub overlap_min: f64,
    /// It is bad as well when the results that both found stand in another order: Kendall's rank correlation below this, -1 to 1.
    pub rank_correlation_min: f64,
    /// And when their scores differ by more than this part of the largest, on average.
    pub score_drift_max: f64,
    /// Part of the replayed searches that may be bad.
    pub bad_results_rate_max: f64,
    /// Part of the true neighbours that a search may lose on average against the active environment.
    pub recall_loss_max: f64,
    /// Replayed searches needed before the candidate gets its first reader, if there are any to replay; 0 asks for none.
    pub replays_min: u64,
    /// Replayed searches per second while a rollout is judged.
    pub replays_per_second: u64,
    /// Signals of the user's own.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub sources: Vec<Source>,
}

/// How many times as many answers are allowed that are slower than the active environment's own quantiles, and than the limit.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct LatencyRatios {
    pub p50: f64,
    pub p90: f64,
    pub p99: f64,
    pub limit: f64,
}

impl LatencyRatios {
    /// The same for all.
    pub fn all(ratio: f64) -> Self {
        Self { p50: ratio, p90: ratio, p99: ratio, limit: ratio }
    }
}

impl Default for LatencyRatios {
    fn default() -> Self {
        Self { p50: 1.5, p90: 1.5, p99: 1.25, limit: 1.25 }
    }
}

impl Default for Evidence {
    fn default() -> Self {
        Self {
            false_alarm_budget: 0.001,
            evidence_min: 20.0,
            error_ratio_max: 1.0,
            error_rate_harmless: 0.01,
            error_rate_max: 0.05,
            latency_ratio_max: LatencyRatios::default(),
            latency_limit_ms: None,
            overlap_min: 0.5,
            rank_correlation_min: 0.2,
            score_drift_max: 0.1,
            bad_results_rate_max: 0.02,
            recall_loss_max: 0.005,
            replays_min: 50,
            replays_per_second: 50,
            sources: Vec::new(),
        }
    }
}

/// Where things listen and live on one machine.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Local {
    /// Address of the gateway, `host:port`; port 0 picks a free one.
    pub gateway: String,
    pub blue: LocalNode,
    pub green: LocalNode,
}

impl Default for Local {
    fn default() -> Self {
        Self { gateway: "127.0.0.1:8080".into(), blue: LocalNode::default(), green: LocalNode::default() }
    }
}

impl Local {
    pub fn node(&self, colour: Colour) -> &LocalNode {
        match colour {
            Colour::Blue => &self.blue,
            Colour::Green => &self.green,
        }
    }
}

/// Addresses of one node, `host:port`; port 0 picks a free one and keeps it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct LocalNode {
    pub http: String,
    pub admin: String,
}

impl Default for LocalNode {
    fn default() -> Self {
        Self { http: "127.0.0.1:0".into(), admin: "127.0.0.1:0".into() }
    }
}

/// Why a document cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DocumentError {
    /// The text is not YAML, or a field has the wrong shape or is unknown.
    #[error("{path}: {reason}")]
    Shape { path: String, reason: String },
    /// A value breaks a rule.
    #[error("{path}: {value} is not allowed: {rule}")]
    Rule { path: String, value: String, rule: String },
}

impl BlueGreen {
    /// A document that says nothing but a name: every default.
    pub fn named(name: &str) -> Self {
        Self {
            api_version: API_VERSION.into(),
            kind: KIND.into(),
            metadata: Metadata { name: name.into(), namespace: None },
            spec: Spec::default(),
        }
    }

    /// Reads and validates a YAML (or JSON) document.
    ///
    /// # Errors
    /// [`DocumentError`] names the field, its value and the rule.
    pub fn from_yaml(text: &str) -> Result<Self, DocumentError> {
        let reader = serde_norway::Deserializer::from_str(text);
        let document: Self = serde_path_to_error::deserialize(reader).map_err(|error| {
            let path = match error.path().to_string() {
                path if path == "." => "document".to_string(),
                path => path,
            };
            DocumentError::Shape { path, reason: error.into_inner().to_string() }
        })?;
        document.validate()?;
        Ok(document)
    }

    /// What the text of a document that can be read says in `spec`, and no more: without the defaults of what it leaves out.
    pub fn spec_as_written(text: &str) -> serde_json::Value {
        let whole: serde_json::Value = serde_norway::from_str(text).unwrap_or_default();
        whole.get("spec").filter(|spec| !spec.is_null()).cloned().unwrap_or_else(|| serde_json::json!({}))
    }

    pub fn to_yaml(&self) -> String {
        serde_norway::to_string(self).expect("a document is always representable")
    }

    /// What `version` stands for; an unlisted label is the built-in node.
    pub fn version(&self, version: &str) -> Version {
        self.spec.versions.get(version).cloned().unwrap_or_default()
    }
}

#[cfg(test)]
mod tests;
