//! Figures for Prometheus: the original's names where they have a meaning here, and what it never had (requests by route
//! and status, the node's role and position).
//!
//! Every node has a registry of its own. Handles are resolved once; a request costs a few atomic additions.

use crate::admin;
use crate::engine::Node;
use prometheus::{
    Histogram, HistogramOpts, HistogramTimer, HistogramVec, IntCounter, IntCounterVec, IntGauge, Opts, Registry,
    TextEncoder, core::Collector,
};
use std::fmt::{Display, Write};
use std::sync::{Arc, OnceLock};
use std::time::Duration;
use wire::admin::Role;

const REQUEST_SECONDS: [f64; 15] =
    [0.0001, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0];
const SEARCH_SECONDS: [f64; 8] = [0.001, 0.005, 0.01, 0.05, 0.1, 0.5, 1.0, 5.0];
const FILTER_SECONDS: [f64; 6] = [0.0001, 0.0005, 0.001, 0.005, 0.01, 0.05];
const ACCOUNT_SECONDS: [f64; 9] = [0.001, 0.005, 0.01, 0.05, 0.1, 0.5, 1.0, 5.0, 10.0];
const CLASSES: [&str; 5] = ["1xx", "2xx", "3xx", "4xx", "5xx"];

/// All figures of one node.
pub struct Metrics {
    registry: Registry,
    version: String,
    requests: IntCounterVec,
    request_seconds: HistogramVec,
    pub search: SearchMetrics,
    pub filtered_search: SearchMetrics,
    pub filter_application: Histogram,
    pub auth_requests: IntCounter,
    pub auth_errors: IntCounter,
    pub auth_duration: Histogram,
    pub failed_logins: IntCounter,
    pub rate_limited: IntCounter,
    pub blocked: IntCounter,
    pub permission_checks: IntCounter,
    pub repeated_writes: IntCounter,
    user_operations: IntCounter,
    db_operations: IntCounter,
    db_operation_duration: Histogram,
}

/// Figures of one kind of search.
pub struct SearchMetrics {
    requests: IntCounter,
    results: IntCounter,
    active: IntGauge,
    seconds: Histogram,
}

/// Figures of one route and method; series appear with their first request.
pub struct RouteMetrics {
    labels: (&'static str, String),
    requests: IntCounterVec,
    request_seconds: HistogramVec,
    by_class: [OnceLock<IntCounter>; 5],
    seconds: OnceLock<Histogram>,
}

impl RouteMetrics {
    pub fn observe(&self, status: u16, elapsed: Duration) {
        let class = usize::from(status / 100).clamp(1, CLASSES.len()) - 1;
        let (route, method) = (self.labels.0, self.labels.1.as_str());
        let requests = || self.requests.with_label_values(&[route, method, CLASSES[class]]);
        self.by_class[class].get_or_init(requests).inc();
        let seconds = self.seconds.get_or_init(|| self.request_seconds.with_label_values(&[route]));
        seconds.observe(elapsed.as_secs_f64());
    }
}

/// Counts a search as under way until dropped.
pub struct ActiveSearch<'a>(&'a IntGauge);

impl Drop for ActiveSearch<'_> {
    fn drop(&mut self) {
        self.0.dec();
    }
}

impl SearchMetrics {
    fn new(registry: &Registry, prefix: &str) -> Self {
        let name = |rest: &str| format!("{prefix}similarity_search_{rest}");
        Self {
            requests: counter(registry, &name("requests_total"), "Searches"),
            results: counter(registry, &name("results_total"), "Results of searches"),
            active: register(registry, IntGauge::new(name("active_requests"), "Searches under way")),
            seconds: histogram(registry, &name("duration_seconds"), "Time of a search in the node", &SEARCH_SECONDS),
        }
    }

    pub fn begin(&self) -> ActiveSearch<'_> {
        self.requests.inc();
        self.active.inc();
        ActiveSearch(&self.active)
    }

    pub fn end(&self, results: usize, elapsed: Duration) {
        self.results.inc_by(results as u64);
        self.seconds.observe(elapsed.as_secs_f64());
    }

    /// Mean time of a search so far; 0 before the first.
    pub fn mean_ms(&self) -> f64 {
        match self.seconds.get_sample_count() {
            0 => 0.0,
            count => self.seconds.get_sample_sum() * 1000.0 / count as f64,
        }
    }
}

