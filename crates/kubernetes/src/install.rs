//! What puts the operator on a cluster, as values: its definition, its rights, and itself. Nothing here speaks to a cluster but
//! [`apply`].

pub mod rights;

use crate::names::FIELD_MANAGER;
use crate::remote::{RemoteError, refusal};
use crate::resource;
use kube::api::{Api, ApiResource, DynamicObject, GroupVersionKind, Patch, PatchParams};
use kube::{Client, ResourceExt};
use serde_json::{Value, json};
use std::time::Duration;
use tokio::time::Instant;

/// Port of health checks and metrics.
pub const PORT: u16 = 8080;
/// Of everything that is the operator's own.
pub(crate) const NAME: &str = "jadeshift-operator";
/// User of the image.
pub(crate) const USER: u32 = 65532;
const POLL: Duration = Duration::from_millis(200);

/// How it is to be there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Install {
    /// Namespace of the operator itself.
    pub namespace: String,
    pub image: String,
    pub replicas: u8,
    /// Only deployments of this namespace are looked after, with rights there only; `None`: all.
    pub only: Option<String>,
}

impl Default for Install {
    fn default() -> Self {
        let image = format!("jadeshift:{}", env!("CARGO_PKG_VERSION"));
        Self { namespace: "jadeshift-system".into(), image, replicas: 2, only: None }
    }
}

impl Install {
    /// Every object, in the order in which they are applied.
    pub fn objects(&self) -> Vec<Value> {
        let definition = serde_json::to_value(resource::definition()).unwrap_or_default();
        let mut objects = vec![definition, self.namespace_object(), self.account()];
        objects.extend(rights::of_operator(self));
        objects.extend(rights::of_people());
        objects.extend([self.service(), self.disruption_budget(), self.network_policy(), self.deployment()]);
        objects
    }

    /// Tells the Prometheus operator to collect the operator's figures. Not among the objects: its kind is not on every cluster.
    pub(crate) fn service_monitor(&self) -> Value {
        json!({
            "apiVersion": "monitoring.coreos.com/v1", "kind": "ServiceMonitor", "metadata": self.metadata(),
            "spec": {
                "selector": {"matchLabels": self.labels()},
                // A figure has the namespace of what it is about, which must not be taken for the operator's own.
                "endpoints": [{"port": "http", "path": "/metrics", "interval": "15s", "honorLabels": true}],
            },
        })
    }

    /// Of its pods, and of everything else that is the operator's own.
    pub(crate) fn labels(&self) -> Value {
        json!({"app.kubernetes.io/name": "jadeshift", "app.kubernetes.io/component": "operator"})
    }

    fn metadata(&self) -> Value {
        json!({"name": NAME, "namespace": self.namespace, "labels": self.labels()})
    }

    fn namespace_object(&self) -> Value {
        json!({
            "apiVersion": "v1", "kind": "Namespace",
            "metadata": {"name": self.namespace, "labels": {"pod-security.kubernetes.io/enforce": "restricted"}},
        })
    }

    fn account(&self) -> Value {
        json!({"apiVersion": "v1", "kind": "ServiceAccount", "metadata": self.metadata()})
    }

    fn service(&self) -> Value {
        json!({
            "apiVersion": "v1", "kind": "Service", "metadata": self.metadata(),
            "spec": {"selector": self.labels(), "ports": [{"name": "http", "port": PORT, "targetPort": "http"}]},
        })
    }

    fn disruption_budget(&self) -> Value {
        json!({
            "apiVersion": "policy/v1", "kind": "PodDisruptionBudget", "metadata": self.metadata(),
            "spec": {"maxUnavailable": 1, "selector": {"matchLabels": self.labels()}},
        })
    }

    /// It is asked for health and figures, and asks the API server, the nodes and whatever the documents name.
    fn network_policy(&self) -> Value {
        json!({
            "apiVersion": "networking.k8s.io/v1", "kind": "NetworkPolicy", "metadata": self.metadata(),
            "spec": {
                "podSelector": {"matchLabels": self.labels()},
                "policyTypes": ["Ingress"],
                "ingress": [{"ports": [{"protocol": "TCP", "port": PORT}]}],
            },
        })
    }

