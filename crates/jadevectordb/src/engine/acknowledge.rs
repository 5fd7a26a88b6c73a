//! On whose disk a write must be before it is acknowledged.
//!
//! The follower says how far its disk has the history; a primary that waits for that acknowledges a write when both have
//! it. When it does not hear for a while it does not decide alone what an acknowledgement means: with
//! [`AcknowledgeMode::Required`] it waits until a coordinator, which has made that durable, tells it to go on alone.
//!
//! **Invariant.** While [`AcknowledgeState::holds`] is told with `Required`, every write that was acknowledged in this reign
//! is on the follower's disk, and every one before it was when the reign began.

use parking_lot::Mutex;
use std::time::Duration;
use tokio::sync::watch;
use tokio::time::Instant;
use wire::admin::{AcknowledgeBy, AcknowledgeMode, AcknowledgeState, Lsn};

/// What a write was told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// It may be acknowledged.
    Acknowledge,
    /// It is on this disk, and nobody confirmed it in time.
    Unconfirmed,
}

/// Keeps what was confirmed, and lets writes wait for it.
pub(crate) struct Confirmations {
    state: Mutex<State>,
    /// Grows when something changed that a waiting write would like to know.
    changed: watch::Sender<u64>,
    /// How long a write waits in [`AcknowledgeMode::Preferred`] before it goes on alone.
    patience: Duration,
}

#[derive(Debug, Clone)]
struct State {
    by: AcknowledgeBy,
    confirmed_lsn: Lsn,
    holds: bool,
    /// Writes that wait now.
    waiting: usize,
    /// The first of them came, or the last confirmation.
    still_since: Instant,
}

impl Confirmations {
    pub fn new(by: AcknowledgeBy, patience: Duration) -> Self {
        let state = State { by, confirmed_lsn: 0, holds: false, waiting: 0, still_since: Instant::now() };
        Self { state: Mutex::new(state), changed: watch::Sender::new(0), patience }
    }

    pub fn state(&self) -> AcknowledgeState {
        let state = self.state.lock();
        let waiting_ms = if state.waiting == 0 { 0 } else { state.still_since.elapsed().as_millis() as u64 };
        AcknowledgeState {
            by: state.by.clone(),
            confirmed_lsn: state.confirmed_lsn,
            holds: state.holds && state.by.mode != AcknowledgeMode::Alone,
            waiting_ms,
        }
    }

    /// The follower whose word counts is to confirm what it has.
    pub fn wanted(&self) -> bool {
        self.state.lock().by.mode != AcknowledgeMode::Alone
    }

    /// Likewise, of several followers.
    pub fn wanted_of(&self, follower: &str) -> bool {
        let state = self.state.lock();
        state.by.mode != AcknowledgeMode::Alone && state.by.confirmer == follower
    }

    /// From now on `by` is what is waited for. Whoever waits already is judged by it.
    pub fn set(&self, by: AcknowledgeBy) {
        let mut state = self.state.lock();
        if state.by.confirmer != by.confirmer {
            (state.confirmed_lsn, state.holds) = (0, false);
        }
        // What is acknowledged alone is confirmed by nobody, and being told to prefer after having been required is the
        // permission to do that.
        let released = state.by.mode == AcknowledgeMode::Required && by.mode != AcknowledgeMode::Required;
        if released || by.mode == AcknowledgeMode::Alone {
            state.holds = false;
        }
        state.by = by;
        drop(state);
        self.changed.send_modify(|changes| *changes += 1);
    }

    /// A new reign begins at `lsn`, up to which `by.confirmer` is known to have everything.
    pub fn begin(&self, by: AcknowledgeBy, lsn: Lsn) {
        {
            let mut state = self.state.lock();
            state.holds = by.mode == AcknowledgeMode::Required;
            state.confirmed_lsn = lsn;
            state.by = by;
        }
        self.changed.send_modify(|changes| *changes += 1);
    }

