//! What is there, as the API server's watches tell it. Reading costs no call.

use crate::build::Kind;
use crate::error::Error;
use crate::names::{DEPLOYMENT_LABEL, NODE_LABEL, Names};
use backon::ExponentialBuilder;
use futures_util::StreamExt;
use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::api::discovery::v1::EndpointSlice;
use kube::api::{Api, ApiResource, DynamicObject, GroupVersionKind};
use kube::runtime::reflector::store::Writer;
use kube::runtime::reflector::{ObjectRef, Store};
use kube::runtime::watcher::ExponentialBackoff;
use kube::runtime::{WatchStreamExt, watcher};
use kube::{Client, Resource, ResourceExt};
use serde::de::DeserializeOwned;
use std::collections::BTreeMap;
use std::fmt::Debug;
use std::hash::Hash;
use std::sync::Arc;
use std::time::Duration;
use tokio::task::JoinSet;
use wire::{Colour, Member};

/// Everything that bears our label; ends its watches when dropped.
pub struct Stores {
    objects: BTreeMap<Kind, Store<DynamicObject>>,
    pods: Store<Pod>,
    slices: Store<EndpointSlice>,
    _watches: JoinSet<()>,
}

impl Stores {
    /// Begins to watch `namespace`, or all of them, and returns when everything was listed once.
    ///
    /// # Errors
    /// When a kind cannot be listed within the client's time limit.
    pub async fn start(client: &Client, namespace: Option<&str>) -> Result<Self, Error> {
        let mut watches = JoinSet::new();
        let mut objects = BTreeMap::new();
        let mut kinds = Kind::EVERYWHERE.to_vec();
        for kind in Kind::WHERE_INSTALLED {
            if is_there(client, kind).await? {
                kinds.push(kind);
            }
        }
        for kind in kinds {
            let resource = api_resource(kind);
            let api: Api<DynamicObject> = match namespace {
                Some(namespace) => Api::namespaced_with(client.clone(), namespace, &resource),
                None => Api::all_with(client.clone(), &resource),
            };
            objects.insert(kind, watch(&mut watches, api, resource));
        }
        let pods = watch(&mut watches, of(client, namespace), ());
        let slices = watch(&mut watches, of(client, namespace), ());
        let stores = Self { objects, pods, slices, _watches: watches };
        for (kind, store) in &stores.objects {
            listed(store, kind.as_str()).await?;
        }
        listed(&stores.pods, "Pod").await?;
        listed(&stores.slices, "EndpointSlice").await?;
        Ok(stores)
    }

    /// Whether the cluster knew this kind when the operator began.
    pub fn knows(&self, kind: Kind) -> bool {
        self.objects.contains_key(&kind)
    }

    pub fn object(&self, kind: Kind, names: &Names, name: &str) -> Option<Arc<DynamicObject>> {
        let reference = ObjectRef::new_with(name, api_resource(kind)).within(&names.namespace);
        self.objects.get(&kind)?.get(&reference)
    }

    /// The pods of an environment.
    pub fn pods(&self, names: &Names, colour: Colour) -> Vec<Arc<Pod>> {
        let ours = |pod: &Pod| {
            let label = |name: &str| pod.labels().get(name).map(String::as_str);
            pod.namespace().as_deref() == Some(&names.namespace)
                && label(DEPLOYMENT_LABEL) == Some(&names.deployment)
                && label("version") == Some(colour.as_str())
        };
        self.pods.state().into_iter().filter(|pod| ours(pod)).collect()
    }

    /// The pods of one node, of which one at most is not ending.
    pub fn pods_of(&self, names: &Names, member: Member) -> Vec<Arc<Pod>> {
        let mut pods = self.pods(names, member.colour);
        pods.retain(|pod| number(pod) == member.number);
        pods
    }

    /// The pods of our own gateway.
    pub fn gateway_pods(&self, names: &Names) -> Vec<Arc<Pod>> {
        let ours = |pod: &Pod| {
            let label = |name: &str| pod.labels().get(name).map(String::as_str);
            pod.namespace().as_deref() == Some(&names.namespace)
                && label(DEPLOYMENT_LABEL) == Some(&names.deployment)
                && label("component") == Some("gateway")
        };
        self.pods.state().into_iter().filter(|pod| ours(pod)).collect()
    }

