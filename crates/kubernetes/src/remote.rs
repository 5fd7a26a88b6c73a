//! The caller's side: a deployment of a cluster, as somebody sees it who may read and change its object. Nobody but the API server
//! is spoken to, so its own rules say who may do what.

mod place;

pub use place::{Edition, Identity};

use crate::error::Error;
use crate::names::Names;
use crate::operator::{REPORT_KEY, list_reports, request_of};
use crate::resource::{BlueGreenObject, KIND_PLURAL_GROUP, Status};
use conductor::{Info, Report};
use k8s_openapi::api::core::v1::{ConfigMap, Namespace};
use kube::api::{Api, ListParams, Patch, PatchParams, ValidationDirective};
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::{Client, Config, ResourceExt};
use rand::distr::{Alphanumeric, SampleString};
use rollout::Command;
use serde_json::{Value, json};
use std::path::PathBuf;
use std::time::Duration;
use tokio::time::Instant;
use wire::control::Verified;
use wire::document::{Action, Request};

/// How long an operator may take to answer.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(10);
const POLL: Duration = Duration::from_millis(50);
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
const CALL_TIMEOUT: Duration = Duration::from_secs(10);
const ID_LENGTH: usize = 12;
/// Who owns the request.
const CALLER: &str = "jadeshift-caller";

/// Where a deployment is; what is not said is as for kubectl.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Where {
    pub kubeconfig: Option<PathBuf>,
    pub context: Option<String>,
    pub namespace: Option<String>,
    /// Name of the `BlueGreen`; without it the only one of the namespace.
    pub name: Option<String>,
}

/// Why something cannot be said of a deployment, or to it.
#[derive(Debug, thiserror::Error)]
pub enum RemoteError {
    #[error("{0}")]
    NoCluster(String),
    #[error("the API server does not answer: {0}")]
    Silent(String),
    #[error("the API server says: {0}")]
    Forbidden(String),
    #[error("this cluster does not know the kind BlueGreen")]
    NotInstalled,
    #[error("the definition of BlueGreen on this cluster is another one than this program's: {0}")]
    OldDefinition(String),
    #[error("there is no namespace {0}")]
    NoNamespace(String),
    #[error("there is no BlueGreen{} in namespace {namespace}", name.as_ref().map(|name| format!(" {name}")).unwrap_or_default())]
    NoDeployment { namespace: String, name: Option<String> },
    #[error("namespace {namespace} has several: {names}")]
    Several { namespace: String, names: String },
    #[error("its document cannot be used: {0}")]
    Invalid(String),
    #[error("the API server refuses the document: {0}")]
    Document(String),
    #[error("the operator has not answered within {} s", ANSWER_TIMEOUT.as_secs())]
    Unanswered,
    #[error("somebody else asked for something before it was answered")]
    Overtaken,
    #[error("{0}")]
    Refused(String),
    #[error("{0}")]
    Other(String),
}

/// One deployment of a cluster.
#[derive(Clone)]
pub struct Remote {
    client: Client,
    api: Api<BlueGreenObject>,
    pub names: Names,
}

/// A client, and the namespace that is meant when none is named. `timeout`: how long an answer may take, for who does not watch.
///
/// # Errors
/// When no cluster is named anywhere, or what names it cannot be read.
pub async fn connect(place: &Where, timeout: Option<Duration>) -> Result<(Client, String), RemoteError> {
    let no_cluster = |error: &dyn std::fmt::Display| RemoteError::NoCluster(error.to_string());
    let options = KubeConfigOptions { context: place.context.clone(), ..KubeConfigOptions::default() };
    let mut config = match (&place.kubeconfig, &place.context) {
        (Some(file), _) => {
            let read = Kubeconfig::read_from(file).map_err(|error| no_cluster(&error))?;
            Config::from_custom_kubeconfig(read, &options).await.map_err(|error| no_cluster(&error))?
        }
        (None, Some(_)) => Config::from_kubeconfig(&options).await.map_err(|error| no_cluster(&error))?,
        (None, None) => Config::infer().await.map_err(|error| no_cluster(&error))?,
    };
    config.connect_timeout = Some(CONNECT_TIMEOUT);
    if timeout.is_some() {
        config.read_timeout = timeout;
    }
    let namespace = place.namespace.clone().unwrap_or_else(|| config.default_namespace.clone());
    let client = Client::try_from(config).map_err(|error| no_cluster(&error))?;
    Ok((client, namespace))
}