    /// `follower` has everything up to `lsn` on its disk. `applied`: the last LSN of this node, read before the call or in
    /// it: every write that was acknowledged without waiting is at most there.
    pub fn confirm(&self, follower: &str, lsn: Lsn, applied: impl FnOnce() -> Lsn) {
        let mut state = self.state.lock();
        if state.by.confirmer != follower || state.by.mode == AcknowledgeMode::Alone {
            return;
        }
        if lsn > state.confirmed_lsn {
            state.confirmed_lsn = lsn;
            state.still_since = Instant::now();
        }
        // A write is applied before it asks here whether to wait, so one that was let go is covered.
        state.holds |= state.confirmed_lsn >= applied();
        drop(state);
        self.changed.send_modify(|changes| *changes += 1);
    }

    /// The node that this one follows now has accepted its history up to `lsn` as a beginning of its own.
    pub fn accepted(&self, lsn: Lsn) {
        let mut state = self.state.lock();
        state.confirmed_lsn = state.confirmed_lsn.max(lsn);
        drop(state);
        self.changed.send_modify(|changes| *changes += 1);
    }

    /// Waits until the write at `lsn` may be acknowledged, at most `at_most`.
    pub async fn wait(&self, lsn: Lsn, at_most: Duration) -> Verdict {
        if self.settled(lsn) {
            return Verdict::Acknowledge;
        }
        let mut changed = self.changed.subscribe();
        let _waiting = Waiting::begin(self);
        let began = Instant::now();
        loop {
            if self.settled(lsn) {
                return Verdict::Acknowledge;
            }
            let left = self.time_left(lsn, began, at_most);
            if left.is_zero() {
                return Verdict::Unconfirmed;
            }
            // Its sender lives as long as `self`; the end of the time is seen above.
            let _ = tokio::time::timeout(left, changed.changed()).await;
        }
    }

    fn settled(&self, lsn: Lsn) -> bool {
        let state = self.state.lock();
        match state.by.mode {
            AcknowledgeMode::Alone => true,
            AcknowledgeMode::Preferred => !state.holds || state.confirmed_lsn >= lsn,
            AcknowledgeMode::Required => state.confirmed_lsn >= lsn,
        }
    }

    /// How long to wait still; a write that ran out of patience makes the primary go on alone where it may.
    fn time_left(&self, lsn: Lsn, began: Instant, at_most: Duration) -> Duration {
        let mut state = self.state.lock();
        if state.by.mode != AcknowledgeMode::Preferred {
            return at_most.saturating_sub(began.elapsed());
        }
        let left = self.patience.saturating_sub(began.elapsed());
        if left.is_zero() {
            tracing::warn!(
                lsn,
                confirmed_lsn = state.confirmed_lsn,
                "the other environment does not confirm; writes are acknowledged without it"
            );
            state.holds = false;
            drop(state);
            self.changed.send_modify(|changes| *changes += 1);
            return Duration::from_micros(1);
        }
        left
    }
}

/// Counts a write that waits, also when its client goes away.
struct Waiting<'a>(&'a Confirmations);

