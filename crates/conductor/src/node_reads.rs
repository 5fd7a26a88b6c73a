//! Live reads as the nodes themselves count them: what is judged where the router does not count.
//!
//! An environment may have many nodes, and each may end, begin anew or be replaced. Its total only grows all the same: to it is
//! added what each node counted since it was heard last.

use crate::TrafficCounts;
use std::collections::BTreeMap;
use wire::admin::NodeState;
use wire::{ByColour, Colour, Latency, Member};

#[derive(Debug, Clone, Default)]
pub(crate) struct NodeReads {
    totals: ByColour<Total>,
    heard: BTreeMap<Member, Heard>,
}

#[derive(Debug, Clone, Default)]
struct Total {
    counts: TrafficCounts,
    /// `None`: no node of it measures any.
    latency: Option<Latency>,
}

/// What a process said last.
#[derive(Debug, Clone)]
struct Heard {
    instance: String,
    counts: TrafficCounts,
    latency: Option<Latency>,
}

impl NodeReads {
    /// A node said how it is.
    pub fn hear(&mut self, member: Member, state: &NodeState) {
        let counts = TrafficCounts { reads: state.counters.reads, read_errors: state.counters.read_errors };
        let now = Heard { instance: state.instance.clone(), counts, latency: state.read_latency.clone() };
        let total = self.totals.get_mut(member.colour);
        let before = self.heard.get(&member).filter(|before| before.instance == now.instance);
        let earlier = before.map_or_else(TrafficCounts::default, |before| before.counts);
        // An answer that was overtaken by a later one says less than what is known.
        if counts.reads < earlier.reads {
            return;
        }
        total.counts.reads += counts.reads - earlier.reads;
        total.counts.read_errors += counts.read_errors.saturating_sub(earlier.read_errors);
        if let Some(latency) = &now.latency {
            let new = before.and_then(|before| before.latency.as_ref()).map(|earlier| latency.since(earlier));
            total.latency.get_or_insert_default().add(new.as_ref().unwrap_or(latency));
        }
        self.heard.insert(member, now);
    }

    /// Of all nodes of each environment, since they were first heard.
    pub fn counts(&self) -> ByColour<TrafficCounts> {
        ByColour::from_fn(|colour| self.totals.get(colour).counts)
    }

    /// Of all nodes of each environment; `None` when no node measures any.
    pub fn latency(&self) -> Option<ByColour<Latency>> {
        let of = |colour: Colour| self.totals.get(colour).latency.as_ref();
        of(Colour::Blue).or(of(Colour::Green))?;
        Some(ByColour::from_fn(|colour| of(colour).cloned().unwrap_or_default()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tests::fake_nodes::node_state;

    fn latency(values_us: &[u64]) -> Latency {
        let mut latency = Latency::default();
        values_us.iter().for_each(|value| latency.record(*value));
        latency
    }

    fn state(instance: &str, reads: u64, read_errors: u64, values_us: &[u64]) -> NodeState {
        let mut state = NodeState { instance: instance.into(), read_latency: Some(latency(values_us)), ..node_state() };
        (state.counters.reads, state.counters.read_errors) = (reads, read_errors);
        state
    }

    #[test]
    fn a_total_grows_by_what_each_process_counted_and_never_shrinks() {
        let (first, second) = (Member::new(Colour::Blue, 0), Member::new(Colour::Blue, 1));
        let mut reads = NodeReads::default();
        assert_eq!(reads.latency(), None);
        reads.hear(first, &state("a", 2, 1, &[100, 200]));
        reads.hear(second, &state("b", 1, 0, &[50]));
        reads.hear(first, &state("a", 3, 1, &[100, 200, 300]));
        // An older answer arrives late.
        reads.hear(first, &state("a", 2, 1, &[100, 200]));
        let total = |reads: &NodeReads| (reads.counts().blue.reads, reads.counts().blue.read_errors);
        assert_eq!(total(&reads), (4, 1));
        assert_eq!(reads.latency().unwrap().blue, latency(&[100, 200, 300, 50]));
        // It ends, and another process answers in its place.
        reads.hear(first, &state("c", 1, 1, &[70]));
        assert_eq!(total(&reads), (5, 2));
        assert_eq!(reads.latency().unwrap().blue, latency(&[100, 200, 300, 50, 70]));
        assert_eq!(reads.latency().unwrap().green, Latency::default());
    }

    #[test]
    fn nodes_that_measure_no_latency_are_counted_all_the_same() {
        let mut reads = NodeReads::default();
        reads.hear(Member::new(Colour::Green, 0), &NodeState { read_latency: None, ..state("a", 7, 0, &[]) });
        assert_eq!((reads.counts().green.reads, reads.latency()), (7, None));
    }
}
