//! What watches a deployment: who is scraped, and what somebody is called for. The alerts are the same for the Prometheus
//! operator (a PrometheusRule) and for a Prometheus with files of rules, where their test is beside them.

mod alert;
mod alerts;

use super::{File, NAME, NAMESPACE, metadata};
use crate::install::Install;
use crate::names::{DEPLOYMENT_LABEL, HTTP_PORT_NAME, Names};
use alerts::Group;
use serde_json::{Value, json};
use wire::Colour;

/// Port of the gateway's pods that clients do not use.
const ADMIN_PORT_NAME: &str = "admin";
const INTERVAL: &str = "15s";
const API_VERSION: &str = "monitoring.coreos.com/v1";

pub(super) fn files() -> Vec<File> {
    let names = Names::new(NAME, NAMESPACE);
    let groups = alerts::groups();
    let objects = [Install::default().service_monitor(), of_nodes(&names), of_gateway(&names), rule(&names, &groups)];
    vec![
        File::of_objects("blue-green/k8s/monitoring.yaml", MONITORING, &objects),
        File::of_objects("monitoring/rules.yaml", RULES, &[rules(&groups)]),
        File::of_objects("monitoring/rules.test.yaml", TESTS, &[tests_of(&groups)]),
    ]
}

const MONITORING: &str = "\
For a cluster with the Prometheus operator: who is scraped, and what somebody is called for. Of other clusters, see
monitoring/rules.yaml; dashboards are in monitoring/grafana.
A Prometheus that chooses its monitors and rules by labels (`kubectl get prometheus --all-namespaces --output yaml`, fields
serviceMonitorSelector, podMonitorSelector, ruleSelector) needs those labels on each object here.
  jadeshift-operator    phase, shares, lag, evidence: figures of every deployment that the operator looks after. They say
                        themselves which namespace they are about, hence honorLabels.
  jadevectordb-nodes    the nodes of both environments, through jadevectordb-blue-service and jadevectordb-green-service; told
                        apart by the labels `colour` and `pod`. Nodes that are not ready are scraped too.
  jadevectordb-gateway  the pods of our own gateway; with another router there are none, and that is no fault.
Network policies of blue-green-deployment.yaml let a Prometheus of the namespace `monitoring` reach the gateway.
The rules are about every deployment, not only this one.";

const RULES: &str = "\
Alerts, for `rule_files` of a Prometheus without the Prometheus operator. With it, apply blue-green/k8s/monitoring.yaml, which has
the same. They need the labels that are set there: `namespace` and `deployment` on what nodes and gateways export, `colour` and
`pod` on what nodes do; and `honor_labels: true` where the operator is scraped.
Thresholds are for what is usual. A rollout whose steps last hours by intent needs another one for JadeShiftRolloutStuck.";

const TESTS: &str = "\
promtool test rules rules.test.yaml
Each alert is seen to fire, and seen not to.";

/// Through the Services of the environments.
fn of_nodes(names: &Names) -> Value {
    let label = |from: &str, to: &str| relabeled("service", from, to);
    json!({
        "apiVersion": API_VERSION, "kind": "ServiceMonitor", "metadata": metadata(names, "nodes"),
        "spec": {
            "selector": {
                "matchLabels": {DEPLOYMENT_LABEL: names.deployment},
                "matchExpressions": [{
                    "key": "version", "operator": "In", "values": Colour::BOTH.map(Colour::as_str),
                }],
            },
            "endpoints": [{
                "port": HTTP_PORT_NAME, "path": "/metrics", "interval": INTERVAL,
                "relabelings": [label(DEPLOYMENT_LABEL, "deployment"), label("version", "colour")],
            }],
        },
    })
}

/// Its pods themselves: the Service that clients use leads to the port for requests only.
fn of_gateway(names: &Names) -> Value {
    json!({
        "apiVersion": API_VERSION, "kind": "PodMonitor", "metadata": metadata(names, "gateway"),
        "spec": {
            "selector": {"matchLabels": names.gateway_selector()},
            "podMetricsEndpoints": [{
                "port": ADMIN_PORT_NAME, "path": "/metrics", "interval": INTERVAL,
                "relabelings": [relabeled("pod", DEPLOYMENT_LABEL, "deployment")],
            }],
        },
    })
}

/// A label of the object that was found becomes one of its figures.
fn relabeled(kind: &str, from: &str, to: &str) -> Value {
    let from = from.replace(['.', '/', '-'], "_");
    json!({"sourceLabels": [format!("__meta_kubernetes_{kind}_label_{from}")], "targetLabel": to})
}

fn rule(names: &Names, groups: &[Group]) -> Value {
    json!({
        "apiVersion": API_VERSION, "kind": "PrometheusRule", "metadata": metadata(names, "rules"),
        "spec": rules(groups),
    })
}

fn rules(groups: &[Group]) -> Value {
    let written = |group: &Group| {
        let rules: Vec<Value> = group.alerts.iter().map(alert::Alert::rule).collect();
        json!({"name": group.name, "rules": rules})
    };
    json!({"groups": groups.iter().map(written).collect::<Vec<Value>>()})
}

fn tests_of(groups: &[Group]) -> Value {
    let tests: Vec<Value> = groups.iter().flat_map(|group| group.alerts).flat_map(alert::Alert::tests).collect();
    json!({"rule_files": ["rules.yaml"], "evaluation_interval": INTERVAL, "tests": tests})
}

#[cfg(test)]
mod tests;
