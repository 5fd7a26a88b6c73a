//! What one source said last, and what it amounts to. Broken, empty, stale and absurd answers say nothing: they neither
//! pass nor fail anybody.

use super::reading::{Answer, Reading};
use crate::judged::Sides;
use evidence::{Counts, Outcome, Verdict};
use std::time::Duration;
use tokio::time::Instant;
use wire::document::{Source, SourceRule};

pub(super) struct Standing {
    name: String,
    rule: SourceRule,
    failures_needed: u32,
    age_max: Duration,
    /// Bad answers one after the other.
    failures: u32,
    /// The last answer that said something, and when it was measured.
    heard: Option<(Reading, Instant)>,
    /// The last attempt brought nothing, and why.
    trouble: Option<String>,
}

impl Standing {
    pub fn new(source: &Source) -> Self {
        Self {
            name: source.name.clone(),
            rule: source.rule(),
            failures_needed: source.failures_in_a_row,
            age_max: Duration::from_millis(source.age_ms_max),
            failures: 0,
            heard: None,
            trouble: None,
        }
    }

    /// Another rollout.
    pub fn begin(&mut self) {
        (self.failures, self.heard, self.trouble) = (0, None, None);
    }

    /// `now_ms`: ms since 1970, which is what the source may have measured time in.
    pub fn hear(&mut self, answer: Result<Answer, String>, now: Instant, now_ms: u64) {
        let checked = answer.and_then(|Answer { reading, at_ms }| {
            let age = self.age(at_ms.unwrap_or(now_ms), now_ms)?;
            check(&reading)?;
            Ok((reading, now.checked_sub(age).unwrap_or(now)))
        });
        match checked {
            Ok((reading, at)) => {
                match self.is_bad(&reading) {
                    Some(true) => self.failures += 1,
                    Some(false) => self.failures = 0,
                    None => (),
                }
                // Counters that stand still are as old as their last movement.
                let still = matches!(reading, Reading::Counts(_));
                let since =
                    self.heard.take().filter(|(before, _)| still && *before == reading).map_or(at, |(_, at)| at);
                (self.heard, self.trouble) = (Some((reading, since)), None);
            }
            Err(why) => self.trouble = Some(why),
        }
    }

    /// How old an answer is that was measured at `at_ms`.
    fn age(&self, at_ms: u64, now_ms: u64) -> Result<Duration, String> {
        let (age, ahead) = (Duration::from_millis(now_ms.saturating_sub(at_ms)), at_ms.saturating_sub(now_ms));
        if age > self.age_max {
            return Err(format!("the answer was measured {} s ago; {}", age.as_secs(), self.allowed()));
        }
        if Duration::from_millis(ahead) > self.age_max {
            return Err(format!("the answer was measured {} s ahead of this machine's clock", ahead / 1_000));
        }
        Ok(age)
    }

    fn allowed(&self) -> String {
        format!("{} s are allowed (`ageMsMax`)", self.age_max.as_secs_f64())
    }

    /// `None`: neither good nor bad by itself.
    fn is_bad(&self, reading: &Reading) -> Option<bool> {
        match (reading, self.rule) {
            (Reading::Value(value), SourceRule::Value { min, max }) => {
                Some(min.is_some_and(|min| *value < min) || max.is_some_and(|max| *value > max))
            }
            (Reading::Verdict(Outcome::Pass, _), _) => Some(false),
            (Reading::Verdict(Outcome::Fail, _), _) => Some(true),
            _ => None,
        }
    }

    /// Why nothing is known of this source now.
    pub fn trouble(&self, now: Instant) -> Option<String> {
        let name = &self.name;
        match (&self.heard, &self.trouble) {
            (_, Some(why)) => Some(format!("{name}: {why}")),
            (None, None) => Some(format!("{name}: it was not asked yet")),
            (Some((reading, at)), None) => {
                let age = now.saturating_duration_since(*at);
                let (seconds, allowed) = (age.as_secs(), self.allowed());
                let stale = || match reading {
                    Reading::Counts(_) => format!("{name}: nothing was counted for {seconds} s; {allowed}"),
                    _ => format!("{name}: the last answer is {seconds} s old; {allowed}"),
                };
                (age > self.age_max).then(stale)
            }
        }
    }

    /// Counters, if they are to be believed now.
    pub fn counts(&self, now: Instant) -> Option<Sides<Counts>> {
        match &self.heard {
            Some((Reading::Counts(counts), _)) if self.trouble(now).is_none() => Some(*counts),
            _ => None,
        }
    }

    /// Of a source whose answers are good or bad by themselves.
    pub fn verdict(&self, now: Instant) -> Verdict {
        if let Some(why) = self.trouble(now) {
            return Verdict::inconclusive(&self.name, why);
        }
        let Some((reading, _)) = &self.heard else {
            return Verdict::inconclusive(&self.name, format!("{}: nothing was heard", self.name));
        };
        let said = format!("{}: {}", self.name, self.words(reading));
        match self.failures {
            0 if self.is_bad(reading) == Some(false) => Verdict::pass(&self.name, said),
            0 => Verdict::inconclusive(&self.name, said),
            failures if failures >= self.failures_needed => {
                Verdict::fail(&self.name, format!("{said}; bad {failures} times in a row"))
            }
            failures => {
                Verdict::inconclusive(&self.name, format!("{said}; bad {failures} of {} times", self.failures_needed))
            }
        }
    }

    fn words(&self, reading: &Reading) -> String {
        match (reading, self.rule) {
            (Reading::Value(value), SourceRule::Value { min, max }) => {
                let least = min.map(|min| format!("at least {min}"));
                let most = max.map(|max| format!("at most {max}"));
                let bounds: Vec<String> = least.into_iter().chain(most).collect();
                format!("{value}; {} is good", bounds.join(" and "))
            }
            (Reading::Verdict(outcome, reason), _) if reason.is_empty() => {
                format!("it says {outcome:?}").to_lowercase()
            }
            (Reading::Verdict(_, reason), _) => reason.clone(),
            (reading, _) => format!("{reading:?}"),
        }
    }
}

fn check(reading: &Reading) -> Result<(), String> {
    match reading {
        Reading::Value(value) if !value.is_finite() => Err(format!("{value} is not a number that can be judged")),
        Reading::Counts(Sides { candidate, active }) => {
            match [candidate, active].into_iter().find(|counts| counts.events > counts.requests) {
                Some(Counts { requests, events }) => {
                    Err(format!("{events} events among {requests} requests: there cannot be more events than requests"))
                }
                None => Ok(()),
            }
        }
        Reading::Value(_) | Reading::Verdict(..) => Ok(()),
    }
}

/// Counters of one source since they were last looked at.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Counted {
    base: Option<Sides<Counts>>,
}

impl Counted {
    /// What was counted since the last look; `None` when that is not known, or a counter began anew in between.
    pub fn since(&mut self, now: Option<Sides<Counts>>) -> Option<Sides<Counts>> {
        let now = now?;
        let base = self.base.replace(now)?;
        let less = |now: Counts, base: Counts| {
            let (requests, events) = (now.requests.checked_sub(base.requests)?, now.events.checked_sub(base.events)?);
            (events <= requests).then_some(Counts { requests, events })
        };
        Some(Sides { candidate: less(now.candidate, base.candidate)?, active: less(now.active, base.active)? })
    }
}
