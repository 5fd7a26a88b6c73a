//! What the operator and the API server tell Prometheus, read as far as it is needed here.

use anyhow::{Context, Result, ensure};
use bytes::Bytes;
use client::Http;
use http_body_util::Full;
use std::collections::BTreeMap;
use std::time::Duration;

const TIMEOUT: Duration = Duration::from_secs(30);
const BYTES_MAX: usize = 1 << 30;

/// Text of one scrape.
pub struct Figures(String);

/// How long reconciles took: counts by their upper limits, in seconds.
pub struct Reconciles(BTreeMap<u64, (f64, f64)>);

/// Calls by verb and resource.
pub struct Calls(BTreeMap<String, f64>);

impl Figures {
    pub async fn of(operator: &str) -> Result<Figures> {
        let request = hyper::Request::get(format!("http://{operator}/metrics")).body(Full::new(Bytes::new()))?;
        let answer = Http::new().whole(request, TIMEOUT, BYTES_MAX).await?;
        ensure!(answer.status == 200, "the operator's figures: status {}", answer.status);
        Ok(Figures(String::from_utf8(answer.body.to_vec()).context("the operator's figures are no text")?))
    }

    /// Deployments in which nothing is under way.
    pub fn stable(&self) -> usize {
        samples(&self.0, "jadeshift_phase").filter(|(labels, _)| labels.contains("phase=\"stable\"")).count()
    }

    pub fn reconciles(&self) -> Reconciles {
        let bucket = |(labels, count): (&str, f64)| {
            let limit = label(labels, "le")?.parse::<f64>().unwrap_or(f64::INFINITY);
            // Positive numbers are in the order of their bits.
            Some((limit.to_bits(), (limit, count)))
        };
        Reconciles(samples(&self.0, "jadeshift_operator_reconcile_seconds_bucket").filter_map(bucket).collect())
    }
}

impl Reconciles {
    pub fn since(mut self, before: &Reconciles) -> Reconciles {
        for (limit, (_, count)) in &mut self.0 {
            *count -= before.0.get(limit).map_or(0.0, |(_, before)| *before);
        }
        self
    }

    pub fn count(&self) -> f64 {
        self.0.values().next_back().map_or(0.0, |(_, count)| *count)
    }

    /// The smallest limit that this part of all kept, seconds.
    pub fn at_most(&self, part: f64) -> f64 {
        let wanted = self.count() * part;
        self.0.values().find(|(_, count)| *count >= wanted).map_or(f64::NAN, |(limit, _)| *limit)
    }
}

impl Calls {
    /// From what an API server tells.
    pub fn of(text: &str) -> Calls {
        let mut calls = BTreeMap::new();
        for (labels, count) in samples(text, "apiserver_request_total") {
            let part = |name| label(labels, name).unwrap_or_default();
            let name = format!("{} {} {}", part("verb"), part("resource"), part("subresource"));
            *calls.entry(name.trim().to_string()).or_default() += count;
        }
        Calls(calls)
    }

    pub fn since(mut self, before: &Calls) -> Calls {
        for (name, count) in &mut self.0 {
            *count -= before.0.get(name).unwrap_or(&0.0);
        }
        self
    }

    pub fn total(&self) -> f64 {
        self.0.values().sum()
    }

    pub fn most(&self, number: usize) -> Vec<(&str, f64)> {
        let mut all: Vec<(&str, f64)> = self.0.iter().map(|(name, count)| (name.as_str(), *count)).collect();
        all.sort_by(|a, b| b.1.total_cmp(&a.1));
        all.truncate(number);
        all
    }
}

/// Labels and value of each line of a name.
fn samples<'a>(text: &'a str, name: &'a str) -> impl Iterator<Item = (&'a str, f64)> {
    text.lines().filter_map(move |line| {
        let (labels, value) = line.strip_prefix(name)?.strip_prefix('{')?.rsplit_once("} ")?;
        Some((labels, value.trim().parse().ok()?))
    })
}

fn label<'a>(labels: &'a str, name: &str) -> Option<&'a str> {
    labels.split(',').find_map(|one| one.strip_prefix(name)?.strip_prefix("=\"")?.strip_suffix('"'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_are_read_and_subtracted() {
        let text = |fast: u32, all: u32| {
            let name = "jadeshift_operator_reconcile_seconds_bucket";
            Figures(format!(
                "# TYPE x histogram\n{name}{{le=\"0.01\"}} {fast}\n{name}{{le=\"0.5\"}} {all}\n{name}{{le=\"+Inf\"}} {all}\n\
                 jadeshift_phase{{namespace=\"a\",phase=\"stable\"}} 1\njadeshift_phase{{namespace=\"a\",phase=\"seeding\"}} 1\n"
            ))
        };
        let since = text(98, 110).reconciles().since(&text(0, 10).reconciles());
        assert_eq!((since.count(), since.at_most(0.5), since.at_most(0.99)), (100.0, 0.01, 0.5));
        assert_eq!(text(0, 0).stable(), 1);
    }

    #[test]
    fn calls_are_added_up_by_what_they_ask() {
        let text = "apiserver_request_total{code=\"200\",verb=\"GET\",resource=\"pods\"} 3\n\
                    apiserver_request_total{code=\"404\",verb=\"GET\",resource=\"pods\"} 1\n\
                    apiserver_request_total{code=\"200\",verb=\"PUT\",resource=\"bluegreens\",subresource=\"status\"} 2\n";
        let calls = Calls::of(text);
        assert_eq!((calls.total(), calls.most(1)), (6.0, vec![("GET pods", 4.0)]));
    }
}