impl<'a> Waiting<'a> {
    fn begin(confirmations: &'a Confirmations) -> Self {
        let mut state = confirmations.state.lock();
        if state.waiting == 0 {
            state.still_since = Instant::now();
        }
        state.waiting += 1;
        Self(confirmations)
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.state.lock().waiting -= 1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LONG: Duration = Duration::from_secs(3_600);

    fn confirmations(mode: AcknowledgeMode) -> Confirmations {
        let confirmations = Confirmations::new(AcknowledgeBy::default(), Duration::from_millis(20));
        confirmations.set(AcknowledgeBy { mode, confirmer: "green".into(), number: 0 });
        confirmations
    }

    /// Polls once.
    async fn is_settled(confirmations: &Confirmations, lsn: Lsn) -> bool {
        tokio::time::timeout(Duration::ZERO, confirmations.wait(lsn, LONG)).await.is_ok()
    }

    #[tokio::test]
    async fn alone_waits_for_nobody() {
        let alone = confirmations(AcknowledgeMode::Alone);
        assert_eq!(alone.wait(9, LONG).await, Verdict::Acknowledge);
        alone.confirm("green", 9, || 9);
        assert_eq!(alone.state(), AcknowledgeState { by: alone.state().by, ..AcknowledgeState::default() });
    }

    #[tokio::test]
    async fn preferred_waits_only_once_the_other_has_everything() {
        let preferred = confirmations(AcknowledgeMode::Preferred);
        assert!(is_settled(&preferred, 5).await);
        preferred.confirm("green", 4, || 5);
        assert!(!preferred.state().holds, "one acknowledged write is not confirmed");
        preferred.confirm("green", 5, || 5);
        assert!(preferred.state().holds);
        assert!(!is_settled(&preferred, 6).await);
        preferred.confirm("green", 6, || 6);
        assert!(is_settled(&preferred, 6).await);
    }

    #[tokio::test]
    async fn preferred_goes_on_alone_when_its_patience_is_over() {
        let preferred = confirmations(AcknowledgeMode::Preferred);
        preferred.confirm("green", 5, || 5);
        assert_eq!(preferred.wait(6, LONG).await, Verdict::Acknowledge);
        assert!(!preferred.state().holds);
    }

    #[tokio::test]
    async fn required_never_goes_on_alone_until_it_is_told() {
        let required = confirmations(AcknowledgeMode::Required);
        assert_eq!(required.wait(6, Duration::from_millis(30)).await, Verdict::Unconfirmed);
        required.confirm("green", 6, || 6);
        assert!(required.state().holds);
        let waiting = required.wait(7, LONG);
        let told = async {
            while required.state().waiting_ms == 0 {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
            required.set(AcknowledgeBy { mode: AcknowledgeMode::Preferred, confirmer: "green".into(), number: 0 });
        };
        assert_eq!(tokio::join!(waiting, told).0, Verdict::Acknowledge);
        assert!(!required.state().holds);
    }

    /// Found by the model of the handover: a rollout was taken back while the other was about to confirm, and the next one
    /// took what had been acknowledged in between for confirmed.
    #[tokio::test]
    async fn what_was_acknowledged_alone_is_not_taken_for_confirmed_afterwards() {
        let primary = confirmations(AcknowledgeMode::Preferred);
        primary.confirm("green", 5, || 5);
        let told = |mode, number| AcknowledgeBy { mode, confirmer: "green".into(), number };
        primary.set(told(AcknowledgeMode::Alone, 1));
        assert_eq!(primary.wait(6, LONG).await, Verdict::Acknowledge);
        primary.set(told(AcknowledgeMode::Preferred, 2));
        assert!(!primary.state().holds, "nobody confirmed LSN 6");
        primary.set(told(AcknowledgeMode::Required, 3));
        assert!(!primary.state().holds);
        primary.confirm("green", 6, || 6);
        assert!(primary.state().holds);
    }

    #[tokio::test]
    async fn the_word_of_another_counts_for_nothing() {
        let required = confirmations(AcknowledgeMode::Required);
        required.confirm("stranger", 9, || 9);
        assert_eq!(required.state().confirmed_lsn, 0);
        required.confirm("green", 9, || 9);
        required.set(AcknowledgeBy { mode: AcknowledgeMode::Required, confirmer: "new green".into(), number: 0 });
        assert!(!required.state().holds, "the other follower had everything, this one has to say so");
        assert!(!is_settled(&required, 9).await);
    }

    #[tokio::test]
    async fn a_reign_that_begins_at_a_seal_holds_from_the_start() {
        let new = confirmations(AcknowledgeMode::Alone);
        new.begin(AcknowledgeBy { mode: AcknowledgeMode::Required, confirmer: "blue".into(), number: 0 }, 9);
        assert!(new.state().holds && is_settled(&new, 9).await && !is_settled(&new, 10).await);
    }
}
