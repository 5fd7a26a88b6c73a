//! One deployment: a conductor by its document, until there is another document, or none.

use super::confine;
use super::ending::{self, has_finalizer, is_ending};
use super::events::Events;
use super::requests::{Answering, is_new};
use super::{reports, status};
use crate::error::Error;
use crate::figures::Figures;
use crate::names::Names;
use crate::platform::ClusterPlatform;
use crate::resource::BlueGreenObject;
use crate::state::StatusKeeper;
use crate::store::Stores;
use client::Http;
use clock::Clock;
use conductor::{Conductor, Info};
use kube::{Client, ResourceExt};
use rollout::Phase;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;
use tokio::time::Instant;
use wire::ByColour;
use wire::document::{BlueGreen, RouterKind};

/// Pause after a deployment could not be started.
const RETRY: Duration = Duration::from_secs(5);
/// Figures that change all the time are shown this often at most: while a rollout is under way, and while none is.
const SHOW_EVERY: Duration = Duration::from_secs(1);
const SHOW_EVERY_STABLE: Duration = Duration::from_secs(30);

/// What every deployment needs.
#[derive(Clone)]
pub(super) struct Tools {
    pub client: Client,
    pub stores: Arc<Stores>,
    pub events: Events,
    pub figures: Figures,
    gateway_image: String,
    http: Http,
}

impl Tools {
    pub fn new(client: Client, stores: Arc<Stores>, figures: Figures, gateway_image: String) -> Self {
        let events = Events::start(client.clone());
        Self { client, stores, events, figures, gateway_image, http: Http::new() }
    }
}

/// Looks after one deployment until its object goes away, or the operator stops.
pub(super) async fn look_after(tools: Tools, mut object: watch::Receiver<BlueGreenObject>) {
    loop {
        let current = object.borrow_and_update().clone();
        let (namespace, name) = (current.namespace().unwrap_or_default(), current.name_any());
        let worked = match StatusKeeper::open(tools.client.clone(), &namespace, &name).await {
            Ok(keeper) => conduct(&tools, Arc::new(keeper), &mut object).await,
            Err(error) => Err(error),
        };
        match worked {
            Ok(true) => (),
            Ok(false) => return,
            Err(error) => {
                tools.figures.failed();
                tracing::warn!(%namespace, %name, %error, "a deployment cannot be looked after; it is tried again");
                // A dropped sender is seen by the next attempt.
                let _ = tokio::time::timeout(RETRY, object.changed()).await;
                if object.has_changed().is_err() {
                    return;
                }
            }
        }
    }
}

/// Conducts the deployment by one document. True when there is another document.
async fn conduct(
    tools: &Tools,
    keeper: Arc<StatusKeeper>,
    object: &mut watch::Receiver<BlueGreenObject>,
) -> Result<bool, Error> {
    let current = object.borrow_and_update().clone();
    if is_ending(&current) {
        ending::finish(&tools.client, &current).await?;
        return Ok(object.wait_for(|now| !is_ending(now)).await.is_ok());
    }
    if !has_finalizer(&current) {
        ending::add_finalizer(&tools.client, &current).await?;
    }
    let mut generation = current.metadata.generation.unwrap_or_default();
    let (namespace, name) = (current.namespace().unwrap_or_default(), current.name_any());
    let document = match usable(tools, &current) {
        Ok(document) => document,
        Err(why) => {
            tools.figures.invalid(&namespace, &name);
            keeper.show(|shown| status::invalid(shown, generation, &why)).await?;
            return Ok(object.wait_for(|now| now.spec != current.spec || is_ending(now)).await.is_ok());
        }
    };
    tools.figures.valid(&namespace, &name);
    let conductor = Arc::new(start(tools, &keeper, &current, &document).await?);
    let keeping = tokio::spawn(reports::keep(tools.client.clone(), current.clone(), conductor.subscribe_report()));
    let names = Names::new(&name, &namespace);
    let mut answering = Answering::new(tools.clone(), names, conductor.clone(), keeper.clone());
    let mut snapshots = conductor.subscribe();
    let mut shown = Shown::default();
    let mut told = 0;
    let goes_on = loop {
        let info = snapshots.borrow_and_update().clone();
        let asked = object.borrow().document().ok().and_then(|asked| Some((asked.spec.request.clone()?, asked)));
        let asked = asked.filter(|(request, _)| is_new(request, object.borrow().status.as_ref()));
        if let Some((request, asked)) = asked {
            answering.obey(&asked, &request, generation).await;
        }
        for event in info.events.iter().filter(|event| event.number > told) {
            tools.events.publish(&current, &info, &event.text);
        }
        told = info.events.last().map_or(told, |event| event.number);
        tools.figures.show(&namespace, &name, &info);
        if shown.is_due(&info, generation)
            && let Err(error) = keeper.show(|status| status::show(status, generation, &info)).await
        {
            // What is under way goes on without being seen.
            tools.figures.failed();
            tracing::warn!(%namespace, %name, %error, "the status is not shown; it is tried again");
            shown = Shown { substance: None, at: Some(Instant::now()) };
        }
        if info.stopped.is_some() {
            // Another operator took over, or the state cannot be trusted: begin anew from what is stored.
            tokio::time::sleep(RETRY).await;
            break true;
        }
        tokio::select! {
            changed = snapshots.changed() => if changed.is_err() { break true },
            changed = object.changed() => {
                if changed.is_err() {
                    break false;
                }
                let now = object.borrow().clone();
                generation = now.metadata.generation.unwrap_or_default();
                if is_ending(&now) {
                    break true;
                }
                if keeper.is_overtaken(&now).await {
                    tracing::warn!(%namespace, %name, "another operator goes on with this deployment");
                    tokio::time::sleep(RETRY).await;
                    break true;
                }
                // A document that cannot be used changes nothing about what is under way.
                match usable(tools, &now) {
                    Ok(now) if without_request(&now) == without_request(&document) => {
                        tools.figures.valid(&namespace, &name);
                    }
                    Ok(_) => break true,
                    Err(why) => {
                        tools.figures.invalid(&namespace, &name);
                        if let Err(error) = keeper.show(|shown| status::invalid(shown, generation, &why)).await {
                            tracing::warn!(%namespace, %name, %error, why, "a document that cannot be used is not shown as such");
                        }
                    }
                }
            }
            () = tokio::time::sleep(SHOW_EVERY_STABLE) => (),
        }
    };
    answering.end();
    conductor.stop().await;
    keeping.abort();
    Ok(goes_on)
}

