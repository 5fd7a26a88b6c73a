//! What is there, as the API server's watches tell it. Reading costs no call.

mod shelf;

use crate::build::Kind;
use crate::error::Error;
use crate::names::{DEPLOYMENT_LABEL, NODE_LABEL, Names};
use backon::ExponentialBuilder;
use futures_util::StreamExt;
use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::api::discovery::v1::EndpointSlice;
use kube::api::{Api, ApiResource, DynamicObject, GroupVersionKind};
use kube::runtime::watcher::ExponentialBackoff;
use kube::runtime::{WatchStreamExt, watcher};
use kube::{Client, Resource, ResourceExt};
use parking_lot::Mutex;
use serde::de::DeserializeOwned;
use shelf::{Changed, Shelf};
use std::collections::BTreeMap;
use std::fmt::Debug;
use std::sync::{Arc, Weak};
use std::time::Duration;
use tokio::sync::Notify;
use tokio::task::JoinSet;
use wire::{Colour, Member};

/// Everything that bears our label; ends its watches when dropped.
pub struct Stores {
    objects: BTreeMap<Kind, Arc<Shelf<DynamicObject>>>,
    pods: Arc<Shelf<Pod>>,
    slices: Arc<Shelf<EndpointSlice>>,
    wakes: Arc<Wakes>,
    _watches: JoinSet<()>,
}

/// Who is told when something of a deployment has changed.
#[derive(Default)]
struct Wakes(Mutex<BTreeMap<String, Weak<Notify>>>);

impl Wakes {
    fn wake(&self, changed: &Changed) {
        let wakes = self.0.lock();
        let notify = |one: &Weak<Notify>| {
            if let Some(one) = one.upgrade() {
                one.notify_one();
            }
        };
        match changed {
            Changed::Nothing => (),
            Changed::Of(deployments) => deployments.iter().filter_map(|key| wakes.get(key)).for_each(notify),
            Changed::Everything => wakes.values().for_each(notify),
        }
    }
}

impl Stores {
    /// Begins to watch `namespace`, or all of them, and returns when everything was listed once.
    ///
    /// # Errors
    /// When a kind cannot be listed within the client's time limit.
    pub async fn start(client: &Client, namespace: Option<&str>) -> Result<Self, Error> {
        let (mut watches, wakes) = (JoinSet::new(), Arc::default());
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
            objects.insert(kind, watch(&mut watches, &wakes, api));
        }
        let pods = watch(&mut watches, &wakes, of(client, namespace));
        let slices = watch(&mut watches, &wakes, of(client, namespace));
        let stores = Self { objects, pods, slices, wakes, _watches: watches };
        for (kind, shelf) in &stores.objects {
            listed(shelf, kind.as_str()).await?;
        }
        listed(&stores.pods, "Pod").await?;
        listed(&stores.slices, "EndpointSlice").await?;
        Ok(stores)
    }

    /// Whether the cluster knew this kind when the operator began.
    pub fn knows(&self, kind: Kind) -> bool {
        self.objects.contains_key(&kind)
    }

    /// Is notified when something of this deployment may have changed. One per deployment.
    pub fn changes(&self, names: &Names) -> Arc<Notify> {
        let (mut wakes, notify) = (self.wakes.0.lock(), Arc::new(Notify::new()));
        wakes.retain(|_, one| one.strong_count() > 0);
        wakes.insert(of_names(names), Arc::downgrade(&notify));
        notify
    }

    /// Deployments that are looked after.
    pub fn deployments(&self) -> usize {
        self.wakes.0.lock().len()
    }

    pub fn object(&self, kind: Kind, names: &Names, name: &str) -> Option<Arc<DynamicObject>> {
        self.objects.get(&kind)?.get(&of_names(names), name)
    }

    /// The pods of an environment.
    pub fn pods(&self, names: &Names, colour: Colour) -> Vec<Arc<Pod>> {
        self.pods.of(&of_names(names), |pod| label(pod, "version") == Some(colour.as_str()))
    }

    /// The pods of one node, of which one at most is not ending.
    pub fn pods_of(&self, names: &Names, member: Member) -> Vec<Arc<Pod>> {
        let mut pods = self.pods(names, member.colour);
        pods.retain(|pod| number(pod) == member.number);
        pods
    }

    /// The pods of our own gateway.
    pub fn gateway_pods(&self, names: &Names) -> Vec<Arc<Pod>> {
        self.pods.of(&of_names(names), |pod| label(pod, "component") == Some("gateway"))
    }

    /// Where a Service leads: its slices, which have its labels.
    pub fn slices(&self, names: &Names, service: &str) -> Vec<Arc<EndpointSlice>> {
        self.slices.of(&of_names(names), |slice| label(slice, "kubernetes.io/service-name") == Some(service))
    }
}

fn label<'a>(object: &'a impl Resource, name: &str) -> Option<&'a str> {
    object.meta().labels.as_ref()?.get(name).map(String::as_str)
}

/// What tells a deployment, or an object, from all others.
fn key(namespace: &str, name: &str) -> String {
    format!("{namespace}/{name}")
}

fn of_names(names: &Names) -> String {
    key(&names.namespace, &names.deployment)
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

fn watch<K>(watches: &mut JoinSet<()>, wakes: &Arc<Wakes>, api: Api<K>) -> Arc<Shelf<K>>
where
    K: Resource + Clone + Debug + DeserializeOwned + Send + Sync + 'static,
{
    let (shelf, wakes) = (Arc::new(Shelf::default()), wakes.clone());
    let events = watcher(api, watcher::Config::default().labels(DEPLOYMENT_LABEL))
        .backoff(patience())
        .modify(|object| object.managed_fields_mut().clear());
    let kept = shelf.clone();
    watches.spawn(events.for_each(move |event| {
        match event {
            Ok(event) => wakes.wake(&kept.take(event)),
            // It is tried again, with growing pauses.
            Err(error) => tracing::warn!(%error, "a watch broke off"),
        }
        std::future::ready(())
    }));
    shelf
}

async fn listed<K: Resource>(shelf: &Shelf<K>, what: &str) -> Result<(), Error> {
    const LIST_TIMEOUT: Duration = Duration::from_secs(30);
    let why = "the API server did not give it within 30 s; may this account list it?";
    let listed = tokio::time::timeout(LIST_TIMEOUT, shelf.listed()).await;
    listed.map_err(|_| Error::Shape { what: format!("the list of {what} objects"), why: why.into() })
}
