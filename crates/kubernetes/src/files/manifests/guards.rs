//! What guards a deployment: who may speak to whom, and what a drain may take away.

use super::super::metadata;
use crate::install::Install;
use crate::names::{ADMIN_PORT, HTTP_PORT, Names};
use serde_json::{Value, json};
use wire::Colour;

/// Where a Prometheus usually lives.
const MONITORING: &str = "monitoring";
const DNS_PORT: u16 = 53;

/// One policy for nodes, one for our own gateway. Without pods of a gateway the second does nothing.
pub(super) fn network_policies(names: &Names) -> Vec<Value> {
    let other_nodes = json!({"podSelector": nodes(names)});
    let dns = json!({
        "to": [{"namespaceSelector": in_namespace("kube-system")}],
        "ports": [{"protocol": "UDP", "port": DNS_PORT}, {"protocol": "TCP", "port": DNS_PORT}],
    });
    let of_nodes = policy(
        names,
        "nodes",
        &nodes(names),
        json!([{"ports": ports(&[HTTP_PORT])}, {"from": [operator(), other_nodes], "ports": ports(&[ADMIN_PORT])}]),
        json!([{"to": [other_nodes], "ports": ports(&[HTTP_PORT, ADMIN_PORT])}, dns]),
    );
    let prometheus = json!({"namespaceSelector": in_namespace(MONITORING)});
    let of_gateway = policy(
        names,
        "gateway",
        &json!({"matchLabels": names.gateway_selector()}),
        json!([{"ports": ports(&[HTTP_PORT])}, {"from": [operator(), prometheus], "ports": ports(&[ADMIN_PORT])}]),
        json!([{"to": [other_nodes], "ports": ports(&[HTTP_PORT])}]),
    );
    vec![of_nodes, of_gateway]
}

/// Of all nodes of both environments one at a time, and of the gateway's pods as well.
pub(super) fn disruption_budgets(names: &Names) -> Vec<Value> {
    let budget = |part: &str, selector: Value| {
        json!({
            "apiVersion": "policy/v1", "kind": "PodDisruptionBudget", "metadata": metadata(names, part),
            "spec": {
                "maxUnavailable": 1,
                "selector": selector,
                // One that is not well may be evicted at any time: it serves nobody.
                "unhealthyPodEvictionPolicy": "AlwaysAllow",
            },
        })
    };
    vec![budget("nodes", nodes(names)), budget("gateway", json!({"matchLabels": names.gateway_selector()}))]
}

fn policy(names: &Names, part: &str, selector: &Value, ingress: Value, egress: Value) -> Value {
    json!({
        "apiVersion": "networking.k8s.io/v1", "kind": "NetworkPolicy", "metadata": metadata(names, part),
        "spec": {
            "podSelector": selector, "policyTypes": ["Ingress", "Egress"], "ingress": ingress, "egress": egress,
        },
    })
}

/// The nodes of both environments.
fn nodes(names: &Names) -> Value {
    json!({
        "matchLabels": {"app": names.deployment},
        "matchExpressions": [{"key": "version", "operator": "In", "values": Colour::BOTH.map(Colour::as_str)}],
    })
}

fn operator() -> Value {
    let operator = Install::default();
    json!({
        "namespaceSelector": in_namespace(&operator.namespace),
        "podSelector": {"matchLabels": operator.labels()},
    })
}

/// By the label that every namespace has.
fn in_namespace(name: &str) -> Value {
    json!({"matchLabels": {"kubernetes.io/metadata.name": name}})
}

fn ports(ports: &[u16]) -> Value {
    ports.iter().map(|port| json!({"protocol": "TCP", "port": port})).collect()
}
