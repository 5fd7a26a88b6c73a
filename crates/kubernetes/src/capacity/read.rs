//! Objects of the cluster as the values that count. Values in, values out.

use super::{Amounts, Class, NodeRoom, PodAmounts, Quantity, Quota};
use k8s_openapi::api::core::v1::{
    Container, Node, Pod, PodSpec, ResourceQuota, ResourceRequirements, ScopedResourceSelectorRequirement,
};
use k8s_openapi::api::storage::v1::StorageClass;
use k8s_openapi::apimachinery::pkg::api::resource::Quantity as Written;
use kube::ResourceExt;
use std::collections::BTreeMap;
use wire::document::Resources;

/// Our container in the pod of a node.
const NODE_CONTAINER: &str = "jadevectordb";
const DEFAULT_CLASS: [&str; 2] =
    ["storageclass.kubernetes.io/is-default-class", "storageclass.beta.kubernetes.io/is-default-class"];

type WrittenAmounts = BTreeMap<String, Written>;

/// What cannot be read is left out.
fn amounts(written: Option<&WrittenAmounts>) -> Amounts {
    let read = |(name, amount): (&String, &Written)| Some((name.clone(), Quantity::parse(&amount.0)?));
    written.into_iter().flatten().filter_map(read).collect()
}

fn add(sum: &mut Amounts, more: &Amounts) {
    for (name, amount) in more {
        let all = sum.entry(name.clone()).or_default();
        *all = all.plus(*amount);
    }
}

/// A pod runs there: it takes what it asks for, and one of the places for pods.
pub(super) fn take(used: &mut Amounts, spec: &PodSpec) {
    add(used, &total(spec, |resources| resources.requests.as_ref()));
    add(used, &Amounts::from([("pods".into(), Quantity::whole(1))]));
}

pub(super) fn of_pod(spec: &PodSpec) -> PodAmounts {
    let requests = total(spec, |resources| resources.requests.as_ref());
    let limits = total(spec, |resources| resources.limits.as_ref());
    PodAmounts { requests, limits }
}

/// As the scheduler adds up: what runs at the same time, and at least what any step of the start needs.
fn total(spec: &PodSpec, part: fn(&ResourceRequirements) -> Option<&WrittenAmounts>) -> Amounts {
    let of = |container: &Container| amounts(container.resources.as_ref().and_then(part));
    let (mut all, mut at_start) = (Amounts::new(), Amounts::new());
    for container in spec.init_containers.iter().flatten() {
        let mut now = all.clone();
        add(&mut now, &of(container));
        raise(&mut at_start, &now);
        // One that is always restarted goes on beside the others.
        if container.restart_policy.as_deref() == Some("Always") {
            all = now;
        }
    }
    for container in &spec.containers {
        add(&mut all, &of(container));
    }
    raise(&mut all, &at_start);
    all.extend(amounts(spec.resources.as_ref().and_then(part)));
    let mut overhead = amounts(spec.overhead.as_ref());
    overhead.retain(|name, _| all.contains_key(name));
    add(&mut all, &overhead);
    all
}

fn raise(least: &mut Amounts, to: &Amounts) {
    for (name, amount) in to {
        let now = least.entry(name.clone()).or_default();
        *now = (*now).max(*amount);
    }
}

/// A node's pod as it will be: as the cluster made the last one, with what the document says now. So what others add to
/// every pod of the namespace counts, be it a container or an amount that was left out.
pub(super) fn planned(last: Option<&Pod>, resources: &Resources) -> PodAmounts {
    let mut spec = last.and_then(|pod| pod.spec.clone()).unwrap_or_default();
    let place = spec.containers.iter().position(|container| container.name == NODE_CONTAINER);
    let place = place.unwrap_or_else(|| {
        spec.containers.push(Container { name: NODE_CONTAINER.into(), ..Container::default() });
        spec.containers.len() - 1
    });
    let given = spec.containers[place].resources.get_or_insert_default();
    let written = |amounts: &BTreeMap<String, String>| {
        amounts.iter().map(|(name, amount)| (name.clone(), Written(amount.clone()))).collect::<WrittenAmounts>()
    };
    let (requests, limits) = (written(&resources.requests), written(&resources.limits));
    given.limits.get_or_insert_default().extend(limits.clone());
    // Who may use so much and asks for nothing asks for as much.
    let asked = given.requests.get_or_insert_default();
    asked.extend(limits);
    asked.extend(requests);
    of_pod(&spec)
}

/// `used`: by the pods on it.
pub(super) fn node(node: &Node, used: Amounts) -> NodeRoom {
    let keeps_out = |effect: &str| matches!(effect, "NoSchedule" | "NoExecute");
    let spec = node.spec.as_ref();
    let cordoned = spec.is_some_and(|spec| spec.unschedulable == Some(true));
    let tainted = spec.is_some_and(|spec| spec.taints.iter().flatten().any(|taint| keeps_out(&taint.effect)));
    let allocatable = amounts(node.status.as_ref().and_then(|status| status.allocatable.as_ref()));
    NodeRoom { name: node.name_any(), takes_pods: !cordoned && !tainted, allocatable, used }
}

/// `None`: it does not count pods that ask for as much as `each`.
pub(super) fn quota(quota: &ResourceQuota, each: &PodAmounts) -> Option<Quota> {
    let spec = quota.spec.as_ref()?;
    let selected = spec.scope_selector.iter().flat_map(|selector| selector.match_expressions.iter().flatten());
    let counts = spec.scopes.iter().flatten().all(|scope| is_in_scope(scope, each))
        && selected.into_iter().all(|requirement| is_selected(requirement, each));
    let used = quota.status.as_ref().and_then(|status| status.used.as_ref());
    counts.then(|| Quota { name: quota.name_any(), hard: amounts(spec.hard.as_ref()), used: amounts(used) })
}

/// Ours have no priority, no deadline, and no affinity to pods of other namespaces.
fn is_in_scope(scope: &str, each: &PodAmounts) -> bool {
    let says = |amounts: &Amounts| {
        ["cpu", "memory"].iter().any(|name| amounts.get(*name).is_some_and(|amount| *amount > Quantity::ZERO))
    };
    let best_effort = !says(&each.requests) && !says(&each.limits);
    match scope {
        "NotTerminating" => true,
        "BestEffort" => best_effort,
        "NotBestEffort" => !best_effort,
        _ => false,
    }
}

fn is_selected(requirement: &ScopedResourceSelectorRequirement, each: &PodAmounts) -> bool {
    let within = is_in_scope(&requirement.scope_name, each);
    match requirement.operator.as_str() {
        "DoesNotExist" | "NotIn" => !within,
        _ => within,
    }
}

pub(super) fn class(class: &StorageClass) -> Class {
    let annotations = class.annotations();
    let is_default = DEFAULT_CLASS.iter().any(|name| annotations.get(*name).is_some_and(|value| value == "true"));
    Class { name: class.name_any(), is_default }
}

#[cfg(test)]
mod tests;
