//! The candidate shows that it holds the same data and finds the same results, before it gets its first reader.

use super::bringing_up::wait;
use super::look::{Look, Next};
use crate::Phase;
use crate::transition::step_after;
use evidence::Outcome;

pub(super) fn decide(look: &Look, since_ms: u64) -> Next {
    let candidate = look.candidate();
    let judgement = &look.seen.judgement;
    if let Some(failed) = judgement.of_checks().find(|verdict| verdict.outcome == Outcome::Fail) {
        return look.roll_back(failed.why.clone());
    }
    let checked = look.near(candidate).and_then(|_| {
        match judgement.of_checks().find(|verdict| verdict.outcome != Outcome::Pass) {
            Some(verdict) => Err(format!("{candidate} is checked: {}", verdict.why)),
            None => Ok(()),
        }
    });
    if let Err(waiting) = checked {
        return wait(look, since_ms, waiting);
    }
    let shown: Vec<&str> = judgement.of_checks().map(|verdict| verdict.why.as_str()).collect();
    let passed = format!("{candidate} passed its checks: {}", shown.join("; "));
    if look.full() {
        return look.hand_over(0, &passed);
    }
    if look.spec.rollout.hold_before_steps {
        return look.enter(
            Phase::Shifting { step: 0, share_percent: 0, since_ms: look.now_ms, promoted: false },
            format!("{passed}; it waits for `jadeshift promote`"),
        );
    }
    match step_after(&look.spec.rollout.steps, 0) {
        Some((step, share_percent)) => look.enter(
            Phase::Shifting { step, share_percent, since_ms: look.now_ms, promoted: false },
            format!("{passed}; it gets {share_percent} % of the reads"),
        ),
        None => look.hand_over(0, &passed),
    }
}
