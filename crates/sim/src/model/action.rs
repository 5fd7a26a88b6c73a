//! What may happen next.

use super::Bounds;
use super::broken::Rules;
use super::deployment::{Deployment, Fate, Letter};
use super::look::{Circumstances, due, forget, observe};
use super::node::Process;
use rollout::{Command, Phase, Stage, State, World, command};
use std::sync::Arc;
use wire::document::Spec;
use wire::{ByColour, Colour};

#[derive(Debug, Clone, PartialEq)]
pub enum Action {
    /// The coordinator decides, and this is what it stores.
    Decide {
        how: Circumstances,
        next: Arc<State>,
    },
    /// A person asks, and this is what is stored.
    Ask {
        wish: Command,
        next: Arc<State>,
    },
    /// The second coordinator decides upon what it believes, and tries to store this.
    DecideStale {
        how: Circumstances,
        next: Arc<State>,
    },
    /// A coordinator stands still from here on, and another goes on.
    StandStill,
    /// The coordinator looks, and acts upon that until it looks again.
    Look,
    /// It looks whenever it decides or calls.
    LookAlways,
    /// A message arrives at once.
    Send(Letter),
    /// A message is on its way, and may arrive at any time, any number of times.
    SendLate(Letter),
    /// Message number so much arrives.
    Arrive(usize),
    /// It arrives, and the node ends between making the role durable and the record that opens the epoch.
    ArriveHalf(Letter),
    /// A process ends by itself.
    End(Colour),
    Start(Colour),
    /// The platform ends a process because nothing shall run there, and confirms it.
    Stop(Colour),
    Write(Colour),
    /// Write number so much is answered.
    Acknowledge(usize),
    /// A write waited too long for the other environment.
    Impatient(Colour),
    Feed(Colour),
}

impl Action {
    /// Without the state that is stored, which the next line of a way shows.
    pub fn in_short(&self) -> String {
        match self {
            Action::Decide { how, .. } => format!("decides {how:?}"),
            Action::DecideStale { how, .. } => format!("the stale coordinator decides {how:?}"),
            Action::Ask { wish, .. } => format!("a person asks {wish:?}"),
            other => format!("{other:?}"),
        }
    }
}

/// All that may happen to `now`.
pub fn actions(spec: &Spec, bounds: &Bounds, rules: &Rules, now: &Deployment, actions: &mut Vec<Action>) {
    if now.stored.phase == Phase::Stable && !bounds.beyond_stable {
        return;
    }
    decisions(spec, bounds, rules, now, actions);
    messages(bounds, rules, now, actions);
    processes(bounds, now, actions);
    records(rules, now, actions);
    if bounds.stale && now.stale.is_none() {
        actions.push(Action::StandStill);
    }
    if bounds.views {
        let fresh = now.view.as_ref().is_some_and(|view| **view == now.nodes);
        if !fresh {
            actions.push(Action::Look);
        }
        if now.view.is_some() {
            actions.push(Action::LookAlways);
        }
    }
}

fn decisions(spec: &Spec, bounds: &Bounds, rules: &Rules, now: &Deployment, actions: &mut Vec<Action>) {
    let mut found: Vec<Arc<State>> = Vec::new();
    for how in circumstances(bounds, &now.stored, &now.nodes) {
        let seen = observe(&now.stored, now.view.as_deref().unwrap_or(&now.nodes), how);
        let next = rules.decide(spec, &now.stored, &seen, if how.late { super::look::LATE_MS } else { 0 });
        if let Some(next) = new(bounds, &now.stored, next, &mut found) {
            actions.push(Action::Decide { how, next });
        }
    }
    for wish in wishes(bounds) {
        if let Ok(next) = command(spec, &now.stored, &wish, 0)
            && let Some(next) = new(bounds, &now.stored, next, &mut found)
        {
            actions.push(Action::Ask { wish, next });
        }
    }
    let Some(stale) = now.stale.as_ref().filter(|stale| ***stale != *now.stored) else { return };
    let mut found = Vec::new();
    // What is refused whatever it is need not be decided.
    for how in circumstances(bounds, stale, &now.nodes).into_iter().filter(|_| rules.stores_anything()) {
        let seen = observe(stale, &now.nodes, how);
        let next = rules.decide(spec, stale, &seen, if how.late { super::look::LATE_MS } else { 0 });
        if let Some(next) = new(bounds, stale, next, &mut found) {
            actions.push(Action::DecideStale { how, next });
        }
    }
}

