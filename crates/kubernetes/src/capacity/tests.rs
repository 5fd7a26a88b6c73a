use super::*;

fn of(amounts: &[(&str, &str)]) -> Amounts {
    amounts.iter().map(|(name, amount)| ((*name).into(), Quantity::parse(amount).unwrap())).collect()
}

/// One pod and its volume.
fn need(requests: &[(&str, &str)]) -> Need {
    Need {
        pods: 1,
        each: PodAmounts { requests: of(requests), limits: Amounts::new() },
        claims: 1,
        storage: Quantity::parse("1Gi").unwrap(),
        ..Need::default()
    }
}

fn node(name: &str, allocatable: &[(&str, &str)], used: &[(&str, &str)]) -> NodeRoom {
    let mut node = NodeRoom { name: name.into(), takes_pods: true, allocatable: of(allocatable), used: of(used) };
    node.allocatable.entry("pods".into()).or_insert(Quantity::whole(110));
    node
}

fn nodes(nodes: &[NodeRoom]) -> Cluster {
    Cluster { nodes: Some(nodes.to_vec()), ..Cluster::default() }
}

fn quota(hard: &[(&str, &str)], used: &[(&str, &str)]) -> Cluster {
    let quota = Quota { name: "tight".into(), hard: of(hard), used: of(used) };
    let class = Class { name: "folders".into(), is_default: true };
    Cluster { quotas: Some(vec![quota]), classes: Some(vec![class]), nodes: None }
}

fn classes(classes: &[(&str, bool)]) -> Cluster {
    let class = |(name, is_default): &(&str, bool)| Class { name: (*name).into(), is_default: *is_default };
    Cluster { classes: Some(classes.iter().map(class).collect()), ..Cluster::default() }
}

const SMALL: [(&str, &str); 2] = [("cpu", "10m"), ("memory", "64Mi")];

#[test]
fn what_nobody_could_look_at_is_no_reason_to_refuse() {
    assert_eq!(shortfall(&need(&[("cpu", "1e9")]), &Cluster::default()), None);
}

#[test]
fn a_pod_must_fit_on_one_node_and_not_on_all_of_them_together() {
    let two = [("cpu", "2"), ("memory", "4Gi")];
    let cluster = nodes(&[
        node("node-a", &two, &[("cpu", "1500m"), ("memory", "1Gi")]),
        node("node-b", &two, &[("cpu", "200m"), ("memory", "3Gi")]),
    ]);
    assert_eq!(shortfall(&need(&[("cpu", "1800m"), ("memory", "1Gi")]), &cluster), None, "node-b has just that");
    assert_eq!(shortfall(&need(&[("cpu", "500m"), ("memory", "3Gi")]), &cluster), None, "node-a has just that");
    assert_eq!(
        shortfall(&need(&[("cpu", "1"), ("memory", "2Gi")]), &cluster).as_deref(),
        Some(
            "no node has room for its pod, which asks for cpu 1 and memory 2Gi: most is left on node-b, memory 1Gi of \
             4Gi; ask for less in spec.cluster.resources.requests, free some, or add a node"
        )
    );
    let larger_than_all = shortfall(&need(&[("memory", "64Gi")]), &cluster).unwrap();
    assert!(larger_than_all.contains("asks for memory 64Gi: most is left on node-a, memory 3Gi of 4Gi"));
    // A byte too much is seen as such.
    let byte = shortfall(&need(&[("memory", "3221225473")]), &cluster).unwrap();
    assert!(byte.contains("asks for memory 3.1Gi") && byte.contains("memory 3Gi of 4Gi"), "{byte}");
}

#[test]
fn what_a_node_does_not_have_at_all_fits_nowhere() {
    let cluster = nodes(&[node("node-a", &[("cpu", "2")], &[])]);
    let lacks = shortfall(&need(&[("nvidia.com/gpu", "1")]), &cluster).unwrap();
    assert!(lacks.contains("most is left on node-a, nvidia.com/gpu 0 of 0"), "{lacks}");
}

