//! The real rules hold in every state; each broken one is found.

use super::*;

/// Fewer states than this, in all searches together, and the model has lost something.
const STATES_MIN: usize = 750_000;

#[test]
fn the_real_rules_hold_in_every_state() {
    let mut states = 0;
    for bounds in searches::QUICK {
        let report = Handover::new(*bounds, Rules::default()).search(2);
        eprintln!("{}: {} states, depth {}, {:?}", report.name, report.states, report.depth, report.took);
        if let Some((property, way)) = report.failures.first() {
            panic!("{}: it does not hold that {property}:\n{way}", report.name);
        }
        assert_eq!(report.unseen, Vec::<&str>::new(), "never seen in the search `{}`", report.name);
        states += report.states;
    }
    assert!(states >= STATES_MIN, "only {states} states");
}

const ONE_NODE: &str = "at most one node admits writes";
const EPOCH_ONCE: &str = "an epoch is given once";
const HAS_ALL: &str = "the committed primary has every acknowledged write";
const HELD: &str = "held means that both have every acknowledged write";

#[test]
fn each_broken_rule_is_found() {
    for (broken, bounds, property) in [
        (Broken::CommitBeforeCatchUp, searches::LATE, HAS_ALL),
        (Broken::PromoteBeforeCommit, searches::LATE, ONE_NODE),
        (Broken::NoFence, searches::LATE, HAS_ALL),
        (Broken::LsnBeforeSeal, searches::LATE, HAS_ALL),
        (Broken::ResumeWithoutNewEpoch, searches::LATE, EPOCH_ONCE),
        (Broken::StoreWithoutGeneration, searches::STALE, EPOCH_ONCE),
        (Broken::ForcedBeforeStopped, searches::GONE, ONE_NODE),
        (Broken::ForcedWhenNotHeld, searches::GONE, HAS_ALL),
        (Broken::AloneBeforeDurable, searches::GONE, HELD),
        (Broken::WordsWithoutNumbers, searches::WORDS, HELD),
        (Broken::AwakeAtOnce, searches::RETURNS, ONE_NODE),
        (Broken::CallsForAnyProcess, searches::STALE, ONE_NODE),
        (Broken::RemembersWhatHeld, searches::AGAIN, HELD),
    ] {
        let report = Handover::new(bounds, Rules { broken: Some(broken) }).search_for(property, 2);
        let found: Vec<&str> = report.failures.iter().map(|(property, _)| *property).collect();
        assert!(found.contains(&property), "{broken:?} was not found by `{property}` but by {found:?}");
    }
}

#[test]
fn a_way_to_where_something_is_wrong_can_be_read() {
    let rules = Rules { broken: Some(Broken::PromoteBeforeCommit) };
    let report = Handover::new(searches::LATE, rules).search(1);
    let (_, way) = &report.failures[0];
    assert!(way.contains("-> Send(Call { to: Blue, call: Seal { epoch: 2 }"), "{way}");
    assert!(way.contains("to green in 2 Sealing"), "{way}");
}
