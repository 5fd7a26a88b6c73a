//! What happened, counted: kills by process and by the step of the rollout in which they fell, and how rollouts ended.

use rollout::{Outcome, Phase, Stage, State};
use serde_json::{Map, Value, json};
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;
use wire::Colour;

/// What is killed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Victim {
    /// `jadeshift up`: gateway and conductor.
    Up,
    Node(Colour),
}

/// The step of a rollout, in the order in which they come.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Step {
    order: u8,
    name: &'static str,
    /// Towards the version from before, not the new one.
    back: bool,
}

/// Kills so far.
#[derive(Default)]
pub struct Kills {
    /// By step: `up`, the node that is primary, the other one.
    by_step: BTreeMap<Step, [u64; 3]>,
    by_victim: BTreeMap<Victim, u64>,
}

/// Rollouts so far.
#[derive(Default)]
pub struct Rollouts {
    seen: BTreeSet<(u64, u64, bool)>,
    committed: BTreeSet<u64>,
    pub promoted: u64,
    pub rolled_back: u64,
    /// Handovers that were committed.
    pub handovers: u64,
}

impl Step {
    pub fn of(state: &State) -> Step {
        let step = |order, name| Step { order, name, back: false };
        match &state.phase {
            Phase::Starting { .. } => step(0, "starting"),
            Phase::Stable => step(1, "stable"),
            Phase::Preparing { .. } => step(2, "preparing"),
            Phase::Seeding { .. } => step(3, "seeding"),
            Phase::Following { .. } => step(4, "following"),
            Phase::Checking { .. } => step(5, "checking"),
            Phase::Shifting { .. } => step(6, "shifting"),
            Phase::HandingOver { to, stage, .. } => Step { back: *to != state.candidate(), ..stage_step(stage) },
            Phase::Watching { .. } => step(20, "watching"),
            Phase::RollingBack { .. } => step(21, "rolling back"),
            Phase::Paused { .. } => step(22, "paused"),
        }
    }

    fn label(&self) -> String {
        match self.back {
            true => format!("{} (going back)", self.name),
            false => self.name.to_string(),
        }
    }
}

fn stage_step(stage: &Stage) -> Step {
    let (order, name) = match stage {
        Stage::ProvingWayBack => (10, "handing over: proving the way back"),
        Stage::Fencing => (11, "handing over: fencing"),
        Stage::Sealing => (12, "handing over: sealing"),
        Stage::CatchingUp { .. } => (13, "handing over: catching up"),
        Stage::Promoting { .. } => (14, "handing over: promoting"),
        Stage::TurningAround { .. } => (15, "handing over: turning around"),
        Stage::MovingTraffic { .. } => (16, "handing over: moving traffic"),
        Stage::Resuming { .. } => (17, "handing over: resuming"),
    };
    Step { order, name, back: false }
}

impl Kills {
    /// Notes a kill that fell while `state` was durable.
    pub fn note(&mut self, victim: Victim, state: &State) {
        let column = match victim {
            Victim::Up => 0,
            Victim::Node(colour) if colour == state.primary => 1,
            Victim::Node(_) => 2,
        };
        self.by_step.entry(Step::of(state)).or_default()[column] += 1;
        *self.by_victim.entry(victim).or_default() += 1;
    }

    pub fn total(&self) -> u64 {
        self.by_victim.values().sum()
    }

    pub fn of(&self, victim: Victim) -> u64 {
        self.by_victim.get(&victim).copied().unwrap_or_default()
    }

    pub fn table(&self) -> String {
        let mut table = format!("{:<48} {:>8} {:>8} {:>8}\n", "kills in step", "up", "primary", "other");
        let mut sums = [0; 3];
        for (step, counts) in &self.by_step {
            let [up, primary, other] = counts;
            table.push_str(&format!("{:<48} {up:>8} {primary:>8} {other:>8}\n", step.label()));
            sums.iter_mut().zip(counts).for_each(|(sum, count)| *sum += count);
        }
        let [up, primary, other] = sums;
        table.push_str(&format!("{:<48} {up:>8} {primary:>8} {other:>8}\n", "all"));
        table
    }

