//! Makes what is there like what shall be there: a call only where they differ.

use crate::build::{Kind, Object};
use crate::error::Error;
use crate::names::{FIELD_MANAGER, Names};
use crate::store::{Stores, api_resource};
use kube::api::{Api, DynamicObject, Patch, PatchParams};
use kube::{Client, ResourceExt};
use parking_lot::Mutex;
use serde_json::Value;
use std::collections::BTreeMap;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::Arc;
use std::time::Duration;
use tokio::time::Instant;

/// How long a watch may take to tell of what was applied.
const TOLD_WITHIN: Duration = Duration::from_secs(5);

pub struct Applier {
    client: Client,
    stores: Arc<Stores>,
    names: Names,
    /// What was applied last to each object.
    applied: Mutex<BTreeMap<String, Applied>>,
}

/// What an object was made. The same is not compared or applied again while it is of this version.
struct Applied {
    /// Of what was wanted: of thousands of objects the whole would fill the memory.
    fingerprint: u64,
    version: Option<String>,
    /// Its version before, of which a watch may still tell, and when it was applied.
    before: Option<(Option<String>, Instant)>,
}

impl Applied {
    /// Nobody has changed or removed it since.
    fn stands(&self, fingerprint: u64, version: &Option<String>) -> bool {
        let untold = |(before, at): &(Option<String>, Instant)| before == version && at.elapsed() < TOLD_WITHIN;
        self.fingerprint == fingerprint && (self.version == *version || self.before.as_ref().is_some_and(untold))
    }
}

impl Applier {
    pub fn new(client: Client, stores: Arc<Stores>, names: Names) -> Self {
        Self { client, stores, names, applied: Mutex::default() }
    }

    /// True when something had to be changed.
    ///
    /// # Errors
    /// The first object that the API server refuses.
    pub async fn make(&self, objects: &[Object]) -> Result<bool, Error> {
        let mut changed = false;
        for object in objects {
            changed |= self.make_one(object).await?;
        }
        Ok(changed)
    }

    async fn make_one(&self, object: &Object) -> Result<bool, Error> {
        let there = self.stores.object(object.kind, &self.names, &object.name);
        let what = format!("{} {}", object.kind.as_str(), object.name);
        let version = there.as_ref().and_then(|there| there.resource_version());
        if object.kind == Kind::Claim && there.is_some() {
            // What was claimed is not changed by another document: the cluster would refuse it, and everything with it.
            return Ok(false);
        }
        let fingerprint = fingerprint(&object.body);
        if self.applied.lock().get(&what).is_some_and(|applied| applied.stands(fingerprint, &version)) {
            return Ok(false);
        }
        if let Some(there) = &there {
            let actual = serde_json::to_value(&**there)
                .map_err(|error| Error::Shape { what: what.clone(), why: error.to_string() })?;
            if contains(&actual, &object.body) {
                self.applied.lock().insert(what, Applied { fingerprint, version, before: None });
                return Ok(false);
            }
        }
        let api: Api<DynamicObject> =
            Api::namespaced_with(self.client.clone(), &self.names.namespace, &api_resource(object.kind));
        let parameters = PatchParams::apply(FIELD_MANAGER).force();
        let now = api
            .patch(&object.name, &parameters, &Patch::Apply(&object.body))
            .await
            .map_err(|source| Error::Apply { what: what.clone(), source })?;
        let before = Some((version, Instant::now()));
        self.applied.lock().insert(what, Applied { fingerprint, version: now.resource_version(), before });
        Ok(true)
    }
}

fn fingerprint(body: &Value) -> u64 {
    let mut hasher = DefaultHasher::new();
    body.to_string().hash(&mut hasher);
    hasher.finish()
}

/// Everything that `wanted` says is so in `actual`, which may say more.
fn contains(actual: &Value, wanted: &Value) -> bool {
    match (actual, wanted) {
        (Value::Object(actual), Value::Object(wanted)) => wanted.iter().all(|(name, wanted)| match actual.get(name) {
            Some(actual) => contains(actual, wanted),
            // The API server leaves out what is empty.
            None => is_empty(wanted),
        }),
        (Value::Array(actual), Value::Array(wanted)) => {
            actual.len() == wanted.len() && actual.iter().zip(wanted).all(|(actual, wanted)| contains(actual, wanted))
        }
        _ => actual == wanted,
    }
}

fn is_empty(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::Object(fields) => fields.values().all(is_empty),
        Value::Array(values) => values.is_empty(),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[tokio::test(start_paused = true)]
    async fn what_was_applied_stands_until_it_is_changed_or_gone() {
        let (old, new) = (Some("1".to_string()), Some("2".to_string()));
        let made = Applied { fingerprint: 7, version: new.clone(), before: Some((None, Instant::now())) };
        assert!(made.stands(7, &new) && !made.stands(8, &new), "another one is wanted");
        assert!(!made.stands(7, &old), "somebody changed it");
        assert!(made.stands(7, &None), "the watch has not told of it yet");
        tokio::time::advance(TOLD_WITHIN).await;
        assert!(made.stands(7, &new) && !made.stands(7, &None), "somebody removed it");
        let compared = Applied { fingerprint: 7, version: new, before: None };
        assert!(!compared.stands(7, &None));
    }

    #[test]
    fn what_others_added_is_no_difference_and_what_they_changed_is() {
        let wanted = json!({"spec": {"selector": {"version": "blue"}, "ports": [{"name": "http", "port": 8080}]}});
        let actual = json!({
            "spec": {
                "selector": {"version": "blue"}, "clusterIP": "10.96.0.7",
                "ports": [{"name": "http", "port": 8080, "protocol": "TCP"}],
            },
            "status": {},
        });
        assert!(contains(&actual, &wanted));
        let mut changed = actual.clone();
        changed["spec"]["selector"]["version"] = "green".into();
        assert!(!contains(&changed, &wanted));
        let mut more = actual.clone();
        more["spec"]["ports"] = json!([{"name": "http", "port": 8080}, {"name": "x", "port": 1}]);
        assert!(!contains(&more, &wanted));
        assert!(contains(&json!({}), &json!({"resources": {"limits": {}}, "env": []})));
        assert!(!contains(&json!({}), &json!({"replicas": 0})));
    }
}
