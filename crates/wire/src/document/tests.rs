use super::*;

const HEAD: &str = "apiVersion: jadeshift.io/v1alpha1\nkind: BlueGreen\nmetadata: {name: shop}\n";

fn error_of(spec: &str) -> String {
    BlueGreen::from_yaml(&format!("{HEAD}spec:\n{spec}")).expect_err("must be refused").to_string()
}

#[test]
fn a_name_is_enough() {
    let document = BlueGreen::from_yaml(HEAD).unwrap();
    assert_eq!(document, BlueGreen::named("shop"));
    assert_eq!(BlueGreen::from_yaml(&document.to_yaml()).unwrap(), document);
}

#[test]
fn an_unknown_field_is_named_with_its_place() {
    let message = error_of("  rollout: {step: []}\n");
    assert!(message.contains("spec.rollout") && message.contains("`step`"), "{message}");
}

#[test]
fn a_share_above_the_whole_is_refused_with_value_and_rule() {
    let message = error_of("  rollout: {steps: [{sharePercent: 130}]}\n");
    assert_eq!(message, "spec.rollout.steps[0].sharePercent: 130 is not allowed: a whole number from 1 to 100");
}

#[test]
fn shares_must_rise_and_end_at_the_whole() {
    assert!(error_of("  rollout: {steps: [{sharePercent: 50}, {sharePercent: 10}]}\n").contains("must rise"));
    assert!(error_of("  rollout: {steps: [{sharePercent: 50}]}\n").contains("sharePercent: 100"));
}

#[test]
fn faults_are_refused_in_production() {
    let fault = "  versions: {\"2\": {fault: {errors: 0.05}}}\n";
    assert!(error_of(fault).contains("mode: development"));
    BlueGreen::from_yaml(&format!("{HEAD}spec:\n  mode: development\n{fault}")).unwrap();
}

#[test]
fn addresses_and_labels_are_checked() {
    assert!(error_of("  local: {gateway: localhost}\n").contains("spec.local.gateway: `localhost`"));
    assert!(error_of("  version: \"a b\"\n").contains("spec.version: `a b`"));
}

#[test]
fn an_environment_has_one_to_nine_nodes() {
    assert_eq!(BlueGreen::named("shop").spec.replicas, 1);
    for wrong in [0, 10] {
        let message = error_of(&format!("  replicas: {wrong}\n"));
        assert_eq!(message, format!("spec.replicas: {wrong} is not allowed: a whole number from 1 to 9"));
    }
    assert_eq!(BlueGreen::from_yaml(&format!("{HEAD}spec:\n  replicas: 3\n")).unwrap().spec.replicas, 3);
}

#[test]
fn who_acknowledges_is_checked() {
    assert!(error_of("  handover: {acknowledge: nobody}\n").contains("expected one of `auto`, `primary`, `both`"));
    assert!(error_of("  handover: {confirmMsMax: 5}\n").contains("spec.handover.confirmMsMax: 5 is not allowed"));
    let strict = error_of("  handover: {acknowledge: primary, strict: true}\n");
    assert!(strict.contains("spec.handover.strict") && strict.contains("use `both` or `auto`"), "{strict}");
    BlueGreen::from_yaml(&format!("{HEAD}spec:\n  handover: {{acknowledge: both, strict: true}}\n")).unwrap();
}

#[test]
fn the_policy_of_the_evidence_is_checked() {
    for (field, value) in [
        ("falseAlarmBudget", "0"),
        ("falseAlarmBudget", "1"),
        ("falseAlarmBudget", ".nan"),
        ("errorRateHarmless", "0"),
        ("errorRateMax", "1.5"),
        ("badResultsRateMax", "1"),
        ("recallLossMax", "-0.1"),
    ] {
        let message = error_of(&format!("  evidence: {{{field}: {value}}}\n"));
        let rule = "is not allowed: a number above 0 and below 1";
        assert!(message.starts_with(&format!("spec.evidence.{field}: ")) && message.ends_with(rule), "{message}");
    }
    let message = error_of("  evidence: {errorRatioMax: 0.5}\n");
    assert_eq!(message, "spec.evidence.errorRatioMax: 0.5 is not allowed: a number of at least 1");
    assert!(
        error_of("  evidence: {latencyRatioMax: {p99: .inf}}\n")
            .contains("spec.evidence.latencyRatioMax.p99: inf is not allowed")
    );
    let step = error_of("  rollout: {steps: [{sharePercent: 100, evidenceMin: -1}]}\n");
    assert_eq!(step, "spec.rollout.steps[0].evidenceMin: -1 is not allowed: a number of at least 0");
}
