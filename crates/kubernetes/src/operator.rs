//! A conductor for each `BlueGreen` object: watches them, obeys their requests, shows how they stand.

mod confine;
mod deployment;
mod ending;
mod events;
mod reports;
mod requests;
mod status;

pub(crate) use ending::STATE_KEY;
pub(crate) use reports::{KEY as REPORT_KEY, list as list_reports};
pub(crate) use requests::request_of;

use crate::error::Error;
use crate::figures::Figures;
use crate::resource::BlueGreenObject;
use crate::store::{Stores, patience};
use deployment::{Tools, look_after};
use futures_util::StreamExt;
use kube::api::Api;
use kube::runtime::watcher::{self, Event};
use kube::runtime::{WatchStreamExt, watcher as watch_objects};
use kube::{Client, ResourceExt};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;
use tokio::task::JoinHandle;

/// How long deployments may take to let go of their writes when the operator stops.
const STOP_TIMEOUT: Duration = Duration::from_secs(10);

/// What the operator works on.
pub struct Operator {
    tools: Tools,
    /// Only this namespace; `None`: all.
    namespace: Option<String>,
}

/// One deployment that is looked after.
struct Served {
    uid: Option<String>,
    object: watch::Sender<BlueGreenObject>,
    task: JoinHandle<()>,
}

impl Operator {
    /// `gateway_image`: of our own gateway, where a document names none.
    ///
    /// # Errors
    /// When the objects of the cluster cannot be listed.
    pub async fn start(
        client: Client,
        namespace: Option<String>,
        figures: Figures,
        gateway_image: String,
    ) -> Result<Self, Error> {
        let stores = Arc::new(Stores::start(&client, namespace.as_deref()).await?);
        Ok(Self { tools: Tools::new(client, stores, figures, gateway_image), namespace })
    }

    /// Works until `stop`; it may be run again.
    pub async fn run(&self, stop: impl Future<Output = ()>) {
        let api: Api<BlueGreenObject> = match &self.namespace {
            Some(namespace) => Api::namespaced(self.tools.client.clone(), namespace),
            None => Api::all(self.tools.client.clone()),
        };
        let mut events = Box::pin(watch_objects(api, watcher::Config::default()).backoff(patience()));
        let mut served = BTreeMap::new();
        // While all are listed anew: those that are there.
        let mut listed = BTreeSet::new();
        let mut stop = std::pin::pin!(stop);
        loop {
            let event = tokio::select! {
                event = events.next() => event,
                () = &mut stop => break,
            };
            match event {
                Some(Ok(Event::Apply(object))) => self.serve(&mut served, object),
                Some(Ok(Event::InitApply(object))) => {
                    listed.insert(key(&object));
                    self.serve(&mut served, object);
                }
                Some(Ok(Event::Delete(object))) => self.end(&mut served, &key(&object)),
                Some(Ok(Event::Init)) => listed.clear(),
                Some(Ok(Event::InitDone)) => {
                    let gone = served.keys().filter(|key| !listed.contains(key)).cloned().collect::<Vec<_>>();
                    gone.iter().for_each(|key| self.end(&mut served, key));
                }
                Some(Err(error)) => tracing::warn!(%error, "the watch of BlueGreen objects broke off"),
                None => break,
            }
        }
        let ending = served.into_values().map(|one| async move {
            drop(one.object);
            let _ = tokio::time::timeout(STOP_TIMEOUT, one.task).await;
        });
        futures_util::future::join_all(ending).await;
    }

    fn serve(&self, served: &mut BTreeMap<(String, String), Served>, object: BlueGreenObject) {
        let key = key(&object);
        if let Some(one) = served.get(&key).filter(|one| one.uid == object.uid() && !one.task.is_finished()) {
            one.object.send_replace(object);
            return;
        }
        self.end(served, &key);
        let (uid, (sender, receiver)) = (object.uid(), watch::channel(object));
        let task = tokio::spawn(look_after(self.tools.clone(), receiver));
        served.insert(key, Served { uid, object: sender, task });
    }

    /// The object is gone: what it said is no longer wanted. Its storage stays.
    fn end(&self, served: &mut BTreeMap<(String, String), Served>, key: &(String, String)) {
        if let Some(one) = served.remove(key) {
            one.task.abort();
            self.tools.figures.forget(&key.0, &key.1);
        }
    }
}

fn key(object: &BlueGreenObject) -> (String, String) {
    (object.namespace().unwrap_or_default(), object.name_any())
}
