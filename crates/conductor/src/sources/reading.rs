//! What a source answers, and how JSON says it.

use super::beginning;
use crate::judged::Sides;
use evidence::{Counts, Outcome};
use serde::Deserialize;
use wire::document::SourceRule;

/// One answer.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Answer {
    pub reading: Reading,
    /// When it was measured, ms since 1970, if the source says so.
    pub at_ms: Option<u64>,
}

#[derive(Debug, Clone, PartialEq)]
pub(super) enum Reading {
    /// Counters since whenever.
    Counts(Sides<Counts>),
    Value(f64),
    Verdict(Outcome, String),
}

impl From<Reading> for Answer {
    fn from(reading: Reading) -> Self {
        Self { reading, at_ms: None }
    }
}

/// The JSON of webhooks and commands.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Said {
    outcome: Option<Outcome>,
    #[serde(default)]
    reason: String,
    value: Option<f64>,
    candidate: Option<Counts>,
    active: Option<Counts>,
    at_ms: Option<u64>,
}

/// Reads an answer as `rule` needs it.
pub(super) fn read(text: &str, rule: SourceRule) -> Result<Answer, String> {
    let said: Said = serde_json::from_str(text.trim()).map_err(|error| {
        format!("answered `{}`, which is not the JSON that is asked for ({}): {error}", beginning(text), example(rule))
    })?;
    let missing = || format!("answered `{}`; with this rule it has to be like {}", beginning(text), example(rule));
    let reading = match rule {
        SourceRule::Ratio { .. } => {
            let (candidate, active) = (said.candidate.ok_or_else(missing)?, said.active.ok_or_else(missing)?);
            Reading::Counts(Sides { candidate, active })
        }
        SourceRule::Rate { .. } => {
            let candidate = said.candidate.ok_or_else(missing)?;
            Reading::Counts(Sides { candidate, active: said.active.unwrap_or_default() })
        }
        SourceRule::Value { .. } => Reading::Value(said.value.ok_or_else(missing)?),
        SourceRule::Verdict => Reading::Verdict(said.outcome.ok_or_else(missing)?, beginning(&said.reason)),
    };
    Ok(Answer { reading, at_ms: said.at_ms })
}

fn example(rule: SourceRule) -> &'static str {
    match rule {
        SourceRule::Ratio { .. } => {
            r#"{"candidate": {"requests": 900, "events": 1}, "active": {"requests": 8000, "events": 9}}"#
        }
        SourceRule::Rate { .. } => r#"{"candidate": {"requests": 900, "events": 1}}"#,
        SourceRule::Value { .. } => r#"{"value": 0.97}"#,
        SourceRule::Verdict => r#"{"outcome": "pass", "reason": "all is well"}"#,
    }
}

/// A counter as a number of things.
pub(super) fn count(value: f64) -> Result<u64, String> {
    match value >= 0.0 && value < 2f64.powi(63) {
        true => Ok(value as u64),
        false => Err(format!("{value} is no number of requests")),
    }
}
