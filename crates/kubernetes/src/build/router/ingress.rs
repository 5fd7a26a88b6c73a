//! Ingress: a backend, or two with annotations that one controller reads.

use super::super::{Kind, Object, Wanted, object};
use super::HEADER;
use crate::names::HTTP_PORT_NAME;
use serde_json::{Value, json};
use wire::Colour;

/// All requests go to one environment.
pub fn plain(wanted: &Wanted) -> Object {
    let (names, leads_to) = (wanted.names, wanted.leads_to());
    object(wanted, Kind::Ingress, names.router(), names.labels(), json!({"spec": spec(wanted, leads_to)}))
}

/// Blue's, and green's with the share of the requests that it takes from blue. Legacy: ingress-nginx is no longer developed.
pub fn of_nginx(wanted: &Wanted) -> [Object; 2] {
    let names = wanted.names;
    let blue = json!({"spec": spec(wanted, Colour::Blue)});
    let green = json!({"spec": spec(wanted, Colour::Green)});
    let main = object(wanted, Kind::Ingress, names.router(), names.labels(), blue);
    let mut canary = object(wanted, Kind::Ingress, names.canary_ingress(), names.labels(), green);
    let annotation = |name: &str| format!("nginx.ingress.kubernetes.io/{name}");
    canary.body["metadata"]["annotations"] = json!({
        annotation("canary"): "true",
        annotation("canary-weight"): wanted.world.reads.green.to_string(),
        annotation("canary-by-header"): HEADER,
        annotation("canary-by-header-value"): Colour::Green.as_str(),
    });
    [main, canary]
}

fn spec(wanted: &Wanted, leads_to: Colour) -> Value {
    let router = &wanted.document.spec.cluster.router;
    let service = wanted.names.environment_service(leads_to);
    let backend = json!({"service": {"name": service, "port": {"name": HTTP_PORT_NAME}}});
    let rule = |host: Option<&String>| {
        let paths = json!({"paths": [{"path": "/", "pathType": "Prefix", "backend": backend}]});
        match host {
            Some(host) => json!({"host": host, "http": paths}),
            None => json!({"http": paths}),
        }
    };
    let rules: Vec<Value> = match router.hostnames.as_slice() {
        [] => vec![rule(None)],
        names => names.iter().map(|name| rule(Some(name))).collect(),
    };
    let mut spec = json!({"rules": rules});
    if let Some(class) = &router.ingress_class_name {
        spec["ingressClassName"] = class.as_str().into();
    }
    spec
}