#[test]
fn nodes_that_take_no_pods_do_not_count() {
    let open = node("node-a", &[("cpu", "1"), ("memory", "1Gi")], &[("cpu", "995m")]);
    let closed = NodeRoom { takes_pods: false, ..node("node-b", &[("cpu", "8"), ("memory", "8Gi")], &[]) };
    let lacks = shortfall(&need(&SMALL), &nodes(&[open, closed.clone()])).unwrap();
    assert!(lacks.contains("node-a, cpu 5m of 1 (1 more cordoned or tainted); ask for less"), "{lacks}");
    assert_eq!(
        shortfall(&need(&SMALL), &nodes(&[closed])).as_deref(),
        Some("no node takes pods (1 cordoned or tainted): uncordon one, remove a taint, or add a node")
    );
}

#[test]
fn a_node_takes_so_many_pods_and_no_more() {
    let allocatable = [("cpu", "8"), ("memory", "8Gi"), ("pods", "10")];
    assert_eq!(shortfall(&need(&SMALL), &nodes(&[node("node-a", &allocatable, &[("pods", "9")])])), None);
    let lacks = shortfall(&need(&SMALL), &nodes(&[node("node-a", &allocatable, &[("pods", "10")])])).unwrap();
    assert!(lacks.contains("most is left on node-a, pods 0 of 10;"), "{lacks}");
    let silent = shortfall(&need(&[]), &nodes(&[node("node-a", &allocatable, &[("pods", "10")])])).unwrap();
    assert!(silent.starts_with("no node has room for its pod: most is left on node-a, pods 0 of 10;"), "{silent}");
}

#[test]
fn of_several_pods_each_needs_a_place() {
    let free = [("cpu", "1"), ("memory", "1Gi")];
    let three = Need { pods: 3, ..need(&[("cpu", "400m"), ("memory", "64Mi")]) };
    assert_eq!(shortfall(&three, &nodes(&[node("node-a", &free, &[]), node("node-b", &free, &[])])), None);
    let lacks = shortfall(&three, &nodes(&[node("node-a", &free, &[])])).unwrap();
    let said = "the nodes have room for 2 of its 3 pods, each of which asks for cpu 400m and memory 64Mi: most is left on \
                node-a, cpu 1 of 1;";
    assert!(lacks.starts_with(said), "{lacks}");
}

#[test]
fn a_quota_leaves_what_is_not_used_and_what_is_given_back() {
    let cluster = quota(&[("requests.memory", "100Mi")], &[("requests.memory", "64Mi")]);
    let fresh = need(&SMALL);
    assert_eq!(
        shortfall(&fresh, &cluster).as_deref(),
        Some(
            "the quota tight leaves 36Mi of 100Mi for requests.memory, and 64Mi is needed: raise it, or ask for less in \
             spec.cluster.resources"
        )
    );
    assert_eq!(shortfall(&fresh, &quota(&[("requests.memory", "128Mi")], &[("requests.memory", "64Mi")])), None);
    // The pod that is replaced gives back as much.
    let again = Need { replaced: vec![fresh.each.clone()], ..fresh };
    assert_eq!(shortfall(&again, &cluster), None);
}

