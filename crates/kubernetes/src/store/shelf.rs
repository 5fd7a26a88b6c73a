//! What one watch told: its objects by the deployment that they belong to, so that a look at one deployment costs the same however
//! many there are.

use super::key;
use crate::names::DEPLOYMENT_LABEL;
use kube::runtime::watcher::Event;
use kube::{Resource, ResourceExt};
use parking_lot::RwLock;
use std::collections::BTreeMap;
use std::sync::Arc;
use tokio::sync::watch;

/// Objects of one kind.
pub(super) struct Shelf<K> {
    contents: RwLock<Contents<K>>,
    /// Everything was listed once.
    listed: watch::Sender<bool>,
}

/// Of which deployments something may have changed.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Changed {
    Nothing,
    /// By their keys.
    Of(Vec<String>),
    Everything,
}

struct Contents<K> {
    there: Objects<K>,
    /// While all are listed anew: those that came so far.
    fresh: Objects<K>,
}

/// By deployment, and by name.
struct Objects<K> {
    of: BTreeMap<String, BTreeMap<String, Arc<K>>>,
    /// Key of the deployment of each object: a label may be changed.
    owners: BTreeMap<String, String>,
}

impl<K> Default for Objects<K> {
    fn default() -> Self {
        Self { of: BTreeMap::new(), owners: BTreeMap::new() }
    }
}

impl<K> Default for Shelf<K> {
    fn default() -> Self {
        let contents = RwLock::new(Contents { there: Objects::default(), fresh: Objects::default() });
        Self { contents, listed: watch::Sender::new(false) }
    }
}

impl<K: Resource> Shelf<K> {
    pub fn get(&self, deployment: &str, name: &str) -> Option<Arc<K>> {
        self.contents.read().there.of.get(deployment)?.get(name).cloned()
    }

    /// Those of a deployment that are `wanted`.
    pub fn of(&self, deployment: &str, wanted: impl Fn(&K) -> bool) -> Vec<Arc<K>> {
        let contents = self.contents.read();
        let objects = contents.there.of.get(deployment).into_iter().flat_map(BTreeMap::values);
        objects.filter(|object| wanted(object)).cloned().collect()
    }

    pub fn take(&self, event: Event<K>) -> Changed {
        let mut contents = self.contents.write();
        match event {
            Event::Apply(object) => Changed::Of(contents.there.put(object)),
            Event::Delete(object) => Changed::Of(contents.there.remove(&object)),
            Event::Init => {
                contents.fresh = Objects::default();
                Changed::Nothing
            }
            Event::InitApply(object) => {
                contents.fresh.put(object);
                Changed::Nothing
            }
            Event::InitDone => {
                contents.there = std::mem::take(&mut contents.fresh);
                self.listed.send_replace(true);
                Changed::Everything
            }
        }
    }

    /// Returns when everything was listed once.
    pub async fn listed(&self) {
        // The sender is this shelf's own, so it cannot be gone.
        let _ = self.listed.subscribe().wait_for(|listed| *listed).await;
    }
}

impl<K: Resource> Objects<K> {
    fn put(&mut self, object: K) -> Vec<String> {
        let mut changed = self.remove(&object);
        let (namespace, name) = (object.namespace().unwrap_or_default(), object.name_any());
        let Some(deployment) = object.labels().get(DEPLOYMENT_LABEL) else { return changed };
        let owner = key(&namespace, deployment);
        self.owners.insert(key(&namespace, &name), owner.clone());
        self.of.entry(owner.clone()).or_default().insert(name, Arc::new(object));
        if !changed.contains(&owner) {
            changed.push(owner);
        }
        changed
    }

    fn remove(&mut self, object: &K) -> Vec<String> {
        let name = object.name_any();
        let Some(owner) = self.owners.remove(&key(&object.namespace().unwrap_or_default(), &name)) else {
            return Vec::new();
        };
        if let Some(objects) = self.of.get_mut(&owner) {
            objects.remove(&name);
            if objects.is_empty() {
                self.of.remove(&owner);
            }
        }
        vec![owner]
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use k8s_openapi::api::core::v1::Pod;
    use serde_json::json;

    fn pod(name: &str, deployment: &str) -> Pod {
        let metadata = json!({"name": name, "namespace": "shop", "labels": {DEPLOYMENT_LABEL: deployment}});
        serde_json::from_value(json!({"metadata": metadata})).unwrap()
    }

    fn names(shelf: &Shelf<Pod>, deployment: &str) -> Vec<String> {
        shelf.of(&key("shop", deployment), |_| true).iter().map(|pod| pod.name_any()).collect()
    }

    fn of(deployments: &[&str]) -> Changed {
        Changed::Of(deployments.iter().map(|deployment| key("shop", deployment)).collect())
    }

    #[test]
    fn objects_are_found_by_their_deployment_and_a_change_names_it() {
        let shelf = Shelf::default();
        assert_eq!(shelf.take(Event::Apply(pod("a-1", "a"))), of(&["a"]));
        assert_eq!(shelf.take(Event::Apply(pod("b-1", "b"))), of(&["b"]));
        assert_eq!((names(&shelf, "a"), names(&shelf, "b")), (vec!["a-1".into()], vec!["b-1".into()]));
        assert!(shelf.get(&key("shop", "a"), "a-1").is_some() && shelf.get(&key("shop", "b"), "a-1").is_none());
        assert_eq!(shelf.take(Event::Apply(pod("a-1", "b"))), of(&["a", "b"]), "another label");
        assert_eq!((names(&shelf, "a").len(), names(&shelf, "b").len()), (0, 2));
        assert_eq!(shelf.take(Event::Delete(pod("a-1", "b"))), of(&["b"]));
        assert_eq!(shelf.take(Event::Delete(pod("a-1", "b"))), of(&[]), "it was not there");
        assert_eq!(names(&shelf, "b"), ["b-1"]);
    }

    #[test]
    fn a_new_list_replaces_what_was_there_when_it_is_whole() {
        let shelf = Shelf::default();
        assert!(!*shelf.listed.borrow());
        shelf.take(Event::Apply(pod("gone", "a")));
        shelf.take(Event::Init);
        assert_eq!(shelf.take(Event::InitApply(pod("there", "a"))), Changed::Nothing);
        assert_eq!(names(&shelf, "a"), ["gone"]);
        assert_eq!(shelf.take(Event::InitDone), Changed::Everything);
        assert_eq!(names(&shelf, "a"), ["there"]);
        assert!(*shelf.listed.borrow());
    }
}
