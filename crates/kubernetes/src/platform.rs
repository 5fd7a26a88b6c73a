//! A namespace of a cluster as a [`Platform`]: workloads and routes applied, pods looked at.

mod gateways;
mod probe;
mod reach;
mod workload;

use crate::apply::Applier;
use crate::build::{self, Kind, Owner, Wanted};
use crate::error::Error;
use crate::figures::Figures;
use crate::in_effect;
use crate::names::{NODE_LABEL, Names};
use crate::resource::BlueGreenObject;
use crate::state::StatusKeeper;
use crate::store::{Stores, has_ended};
use client::Http;
use conductor::{Platform, PlatformError, PlatformObservation, REST};
use gateways::Gateways;
use k8s_openapi::api::core::v1::{Pod, Secret};
use kube::api::{Api, DeleteParams, ListParams, PostParams};
use kube::{Client, ResourceExt};
use parking_lot::Mutex;
use rand::distr::{Alphanumeric, SampleString};
use reach::Reach;
use rollout::{Phase, State, World};
use serde_json::json;
use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::Notify;
use tokio::time::Instant;
use wire::document::{BlueGreen, REPLICAS_MAX, RouterKind};
use wire::{ByColour, Colour, Member};

const ADMIN_TOKEN: &str = "admin-token";
const ADMIN_PASSWORD: &str = "admin-password";
/// Characters of a secret that nobody has to remember.
const TOKEN_LENGTH: usize = 40;
const PASSWORD_LENGTH: usize = 20;
/// Pods that are remembered.
const ENDED_MAX: usize = 64;
/// What each deployment adds to the pause between two looks at rest, and the longest pause. What a watch tells is
/// seen at once in any case; a look asks the nodes, and what asks them all the time has to be shared by all deployments.
const REST_EACH: Duration = Duration::from_millis(2);
const REST_MAX: Duration = Duration::from_secs(30);

/// One deployment in a cluster.
pub struct ClusterPlatform {
    client: Client,
    names: Names,
    owner: Owner,
    document: BlueGreen,
    stores: Arc<Stores>,
    applier: Applier,
    keeper: Arc<StatusKeeper>,
    admin_token: String,
    http: Http,
    gateways: Gateways,
    reach: Reach,
    gateway_image: String,
    figures: Figures,
    changes: Arc<Notify>,
    told: Mutex<Told>,
}

#[derive(Default)]
struct Told {
    state: Option<State>,
    /// Version of the Deployment at which it was certain that no pod of an environment is left.
    gone_at: BTreeMap<Member, String>,
    versions: ByColour<Option<String>>,
    /// Shares, and the version that answered all requests under them.
    seen: Option<(ByColour<u8>, String)>,
    /// Pods that were told to end at once, by their uid.
    ended: VecDeque<String>,
    /// Why the router's work is not believed.
    unseen: Option<String>,
    /// When the look began that nothing was made of yet.
    looked: Option<Instant>,
}

impl ClusterPlatform {
    /// # Errors
    /// When the credentials of the deployment can be neither read nor made.
    pub async fn open(
        client: Client,
        stores: Arc<Stores>,
        keeper: Arc<StatusKeeper>,
        object: &BlueGreenObject,
        document: BlueGreen,
        gateway_image: String,
        figures: Figures,
    ) -> Result<Self, Error> {
        let names = Names::new(&object.name_any(), &object.namespace().unwrap_or_default());
        let owner = Owner { name: object.name_any(), uid: object.uid().unwrap_or_default() };
        let admin_token = credentials(&client, &names).await?;
        let applier = Applier::new(client.clone(), stores.clone(), names.clone());
        Ok(Self {
            client,
            changes: stores.changes(&names),
            figures,
            names,
            owner,
            document,
            stores,
            applier,
            keeper,
            admin_token,
            http: Http::new(),
            gateways: Gateways::default(),
            reach: Reach::default(),
            gateway_image,
            told: Mutex::default(),
        })
    }

    /// How many nodes of each environment there are or shall be.
    fn nodes(&self, heads: ByColour<u8>) -> ByColour<u8> {
        ByColour::from_fn(|colour| {
            let is_there = |number: &u8| {
                let name = self.names.node(Member::new(colour, *number));
                self.stores.object(Kind::Deployment, &self.names, &name).is_some()
            };
            let there = (0..REPLICAS_MAX).rev().find(is_there).map_or(0, |last| last + 1);
            self.document.spec.replicas.max(heads.get(colour) + 1).max(there)
        })
    }

    /// Whether no pod of a node is left: asked of the API server itself, since a watch may lag behind.
    async fn is_gone(&self, member: Member, deployment_version: Option<String>) -> Result<bool, PlatformError> {
        if deployment_version.is_some() && self.told.lock().gone_at.get(&member) == deployment_version.as_ref() {
            return Ok(true);
        }
        let (deployment, colour, number) = (&self.names.deployment, member.colour, member.number);
        let selector = format!("app={deployment},version={colour},{NODE_LABEL}={number}");
        let pods: Api<Pod> = Api::namespaced(self.client.clone(), &self.names.namespace);
        let listed = pods.list(&ListParams::default().labels(&selector)).await;
        let listed = listed.map_err(|error| PlatformError::Observe(format!("the pods of {member}: {error}")))?;
        let gone = listed.items.iter().all(has_ended);
        if let Some(version) = deployment_version.filter(|_| gone) {
            self.told.lock().gone_at.insert(member, version);
        }
        Ok(gone)
    }

