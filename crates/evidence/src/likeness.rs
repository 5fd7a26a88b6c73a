//! How alike two answers to one search are beyond what they found: the order of the results, and their scores.

use crate::results::{Answer, CLEAR_MARGIN, agreement, overlap_at_k};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// The order of more results than this is not compared: the work grows with the square.
const RANKED_MAX: usize = 100;

/// When two answers to one search count as different.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct ResultRules {
    /// Least [`agreement`], 0 to 1.
    pub overlap_min: f64,
    /// Least [`rank_correlation`], -1 to 1.
    pub rank_correlation_min: f64,
    /// Largest [`score_drift`].
    pub score_drift_max: f64,
}

impl ResultRules {
    /// Whether two answers, none of them an error, differ too much.
    pub fn differ(&self, candidate: &Answer, active: &Answer, top_k: usize) -> bool {
        candidate.status != active.status
            || agreement(candidate, active, top_k) < self.overlap_min
            || rank_correlation(candidate, active).is_some_and(|tau| tau < self.rank_correlation_min)
            || score_drift(candidate, active).is_some_and(|drift| drift > self.score_drift_max)
    }
}

/// Kendall's tau of the results that both found: pairs in the same order less pairs in the other, divided by their number, -1 to 1.
/// Pairs whose scores hardly differ have no order to keep and are left out; `None` when no pair is left.
///
/// (Kendall, "A new measure of rank correlation", Biometrika 30, 1938; of the pairs without ties.)
pub fn rank_correlation(candidate: &Answer, active: &Answer) -> Option<f64> {
    let margin = clear_margin(active)?;
    let places: BTreeMap<&String, usize> = candidate.ids.iter().enumerate().map(|(place, id)| (id, place)).collect();
    let shared: Vec<(usize, f32)> = active
        .ids
        .iter()
        .zip(active.scores)
        .take(RANKED_MAX)
        .filter_map(|(id, score)| Some((*places.get(id)?, *score)))
        .collect();
    let (mut same, mut reversed) = (0u32, 0u32);
    for (position, (place, score)) in shared.iter().enumerate() {
        for (other_place, other_score) in &shared[position + 1..] {
            if score - other_score > margin {
                if place < other_place { same += 1 } else { reversed += 1 }
            }
        }
    }
    let pairs = same + reversed;
    (pairs > 0).then(|| (f64::from(same) - f64::from(reversed)) / f64::from(pairs))
}

/// Mean difference of the scores of the results that both found, as a part of the largest score of the active environment; `None`
/// when they share none.
pub fn score_drift(candidate: &Answer, active: &Answer) -> Option<f64> {
    let scores: BTreeMap<&String, f32> = candidate.ids.iter().zip(candidate.scores.iter().copied()).collect();
    let largest = active.scores.iter().fold(0.0f32, |largest, score| largest.max(score.abs()));
    let differences: Vec<f64> = active
        .ids
        .iter()
        .zip(active.scores)
        .filter_map(|(id, score)| Some(f64::from((scores.get(id)? - score).abs())))
        .collect();
    if differences.is_empty() || largest == 0.0 {
        return None;
    }
    Some(differences.iter().sum::<f64>() / differences.len() as f64 / f64::from(largest))
}

/// Scores that differ by less are nearly equal.
fn clear_margin(answer: &Answer) -> Option<f32> {
    let (first, last) = (answer.scores.first()?, answer.scores.last()?);
    Some(CLEAR_MARGIN * first.abs().max(last.abs()))
}

/// A mean that grows.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize)]
pub struct RunningMean {
    pub count: u64,
    pub sum: f64,
}

impl RunningMean {
    pub fn add(&mut self, value: f64) {
        self.count += 1;
        self.sum += value;
    }

    /// `None` without values.
    pub fn mean(&self) -> Option<f64> {
        (self.count > 0).then(|| self.sum / self.count as f64)
    }
}

/// What the results of replayed searches were like on average: the candidate's against those of the active environment.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize)]
pub struct Likeness {
    /// Part of the results that both found, 0 to 1.
    pub overlap: RunningMean,
    /// See [`rank_correlation`].
    pub rank_correlation: RunningMean,
    /// See [`score_drift`].
    pub score_drift: RunningMean,
    /// Part of the true nearest records that the candidate lost, -1 to 1, of searches that were answered exactly as well.
    pub recall_lost: RunningMean,
}

