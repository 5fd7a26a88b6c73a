//! Looking at the cluster for room, with the rights that the operator has for it. Where it has none, nothing is refused:
//! whoever installed it for one namespace only wants it that way.

use super::read;
use super::{Amounts, Class, Cluster, Need, NodeRoom, PodAmounts, Quantity, Quota, shortfall};
use crate::names::Names;
use crate::store::{Stores, has_ended};
use k8s_openapi::api::core::v1::{Node, PersistentVolumeClaim, Pod, ResourceQuota};
use k8s_openapi::api::storage::v1::StorageClass;
use kube::api::{Api, ListParams};
use kube::{Client, ResourceExt};
use serde::de::DeserializeOwned;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Debug;
use std::time::Duration;
use wire::document::BlueGreen;
use wire::{Colour, Member};

/// How long a look may take. Whoever asked for the rollout waits for less than 10 s.
const LOOK_TIMEOUT: Duration = Duration::from_secs(5);
/// Objects that are listed at once.
const PAGE: u32 = 500;

/// A version that is to be brought in.
#[derive(Debug, Clone, Copy)]
pub struct Plan<'a> {
    pub names: &'a Names,
    pub document: &'a BlueGreen,
    /// Where it shall run.
    pub colour: Colour,
    /// Number of the head there.
    pub head: u8,
}

/// What the cluster lacks for it; `None`: nothing that is known.
pub async fn check(client: &Client, stores: &Stores, plan: Plan<'_>) -> Option<String> {
    let living = |colour| {
        let mut pods = stores.pods(plan.names, colour);
        pods.retain(|pod| !has_ended(pod));
        pods
    };
    // Pods of this environment end before the new ones start: they would share a folder.
    let (replaced, others) = (living(plan.colour), living(plan.colour.other()));
    let cluster = &plan.document.spec.cluster;
    let last = others.iter().chain(&replaced).max_by_key(|pod| pod.creation_timestamp());
    let each = read::planned(last.map(|pod| &**pod), &cluster.resources);
    let ended: BTreeSet<String> = replaced.iter().filter_map(|pod| pod.uid()).collect();
    let namespace = &plan.names.namespace;
    let (nodes, quotas, classes, claims) = tokio::join!(
        known("the nodes and their pods", nodes(client, &ended)),
        known("the quotas of the namespace", quotas(client, namespace, &each)),
        known("the storage classes", classes(client)),
        known("the claims", claims_missing(client, plan)),
    );
    let need = Need {
        pods: members(plan).count(),
        each,
        replaced: replaced.iter().filter_map(|pod| pod.spec.as_ref()).map(read::of_pod).collect(),
        claims: claims.unwrap_or(0),
        storage: Quantity::parse(&cluster.storage.size).unwrap_or_default(),
        class_name: cluster.storage.class_name.clone(),
    };
    shortfall(&need, &Cluster { nodes, quotas, classes })
}

/// What could be looked at in time.
async fn known<T>(what: &str, look: impl Future<Output = Result<T, kube::Error>>) -> Option<T> {
    let why = match tokio::time::timeout(LOOK_TIMEOUT, look).await {
        Ok(Ok(found)) => return Some(found),
        Ok(Err(error)) => error.to_string(),
        Err(_) => format!("not within {} s", LOOK_TIMEOUT.as_secs()),
    };
    tracing::warn!(%why, "a rollout begins without a look at {what}: whether there is room is not checked");
    None
}

/// The nodes that will run: those that are asked for, and the head whatever its number.
fn members(plan: Plan<'_>) -> impl Iterator<Item = Member> {
    let replicas = plan.document.spec.replicas;
    let beyond = Some(plan.head).filter(|head| *head >= replicas);
    (0..replicas).chain(beyond).map(move |number| Member::new(plan.colour, number))
}

async fn nodes(client: &Client, ended: &BTreeSet<String>) -> Result<Vec<NodeRoom>, kube::Error> {
    let mut used: BTreeMap<String, Amounts> = BTreeMap::new();
    let running = "spec.nodeName!=,status.phase!=Succeeded,status.phase!=Failed";
    each(&Api::all(client.clone()), ListParams::default().fields(running), |pod: Pod| {
        let is_ended = pod.uid().is_some_and(|uid| ended.contains(&uid));
        let Some(spec) = pod.spec.filter(|_| !is_ended) else { return };
        let Some(node) = &spec.node_name else { return };
        read::take(used.entry(node.clone()).or_default(), &spec);
    })
    .await?;
    let mut nodes = Vec::new();
    each(&Api::all(client.clone()), ListParams::default(), |node: Node| {
        let used = used.remove(&node.name_any()).unwrap_or_default();
        nodes.push(read::node(&node, used));
    })
    .await?;
    Ok(nodes)
}

async fn quotas(client: &Client, namespace: &str, of: &PodAmounts) -> Result<Vec<Quota>, kube::Error> {
    let mut quotas = Vec::new();
    let api: Api<ResourceQuota> = Api::namespaced(client.clone(), namespace);
    each(&api, ListParams::default(), |quota| quotas.extend(read::quota(&quota, of))).await?;
    Ok(quotas)
}

async fn classes(client: &Client) -> Result<Vec<Class>, kube::Error> {
    let mut classes = Vec::new();
    let api: Api<StorageClass> = Api::all(client.clone());
    each(&api, ListParams::default(), |class| classes.push(read::class(&class))).await?;
    Ok(classes)
}

/// How many claims will be made. Asked of the API server: a person may have made one without our labels.
async fn claims_missing(client: &Client, plan: Plan<'_>) -> Result<usize, kube::Error> {
    let api: Api<PersistentVolumeClaim> = Api::namespaced(client.clone(), &plan.names.namespace);
    let mut missing = 0;
    for member in members(plan) {
        missing += usize::from(api.get_metadata_opt(&plan.names.claim(member)).await?.is_none());
    }
    Ok(missing)
}

/// Tells of every object, a page at a time, so that a large cluster is not held in memory.
async fn each<K>(api: &Api<K>, parameters: ListParams, mut tell: impl FnMut(K)) -> Result<(), kube::Error>
where
    K: Clone + DeserializeOwned + Debug,
{
    let mut parameters = parameters.limit(PAGE);
    loop {
        let page = api.list(&parameters).await?;
        page.items.into_iter().for_each(&mut tell);
        match page.metadata.continue_.filter(|token| !token.is_empty()) {
            Some(token) => parameters = parameters.continue_token(&token),
            None => return Ok(()),
        }
    }
}

#[cfg(test)]
mod tests;
