//! Every object of a deployment as it shall be. Values in, values out: no client is needed, and nothing here can fail.

mod gateway;
mod node;
mod router;
mod service;

use crate::names::Names;
use rollout::{State, World};
use serde_json::{Value, json};
use wire::document::{BlueGreen, RouterKind};
use wire::{ByColour, Colour, Member};

/// One object that shall be there.
#[derive(Debug, Clone, PartialEq)]
pub struct Object {
    pub kind: Kind,
    pub name: String,
    /// The fields that are ours; everything else is left to others.
    pub body: Value,
}

/// Kinds of objects, in the order in which they are applied: what a node needs comes before it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Kind {
    Secret,
    ConfigMap,
    Service,
    Claim,
    Deployment,
    Ingress,
    HttpRoute,
    DestinationRule,
    VirtualService,
}

impl Kind {
    /// What every cluster has.
    pub const EVERYWHERE: [Kind; 5] = [Kind::ConfigMap, Kind::Service, Kind::Claim, Kind::Deployment, Kind::Ingress];
    /// What a cluster has when it was installed there.
    pub const WHERE_INSTALLED: [Kind; 3] = [Kind::HttpRoute, Kind::DestinationRule, Kind::VirtualService];

    pub fn api_version(self) -> &'static str {
        match self {
            Kind::Deployment => "apps/v1",
            Kind::Ingress => "networking.k8s.io/v1",
            Kind::HttpRoute => "gateway.networking.k8s.io/v1",
            Kind::DestinationRule | Kind::VirtualService => "networking.istio.io/v1",
            Kind::Secret | Kind::ConfigMap | Kind::Service | Kind::Claim => "v1",
        }
    }

    pub fn as_str(self) -> &'static str {
        match self {
            Kind::Secret => "Secret",
            Kind::ConfigMap => "ConfigMap",
            Kind::Service => "Service",
            Kind::Claim => "PersistentVolumeClaim",
            Kind::Deployment => "Deployment",
            Kind::Ingress => "Ingress",
            Kind::HttpRoute => "HTTPRoute",
            Kind::DestinationRule => "DestinationRule",
            Kind::VirtualService => "VirtualService",
        }
    }
}

/// Who owns the objects, so that they go with it. Claims have no owner: data outlives everything.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Owner {
    pub name: String,
    pub uid: String,
}

/// What the objects follow from.
pub struct Wanted<'a> {
    pub names: &'a Names,
    pub document: &'a BlueGreen,
    pub owner: Option<&'a Owner>,
    /// Of our own gateway, if the document names none.
    pub gateway_image: &'a str,
    pub world: &'a World,
    /// How many nodes of each environment are looked after, those that shall not run any more included.
    pub nodes: ByColour<u8>,
    /// The durable state; `None`: there is none yet.
    pub state: Option<&'a State>,
}

impl Wanted<'_> {
    /// The nodes of both environments, whether they run or not.
    fn members(&self) -> impl Iterator<Item = Member> {
        Colour::BOTH
            .into_iter()
            .flat_map(|colour| (0..*self.nodes.get(colour)).map(move |number| Member::new(colour, number)))
    }

    /// Version that a node shall run. A head runs whatever its number: with fewer replicas than before it may be one too many.
    fn version_of(&self, member: Member) -> Option<&str> {
        let is_head = *self.world.heads.get(member.colour) == member.number;
        let counts = is_head || member.number < self.document.spec.replicas;
        let version = self.world.environments.get(member.colour).version.as_deref();
        version.filter(|_| counts && self.world.fenced != Some(member))
    }

    /// Environment that a router leads to which can do all or nothing.
    pub fn leads_to(&self) -> Colour {
        match self.document.spec.cluster.router.kind.does_shares() {
            // Beside such a router, the Service is for those who write.
            true => self.world.writes,
            false if self.world.reads.green > self.world.reads.blue => Colour::Green,
            false => Colour::Blue,
        }
    }
}

/// All objects, in the order in which they are applied.
pub fn objects(wanted: &Wanted) -> Vec<Object> {
    let mut objects = vec![settings(wanted), service::main(wanted)];
    objects.extend(Colour::BOTH.map(|colour| service::environment(wanted, colour)));
    for member in wanted.members() {
        // A claim is made with the first version that needs it, and stays.
        if wanted.version_of(member).is_some() {
            objects.push(node::claim(wanted, member));
        }
        objects.push(node::deployment(wanted, member));
    }
    if wanted.document.spec.cluster.router.kind == RouterKind::Gateway {
        objects.push(gateway::deployment(wanted));
    }
    objects.extend(router::objects(wanted));
    objects.sort_by_key(|object| object.kind);
    objects
}

/// Whether a node with an empty folder waits to be told whom to follow. Only the very first begins a history of its own: an
/// emptied folder must not pass for a new deployment. It is looked up when a node starts, so a change restarts none.
fn joins(wanted: &Wanted, member: Member) -> bool {
    match wanted.state {
        None => member != Colour::Blue.into(),
        Some(state) => {
            member != state.head(state.primary) || !matches!(state.phase.unpaused(), rollout::Phase::Starting { .. })
        }
    }
}

fn settings(wanted: &Wanted) -> Object {
    let join = |member: Member| (node::join_key(member), joins(wanted, member).to_string().into());
    let data: serde_json::Map<String, Value> = wanted.members().map(join).collect();
    object(wanted, Kind::ConfigMap, wanted.names.settings(), wanted.names.labels(), json!({"data": data}))
}

/// With the metadata that every object has.
fn object(wanted: &Wanted, kind: Kind, name: String, labels: Value, rest: Value) -> Object {
    let mut body = json!({
        "apiVersion": kind.api_version(),
        "kind": kind.as_str(),
        "metadata": {"name": name, "namespace": wanted.names.namespace, "labels": labels},
    });
    if let Some(Owner { name, uid }) = wanted.owner.filter(|_| kind != Kind::Claim) {
        body["metadata"]["ownerReferences"] = json!([{
            "apiVersion": wire::document::API_VERSION, "kind": wire::document::KIND, "name": name, "uid": uid,
            "controller": true, "blockOwnerDeletion": true,
        }]);
    }
    if let (Value::Object(body), Value::Object(rest)) = (&mut body, rest) {
        body.extend(rest);
    }
    Object { kind, name, body }
}

#[cfg(test)]
mod tests;
