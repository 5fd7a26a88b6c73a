//! Two nodes that obey calls, a coordinator that runs the real engine, and a world that is unkind: calls are lost or arrive
//! late, nodes end and return, time runs out at any moment, people interfere, clients write. Every order of these is
//! tried; in all of them at most one node admits writes, and whoever does has every acknowledged write.

use super::scene::{follower, node, nothing_seen, peer, primary, sealed};
use crate::{Command, NodeObservation, Observation, Phase, RoleCall, Run, State, World, command, decide, role_call};
use evidence::Verdict;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use wire::admin::{Epoch, Role};
use wire::document::{Acknowledge, Spec, Step};
use wire::{ByColour, Colour};

/// Writes that clients make in one world.
const WRITES_MAX: usize = 2;
const CALLS_ON_THEIR_WAY_MAX: usize = 2;
/// Worlds in which more epochs were given out are not continued.
const EPOCH_MAX: Epoch = 5;
const LATE_MS: u64 = 1_000_000_000;

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Is {
    Primary(Epoch),
    Follower(Epoch),
    Sealed(Epoch),
}

/// A node as the admin protocol describes it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Node {
    running: bool,
    is: Is,
    epoch_seen: Epoch,
    /// The epoch in which each record was written.
    history: Vec<Epoch>,
}

impl Node {
    /// Obeys a call or refuses it.
    fn obey(&mut self, call: RoleCall) {
        let (RoleCall::Acknowledge { epoch, .. }
        | RoleCall::Seal { epoch }
        | RoleCall::Resume { epoch }
        | RoleCall::Promote { epoch, .. }
        | RoleCall::Follow { epoch }) = call;
        if epoch < self.epoch_seen {
            return;
        }
        let becomes = match (call, self.is) {
            (RoleCall::Seal { .. }, Is::Primary(_) | Is::Sealed(_)) => Is::Sealed(epoch),
            (RoleCall::Resume { .. }, Is::Primary(_) | Is::Sealed(_)) => Is::Primary(epoch),
            (RoleCall::Promote { lsn, .. }, Is::Follower(_)) if lsn == self.history.len() as u64 => Is::Primary(epoch),
            (RoleCall::Follow { .. }, _) => Is::Follower(epoch),
            _ => return,
        };
        (self.is, self.epoch_seen) = (becomes, epoch);
    }

    fn observed(&self, colour: Colour) -> NodeObservation {
        if !self.running {
            return NodeObservation::Silent { why: "gone".into() };
        }
        let lsn = self.history.len() as u64;
        let role = match self.is {
            Is::Primary(epoch) => primary(epoch),
            Is::Follower(epoch) => follower(colour, epoch),
            Is::Sealed(epoch) => match sealed(epoch, lsn) {
                Role::Sealed { epoch, lsn, .. } => Role::Sealed { epoch, lsn, digest: digest(&self.history) },
                role => role,
            },
        };
        NodeObservation::Up { state: Box::new(node(colour, role, lsn)), version_running: "v".into() }
    }
}

fn digest(history: &[Epoch]) -> String {
    format!("{history:?}")
}

#[derive(Debug, Clone)]
struct Model {
    state: State,
    nodes: ByColour<Node>,
    /// Calls that were sent, were not answered, and may still arrive, in any order.
    on_their_way: Vec<(Colour, RoleCall)>,
    /// Every write that was acknowledged, in order.
    acknowledged: Vec<Epoch>,
}

impl Model {
    /// Green follows blue and is checked; a person asked for everything at once.
    fn new(spec: &Spec) -> Self {
        let mut state = State::first(spec, 0);
        state.versions = ByColour::new(Some("v".into()), Some("v".into()));
        state.phase = Phase::Checking { since_ms: 0 };
        state.run = Some(Run {
            id: 1,
            from_version: "v".into(),
            to_version: "v".into(),
            candidate: Colour::Green,
            started_ms: 0,
            full: true,
            accept_loss: false,
            committed_ms: None,
        });
        let node = |is| Node { running: true, is, epoch_seen: 1, history: Vec::new() };
        let nodes = ByColour::new(node(Is::Primary(1)), node(Is::Follower(1)));
        Self { state, nodes, on_their_way: Vec::new(), acknowledged: Vec::new() }
    }