impl Remote {
    /// Finds the deployment.
    ///
    /// # Errors
    /// [`RemoteError`] says what is missing.
    pub async fn find(place: &Where) -> Result<Self, RemoteError> {
        let (client, namespace) = connect(place, Some(CALL_TIMEOUT)).await?;
        let api: Api<BlueGreenObject> = Api::namespaced(client.clone(), &namespace);
        let name = match &place.name {
            Some(name) => name.clone(),
            None => {
                let listed = api.list(&ListParams::default()).await.map_err(refusal)?;
                let mut names: Vec<String> = listed.items.iter().map(ResourceExt::name_any).collect();
                match (names.pop(), names.is_empty()) {
                    (Some(name), true) => name,
                    (None, _) => return Err(missing(&client, namespace, None).await),
                    (Some(last), false) => {
                        names.push(last);
                        return Err(RemoteError::Several { namespace, names: names.join(", ") });
                    }
                }
            }
        };
        let remote = Self { client, api, names: Names::new(&name, &namespace) };
        remote.object().await?;
        Ok(remote)
    }

    /// Where the deployment stands, as the operator showed it last.
    ///
    /// # Errors
    /// Also when no operator has looked after it yet, or its document cannot be used.
    pub async fn info(&self) -> Result<Info, RemoteError> {
        self.info_of(&self.object().await?)
    }

    /// Asks for something, and waits for the answer: the state right after it.
    ///
    /// # Errors
    /// [`RemoteError::Refused`] with the reason when it does not fit the state.
    pub async fn command(&self, command: &Command) -> Result<Info, RemoteError> {
        self.ask(&request_of(new_id(), command), ANSWER_TIMEOUT).await?;
        self.info().await
    }

    /// Compares the data of both environments.
    ///
    /// # Errors
    /// When the operator cannot.
    pub async fn verify(&self, deep: bool, timeout: Duration) -> Result<Verified, RemoteError> {
        let request = Request { deep, action: Action::Verify, ..request_of(new_id(), &Command::Pause) };
        let status = self.ask(&request, timeout).await?;
        let result = status.request.and_then(|answered| answered.result).unwrap_or_default();
        serde_json::from_str(&result).map_err(|error| RemoteError::Other(format!("the result is unreadable: {error}")))
    }

    /// The report of a rollout; without a number of the last one. `None`: there is none.
    ///
    /// # Errors
    /// When the API server does not give it.
    pub async fn report(&self, run: Option<u64>) -> Result<Option<Report>, RemoteError> {
        let maps: Api<ConfigMap> = Api::namespaced(self.client.clone(), &self.names.namespace);
        let listed = list_reports(&maps, &self.names).await.map_err(refusal)?;
        let Some((_, name)) = listed.into_iter().find(|(number, _)| run.is_none_or(|run| run == *number)) else {
            return Ok(None);
        };
        let map = maps.get(&name).await.map_err(refusal)?;
        let text = map.data.and_then(|mut data| data.remove(REPORT_KEY)).unwrap_or_default();
        let report = serde_json::from_str(&text);
        report.map(Some).map_err(|error| RemoteError::Other(format!("the report in ConfigMap {name}: {error}")))
    }

    /// What a path of one of the Services answers to somebody inside of the cluster: the API server asks it.
    ///
    /// # Errors
    /// What it answered instead of success.
    pub async fn ask_service(&self, service: &str, path: &str) -> Result<String, RemoteError> {
        let path = path.trim_start_matches('/');
        let uri = format!(
            "/api/v1/namespaces/{}/services/http:{service}:{}/proxy/{path}",
            self.names.namespace,
            crate::names::HTTP_PORT_NAME
        );
        let request =
            http::Request::get(uri).body(Vec::new()).map_err(|error| RemoteError::Other(error.to_string()))?;
        self.client.request_text(request).await.map_err(refusal)
    }

    async fn object(&self) -> Result<BlueGreenObject, RemoteError> {
        match self.api.get_opt(&self.names.deployment).await.map_err(refusal)? {
            Some(object) => Ok(object),
            None => {
                let (namespace, name) = (self.names.namespace.clone(), Some(self.names.deployment.clone()));
                Err(missing(&self.client, namespace, name).await)
            }
        }
    }

    fn info_of(&self, object: &BlueGreenObject) -> Result<Info, RemoteError> {
        let status = object.status.clone().unwrap_or_default();
        let Some(info) = status.info else {
            let refused = status.conditions.iter().find(|one| one.kind == "Valid" && one.status == "False");
            return Err(refused.map_or(RemoteError::Unanswered, |one| RemoteError::Invalid(one.message.clone())));
        };
        serde_json::from_str(&info)
            .map_err(|error| RemoteError::Other(format!("the status is of another version of the operator: {error}")))
    }