    fn deployment(&self) -> Value {
        let mut args = vec!["operator".to_string(), "--listen".into(), format!("0.0.0.0:{PORT}"), "--verbose".into()];
        args.extend(["--gateway-image".into(), self.image.clone()]);
        if let Some(only) = &self.only {
            args.extend(["--namespace".into(), only.clone()]);
        }
        let probe =
            |path: &str| json!({"httpGet": {"path": path, "port": "http"}, "periodSeconds": 5, "timeoutSeconds": 2});
        json!({
            "apiVersion": "apps/v1", "kind": "Deployment", "metadata": self.metadata(),
            "spec": {
                "replicas": self.replicas,
                "selector": {"matchLabels": self.labels()},
                "template": {
                    "metadata": {
                        "labels": self.labels(),
                        "annotations": {"prometheus.io/scrape": "true", "prometheus.io/port": PORT.to_string()},
                    },
                    "spec": {
                        "serviceAccountName": NAME,
                        "enableServiceLinks": false,
                        "terminationGracePeriodSeconds": 20,
                        "securityContext": {
                            "runAsNonRoot": true, "runAsUser": USER, "runAsGroup": USER,
                            "seccompProfile": {"type": "RuntimeDefault"},
                        },
                        "containers": [{
                            "name": "operator",
                            "image": self.image,
                            "imagePullPolicy": "IfNotPresent",
                            "args": args,
                            "ports": [{"name": "http", "containerPort": PORT, "protocol": "TCP"}],
                            "resources": {"requests": {"cpu": "50m", "memory": "64Mi"}, "limits": {"memory": "512Mi"}},
                            "livenessProbe": probe("/healthz"),
                            "readinessProbe": probe("/readyz"),
                            "securityContext": {
                                "allowPrivilegeEscalation": false, "readOnlyRootFilesystem": true,
                                "capabilities": {"drop": ["ALL"]},
                            },
                        }],
                    },
                },
            },
        })
    }
}

/// Makes the objects so on a cluster, and says each before it does.
///
/// # Errors
/// The first that the API server refuses.
pub async fn apply(client: &Client, objects: &[Value], mut say: impl FnMut(&str)) -> Result<(), RemoteError> {
    for object in objects {
        let odd = |error: serde_json::Error| RemoteError::Other(error.to_string());
        let parsed: DynamicObject = serde_json::from_value(object.clone()).map_err(odd)?;
        let types = parsed.types.clone().unwrap_or_default();
        let kind = GroupVersionKind::try_from(&types).map_err(|error| RemoteError::Other(error.to_string()))?;
        let resource = ApiResource::from_gvk(&kind);
        say(&format!("{} {}", kind.kind, parsed.name_any()));
        let api: Api<DynamicObject> = match parsed.namespace() {
            Some(namespace) => Api::namespaced_with(client.clone(), &namespace, &resource),
            None => Api::all_with(client.clone(), &resource),
        };
        let parameters = PatchParams::apply(&format!("{FIELD_MANAGER}-install")).force();
        api.patch(&parsed.name_any(), &parameters, &Patch::Apply(object)).await.map_err(refusal)?;
    }
    Ok(())
}

/// Waits until the operator's pods are there. False when they are not in time.
///
/// # Errors
/// When the API server does not answer.
pub async fn wait(client: &Client, namespace: &str, timeout: Duration) -> Result<bool, RemoteError> {
    let api: Api<k8s_openapi::api::apps::v1::Deployment> = Api::namespaced(client.clone(), namespace);
    let until = Instant::now() + timeout;
    loop {
        let found = api.get(NAME).await.map_err(refusal)?;
        let (generation, status) = (found.metadata.generation, found.status.unwrap_or_default());
        let wanted = found.spec.replicas.unwrap_or(1);
        let updated = status.updated_replicas.unwrap_or(0) == wanted && status.replicas == Some(wanted);
        if status.observed_generation >= generation && updated && status.available_replicas == Some(wanted) {
            return Ok(true);
        }
        if Instant::now() >= until {
            return Ok(false);
        }
        tokio::time::sleep(POLL).await;
    }
}

#[cfg(test)]
mod tests;
