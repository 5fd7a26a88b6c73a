//! The API server with its deployments, and what controllers and kubelets would say of their pods.

use super::figures::Calls;
use super::nodes;
use crate::cluster::{Place, objects};
use anyhow::{Context, Result, ensure};
use futures_util::{StreamExt, TryStreamExt, stream};
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::{Namespace, Pod, Service, ServiceAccount};
use k8s_openapi::api::discovery::v1::EndpointSlice;
use kube::api::{Api, Patch, PatchParams, PostParams};
use kube::runtime::{WatchStreamExt, watcher};
use kube::{Client, ResourceExt};
use kubernetes::BlueGreenObject;
use kubernetes::names::DEPLOYMENT_LABEL;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use std::path::Path;
use std::process::Command;
use std::time::Duration;
use tokio::task::JoinHandle;
use tokio::time::Instant;

/// Deployments of one namespace.
const PER_NAMESPACE: u32 = 1_000;
/// Calls at the same time.
const AT_ONCE: usize = 32;
const KNOWN_WITHIN: Duration = Duration::from_secs(30);
const LOOK_EVERY: Duration = Duration::from_millis(5);
const PUT_RIGHT_WITHIN: Duration = Duration::from_secs(60);

pub struct Cluster {
    client: Client,
    objects: u32,
}

fn namespace(number: u32) -> String {
    format!("many-{}", number / PER_NAMESPACE)
}

fn name(number: u32) -> String {
    format!("db-{number}")
}

/// A deployment's number, from its name.
fn number(name: &str) -> Option<u32> {
    name.strip_prefix("db-")?.parse().ok()
}

fn parsed<K: DeserializeOwned>(value: Value) -> Result<K> {
    Ok(serde_json::from_value(value)?)
}

impl Cluster {
    /// Makes the definition and the namespaces.
    pub async fn prepare(program: &Path, objects: u32) -> Result<Cluster> {
        let client = Client::try_default().await.context("no cluster")?;
        let rendered =
            Command::new(program).args(["render", "crd"]).output().context("cannot render the definition")?;
        objects::make(&Place::of_this_workspace()?, &String::from_utf8(rendered.stdout)?)?;
        let cluster = Cluster { client, objects };
        cluster.until_known().await?;
        for first in (0..objects).step_by(PER_NAMESPACE as usize) {
            let name = namespace(first);
            let namespaces: Api<Namespace> = Api::all(cluster.client.clone());
            namespaces.create(&PostParams::default(), &parsed(json!({"metadata": {"name": name}}))?).await?;
            // Nobody else makes one here, and no pod is admitted without.
            let accounts: Api<ServiceAccount> = Api::namespaced(cluster.client.clone(), &name);
            accounts.create(&PostParams::default(), &parsed(json!({"metadata": {"name": "default"}}))?).await?;
        }
        Ok(cluster)
    }

    async fn until_known(&self) -> Result<()> {
        let (api, began): (Api<BlueGreenObject>, _) = (Api::all(self.client.clone()), Instant::now());
        while let Err(error) = api.list(&Default::default()).await {
            ensure!(began.elapsed() < KNOWN_WITHIN, "the definition is not taken up: {error}");
            tokio::time::sleep(LOOK_EVERY).await;
        }
        Ok(())
    }

    pub async fn make_deployments(&self) -> Result<()> {
        let one = async |number: u32| {
            let (namespace, name) = (namespace(number), name(number));
            let api: Api<BlueGreenObject> = Api::namespaced(self.client.clone(), &namespace);
            let object = json!({
                "apiVersion": wire::document::API_VERSION, "kind": wire::document::KIND,
                "metadata": {"name": name, "namespace": namespace}, "spec": {"mode": "development"},
            });
            api.create(&PostParams::default(), &parsed(object)?).await.context(name)?;
            Ok::<_, anyhow::Error>(())
        };
        stream::iter(0..self.objects).map(one).buffer_unordered(AT_ONCE).try_collect().await
    }

    /// Says of each Deployment what its controller, its kubelet and the one for slices would, until it is aborted.
    pub fn keep_pods(&self) -> JoinHandle<()> {
        let client = self.client.clone();
        let deployments: Api<Deployment> = Api::all(client.clone());
        let changes = watcher(deployments, watcher::Config::default().labels(DEPLOYMENT_LABEL));
        tokio::spawn(changes.applied_objects().for_each_concurrent(AT_ONCE, move |deployment| {
            let client = client.clone();
            async move {
                let said = match deployment {
                    Ok(deployment) => say(&client, &deployment).await,
                    Err(error) => Err(error.into()),
                };
                if let Err(error) = said {
                    eprintln!("  a pod was not made: {error:#}");
                }
            }
        }))
    }