    /// Asks and waits; a request that nobody answers is withdrawn, so that it is not obeyed when nobody expects it any more.
    async fn ask(&self, request: &Request, timeout: Duration) -> Result<Status, RemoteError> {
        let parameters =
            PatchParams { field_validation: Some(ValidationDirective::Strict), ..PatchParams::apply(CALLER) };
        let patch = json!({"spec": {"request": whole(request)?}});
        let name = &self.names.deployment;
        self.api.patch(name, &parameters, &Patch::Merge(&patch)).await.map_err(refusal)?;
        let until = Instant::now() + timeout;
        loop {
            let object = self.object().await?;
            let status = object.status.clone().unwrap_or_default();
            let answered = status.request.clone().filter(|answered| answered.id == request.id);
            match answered {
                Some(answered) if answered.accepted => return Ok(status),
                Some(answered) => return Err(RemoteError::Refused(answered.message)),
                None if object.spec["request"]["id"] != request.id.as_str() => return Err(RemoteError::Overtaken),
                None if Instant::now() >= until => break,
                None => tokio::time::sleep(POLL).await,
            }
        }
        let withdraw = json!([
            {"op": "test", "path": "/spec/request/id", "value": request.id},
            {"op": "remove", "path": "/spec/request"},
        ]);
        if let Ok(patch) = serde_json::from_value(withdraw) {
            // If somebody else's is there by now, it is theirs.
            let _ = self.api.patch(name, &PatchParams::default(), &Patch::Json::<()>(patch)).await;
        }
        let object = self.object().await?;
        Err(match self.info_of(&object) {
            Err(invalid @ RemoteError::Invalid(_)) => invalid,
            _ => RemoteError::Unanswered,
        })
    }
}

/// With every field: one that is left out would keep the value of the request before.
fn whole(request: &Request) -> Result<Value, RemoteError> {
    let mut whole = json!({"version": null, "reason": null, "sharePercent": null, "to": null});
    match (&mut whole, serde_json::to_value(request)) {
        (Value::Object(whole), Ok(Value::Object(given))) => whole.extend(given),
        _ => return Err(RemoteError::Other("the request cannot be written".into())),
    }
    Ok(whole)
}

fn new_id() -> String {
    Alphanumeric.sample_string(&mut rand::rng(), ID_LENGTH).to_lowercase()
}

/// Why there is nothing: also the namespace may be missing, as far as one may know that.
async fn missing(client: &Client, namespace: String, name: Option<String>) -> RemoteError {
    let namespaces: Api<Namespace> = Api::all(client.clone());
    match namespaces.get_opt(&namespace).await {
        Ok(None) => RemoteError::NoNamespace(namespace),
        _ => RemoteError::NoDeployment { namespace, name },
    }
}

/// What the API server, or the way to it, says.
pub fn refusal(error: kube::Error) -> RemoteError {
    match error {
        kube::Error::Api(status) => match status.code {
            401 | 403 => RemoteError::Forbidden(status.message.clone()),
            404 if let Some(namespace) = namespace_missing(&status.message) => {
                RemoteError::NoNamespace(namespace.into())
            }
            404 if status.message.contains("could not find the requested resource")
                || is_not_found(&status.message) =>
            {
                RemoteError::NotInstalled
            }
            400 | 422 if status.message.contains("unknown field") => RemoteError::OldDefinition(status.message.clone()),
            _ => RemoteError::Other(status.message.clone()),
        },
        other => RemoteError::Silent(causes(&other)),
    }
}

/// Which namespace is not there, where that is what was found.
fn namespace_missing(message: &str) -> Option<&str> {
    message.strip_prefix("namespaces \"")?.strip_suffix("\" not found")
}

/// The plain text of a server that does not know the path at all.
fn is_not_found(message: &str) -> bool {
    message.trim() == "404 page not found" || message.contains(&format!("{KIND_PLURAL_GROUP} \"\" not found"))
}

/// An error with what caused it.
fn causes(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(next) = cause {
        let more = next.to_string();
        if !text.contains(&more) {
            text = format!("{text}: {more}");
        }
        cause = next.source();
    }
    text
}

impl From<Error> for RemoteError {
    fn from(error: Error) -> Self {
        RemoteError::Other(error.to_string())
    }
}
