//! The rules of the document, each with a message that says what would be right.

use crate::headers::{RECORD_FORMAT, RECORD_FORMAT_MIN};

use super::{API_VERSION, Acknowledge, BlueGreen, DocumentError, KIND, LatencyRatios, Mode, Version};

/// Longest version label and name.
const LABEL_LENGTH_MAX: usize = 63;
/// Most nodes of one environment.
pub const REPLICAS_MAX: u8 = 9;

impl BlueGreen {
    /// Checks every rule that types cannot express.
    ///
    /// # Errors
    /// The first broken rule, with field and value.
    pub fn validate(&self) -> Result<(), DocumentError> {
        equal("apiVersion", &self.api_version, API_VERSION)?;
        equal("kind", &self.kind, KIND)?;
        label("metadata.name", &self.metadata.name)?;
        label("spec.version", &self.spec.version)?;
        within("spec.replicas", u64::from(self.spec.replicas), 1, REPLICAS_MAX.into())?;
        for (name, version) in &self.spec.versions {
            let path = format!("spec.versions.{name}");
            label(&path, name)?;
            self.validate_version(&path, version)?;
        }
        self.validate_steps()?;
        self.validate_evidence()?;
        self.spec.cluster.validate()?;
        if let Some(request) = &self.spec.request {
            request.validate()?;
        }
        address("spec.local.gateway", &self.spec.local.gateway)?;
        for colour in crate::Colour::BOTH {
            let node = self.spec.local.node(colour);
            address(&format!("spec.local.{colour}.http"), &node.http)?;
            address(&format!("spec.local.{colour}.admin"), &node.admin)?;
        }
        let handover = &self.spec.handover;
        within("spec.handover.holdMsMax", handover.hold_ms_max, 10, 60_000)?;
        within("spec.handover.heldWritesMax", handover.held_writes_max, 1, 1_000_000)?;
        within("spec.handover.confirmMsMax", handover.confirm_ms_max, 10, 60_000)?;
        if handover.strict && handover.acknowledge == Acknowledge::Primary {
            return Err(rule_broken(
                "spec.handover.strict",
                "true",
                "with `acknowledge: primary` no other environment confirms anything; use `both` or `auto`",
            ));
        }
        within("spec.rollout.intervalMs", self.spec.rollout.interval_ms, 10, 60_000)?;
        within("spec.rollout.silenceMsMax", self.spec.rollout.silence_ms_max, 500, 3_600_000)?;
        within("spec.rollout.timeoutMs", self.spec.rollout.timeout_ms, 1_000, 7 * 24 * 3_600_000)
    }

    fn validate_version(&self, path: &str, version: &Version) -> Result<(), DocumentError> {
        let index = &version.index;
        within(&format!("{path}.index.connectivity"), index.connectivity as u64, 2, 256)?;
        within(&format!("{path}.index.expansionAdd"), index.expansion_add as u64, 4, 10_000)?;
        within(&format!("{path}.index.expansionSearch"), index.expansion_search as u64, 4, 10_000)?;
        if let Some(format) = version.record_format {
            let (min, max) = (u64::from(RECORD_FORMAT_MIN), u64::from(RECORD_FORMAT));
            within(&format!("{path}.recordFormat"), u64::from(format), min, max)?;
        }
        rate(&format!("{path}.fault.errors"), version.fault.errors)?;
        rate(&format!("{path}.fault.wrongResults"), version.fault.wrong_results)?;
        if self.spec.mode == Mode::Production && !version.fault.is_none() {
            return Err(rule_broken(
                format!("{path}.fault"),
                "a fault switch",
                "spec.mode is production; faults need `mode: development`",
            ));
        }
        Ok(())
    }

    fn validate_steps(&self) -> Result<(), DocumentError> {
        let steps = &self.spec.rollout.steps;
        let mut before = 0;
        for (position, step) in steps.iter().enumerate() {
            let path = format!("spec.rollout.steps[{position}].sharePercent");
            within(&path, u64::from(step.share_percent), 1, 100)?;
            if step.share_percent <= before {
                return Err(rule_broken(
                    path,
                    format!("{} %", step.share_percent),
                    format!("shares must rise, and the step before has {before} %"),
                ));
            }
            before = step.share_percent;
        }
        if before != 100 {
            return Err(rule_broken(
                "spec.rollout.steps",
                format!("a last share of {before} %"),
                "the last step must have sharePercent: 100",
            ));
        }
        Ok(())
    }

