//! One state of the model: what is durable, who is under way, and what clients were told.

use super::broken::Rules;
use super::look::forget;
use super::node::{Is, Node, Obeyed, Process, Record};
use rollout::{Confirmation, Phase, RoleCall, Run, Stage, State};
use std::sync::Arc;
use wire::admin::{Epoch, Lsn};
use wire::document::Spec;
use wire::{ByColour, Colour};

/// What a client knows of its write.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Fate {
    NotMade,
    /// It is in the log of `at`, and not answered.
    Waiting {
        at: Colour,
        lsn: Lsn,
    },
    Acknowledged,
    /// It will never be answered.
    Unknown,
}

/// A message that may arrive at any later moment, any number of times.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Letter {
    Call {
        to: Colour,
        call: RoleCall,
        /// It names whose word counts.
        knows: bool,
    },
    Confirm {
        to: Colour,
        lsn: Lsn,
        lsn_epoch: Epoch,
    },
}

impl Letter {
    /// Meant for the process of `colour` that was seen, and for no later one.
    pub fn gives_the_right_to_write_to(&self, colour: Colour) -> bool {
        let gives = |call: &RoleCall| matches!(call, RoleCall::Promote { .. } | RoleCall::Resume { .. });
        matches!(self, Letter::Call { to, call, .. } if *to == colour && gives(call))
    }
}

/// What happened that must not, as far as it cannot be seen in the state that it led to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Wrong {
    EpochGivenTwice,
    TwoWritersInOneEpoch,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Deployment {
    /// The durable state of the coordinator. A coordinator that acts upon it is always there: starting one changes nothing.
    pub stored: Arc<State>,
    /// What a second coordinator, which stands still now and then, believes to be stored.
    pub stale: Option<Arc<State>>,
    /// What the first one saw when it looked last, while it acts upon that.
    pub view: Option<Arc<ByColour<Node>>>,
    pub nodes: ByColour<Node>,
    pub letters: Vec<Letter>,
    pub writes: Vec<Fate>,
    /// Bits of the writes whose loss a person accepted.
    pub forgiven: u8,
    /// Processes that ended so far.
    pub ends: u8,
    /// To whom each epoch was given, and who wrote records of it.
    pub given: Vec<Option<Colour>>,
    pub wrote: Vec<Option<Colour>>,
    pub wrong: Option<Wrong>,
}

impl Deployment {
    /// Green follows blue and is checked; a person asked for everything at once.
    pub fn new(spec: &Spec, writes: usize) -> Self {
        let mut state = State::first(spec, 0);
        state.versions = ByColour::new(Some("a".into()), Some("b".into()));
        state.phase = Phase::Checking { since_ms: 0 };
        state.run = Some(Run {
            id: 1,
            from_version: "a".into(),
            to_version: "b".into(),
            candidate: Colour::Green,
            started_ms: 0,
            full: true,
            accept_loss: false,
            committed_ms: None,
        });
        let mut new = Self {
            stored: forget(state),
            stale: None,
            view: None,
            nodes: ByColour::new(Node::new(Is::Primary(1)), Node::new(Is::Follower(1))),
            letters: Vec::new(),
            writes: vec![Fate::NotMade; writes],
            forgiven: 0,
            ends: 0,
            given: vec![None, Some(Colour::Blue)],
            wrote: vec![None, Some(Colour::Blue)],
            wrong: None,
        };
        new.normalise();
        new
    }