    fn observe(&self) -> Observation {
        let mut seen = nothing_seen();
        seen.nodes = ByColour::from_fn(|colour| self.nodes.get(colour).observed(colour));
        seen.silent_ms = ByColour::from_fn(|colour| if self.nodes.get(colour).running { 0 } else { LATE_MS });
        seen.reads_in_effect = Some(World::of(&self.state).reads);
        let node = |colour| {
            let node: &Node = self.nodes.get(colour);
            node.running.then(|| (node.history.len() as u64, digest(&node.history)))
        };
        seen.digest_at = ByColour::from_fn(node);
        seen.way_back = World::of(&self.state).prove_way_back.map(|colour| (colour, Ok(())));
        seen.judgement.errors = Verdict::pass("errors", "");
        seen.judgement.results = Verdict::pass("results", "");
        seen.judgement.data = Verdict::pass("data", "");
        seen.judgement.candidate_reads = 1_000;
        seen
    }

    /// Calls that the conductor would make now.
    fn calls(&self, world: &World) -> Vec<(Colour, RoleCall)> {
        let mut calls = Vec::new();
        for colour in Colour::BOTH {
            let state = |colour: Colour| match self.nodes.get(colour).observed(colour) {
                NodeObservation::Up { state, .. } => Some(*state),
                _ => None,
            };
            let (Some(wanted), Some(node)) = (&world.environments.get(colour).role, state(colour)) else { continue };
            let (other, address) = (state(colour.other()), peer(colour.other()));
            if let Ok(Some(call)) = role_call(wanted, &node, other.as_ref().map(|other| (other, &address))) {
                calls.push((colour, call));
            }
        }
        calls
    }

    /// Every world that may come next.
    fn successors(&self, spec: &Spec) -> Vec<Model> {
        let mut next = Vec::new();
        let mut push = |change: &dyn Fn(&mut Model)| {
            let mut model = self.clone();
            change(&mut model);
            next.push(model);
        };
        for now_ms in [0, LATE_MS] {
            for digests_known in [true, false] {
                let mut seen = self.observe();
                if !digests_known {
                    seen.digest_at = ByColour::new(None, None);
                }
                let decision = decide(spec, &self.state, &seen, now_ms);
                push(&|model| model.state = decision.state.clone());
            }
        }
        for wish in [
            Command::Promote { full: true },
            Command::Resume,
            Command::Rollback { reason: String::new(), accept_loss: false },
            Command::Switch { to: Colour::Blue },
            Command::Switch { to: Colour::Green },
        ] {
            if let Ok(state) = command(spec, &self.state, &wish, 0) {
                push(&|model| model.state = state.clone());
            }
        }
        // A call takes effect at once, or only later; losing it is the same as never arriving.
        for (colour, call) in self.calls(&World::of(&self.state)) {
            push(&|model| model.nodes.get_mut(colour).obey(call));
            if self.on_their_way.len() < CALLS_ON_THEIR_WAY_MAX && !self.on_their_way.contains(&(colour, call)) {
                push(&|model| model.on_their_way.push((colour, call)));
            }
        }
        for (position, (colour, call)) in self.on_their_way.iter().copied().enumerate() {
            push(&|model| {
                model.on_their_way.remove(position);
                if model.nodes.get(colour).running {
                    model.nodes.get_mut(colour).obey(call);
                }
            });
        }
        for colour in Colour::BOTH {
            push(&|model| model.nodes.get_mut(colour).running ^= true);
            self.write(colour, &mut push);
            self.replicate(colour, &mut push);
        }
        next
    }

    fn write(&self, colour: Colour, push: &mut impl FnMut(&dyn Fn(&mut Model))) {
        let node = self.nodes.get(colour);
        if let Is::Primary(epoch) = node.is
            && node.running
            && self.acknowledged.len() < WRITES_MAX
        {
            push(&|model| {
                model.acknowledged.push(epoch);
                model.nodes.get_mut(colour).history.push(epoch);
            });
        }
    }

