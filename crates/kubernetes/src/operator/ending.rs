//! The end of a deployment's object. What it owned goes with it; the data stays, and with it what says whose it is.

use crate::error::Error;
use crate::names::{FIELD_MANAGER, Names};
use crate::resource::BlueGreenObject;
use k8s_openapi::api::core::v1::ConfigMap;
use kube::api::{Api, Patch, PatchParams};
use kube::{Client, ResourceExt};
use serde_json::json;

/// The object stays until the operator has let go of it.
pub const FINALIZER: &str = "jadevectordb.io/keep-state";
/// What holds the state.
pub const STATE_KEY: &str = "state.json";

pub(super) fn is_ending(object: &BlueGreenObject) -> bool {
    object.metadata.deletion_timestamp.is_some()
}

pub(super) fn has_finalizer(object: &BlueGreenObject) -> bool {
    object.finalizers().iter().any(|one| one == FINALIZER)
}

pub(super) async fn add_finalizer(client: &Client, object: &BlueGreenObject) -> Result<(), Error> {
    let mut finalizers = object.finalizers().to_vec();
    finalizers.push(FINALIZER.into());
    set_finalizers(client, object, &finalizers).await
}

/// Keeps where the deployment stood beside its claims, and lets the object go.
pub(super) async fn finish(client: &Client, object: &BlueGreenObject) -> Result<(), Error> {
    if !has_finalizer(object) {
        return Ok(());
    }
    if let Some(state) = object.status.as_ref().and_then(|status| status.state.as_ref()) {
        keep(client, object, state).await?;
    }
    let left: Vec<String> = object.finalizers().iter().filter(|one| *one != FINALIZER).cloned().collect();
    tracing::info!(name = object.name_any(), "the object of a deployment goes; its claims stay");
    set_finalizers(client, object, &left).await
}

async fn keep(client: &Client, object: &BlueGreenObject, state: &str) -> Result<(), Error> {
    let names = Names::new(&object.name_any(), &object.namespace().unwrap_or_default());
    let map = json!({
        "apiVersion": "v1", "kind": "ConfigMap",
        "metadata": {"name": names.state(), "namespace": names.namespace, "labels": names.labels()},
        "data": {STATE_KEY: state},
    });
    let maps: Api<ConfigMap> = Api::namespaced(client.clone(), &names.namespace);
    match maps.patch(&names.state(), &PatchParams::apply(FIELD_MANAGER).force(), &Patch::Apply(&map)).await {
        Ok(_) => Ok(()),
        // The whole namespace goes: with it the claims, by whoever said so.
        Err(kube::Error::Api(status)) if status.code == 403 && status.message.contains("being terminated") => Ok(()),
        Err(source) => Err(Error::Apply { what: format!("ConfigMap {}", names.state()), source }),
    }
}

/// With the version of the object that was seen: others have finalizers too.
async fn set_finalizers(client: &Client, object: &BlueGreenObject, finalizers: &[String]) -> Result<(), Error> {
    let api: Api<BlueGreenObject> = Api::namespaced(client.clone(), &object.namespace().unwrap_or_default());
    let patch = json!({
        "metadata": {"finalizers": finalizers, "resourceVersion": object.resource_version()},
    });
    match api.patch(&object.name_any(), &PatchParams::default(), &Patch::Merge(&patch)).await {
        Ok(_) => Ok(()),
        Err(kube::Error::Api(status)) if status.code == 404 => Ok(()),
        Err(source) => Err(Error::Apply { what: format!("BlueGreen {}", object.name_any()), source }),
    }
}