impl Likeness {
    /// Takes in two answers that are results.
    pub fn add(&mut self, candidate: &Answer, active: &Answer) {
        if [candidate.status, active.status] != [Some(200); 2] {
            return;
        }
        self.overlap.add(overlap_at_k(candidate.ids, active.ids));
        if let Some(tau) = rank_correlation(candidate, active) {
            self.rank_correlation.add(tau);
        }
        if let Some(drift) = score_drift(candidate, active) {
            self.score_drift.add(drift);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ids(text: &str) -> Vec<String> {
        text.split_whitespace().map(str::to_string).collect()
    }

    fn found<'a>(ids: &'a [String], scores: &'a [f32]) -> Answer<'a> {
        Answer { status: Some(200), ids, scores }
    }

    const RULES: ResultRules = ResultRules { overlap_min: 0.5, rank_correlation_min: 0.2, score_drift_max: 0.1 };

    #[test]
    fn order_is_compared_where_there_is_one() {
        let known = ids("a b c d");
        let tau = |other: &str, scores: &[f32]| rank_correlation(&found(&ids(other), scores), &found(&known, scores));
        let apart = [0.9, 0.8, 0.7, 0.6];
        assert_eq!(tau("a b c d", &apart), Some(1.0));
        assert_eq!(tau("d c b a", &apart), Some(-1.0));
        // One of six pairs is reversed.
        assert_eq!(tau("b a c d", &apart), Some(4.0 / 6.0));
        // Only what both found: a before c.
        assert_eq!(tau("a x c y", &apart), Some(1.0));
        // b, c and d are nearly equal: three pairs are left, and all are kept.
        assert_eq!(tau("a d c b", &[0.9, 0.5002, 0.5001, 0.5]), Some(1.0));
        assert_eq!(tau("d c b a", &[0.5; 4]), None);
        assert_eq!((tau("x y z", &apart), tau("", &apart)), (None, None));
        // Distances given as negative scores have an order as well.
        assert_eq!(tau("d c b a", &[-1.0, -2.0, -3.0, -4.0]), Some(-1.0));
    }

    #[test]
    fn scores_are_compared_of_what_both_found() {
        let (known, other) = (ids("a b c"), ids("b a x"));
        let drift = score_drift(&found(&other, &[0.5, 0.4, 0.1]), &found(&known, &[1.0, 0.5, 0.2])).unwrap();
        assert!((drift - 0.3).abs() < 1e-6, "{drift}: b as before, a lower by 0.6 of 1");
        assert_eq!(score_drift(&found(&ids("x"), &[1.0]), &found(&known, &[1.0, 0.5, 0.2])), None);
        assert_eq!(score_drift(&found(&known, &[0.0; 3]), &found(&known, &[0.0; 3])), None);
    }

    #[test]
    fn the_same_results_in_the_wrong_order_or_with_other_scores_are_different() {
        let (known, reversed, scores) = (ids("a b c d"), ids("d c b a"), [0.9, 0.8, 0.7, 0.6]);
        let active = found(&known, &scores);
        assert!(!RULES.differ(&active, &active, 4));
        assert!(RULES.differ(&found(&reversed, &scores), &active, 4));
        assert!(RULES.differ(&found(&known, &[0.45, 0.4, 0.35, 0.3]), &active, 4));
        assert!(!RULES.differ(&found(&known, &[0.88, 0.79, 0.7, 0.6]), &active, 4));
        assert!(RULES.differ(&Answer { status: Some(404), ids: &[], scores: &[] }, &active, 4));
    }

    #[test]
    fn means_are_of_answers_that_are_results() {
        let (known, scores) = (ids("a b"), [0.9, 0.3]);
        let mut likeness = Likeness::default();
        likeness.add(&found(&known, &scores), &found(&known, &scores));
        likeness.add(&found(&ids("b a"), &scores), &found(&known, &scores));
        likeness.add(&Answer { status: Some(500), ids: &[], scores: &[] }, &found(&known, &scores));
        let Likeness { overlap, rank_correlation, score_drift, recall_lost } = likeness;
        assert_eq!((overlap.mean(), rank_correlation.mean(), recall_lost.mean()), (Some(1.0), Some(0.0), None));
        // The second time each score is off by 0.6 of 0.9.
        assert!((score_drift.mean().unwrap() - 1.0 / 3.0).abs() < 1e-6);
    }
}
