use super::*;
use rollout::State;
use wire::ByColour;
use wire::document::{Mode, Parent, RouterKind, Spec, Version};

fn world(versions: ByColour<Option<&str>>, green_percent: u8) -> World {
    let mut state = State::first(&Spec::default(), 0);
    state.versions = versions.map(|_, version| version.map(String::from));
    World { reads: ByColour::new(100 - green_percent, green_percent), ..World::of(&state) }
}

fn build(document: &BlueGreen, world: &World, state: Option<&State>) -> Vec<Object> {
    let names = Names::new("jadevectordb", "jadevectordb-system");
    let owner = Owner { name: "jadevectordb".into(), uid: "u".into() };
    let nodes = ByColour::new(document.spec.replicas, document.spec.replicas.max(3));
    let wanted =
        Wanted { names: &names, document, owner: Some(&owner), gateway_image: "jadeshift:x", world, nodes, state };
    objects(&wanted)
}

fn find<'a>(objects: &'a [Object], name: &str) -> &'a Value {
    &objects.iter().find(|object| object.name == name).unwrap_or_else(|| panic!("{name} is missing")).body
}

#[test]
fn an_environment_runs_when_it_has_a_version_and_keeps_its_storage_when_it_has_none() {
    let document = BlueGreen::named("jadevectordb");
    let objects = build(&document, &world(ByColour::new(Some("1.0.0"), None), 0), None);
    assert!(objects.is_sorted_by_key(|object| object.kind));
    assert_eq!(find(&objects, "jadevectordb-blue")["spec"]["replicas"], 1);
    assert_eq!(find(&objects, "jadevectordb-green")["spec"]["replicas"], 0);
    let claims: Vec<&str> =
        objects.iter().filter(|object| object.kind == Kind::Claim).map(|object| object.name.as_str()).collect();
    assert_eq!(claims, ["jadevectordb-blue-data"]);
    assert_eq!(find(&objects, "jadevectordb-blue-data")["metadata"].get("ownerReferences"), None, "data outlives all");
    assert!(find(&objects, "jadevectordb-blue")["metadata"]["ownerReferences"].is_array());
    let pod = &find(&objects, "jadevectordb-blue")["spec"]["template"];
    assert_eq!(pod["spec"]["containers"][0]["image"], "jadevectordb:1.0.0");
    assert_eq!(pod["metadata"]["labels"]["version"], "blue");
    assert_eq!(pod["metadata"]["annotations"]["jadevectordb.io/version"], "1.0.0");
}

#[test]
fn each_of_several_nodes_has_a_workload_and_a_claim_of_its_own() {
    let mut document = BlueGreen::named("jadevectordb");
    document.spec.replicas = 2;
    let mut world = world(ByColour::new(Some("1.0.0"), Some("1.1.0")), 0);
    let replicas = |world: &World| {
        let objects = build(&document, world, None);
        let names = ["blue", "blue-1", "green", "green-1", "green-2"];
        names.map(|name| find(&objects, &format!("jadevectordb-{name}"))["spec"]["replicas"].as_u64().unwrap())
    };
    assert_eq!(replicas(&world), [1, 1, 1, 1, 0], "one that is too many does not run");
    world.heads.green = 2;
    assert_eq!(replicas(&world), [1, 1, 1, 1, 1], "unless it is the head");
    world.fenced = Some(Member::new(Colour::Blue, 0));
    assert_eq!(replicas(&world), [0, 1, 1, 1, 1], "only the one that is fenced off");

    let objects = build(&document, &world, None);
    let second = &find(&objects, "jadevectordb-green-1")["spec"];
    let claim = &second["template"]["spec"]["volumes"][0]["persistentVolumeClaim"]["claimName"];
    assert_eq!(claim, "jadevectordb-green-data-1");
    assert!(find(&objects, "jadevectordb-green-data-1").is_object());
    assert_eq!(second["selector"]["matchLabels"]["jadevectordb.io/node"], "1");
    assert_eq!(
        second["template"]["metadata"]["labels"]["version"], "green",
        "the environment's Service leads to it too"
    );
    assert_eq!(find(&objects, "jadevectordb-nodes")["data"]["join-green-1"], "true");
}

#[test]
fn the_main_service_leads_to_one_environment() {
    let document = BlueGreen::named("jadevectordb");
    let both = world(ByColour::new(Some("1.0.0"), Some("1.1.0")), 100);
    let objects = build(&document, &both, None);
    let selector = &find(&objects, "jadevectordb-service")["spec"]["selector"];
    assert_eq!(*selector, json!({"app": "jadevectordb", "version": "green"}));
    assert_eq!(find(&objects, "jadevectordb-green-service")["spec"]["selector"]["version"], "green");
}

#[test]
fn only_the_first_node_begins_a_history_and_only_at_the_start() {
    let document = BlueGreen::named("jadevectordb");
    let world = world(ByColour::new(Some("1.0.0"), None), 0);
    let joins = |state: Option<&State>| {
        let objects = build(&document, &world, state);
        let data = find(&objects, "jadevectordb-nodes")["data"].clone();
        [data["join-blue"] == "true", data["join-green"] == "true"]
    };
    assert_eq!(joins(None), [false, true]);
    let mut state = State::first(&Spec::default(), 0);
    assert_eq!(joins(Some(&state)), [false, true], "starting");
    state.phase = rollout::Phase::Stable;
    assert_eq!(joins(Some(&state)), [true, true], "an emptied folder is no new deployment");
}

