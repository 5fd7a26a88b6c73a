//! One look at everything a decision depends on, and the sentences about it.

use super::succession;
use crate::text::{self, span};
use crate::{NodeObservation, Observation, Phase, State, transition};
use evidence::Outcome;
use wire::admin::{FeedState, NodeState, Role};
use wire::document::Spec;
use wire::{Colour, Member};

/// The arguments of a decision.
pub(super) struct Look<'a> {
    pub spec: &'a Spec,
    pub state: &'a State,
    pub seen: &'a Observation,
    pub now_ms: u64,
}

/// What a phase decided.
pub(super) struct Next {
    pub state: State,
    pub why: String,
}

impl Look<'_> {
    /// Nothing changes.
    pub fn stay(&self, why: impl Into<String>) -> Next {
        Next { state: self.state.clone(), why: why.into() }
    }

    pub fn change(&self, why: impl Into<String>, change: impl FnOnce(&mut State)) -> Next {
        let mut state = self.state.clone();
        change(&mut state);
        Next { state, why: why.into() }
    }

    pub fn enter(&self, phase: Phase, why: impl Into<String>) -> Next {
        self.change(why, |state| state.phase = phase)
    }

    /// Takes an uncommitted rollout back.
    pub fn roll_back(&self, reason: impl Into<String>) -> Next {
        let reason = reason.into();
        self.change(format!("rolling back: {reason}"), |state| transition::roll_back(state, &reason, self.now_ms))
    }

    /// Begins the handover to the candidate, which has `share_percent` of the reads.
    pub fn hand_over(&self, share_percent: u8, reason: &str) -> Next {
        let to = self.candidate();
        self.change(format!("handing over to {to}: {reason}"), |state| {
            transition::hand_over(state, to, share_percent, reason, self.now_ms);
        })
    }

    pub fn candidate(&self) -> Colour {
        self.state.candidate()
    }

    /// Steps are skipped.
    pub fn full(&self) -> bool {
        self.state.run.as_ref().is_some_and(|run| run.full)
    }

    pub fn elapsed_ms(&self, since_ms: u64) -> u64 {
        self.now_ms.saturating_sub(since_ms)
    }

    /// `Some` once a phase has taken longer than the document allows.
    pub fn timed_out(&self, since_ms: u64, waiting: &str) -> Option<String> {
        let limit = self.spec.rollout.timeout_ms;
        (self.elapsed_ms(since_ms) > limit).then(|| format!("{waiting} for longer than {}", span(limit)))
    }

    /// The node answers.
    pub fn up(&self, colour: Colour) -> Result<&NodeState, String> {
        match self.seen.nodes.get(colour) {
            NodeObservation::Up { state, .. } => Ok(state),
            NodeObservation::Stopped => Err(format!("{colour} does not run")),
            NodeObservation::Silent { why } => {
                let silence = span(*self.seen.silent_ms.get(colour));
                Err(format!("{colour} has not answered for {silence} ({why})"))
            }
        }
    }

    /// The node answers, accepts requests and has a working disk.
    pub fn healthy(&self, colour: Colour) -> Result<&NodeState, String> {
        let node = self.up(colour)?;
        if let Some(failure) = &node.failed {
            return Err(format!("the disk of {colour} failed: {failure}"));
        }
        if !node.ready {
            return Err(format!("{colour} is not ready"));
        }
        Ok(node)
    }

    /// The node has everything its primary had when it began, and gets what comes. Gives its lag in records.
    pub fn follows(&self, colour: Colour) -> Result<u64, String> {
        let node = self.up(colour)?;
        let other = colour.other();
        if !matches!(node.role, Role::Follower { .. }) {
            return Err(format!("{colour} does not follow {other} yet: it is {}", text::role(&node.role)));
        }
        let feed = node.feed.as_ref().ok_or_else(|| format!("{colour} has no feed of {other} yet"))?;
        if let Some(seeding) = &feed.seeding {
            return Err(text::seeding(colour, seeding, feed));
        }
        if !feed.connected {
            let error = feed.error.as_deref().unwrap_or("it is connecting");
            return Err(format!("{colour} is not connected to {other}: {error}"));
        }
        self.healthy(colour)?;
        let announced = self.up(other).map_or(0, |primary| primary.lsn).max(feed.primary_lsn);
        Ok(announced.saturating_sub(node.lsn))
    }

    /// The other nodes of the environment answer reads, too.
    pub fn companions_follow(&self, colour: Colour) -> Result<(), String> {
        for seen in self.seen.followers.get(colour) {
            let name = Member::new(colour, seen.number);
            let NodeObservation::Up { state, .. } = &seen.node else {
                return Err(format!("{name} does not answer yet"));
            };
            let (head, feed) = (self.state.head(colour), state.feed.as_ref());
            match feed {
                Some(FeedState { seeding: Some(seeding), .. }) => {
                    return Err(format!(
                        "{name} has received {} of {} records",
                        seeding.records, seeding.records_total
                    ));
                }
                Some(feed) if feed.connected && state.ready => (),
                _ => return Err(format!("{name} does not follow {head} yet")),
            }
        }
        Ok(())
    }

    /// The node follows within the allowed lag.
    pub fn near(&self, colour: Colour) -> Result<u64, String> {
        let lag = self.follows(colour)?;
        let allowed = self.spec.rollout.lag_records_max;
        if lag > allowed {
            let other = colour.other();
            return Err(format!("{colour} is {lag} records behind {other}; {allowed} are allowed"));
        }
        Ok(lag)
    }

    /// A node that has been silent for so long counts as gone. The router protects reads meanwhile.
    pub fn too_long(&self, silent_ms: u64) -> bool {
        silent_ms > self.spec.rollout.silence_ms_max
    }

    /// The router confirms that `colour` gets `share_percent` of the reads.
    pub fn reads_confirmed(&self, colour: Colour, share_percent: u8) -> Result<(), String> {
        match &self.seen.reads_in_effect {
            Some(shares) if *shares.get(colour) == share_percent => Ok(()),
            Some(shares) => {
                let now = shares.get(colour);
                Err(format!("the router sends {now} % of the reads to {colour}, not {share_percent} % yet"))
            }
            None => Err(format!("the router has not confirmed {share_percent} % of the reads for {colour}")),
        }
    }

    /// A reason to take reads away from `suspect`. Trouble of the other side is never one, and neither is missing data.
    pub fn harm(&self, suspect: Colour) -> Option<String> {
        let failed = self.seen.judgement.of_reads().find(|one| one.outcome == Outcome::Fail);
        if let Some(verdict) = failed {
            return Some(verdict.why.clone());
        }
        match self.up(suspect) {
            Ok(node) => {
                let failure = node.failed.as_ref()?;
                Some(format!("the disk of {suspect} failed: {failure}"))
            }
            // When neither answers, the fault is as likely on our side, and there is nowhere to go.
            Err(why) => {
                let gone = self.too_long(*self.seen.silent_ms.get(suspect))
                    && self.up(suspect.other()).is_ok()
                    && !succession::has_stand_in(self, suspect);
                gone.then_some(why)
            }
        }
    }
}