#[test]
fn every_name_of_a_quota_is_counted() {
    let mut need = Need { pods: 2, claims: 2, ..need(&SMALL) };
    need.each.limits = of(&[("cpu", "1"), ("memory", "128Mi")]);
    need.each.requests.insert("nvidia.com/gpu".into(), Quantity::whole(1));
    for (name, hard, said) in [
        ("cpu", "19m", "leaves 19m of 19m for cpu, and 20m is needed"),
        ("requests.cpu", "19m", "leaves 19m of 19m for requests.cpu, and 20m is needed"),
        ("memory", "100Mi", "leaves 100Mi of 100Mi for memory, and 128Mi is needed"),
        ("limits.cpu", "1999m", "leaves 1999m of 1999m for limits.cpu, and 2 is needed"),
        ("limits.memory", "200Mi", "leaves 200Mi of 200Mi for limits.memory, and 256Mi is needed"),
        ("requests.nvidia.com/gpu", "1", "leaves 1 of 1 for requests.nvidia.com/gpu, and 2 is needed"),
        ("pods", "1", "leaves 1 of 1 for pods, and 2 is needed: raise it, or remove pods that nobody needs"),
        ("count/pods", "1", "leaves 1 of 1 for count/pods, and 2 is needed"),
        (
            "persistentvolumeclaims",
            "1",
            "leaves 1 of 1 for persistentvolumeclaims, and 2 is needed: raise it, or remove",
        ),
        ("count/persistentvolumeclaims", "0", "leaves 0 of 0 for count/persistentvolumeclaims, and 2 is needed"),
        (
            "requests.storage",
            "1.5Gi",
            "leaves 1.5Gi of 1.5Gi for requests.storage, and 2Gi is needed: raise it, or ask for less in spec.cluster.storage",
        ),
        ("folders.storageclass.storage.k8s.io/requests.storage", "1Gi", "leaves 1Gi of 1Gi for folders.storageclass"),
        ("folders.storageclass.storage.k8s.io/persistentvolumeclaims", "1", "leaves 1 of 1 for folders.storageclass"),
    ] {
        let lacks = shortfall(&need, &quota(&[(name, hard)], &[])).unwrap_or_else(|| panic!("{name} is not counted"));
        assert!(lacks.starts_with(&format!("the quota tight {said}")), "{lacks}");
        assert_eq!(shortfall(&need, &quota(&[(name, "100Gi")], &[])), None, "{name}");
    }
    for others in ["services", "secrets", "count/deployments.apps", "fast.storageclass.storage.k8s.io/requests.storage"]
    {
        assert_eq!(shortfall(&need, &quota(&[(others, "0")], &[])), None, "{others}");
    }
}

#[test]
fn a_quota_refuses_pods_that_do_not_say_what_it_counts() {
    let cluster = quota(&[("limits.memory", "1Gi")], &[]);
    assert_eq!(
        shortfall(&need(&SMALL), &cluster).as_deref(),
        Some(
            "the quota tight wants every pod to say its limits.memory, and spec.cluster.resources.limits.memory is not \
             set: set it"
        )
    );
    assert_eq!(shortfall(&need(&SMALL), &quota(&[("requests.ephemeral-storage", "1Gi")], &[])), None);
}

#[test]
fn a_volume_needs_a_storage_class_unless_it_is_there() {
    let named = |name: &str| Need { class_name: Some(name.into()), ..need(&SMALL) };
    assert_eq!(
        shortfall(&named("fast"), &classes(&[("folders", true), ("slow", false)])).as_deref(),
        Some(
            "there is no storage class `fast` (spec.cluster.storage.className) for its volume: make it, or set \
             spec.cluster.storage.className to one that is there: folders, slow"
        )
    );
    assert_eq!(
        shortfall(&need(&SMALL), &classes(&[("slow", false)])).as_deref(),
        Some(
            "no storage class is the default, and spec.cluster.storage.className names none: make one the default, or \
             set spec.cluster.storage.className to one that is there: slow"
        )
    );
    let none = shortfall(&need(&SMALL), &classes(&[])).unwrap();
    assert!(none.ends_with("make one the default; the cluster has none at all"), "{none}");
    for (fits, there) in [
        (named("slow"), classes(&[("slow", false)])),
        (need(&SMALL), classes(&[("slow", true)])),
        // A volume that somebody made.
        (named(""), classes(&[])),
        // It has its volume already.
        (Need { claims: 0, ..named("fast") }, classes(&[])),
    ] {
        assert_eq!(shortfall(&fits, &there), None);
    }
}

#[test]
fn everything_that_is_short_is_said_at_once() {
    let mut cluster = quota(&[("pods", "0"), ("requests.storage", "0")], &[]);
    cluster.nodes = Some(vec![]);
    let lacks = shortfall(&Need { class_name: Some("fast".into()), ..need(&SMALL) }, &cluster).unwrap();
    let said: Vec<&str> = lacks.split("; ").collect();
    assert_eq!(said.len(), 4, "{lacks}");
    assert!(said[0].contains("no storage class `fast`") && said[3].starts_with("no node takes pods (0 cordoned"));
}
