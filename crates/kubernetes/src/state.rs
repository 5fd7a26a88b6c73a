//! The durable state in the object's status. One owner writes the status; each write names the version of the object that it is
//! based on, so of two operators only one can go on.

use crate::error::Error;
use crate::names::Names;
use crate::operator::STATE_KEY;
use crate::resource::{BlueGreenObject, Status};
use conductor::PlatformError;
use k8s_openapi::api::core::v1::{ConfigMap, PersistentVolumeClaim};
use kube::api::{Api, ListParams, PostParams};
use kube::{Client, ResourceExt};
use rollout::State;
use tokio::sync::Mutex;

/// A write that others came before is tried again so often; what they changed is not ours.
const ATTEMPTS: usize = 5;
const CONFLICT: u16 = 409;

pub struct StatusKeeper {
    client: Client,
    api: Api<BlueGreenObject>,
    names: Names,
    name: String,
    known: Mutex<Known>,
}

struct Known {
    /// As it was last read or written.
    object: BlueGreenObject,
    /// Generation of the state that was read or stored here last.
    ours: Option<u64>,
}

impl StatusKeeper {
    /// # Errors
    /// When the object cannot be read.
    pub async fn open(client: Client, namespace: &str, name: &str) -> Result<Self, Error> {
        let api: Api<BlueGreenObject> = Api::namespaced(client.clone(), namespace);
        let object = get(&api, name).await?;
        let names = Names::new(name, namespace);
        Ok(Self { client, api, names, name: name.into(), known: Mutex::new(Known { object, ours: None }) })
    }

    pub async fn load(&self) -> Result<Option<State>, PlatformError> {
        {
            let mut known = self.known.lock().await;
            known.object = get(&self.api, &self.name).await.map_err(|error| PlatformError::Load(error.to_string()))?;
            if let Some(state) = state_of(&known.object)? {
                known.ours = Some(state.generation);
                return Ok(Some(state));
            }
        }
        let adopted = self.adopt().await?;
        self.known.lock().await.ours = adopted.as_ref().map(|state| state.generation);
        Ok(adopted)
    }

    /// Whether the object has a state that somebody else stored after ours. Asked under the lock under which ours are stored: the
    /// news of one's own store may come before its answer.
    pub async fn is_overtaken(&self, object: &BlueGreenObject) -> bool {
        let text = object.status.as_ref().and_then(|status| status.state.as_deref());
        is_newer(text, self.known.lock().await.ours)
    }

    /// The state that an earlier object of this name left with its data.
    async fn adopt(&self) -> Result<Option<State>, PlatformError> {
        let failed = |error: &dyn std::fmt::Display| PlatformError::Load(error.to_string());
        let maps: Api<ConfigMap> = Api::namespaced(self.client.clone(), &self.names.namespace);
        let map = maps.get_opt(&self.names.state()).await.map_err(|error| failed(&error))?;
        let text = map.and_then(|map| map.data?.remove(STATE_KEY));
        let Some(text) = text else {
            return match self.claims().await.map_err(|error| failed(&error))?.first() {
                None => Ok(None),
                Some(claim) => Err(PlatformError::Load(format!(
                    "the claim {claim} is of an earlier deployment of this name, and nothing says which of its data is the \
                     newest: restore ConfigMap {}, or delete the claims if their data is not wanted",
                    self.names.state()
                ))),
            };
        };
        let state = serde_json::from_str(&text)
            .map_err(|error| failed(&format!("ConfigMap {}: {error}", self.names.state())))?;
        let taken = self.show(|status| {
            status.state.get_or_insert_with(|| text.clone());
        });
        taken.await.map_err(|error| failed(&error))?;
        tracing::info!(name = self.name, "the deployment goes on where an earlier object of its name ended");
        Ok(Some(state))
    }

    async fn claims(&self) -> Result<Vec<String>, kube::Error> {
        let selector = format!("{}={}", crate::names::DEPLOYMENT_LABEL, self.names.deployment);
        let claims: Api<PersistentVolumeClaim> = Api::namespaced(self.client.clone(), &self.names.namespace);
        let found = claims.list_metadata(&ListParams::default().labels(&selector).limit(1)).await?;
        Ok(found.items.iter().map(ResourceExt::name_any).collect())
    }

