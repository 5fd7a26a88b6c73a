//! A VirtualService of Istio, and a DestinationRule for each environment.

use super::super::{Kind, Object, Wanted, object};
use super::HEADER;
use crate::names::HTTP_PORT;
use serde_json::{Value, json};
use wire::Colour;

pub fn rules(wanted: &Wanted) -> Vec<Object> {
    let mut objects = Colour::BOTH.map(|colour| destination(wanted, colour)).to_vec();
    objects.push(virtual_service(wanted));
    objects
}

/// An environment as somewhere to go. Its nodes are asked in turn by how busy they are.
fn destination(wanted: &Wanted, colour: Colour) -> Object {
    let names = wanted.names;
    let spec = json!({
        "host": names.environment_service(colour),
        "trafficPolicy": {"loadBalancer": {"simple": "LEAST_REQUEST"}},
    });
    let labels = names.environment_labels(colour);
    object(wanted, Kind::DestinationRule, names.environment(colour), labels, json!({"spec": spec}))
}

fn virtual_service(wanted: &Wanted) -> Object {
    let (names, router) = (wanted.names, &wanted.document.spec.cluster.router);
    let to = |colour: Colour, weight: u8| {
        let destination = json!({"host": names.environment_service(colour), "port": {"number": HTTP_PORT}});
        json!({"destination": destination, "weight": weight})
    };
    let picked = |colour: Colour| json!({"match": [{"headers": {HEADER: {"exact": colour.as_str()}}}], "route": [to(colour, 100)]});
    let shared = Colour::BOTH.map(|colour| to(colour, *wanted.world.reads.get(colour)));
    let hosts: Vec<Value> = match router.hostnames.as_slice() {
        [] => vec![names.main_service().into()],
        hosts => hosts.iter().map(|host| host.as_str().into()).collect(),
    };
    let mut spec = json!({"hosts": hosts, "http": [picked(Colour::Blue), picked(Colour::Green), {"route": shared}]});
    if !router.gateways.is_empty() {
        spec["gateways"] = router.gateways.iter().map(|name| Value::from(name.as_str())).collect();
    }
    object(wanted, Kind::VirtualService, names.router(), names.labels(), json!({"spec": spec}))
}
