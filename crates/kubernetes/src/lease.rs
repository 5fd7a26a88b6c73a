//! Who of several operators works: the holder of a Lease. It saves them from getting in each other's way; that no two of them ever
//! decide the same thing is not its matter, but that of the state's version.

use k8s_openapi::api::coordination::v1::Lease as Object;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::MicroTime;
use k8s_openapi::jiff::Timestamp;
use kube::Client;
use kube::api::{Api, PostParams};
use serde_json::json;
use std::time::Duration;
use tokio::time::Instant;

/// A holder that has not renewed for so long is taken for gone.
const DURATION: Duration = Duration::from_secs(10);
const RENEW_EVERY: Duration = Duration::from_secs(2);
/// A holder that could not renew for so long stops before others may begin.
const GIVE_UP_AFTER: Duration = Duration::from_secs(7);
const CALL_TIMEOUT: Duration = Duration::from_secs(2);

pub struct Lease {
    api: Api<Object>,
    name: String,
    /// Of this process.
    identity: String,
    /// What another holder wrote last, and when that was seen here: the clocks of two machines are not compared.
    seen: Option<(String, Instant)>,
    renewed: Instant,
}

impl Lease {
    pub fn new(client: Client, namespace: &str, name: &str, identity: String) -> Self {
        let api = Api::namespaced(client, namespace);
        Self { api, name: name.into(), identity, seen: None, renewed: Instant::now() }
    }

    /// Returns when this process holds it.
    pub async fn acquire(&mut self) {
        loop {
            match tokio::time::timeout(CALL_TIMEOUT, self.attempt()).await {
                Ok(Ok(true)) => {
                    self.renewed = Instant::now();
                    return;
                }
                Ok(Ok(false)) => (),
                Ok(Err(error)) => tracing::warn!(%error, "the lease {} cannot be taken", self.name),
                Err(_) => tracing::warn!("the API server does not answer about the lease {}", self.name),
            }
            tokio::time::sleep(RENEW_EVERY).await;
        }
    }

    /// Renews it until that is no longer possible.
    pub async fn keep(&mut self) {
        loop {
            tokio::time::sleep(RENEW_EVERY).await;
            match tokio::time::timeout(CALL_TIMEOUT, self.attempt()).await {
                Ok(Ok(true)) => self.renewed = Instant::now(),
                Ok(Ok(false)) => {
                    tracing::warn!("another operator holds the lease {}", self.name);
                    return;
                }
                Ok(Err(error)) => tracing::warn!(%error, "the lease {} was not renewed", self.name),
                Err(_) => tracing::warn!("the API server does not answer about the lease {}", self.name),
            }
            if self.renewed.elapsed() >= GIVE_UP_AFTER {
                tracing::warn!("the lease {} was not renewed for {} s", self.name, GIVE_UP_AFTER.as_secs());
                return;
            }
        }
    }

    /// Lets another operator begin at once.
    pub async fn release(self) {
        let released = async {
            let mut object = self.api.get(&self.name).await?;
            let spec = object.spec.get_or_insert_default();
            if spec.holder_identity.as_deref() == Some(&self.identity) {
                spec.holder_identity = None;
                self.api.replace(&self.name, &PostParams::default(), &object).await?;
            }
            Ok::<_, kube::Error>(())
        };
        if let Ok(Err(error)) = tokio::time::timeout(CALL_TIMEOUT, released).await {
            tracing::warn!(%error, "the lease {} was not released; it expires in {} s", self.name, DURATION.as_secs());
        }
    }

    /// Takes or renews it if nobody else holds it. True when it is held now.
    async fn attempt(&mut self) -> Result<bool, kube::Error> {
        let Some(mut object) = self.api.get_opt(&self.name).await? else {
            let fresh = json!({
                "apiVersion": "coordination.k8s.io/v1", "kind": "Lease", "metadata": {"name": self.name},
                "spec": {"holderIdentity": self.identity, "leaseDurationSeconds": DURATION.as_secs()},
            });
            let mut fresh: Object = serde_json::from_value(fresh).map_err(kube::Error::SerdeError)?;
            fresh.spec.get_or_insert_default().renew_time = Some(MicroTime(Timestamp::now()));
            return settled(self.api.create(&PostParams::default(), &fresh).await);
        };
        let mark = object.metadata.resource_version.clone().unwrap_or_default();
        let spec = object.spec.get_or_insert_default();
        let holder = spec.holder_identity.clone().unwrap_or_default();
        let mine = holder == self.identity;
        if !mine && !holder.is_empty() {
            let since = match &self.seen {
                Some((seen, since)) if *seen == mark => *since,
                _ => {
                    let now = Instant::now();
                    self.seen = Some((mark, now));
                    now
                }
            };
            if since.elapsed() < DURATION {
                return Ok(false);
            }
        }
        let now = MicroTime(Timestamp::now());
        if !mine {
            spec.acquire_time = Some(now.clone());
            spec.lease_transitions = Some(spec.lease_transitions.unwrap_or(0) + 1);
        }
        spec.holder_identity = Some(self.identity.clone());
        spec.lease_duration_seconds = i32::try_from(DURATION.as_secs()).ok();
        spec.renew_time = Some(now);
        settled(self.api.replace(&self.name, &PostParams::default(), &object).await)
    }
}

/// A conflict says that another was quicker.
fn settled(written: Result<Object, kube::Error>) -> Result<bool, kube::Error> {
    match written {
        Ok(_) => Ok(true),
        Err(kube::Error::Api(status)) if status.code == 409 => Ok(false),
        Err(error) => Err(error),
    }
}