    /// Stores the state if its generation is the next one.
    pub async fn store(&self, state: &State) -> Result<(), PlatformError> {
        let failed = |error: &dyn std::fmt::Display| PlatformError::Store(error.to_string());
        let text = serde_json::to_string(state).map_err(|error| failed(&error))?;
        let change = |object: &mut BlueGreenObject| {
            let stored = state_of(object)?.map_or(0, |state| state.generation);
            if stored + 1 != state.generation {
                return Err(PlatformError::Conflict { stored, offered: state.generation });
            }
            object.status.get_or_insert_default().state = Some(text.clone());
            Ok(true)
        };
        let mut known = self.known.lock().await;
        self.write(&mut known.object, change).await?.map_err(|error| failed(&error))?;
        known.ours = Some(state.generation);
        Ok(())
    }

    /// Shows what changed; the durable state stays as it is.
    ///
    /// # Errors
    /// When the API server refuses it.
    pub async fn show(&self, change: impl Fn(&mut Status)) -> Result<(), Error> {
        let change = |object: &mut BlueGreenObject| {
            let before = object.status.clone();
            change(object.status.get_or_insert_default());
            Ok::<_, Error>(object.status != before)
        };
        self.write(&mut self.known.lock().await.object, change).await?
    }

    /// Changes the object as last known, and writes it if `change` says that there is something to write; reads it anew when
    /// somebody else has written meanwhile.
    async fn write<E>(
        &self,
        object: &mut BlueGreenObject,
        change: impl Fn(&mut BlueGreenObject) -> Result<bool, E>,
    ) -> Result<Result<(), Error>, E> {
        let what = format!("BlueGreen {}", self.name);
        for attempt in 1..=ATTEMPTS {
            let mut wanted = object.clone();
            if !change(&mut wanted)? {
                return Ok(Ok(()));
            }
            let error = match self.api.replace_status(&self.name, &PostParams::default(), &wanted).await {
                Ok(written) => {
                    *object = written;
                    return Ok(Ok(()));
                }
                Err(error) => error,
            };
            let conflict = matches!(&error, kube::Error::Api(status) if status.code == CONFLICT);
            if !conflict || attempt == ATTEMPTS {
                return Ok(Err(Error::Status { what, source: error }));
            }
            match get(&self.api, &self.name).await {
                Ok(read) => *object = read,
                Err(error) => return Ok(Err(error)),
            }
        }
        Ok(Ok(()))
    }
}

/// Whether a stored state comes after the one with generation `ours`. Nothing stored, or nothing that can be read, does not.
fn is_newer(stored: Option<&str>, ours: Option<u64>) -> bool {
    #[derive(serde::Deserialize)]
    struct Numbered {
        generation: u64,
    }
    let stored = stored.and_then(|text| serde_json::from_str::<Numbered>(text).ok());
    stored.zip(ours).is_some_and(|(stored, ours)| stored.generation > ours)
}

fn state_of(object: &BlueGreenObject) -> Result<Option<State>, PlatformError> {
    let Some(text) = object.status.as_ref().and_then(|status| status.state.as_deref()) else { return Ok(None) };
    let odd = |error| PlatformError::Load(format!("the status of BlueGreen {}: {error}", object.name_any()));
    serde_json::from_str(text).map(Some).map_err(odd)
}

async fn get(api: &Api<BlueGreenObject>, name: &str) -> Result<BlueGreenObject, Error> {
    let what = format!("BlueGreen {name}");
    api.get(name).await.map_err(|source| Error::Get { what, source })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_state_that_was_stored_after_ours_overtakes() {
        let spec = wire::document::Spec::default();
        let stored = |generation| serde_json::to_string(&State { generation, ..State::first(&spec, 0) }).unwrap();
        for (generation, newer) in [(6, false), (7, false), (8, true), (70, true)] {
            assert_eq!(is_newer(Some(&stored(generation)), Some(7)), newer, "{generation}");
        }
        assert!(!is_newer(None, Some(7)), "an object without a state is new, or was emptied by hand");
        assert!(!is_newer(Some("{"), Some(7)));
        assert!(!is_newer(Some(&stored(8)), None), "nothing of ours was read or stored yet");
    }
}
