use super::*;
use crate::files::exported::{self, names_in};
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::process::Command;

fn dashboards() -> Vec<Value> {
    files().iter().map(|file| serde_json::from_str(&file.text).unwrap()).collect()
}

fn panels(dashboard: &Value) -> &[Value] {
    dashboard["panels"].as_array().unwrap()
}

/// Every query of a dashboard, those of its variables and marks too.
fn queries(value: &Value) -> Vec<&str> {
    match value {
        Value::Array(items) => items.iter().flat_map(queries).collect(),
        Value::Object(fields) => {
            let own = |(name, value): (&String, &'_ Value)| {
                ["expr", "definition"].contains(&name.as_str()) && value.is_string()
            };
            let found = fields.iter().filter(|field| own(*field)).filter_map(|(_, value)| value.as_str());
            found.chain(fields.values().flat_map(queries)).collect()
        }
        _ => Vec::new(),
    }
}

#[test]
fn files_are_called_by_what_they_are_found_by() {
    for (file, dashboard) in files().iter().zip(dashboards()) {
        assert_eq!(file.path, format!("monitoring/grafana/{}.json", dashboard["uid"].as_str().unwrap()));
    }
    assert_eq!(files().len(), 2);
}

#[test]
fn panels_have_numbers_of_their_own_and_do_not_overlap() {
    for dashboard in dashboards() {
        let mut numbers = BTreeSet::new();
        let mut taken = BTreeSet::new();
        for panel in panels(&dashboard) {
            assert!(numbers.insert(panel["id"].as_u64().unwrap()), "{panel}");
            let [x, y, w, h] = ["x", "y", "w", "h"].map(|name| panel["gridPos"][name].as_u64().unwrap());
            assert!(x + w <= 24, "{panel}");
            for cell in (x..x + w).flat_map(|x| (y..y + h).map(move |y| (x, y))) {
                assert!(taken.insert(cell), "{panel} lies over another");
            }
        }
    }
}

#[tokio::test]
async fn queries_ask_for_what_is_exported() {
    let exported = exported::all().await;
    for dashboard in dashboards() {
        let queries = queries(&dashboard);
        assert!(queries.len() > 20, "{queries:?}");
        for query in queries {
            let names = names_in(query);
            assert!(!names.is_empty(), "{query}");
            for name in names {
                assert!(exported.contains_key(name), "nobody exports {name}: {query}");
            }
        }
    }
}

/// As rules, so that promtool reads them.
#[test]
fn promtool_understands_the_queries() {
    let dashboards = dashboards();
    let targets =
        dashboards.iter().flat_map(panels).flat_map(|panel| panel["targets"].as_array().into_iter().flatten());
    let marks = dashboards.iter().flat_map(|dashboard| dashboard["annotations"]["list"].as_array().unwrap());
    let rule = |(number, target): (usize, &Value)| {
        let expression = target["expr"].as_str().unwrap();
        assert!(!expression.contains("$it"), "{expression}");
        json!({"record": format!("query:{number}"), "expr": expression.replace("$__rate_interval", "1m")})
    };
    let rules: Vec<Value> = targets.chain(marks).enumerate().map(rule).collect();
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("rules.json");
    let count = rules.len();
    std::fs::write(&path, json!({"groups": [{"name": "queries", "rules": rules}]}).to_string()).unwrap();
    let output = Command::new("promtool").args(["check", "rules"]).arg(&path).output();
    let output = output.expect("the tests need promtool: apt-get install --no-install-recommends prometheus");
    let said = String::from_utf8_lossy(&output.stdout) + String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && said.contains(&format!("SUCCESS: {count} rules found")), "{said}");
}
