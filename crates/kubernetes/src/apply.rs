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
use std::sync::Arc;

pub struct Applier {
    client: Client,
    stores: Arc<Stores>,
    names: Names,
    /// What was applied last to each object.
    applied: Mutex<BTreeMap<String, Applied>>,
}

/// The same is not applied again to an object that was changed by nobody since.
struct Applied {
    body: Value,
    /// Its resource version before and after: the watch may not have told of the latter yet.
    versions: [Option<String>; 2],
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
        if let Some(there) = &there {
            let actual = serde_json::to_value(&**there)
                .map_err(|error| Error::Shape { what: what.clone(), why: error.to_string() })?;
            if contains(&actual, &object.body) {
                return Ok(false);
            }
        }
        if let Some(applied) = self.applied.lock().get(&what)
            && applied.body == object.body
            && applied.versions.contains(&version)
        {
            return Ok(false);
        }
        let api: Api<DynamicObject> =
            Api::namespaced_with(self.client.clone(), &self.names.namespace, &api_resource(object.kind));
        let parameters = PatchParams::apply(FIELD_MANAGER).force();
        let now = api
            .patch(&object.name, &parameters, &Patch::Apply(&object.body))
            .await
            .map_err(|source| Error::Apply { what: what.clone(), source })?;
        let versions = [version, now.resource_version()];
        self.applied.lock().insert(what, Applied { body: object.body.clone(), versions });
        Ok(true)
    }
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
