//! Results of replayed searches: the same question put to both environments.

use crate::likeness::ResultRules;
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;

/// Part of the top results that two answers share, 0 to 1, counted against the longer one; 1 when both are empty.
pub fn overlap_at_k(one: &[String], other: &[String]) -> f64 {
    let (one, other): (BTreeSet<_>, BTreeSet<_>) = (one.iter().collect(), other.iter().collect());
    match one.len().max(other.len()) {
        0 => 1.0,
        k => one.intersection(&other).count() as f64 / k as f64,
    }
}

/// A hit stands clear of the last one when its score is higher by this part of the best score. Below it, which of
/// several near-equal records makes the cut is chance, on either side.
pub(crate) const CLEAR_MARGIN: f32 = 1e-3;

/// How far the candidate found what the active environment clearly found, 0 to 1.
///
/// Where records are near-duplicates, the last places of an answer are a lottery that two healthy indexes draw
/// differently. So only hits that stand clear of the active's last one have to be found; where none does, only as many
/// results have to be there. An answer shorter than `top_k` has everything there is, and all of it has to be found.
pub fn agreement(candidate: &Answer, active: &Answer, top_k: usize) -> f64 {
    let (Some(first), Some(last)) = (active.scores.first(), active.scores.last()) else {
        return overlap_at_k(candidate.ids, active.ids);
    };
    if active.ids.len() < top_k || active.ids.len() != active.scores.len() {
        return overlap_at_k(candidate.ids, active.ids);
    }
    let limit = last + CLEAR_MARGIN * first.abs().max(last.abs());
    let clear = active.ids.iter().zip(active.scores).filter(|(_, score)| **score > limit).map(|(id, _)| id);
    let clear: BTreeSet<_> = clear.collect();
    if clear.is_empty() {
        return (candidate.ids.len() as f64 / active.ids.len() as f64).min(1.0);
    }
    let found = candidate.ids.iter().collect::<BTreeSet<_>>();
    clear.intersection(&found).count() as f64 / clear.len() as f64
}

/// One side's answer to a replayed search.
#[derive(Debug, Clone, Copy)]
pub struct Answer<'a> {
    /// HTTP status; `None`: no answer came.
    pub status: Option<u16>,
    /// Found ids, best first.
    pub ids: &'a [String],
    /// Their scores, higher is better.
    pub scores: &'a [f32],
}

impl Answer<'_> {
    fn is_error(&self) -> bool {
        self.status.is_none_or(|status| status >= 500)
    }
}

/// What replayed searches have shown so far.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct ReplayTally {
    /// Searches put to both.
    pub replays: u64,
    /// Those that both answered.
    pub compared: u64,
    /// Of `compared`, those whose answers differ too much.
    pub bad: u64,
    /// No answer of the candidate, or a 5xx.
    pub candidate_errors: u64,
    /// No answer of the active environment, or a 5xx.
    pub active_errors: u64,
}

impl ReplayTally {
    /// Counts one search. Two answers are bad when they differ by `rules`, neither being an error.
    pub fn add(&mut self, candidate: Answer, active: Answer, top_k: usize, rules: &ResultRules) {
        self.replays += 1;
        self.candidate_errors += u64::from(candidate.is_error());
        self.active_errors += u64::from(active.is_error());
        if candidate.is_error() || active.is_error() {
            return;
        }
        self.compared += 1;
        self.bad += u64::from(rules.differ(&candidate, &active, top_k));
    }

    /// What came after `earlier`.
    pub fn since(&self, earlier: &ReplayTally) -> ReplayTally {
        ReplayTally {
            replays: self.replays.saturating_sub(earlier.replays),
            compared: self.compared.saturating_sub(earlier.compared),
            bad: self.bad.saturating_sub(earlier.bad),
            candidate_errors: self.candidate_errors.saturating_sub(earlier.candidate_errors),
            active_errors: self.active_errors.saturating_sub(earlier.active_errors),
        }
    }
}

