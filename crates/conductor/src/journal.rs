//! What happened and what is wrong, kept for `info` and written to the log once each. Everything is bounded.

use crate::info::{Event, HandoverTiming};
use clock::Clock;
use std::collections::{BTreeMap, VecDeque};
use tokio::time::Instant;
use wire::admin::Epoch;
use wire::{Colour, Member};

const EVENTS_MAX: usize = 200;
const HANDOVERS_MAX: usize = 100;

/// What can go wrong and is tried again; one text each.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Trouble {
    Load,
    Store,
    Observe,
    Apply,
    Role(Colour),
    /// A node that is not the head of its environment.
    Follower(Member),
    /// Clients of a node could not be sent elsewhere.
    Shed(Member),
    Proof,
    Digest,
}

pub(crate) struct Journal {
    clock: Clock,
    pub why: String,
    pub events: VecDeque<Event>,
    pub handovers: VecDeque<HandoverTiming>,
    troubles: BTreeMap<Trouble, String>,
    /// The seal that was sent and is not answered by a promotion yet.
    sealing: Option<(Epoch, u64, Instant)>,
}

impl Journal {
    pub fn new(clock: Clock) -> Self {
        let (events, handovers, troubles) = (VecDeque::new(), VecDeque::new(), BTreeMap::new());
        Self { clock, why: String::new(), events, handovers, troubles, sealing: None }
    }

    pub fn event(&mut self, text: impl Into<String>) {
        let number = self.events.back().map_or(0, |last| last.number) + 1;
        let event = Event { number, at_ms: self.clock.now_ms(), text: text.into() };
        push_bounded(&mut self.events, event, EVENTS_MAX);
    }

    /// Notes the reason of a decision. It is logged when it says something new, not when only its numbers moved.
    pub fn decided(&mut self, why: &str, changed: bool) {
        if changed || shape(why) != shape(&self.why) {
            tracing::info!("{why}");
        }
        if changed {
            self.event(why);
        }
        self.why = why.into();
    }

    /// Notes how an attempt went: an error stays until the same thing succeeds.
    pub fn note<T, E: ToString>(&mut self, trouble: Trouble, result: Result<T, E>) -> Option<T> {
        match result {
            Ok(value) => {
                self.troubles.remove(&trouble);
                Some(value)
            }
            Err(error) => {
                let text = error.to_string();
                if self.troubles.get(&trouble) != Some(&text) {
                    tracing::warn!("{text}");
                    self.event(&text);
                    self.troubles.insert(trouble, text);
                }
                None
            }
        }
    }

    /// Nothing is attempted any more, so nothing is wrong with it.
    pub fn forget(&mut self, trouble: Trouble) {
        self.troubles.remove(&trouble);
    }

    pub fn last_error(&self) -> Option<String> {
        let texts: Vec<&str> = self.troubles.values().map(String::as_str).collect();
        (!texts.is_empty()).then(|| texts.join("; "))
    }

    /// A seal is about to be sent; a repeated one does not start the time anew.
    pub fn seal_sent(&mut self, epoch: Epoch) {
        if self.sealing.is_none_or(|(sealing, ..)| sealing != epoch) {
            self.sealing = Some((epoch, self.clock.now_ms(), Instant::now()));
        }
    }

    pub fn promoted(&mut self, to: Colour, epoch: Epoch) {
        let Some((sealing, at_ms, began)) = self.sealing else { return };
        if sealing == epoch {
            let seal_to_promote_ms = began.elapsed().as_secs_f64() * 1_000.0;
            let timing = HandoverTiming { at_ms, to, epoch, seal_to_promote_ms, seal_to_follow_ms: None };
            push_bounded(&mut self.handovers, timing, HANDOVERS_MAX);
        }
    }

    pub fn turned_around(&mut self, epoch: Epoch) {
        let Some((sealing, _, began)) = self.sealing else { return };
        if let Some(timing) = self.handovers.back_mut()
            && sealing == epoch
            && timing.epoch == epoch
            && timing.seal_to_follow_ms.is_none()
        {
            timing.seal_to_follow_ms = Some(began.elapsed().as_secs_f64() * 1_000.0);
        }
    }
}

fn push_bounded<T>(queue: &mut VecDeque<T>, item: T, max: usize) {
    if queue.len() >= max {
        queue.pop_front();
    }
    queue.push_back(item);
}

/// The sentence without its numbers.
fn shape(text: &str) -> String {
    let plain: String = text.chars().filter(|c| !c.is_ascii_digit() && !matches!(c, '.' | ',')).collect();
    plain.replace(" ms", " s").replace(" min", " s")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn queues_are_bounded_and_keep_the_latest() {
        let mut journal = Journal::new(Clock::default());
        for number in 0..EVENTS_MAX + 5 {
            journal.event(format!("event {number}"));
        }
        assert_eq!(journal.events.len(), EVENTS_MAX);
        assert_eq!(journal.events.back().map(|event| event.text.as_str()), Some("event 204"));
        for epoch in 0..HANDOVERS_MAX as u64 + 5 {
            journal.seal_sent(epoch);
            journal.promoted(Colour::Green, epoch);
            journal.turned_around(epoch);
        }
        assert_eq!(journal.handovers.len(), HANDOVERS_MAX);
        assert!(journal.handovers.iter().all(|timing| timing.seal_to_follow_ms.is_some()));
    }

    #[test]
    fn only_a_promotion_of_the_sealed_epoch_is_timed() {
        let mut journal = Journal::new(Clock::default());
        journal.promoted(Colour::Green, 2);
        journal.seal_sent(3);
        journal.promoted(Colour::Green, 2);
        journal.turned_around(3);
        assert!(journal.handovers.is_empty());
    }

    #[test]
    fn a_trouble_is_told_once_and_goes_when_it_is_over() {
        let mut journal = Journal::new(Clock::default());
        for _ in 0..3 {
            journal.note::<(), _>(Trouble::Apply, Err("no room"));
        }
        journal.note::<(), _>(Trouble::Role(Colour::Blue), Err("stale"));
        assert_eq!(journal.events.len(), 2);
        assert_eq!(journal.last_error().as_deref(), Some("no room; stale"));
        journal.note::<(), &str>(Trouble::Apply, Ok(()));
        journal.forget(Trouble::Role(Colour::Blue));
        assert_eq!(journal.last_error(), None);
    }

    #[test]
    fn a_reason_is_an_event_only_with_a_change() {
        let mut journal = Journal::new(Clock::default());
        journal.decided("1 of 5", false);
        journal.decided("2 of 5", false);
        journal.decided("done", true);
        assert_eq!(journal.events.len(), 1);
        assert_eq!(shape("63 of 100"), shape("7 of 100"));
        assert_eq!(journal.why, "done");
    }
}