    /// Where a Service leads: its slices.
    pub fn slices(&self, names: &Names, service: &str) -> Vec<Arc<EndpointSlice>> {
        let of_service = |slice: &EndpointSlice| {
            slice.namespace().as_deref() == Some(&names.namespace)
                && slice.labels().get("kubernetes.io/service-name").map(String::as_str) == Some(service)
        };
        self.slices.state().into_iter().filter(|slice| of_service(slice)).collect()
    }
}

/// Which node of its environment a pod is.
pub fn number(pod: &Pod) -> u8 {
    pod.labels().get(NODE_LABEL).and_then(|number| number.parse().ok()).unwrap_or(0)
}

/// No process of it is left, and none will be.
pub fn has_ended(pod: &Pod) -> bool {
    matches!(pod.status.as_ref().and_then(|status| status.phase.as_deref()), Some("Succeeded" | "Failed"))
}

pub fn api_resource(kind: Kind) -> ApiResource {
    let (group, version) = kind.api_version().split_once('/').unwrap_or(("", kind.api_version()));
    ApiResource::from_gvk(&GroupVersionKind::gvk(group, version, kind.as_str()))
}

/// Whether the cluster knows this kind.
async fn is_there(client: &Client, kind: Kind) -> Result<bool, Error> {
    let unknown = |error: &kube::Error| matches!(error, kube::Error::Api(status) if status.code == 404);
    match client.list_api_group_resources(kind.api_version()).await {
        Ok(list) => Ok(list.resources.iter().any(|resource| resource.kind == kind.as_str())),
        Err(error) if unknown(&error) => Ok(false),
        Err(source) => Err(Error::List { what: format!("the resources of {}", kind.api_version()), source }),
    }
}

fn of<K>(client: &Client, namespace: Option<&str>) -> Api<K>
where
    K: Resource<DynamicType = (), Scope = kube::core::NamespaceResourceScope>,
{
    match namespace {
        Some(namespace) => Api::namespaced(client.clone(), namespace),
        None => Api::all(client.clone()),
    }
}

/// Pauses between attempts to watch. They stay short, since whoever does not see what is there cannot act, and the API server is
/// asked by a few watches only; not all at once, when all broke off at once.
pub fn patience() -> ExponentialBackoff {
    let (shortest, longest) = (Duration::from_millis(200), Duration::from_secs(2));
    let pauses = ExponentialBuilder::default().with_min_delay(shortest).with_max_delay(longest).with_jitter();
    pauses.without_max_times().into()
}

fn watch<K>(watches: &mut JoinSet<()>, api: Api<K>, kind: K::DynamicType) -> Store<K>
where
    K: Resource + Clone + Debug + DeserializeOwned + Send + Sync + 'static,
    K::DynamicType: Eq + Hash + Clone + Debug + Unpin + Send + Sync,
{
    let writer = Writer::new(kind);
    let store = writer.as_reader();
    let events = watcher(api, watcher::Config::default().labels(DEPLOYMENT_LABEL))
        .backoff(patience())
        .modify(|object| object.managed_fields_mut().clear())
        .reflect(writer);
    watches.spawn(events.for_each(|event| async move {
        if let Err(error) = event {
            // It is tried again, with growing pauses.
            tracing::warn!(%error, "a watch broke off");
        }
    }));
    store
}

async fn listed<K>(store: &Store<K>, what: &str) -> Result<(), Error>
where
    K: Resource + Clone + 'static,
    K::DynamicType: Eq + Hash + Clone,
{
    const LIST_TIMEOUT: std::time::Duration = std::time::Duration::from_secs(30);
    let unlisted = |why: &str| Error::Shape { what: format!("the list of {what} objects"), why: why.into() };
    match tokio::time::timeout(LIST_TIMEOUT, store.wait_until_ready()).await {
        Ok(Ok(())) => Ok(()),
        Ok(Err(_)) => Err(unlisted("its watch ended")),
        Err(_) => Err(unlisted("the API server did not give it within 30 s; may this account list it?")),
    }
}