#[test]
fn a_version_has_an_image_settings_and_the_mode_of_the_document() {
    let mut document = BlueGreen::named("jadevectordb");
    document.spec.mode = Mode::Development;
    let settings = Version { image: Some("registry.example.org/db:next".into()), ..Version::default() };
    document.spec.versions.insert("1.1.0".into(), settings);
    let objects = build(&document, &world(ByColour::new(Some("1.1.0"), None), 0), None);
    let container = &find(&objects, "jadevectordb-blue")["spec"]["template"]["spec"]["containers"][0];
    assert_eq!(container["image"], "registry.example.org/db:next");
    let args: Vec<&str> = container["args"].as_array().unwrap().iter().filter_map(Value::as_str).collect();
    assert!(args.contains(&"--allow-remote-development") && args.contains(&"--index-kind"), "{args:?}");
    let environment = container["env"].as_array().unwrap();
    assert!(environment.iter().any(|one| one["name"] == "JADEVECTORDB_ENV" && one["value"] == "development"));
}

#[test]
fn pods_need_no_rights() {
    let document = BlueGreen::named("jadevectordb");
    let objects = build(&document, &world(ByColour::new(Some("1.0.0"), None), 0), None);
    let pod = &find(&objects, "jadevectordb-blue")["spec"]["template"]["spec"];
    assert_eq!(pod["securityContext"]["runAsNonRoot"], true);
    assert_eq!(pod["securityContext"]["seccompProfile"]["type"], "RuntimeDefault");
    let container = &pod["containers"][0]["securityContext"];
    assert_eq!(container["allowPrivilegeEscalation"], false);
    assert_eq!(container["capabilities"]["drop"], json!(["ALL"]));
    assert_eq!(pod["automountServiceAccountToken"], false);
}

fn with_router(kind: RouterKind, green_percent: u8) -> Vec<Object> {
    let mut document = BlueGreen::named("jadevectordb");
    document.spec.cluster.router.kind = kind;
    document.spec.cluster.router.hostnames = vec!["vectors.example.org".into()];
    document.spec.cluster.router.parent = Some(Parent { name: "edge".into(), ..Parent::default() });
    build(&document, &world(ByColour::new(Some("1.0.0"), Some("1.1.0")), green_percent), None)
}

fn of_kind(objects: &[Object], kind: Kind) -> Vec<&Value> {
    objects.iter().filter(|object| object.kind == kind).map(|object| &object.body).collect()
}

#[test]
fn an_ingress_leads_to_one_environment() {
    for (green_percent, service) in [(0, "jadevectordb-blue-service"), (100, "jadevectordb-green-service")] {
        let objects = with_router(RouterKind::Ingress, green_percent);
        let rule = &of_kind(&objects, Kind::Ingress)[0]["spec"]["rules"][0];
        assert_eq!(rule["host"], "vectors.example.org");
        assert_eq!(rule["http"]["paths"][0]["backend"]["service"]["name"], service);
    }
}

#[test]
fn shares_are_weights_of_the_route_the_rule_or_the_annotation() {
    let objects = with_router(RouterKind::HttpRoute, 10);
    let route = &of_kind(&objects, Kind::HttpRoute)[0]["spec"];
    assert_eq!(route["parentRefs"], json!([{"name": "edge"}]));
    let weights = |backends: &Value| [&backends[0], &backends[1]].map(|backend| backend["weight"].as_u64().unwrap());
    assert_eq!(weights(&route["rules"][2]["backendRefs"]), [90, 10]);
    assert_eq!(route["rules"][1]["matches"][0]["headers"][0]["value"], "green");
    assert_eq!(route["rules"][1]["backendRefs"][0]["name"], "jadevectordb-green-service");

    let objects = with_router(RouterKind::Istio, 10);
    let service = &of_kind(&objects, Kind::VirtualService)[0]["spec"];
    assert_eq!(service["hosts"], json!(["vectors.example.org"]));
    assert_eq!(weights(&service["http"][2]["route"]), [90, 10]);
    assert_eq!(service["http"][0]["match"][0]["headers"]["canary"]["exact"], "blue");
    assert_eq!(of_kind(&objects, Kind::DestinationRule).len(), 2);

    let objects = with_router(RouterKind::NginxIngress, 10);
    let canary = &of_kind(&objects, Kind::Ingress)[1];
    assert_eq!(canary["metadata"]["annotations"]["nginx.ingress.kubernetes.io/canary-weight"], "10");
}

#[test]
fn beside_a_router_with_shares_the_service_leads_to_who_may_write() {
    let objects = with_router(RouterKind::HttpRoute, 90);
    assert_eq!(find(&objects, "jadevectordb-service")["spec"]["selector"]["version"], "blue");
}

#[test]
fn our_own_gateway_stands_behind_the_main_service() {
    let objects = with_router(RouterKind::Gateway, 10);
    let selector = &find(&objects, "jadevectordb-service")["spec"]["selector"];
    assert_eq!(*selector, json!({"app": "jadevectordb", "component": "gateway"}));
    let gateway = &find(&objects, "jadevectordb-gateway")["spec"];
    assert_eq!(gateway["template"]["spec"]["containers"][0]["image"], "jadeshift:x");
    assert_eq!(gateway["selector"]["matchLabels"], *selector);
    assert_eq!(gateway["template"]["metadata"]["labels"].get("version"), None, "it is of no environment");
}