impl Metrics {
    /// `version` is the node's label.
    pub fn new(version: &str) -> Self {
        let registry = Registry::new();
        let r = &registry;
        let jade = |name: &str| format!("jadevectordb_{name}");
        let requests = IntCounterVec::new(
            Opts::new(jade("http_requests_total"), "Requests answered"),
            &["route", "method", "status"],
        );
        let request_seconds = HistogramVec::new(
            HistogramOpts::new(jade("http_request_duration_seconds"), "Time from a request's head to its answer")
                .buckets(REQUEST_SECONDS.to_vec()),
            &["route"],
        );
        Self {
            version: version.to_owned(),
            requests: register(r, requests),
            request_seconds: register(r, request_seconds),
            search: SearchMetrics::new(r, ""),
            filtered_search: SearchMetrics::new(r, "filtered_"),
            filter_application: histogram(
                r,
                "filter_application_duration_seconds",
                "Time that the filter of a search took",
                &FILTER_SECONDS,
            ),
            auth_requests: counter(r, &jade("auth_requests_total"), "Logins tried"),
            auth_errors: counter(r, &jade("auth_errors_total"), "Logins refused"),
            auth_duration: histogram(r, &jade("auth_duration_seconds"), "Time of a login", &ACCOUNT_SECONDS),
            failed_logins: counter(r, &jade("failed_logins_total"), "Logins with a wrong name or password"),
            rate_limited: counter(r, &jade("rate_limit_exceeded_total"), "Requests refused by a rate limit"),
            blocked: counter(r, &jade("ip_blocks_total"), "Requests of blocked addresses"),
            permission_checks: counter(r, &jade("permission_checks_total"), "Requests whose credential was good"),
            repeated_writes: counter(
                r,
                &jade("idempotent_replays_total"),
                "Writes that were done before, by their idempotency key, and answered again",
            ),
            user_operations: counter(r, &jade("user_operations_total"), "Changes of users"),
            db_operations: counter(r, &jade("db_operations_total"), "Writes to the accounts"),
            db_operation_duration: histogram(
                r,
                &jade("db_operation_duration_seconds"),
                "Time of a write to the accounts",
                &ACCOUNT_SECONDS,
            ),
            registry,
        }
    }

    pub fn route(&self, route: &'static str, method: &str) -> Arc<RouteMetrics> {
        Arc::new(RouteMetrics {
            labels: (route, method.to_owned()),
            requests: self.requests.clone(),
            request_seconds: self.request_seconds.clone(),
            by_class: Default::default(),
            seconds: OnceLock::new(),
        })
    }

    /// Counts a change of a user; its time is taken until the timer ends.
    pub fn user_operation(&self) -> HistogramTimer {
        self.user_operations.inc();
        self.db_operations.inc();
        self.db_operation_duration.start_timer()
    }

    /// The text that Prometheus reads.
    pub fn render(&self, node: &Node, locked_accounts: usize, now_ms: u64) -> String {
        let mut out = String::with_capacity(16 << 10);
        if let Err(error) = TextEncoder::new().encode_utf8(&self.registry.gather(), &mut out) {
            tracing::warn!(%error, "some metrics cannot be written");
        }
        self.write_state(&mut out, node);
        let store = node.store();
        let sessions = store.live_tokens(now_ms);
        let keys = store.answered_count();
        gauge(&mut out, "jadevectordb_idempotency_keys", "Writes remembered by their idempotency key", keys);
        gauge(&mut out, "jadevectordb_users_total", "Users", store.users().len());
        gauge(&mut out, "jadevectordb_active_sessions", "Logins that have not ended", sessions);
        gauge(&mut out, "jadevectordb_locked_accounts_total", "Accounts locked on this node", locked_accounts);
        out
    }

