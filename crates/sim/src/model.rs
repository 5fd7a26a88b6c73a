//! The handover as a model that is searched exhaustively: every order of everything that may happen, within bounds.
//!
//! The coordinator calls the real functions of `rollout`, the nodes judge by the real rules of `jadevectordb`. Modelled are
//! the log (a few records: number of the write, epoch), who confirmed what, the network, the platform and the durable store.
//!
//! Bounds, and why the search ends: [`Bounds`] limits the writes that clients make, the epochs that are given, how many
//! messages are late over the whole run (a late one stays, and may arrive again and again) and how many processes end by
//! themselves. Time is either now or later than every limit, chosen at each decision. What only grows is kept as an order:
//! generations of the state and numbers of the words about acknowledging. Texts, times and finished rollouts are forgotten.

mod action;
mod broken;
mod deployment;
mod liveness;
mod look;
mod node;
mod properties;
pub mod searches;
#[cfg(test)]
mod tests;

pub use action::Action;
pub use broken::{Broken, Rules};
pub use deployment::Deployment;

use liveness::Ways;
use stateright::{Checker, HasDiscoveries, Model, Property};
use std::time::{Duration, Instant};
use wire::document::{Acknowledge, Spec, Step};

/// How far a search goes.
#[derive(Debug, Clone, Copy)]
pub struct Bounds {
    pub name: &'static str,
    pub acknowledge: Acknowledge,
    pub writes: usize,
    pub epoch: u64,
    /// Messages that are late.
    pub late: usize,
    /// Processes that end by themselves.
    pub ends: u8,
    /// A node that runs may not answer when it is looked at.
    pub deaf: bool,
    /// A coordinator may stand still and act later upon what it believed then.
    pub stale: bool,
    /// It also starts and stops processes so.
    pub stale_applies: bool,
    /// The coordinator may act upon what it saw some time ago.
    pub views: bool,
    /// A person may accept a loss.
    pub accept_loss: bool,
    /// The search goes on with another rollout when one is over.
    pub beyond_stable: bool,
}

/// The model of one search.
pub struct Handover {
    pub bounds: Bounds,
    pub rules: Rules,
    spec: Spec,
    ways: Ways,
}

/// What a search found.
#[derive(Debug, Clone)]
pub struct Report {
    pub name: &'static str,
    pub states: usize,
    pub depth: usize,
    pub took: Duration,
    /// Each property that does not hold, with the way to where it does not.
    pub failures: Vec<(&'static str, String)>,
    /// What was to be seen and never was.
    pub unseen: Vec<&'static str>,
}

impl Handover {
    pub fn new(bounds: Bounds, rules: Rules) -> Self {
        let mut spec = Spec { version: "a".into(), ..Spec::default() };
        spec.rollout.steps = vec![Step { duration_min_ms: 0, ..Step::of_share(100) }];
        spec.handover.acknowledge = bounds.acknowledge;
        Self { bounds, rules, spec, ways: Ways::default() }
    }

    /// Visits every state that can be reached; ends early when a property is found not to hold.
    pub fn search(self, threads: usize) -> Report {
        self.search_until(HasDiscoveries::AnyFailures, threads)
    }

    /// The same, but ends early only when it is this property.
    pub fn search_for(self, property: &'static str, threads: usize) -> Report {
        self.search_until(HasDiscoveries::AnyOf([property].into()), threads)
    }

    fn search_until(self, found: HasDiscoveries, threads: usize) -> Report {
        let began = Instant::now();
        let name = self.bounds.name;
        let sought = self.properties();
        let checker = self.checker().threads(threads).finish_when(found).spawn_bfs().join();
        let found = checker.discoveries();
        let (mut failures, mut unseen) = (Vec::new(), Vec::new());
        for property in sought {
            match (property.expectation, found.get(property.name)) {
                (stateright::Expectation::Sometimes, None) => unseen.push(property.name),
                (stateright::Expectation::Sometimes, Some(_)) => (),
                (_, Some(path)) => failures.push((property.name, described(path))),
                (_, None) => (),
            }
        }
        let (states, depth) = (checker.unique_state_count(), checker.max_depth());
        Report { name, states, depth, took: began.elapsed(), failures, unseen }
    }
}

/// A way: what happened, and in short what it led to.
fn described(path: &stateright::Path<Deployment, Action>) -> String {
    let mut text = String::new();
    for (step, (state, action)) in path.clone().into_vec().into_iter().enumerate() {
        text.push_str(&format!("{step:3} {}\n", state.in_short()));
        if let Some(action) = action {
            text.push_str(&format!("      -> {}\n", action.in_short()));
        }
    }
    text
}

impl Model for Handover {
    type State = Deployment;
    type Action = Action;

    fn init_states(&self) -> Vec<Deployment> {
        vec![Deployment::new(&self.spec, self.bounds.writes)]
    }

    fn actions(&self, state: &Deployment, actions: &mut Vec<Action>) {
        action::actions(&self.spec, &self.bounds, &self.rules, state, actions);
    }

    fn next_state(&self, state: &Deployment, action: Action) -> Option<Deployment> {
        action::next(&self.rules, state, action)
    }

    fn properties(&self) -> Vec<Property<Self>> {
        properties::all(&self.bounds)
    }
}