/// `next` as it is kept; `None` when it is nothing new or beyond the bounds.
fn new(bounds: &Bounds, before: &Arc<State>, next: State, found: &mut Vec<Arc<State>>) -> Option<Arc<State>> {
    if next == **before || next.epoch > bounds.epoch {
        return None;
    }
    let next = forget(next);
    if found.contains(&next) {
        return None;
    }
    found.push(next.clone());
    Some(next)
}

fn circumstances(bounds: &Bounds, state: &State, nodes: &ByColour<super::node::Node>) -> Vec<Circumstances> {
    let compares = matches!(state.phase, Phase::HandingOver { stage: Stage::Sealing | Stage::CatchingUp { .. }, .. });
    let judges =
        matches!(state.phase.unpaused(), Phase::Watching { .. } | Phase::Shifting { .. } | Phase::Checking { .. });
    let mut all = Vec::new();
    for late in [false, true] {
        let how = Circumstances { late, ..Circumstances::default() };
        all.push(how);
        if compares {
            all.push(Circumstances { no_digest: true, ..how });
        }
        if judges {
            all.push(Circumstances { fails: true, ..how });
        }
        if bounds.deaf {
            let runs = Colour::BOTH.into_iter().filter(|colour| nodes.get(*colour).runs());
            all.extend(runs.map(|colour| Circumstances { deaf: Some(colour), ..how }));
        }
    }
    all
}

fn wishes(bounds: &Bounds) -> Vec<Command> {
    let mut all = vec![
        Command::Promote { full: true },
        Command::Resume,
        Command::Rollback { reason: String::new(), accept_loss: false },
        Command::Switch { to: Colour::Blue },
        Command::Switch { to: Colour::Green },
    ];
    if bounds.accept_loss {
        all.push(Command::Rollback { reason: String::new(), accept_loss: true });
    }
    if bounds.beyond_stable {
        all.push(Command::Deploy { version: "b".into() });
    }
    all
}

/// The call that the coordinator with this state and view makes to `colour` now.
pub fn call(rules: &Rules, state: &State, nodes: &ByColour<super::node::Node>, colour: Colour) -> Option<Letter> {
    let broken = || rules.call(state, colour, &observe(state, nodes, Circumstances::default()));
    let call = due(state, colour, nodes).or_else(broken)?;
    let knows = nodes.get(colour.other()).runs() || nodes.get(colour).by.knows;
    let letter = Letter::Call { to: colour, call, knows };
    // Such a call names the process that was seen.
    let too_late = nodes.get(colour).gone_since && letter.gives_the_right_to_write_to(colour);
    (!too_late).then_some(letter)
}

fn messages(bounds: &Bounds, rules: &Rules, now: &Deployment, actions: &mut Vec<Action>) {
    let mut due = Vec::new();
    for colour in Colour::BOTH {
        due.extend(call(rules, &now.stored, now.view.as_deref().unwrap_or(&now.nodes), colour));
        // Who gives the right to write reads the state before, and sees that it was overtaken.
        let given = |letter: &Letter| rules.calls_reach_any_process() || !letter.gives_the_right_to_write_to(colour);
        due.extend(now.stale.as_ref().and_then(|stale| call(rules, stale, &now.nodes, colour)).filter(given));
        due.extend(now.word(colour));
    }
    for (position, letter) in due.iter().enumerate() {
        if due[..position].contains(letter) {
            continue;
        }
        actions.push(Action::Send(*letter));
        if now.letters.len() < bounds.late && !now.letters.contains(letter) {
            actions.push(Action::SendLate(*letter));
        }
        let reigns = matches!(
            letter,
            Letter::Call { call: rollout::RoleCall::Promote { .. } | rollout::RoleCall::Resume { .. }, .. }
        );
        if reigns && now.ends < bounds.ends {
            actions.push(Action::ArriveHalf(*letter));
        }
    }
    actions.extend((0..now.letters.len()).map(Action::Arrive));
}

