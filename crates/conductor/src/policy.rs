//! What the document says about evidence, as the judge reads it.

use evidence::{Policy, ResultRules};
use wire::document::{Evidence, LatencyRatios};

/// The judge's part of the document's `spec.evidence`.
pub fn policy(evidence: &Evidence) -> Policy {
    let LatencyRatios { p50, p90, p99, limit } = evidence.latency_ratio_max;
    Policy {
        false_alarm_budget: evidence.false_alarm_budget,
        error_ratio_max: evidence.error_ratio_max,
        error_rate_harmless: evidence.error_rate_harmless,
        error_rate_max: evidence.error_rate_max,
        latency_ratio_max: [p50, p90, p99, limit],
        bad_results_rate_max: evidence.bad_results_rate_max,
        recall_loss_max: evidence.recall_loss_max,
    }
}

/// When the document calls a replayed search bad.
pub(crate) fn result_rules(evidence: &Evidence) -> ResultRules {
    let Evidence { overlap_min, rank_correlation_min, score_drift_max, .. } = *evidence;
    ResultRules { overlap_min, rank_correlation_min, score_drift_max }
}

#[cfg(test)]
mod tests {
    use super::*;
    use evidence::{Assessment, Measures, Threshold};
    use wire::document::SIGNALS_BUILT_IN;

    #[test]
    fn a_document_that_says_nothing_means_the_defaults_of_the_judge() {
        assert_eq!(policy(&Evidence::default()), Policy::default());
    }

    #[test]
    fn the_document_knows_every_name_that_is_taken() {
        let everything = Measures { slow: [true; Threshold::ALL.len()], replays: true };
        let assessment = Assessment::new(&Policy::default(), everything);
        for signal in assessment.signals() {
            assert!(SIGNALS_BUILT_IN.contains(&signal.name), "{}", signal.name);
        }
    }
}
