use super::*;
use crate::build::{Kind, Object, Wanted, objects};
use crate::files::exported::{self, names_in};
use rollout::{State, World};
use serde::Deserialize;
use std::collections::{BTreeMap, BTreeSet};
use std::process::Command;
use wire::ByColour;
use wire::document::{BlueGreen, RouterKind};

fn text(path: &str) -> String {
    files().into_iter().find(|file| file.path == path).unwrap_or_else(|| panic!("{path} is missing")).text
}

fn read(path: &str) -> Vec<Value> {
    serde_norway::Deserializer::from_str(&text(path)).map(|document| Value::deserialize(document).unwrap()).collect()
}

/// What promtool says of the rules and their tests, and whether it is content.
fn promtool(arguments: [&str; 3], rules: &str) -> (bool, String) {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("rules.yaml"), rules).unwrap();
    std::fs::write(folder.path().join("rules.test.yaml"), text("monitoring/rules.test.yaml")).unwrap();
    let output = Command::new("promtool").args(arguments).current_dir(folder.path()).output();
    let output = output.expect("the tests need promtool: apt-get install --no-install-recommends prometheus");
    let said = String::from_utf8_lossy(&output.stdout) + String::from_utf8_lossy(&output.stderr);
    (output.status.success(), said.into())
}

#[test]
fn promtool_accepts_the_rules() {
    let (content, said) = promtool(["check", "rules", "rules.yaml"], &text("monitoring/rules.yaml"));
    let count: usize = alerts::groups().iter().map(|group| group.alerts.len()).sum();
    assert!(content && said.contains(&format!("SUCCESS: {count} rules found")), "{said}");
}

#[test]
fn alerts_fire_when_they_should_and_else_do_not() {
    let test = ["test", "rules", "rules.test.yaml"];
    let (content, said) = promtool(test, &text("monitoring/rules.yaml"));
    assert!(content, "{said}");
    let rules = json!({"groups": []});
    for never_or_always in ["vector(0) > 1", "vector(1)"] {
        let mut rules = rules.clone();
        for alert in alerts::groups().iter().flat_map(|group| group.alerts) {
            let named = json!({"alert": alert.name, "expr": never_or_always, "for": alert.hold});
            rules["groups"].as_array_mut().unwrap().push(json!({"name": alert.name, "rules": [named]}));
        }
        let (_, said) = promtool(test, &rules.to_string());
        for alert in alerts::groups().iter().flat_map(|group| group.alerts) {
            let failed = format!("alertname: {},", alert.name);
            assert!(said.contains(&failed), "nothing tells {} from {never_or_always}: {said}", alert.name);
        }
    }
}

#[test]
fn every_alert_has_a_case_that_fires_and_one_that_does_not() {
    let tests = read("monitoring/rules.test.yaml").remove(0);
    let mut cases: BTreeMap<String, BTreeSet<bool>> = BTreeMap::new();
    for case in tests["tests"].as_array().unwrap().iter().flat_map(|test| test["alert_rule_test"].as_array().unwrap()) {
        let fires = !case["exp_alerts"].as_array().unwrap().is_empty();
        cases.entry(case["alertname"].as_str().unwrap().into()).or_default().insert(fires);
    }
    let mut alerts = BTreeSet::new();
    for rule in read("monitoring/rules.yaml")[0]["groups"].as_array().unwrap().iter().flat_map(rules_of) {
        let name = rule["alert"].as_str().unwrap();
        assert!(alerts.insert(name.to_string()), "{name} is there twice");
        assert_eq!(cases.get(name).map(BTreeSet::len), Some(2), "{name}: {:?}", cases.get(name));
    }
    assert_eq!(alerts, cases.into_keys().collect());
}

fn rules_of(group: &Value) -> &[Value] {
    group["rules"].as_array().unwrap()
}

#[test]
fn every_alert_says_how_urgent_it_is_and_what_to_do() {
    for alert in alerts::groups().iter().flat_map(|group| group.alerts) {
        let rule = alert.rule();
        let severity = rule["labels"]["severity"].as_str().unwrap();
        assert!(["critical", "warning"].contains(&severity), "{}: {severity}", alert.name);
        let description = rule["annotations"]["description"].as_str().unwrap();
        assert!(description.contains("`jadeshift ") || description.contains("`kubectl "), "{}", alert.name);
        assert!(!format!("{rule}").contains("$it"), "{rule}");
    }
}

#[tokio::test]
async fn rules_and_their_tests_use_what_is_exported_by_its_labels() {
    let exported = exported::all().await;
    for alert in alerts::groups().iter().flat_map(|group| group.alerts) {
        for name in names_in(alert.expression) {
            assert!(exported.contains_key(name), "{}: nobody exports {name}", alert.name);
        }
        for series in alert.tests().iter().flat_map(|test| test["input_series"].as_array().unwrap()) {
            let series = series["series"].as_str().unwrap();
            let (name, labels) = exported::sample(series);
            let known = exported.get(name).unwrap_or_else(|| panic!("{}: nobody exports {name}", alert.name));
            let labels_known = |labels_known: &BTreeSet<String>| labels.is_subset(labels_known);
            assert!(known.as_ref().is_none_or(labels_known), "{}: {series} is exported with {known:?}", alert.name);
        }
    }
}