    fn validate_evidence(&self) -> Result<(), DocumentError> {
        let evidence = &self.spec.evidence;
        let path = |name: &str| format!("spec.evidence.{name}");
        between(&path("falseAlarmBudget"), evidence.false_alarm_budget)?;
        at_least(&path("evidenceMin"), evidence.evidence_min, 0.0)?;
        at_least(&path("errorRatioMax"), evidence.error_ratio_max, 1.0)?;
        between(&path("errorRateHarmless"), evidence.error_rate_harmless)?;
        between(&path("errorRateMax"), evidence.error_rate_max)?;
        let LatencyRatios { p50, p90, p99, limit } = evidence.latency_ratio_max;
        for (name, ratio) in [("p50", p50), ("p90", p90), ("p99", p99), ("limit", limit)] {
            at_least(&path(&format!("latencyRatioMax.{name}")), ratio, 1.0)?;
        }
        if let Some(limit_ms) = evidence.latency_limit_ms {
            at_least(&path("latencyLimitMs"), limit_ms, 0.016)?;
        }
        rate(&path("overlapMin"), evidence.overlap_min)?;
        if !(-1.0..=1.0).contains(&evidence.rank_correlation_min) {
            let given = evidence.rank_correlation_min.to_string();
            return Err(rule_broken(path("rankCorrelationMin"), given, "a number from -1 to 1"));
        }
        at_least(&path("scoreDriftMax"), evidence.score_drift_max, 0.0)?;
        between(&path("badResultsRateMax"), evidence.bad_results_rate_max)?;
        between(&path("recallLossMax"), evidence.recall_loss_max)?;
        within(&path("replaysPerSecond"), evidence.replays_per_second, 1, 10_000)?;
        for (position, step) in self.spec.rollout.steps.iter().enumerate() {
            if let Some(evidence_min) = step.evidence_min {
                at_least(&format!("spec.rollout.steps[{position}].evidenceMin"), evidence_min, 0.0)?;
            }
        }
        evidence.validate_sources()
    }
}

fn equal(path: &str, value: &str, wanted: &str) -> Result<(), DocumentError> {
    if value == wanted {
        return Ok(());
    }
    Err(rule_broken(path, format!("`{value}`"), format!("it must be `{wanted}`")))
}

pub(super) fn label(path: &str, value: &str) -> Result<(), DocumentError> {
    let good = !value.is_empty()
        && value.len() <= LABEL_LENGTH_MAX
        && value.starts_with(|c: char| c.is_ascii_alphanumeric())
        && value.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_' | '+'));
    if good {
        return Ok(());
    }
    Err(rule_broken(
        path,
        format!("`{value}`"),
        format!("1 to {LABEL_LENGTH_MAX} letters, digits, `.`, `-`, `_` or `+`, beginning with a letter or digit"),
    ))
}

/// Checks a version label given on a command line by the rule of the document.
///
/// # Errors
/// [`DocumentError::Rule`] with the label and the rule.
pub fn version_label(value: &str) -> Result<(), DocumentError> {
    label("version", value)
}

pub(super) fn within(path: &str, value: u64, min: u64, max: u64) -> Result<(), DocumentError> {
    if (min..=max).contains(&value) {
        return Ok(());
    }
    Err(rule_broken(path, value.to_string(), format!("a whole number from {min} to {max}")))
}

fn rate(path: &str, value: f64) -> Result<(), DocumentError> {
    if (0.0..=1.0).contains(&value) {
        return Ok(());
    }
    Err(rule_broken(path, value.to_string(), "a number from 0 to 1"))
}

pub(super) fn rule_broken(path: impl Into<String>, value: impl Into<String>, rule: impl Into<String>) -> DocumentError {
    DocumentError::Rule { path: path.into(), value: value.into(), rule: rule.into() }
}

pub(super) fn finite(path: &str, value: f64) -> Result<(), DocumentError> {
    match value.is_finite() {
        true => Ok(()),
        false => Err(rule_broken(path, value.to_string(), "a number")),
    }
}

/// A probability that is neither never nor always.
pub(super) fn between(path: &str, value: f64) -> Result<(), DocumentError> {
    if value > 0.0 && value < 1.0 {
        return Ok(());
    }
    Err(rule_broken(path, value.to_string(), "a number above 0 and below 1"))
}

pub(super) fn at_least(path: &str, value: f64, least: f64) -> Result<(), DocumentError> {
    if value.is_finite() && value >= least {
        return Ok(());
    }
    Err(rule_broken(path, value.to_string(), format!("a number of at least {least}")))
}

fn address(path: &str, value: &str) -> Result<(), DocumentError> {
    if value.parse::<std::net::SocketAddr>().is_ok() {
        return Ok(());
    }
    Err(rule_broken(
        path,
        format!("`{value}`"),
        "an address with a port, such as 127.0.0.1:8080 (port 0 picks a free one)",
    ))
}
