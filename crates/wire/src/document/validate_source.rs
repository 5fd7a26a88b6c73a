//! The rules of `spec.evidence.sources`.

use super::source::{PrometheusSource, Source, SourceRule};
use super::validate::{at_least, between, finite, label, rule_broken, within};
use super::{DocumentError, Evidence};
use std::collections::BTreeSet;

/// Signals that are measured anyway, and words that mean several of them.
pub const SIGNALS_BUILT_IN: [&str; 15] = [
    "errors",
    "errors_alone",
    "over_p50",
    "over_p90",
    "over_p99",
    "over_limit",
    "replayed_errors",
    "replayed_over_p50",
    "replayed_over_p90",
    "replayed_over_limit",
    "results",
    "recall",
    "recall_lost",
    "latency",
    "data",
];
const SOURCES_MAX: u64 = 20;
/// What a query may say of an environment.
const PLACEHOLDERS: [&str; 2] = ["colour", "version"];

impl Evidence {
    pub(super) fn validate_sources(&self) -> Result<(), DocumentError> {
        within("spec.evidence.sources", self.sources.len() as u64, 0, SOURCES_MAX)?;
        let mut names = BTreeSet::from(SIGNALS_BUILT_IN);
        for (position, source) in self.sources.iter().enumerate() {
            let path = format!("spec.evidence.sources[{position}]");
            label(&format!("{path}.name"), &source.name)?;
            if !names.insert(&source.name) {
                let rule = "each signal needs a name of its own, and not one that is measured anyway";
                return Err(rule_broken(format!("{path}.name"), format!("`{}`", source.name), rule));
            }
            source.validate(&path)?;
        }
        Ok(())
    }
}

impl Source {
    fn validate(&self, path: &str) -> Result<(), DocumentError> {
        let given = [self.prometheus.is_some(), self.webhook.is_some(), self.command.is_some()];
        let given = given.into_iter().filter(|given| *given).count();
        if given != 1 {
            let rule = "exactly one of `prometheus`, `webhook` and `command`";
            return Err(rule_broken(path, format!("a source with {given} of them"), rule));
        }
        self.validate_rule(path)?;
        if let Some(prometheus) = &self.prometheus {
            prometheus.validate(&format!("{path}.prometheus"), self.rule())?;
        }
        if let Some(webhook) = &self.webhook {
            url(&format!("{path}.webhook.url"), &webhook.url)?;
        }
        if let Some(command) = &self.command
            && command.program.trim().is_empty()
        {
            return Err(rule_broken(format!("{path}.command.program"), "``", "the name or path of a program"));
        }
        within(&format!("{path}.failuresInARow"), u64::from(self.failures_in_a_row), 1, 1_000)?;
        within(&format!("{path}.intervalMs"), self.interval_ms, 100, 3_600_000)?;
        within(&format!("{path}.timeoutMs"), self.timeout_ms, 10, 600_000)?;
        // An answer has to live until the next one is there.
        within(&format!("{path}.ageMsMax"), self.age_ms_max, self.interval_ms, 24 * 3_600_000)
    }

    fn validate_rule(&self, path: &str) -> Result<(), DocumentError> {
        let value = self.min.is_some() || self.max.is_some();
        let rules = [self.ratio_max.is_some(), self.rate_max.is_some(), value];
        if rules.into_iter().filter(|given| *given).count() > 1 {
            let rule = "`ratioMax`, `rateMax`, or `min` and `max`: a signal is judged by one of them";
            return Err(rule_broken(path, "more than one rule", rule));
        }
        if let Some(ratio_max) = self.ratio_max {
            at_least(&format!("{path}.ratioMax"), ratio_max, 1.0)?;
        }
        if let Some(rate_max) = self.rate_max {
            between(&format!("{path}.rateMax"), rate_max)?;
        }
        for (name, bound) in [("min", self.min), ("max", self.max)] {
            bound.map_or(Ok(()), |bound| finite(&format!("{path}.{name}"), bound))?;
        }
        if let (Some(min), Some(max)) = (self.min, self.max)
            && min > max
        {
            let rule = format!("at least `min`, which is {min}");
            return Err(rule_broken(format!("{path}.max"), max.to_string(), &rule));
        }
        at_least(&format!("{path}.weight"), self.weight, 0.001)?;
        self.evidence_min.map_or(Ok(()), |least| at_least(&format!("{path}.evidenceMin"), least, 0.0))
    }
}

impl PrometheusSource {
    fn validate(&self, path: &str, rule: SourceRule) -> Result<(), DocumentError> {
        url(&format!("{path}.url"), &self.url)?;
        let queries = [("requests", &self.requests), ("events", &self.events), ("value", &self.value)];
        let wanted: &[&str] = match rule {
            SourceRule::Ratio { .. } | SourceRule::Rate { .. } => &["requests", "events"],
            SourceRule::Value { .. } | SourceRule::Verdict => &["value"],
        };
        for (name, query) in queries {
            let (path, wanted) = (format!("{path}.{name}"), wanted.contains(&name));
            match query {
                Some(query) if !wanted => {
                    let rule =
                        "`requests` and `events` go with `ratioMax` or `rateMax`, `value` goes with `min` or `max`";
                    return Err(rule_broken(path, format!("`{query}`"), rule));
                }
                Some(query) => validate_query(&path, query, matches!(rule, SourceRule::Ratio { .. }))?,
                None if wanted => return Err(rule_broken(path, "no query", "a PromQL expression is needed")),
                None => (),
            }
        }
        if rule == SourceRule::Verdict {
            return Err(rule_broken(path, "a value without a bound", "beside `prometheus`, `min` or `max`"));
        }
        Ok(())
    }
}

fn validate_query(path: &str, query: &str, compares: bool) -> Result<(), DocumentError> {
    let broken = |rule: &str| Err(rule_broken(path, format!("`{query}`"), rule));
    if query.trim().is_empty() {
        return broken("a PromQL expression is needed");
    }
    let names: Vec<&str> = placeholders(query).collect();
    if names.iter().any(|name| !PLACEHOLDERS.contains(name) && !name.chars().all(|c| c.is_ascii_digit())) {
        return broken(
            "`$colour` and `$version` stand for those of an environment; other names after `$` mean nothing",
        );
    }
    if compares && !names.iter().any(|name| PLACEHOLDERS.contains(name)) {
        return broken("it must say `$colour` or `$version`, or both environments would be asked for the same");
    }
    Ok(())
}

/// Names after a `$`; `$1` and its like belong to PromQL's `label_replace`.
fn placeholders(query: &str) -> impl Iterator<Item = &str> {
    query.split('$').skip(1).map(|rest| {
        let end = rest.find(|c: char| !c.is_ascii_alphanumeric() && c != '_').unwrap_or(rest.len());
        &rest[..end]
    })
}

fn url(path: &str, value: &str) -> Result<(), DocumentError> {
    let host = ["http://", "https://"].into_iter().find_map(|scheme| value.strip_prefix(scheme));
    let good = host.is_some_and(|host| host.starts_with(|c: char| c.is_ascii_alphanumeric() || c == '['))
        && !value.contains(|c: char| c.is_whitespace() || c == '#');
    if good {
        return Ok(());
    }
    Err(rule_broken(path, format!("`{value}`"), "an address such as http://prometheus:9090"))
}
