//! An HTTPRoute of the Gateway API: a header picks an environment, weights share the rest.

use super::super::{Kind, Object, Wanted, object};
use super::HEADER;
use crate::names::HTTP_PORT;
use serde_json::{Value, json};
use wire::Colour;

pub fn route(wanted: &Wanted) -> Object {
    let (names, router) = (wanted.names, &wanted.document.spec.cluster.router);
    let backend = |colour: Colour, weight: u8| json!({"name": names.environment_service(colour), "port": HTTP_PORT, "weight": weight});
    let picked = |colour: Colour| {
        json!({
            "matches": [{"headers": [{"type": "Exact", "name": HEADER, "value": colour.as_str()}]}],
            "backendRefs": [backend(colour, 100)],
        })
    };
    let shared = Colour::BOTH.map(|colour| backend(colour, *wanted.world.reads.get(colour)));
    let mut parent = json!({});
    if let Some(of) = &router.parent {
        parent["name"] = of.name.as_str().into();
        let further = [("namespace", &of.namespace), ("sectionName", &of.section_name)];
        for (field, value) in further.into_iter().filter_map(|(field, value)| Some((field, value.as_ref()?))) {
            parent[field] = value.as_str().into();
        }
    }
    let mut spec = json!({
        "parentRefs": [parent],
        "rules": [picked(Colour::Blue), picked(Colour::Green), {"backendRefs": shared}],
    });
    if !router.hostnames.is_empty() {
        spec["hostnames"] = router.hostnames.iter().map(|name| Value::from(name.as_str())).collect();
    }
    object(wanted, Kind::HttpRoute, names.router(), names.labels(), json!({"spec": spec}))
}
