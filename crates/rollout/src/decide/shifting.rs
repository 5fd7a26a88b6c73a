//! A share of the reads goes to the candidate and is judged.

use super::look::{Look, Next};
use crate::Phase;
use crate::text::span;
use crate::transition::step_after;
use evidence::Outcome;
use wire::Colour;
use wire::document::OnInconclusive;

pub(super) fn decide(look: &Look, step: usize, share_percent: u8, since_ms: u64, promoted: bool) -> Next {
    let candidate = look.candidate();
    if let Some(reason) = look.harm(candidate) {
        return look.roll_back(reason);
    }
    let step = Step { look, candidate, number: step, share_percent, since_ms };
    if let Err(why) = look.near(candidate) {
        // Nobody is in a hurry before the first reader.
        return if share_percent == 0 { look.stay(why) } else { step.unfinished(why) };
    }
    if look.full() {
        return look.hand_over(share_percent, "the remaining steps are skipped, as a person asked");
    }
    if promoted {
        return step.advance("a person said promote");
    }
    if share_percent == 0 {
        return look.stay(format!("{candidate} is ready, and waits for `jadeshift promote`"));
    }
    // Of the two it is the one whose silence says nothing about the new version.
    let active = candidate.other();
    if let Err(why) = look.healthy(active) {
        return look.stay(format!("{why}; {active} is the active environment, so {candidate} keeps {share_percent} %"));
    }
    let elapsed_ms = look.elapsed_ms(since_ms);
    let duration_min_ms = step.rule().map_or(0, |rule| rule.duration_min_ms);
    if let Err(why) = step.evidence() {
        return match elapsed_ms < duration_min_ms {
            true => look.stay(why),
            false => step.unfinished(why),
        };
    }
    if elapsed_ms < duration_min_ms {
        let (elapsed, needed) = (span(elapsed_ms), span(duration_min_ms));
        return look.stay(format!("{} holds so far; {elapsed} of {needed} passed", step.name()));
    }
    if step.rule().is_some_and(|rule| rule.pause) {
        return look.stay(format!("{} is done and waits for `jadeshift promote`", step.name()));
    }
    step.advance(&look.seen.judgement.live.why)
}

/// One share of the reads and its conditions.
struct Step<'a> {
    look: &'a Look<'a>,
    candidate: Colour,
    number: usize,
    share_percent: u8,
    since_ms: u64,
}

impl Step<'_> {
    /// The document may have lost steps since the step began; the last one stands in for those.
    fn rule(&self) -> Option<&wire::document::Step> {
        let steps = &self.look.spec.rollout.steps;
        steps.get(self.number).or(steps.last())
    }

    fn name(&self) -> String {
        format!("step {} ({} %)", self.number + 1, self.share_percent)
    }

    /// The step has what it needs to be judged, and speaks for the candidate.
    fn evidence(&self) -> Result<(), String> {
        let Step { look, candidate, share_percent, .. } = self;
        look.reads_confirmed(*candidate, *share_percent)?;
        let judgement = &look.seen.judgement;
        let (reads, needed) = (judgement.candidate_reads, self.rule().map_or(0, |rule| rule.requests_min));
        if reads < needed {
            let (elapsed, name) = (span(look.elapsed_ms(self.since_ms)), self.name());
            let duration = span(self.rule().map_or(0, |rule| rule.duration_min_ms));
            return Err(format!(
                "{candidate} answered {reads} of the {needed} reads that {name} needs; {elapsed} of {duration} passed"
            ));
        }
        match judgement.of_reads().find(|verdict| verdict.outcome != Outcome::Pass) {
            Some(verdict) => Err(format!("{} is not decided yet: {}", self.name(), verdict.why)),
            None => Ok(()),
        }
    }

    fn advance(&self, because: &str) -> Next {
        let look = self.look;
        let because = match self.share_percent {
            0 => because.to_string(),
            _ => format!("{} is done: {because}", self.name()),
        };
        match step_after(&look.spec.rollout.steps, self.share_percent) {
            None => look.hand_over(self.share_percent, &because),
            Some((step, share_percent)) => look.enter(
                Phase::Shifting { step, share_percent, since_ms: look.now_ms, promoted: false },
                format!("{} gets {share_percent} % of the reads; {because}", self.candidate),
            ),
        }
    }

    /// Something is missing: wait, and when time runs out do what the document says.
    fn unfinished(&self, why: String) -> Next {
        let look = self.look;
        let Some(reason) = look.timed_out(self.since_ms, &why) else { return look.stay(why) };
        match look.spec.rollout.on_inconclusive {
            OnInconclusive::Rollback => look.roll_back(reason),
            OnInconclusive::Promote => {
                self.advance(&format!("inconclusive evidence promotes, as the document says; {reason}"))
            }
            OnInconclusive::Pause => look.enter(
                Phase::Paused {
                    since_ms: look.now_ms,
                    before: Box::new(look.state.phase.clone()),
                    why: format!("inconclusive: {reason}"),
                },
                format!("paused at {}: {reason}", self.name()),
            ),
        }
    }
}
