use super::*;
use serde_json::{Value, json};

fn pod(status: Value) -> Arc<Pod> {
    let pod = json!({
        "metadata": {"name": "shop-green-7", "annotations": {VERSION_ANNOTATION: "1.1.0"}},
        "status": status,
    });
    Arc::new(serde_json::from_value(pod).unwrap())
}

fn deployment(status: Value) -> DynamicObject {
    serde_json::from_value(json!({
        "apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "shop-green"},
        "spec": {"replicas": 1, "template": {"metadata": {"annotations": {VERSION_ANNOTATION: "1.1.0"}}}},
        "status": status,
    }))
    .unwrap()
}

/// Why a node is on its way, which it must be.
fn why(deployment: Option<&DynamicObject>, pods: &[Arc<Pod>]) -> String {
    match observe(deployment, pods, false, "1.0.0", "t") {
        WorkloadObservation::Starting { version, why } => format!("{version}: {why}"),
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_pod_without_an_address_says_what_it_waits_for() {
    let creating = json!({
        "phase": "Pending",
        "containerStatuses": [{
            "name": "jadevectordb", "image": "x", "imageID": "", "ready": false, "restartCount": 0,
            "state": {"waiting": {"reason": "ContainerCreating"}},
        }],
    });
    assert_eq!(why(None, &[pod(creating)]), "1.1.0: its pod shop-green-7 has no address yet: ContainerCreating");
    let gated = json!({
        "phase": "Pending",
        "conditions": [{"type": "PodScheduled", "status": "False", "reason": "SchedulingGated", "message": "held"}],
    });
    assert_eq!(why(None, &[pod(gated)]), "1.1.0: its pod shop-green-7 has no address yet: SchedulingGated: held");
    assert_eq!(why(None, &[pod(json!({}))]), "1.1.0: its pod shop-green-7 has no address yet");
}

#[test]
fn without_a_pod_the_deployment_says_why() {
    assert_eq!(why(None, &[]), "1.0.0: no pod of it is there");
    assert_eq!(why(Some(&deployment(json!({}))), &[]), "1.1.0: no pod of it is there");
    let conditions = json!([
        {"type": "Progressing", "status": "True", "message": "it goes on"},
        {"type": "ReplicaFailure", "status": "True", "message": "pods is forbidden: exceeded quota: tight"},
    ]);
    let refused = deployment(json!({"conditions": conditions}));
    assert_eq!(why(Some(&refused), &[]), "1.1.0: no pod of it is there: pods is forbidden: exceeded quota: tight");
    // What has ended is no pod any more.
    let ended = pod(json!({"phase": "Failed", "podIP": "10.244.0.7"}));
    assert!(why(Some(&refused), &[ended]).contains("exceeded quota"));
}

#[test]
fn a_pod_with_an_address_runs_and_one_that_no_node_takes_does_not() {
    let WorkloadObservation::Running { version, peer, .. } =
        observe(None, &[pod(json!({"phase": "Running", "podIP": "10.244.0.7"}))], false, "1.0.0", "t")
    else {
        panic!("it does not run");
    };
    assert_eq!((version.as_str(), peer.admin.as_str()), ("1.1.0", "10.244.0.7:8081"));
    let unschedulable = json!({
        "phase": "Pending",
        "conditions": [{"type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": "0/1 nodes"}],
    });
    let crashed = observe(None, &[pod(unschedulable)], false, "1.0.0", "t");
    let why = "no node takes its pod: 0/1 nodes".to_string();
    assert_eq!(crashed, WorkloadObservation::Crashed { version: "1.1.0".into(), why });
}
