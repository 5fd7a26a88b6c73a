use super::*;
use crate::build::{Kind, Object, Wanted, objects};
use crate::install::Install;
use crate::names::ADMIN_PORT;
use crate::resource::BlueGreenObject;
use rollout::{State, World};
use serde::Deserialize;
use wire::ByColour;
use wire::document::{BlueGreen, RouterKind};

/// What is in a file, read back from its text.
fn read(name: &str) -> Vec<Value> {
    let path = format!("blue-green/k8s/{name}.yaml");
    let file = files().into_iter().find(|file| file.path == path).unwrap_or_else(|| panic!("{path} is missing"));
    serde_norway::Deserializer::from_str(&file.text).map(|document| Value::deserialize(document).unwrap()).collect()
}

fn of_kind(objects: &[Value], kind: &str) -> Vec<Value> {
    objects.iter().filter(|object| object["kind"] == kind).cloned().collect()
}

/// The document of a file, as the operator reads it.
fn document(name: &str) -> BlueGreen {
    let [object] = of_kind(&read(name), KIND).try_into().unwrap();
    let object: BlueGreenObject = serde_json::from_value(object).unwrap();
    object.document().unwrap_or_else(|error| panic!("{name}: {error}"))
}

/// What the operator makes of the main file while two versions run.
fn built() -> Vec<Object> {
    let (document, names) = (document("blue-green-deployment"), Names::new(NAME, NAMESPACE));
    let mut state = State::first(&document.spec, 0);
    state.versions.green = Some("1.1.0".into());
    let world = World::of(&state);
    let nodes = ByColour::new(1, 1);
    objects(&Wanted {
        names: &names,
        document: &document,
        owner: None,
        gateway_image: "jadeshift:x",
        world: &world,
        nodes,
        state: None,
    })
}

/// Labels and ports of the pods of a Deployment that the operator makes.
fn pod(name: &str) -> (Value, Value) {
    let built = built();
    let found = built.iter().find(|object| object.kind == Kind::Deployment && object.name == name).unwrap();
    let template = &found.body["spec"]["template"];
    (template["metadata"]["labels"].clone(), template["spec"]["containers"][0]["ports"].clone())
}

/// Whether a selector, with or without expressions, takes a pod with these labels.
fn takes(selector: &Value, labels: &Value) -> bool {
    let equal = selector["matchLabels"].as_object().is_none_or(|wanted| wanted.iter().all(|(k, v)| labels[k] == *v));
    let expressions = selector["matchExpressions"].as_array().cloned().unwrap_or_default();
    let within = |expression: &Value| {
        assert_eq!(expression["operator"], "In");
        let label = &labels[expression["key"].as_str().unwrap()];
        expression["values"].as_array().unwrap().contains(label)
    };
    equal && expressions.iter().all(within)
}

fn named(objects: &[Value], name: &str) -> Value {
    let found = objects.iter().find(|object| object["metadata"]["name"] == name);
    found.unwrap_or_else(|| panic!("{name} is missing")).clone()
}

#[test]
fn every_document_is_accepted_and_holds_a_new_version_back() {
    for (name, router) in [
        ("blue-green-deployment", RouterKind::Gateway),
        ("ingress-routing", RouterKind::Ingress),
        ("traffic-routing", RouterKind::Istio),
        ("canary-deployment", RouterKind::Gateway),
    ] {
        let document = document(name);
        assert_eq!(document.spec.cluster.router.kind, router, "{name}");
        assert!(document.spec.rollout.hold_before_steps, "{name}");
        let steps = &document.spec.rollout.steps;
        assert_eq!(steps.iter().map(|step| step.share_percent).collect::<Vec<_>>(), STEPS, "{name}");
        assert!(steps.iter().all(|step| step.pause == (name == "canary-deployment")), "{name}");
        assert_eq!(document.metadata.namespace.as_deref(), Some(NAMESPACE), "{name}");
        assert_eq!(document.spec.cluster.image, wire::document::Cluster::default().image, "{name}");
    }
}

