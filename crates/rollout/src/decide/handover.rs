//! Moving the right to write, in eight steps. Before the commit the way out is back; after it, forward.

use super::look::{Look, Next};
use super::{confirming, forcing};
use crate::text::{self, span};
use crate::transition::{finish, phase_of_share, resume_old_primary, take_epoch};
use crate::{NodeObservation, Outcome, Phase, Stage, State};
use wire::Colour;
use wire::admin::{Epoch, Lsn, Role};

/// Pause between two attempts to take a committed rollout back, ms: writes that waited get through in between.
const RETRY_PAUSE_MS: u64 = 2_000;

/// A handover under way; the fields are those of its phase.
pub(super) struct Handover<'a> {
    pub look: &'a Look<'a>,
    pub to: Colour,
    pub epoch: Epoch,
    pub since_ms: u64,
    pub reason: &'a str,
    pub share_percent: u8,
    pub fenced: bool,
}

impl Handover<'_> {
    pub fn decide(&self, stage: &Stage) -> Next {
        match stage {
            Stage::ProvingWayBack if self.forward() => self.prove_way_back(),
            Stage::ProvingWayBack => self.prepare_way_back(),
            Stage::Fencing => forcing::fenced(self.look, self.to),
            Stage::Sealing => self.seal(),
            Stage::CatchingUp { lsn, digest, sealed_ms } => self.catch_up(*lsn, digest, *sealed_ms),
            Stage::Promoting { lsn, .. } => self.promote(*lsn),
            Stage::TurningAround { lsn } => self.turn_around(*lsn),
            Stage::MovingTraffic { .. } => self.move_traffic(),
            Stage::Resuming { why, roll_back } => self.resume(why, *roll_back),
        }
    }

    /// Step 1.
    fn prove_way_back(&self) -> Next {
        let (look, from, to) = (self.look, self.from(), self.to);
        if let Some(reason) = look.harm(to) {
            return look.roll_back(reason);
        }
        let proven = look.up(from).map(|_| ()).and_then(|()| look.near(to).map(|_| ())).and_then(|()| {
            match &look.seen.way_back {
                Some((colour, Ok(()))) if *colour == from => Ok(()),
                Some((colour, Err(why))) if *colour == from => Err(format!("{from} could not follow {to}: {why}")),
                _ => Err(format!("{from} is asked to prove that it could follow {to}")),
            }
        });
        match proven {
            Ok(()) => self.intend(format!("{from} could follow {to}, so there is a way back")),
            Err(why) => match look.timed_out(self.since_ms, &why) {
                Some(reason) => self.pause(format!("no handover without a way back: {reason}")),
                None => look.stay(format!("before the handover to {to}: {why}")),
            },
        }
    }

    /// Step 1 of taking a committed rollout back: the failing side has to prove nothing, because nobody returns to it.
    /// Reads leave it as soon as the other side can take them.
    fn prepare_way_back(&self) -> Next {
        let (look, from, to) = (self.look, self.from(), self.to);
        if self.share_percent < 100 && look.healthy(to).is_ok() {
            return look.change(format!("reads go back to {to}: {}", self.reason), |state| {
                if let Phase::HandingOver { share_percent, .. } = &mut state.phase {
                    *share_percent = 100;
                }
            });
        }
        // A reign that did not begin with a promotion began by going back from an attempt like this one.
        let retrying = look.state.promoted_at.is_none() && look.elapsed_ms(self.since_ms) < RETRY_PAUSE_MS;
        let ready = look.up(from).map(|_| ()).and_then(|()| look.near(to).map(|_| ()));
        match ready {
            Err(why) if look.up(from).is_err() => {
                let waiting = format!("the right to write goes back to {to} as soon as it can: {why}");
                forcing::without_primary(look, self.reason, waiting)
            }
            Err(why) => look.stay(format!("the right to write goes back to {to} as soon as it can: {why}")),
            Ok(()) if retrying => look.stay(format!("writes get through before the next attempt to hand over to {to}")),
            Ok(()) => self.intend(format!("{to} is ready to take over again")),
        }
    }

    /// Step 2: the epoch is taken, and stored before anything is sealed.
    fn intend(&self, why: String) -> Next {
        let (look, from) = (self.look, self.from());
        look.change(format!("{why}; {from} is sealed for epoch {}", look.state.epoch + 1), |state| {
            let taken = take_epoch(state);
            self.stage(state, Stage::Sealing);
            if let Phase::HandingOver { epoch, since_ms, .. } = &mut state.phase {
                *epoch = taken;
                *since_ms = look.now_ms;
            }
        })
    }

    /// Step 3.
    fn seal(&self) -> Next {
        let (look, from, to) = (self.look, self.from(), self.to);
        if let Err(why) = look.up(to) {
            return self.go_back(why, false);
        }
        if let Some(why) = self.hold_expired(self.since_ms) {
            return self.go_back(why, false);
        }
        match look.up(from).map(|node| &node.role) {
            // Who has caught up already need not wait for that to be stored.
            Ok(Role::Sealed { epoch, lsn, digest }) if *epoch == self.epoch && self.knows_digest_at(*lsn) => {
                self.catch_up(*lsn, digest, self.since_ms)
            }
            Ok(Role::Sealed { epoch, lsn, digest }) if *epoch == self.epoch => {
                let stage = Stage::CatchingUp { lsn: *lsn, digest: digest.clone(), sealed_ms: look.now_ms };
                look.change(format!("{from} is sealed at LSN {lsn}; {to} catches up"), |state| self.stage(state, stage))
            }
            Ok(role) => {
                look.stay(format!("{from} is to be sealed in epoch {}; it is {}", self.epoch, text::role(role)))
            }
            Err(why) => look.stay(format!("{from} is to be sealed: {why}")),
        }
    }

    fn knows_digest_at(&self, lsn: Lsn) -> bool {
        self.look.seen.digest_at.get(self.to).as_ref().is_some_and(|(at, _)| *at == lsn)
    }

    /// Step 4, and 5 when it holds: the decision that stores the new primary is the commit.
    fn catch_up(&self, lsn: Lsn, digest: &str, sealed_ms: u64) -> Next {
        let (look, from, to) = (self.look, self.from(), self.to);
        if let Some(why) = self.hold_expired(sealed_ms) {
            return self.go_back(why, false);
        }
        let node = match look.up(to) {
            Ok(node) => node,
            Err(why) => return self.go_back(why, false),
        };
        if let Ok(sealed) = look.up(from)
            && !matches!(&sealed.role, Role::Sealed { epoch, lsn: at, .. } if *epoch == self.epoch && *at == lsn)
        {
            let is = text::role(&sealed.role);
            return self.go_back(format!("{from} is no longer sealed at LSN {lsn}; it is {is}"), false);
        }
        if !matches!(node.role, Role::Follower { .. }) {
            return self.go_back(format!("{to} does not follow any more; it is {}", text::role(&node.role)), false);
        }
        if let Some(failure) = &node.failed {
            return self.go_back(format!("the disk of {to} failed: {failure}"), true);
        }
        if node.lsn > lsn {
            let why =
                format!("{to} has LSN {}, past the end of {from}'s history at {lsn}: the copies differ", node.lsn);
            return self.go_back(why, true);
        }
        if node.lsn < lsn {
            let missing = lsn - node.lsn;
            return look.stay(format!("{to} lacks {missing} records up to LSN {lsn}; writes wait"));
        }
        match look.seen.digest_at.get(to) {
            Some((at, seen)) if *at == lsn && seen == digest => self.commit(lsn, digest),
            Some((at, seen)) if *at == lsn => {
                let why = format!("the copies differ at LSN {lsn}: {from} has digest {digest}, {to} has {seen}");
                self.go_back(why, true)
            }
            _ => look.stay(format!("{to} is at LSN {lsn}; its digest there is compared")),
        }
    }

    /// Step 5: from here on the new primary is who `state` says.
    fn commit(&self, lsn: Lsn, digest: &str) -> Next {
        let (look, from, to) = (self.look, self.from(), self.to);
        let why = format!("{to} has all of {from}'s history up to LSN {lsn}; it is primary in epoch {}", self.epoch);
        look.change(why, |state| {
            state.primary = to;
            state.primary_epoch = self.epoch;
            state.promoted_at = Some(lsn);
            state.active = to;
            self.stage(state, Stage::Promoting { lsn, digest: digest.into() });
            state.replicas.successor = None;
            state.confirm(confirming::at_commit(look, state));
            if let Some(run) = &mut state.run
                && run.candidate == to
            {
                run.committed_ms = Some(look.now_ms);
            }
        })
    }

    /// Step 6. There is no way back from here but a handover of its own: nobody else may admit writes while it is not
    /// known whether the new primary already does.
    fn promote(&self, lsn: Lsn) -> Next {
        let (look, from, to) = (self.look, self.from(), self.to);
        match look.up(to).map(|node| &node.role) {
            Ok(Role::Primary { epoch }) if *epoch >= self.epoch => match look.up(from).map(|node| &node.role) {
                Ok(Role::Follower { epoch, .. }) if *epoch >= self.epoch => self.turn_around(lsn),
                _ => look.change(format!("{to} admits writes; {from} turns around to follow it"), |state| {
                    self.stage(state, Stage::TurningAround { lsn });
                }),
            },
            // What it still had on its way to the disk when its primary was fenced off: nobody else can add to that.
            Ok(Role::Follower { .. }) if self.fenced && look.up(to).is_ok_and(|node| node.lsn > lsn) => {
                let here = look.up(to).map_or(lsn, |node| node.lsn);
                look.change(format!("{to} had more on its way to the disk; it is primary from LSN {here}"), |state| {
                    state.promoted_at = Some(here);
                    self.stage(state, Stage::Promoting { lsn: here, digest: String::new() });
                })
            }
            Ok(role) => {
                let waiting = format!("{to} is to be promoted at LSN {lsn}; it is {}", text::role(role));
                match self.forward() {
                    true => forcing::without_promotion(look, self.since_ms, waiting),
                    false => look.stay(waiting),
                }
            }
            Err(why) => self.lost(&why, format!("{to} is primary and cannot be told so: {why}")),
        }
    }

    /// The new primary is gone after the commit. Before its first write the other side has everything, and after it as long
    /// as it confirms.
    fn lost(&self, why: &str, waiting: String) -> Next {
        match self.forward() {
            true => forcing::without_primary(self.look, why, waiting),
            // Nobody is left to go to: the failing version was fenced off or is what was left.
            false => self.look.stay(waiting),
        }
    }

    /// Step 7. Traffic does not wait longer than writes do for an old primary that is gone or cannot turn around (its disk may
    /// be full): sealed in this epoch it admits nothing, the new one reigns, and it follows when it can.
    fn turn_around(&self, lsn: Lsn) -> Next {
        let (look, from, to) = (self.look, self.from(), self.to);
        let next = Stage::MovingTraffic { lsn };
        if let Err(why) = look.up(to) {
            return self.lost(&why, format!("{to} is primary and does not answer: {why}"));
        }
        let late = self.hold_expired(self.since_ms).is_some();
        let gone = late || *look.seen.nodes.get(from) == NodeObservation::Stopped;
        match look.up(from).map(|node| &node.role) {
            Ok(Role::Follower { epoch, .. }) if *epoch >= self.epoch => {
                let why = format!("{from} follows {to} and forwards the writes that waited; all traffic moves to {to}");
                look.change(why, |state| self.stage(state, next))
            }
            Ok(role) if late => {
                let is = text::role(role);
                let why = format!("{from} is to follow {to} and is {is} still; all traffic moves to {to} without it");
                look.change(why, |state| self.stage(state, next))
            }
            Ok(role) => look.stay(format!("{from} is to follow {to}; it is {}", text::role(role))),
            Err(why) if gone => {
                let why = format!("{why}; all traffic moves to {to}, and {from} follows when it returns");
                look.change(why, |state| self.stage(state, next))
            }
            Err(why) => look.stay(format!("{from} is to follow {to}: {why}")),
        }
    }

    /// Step 8.
    fn move_traffic(&self) -> Next {
        let (look, from, to) = (self.look, self.from(), self.to);
        if let Err(why) = look.up(to)
            && self.forward()
        {
            return self.lost(&why, format!("all traffic moves to {to}: {why}"));
        }
        if let Err(why) = look.reads_confirmed(to, 100) {
            return look.stay(format!("all traffic moves to {to}: {why}"));
        }
        if self.forward() {
            let watch = span(look.spec.rollout.watch_ms);
            let why = format!("all traffic is with {to}; it is watched for {watch}, and {from} stays warm");
            return look.enter(Phase::Watching { since_ms: look.now_ms }, why);
        }
        // Sealed where this one was promoted, the failed side holds nothing of its own; fenced off, it may, and keeps it.
        let said = match self.fenced {
            false => format!("{to} serves again, nothing was lost: {}", self.reason),
            true => format!("{to} serves again without {from}, which was fenced off: {}", self.reason),
        };
        look.change(said, |state| {
            finish(state, Outcome::RolledBack, self.reason, look.now_ms);
        })
    }

    /// Going back before the commit.
    fn resume(&self, why: &str, ends_rollout: bool) -> Next {
        let (look, from) = (self.look, self.from());
        match look.up(from).map(|node| &node.role) {
            Ok(Role::Primary { epoch }) if *epoch >= self.epoch => self.after_going_back(why, ends_rollout),
            Ok(role) => {
                let is = text::role(role);
                look.stay(format!("{from} is to admit writes again in epoch {}; it is {is}: {why}", self.epoch))
            }
            Err(silence) => {
                let waiting = format!("{from} is to admit writes again: {silence}: {why}");
                match self.forward() {
                    // The candidate was never promoted: it is the active environment that is gone, and it is waited for.
                    true => look.stay(waiting),
                    false => forcing::without_primary(look, self.reason, waiting),
                }
            }
        }
    }

    fn after_going_back(&self, why: &str, ends_rollout: bool) -> Next {
        let (look, from, to) = (self.look, self.from(), self.to);
        if !self.forward() {
            let text = format!("{from} admits writes again; the handover to {to} is tried once more: {why}");
            return look.change(text, |state| {
                let planned = state.epoch + 1;
                self.stage(state, Stage::ProvingWayBack);
                if let Phase::HandingOver { epoch, since_ms, .. } = &mut state.phase {
                    *epoch = planned;
                    *since_ms = look.now_ms;
                }
            });
        }
        match ends_rollout {
            true => look.roll_back(why),
            false => self.pause(format!("the handover went back: {why}")),
        }
    }

    fn pause(&self, why: String) -> Next {
        let look = self.look;
        let before = phase_of_share(&look.spec.rollout.steps, self.share_percent, look.now_ms);
        let phase = Phase::Paused { since_ms: look.now_ms, before: Box::new(before), why: why.clone() };
        look.enter(phase, format!("paused: {why}"))
    }

    fn go_back(&self, why: String, ends_rollout: bool) -> Next {
        let text = format!("the handover to {} goes back before its commit: {why}", self.to);
        self.look.change(text, |state| resume_old_primary(state, &why, ends_rollout))
    }

    fn hold_expired(&self, since_ms: u64) -> Option<String> {
        let (held, limit) = (self.look.elapsed_ms(since_ms), self.look.spec.handover.hold_ms_max);
        (held > limit).then(|| format!("writes waited {}, longer than the {} allowed", span(held), span(limit)))
    }

    fn stage(&self, state: &mut State, next: Stage) {
        if let Phase::HandingOver { stage, .. } = &mut state.phase {
            *stage = next;
        }
    }

    fn from(&self) -> Colour {
        self.to.other()
    }

    /// Towards the new version; otherwise the rollout is being taken back.
    fn forward(&self) -> bool {
        self.to == self.look.candidate()
    }
}
