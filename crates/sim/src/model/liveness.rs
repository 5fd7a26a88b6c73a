//! From every state a way on: when nothing goes wrong any more, the deployment comes to serve, also without a node that never
//! returns; or it waits for a person, who is needed then.

use super::action::call;
use super::broken::Rules;
use super::deployment::{Deployment, Fate, Letter};
use super::look::{Circumstances, LATE_MS, forget, observe};
use super::node::Process;
use rollout::{Command, Phase, World, command};
use std::collections::HashSet;
use std::hash::{BuildHasher, BuildHasherDefault, DefaultHasher};
use std::sync::Mutex;
use wire::Colour;
use wire::document::Spec;

/// Far more turns than any rollout takes.
const TURNS_MAX: usize = 200;

/// The states from which a way on is known, by their hash.
#[derive(Default)]
pub struct Ways {
    known: Mutex<HashSet<u64>>,
}

impl Ways {
    /// `from` comes to serve without further faults, and without the node `gone`, whose process ended for good. Where that
    /// was the primary, it may be that a person has to accept a loss, or that nobody can help.
    pub fn leads_on(&self, spec: &Spec, rules: &Rules, from: &Deployment, gone: Option<Colour>) -> bool {
        let mut now = from.clone();
        // Late messages arrive now, or never.
        for letter in std::mem::take(&mut now.letters) {
            let (Letter::Call { to, .. } | Letter::Confirm { to, .. }) = letter;
            if now.nodes.get(to).runs() {
                now.arrive(letter, false, rules);
            }
        }
        (now.stale, now.view) = (None, None);
        let mut passed = Vec::new();
        for _ in 0..TURNS_MAX {
            // What cannot change the way is not part of it.
            (now.ends, now.forgiven) = (0, 0);
            now.given.clear();
            now.wrote.clear();
            now.normalise();
            let hash = BuildHasherDefault::<DefaultHasher>::default().hash_one((&now, gone));
            let known = self.known.lock().is_ok_and(|known| known.contains(&hash));
            passed.push(hash);
            if known || serves(&now, rules, gone) {
                return self.remember(passed);
            }
            if !turn(spec, rules, &mut now, gone) && !person_helps(spec, &mut now, gone) {
                return nobody_can_help(&now, gone) && self.remember(passed);
            }
        }
        false
    }

    fn remember(&self, passed: Vec<u64>) -> bool {
        if let Ok(mut known) = self.known.lock() {
            known.extend(passed);
        }
        true
    }
}

/// The committed primary admits writes, nothing is under way that holds them, and what was written is answered. A way back
/// to a node that is gone is not waited for.
fn serves(now: &Deployment, rules: &Rules, gone: Option<Colour>) -> bool {
    let settled = match &now.stored.phase {
        Phase::RollingBack { .. } => false,
        phase @ Phase::HandingOver { to, .. } => gone == Some(*to) && !phase.holds_writes(),
        _ => true,
    };
    let waits = |fate: &Fate| matches!(fate, Fate::Waiting { at, .. } if *at == now.stored.primary);
    settled && now.nodes.get(now.stored.primary).admits(rules) && !now.writes.iter().any(waits)
}

/// A person is needed only where the new version was primary, is gone, and may alone have something: accepts that.
fn person_helps(spec: &Spec, now: &mut Deployment, gone: Option<Colour>) -> bool {
    let at_stake = gone == Some(now.stored.primary) && !now.held();
    let accept = Command::Rollback { reason: String::new(), accept_loss: true };
    let accepted = now.stored.run.as_ref().is_some_and(|run| run.accept_loss);
    match command(spec, &now.stored, &accept, 0) {
        Ok(next) if at_stake && !accepted => {
            now.stored = forget(next);
            true
        }
        _ => false,
    }
}

/// The environment that serves is gone and nobody was about to replace it; or both are, one of them fenced off on purpose
/// before the other was lost for good.
fn nobody_can_help(now: &Deployment, gone: Option<Colour>) -> bool {
    let candidate_reigns = now.stored.run.as_ref().is_some_and(|run| run.candidate == now.stored.primary);
    let replaces = matches!(&now.stored.phase, Phase::HandingOver { to, fenced: true, .. } if gone == Some(*to));
    replaces || (gone == Some(now.stored.primary) && !candidate_reigns)
}

/// One turn of everybody, without faults: false when nothing changes any more.
fn turn(spec: &Spec, rules: &Rules, now: &mut Deployment, gone: Option<Colour>) -> bool {
    let before = now.clone();
    let world = World::of(&now.stored);
    for colour in Colour::BOTH {
        let wanted = world.environments.get(colour).version.is_some();
        match (now.nodes.get(colour).process, wanted) {
            (Process::Down | Process::Stopped, true) if gone != Some(colour) => now.start(colour, rules),
            (Process::Down | Process::Running, false) => now.end(colour, Process::Stopped, rules),
            _ => (),
        }
        if let Some(letter) = call(rules, &now.stored, &now.nodes, colour) {
            now.arrive(letter, false, rules);
        }
        now.feed(colour);
        if let Some(word) = now.word(colour) {
            now.arrive(word, false, rules);
        }
    }
    for write in 0..now.writes.len() {
        if let Fate::Waiting { at, lsn } = now.writes[write]
            && now.nodes.get(at).settled(lsn)
        {
            now.writes[write] = Fate::Acknowledged;
        }
    }
    now.normalise();
    // Time passes when nothing else happens.
    let late = *now == before;
    let seen = observe(&now.stored, &now.nodes, Circumstances { late, ..Circumstances::default() });
    let next = rules.decide(spec, &now.stored, &seen, if late { LATE_MS } else { 0 });
    if next != *now.stored {
        now.store(&forget(next), rules);
        now.normalise();
    }
    *now != before
}
