//! Services: one for clients, one for each environment.

use super::{Kind, Object, Wanted, object};
use crate::names::{ADMIN_PORT, HTTP_PORT};
use serde_json::json;
use wire::Colour;
use wire::document::RouterKind;

/// The one that clients use: whoever it selects gets the requests.
pub(super) fn main(wanted: &Wanted) -> Object {
    let names = wanted.names;
    let selector = match wanted.document.spec.cluster.router.kind {
        RouterKind::Gateway => names.gateway_selector(),
        _ => names.selector(wanted.leads_to()),
    };
    let spec = json!({
        "selector": selector,
        "ports": [{"name": "http", "port": HTTP_PORT, "targetPort": "http", "protocol": "TCP"}],
    });
    object(wanted, Kind::Service, names.main_service(), names.labels(), json!({"spec": spec}))
}

/// The one of an environment; also of a node that is not ready yet, which has to be fed before it can be.
pub(super) fn environment(wanted: &Wanted, colour: Colour) -> Object {
    let names = wanted.names;
    let port = |name: &str, port: u16| json!({"name": name, "port": port, "targetPort": name, "protocol": "TCP"});
    let spec = json!({
        "selector": names.selector(colour),
        "ports": [port("http", HTTP_PORT), port("admin", ADMIN_PORT)],
    });
    let labels = names.environment_labels(colour);
    object(wanted, Kind::Service, names.environment_service(colour), labels, json!({"spec": spec}))
}