    pub fn acknowledged(&self) -> impl Iterator<Item = u8> + '_ {
        let all = self.writes.iter().zip(1..);
        all.filter(|(fate, write)| **fate == Fate::Acknowledged && self.forgiven & (1 << write) == 0).map(|all| all.1)
    }

    /// Every acknowledged write that `colour` does not have on its disk.
    pub fn lacks(&self, colour: Colour) -> Option<u8> {
        self.acknowledged().find(|write| !self.nodes.get(colour).has(*write))
    }

    /// Makes `next` durable, unless something else was stored since the coordinator read the state. False when refused.
    pub fn store(&mut self, next: &Arc<State>, rules: &Rules) -> bool {
        if next.generation != self.stored.generation + 1 && !rules.stores_anything() {
            return false;
        }
        let before = std::mem::replace(&mut self.stored, next.clone());
        self.give(&before);
        let accepted = next.run.as_ref().is_some_and(|run| run.accept_loss);
        let forced = matches!(before.phase, Phase::HandingOver { stage: Stage::Fencing, .. });
        if before.primary != self.stored.primary && forced && accepted {
            let lost: Vec<u8> =
                self.acknowledged().filter(|write| !self.nodes.get(self.stored.primary).has(*write)).collect();
            for write in lost {
                self.forgiven |= 1 << write;
            }
        }
        true
    }

    /// An epoch is given with the intent of a handover, with going back, or with a forced commit.
    fn give(&mut self, before: &State) {
        let now = self.stored.clone();
        let whom = match &now.phase {
            Phase::HandingOver { to, stage: Stage::Sealing | Stage::CatchingUp { .. }, .. } => *to,
            _ => now.primary,
        };
        let whose = &mut self.given;
        if whose.len() as Epoch <= now.epoch {
            whose.resize(now.epoch as usize + 1, None);
        } else if now.epoch < before.epoch && now.primary_epoch == now.epoch {
            self.wrong = Some(Wrong::EpochGivenTwice);
        }
        let given = &mut whose[now.epoch as usize];
        if given.is_some_and(|given| given != whom) {
            self.wrong = Some(Wrong::EpochGivenTwice);
        }
        *given = Some(whom);
    }

    /// A call arrives. `ends`: the process ends between making its role durable and the record that opens the epoch.
    pub fn arrive(&mut self, letter: Letter, ends: bool, rules: &Rules) {
        match letter {
            Letter::Confirm { to, lsn, lsn_epoch } => self.nodes.get_mut(to).hear(lsn, lsn_epoch),
            Letter::Call { to, call, knows } => {
                let reigns = self.nodes.get_mut(to).obey(to, call, knows, rules);
                match reigns {
                    Obeyed::Reigns(_) if ends => self.end(to, Process::Down, rules),
                    Obeyed::Reigns(epoch) => self.append(to, Record { epoch, write: 0 }),
                    Obeyed::Done | Obeyed::Refused => (),
                }
            }
        }
    }

    fn append(&mut self, colour: Colour, record: Record) {
        let position = record.epoch as usize;
        if self.wrote.len() <= position {
            self.wrote.resize(position + 1, None);
        }
        if self.wrote[position].is_some_and(|before| before != colour) {
            self.wrong = Some(Wrong::TwoWritersInOneEpoch);
        }
        self.wrote[position] = Some(colour);
        self.nodes.get_mut(colour).log.push(record);
    }

    /// The next client writes to `colour`.
    pub fn write(&mut self, colour: Colour) {
        let Some(position) = self.writes.iter().position(|fate| *fate == Fate::NotMade) else { return };
        let epoch = self.nodes.get(colour).lsn_epoch();
        self.append(colour, Record { epoch, write: position as u8 + 1 });
        self.writes[position] = Fate::Waiting { at: colour, lsn: self.nodes.get(colour).lsn() };
    }

    pub fn end(&mut self, colour: Colour, process: Process, rules: &Rules) {
        self.nodes.get_mut(colour).end(process);
        if !rules.calls_reach_any_process() {
            self.letters.retain(|letter| !letter.gives_the_right_to_write_to(colour));
            if let Some(view) = &mut self.view {
                Arc::make_mut(view).get_mut(colour).gone_since = true;
            }
        }
        for fate in &mut self.writes {
            if matches!(fate, Fate::Waiting { at, .. } if *at == colour) {
                *fate = Fate::Unknown;
            }
        }
    }

    /// A primary whose process ended between role and record writes the record when it is started.
    pub fn start(&mut self, colour: Colour, rules: &Rules) {
        let node = self.nodes.get_mut(colour);
        node.start(rules);
        if let Is::Primary(epoch) = node.is
            && !node.dormant
            && node.lsn_epoch() < epoch
        {
            self.append(colour, Record { epoch, write: 0 });
        }
    }

    /// `colour` receives one record, or everything when its own history is not the other's. False: nothing to receive.
    pub fn feed(&mut self, colour: Colour) -> bool {
        let source = self.nodes.get(colour.other()).clone();
        let node = self.nodes.get_mut(colour);
        node.follows() && node.runs() && source.runs() && node.receive(&source)
    }

    /// What the follower `colour` would say of itself to the other.
    pub fn word(&self, colour: Colour) -> Option<Letter> {
        let (node, other) = (self.nodes.get(colour), self.nodes.get(colour.other()));
        let (lsn, lsn_epoch) = (node.lsn(), node.lsn_epoch());
        let says = node.follows() && node.runs() && other.runs();
        says.then_some(Letter::Confirm { to: colour.other(), lsn, lsn_epoch })
    }

    /// Forgets what decides nothing: which generation and which number exactly, and what a node that is no primary knew of
    /// its follower.
    pub fn normalise(&mut self) {
        for colour in Colour::BOTH {
            let waits = self.writes.iter().any(|fate| matches!(fate, Fate::Waiting { at, .. } if *at == colour));
            let node = self.nodes.get_mut(colour);
            // A promotion begins anew with both.
            if node.follows() && !waits {
                (node.confirmed_lsn, node.holds) = (0, false);
            }
        }
        if self.stale.as_ref().is_some_and(|stale| stale == &self.stored) {
            let same = self.stored.clone();
            self.stale = Some(same);
        }
        let current = self.stale.as_ref().map(|stale| stale.generation == self.stored.generation);
        self.number(current);
    }

    fn number(&mut self, stale_is_current: Option<bool>) {
        let mut numbers = vec![0, self.stored.confirmation_changes];
        numbers.extend(self.stale.iter().map(|stale| stale.confirmation_changes));
        let views = self.view.iter().flat_map(|view| view.iter());
        numbers.extend(views.chain(self.nodes.iter()).map(|(_, node)| node.by.number));
        numbers.extend(self.letters.iter().filter_map(|letter| match letter {
            Letter::Call { call: RoleCall::Promote { number, .. } | RoleCall::Acknowledge { number, .. }, .. } => {
                Some(*number)
            }
            _ => None,
        }));
        numbers.sort_unstable();
        numbers.dedup();
        let rank = |number: u64| numbers.binary_search(&number).unwrap_or_default() as u64;
        let renumber = |state: &mut Arc<State>, generation: u64| {
            let changes = rank(state.confirmation_changes);
            if (state.generation, state.confirmation_changes) != (generation, changes) {
                let state = Arc::make_mut(state);
                (state.generation, state.confirmation_changes) = (generation, changes);
            }
        };
        const CURRENT: u64 = 9;
        renumber(&mut self.stored, CURRENT);
        if let Some(stale) = &mut self.stale {
            // Whatever it would store is not the next one.
            renumber(stale, if stale_is_current == Some(true) { CURRENT } else { CURRENT - 5 });
        }
        if let Some(view) = &mut self.view
            && view.iter().any(|(_, node)| node.by.number != rank(node.by.number))
        {
            let view = Arc::make_mut(view);
            for colour in Colour::BOTH {
                let number = &mut view.get_mut(colour).by.number;
                *number = rank(*number);
            }
        }
        for colour in Colour::BOTH {
            let number = &mut self.nodes.get_mut(colour).by.number;
            *number = rank(*number);
        }
        for letter in &mut self.letters {
            if let Letter::Call {
                call: RoleCall::Promote { number, .. } | RoleCall::Acknowledge { number, .. }, ..
            } = letter
            {
                *number = rank(*number);
            }
        }
    }

    /// One line for people.
    pub fn in_short(&self) -> String {
        let state = |state: &State| {
            let phase = match &state.phase {
                Phase::HandingOver { to, epoch, stage, fenced, .. } => {
                    format!("to {to} in {epoch} {stage:?}{}", if *fenced { " fenced" } else { "" })
                }
                phase => phase.name().to_string(),
            };
            let (primary, epoch) = (state.primary, state.primary_epoch);
            format!("{phase}, {primary} in {epoch}, {:?} #{}", state.confirmation, state.confirmation_changes)
        };
        let node = |node: &Node| {
            let log: String = node.log.iter().map(|record| format!(" {}.{}", record.epoch, record.write)).collect();
            let dormant = if node.dormant { " dormant" } else { "" };
            let Node { is, process, by, holds, confirmed_lsn, .. } = node;
            format!("{process:?}{dormant} {is:?} [{log} ] {:?}#{} {holds} {confirmed_lsn}", by.mode, by.number)
        };
        let (stored, stale) = (state(&self.stored), self.stale.as_deref().map(state));
        let (blue, green) = (node(&self.nodes.blue), node(&self.nodes.green));
        format!("{stored} | stale {stale:?} | blue {blue} | green {green} | {:?} {:?}", self.writes, self.letters)
    }

    pub fn held(&self) -> bool {
        self.stored.confirmation == Confirmation::Held
    }
}
