//! From every state a way on: when nothing goes wrong any more, the deployment comes to serve, or waits for a person who is
//! needed.

use super::action::call;
use super::broken::Rules;
use super::deployment::{Deployment, Fate};
use super::look::{Circumstances, LATE_MS, forget, observe};
use super::node::Process;
use rollout::{Phase, World};
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
    /// Without further faults `from` comes to serve.
    pub fn leads_on(&self, spec: &Spec, rules: &Rules, from: &Deployment) -> bool {
        let mut now = from.clone();
        // Late messages arrive now, or never.
        for letter in std::mem::take(&mut now.letters) {
            let (super::deployment::Letter::Call { to, .. } | super::deployment::Letter::Confirm { to, .. }) = letter;
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
            let hash = BuildHasherDefault::<DefaultHasher>::default().hash_one(&now);
            if self.known.lock().is_ok_and(|known| known.contains(&hash)) || serves(&now, rules) {
                passed.push(hash);
                if let Ok(mut known) = self.known.lock() {
                    known.extend(passed);
                }
                return true;
            }
            passed.push(hash);
            if !turn(spec, rules, &mut now) {
                return false;
            }
        }
        false
    }
}

/// The committed primary admits writes, nothing is under way that holds them, and what was written is answered.
fn serves(now: &Deployment, rules: &Rules) -> bool {
    let settled = !matches!(now.stored.phase, Phase::HandingOver { .. } | Phase::RollingBack { .. });
    let waits = |fate: &Fate| matches!(fate, Fate::Waiting { at, .. } if *at == now.stored.primary);
    settled && now.nodes.get(now.stored.primary).admits(rules) && !now.writes.iter().any(waits)
}

/// One turn of everybody, without faults: false when nothing changes any more.
fn turn(spec: &Spec, rules: &Rules, now: &mut Deployment) -> bool {
    let before = now.clone();
    let world = World::of(&now.stored);
    for colour in Colour::BOTH {
        let wanted = world.environments.get(colour).version.is_some();
        match (now.nodes.get(colour).process, wanted) {
            (Process::Down | Process::Stopped, true) => now.start(colour, rules),
            (Process::Down | Process::Running, false) => now.end(colour, Process::Stopped),
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