async fn start(
    tools: &Tools,
    keeper: &Arc<StatusKeeper>,
    object: &BlueGreenObject,
    document: &BlueGreen,
) -> Result<Conductor, Error> {
    let effective = effective(document);
    let (client, stores) = (tools.client.clone(), tools.stores.clone());
    let (image, figures) = (tools.gateway_image.clone(), tools.figures.clone());
    let platform = ClusterPlatform::open(client, stores, keeper.clone(), object, effective.clone(), image, figures);
    let platform = platform.await?;
    let started = Conductor::start_with(Arc::new(platform), effective, tools.http.clone(), Clock::system()).await;
    started.map_err(|error| Error::Shape { what: "the state".into(), why: error.to_string() })
}

/// The document, if this cluster can do what it asks for.
fn usable(tools: &Tools, object: &BlueGreenObject) -> Result<BlueGreen, String> {
    let document = object.document().map_err(|error| error.to_string())?;
    if let Some(why) = confine::outside(&document, &object.namespace().unwrap_or_default()) {
        return Err(why);
    }
    let router = document.spec.cluster.router.kind;
    let lacks = |what: &str, advice: &str| {
        Err(format!(
            "spec.cluster.router.kind: `{}` is not allowed: this cluster has no {what}; {advice}, and restart the operator",
            router.as_str()
        ))
    };
    let knows = |kind| tools.stores.knows(kind);
    match router {
        RouterKind::HttpRoute if !knows(crate::build::Kind::HttpRoute) => {
            lacks("HTTPRoute", "install the definitions of the Gateway API and a controller for them")
        }
        RouterKind::Istio if !knows(crate::build::Kind::VirtualService) => lacks("VirtualService", "install Istio"),
        _ => Ok(document),
    }
}

/// The document as a router can do it: one that knows only all or nothing has one step, before which replayed reads speak.
fn effective(document: &BlueGreen) -> BlueGreen {
    let mut document = document.clone();
    if !document.spec.cluster.router.kind.does_shares() {
        let steps = &mut document.spec.rollout.steps;
        steps.drain(..steps.len().saturating_sub(1));
    }
    document
}

fn without_request(document: &BlueGreen) -> BlueGreen {
    let mut document = document.clone();
    document.spec.request = None;
    document
}

/// What the status says already.
#[derive(Default)]
struct Shown {
    substance: Option<Substance>,
    at: Option<Instant>,
}

#[derive(PartialEq)]
struct Substance {
    generation: i64,
    phase: &'static str,
    why: String,
    last_error: Option<String>,
    ready: [bool; 2],
    in_effect: Option<ByColour<u8>>,
    figures: [u64; 4],
}

impl Shown {
    /// What people wait for is shown at once, figures now and then, and nothing while writes wait or nothing changes.
    fn is_due(&mut self, info: &Info, generation: i64) -> bool {
        if info.phase.holds_writes() {
            return false;
        }
        if self.substance.is_none() && self.at.is_some_and(|at| at.elapsed() < SHOW_EVERY) {
            return false;
        }
        let (blue, green) = (&info.nodes.blue, &info.nodes.green);
        let now = Substance {
            generation,
            phase: info.phase.name(),
            why: without_numbers(&info.why),
            last_error: info.last_error.as_deref().map(without_numbers),
            ready: [blue.ready, green.ready],
            in_effect: info.share_in_effect,
            figures: [blue.lsn, green.lsn, info.generation, info.events.last().map_or(0, |event| event.number)],
        };
        let every = if info.phase == Phase::Stable { SHOW_EVERY_STABLE } else { SHOW_EVERY };
        let due = self.at.is_none_or(|at| at.elapsed() >= every);
        let news = self.substance.as_ref().is_none_or(|shown| !shown.same_to_people(&now) || (due && *shown != now));
        // Evidence and times go on while a rollout does.
        let show = news || (due && info.phase != Phase::Stable);
        if show {
            (self.substance, self.at) = (Some(now), Some(Instant::now()));
        }
        show
    }
}

impl Substance {
    fn same_to_people(&self, other: &Substance) -> bool {
        let of = |one: &Substance| (one.generation, one.phase, one.ready, one.in_effect);
        of(self) == of(other) && self.why == other.why && self.last_error == other.last_error
    }
}

/// A sentence whose numbers moved says nothing new.
fn without_numbers(sentence: &str) -> String {
    sentence.chars().filter(|c| !c.is_ascii_digit() && !matches!(c, '.' | ',')).collect()
}