fn processes(bounds: &Bounds, now: &Deployment, actions: &mut Vec<Action>) {
    let wants = |state: &State, colour| World::of(state).environments.get(colour).version.is_some();
    let stale = now.stale.as_ref().filter(|_| bounds.stale_applies);
    for colour in Colour::BOTH {
        let process = now.nodes.get(colour).process;
        let wanted = [Some(&now.stored), stale].map(|state| state.map(|state| wants(state, colour)));
        if process == Process::Running && now.ends < bounds.ends {
            actions.push(Action::End(colour));
        }
        if process == Process::Down || (process == Process::Stopped && wanted.contains(&Some(true))) {
            actions.push(Action::Start(colour));
        }
        if process != Process::Stopped && wanted.contains(&Some(false)) {
            actions.push(Action::Stop(colour));
        }
    }
}

fn records(rules: &Rules, now: &Deployment, actions: &mut Vec<Action>) {
    for colour in Colour::BOTH {
        let node = now.nodes.get(colour);
        if node.admits(rules) && now.writes.contains(&Fate::NotMade) {
            actions.push(Action::Write(colour));
        }
        if node.follows() && node.runs() && now.nodes.get(colour.other()).runs() {
            actions.push(Action::Feed(colour));
        }
    }
    for (position, fate) in now.writes.iter().enumerate() {
        let Fate::Waiting { at, lsn } = *fate else { continue };
        match now.nodes.get(at).settled(lsn) {
            true => actions.push(Action::Acknowledge(position)),
            false => actions.push(Action::Impatient(at)),
        }
    }
}

/// What `action` makes of `now`.
pub fn next(rules: &Rules, now: &Deployment, action: Action) -> Option<Deployment> {
    let mut next = now.clone();
    match action {
        Action::Decide { next: state, .. }
        | Action::Ask { next: state, .. }
        | Action::DecideStale { next: state, .. } => {
            next.store(&state, rules);
        }
        Action::StandStill => next.stale = Some(next.stored.clone()),
        Action::Look => next.view = Some(Arc::new(next.nodes.clone())),
        Action::LookAlways => next.view = None,
        Action::Send(letter) => next.deliver(letter, false, rules),
        Action::ArriveHalf(letter) => {
            next.ends += 1;
            next.deliver(letter, true, rules);
        }
        Action::SendLate(letter) => next.letters.push(letter),
        Action::Arrive(number) => next.deliver(*next.letters.get(number)?, false, rules),
        Action::End(colour) => {
            next.ends += 1;
            next.end(colour, Process::Down, rules);
        }
        Action::Start(colour) => next.start(colour, rules),
        Action::Stop(colour) => next.end(colour, Process::Stopped, rules),
        Action::Write(colour) => next.write(colour),
        Action::Acknowledge(write) => next.writes[write] = Fate::Acknowledged,
        Action::Impatient(colour) => next.nodes.get_mut(colour).impatient(rules),
        Action::Feed(colour) => {
            next.feed(colour);
        }
    }
    next.normalise();
    (next != *now).then_some(next)
}

impl Deployment {
    /// Only a node that runs gets anything.
    fn deliver(&mut self, letter: Letter, ends: bool, rules: &Rules) {
        let (Letter::Call { to, .. } | Letter::Confirm { to, .. }) = letter;
        if self.nodes.get(to).runs() {
            self.arrive(letter, ends, rules);
        }
    }
}