    fn replicate(&self, colour: Colour, push: &mut impl FnMut(&dyn Fn(&mut Model))) {
        let (node, source) = (self.nodes.get(colour), self.nodes.get(colour.other()));
        let at = node.history.len();
        let feeds = source.running && node.running && !matches!(source.is, Is::Follower(_));
        if matches!(node.is, Is::Follower(_)) && feeds && source.history.len() > at {
            let record = source.history[at];
            push(&|model| model.nodes.get_mut(colour).history.push(record));
        }
    }

    fn broken(&self) -> Vec<String> {
        let mut broken = crate::check::violations(&self.state, &World::of(&self.state));
        let reigning: Vec<(Colour, Epoch)> = (self.nodes.iter())
            .filter_map(|(colour, node)| match node.is {
                Is::Primary(epoch) => Some((colour, epoch)),
                _ => None,
            })
            .collect();
        if reigning.len() > 1 {
            broken.push("two nodes admit writes".into());
        }
        for (colour, _) in &reigning {
            if self.nodes.get(*colour).history != self.acknowledged {
                broken.push(format!("{colour} admits writes and lacks acknowledged ones"));
            }
        }
        let copies: Vec<&Node> = (self.nodes.iter()).map(|(_, node)| node).collect();
        if copies.iter().all(|node| node.history != self.acknowledged) {
            broken.push("an acknowledged write is nowhere".into());
        }
        broken
    }

    /// What decides the future: texts, times and finished rollouts do not.
    fn key(&self) -> String {
        let mut state = self.state.clone();
        state.generation = 0;
        state.history.clear();
        format!("{state:?} {:?} {:?} {:?}", self.nodes, self.on_their_way, self.acknowledged)
    }
}

#[test]
fn at_most_one_node_admits_writes_and_it_has_them_all() {
    let mut spec = Spec { version: "v".into(), ..Spec::default() };
    spec.rollout.steps = vec![Step { duration_min_ms: 0, ..Step::of_share(100) }];
    // Here a write is acknowledged as soon as the primary has it, so nobody is ever replaced without being asked.
    spec.handover.acknowledge = Acknowledge::Primary;
    let first = Model::new(&spec);
    // Each reached world with the one it was reached from.
    let mut reached = BTreeMap::from([(first.key(), String::new())]);
    let mut reigns: BTreeSet<(Epoch, Colour)> = BTreeSet::new();
    let mut open = VecDeque::from([first]);
    while let Some(model) = open.pop_front() {
        let key = model.key();
        for mut next in model.successors(&spec) {
            if next.state.epoch > EPOCH_MAX || next.state.phase == Phase::Stable {
                continue;
            }
            forget_times(&mut next.state);
            let next_key = next.key();
            if reached.contains_key(&next_key) {
                continue;
            }
            let broken = next.broken();
            assert!(broken.is_empty(), "{broken:#?}\n{}", history(&reached, &key, &next_key));
            reigns.insert((next.state.primary_epoch, next.state.primary));
            reached.insert(next_key, key.clone());
            open.push_back(next);
        }
    }
    eprintln!("{}", reached.len());
    // The search went forward, there and back, and back before a commit.
    for reign in [(2, Colour::Green), (3, Colour::Blue), (4, Colour::Green)] {
        assert!(reigns.contains(&reign), "{reign:?} is not in {reigns:?} of {} worlds", reached.len());
    }
}

fn forget_times(state: &mut State) {
    super::explore::forget_phase(&mut state.phase, 0);
    if let Some(run) = &mut state.run {
        run.committed_ms = run.committed_ms.map(|_| 0);
    }
}

/// The way to a broken world.
fn history(reached: &BTreeMap<String, String>, last: &str, broken: &str) -> String {
    let mut steps = vec![broken.to_string(), last.to_string()];
    while let Some(before) = steps.last().and_then(|step| reached.get(step)).filter(|step| !step.is_empty()) {
        steps.push(before.clone());
    }
    steps.reverse();
    steps.join("\n")
}
