//! A deployment is put on a cluster, and taken away again. Its claims stay, and with them what opens and explains them.

use super::{CALL_TIMEOUT, Remote, RemoteError, Where, connect, refusal};
use crate::names::Names;
use crate::resource::BlueGreenObject;
use conductor::Info;
use kube::ResourceExt;
use kube::api::{Api, DeleteParams, Patch, PatchParams, Preconditions, ValidationDirective};
use serde_json::{Value, json};
use wire::document::{API_VERSION, KIND};

/// Who owns what a person's document says.
const AUTHOR: &str = "jadeshift-up";

/// A document as it stands on the cluster.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Edition(i64);

/// One object, and not another one of its name that came later.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Identity(Option<String>);

impl Remote {
    /// Makes the deployment `name` what `spec` says. What that leaves out has its default from the operator; what others own stays.
    /// Nothing is changed unless all of it can be.
    ///
    /// # Errors
    /// [`RemoteError::NoNamespace`]; [`RemoteError::Document`] when the API server finds fault with it.
    pub async fn put(place: &Where, name: &str, spec: &Value) -> Result<(Self, Edition), RemoteError> {
        let (client, namespace) = connect(place, Some(CALL_TIMEOUT)).await?;
        let api: Api<BlueGreenObject> = Api::namespaced(client.clone(), &namespace);
        let object = json!({
            "apiVersion": API_VERSION, "kind": KIND, "metadata": {"name": name, "namespace": namespace}, "spec": spec,
        });
        let strict = Some(ValidationDirective::Strict);
        let parameters = PatchParams { field_validation: strict, ..PatchParams::apply(AUTHOR).force() };
        let object = api.patch(name, &parameters, &Patch::Apply(&object)).await.map_err(of_document)?;
        Ok((Self { client, api, names: Names::new(name, &namespace) }, edition(&object)))
    }

    /// The document that is there.
    ///
    /// # Errors
    /// When it cannot be looked at.
    pub async fn edition(&self) -> Result<Edition, RemoteError> {
        Ok(edition(&self.object().await?))
    }

    /// Where the deployment stands by this document or a later one. `None`: no operator has looked at that yet.
    ///
    /// # Errors
    /// [`RemoteError::Invalid`] when it cannot be used.
    pub async fn info_by(&self, edition: Edition) -> Result<Option<Info>, RemoteError> {
        let object = self.object().await?;
        let Some(status) = &object.status else { return Ok(None) };
        if status.observed_generation < edition.0 {
            return Ok(None);
        }
        match status.conditions.iter().find(|one| one.kind == "Valid" && one.status == "False") {
            Some(refused) => Err(RemoteError::Invalid(refused.message.clone())),
            None if status.info.is_none() => Ok(None),
            None => self.info_of(&object).map(Some),
        }
    }

    /// Has the cluster end the deployment, its pods before its object. Returns at once.
    ///
    /// # Errors
    /// When that is not allowed.
    pub async fn remove(&self) -> Result<Identity, RemoteError> {
        let uid = self.object().await?.uid();
        let preconditions = Some(Preconditions { uid: uid.clone(), resource_version: None });
        let parameters = DeleteParams { preconditions, ..DeleteParams::foreground() };
        match self.api.delete(&self.names.deployment, &parameters).await {
            Ok(_) => Ok(Identity(uid)),
            // It went by itself, or another one has come in its place.
            Err(kube::Error::Api(status)) if [404, 409].contains(&status.code) => Ok(Identity(uid)),
            Err(error) => Err(refusal(error)),
        }
    }

    /// Whether nothing is left of what was removed but what stays.
    ///
    /// # Errors
    /// When it cannot be looked at.
    pub async fn is_gone(&self, identity: &Identity) -> Result<bool, RemoteError> {
        let there = self.api.get_opt(&self.names.deployment).await.map_err(refusal)?;
        Ok(there.is_none_or(|there| there.uid() != identity.0))
    }
}

fn edition(object: &BlueGreenObject) -> Edition {
    Edition(object.metadata.generation.unwrap_or_default())
}

/// What is wrong with a document itself is told apart from what is wrong with the cluster.
fn of_document(error: kube::Error) -> RemoteError {
    match &error {
        kube::Error::Api(status) if status.code == 422 && !status.message.contains("unknown field") => {
            RemoteError::Document(status.message.clone())
        }
        _ => refusal(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use kube::core::Status;

    fn said(code: u16, message: &str) -> RemoteError {
        of_document(kube::Error::Api(Status::failure(message, "x").with_code(code).boxed()))
    }

    #[test]
    fn a_fault_of_the_document_is_no_fault_of_the_cluster() {
        let unknown =
            "failed to create typed patch object: .spec.replicas: field not declared in schema, unknown field";
        for (code, message, wanted) in [
            (422, "BlueGreen \"shop\" is invalid: spec.rollout.steps: the last step must have sharePercent: 100", 'd'),
            (422, unknown, 'o'),
            (404, "namespaces \"shop\" not found", 'n'),
            (404, "404 page not found", 'i'),
            (403, "bluegreens.jadevectordb.io \"shop\" is forbidden: User \"ana\" cannot patch", 'f'),
        ] {
            let found = match said(code, message) {
                RemoteError::Document(_) => 'd',
                RemoteError::OldDefinition(_) => 'o',
                RemoteError::NoNamespace(name) if name == "shop" => 'n',
                RemoteError::NotInstalled => 'i',
                RemoteError::Forbidden(_) => 'f',
                _ => '?',
            };
            assert_eq!(found, wanted, "{message}");
        }
    }
}
