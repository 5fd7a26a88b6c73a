//! What the operator tells Prometheus: where each deployment stands.

mod durations;
mod series;

use conductor::Info;
use durations::Durations;
use parking_lot::Mutex;
use series::{PER_COLOUR, PER_DEPLOYMENT, PER_LABEL};
use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;
use wire::Colour;

/// Namespace and name.
type Key = (String, String);

/// Shared by all deployments; cloning gives another handle.
#[derive(Clone, Default)]
pub struct Figures {
    shared: Arc<Shared>,
}

#[derive(Default)]
struct Shared {
    deployments: Mutex<BTreeMap<Key, Deployment>>,
    leads: AtomicBool,
    api_errors: AtomicU64,
    reconciles: Durations,
}

struct Deployment {
    info: Option<Arc<Info>>,
    valid: bool,
}

impl Default for Deployment {
    fn default() -> Self {
        Self { info: None, valid: true }
    }
}

impl Figures {
    pub fn show(&self, namespace: &str, name: &str, info: &Info) {
        let mut deployments = self.shared.deployments.lock();
        let one = deployments.entry((namespace.into(), name.into())).or_default();
        one.info = Some(Arc::new(info.clone()));
    }

    /// The document can be used.
    pub fn valid(&self, namespace: &str, name: &str) {
        self.shared.deployments.lock().entry((namespace.into(), name.into())).or_default().valid = true;
    }

    /// The document cannot be used.
    pub fn invalid(&self, namespace: &str, name: &str) {
        self.shared.deployments.lock().entry((namespace.into(), name.into())).or_default().valid = false;
    }

    pub fn forget(&self, namespace: &str, name: &str) {
        self.shared.deployments.lock().remove(&(namespace.into(), name.into()));
    }

    pub fn leads(&self, leads: bool) {
        self.shared.leads.store(leads, Ordering::Relaxed);
        if !leads {
            self.shared.deployments.lock().clear();
        }
    }

    pub fn failed(&self) {
        self.shared.api_errors.fetch_add(1, Ordering::Relaxed);
    }

    /// From a look at one deployment until everything is applied that follows from it.
    pub fn reconciled(&self, took: Duration) {
        self.shared.reconciles.add(took);
    }

    /// Text format 0.0.4.
    pub fn text(&self) -> String {
        let deployments = self.shared.deployments.lock();
        let seen: Vec<(&Key, &Info)> =
            deployments.iter().filter_map(|(key, one)| Some((key, one.info.as_deref()?))).collect();
        let mut text = String::with_capacity(4_096 + 2_048 * seen.len());
        head(&mut text, "operator_leads", "Whether this operator is the one that works.", "gauge");
        line(&mut text, "operator_leads", "", f64::from(u8::from(self.shared.leads.load(Ordering::Relaxed))));
        head(
            &mut text,
            "operator_errors_total",
            "Deployments that could not be looked after, and were tried again.",
            "counter",
        );
        line(&mut text, "operator_errors_total", "", self.shared.api_errors.load(Ordering::Relaxed) as f64);
        let help = "From a look at one deployment until everything is applied that follows from it.";
        head(&mut text, "operator_reconcile_seconds", help, "histogram");
        for (name, labels, value) in self.shared.reconciles.series() {
            line(&mut text, &format!("operator_reconcile_seconds_{name}"), &labels, value);
        }
        head(&mut text, "valid", "Whether the document can be used.", "gauge");
        for (key, one) in deployments.iter() {
            line(&mut text, "valid", &labels(key, &[]), f64::from(u8::from(one.valid)));
        }
        for (name, help, kind, value) in PER_DEPLOYMENT {
            head(&mut text, name, help, kind);
            for (key, info) in &seen {
                if let Some(value) = value(info) {
                    line(&mut text, name, &labels(key, &[]), value);
                }
            }
        }
        for (name, help, value) in PER_COLOUR {
            head(&mut text, name, help, "gauge");
            for (key, info) in &seen {
                for colour in Colour::BOTH {
                    if let Some(value) = value(info, colour) {
                        line(&mut text, name, &labels(key, &[("colour", colour.as_str())]), value);
                    }
                }
            }
        }
        for (name, help, values) in PER_LABEL {
            head(&mut text, name, help, "gauge");
            for (key, info) in &seen {
                values(info, &mut |more, value| line(&mut text, name, &labels(key, more), value));
            }
        }
        text
    }
}

fn labels((namespace, name): &Key, more: &[(&str, &str)]) -> String {
    let mut text = format!("{{namespace=\"{}\",deployment=\"{}\"", escaped(namespace), escaped(name));
    for (name, value) in more {
        let _ = write!(text, ",{name}=\"{}\"", escaped(value));
    }
    text.push('}');
    text
}

/// Names of signals and versions are the user's own.
fn escaped(value: &str) -> String {
    value.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n")
}

fn head(text: &mut String, name: &str, help: &str, kind: &str) {
    let _ = writeln!(text, "# HELP jadeshift_{name} {help}\n# TYPE jadeshift_{name} {kind}");
}

fn line(text: &mut String, name: &str, labels: &str, value: f64) {
    let _ = writeln!(text, "jadeshift_{name}{labels} {value}");
}

#[cfg(test)]
pub(crate) mod tests;