/// Part of the true nearest records that a search lost on the candidate and not on the active environment: recall@k of the active
/// less recall@k of the candidate, -1 to 1. `exact`: what an exact search finds; `None` when that is nothing.
pub fn recall_lost(candidate: &[String], active: &[String], exact: &[String]) -> Option<f64> {
    let exact: BTreeSet<_> = exact.iter().collect();
    let recall = |found: &[String]| {
        let found: BTreeSet<_> = found.iter().collect();
        found.intersection(&exact).count() as f64 / exact.len() as f64
    };
    (!exact.is_empty()).then(|| recall(active) - recall(candidate))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ids(text: &str) -> Vec<String> {
        text.split_whitespace().map(str::to_string).collect()
    }

    #[test]
    fn overlap_counts_shared_ids_in_any_order() {
        assert_eq!(overlap_at_k(&ids("a b c d"), &ids("d c b a")), 1.0);
        assert_eq!(overlap_at_k(&ids("a b c d"), &ids("a b x y")), 0.5);
        assert_eq!(overlap_at_k(&ids("a b"), &ids("")), 0.0);
        assert_eq!(overlap_at_k(&[], &[]), 1.0);
        // A shorter answer does not count as a whole one, and a repeated id counts once.
        assert_eq!(overlap_at_k(&ids("a"), &ids("a b c d")), 0.25);
        assert_eq!(overlap_at_k(&ids("a a a a"), &ids("a b c d")), 0.25);
    }

    #[test]
    fn near_duplicates_at_the_cut_are_no_difference() {
        fn found<'a>(ids: &'a [String], scores: &'a [f32]) -> Answer<'a> {
            Answer { status: Some(200), ids, scores }
        }
        let (known, drawn) = (ids("a b c d"), ids("a w x y"));
        let agree = |scores: &[f32], top_k| agreement(&found(&drawn, scores), &found(&known, scores), top_k);
        // Only `a` stands clear of the last; the rest is a lottery among near-duplicates.
        assert_eq!(agree(&[0.9, 0.5002, 0.5001, 0.5], 4), 1.0);
        // All but the last stand clear, and two of them are missing.
        assert!((agree(&[0.9, 0.8, 0.7, 0.6], 4) - 1.0 / 3.0).abs() < 1e-9);
        // Nothing stands clear: as many results have to be there, and are.
        assert_eq!(agree(&[0.5, 0.5, 0.5, 0.5], 4), 1.0);
        // Four of ten asked for: that is all there is, so all must be found.
        assert_eq!(agree(&[0.5, 0.5, 0.5, 0.5], 10), 0.25);
        let short = ids("w");
        let same = [0.5; 4];
        assert_eq!(agreement(&found(&short, &same[..1]), &found(&known, &same), 4), 0.25);
    }

    #[test]
    fn each_search_is_counted_as_what_it_is() {
        let (same, other) = (ids("a b c d"), ids("w x y z"));
        let found = |ids| Answer { status: Some(200), ids, scores: &[0.9, 0.8, 0.7, 0.6] };
        let nothing = |status| Answer { status, ids: &[], scores: &[] };
        let rules = ResultRules { overlap_min: 0.5, rank_correlation_min: -1.0, score_drift_max: f64::INFINITY };
        let mut tally = ReplayTally::default();
        tally.add(found(&same), found(&same), 4, &rules);
        tally.add(found(&other), found(&same), 4, &rules);
        tally.add(nothing(Some(404)), found(&same), 4, &rules);
        tally.add(nothing(Some(503)), found(&same), 4, &rules);
        tally.add(found(&same), nothing(None), 4, &rules);
        tally.add(nothing(Some(404)), nothing(Some(404)), 4, &rules);
        assert_eq!(tally, ReplayTally { replays: 6, compared: 4, bad: 2, candidate_errors: 1, active_errors: 1 });
    }

    #[test]
    fn only_neighbours_that_the_active_found_are_lost() {
        let exact = ids("a b c d");
        assert_eq!(recall_lost(&ids("a b x y"), &ids("a b c y"), &exact), Some(0.25));
        assert_eq!(recall_lost(&ids("a b c d"), &ids("a b"), &exact), Some(-0.5));
        assert_eq!(recall_lost(&ids("a"), &ids("x"), &[]), None);
    }
}
