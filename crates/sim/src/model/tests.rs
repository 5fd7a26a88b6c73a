//! The real rules hold in every state; each broken one is found.

use super::*;

const SMALL: Bounds = Bounds {
    name: "small",
    acknowledge: Acknowledge::Primary,
    writes: 2,
    epoch: 4,
    late: 1,
    ends: 1,
    deaf: false,
    stale: false,
    stale_applies: false,
    views: false,
    accept_loss: false,
    beyond_stable: false,
};

#[test]
fn the_real_rules_hold() {
    let report = Handover::new(SMALL, Rules::default()).search(2);
    eprintln!("{} {} {:?}", report.states, report.depth, report.took);
    for (name, way) in &report.failures {
        eprintln!("FAILS {name}\n{way}");
    }
    assert!(report.failures.is_empty());
    assert!(report.unseen.is_empty(), "{:?}", report.unseen);
}