    /// How often each thing was asked for since the API server began.
    pub async fn calls(&self) -> Result<Calls> {
        let request = hyper::Request::get("/metrics").body(Vec::new())?;
        Ok(Calls::of(&self.client.request_text(request).await?))
    }

    /// Leads Services to the wrong side, one after the other; how long until each leads to the right one again, ms.
    pub async fn edit_services(&self, edits: usize) -> Result<Vec<f64>> {
        let mut took_ms = Vec::new();
        for edit in 0..edits {
            let number = (edit as u32).wrapping_mul(7_919) % self.objects;
            let services: Api<Service> = Api::namespaced(self.client.clone(), &namespace(number));
            let service = format!("{}-service", name(number));
            let wrong = Patch::Merge(json!({"spec": {"selector": {"version": "green"}}}));
            services.patch(&service, &PatchParams::default(), &wrong).await?;
            let began = Instant::now();
            while leads_to(&services.get(&service).await?) != Some("blue") {
                ensure!(began.elapsed() < PUT_RIGHT_WITHIN, "{service} still leads to the wrong side");
                tokio::time::sleep(LOOK_EVERY).await;
            }
            took_ms.push(began.elapsed().as_secs_f64() * 1e3);
        }
        Ok(took_ms)
    }
}

fn leads_to(service: &Service) -> Option<&str> {
    service.spec.as_ref()?.selector.as_ref()?.get("version").map(String::as_str)
}

async fn say(client: &Client, deployment: &Deployment) -> Result<()> {
    let replicas = deployment.spec.replicas.unwrap_or(1);
    let seen = deployment.status.as_ref().and_then(|status| status.observed_generation);
    if seen == deployment.metadata.generation {
        return Ok(());
    }
    let namespace = deployment.namespace().unwrap_or_default();
    if replicas == 1 {
        make_pod(client, &namespace, deployment).await.with_context(|| deployment.name_any())?;
    }
    let api: Api<Deployment> = Api::namespaced(client.clone(), &namespace);
    let status = json!({"status": {
        "observedGeneration": deployment.metadata.generation, "replicas": replicas, "readyReplicas": replicas,
        "availableReplicas": replicas, "updatedReplicas": replicas,
    }});
    api.patch_status(&deployment.name_any(), &PatchParams::default(), &Patch::Merge(status)).await?;
    Ok(())
}

async fn make_pod(client: &Client, namespace: &str, deployment: &Deployment) -> Result<()> {
    let metadata = deployment.spec.template.metadata.clone().unwrap_or_default();
    let owner = deployment.labels().get(DEPLOYMENT_LABEL).context("no label")?;
    let address = nodes::address(number(owner).context("another deployment")?).to_string();
    let name = format!("{}-0", deployment.name_any());
    let pods: Api<Pod> = Api::namespaced(client.clone(), namespace);
    let pod = json!({
        "metadata": {"name": name, "labels": metadata.labels, "annotations": metadata.annotations},
        "spec": {"nodeName": "nowhere", "containers": [{"name": "node", "image": "nowhere"}]},
    });
    pods.create(&PostParams::default(), &parsed(pod)?).await?;
    let status = json!({"status": {
        "phase": "Running", "podIP": address, "podIPs": [{"ip": address}],
        "conditions": [{"type": "Ready", "status": "True"}],
    }});
    pods.patch_status(&name, &PatchParams::default(), &Patch::Merge(status)).await?;
    let service = format!("{owner}-service");
    let slices: Api<EndpointSlice> = Api::namespaced(client.clone(), namespace);
    let slice = json!({
        "metadata": {
            "name": format!("{service}-0"),
            "labels": {DEPLOYMENT_LABEL: owner, "kubernetes.io/service-name": service},
        },
        "addressType": "IPv4",
        // No slice may lead to this machine itself, where the nodes are.
        "endpoints": [{
            "addresses": ["10.1.1.1"], "conditions": {"ready": true}, "targetRef": {"kind": "Pod", "name": name},
        }],
        "ports": [{"name": "http", "port": 8080}],
    });
    slices.create(&PostParams::default(), &parsed(slice)?).await?;
    Ok(())
}
