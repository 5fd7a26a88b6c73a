//! What operator, gateways and nodes export, for tests of what asks for it.

use crate::figures;
use gateway::{Gateway, GatewayOptions};
use std::collections::{BTreeMap, BTreeSet};

/// Where a node writes its figures: it is no dependency of this crate.
const NODE: &str = include_str!("../../../jadevectordb/src/metrics.rs");
/// What the monitors of `monitoring.yaml` add.
const OF_TARGET: [&str; 3] = ["namespace", "deployment", "pod"];
/// Of any metric that is ours.
const STARTS: [&str; 5] =
    ["jadeshift_", "jadevectordb_", "similarity_search_", "filtered_similarity_search_", "filter_application_"];

/// Labels by the names of the series; `None` where only the name is known.
pub type Exported = BTreeMap<String, Option<BTreeSet<String>>>;

pub async fn all() -> Exported {
    let gateway = Gateway::start(GatewayOptions::new(([127, 0, 0, 1], 0).into())).await.unwrap();
    let mut all = Exported::new();
    let texts = [figures::tests::exported(), gateway.prometheus_text()];
    for line in texts.iter().flat_map(|text| text.lines()).filter(|line| !line.starts_with('#')) {
        let (name, mut labels) = sample(line);
        labels.extend(OF_TARGET.map(String::from));
        all.entry(name.into()).or_insert(Some(labels));
    }
    all.extend(of_node().into_iter().map(|name| (name, None)));
    all
}

/// Name and labels of a series.
pub fn sample(series: &str) -> (&str, BTreeSet<String>) {
    let (name, rest) = series.split_once(['{', ' ']).unwrap_or((series, ""));
    let labels = rest.rsplit_once('}').map_or("", |(labels, _)| labels);
    // A label's name stands before the first quotation mark of a pair.
    let names = labels.split('"').step_by(2).filter_map(|part| part.trim_start_matches(',').strip_suffix('='));
    (name, names.map(String::from).collect())
}

/// The metrics that a query asks for.
pub fn names_in(query: &str) -> Vec<&str> {
    let words = query.split(|c: char| !c.is_ascii_alphanumeric() && c != '_');
    words.filter(|word| STARTS.iter().any(|start| word.starts_with(start))).collect()
}

/// Read from where they are made: `jade("…")`, `name("…")` of both kinds of search, tuples of counters, and whole names.
fn of_node() -> BTreeSet<String> {
    let code = NODE.split("#[cfg(test)]").next().unwrap_or_default();
    let mut names = BTreeSet::new();
    for line in code.lines() {
        let literals: Vec<&str> = line.split('"').skip(1).step_by(2).collect();
        let Some(&first) = literals.first() else { continue };
        if line.contains("jade(\"") || line.contains(", counters.") {
            names.insert(format!("jadevectordb_{first}"));
        } else if line.contains("&name(\"") || line.contains("(name(\"") {
            names.extend(["", "filtered_"].map(|start| format!("{start}similarity_search_{first}")));
        }
        names.extend(literals.into_iter().filter(|literal| names_in(literal) == [*literal]).map(String::from));
    }
    let histograms = names.iter().filter(|name| name.ends_with("duration_seconds"));
    let series = histograms.flat_map(|name| ["bucket", "sum", "count"].map(|part| format!("{name}_{part}")));
    let series: Vec<String> = series.collect();
    names.extend(series);
    names
}

#[test]
fn what_a_node_exports_is_found_in_its_code() {
    let names = of_node();
    for name in [
        "jadevectordb_http_requests_total",
        "jadevectordb_http_request_duration_seconds_bucket",
        "jadevectordb_auth_duration_seconds",
        "jadevectordb_db_operation_duration_seconds",
        "jadevectordb_idempotent_replays_total",
        "filtered_similarity_search_active_requests",
        "similarity_search_duration_seconds_sum",
        "filter_application_duration_seconds",
        "jadevectordb_build_info",
        "jadevectordb_locked_accounts_total",
        "jadevectordb_read_errors_total",
    ] {
        assert!(names.contains(name), "{name} is not among {names:?}");
    }
    assert!(!names.contains("jadevectordb_results_total"), "{names:?}");
}