    pub fn json(&self) -> Value {
        let steps: Map<String, Value> = self
            .by_step
            .iter()
            .map(|(step, [up, primary, other])| (step.label(), json!({"up": up, "primary": primary, "other": other})))
            .collect();
        json!({
            "total": self.total(),
            "up": self.of(Victim::Up),
            "blue": self.of(Victim::Node(Colour::Blue)),
            "green": self.of(Victim::Node(Colour::Green)),
            "by_step": steps,
        })
    }
}

impl Rollouts {
    /// Counts what ended since the last look; the state remembers more than can end in between.
    pub fn look(&mut self, state: &State) {
        for record in &state.history {
            let promoted = record.outcome == Outcome::Promoted;
            if !self.seen.insert((record.run.id, record.ended_ms, promoted)) {
                continue;
            }
            // A release that is taken back later is in the history twice, with the same number.
            let first_commit = record.run.committed_ms.is_some() && self.committed.insert(record.run.id);
            self.handovers += u64::from(first_commit);
            match promoted {
                true => self.promoted += 1,
                false => {
                    self.rolled_back += 1;
                    self.handovers += u64::from(record.run.committed_ms.is_some());
                }
            }
        }
    }
}

/// Minutes and seconds.
pub fn span(duration: Duration) -> String {
    format!("{}:{:02} min", duration.as_secs() / 60, duration.as_secs() % 60)
}

#[cfg(test)]
mod tests {
    use super::*;
    use rollout::{Record, Run};
    use wire::document::Spec;

    #[test]
    fn kills_are_counted_by_step_direction_and_role() {
        let mut state = State::first(&Spec::default(), 0);
        let mut kills = Kills::default();
        kills.note(Victim::Node(Colour::Blue), &state);
        for (to, victim) in [(Colour::Green, Victim::Up), (Colour::Blue, Victim::Node(Colour::Green))] {
            state.phase = Phase::HandingOver {
                to,
                epoch: 2,
                stage: Stage::Sealing,
                since_ms: 0,
                reason: String::new(),
                share_percent: 0,
                fenced: false,
            };
            kills.note(victim, &state);
        }
        let json = kills.json();
        assert_eq!((kills.total(), &json["up"], &json["blue"], &json["green"]), (3, &json!(1), &json!(1), &json!(1)));
        assert_eq!(json["by_step"]["starting"], json!({"up": 0, "primary": 1, "other": 0}));
        assert_eq!(json["by_step"]["handing over: sealing"]["up"], 1);
        assert_eq!(json["by_step"]["handing over: sealing (going back)"]["other"], 1);
        assert!(kills.table().ends_with(&format!("{:<48} {:>8} {:>8} {:>8}\n", "all", 1, 1, 1)));
    }

    #[test]
    fn a_release_taken_back_later_is_one_rollout_and_two_handovers() {
        let mut state = State::first(&Spec::default(), 0);
        let run = Run {
            id: 1,
            from_version: "1".into(),
            to_version: "2".into(),
            candidate: Colour::Green,
            started_ms: 0,
            full: false,
            accept_loss: false,
            committed_ms: Some(5),
        };
        let record = |outcome, ended_ms| Record { run: run.clone(), outcome, reason: String::new(), ended_ms };
        let mut rollouts = Rollouts::default();
        state.history.push(record(Outcome::Promoted, 10));
        rollouts.look(&state);
        rollouts.look(&state);
        assert_eq!((rollouts.promoted, rollouts.rolled_back, rollouts.handovers), (1, 0, 1));
        state.history.push(record(Outcome::RolledBack, 20));
        rollouts.look(&state);
        assert_eq!((rollouts.promoted, rollouts.rolled_back, rollouts.handovers), (1, 1, 2));
    }
}