#[test]
fn the_same_alerts_are_there_with_the_prometheus_operator_and_without() {
    let objects = read("blue-green/k8s/monitoring.yaml");
    let rule = objects.iter().find(|object| object["kind"] == "PrometheusRule").unwrap();
    assert_eq!(rule["spec"], read("monitoring/rules.yaml")[0]);
}

/// What the operator makes, with our own gateway, while two versions run.
fn built() -> Vec<Object> {
    let mut document = BlueGreen::named(NAME);
    document.spec.cluster.router.kind = RouterKind::Gateway;
    let mut state = State::first(&document.spec, 0);
    state.versions.green = Some("1.1.0".into());
    let (names, world) = (Names::new(NAME, NAMESPACE), World::of(&state));
    objects(&Wanted {
        names: &names,
        document: &document,
        owner: None,
        gateway_image: "jadeshift:x",
        world: &world,
        nodes: ByColour::new(1, 1),
        state: None,
    })
}

/// Whether a selector takes an object with these labels.
fn takes(selector: &Value, labels: &Value) -> bool {
    let equal = selector["matchLabels"].as_object().unwrap().iter().all(|(name, value)| labels[name] == *value);
    let within = |expression: &Value| {
        assert_eq!(expression["operator"], "In");
        expression["values"].as_array().unwrap().contains(&labels[expression["key"].as_str().unwrap()])
    };
    equal && selector["matchExpressions"].as_array().into_iter().flatten().all(within)
}

/// The labels that a target gets from one with `labels`.
fn given(endpoint: &Value, kind: &str, labels: &Value) -> BTreeMap<String, String> {
    let start = format!("__meta_kubernetes_{kind}_label_");
    let of = |relabeling: &Value| {
        let from = relabeling["sourceLabels"][0].as_str().unwrap().strip_prefix(&start).unwrap().to_string();
        let found = labels.as_object().unwrap().iter().find(|(name, _)| name.replace(['.', '/'], "_") == from);
        let value = found.unwrap_or_else(|| panic!("{from} is no label of {labels}")).1.as_str().unwrap();
        (relabeling["targetLabel"].as_str().unwrap().to_string(), value.to_string())
    };
    endpoint["relabelings"].as_array().unwrap().iter().map(of).collect()
}

#[test]
fn the_services_of_both_environments_are_scraped_and_no_other() {
    let monitor = of_nodes(&Names::new(NAME, NAMESPACE));
    let (selector, endpoint) = (&monitor["spec"]["selector"], &monitor["spec"]["endpoints"][0]);
    let built = built();
    let services = built.iter().filter(|object| object.kind == Kind::Service);
    let taken: Vec<&Object> = services.filter(|object| takes(selector, &object.body["metadata"]["labels"])).collect();
    let names: Vec<&str> = taken.iter().map(|object| object.name.as_str()).collect();
    assert_eq!(names, ["jadevectordb-blue-service", "jadevectordb-green-service"]);
    for (service, colour) in taken.iter().zip(Colour::BOTH) {
        let ports = service.body["spec"]["ports"].as_array().unwrap();
        assert!(ports.iter().any(|port| port["name"] == endpoint["port"]), "{ports:?}");
        let labels = given(endpoint, "service", &service.body["metadata"]["labels"]);
        let wanted = [("colour", colour.as_str()), ("deployment", NAME)];
        assert_eq!(labels, wanted.map(|(name, value)| (name.to_string(), value.to_string())).into());
    }
}

#[test]
fn the_pods_of_the_gateway_are_scraped() {
    let monitor = of_gateway(&Names::new(NAME, NAMESPACE));
    let endpoint = &monitor["spec"]["podMetricsEndpoints"][0];
    let built = built();
    let taken = |object: &&Object| {
        let labels = &object.body["spec"]["template"]["metadata"]["labels"];
        object.kind == Kind::Deployment && takes(&monitor["spec"]["selector"], labels)
    };
    let [gateway] = built.iter().filter(taken).collect::<Vec<_>>().try_into().unwrap();
    let template = &gateway.body["spec"]["template"];
    let ports = template["spec"]["containers"][0]["ports"].as_array().unwrap();
    assert!(ports.iter().any(|port| port["name"] == endpoint["port"]), "{ports:?}");
    let labels = given(endpoint, "pod", &template["metadata"]["labels"]);
    assert_eq!(labels, BTreeMap::from([("deployment".to_string(), NAME.to_string())]));
}

#[test]
fn the_operator_is_scraped_and_keeps_the_namespaces_that_it_tells_of() {
    let monitor = crate::install::Install::default().service_monitor();
    let objects = Install::default().objects();
    let service = objects.iter().find(|object| object["kind"] == "Service").unwrap();
    assert_eq!(monitor["metadata"]["namespace"], service["metadata"]["namespace"]);
    assert!(takes(&monitor["spec"]["selector"], &service["metadata"]["labels"]));
    let endpoint = &monitor["spec"]["endpoints"][0];
    assert_eq!((&endpoint["port"], &endpoint["path"]), (&service["spec"]["ports"][0]["name"], &json!("/metrics")));
    assert_eq!(endpoint["honorLabels"], true);
}
