//! What a router does, by what the cluster says of it: what was asked for is no proof.

use crate::build::Kind;
use crate::names::Names;
use crate::store::Stores;
use kube::ResourceExt;
use kube::api::DynamicObject;
use serde_json::Value;
use wire::document::RouterKind;
use wire::{ByColour, Colour};

/// Shares of the reads that a router gives to each environment, percent; `None` while that is not certain.
pub fn shares(stores: &Stores, names: &Names, kind: RouterKind) -> Option<ByColour<u8>> {
    match kind {
        RouterKind::Service => of_service(stores, names),
        RouterKind::Ingress => of_ingress(&*stores.object(Kind::Ingress, names, &names.router())?, names),
        RouterKind::NginxIngress => of_nginx(&*stores.object(Kind::Ingress, names, &names.canary_ingress())?),
        RouterKind::HttpRoute => of_http_route(&*stores.object(Kind::HttpRoute, names, &names.router())?, names),
        RouterKind::Istio => of_istio(&*stores.object(Kind::VirtualService, names, &names.router())?, names),
        RouterKind::Gateway => None,
    }
}

/// By what the cluster's proxies were told: its selector, and the endpoints that follow from it.
fn of_service(stores: &Stores, names: &Names) -> Option<ByColour<u8>> {
    let service = stores.object(Kind::Service, names, &names.main_service())?;
    let selected: Colour = service.data["spec"]["selector"]["version"].as_str()?.parse().ok()?;
    let slices = stores.slices(names, &names.main_service());
    let pods = stores.pods(names, selected);
    let mut ready = 0;
    for endpoint in slices.iter().flat_map(|slice| slice.endpoints.iter().flatten()) {
        let conditions = endpoint.conditions.as_ref();
        if conditions.and_then(|conditions| conditions.ready) == Some(false) {
            continue;
        }
        let target = endpoint.target_ref.as_ref()?.name.as_deref()?;
        if !pods.iter().any(|pod| pod.name_any() == target) {
            // Still somebody of the other side.
            return None;
        }
        ready += 1;
    }
    (ready > 0).then(|| all_to(selected))
}

fn of_ingress(ingress: &DynamicObject, names: &Names) -> Option<ByColour<u8>> {
    let rules = ingress.data.pointer("/spec/rules")?.as_array()?;
    let mut led = rules.iter().map(|rule| rule.pointer("/http/paths/0/backend/service/name").and_then(Value::as_str));
    let first = led.next()??;
    let colour = Colour::BOTH.into_iter().find(|colour| names.environment_service(*colour) == first)?;
    led.all(|name| name == Some(first)).then(|| all_to(colour))
}

fn of_nginx(canary: &DynamicObject) -> Option<ByColour<u8>> {
    let green = canary.annotations().get("nginx.ingress.kubernetes.io/canary-weight")?.parse().ok()?;
    (green <= 100).then(|| ByColour::new(100 - green, green))
}

/// Its controller has to have taken it up as it is now.
fn of_http_route(route: &DynamicObject, names: &Names) -> Option<ByColour<u8>> {
    let parents = route.data.pointer("/status/parents").and_then(Value::as_array)?;
    let holds = |parent: &Value, kind: &str| {
        let conditions = parent["conditions"].as_array().into_iter().flatten();
        let mut of_kind = conditions.filter(|condition| condition["type"] == kind);
        of_kind.next().is_some_and(|condition| {
            condition["status"] == "True" && condition["observedGeneration"].as_i64() >= route.metadata.generation
        })
    };
    let taken_up = parents.iter().any(|parent| holds(parent, "Accepted") && holds(parent, "ResolvedRefs"));
    if !taken_up {
        return None;
    }
    let backends = route.data.pointer("/spec/rules")?.as_array()?.last()?["backendRefs"].as_array()?;
    weights(backends.iter().map(|backend| (&backend["name"], &backend["weight"])), names)
}

fn of_istio(service: &DynamicObject, names: &Names) -> Option<ByColour<u8>> {
    let routes = service.data.pointer("/spec/http")?.as_array()?.last()?["route"].as_array()?;
    weights(routes.iter().map(|route| (&route["destination"]["host"], &route["weight"])), names)
}

fn weights<'a>(named: impl Iterator<Item = (&'a Value, &'a Value)>, names: &Names) -> Option<ByColour<u8>> {
    let mut shares = ByColour::new(0, 0);
    for (name, weight) in named {
        let colour = Colour::BOTH.into_iter().find(|colour| *name == names.environment_service(*colour))?;
        // Without a weight, 1 counts: that is none of ours.
        *shares.get_mut(colour) = weight.as_u64().and_then(|weight| u8::try_from(weight).ok())?;
    }
    (u16::from(shares.blue) + u16::from(shares.green) == 100).then_some(shares)
}

fn all_to(colour: Colour) -> ByColour<u8> {
    ByColour::from_fn(|each| if each == colour { 100 } else { 0 })
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn object(value: Value) -> DynamicObject {
        serde_json::from_value(value).unwrap()
    }

    fn names() -> Names {
        Names::new("shop", "default")
    }

    fn route(observed: i64, weights: [u8; 2]) -> DynamicObject {
        let condition =
            |kind: &str| json!({"type": kind, "status": "True", "observedGeneration": observed, "reason": "x"});
        object(json!({
            "apiVersion": "gateway.networking.k8s.io/v1", "kind": "HTTPRoute",
            "metadata": {"name": "shop", "generation": 3},
            "spec": {"rules": [{}, {"backendRefs": [
                {"name": "shop-blue-service", "weight": weights[0]}, {"name": "shop-green-service", "weight": weights[1]},
            ]}]},
            "status": {"parents": [{"conditions": [condition("Accepted"), condition("ResolvedRefs")]}]},
        }))
    }

    #[test]
    fn a_route_is_in_effect_when_its_controller_has_taken_it_up() {
        assert_eq!(of_http_route(&route(3, [90, 10]), &names()), Some(ByColour::new(90, 10)));
        assert_eq!(of_http_route(&route(2, [90, 10]), &names()), None, "an older one was taken up");
        assert_eq!(of_http_route(&route(3, [90, 90]), &names()), None, "somebody else's weights");
        let mut unresolved = route(3, [0, 100]);
        unresolved.data["status"]["parents"][0]["conditions"][1]["status"] = "False".into();
        assert_eq!(of_http_route(&unresolved, &names()), None);
    }

    #[test]
    fn an_ingress_leads_to_one_environment_or_to_nobody_knows_whom() {
        let path = |name: &str| json!({"http": {"paths": [{"backend": {"service": {"name": name}}}]}});
        let ingress = |services: &[&str]| {
            let rules: Vec<Value> = services.iter().map(|name| path(name)).collect();
            object(json!({"metadata": {"name": "shop"}, "spec": {"rules": rules}}))
        };
        let green = Some(ByColour::new(0, 100));
        assert_eq!(of_ingress(&ingress(&["shop-green-service", "shop-green-service"]), &names()), green);
        assert_eq!(of_ingress(&ingress(&["shop-green-service", "shop-blue-service"]), &names()), None);
        assert_eq!(of_ingress(&ingress(&["other"]), &names()), None);
        let canary = |weight: &str| {
            object(json!({"metadata": {
                "name": "x", "annotations": {"nginx.ingress.kubernetes.io/canary-weight": weight},
            }}))
        };
        assert_eq!(of_nginx(&canary("10")), Some(ByColour::new(90, 10)));
        assert_eq!(of_nginx(&canary("200")), None);
    }
}
