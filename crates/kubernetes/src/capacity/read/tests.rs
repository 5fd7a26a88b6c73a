use super::*;
use crate::build::{Kind, Wanted, objects};
use crate::names::Names;
use rollout::{State, World};
use serde_json::{Value, json};
use wire::ByColour;
use wire::document::BlueGreen;

fn of(amounts: &[(&str, &str)]) -> Amounts {
    amounts.iter().map(|(name, amount)| ((*name).into(), Quantity::parse(amount).unwrap())).collect()
}

fn pod(spec: Value) -> Pod {
    serde_json::from_value(json!({"metadata": {"name": "shop-blue-7"}, "spec": spec})).unwrap()
}

fn requests(spec: Value) -> Amounts {
    of_pod(pod(spec).spec.as_ref().unwrap()).requests
}

#[test]
fn containers_add_up_and_a_start_needs_as_much_as_its_greatest_step() {
    let container = |name: &str, cpu: &str| json!({"name": name, "resources": {"requests": {"cpu": cpu}}});
    let two = json!([container("a", "100m"), container("b", "200m"), {"name": "c"}]);
    assert_eq!(requests(json!({"containers": two})), of(&[("cpu", "300m")]));
    let init = json!([container("first", "1")]);
    assert_eq!(requests(json!({"containers": two, "initContainers": init})), of(&[("cpu", "1")]));
    let mut beside = container("beside", "50m");
    beside["restartPolicy"] = "Always".into();
    let init = json!([beside, container("first", "270m")]);
    assert_eq!(requests(json!({"containers": two, "initContainers": init})), of(&[("cpu", "350m")]));
    let whole =
        json!({"containers": two, "resources": {"requests": {"cpu": "1"}}, "overhead": {"cpu": "10m", "x": "1"}});
    assert_eq!(requests(whole), of(&[("cpu", "1010m")]));
    let mut used = of(&[("cpu", "1"), ("pods", "3")]);
    take(&mut used, pod(json!({"containers": two})).spec.as_ref().unwrap());
    assert_eq!(used, of(&[("cpu", "1300m"), ("pods", "4")]));
}

/// The pod of the node as it is built, so that its container has the name that is looked for.
fn built(document: &BlueGreen) -> Pod {
    let names = Names::new("shop", "default");
    let world = World::of(&State::first(&document.spec, 0));
    let nodes = ByColour::new(1, 1);
    let wanted = Wanted { names: &names, document, owner: None, gateway_image: "x", world: &world, nodes, state: None };
    let deployment = objects(&wanted).into_iter().find(|object| object.kind == Kind::Deployment).unwrap();
    pod(deployment.body["spec"]["template"]["spec"].clone())
}

#[test]
fn the_next_pod_is_like_the_last_one_with_the_amounts_of_the_document() {
    let document = BlueGreen::named("shop");
    let asked = of(&[("cpu", "250m"), ("memory", "512Mi")]);
    let resources = document.spec.cluster.resources.clone();
    assert_eq!(planned(None, &resources), PodAmounts { requests: asked.clone(), limits: Amounts::new() });
    let mut last = built(&document);
    assert_eq!(planned(Some(&last), &resources).requests, asked, "its container is found again");

    // The namespace gives every container a limit, and every pod a container.
    let spec = last.spec.as_mut().unwrap();
    let given = json!({"requests": {"cpu": "250m", "memory": "512Mi"}, "limits": {"memory": "1Gi"}});
    spec.containers[0].resources = serde_json::from_value(given).unwrap();
    let added = json!({"name": "proxy", "resources": {"requests": {"cpu": "100m"}, "limits": {"memory": "64Mi"}}});
    spec.containers.push(serde_json::from_value(added).unwrap());
    let larger = Resources { requests: [("cpu".into(), "1".into())].into(), limits: BTreeMap::new() };
    let next = planned(Some(&last), &larger);
    assert_eq!(next.requests, of(&[("cpu", "1100m"), ("memory", "512Mi")]));
    assert_eq!(next.limits, of(&[("memory", "1088Mi")]));
}

#[test]
fn who_names_only_a_limit_asks_for_as_much() {
    let resources = Resources { requests: BTreeMap::new(), limits: [("cpu".into(), "2".into())].into() };
    assert_eq!(planned(None, &resources).requests, of(&[("cpu", "2")]));
}

#[test]
fn a_node_that_is_cordoned_or_tainted_takes_no_pods() {
    let takes = |spec: Value| {
        let object = json!({
            "metadata": {"name": "node-a"}, "spec": spec,
            "status": {"allocatable": {"cpu": "2", "pods": "110"}, "capacity": {"cpu": "4"}},
        });
        let room = node(&serde_json::from_value(object).unwrap(), of(&[("cpu", "1")]));
        assert_eq!((room.name.as_str(), &room.allocatable), ("node-a", &of(&[("cpu", "2"), ("pods", "110")])));
        assert_eq!(room.used, of(&[("cpu", "1")]));
        room.takes_pods
    };
    assert!(takes(json!({})));
    assert!(!takes(json!({"unschedulable": true})));
    assert!(takes(json!({"taints": [{"key": "full", "effect": "PreferNoSchedule"}]})));
    assert!(!takes(json!({"taints": [{"key": "gpu", "effect": "NoSchedule"}]})));
    assert!(!takes(json!({"taints": [{"key": "gone", "effect": "NoExecute"}]})));
}

#[test]
fn a_quota_counts_only_what_is_in_its_scopes() {
    let asks = PodAmounts { requests: of(&[("cpu", "1")]), limits: Amounts::new() };
    let counts = |spec: Value, each: &PodAmounts| {
        let mut object = json!({
            "metadata": {"name": "tight"}, "spec": {"hard": {"pods": "4"}}, "status": {"used": {"pods": "3"}},
        });
        object["spec"].as_object_mut().unwrap().extend(spec.as_object().unwrap().clone());
        let found = quota(&serde_json::from_value(object).unwrap(), each);
        if let Some(quota) = &found {
            assert_eq!((&quota.hard, &quota.used), (&of(&[("pods", "4")]), &of(&[("pods", "3")])));
        }
        found.is_some()
    };
    assert!(counts(json!({}), &asks));
    for (scope, of_asking, of_silent) in [
        ("NotTerminating", true, true),
        ("Terminating", false, false),
        ("BestEffort", false, true),
        ("NotBestEffort", true, false),
    ] {
        assert_eq!(counts(json!({"scopes": [scope]}), &asks), of_asking, "{scope}");
        assert_eq!(counts(json!({"scopes": [scope]}), &PodAmounts::default()), of_silent, "{scope}");
    }
    for (operator, is_counted) in [("In", false), ("Exists", false), ("NotIn", true), ("DoesNotExist", true)] {
        let selector = json!({"matchExpressions": [{"scopeName": "PriorityClass", "operator": operator}]});
        assert_eq!(counts(json!({"scopeSelector": selector}), &asks), is_counted, "{operator}");
    }
}

#[test]
fn the_default_class_is_known_by_its_annotation() {
    let of = |annotations: Value| {
        let object = json!({"metadata": {"name": "folders", "annotations": annotations}, "provisioner": "x"});
        class(&serde_json::from_value(object).unwrap())
    };
    assert!(of(json!({"storageclass.kubernetes.io/is-default-class": "true"})).is_default);
    assert!(!of(json!({"storageclass.kubernetes.io/is-default-class": "false"})).is_default);
    assert_eq!(of(json!({})), Class { name: "folders".into(), is_default: false });
}
