//! Our own gateway in the cluster: each of its pods is told where requests go, and says what it was told last.

use super::workload;
use crate::names::{ADMIN_PORT, HTTP_PORT, Names};
use crate::store::{Stores, has_ended, number};
use bytes::Bytes;
use client::Http;
use conductor::PlatformError;
use futures_util::future::join_all;
use gateway::Routing;
use http_body_util::Full;
use k8s_openapi::api::core::v1::Pod;
use kube::ResourceExt;
use parking_lot::Mutex;
use rollout::World;
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use wire::{ByColour, Colour};

/// How long a pod of it may take to take a routing.
const TIMEOUT: Duration = Duration::from_millis(500);
const ANSWER_BYTES_MAX: usize = 64 << 10;

/// What was told, and what each pod confirmed last, by its uid.
#[derive(Default)]
pub(super) struct Gateways {
    confirmed: Mutex<BTreeMap<String, Routing>>,
    wanted: Mutex<Option<Routing>>,
}

impl Gateways {
    /// Tells every pod that has not confirmed it what shall be so.
    ///
    /// # Errors
    /// The first that did not take it; the others have.
    pub async fn tell(
        &self,
        http: &Http,
        token: &str,
        stores: &Stores,
        names: &Names,
        world: &World,
        generation: u64,
    ) -> Result<(), PlatformError> {
        let routing = routing(stores, names, world, generation);
        *self.wanted.lock() = Some(routing.clone());
        let pods: Vec<(String, String)> = running(stores, names)
            .filter_map(|pod| Some((pod.uid()?, workload::at(&workload::address(&pod)?, ADMIN_PORT))))
            .collect();
        let mut confirmed = self.confirmed.lock().clone();
        confirmed.retain(|uid, _| pods.iter().any(|(there, _)| there == uid));
        let due = pods.into_iter().filter(|(uid, _)| confirmed.get(uid) != Some(&routing));
        let told = due.map(async |(uid, address)| {
            let answer = put(http, &address, token, &routing).await;
            (uid, answer.map_err(|why| PlatformError::Router(format!("the gateway at {address}: {why}"))))
        });
        let mut first = Ok(());
        for (uid, answer) in join_all(told).await {
            match answer {
                Ok(()) => {
                    confirmed.insert(uid, routing.clone());
                }
                Err(error) => {
                    confirmed.remove(&uid);
                    first = first.and(Err(error));
                }
            }
        }
        *self.confirmed.lock() = confirmed;
        first
    }

    /// Shares that every pod which gets requests has confirmed; `None` while one has not, or there is none.
    pub fn in_effect(&self, stores: &Stores, names: &Names) -> Option<ByColour<u8>> {
        let wanted = self.wanted.lock().clone()?;
        let confirmed = self.confirmed.lock();
        let mut ready = running(stores, names).filter(|pod| workload::is_ready(pod)).peekable();
        ready.peek()?;
        let all = ready.all(|pod| pod.uid().is_some_and(|uid| confirmed.get(&uid) == Some(&wanted)));
        let nobody = |colour| wanted.backends.get(colour).is_none() && wanted.others.get(colour).is_empty();
        let missing = |colour: Colour| *wanted.reads.get(colour) > 0 && nobody(colour);
        (all && !Colour::BOTH.into_iter().any(missing)).then_some(wanted.reads)
    }
}

fn running(stores: &Stores, names: &Names) -> impl Iterator<Item = Arc<Pod>> {
    let pods = stores.gateway_pods(names);
    pods.into_iter().filter(|pod| !has_ended(pod) && pod.metadata.deletion_timestamp.is_none())
}

/// To the pods that are ready; a side that has none keeps its share, so that the gateway lets its requests wait or go elsewhere.
fn routing(stores: &Stores, names: &Names, world: &World, generation: u64) -> Routing {
    let mut routing = Routing { reads: world.reads, generation, ..Routing::default() };
    for colour in Colour::BOTH {
        let mut pods = stores.pods(names, colour);
        pods.retain(|pod| workload::is_ready(pod) && pod.metadata.deletion_timestamp.is_none());
        let head = *world.heads.get(colour);
        pods.sort_by_key(|pod| (number(pod) != head, pod.name_any()));
        let has_head = pods.first().is_some_and(|pod| number(pod) == head);
        let mut addresses: Vec<SocketAddr> =
            pods.iter().filter_map(|pod| workload::at(&workload::address(pod)?, HTTP_PORT).parse().ok()).collect();
        if has_head && !addresses.is_empty() {
            *routing.backends.get_mut(colour) = Some(addresses.remove(0));
        }
        *routing.others.get_mut(colour) = addresses;
    }
    routing.primary = routing.backends.get(world.writes).is_some().then_some(world.writes);
    routing
}

async fn put(http: &Http, address: &str, token: &str, routing: &Routing) -> Result<(), String> {
    let body = serde_json::to_vec(routing).map_err(|error| error.to_string())?;
    let request = hyper::Request::put(format!("http://{address}/gateway/v1/routing"))
        .header("authorization", format!("Bearer {token}"))
        .header("content-type", "application/json")
        .body(Full::new(Bytes::from(body)))
        .map_err(|error| error.to_string())?;
    let answer = http.whole(request, TIMEOUT, ANSWER_BYTES_MAX).await.map_err(|error| error.to_string())?;
    match answer.status {
        200..300 => Ok(()),
        status => Err(format!("status {status}: {}", String::from_utf8_lossy(&answer.body))),
    }
}