    fn write_state(&self, out: &mut String, node: &Node) {
        let state = admin::state(node);
        let (role, lag_ms) = (role_name(&state.role), state.feed.as_ref().map_or(0, |feed| feed.lag_ms));
        let (behind, connected) = state
            .feed
            .as_ref()
            .map_or((0, 1), |feed| (feed.primary_lsn.saturating_sub(state.lsn), u8::from(feed.connected)));
        head(out, "jadevectordb_build_info", "The version label of this node", "gauge");
        let _ = writeln!(out, "jadevectordb_build_info{{version=\"{}\"}} 1", escaped(&self.version));
        head(out, "jadevectordb_role", "1 for the role that this node has", "gauge");
        for name in ["primary", "follower", "sealed", "waiting"] {
            let _ = writeln!(out, "jadevectordb_role{{role=\"{name}\"}} {}", u8::from(name == role));
        }
        gauge(out, "jadevectordb_ready", "1 when reads are answered", u8::from(state.ready));
        gauge(out, "jadevectordb_disk_failed", "1 when writes are refused for good", u8::from(state.failed.is_some()));
        gauge(out, "jadevectordb_epoch", "Highest epoch that this node has seen", state.epoch_seen);
        gauge(out, "jadevectordb_lsn", "Last LSN on disk and applied", state.lsn);
        gauge(out, "jadevectordb_feed_connected", "0 when the primary's feed does not arrive", connected);
        gauge(out, "jadevectordb_feed_behind", "LSNs that the primary announced and this node lacks", behind);
        gauge(out, "jadevectordb_feed_lag_seconds", "Time since this node had everything", lag_ms as f64 / 1000.0);
        gauge(out, "jadevectordb_followers", "Followers of this node's feed", state.followers.len());
        gauge(out, "jadevectordb_held_writes", "Writes waiting at a seal", state.held_writes);
        gauge(out, "jadevectordb_databases", "Databases", state.databases);
        gauge(out, "jadevectordb_vectors", "Vectors", state.vectors);
        gauge(out, "jadevectordb_vectors_unindexed", "Vectors found by scan until indexed", state.unindexed);
        gauge(out, "jadevectordb_resident_bytes", "Resident memory of the process", state.resident_bytes);
        let counters = state.counters;
        for (name, help, value) in [
            ("reads_total", "Reads answered", counters.reads),
            ("read_errors_total", "Reads answered with 5xx", counters.read_errors),
            ("writes_total", "Writes answered", counters.writes),
            ("write_errors_total", "Writes answered with 5xx", counters.write_errors),
            ("replays_total", "Replayed reads", counters.replays),
            ("forwarded_writes_total", "Writes answered by the primary for this node", counters.forwarded),
        ] {
            let name = format!("jadevectordb_{name}");
            head(out, &name, help, "counter");
            let _ = writeln!(out, "{name} {value}");
        }
    }
}

fn role_name(role: &Role) -> &'static str {
    match role {
        Role::Primary { .. } => "primary",
        Role::Follower { .. } => "follower",
        Role::Sealed { .. } => "sealed",
        Role::Waiting => "waiting",
    }
}

fn head(out: &mut String, name: &str, help: &str, kind: &str) {
    // Writing to a string does not fail.
    let _ = writeln!(out, "# HELP {name} {help}\n# TYPE {name} {kind}");
}

fn gauge(out: &mut String, name: &str, help: &str, value: impl Display) {
    head(out, name, help, "gauge");
    let _ = writeln!(out, "{name} {value}");
}

fn escaped(label: &str) -> String {
    label.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n")
}

fn counter(registry: &Registry, name: &str, help: &str) -> IntCounter {
    register(registry, IntCounter::new(name, help))
}

fn histogram(registry: &Registry, name: &str, help: &str, buckets: &[f64]) -> Histogram {
    register(registry, Histogram::with_opts(HistogramOpts::new(name, help).buckets(buckets.to_vec())))
}

/// The names above are valid and different, which the first test of this file proves; nothing of it depends on input.
fn register<C: Collector + Clone + 'static>(registry: &Registry, made: prometheus::Result<C>) -> C {
    let collector = made.expect("a metric has a valid name");
    registry.register(Box::new(collector.clone())).expect("a metric is registered once");
    collector
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_metric_has_a_valid_name_of_its_own_and_cumulative_buckets() {
        let metrics = Metrics::new("1.0.0");
        let route = metrics.route("/v1/x", "GET");
        route.observe(200, Duration::from_millis(2));
        route.observe(204, Duration::from_millis(20));
        route.observe(503, Duration::from_secs(20));
        let _active = metrics.search.begin();
        metrics.search.end(10, Duration::from_millis(4));
        metrics.user_operation().observe_duration();
        let text = TextEncoder::new().encode_to_string(&metrics.registry.gather()).unwrap();
        for line in [
            "jadevectordb_http_requests_total{method=\"GET\",route=\"/v1/x\",status=\"2xx\"} 2",
            "jadevectordb_http_requests_total{method=\"GET\",route=\"/v1/x\",status=\"5xx\"} 1",
            "jadevectordb_http_request_duration_seconds_bucket{route=\"/v1/x\",le=\"0.0025\"} 1",
            "jadevectordb_http_request_duration_seconds_bucket{route=\"/v1/x\",le=\"0.025\"} 2",
            "jadevectordb_http_request_duration_seconds_bucket{route=\"/v1/x\",le=\"10\"} 2",
            "jadevectordb_http_request_duration_seconds_bucket{route=\"/v1/x\",le=\"+Inf\"} 3",
            "similarity_search_requests_total 1",
            "similarity_search_results_total 10",
            "similarity_search_active_requests 1",
            "similarity_search_duration_seconds_bucket{le=\"0.005\"} 1",
            "jadevectordb_user_operations_total 1",
        ] {
            assert!(text.lines().any(|found| found == line), "{line}\nis missing in\n{text}");
        }
        assert!(metrics.search.mean_ms() >= 4.0);
    }

    #[test]
    fn labels_are_escaped() {
        assert_eq!(escaped("1.0\"\\\n"), "1.0\\\"\\\\\\n");
    }
}