/// One file after the other on the same deployment changes its router and its steps, and nothing else.
#[test]
fn the_files_are_one_deployment() {
    let plain = |name: &str| {
        let mut document = document(name);
        document.spec.cluster.router = wire::document::Router::default();
        document.spec.cluster.gateway = wire::document::GatewayPods::default();
        document.spec.rollout.steps.clear();
        document
    };
    for name in ["ingress-routing", "traffic-routing", "canary-deployment"] {
        assert_eq!(plain(name), plain("blue-green-deployment"), "{name}");
    }
}

#[test]
fn policies_and_budgets_are_for_the_pods_that_the_operator_makes() {
    let objects = read("blue-green-deployment");
    let (blue, _) = pod("jadevectordb-blue");
    let (green, _) = pod("jadevectordb-green");
    let (gateway, _) = pod("jadevectordb-gateway");
    for (kind, field) in [("NetworkPolicy", "podSelector"), ("PodDisruptionBudget", "selector")] {
        let objects = of_kind(&objects, kind);
        assert_eq!(objects.len(), 2);
        let who = |name: &str| {
            let selector = &named(&objects, name)["spec"][field];
            [&blue, &green, &gateway].map(|labels| takes(selector, labels))
        };
        assert_eq!(who("jadevectordb-nodes"), [true, true, false], "{kind}");
        assert_eq!(who("jadevectordb-gateway"), [false, false, true], "{kind}");
    }
}

#[test]
fn the_admin_ports_are_for_the_operator_and_those_who_need_them() {
    let policies = of_kind(&read("blue-green-deployment"), "NetworkPolicy");
    let operator = Install::default().objects();
    let operator = operator.iter().find(|object| object["kind"] == "Deployment").unwrap();
    let operator_labels = &operator["spec"]["template"]["metadata"]["labels"];
    let (blue, ports) = pod("jadevectordb-blue");
    assert_eq!(ports.as_array().unwrap().iter().map(|port| &port["containerPort"]).collect::<Vec<_>>(), [8080, 8081]);
    for policy in &policies {
        let [requests, admin] = policy["spec"]["ingress"].as_array().unwrap().as_slice() else { panic!("{policy}") };
        assert_eq!(requests["ports"], json!([{"protocol": "TCP", "port": HTTP_PORT}]));
        assert_eq!(admin["ports"], json!([{"protocol": "TCP", "port": ADMIN_PORT}]));
        let from = admin["from"].as_array().unwrap();
        let home = &from[0]["namespaceSelector"]["matchLabels"]["kubernetes.io/metadata.name"];
        assert_eq!(*home, operator["metadata"]["namespace"]);
        assert!(takes(&from[0]["podSelector"], operator_labels));
        assert_eq!(from.len(), 2, "nobody else: {from:?}");
    }
    let nodes = named(&policies, "jadevectordb-nodes");
    assert!(takes(&nodes["spec"]["ingress"][1]["from"][1]["podSelector"], &blue), "the other nodes are followed");
    for policy in &policies {
        let to = &policy["spec"]["egress"][0];
        assert!(takes(&to["to"][0]["podSelector"], &blue));
        assert_eq!(to["ports"][0]["port"], HTTP_PORT);
    }
}

#[test]
fn health_is_asked_of_nodes_that_are_not_ready_too() {
    let services = read("health-check-services");
    for colour in Colour::BOTH {
        let service = named(&services, &format!("jadevectordb-{colour}-health"));
        assert_eq!(service["spec"]["publishNotReadyAddresses"], true);
        for other in Colour::BOTH {
            let (labels, ports) = pod(&format!("jadevectordb-{other}"));
            let selector = json!({"matchLabels": service["spec"]["selector"]});
            assert_eq!(takes(&selector, &labels), colour == other);
            let target = &service["spec"]["ports"][0]["targetPort"];
            assert!(ports.as_array().unwrap().iter().any(|port| port["name"] == *target));
        }
    }
}

#[test]
fn no_comment_ends_in_a_space_and_no_line_is_too_long() {
    for file in files() {
        for line in file.text.lines() {
            assert!(line.trim_end() == line && line.len() <= 132, "{}: `{line}`", file.path);
        }
    }
}
