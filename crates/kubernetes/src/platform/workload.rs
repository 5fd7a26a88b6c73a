//! What the pods of an environment say about its node.

use crate::names::{ADMIN_PORT, HTTP_PORT, VERSION_ANNOTATION};
use crate::store::has_ended;
use conductor::WorkloadObservation;
use k8s_openapi::api::core::v1::{ContainerStatus, Pod, PodCondition};
use kube::ResourceExt;
use kube::api::DynamicObject;
use std::sync::Arc;
use wire::admin::Peer;

/// Why a container that waits will not start by itself, or not soon.
const TROUBLES: [&str; 8] = [
    "CrashLoopBackOff",
    "ImagePullBackOff",
    "ErrImagePull",
    "ErrImageNeverPull",
    "InvalidImageName",
    "CreateContainerConfigError",
    "CreateContainerError",
    "RunContainerError",
];

/// Nothing shall run, the controller knows it, and no pod is known: worth asking whether that is really so.
pub(super) fn may_be_gone(deployment: Option<&DynamicObject>, pods: &[Arc<Pod>]) -> bool {
    let Some(deployment) = deployment else { return pods.is_empty() };
    let number = |path: &str| deployment.data.pointer(path).and_then(serde_json::Value::as_i64);
    let settled = number("/status/observedGeneration") == deployment.metadata.generation;
    number("/spec/replicas") == Some(0)
        && settled
        && number("/status/replicas").unwrap_or(0) == 0
        && pods.iter().all(|pod| has_ended(pod))
}

/// `version`: what a pod runs that does not say it.
pub(super) fn observe(
    deployment: Option<&DynamicObject>,
    pods: &[Arc<Pod>],
    gone: bool,
    version: &str,
    admin_token: &str,
) -> WorkloadObservation {
    if gone {
        return WorkloadObservation::Stopped;
    }
    let living = pods.iter().filter(|pod| !has_ended(pod));
    // The one that stays, or else the one that is ending: its process is still there.
    let pod = living.min_by_key(|pod| (pod.metadata.deletion_timestamp.is_some(), pod.creation_timestamp()));
    let version_of = |pod: &Pod| pod.annotations().get(VERSION_ANNOTATION).cloned().unwrap_or_else(|| version.into());
    let Some(pod) = pod else {
        let template = deployment.and_then(version_of_template).unwrap_or(version);
        return WorkloadObservation::Starting { version: template.into(), why: without_pod(deployment) };
    };
    let version = version_of(pod);
    if let Some(why) = trouble(pod) {
        return WorkloadObservation::Crashed { version, why };
    }
    match address(pod) {
        None => WorkloadObservation::Starting { version, why: without_address(pod) },
        Some(ip) => {
            let peer = Peer { admin: at(&ip, ADMIN_PORT), http: at(&ip, HTTP_PORT) };
            WorkloadObservation::Running { version, peer, admin_token: admin_token.into() }
        }
    }
}

fn version_of_template(deployment: &DynamicObject) -> Option<&str> {
    // A `/` in the name of a field is written `~1` in a pointer.
    let annotation = VERSION_ANNOTATION.replace('/', "~1");
    deployment.data.pointer(&format!("/spec/template/metadata/annotations/{annotation}"))?.as_str()
}

/// What is said of a node that no pod is there of: a quota that is full speaks here, and nowhere else.
fn without_pod(deployment: Option<&DynamicObject>) -> String {
    let conditions = deployment.and_then(|deployment| deployment.data.pointer("/status/conditions")?.as_array());
    let refused = conditions
        .into_iter()
        .flatten()
        .find(|condition| condition["type"] == "ReplicaFailure" && condition["status"] == "True");
    match refused.and_then(|condition| condition["message"].as_str()) {
        Some(message) => format!("no pod of it is there: {message}"),
        None => "no pod of it is there".into(),
    }
}

/// The same of one whose pod cannot be spoken to yet, in the cluster's own words.
fn without_address(pod: &Pod) -> String {
    let status = pod.status.as_ref();
    let waiting = |container: &ContainerStatus| {
        let waiting = container.state.as_ref()?.waiting.as_ref()?;
        Some((waiting.reason.clone()?, waiting.message.clone()))
    };
    let of_container = status.and_then(|status| status.container_statuses.iter().flatten().find_map(waiting));
    let of_pod = || {
        let conditions = status.iter().flat_map(|status| status.conditions.iter().flatten());
        let unscheduled = |condition: &&PodCondition| condition.type_ == "PodScheduled" && condition.status == "False";
        let condition = conditions.into_iter().find(unscheduled)?;
        Some((condition.reason.clone()?, condition.message.clone()))
    };
    let name = pod.name_any();
    match of_container.or_else(of_pod) {
        Some((reason, Some(message))) => format!("its pod {name} has no address yet: {reason}: {message}"),
        Some((reason, None)) => format!("its pod {name} has no address yet: {reason}"),
        None => format!("its pod {name} has no address yet"),
    }
}

/// The kubelet says that it accepts requests.
pub(super) fn is_ready(pod: &Pod) -> bool {
    let conditions = pod.status.iter().flat_map(|status| status.conditions.iter().flatten());
    conditions.into_iter().any(|condition| condition.type_ == "Ready" && condition.status == "True")
}

pub(super) fn address(pod: &Pod) -> Option<String> {
    pod.status.as_ref().and_then(|status| status.pod_ip.clone())
}

pub(super) fn at(ip: &str, port: u16) -> String {
    match ip.contains(':') {
        true => format!("[{ip}]:{port}"),
        false => format!("{ip}:{port}"),
    }
}

/// Why the pod does not come up, in the cluster's own words.
fn trouble(pod: &Pod) -> Option<String> {
    let status = pod.status.as_ref()?;
    let unscheduled = status.conditions.iter().flatten().find(|condition| {
        condition.type_ == "PodScheduled"
            && condition.status == "False"
            && condition.reason.as_deref() == Some("Unschedulable")
    });
    if let Some(condition) = unscheduled {
        return Some(format!("no node takes its pod: {}", condition.message.as_deref().unwrap_or_default()));
    }
    status.container_statuses.iter().flatten().find_map(container_trouble)
}

fn container_trouble(container: &ContainerStatus) -> Option<String> {
    let waiting = container.state.as_ref()?.waiting.as_ref()?;
    let reason = waiting.reason.as_deref().filter(|reason| TROUBLES.contains(reason))?;
    let message = waiting.message.as_deref().unwrap_or_default();
    let ended = container.last_state.as_ref().and_then(|last| last.terminated.as_ref());
    let ended = ended.map_or_else(String::new, |ended| {
        let lines = || ended.message.iter().flat_map(|message| message.trim_end().lines());
        // Behind an error there may be advice.
        let words = lines().rfind(|line| line.to_ascii_lowercase().contains("error")).or_else(|| lines().last());
        let words = words.map_or_else(String::new, |words| format!(": {words}"));
        format!("; it ended with code {}{words}", ended.exit_code)
    });
    Some(format!("{reason}: {message}{ended}"))
}

#[cfg(test)]
mod tests;
