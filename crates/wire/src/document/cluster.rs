//! How a deployment runs on a cluster, and what is asked of it there.

use crate::Colour;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// What only a cluster has.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Cluster {
    /// Image of a version that names none of its own; `$version` stands for the version's label.
    pub image: String,
    pub image_pull_policy: ImagePullPolicy,
    /// How requests are led to an environment.
    pub router: Router,
    /// With `router.kind: gateway`.
    pub gateway: GatewayPods,
    pub storage: Storage,
    /// Of each node.
    pub resources: Resources,
}

impl Default for Cluster {
    fn default() -> Self {
        Self {
            image: "jadevectordb:$version".into(),
            image_pull_policy: ImagePullPolicy::default(),
            router: Router::default(),
            gateway: GatewayPods::default(),
            storage: Storage::default(),
            resources: Resources::default(),
        }
    }
}

/// As of a pod.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub enum ImagePullPolicy {
    Always,
    #[default]
    IfNotPresent,
    Never,
}

impl ImagePullPolicy {
    pub fn as_str(self) -> &'static str {
        match self {
            ImagePullPolicy::Always => "Always",
            ImagePullPolicy::IfNotPresent => "IfNotPresent",
            ImagePullPolicy::Never => "Never",
        }
    }
}

/// What leads requests to an environment, and what it has to know.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Router {
    pub kind: RouterKind,
    /// Names that clients ask for, of all kinds but `service` and `gateway`; without any, every name.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub hostnames: Vec<String>,
    /// Of `ingress` and `nginxIngress`; without it, the cluster's default.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ingress_class_name: Option<String>,
    /// Of `httpRoute`: the Gateway that the route belongs to.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub parent: Option<Parent>,
    /// Of `istio`: gateways that the rules are for; without any, the mesh.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub gateways: Vec<String>,
    /// Where a request through the router arrives, such as `http://10.0.0.7`: it is asked whether the router does what it was
    /// told. Without it, what the router says of itself is believed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub probe_url: Option<String>,
}

/// A Gateway of the Gateway API.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Parent {
    pub name: String,
    /// Without it, the deployment's own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub namespace: Option<String>,
    /// One of its listeners; without it, all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub section_name: Option<String>,
}

/// Kinds of routers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
pub enum RouterKind {
    /// The selector of a Service: all requests or none. Before the switch, replayed reads are the evidence.
    #[default]
    Service,
    /// The backend of an Ingress: all requests or none.
    Ingress,
    /// Annotations of a second Ingress, as ingress-nginx reads them: weights and a header. Legacy.
    NginxIngress,
    /// Weights and a header of an HTTPRoute of the Gateway API.
    HttpRoute,
    /// Weights and a header of a VirtualService of Istio.
    Istio,
    /// Our own gateway in the cluster: weights, a header, reads of one's own writes.
    Gateway,
}

impl RouterKind {
    pub fn as_str(self) -> &'static str {
        match self {
            RouterKind::Service => "service",
            RouterKind::Ingress => "ingress",
            RouterKind::NginxIngress => "nginxIngress",
            RouterKind::HttpRoute => "httpRoute",
            RouterKind::Istio => "istio",
            RouterKind::Gateway => "gateway",
        }
    }

    /// Whether it can give each environment a share of the requests.
    pub fn does_shares(self) -> bool {
        match self {
            RouterKind::Service | RouterKind::Ingress => false,
            RouterKind::NginxIngress | RouterKind::HttpRoute | RouterKind::Istio | RouterKind::Gateway => true,
        }
    }
}

/// The pods of our own gateway.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct GatewayPods {
    /// Without it, the operator's own.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub image: Option<String>,
    pub replicas: u8,
    pub resources: Resources,
}

impl Default for GatewayPods {
    fn default() -> Self {
        let requests = [("cpu", "100m"), ("memory", "64Mi")].map(|(name, amount)| (name.into(), amount.into()));
        let resources = Resources { requests: requests.into(), limits: BTreeMap::new() };
        Self { image: None, replicas: 2, resources }
    }
}

/// The volume of each node.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Storage {
    /// As the cluster writes sizes, such as `10Gi`.
    pub size: String,
    /// Without it, the cluster's default.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub class_name: Option<String>,
}

impl Default for Storage {
    fn default() -> Self {
        Self { size: "10Gi".into(), class_name: None }
    }
}

/// As of a container: names such as `cpu` and `memory`, and amounts as the cluster writes them.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Resources {
    pub requests: BTreeMap<String, String>,
    pub limits: BTreeMap<String, String>,
}

impl Default for Resources {
    fn default() -> Self {
        let requests = [("cpu", "250m"), ("memory", "512Mi")].map(|(name, amount)| (name.into(), amount.into()));
        Self { requests: requests.into(), limits: BTreeMap::new() }
    }
}

/// A command, as an object of a cluster carries it: who may change the object may ask. One is new when its
/// id is another than that of the request that was answered last.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Request {
    /// Another one than that of the last request; the status answers with it.
    pub id: String,
    pub action: Action,
    /// What `deploy` brings in.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version: Option<String>,
    /// `promote`: skip all steps, not the checks.
    #[serde(default)]
    pub full: bool,
    /// Why `rollback`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// `rollback`: also when the primary does not answer, and what it alone has is lost by that.
    #[serde(default)]
    pub accept_loss: bool,
    /// The candidate's share of the reads under `canary`, percent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub share_percent: Option<u8>,
    /// `verify`: also compute each fingerprint anew from what is on disk.
    #[serde(default)]
    pub deep: bool,
    /// Where `switch` moves everything.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub to: Option<Colour>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
pub enum Action {
    Deploy,
    Promote,
    Pause,
    Resume,
    Rollback,
    Canary,
    Switch,
    /// Compare the data of both environments; changes nothing.
    Verify,
}

impl Action {
    pub fn as_str(self) -> &'static str {
        match self {
            Action::Deploy => "deploy",
            Action::Promote => "promote",
            Action::Pause => "pause",
            Action::Resume => "resume",
            Action::Rollback => "rollback",
            Action::Canary => "canary",
            Action::Switch => "switch",
            Action::Verify => "verify",
        }
    }
}