    /// What the router does. Where it can be asked itself, all or nothing is believed when it was seen.
    async fn reads_in_effect(&self) -> Option<ByColour<u8>> {
        let router = &self.document.spec.cluster.router;
        if router.kind == RouterKind::Gateway {
            return self.gateways.in_effect(&self.stores, &self.names);
        }
        let shares = in_effect::shares(&self.stores, &self.names, router.kind)?;
        let Some(url) = &router.probe_url else { return Some(shares) };
        let sole = Colour::BOTH.into_iter().find(|colour| *shares.get(*colour) == 100);
        let versions = self.told.lock().versions.clone();
        let Some(version) = sole.and_then(|colour| versions.get(colour).clone()) else { return Some(shares) };
        if versions.blue == versions.green || self.told.lock().seen == Some((shares, version.clone())) {
            return Some(shares);
        }
        let seen = probe::all_answered_by(&self.http, url, router, None, &version).await;
        let mut told = self.told.lock();
        told.unseen = seen.err();
        if told.unseen.is_none() {
            told.seen = Some((shares, version));
            return Some(shares);
        }
        None
    }

    /// Shares that the router can be told now, and what is missing for those that it shall have.
    async fn reads_possible(&self, world: &World) -> (ByColour<u8>, Option<String>) {
        let router = &self.document.spec.cluster.router;
        if router.kind == RouterKind::Gateway {
            // It knows itself where nobody is.
            return (world.reads, None);
        }
        let current = in_effect::shares(&self.stores, &self.names, router.kind);
        self.reach.shares(&self.http, router, &versions(world), current, world.reads).await
    }

    /// Pods of the side that the right to write is taken from without its help.
    fn handed_away(&self, state: Option<&State>) -> Vec<Arc<Pod>> {
        match state.map(|state| &state.phase) {
            Some(Phase::HandingOver { to, fenced: true, .. }) => self.stores.pods(&self.names, to.other()),
            _ => Vec::new(),
        }
    }

    /// Ends the processes of pods now, and not after the time that a pod has to finish. The cluster still tells when they are gone.
    async fn end_now(&self, pods: &[Arc<Pod>]) -> Result<(), PlatformError> {
        let api: Api<Pod> = Api::namespaced(self.client.clone(), &self.names.namespace);
        for pod in pods.iter().filter(|pod| !has_ended(pod)) {
            let uid = pod.uid().unwrap_or_default();
            if self.told.lock().ended.contains(&uid) {
                continue;
            }
            let parameters = DeleteParams::default().grace_period(1);
            match api.delete(&pod.name_any(), &parameters).await {
                Ok(_) => (),
                Err(kube::Error::Api(status)) if status.code == 404 => (),
                Err(error) => {
                    let why = format!("the pod {} could not be ended: {error}", pod.name_any());
                    return Err(PlatformError::Observe(why));
                }
            }
            let ended = &mut self.told.lock().ended;
            if ended.len() >= ENDED_MAX {
                ended.pop_front();
            }
            ended.push_back(uid);
        }
        Ok(())
    }
}

impl Platform for ClusterPlatform {
    async fn load(&self) -> Result<Option<State>, PlatformError> {
        let state = self.keeper.load().await?;
        self.told.lock().state = state.clone();
        Ok(state)
    }

    async fn store(&self, state: &State) -> Result<(), PlatformError> {
        self.keeper.store(state).await?;
        self.told.lock().state = Some(state.clone());
        Ok(())
    }

    async fn apply(&self, world: &World) -> Result<(), PlatformError> {
        let state = self.told.lock().state.clone();
        let (reads, missing) = self.reads_possible(world).await;
        let world = &World { reads, ..world.clone() };
        let wanted = Wanted {
            names: &self.names,
            document: &self.document,
            owner: Some(&self.owner),
            gateway_image: &self.gateway_image,
            world,
            nodes: self.nodes(world.heads),
            state: state.as_ref(),
        };
        self.told.lock().versions = versions(world);
        let objects = build::objects(&wanted);
        let applied = self.applier.make(&objects).await;
        applied.map_err(|error| PlatformError::Router(error.to_string()))?;
        if self.document.spec.cluster.router.kind == RouterKind::Gateway {
            let generation = state.as_ref().map_or(0, |state| state.generation);
            let (http, token) = (&self.http, &self.admin_token);
            self.gateways.tell(http, token, &self.stores, &self.names, world, generation).await?;
        }
        // Whoever waits for the end of a fenced side waits for a process that may not hear.
        let mut fenced = self.handed_away(state.as_ref());
        fenced.extend(world.fenced.into_iter().flat_map(|member| self.stores.pods_of(&self.names, member)));
        self.end_now(&fenced).await?;
        if let Some(looked) = self.told.lock().looked.take() {
            self.figures.reconciled(looked.elapsed());
        }
        let missing = missing.or_else(|| self.told.lock().unseen.clone());
        self.reach.trouble(missing).map_or(Ok(()), |why| Err(PlatformError::Router(why)))
    }

    fn clients_reach_nodes(&self) -> bool {
        // Behind our own gateway they end there.
        self.document.spec.cluster.router.kind != RouterKind::Gateway
    }

    async fn end_process(&self, member: Member) -> Result<(), PlatformError> {
        self.end_now(&self.stores.pods_of(&self.names, member)).await
    }

    fn rest(&self, at_ease: bool) -> Duration {
        // Who may have to take a lost head's place looks for it all the time.
        match at_ease && self.document.spec.replicas == 1 {
            true => rest(self.stores.deployments()),
            false => REST,
        }
    }

    async fn changed(&self) {
        self.changes.notified().await;
    }

    async fn observe(&self) -> Result<PlatformObservation, PlatformError> {
        self.told.lock().looked = Some(Instant::now());
        let mut environments = ByColour::new(Vec::new(), Vec::new());
        let heads = self.told.lock().state.as_ref().map_or(ByColour::new(0, 0), |state| state.replicas.heads);
        let nodes = self.nodes(heads);
        let members = |colour| (0..*nodes.get(colour)).map(move |number| Member::new(colour, number));
        for member in Colour::BOTH.into_iter().flat_map(members) {
            let colour = member.colour;
            let pods = self.stores.pods_of(&self.names, member);
            let deployment = self.stores.object(Kind::Deployment, &self.names, &self.names.node(member));
            let gone = match workload::may_be_gone(deployment.as_deref(), &pods) {
                true => self.is_gone(member, deployment.as_ref().and_then(|there| there.resource_version())).await?,
                false => false,
            };
            let (version, token) = (&self.document.spec.version, &self.admin_token);
            let observed = workload::observe(deployment.as_deref(), &pods, gone, version, token);
            environments.get_mut(colour).push(observed);
        }
        self.reach.look(&self.stores, &self.names);
        let reads_in_effect = self.reads_in_effect().await;
        Ok(PlatformObservation { environments, reads_in_effect, traffic: None, read_latency: None })
    }
}

fn rest(deployments: usize) -> Duration {
    REST_EACH.saturating_mul(deployments.try_into().unwrap_or(u32::MAX)).clamp(REST, REST_MAX)
}

fn versions(world: &World) -> ByColour<Option<String>> {
    ByColour::from_fn(|colour| world.environments.get(colour).version.clone())
}

/// The admin token of the deployment; makes the secret when there is none yet. It has no owner: the data that the password opens has
/// none either.
async fn credentials(client: &Client, names: &Names) -> Result<String, Error> {
    let what = format!("Secret {}", names.secret());
    let secrets: Api<Secret> = Api::namespaced(client.clone(), &names.namespace);
    let get = async || {
        let found = secrets.get_opt(&names.secret()).await;
        found.map_err(|source| Error::Get { what: what.clone(), source })
    };
    let secret = match get().await? {
        Some(secret) => secret,
        None => {
            let random = |length| Alphanumeric.sample_string(&mut rand::rng(), length);
            let fresh = json!({
                "apiVersion": "v1",
                "kind": "Secret",
                "metadata": {"name": names.secret(), "namespace": names.namespace, "labels": names.labels()},
                "type": "Opaque",
                "stringData": {ADMIN_TOKEN: random(TOKEN_LENGTH), ADMIN_PASSWORD: random(PASSWORD_LENGTH)},
            });
            let fresh: Secret = serde_json::from_value(fresh)
                .map_err(|error| Error::Shape { what: what.clone(), why: error.to_string() })?;
            match secrets.create(&PostParams::default(), &fresh).await {
                Ok(secret) => secret,
                // Another operator was quicker.
                Err(kube::Error::Api(status)) if status.code == 409 => {
                    let why = "it came and went".into();
                    get().await?.ok_or_else(|| Error::Shape { what: what.clone(), why })?
                }
                Err(source) => return Err(Error::Apply { what, source }),
            }
        }
    };
    let token = secret.data.as_ref().and_then(|data| data.get(ADMIN_TOKEN));
    let token = token.and_then(|token| String::from_utf8(token.0.clone()).ok());
    token
        .map(|token| token.trim().to_string())
        .ok_or_else(|| Error::Shape { what, why: format!("`{ADMIN_TOKEN}` is missing") })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn looks_at_rest_are_shared_by_all_deployments() {
        assert_eq!([rest(1), rest(100)], [REST; 2]);
        assert_eq!([rest(10_000), rest(1_000_000)], [Duration::from_secs(20), REST_MAX]);
    }
}
