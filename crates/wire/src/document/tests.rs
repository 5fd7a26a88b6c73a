use super::*;

const HEAD: &str = "apiVersion: jadevectordb.io/v1alpha1\nkind: BlueGreen\nmetadata: {name: shop}\n";

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
    let order = error_of("  evidence: {rankCorrelationMin: -1.5}\n");
    assert_eq!(order, "spec.evidence.rankCorrelationMin: -1.5 is not allowed: a number from -1 to 1");
    let scores = error_of("  evidence: {scoreDriftMax: -0.1}\n");
    assert_eq!(scores, "spec.evidence.scoreDriftMax: -0.1 is not allowed: a number of at least 0");
    let step = error_of("  rollout: {steps: [{sharePercent: 100, evidenceMin: -1}]}\n");
    assert_eq!(step, "spec.rollout.steps[0].evidenceMin: -1 is not allowed: a number of at least 0");
}

#[test]
fn signals_of_the_user_are_checked() {
    let error = |source: &str| error_of(&format!("  evidence:\n    sources:\n      - {source}\n"));
    let prometheus = |rest: &str| error(&format!("{{name: a, {rest}}}"));
    for (source, message) in [
        ("{name: a}", "sources[0]: a source with 0 of them is not allowed: exactly one of `prometheus`, `webhook`"),
        ("{name: errors, command: {program: x}}", "sources[0].name: `errors` is not allowed: each signal needs a name"),
        ("{name: a, command: {program: ' '}}", "sources[0].command.program: `` is not allowed: the name or path"),
        (
            "{name: a, command: {program: x}, min: 2, max: 1}",
            "sources[0].max: 1 is not allowed: at least `min`, which is 2",
        ),
        ("{name: a, command: {program: x}, min: 2, rateMax: 0.1}", "sources[0]: more than one rule is not allowed"),
        ("{name: a, command: {program: x}, rateMax: 1}", "sources[0].rateMax: 1 is not allowed: a number above 0"),
        ("{name: a, command: {program: x}, intervalMs: 5}", "sources[0].intervalMs: 5 is not allowed"),
        (
            "{name: a, command: {program: x}, ageMsMax: 50}",
            "sources[0].ageMsMax: 50 is not allowed: a whole number from 5000",
        ),
        ("{name: a, command: {program: x}, failuresInARow: 0}", "sources[0].failuresInARow: 0 is not allowed"),
        (
            "{name: a, webhook: {url: 'ftp://x'}}",
            "sources[0].webhook.url: `ftp://x` is not allowed: an address such as",
        ),
        ("{name: a, webhook: {url: 'http://'}}", "sources[0].webhook.url: `http://` is not allowed"),
    ] {
        let found = error(source);
        assert!(found.starts_with(&format!("spec.evidence.{message}")), "{found}");
    }
    for (rest, message) in [
        ("prometheus: {url: 'http://p'}", "value: no query is not allowed: a PromQL expression is needed"),
        (
            "prometheus: {url: 'http://p', value: up}",
            ": a value without a bound is not allowed: beside `prometheus`, `min`",
        ),
        (
            "prometheus: {url: 'http://p', requests: 'x'}",
            "requests: `x` is not allowed: it must say `$colour` or `$version`",
        ),
        ("rateMax: 0.1, prometheus: {url: 'http://p', requests: 'x'}", "events: no query is not allowed"),
        (
            "max: 1, prometheus: {url: 'http://p', requests: 'x'}",
            "requests: `x` is not allowed: `requests` and `events` go",
        ),
        (
            "max: 1, prometheus: {url: 'http://p', value: 'x{c=\"$color\"}'}",
            "`x{c=\"$color\"}` is not allowed: `$colour` and",
        ),
    ] {
        let found = prometheus(rest);
        assert!(found.contains("spec.evidence.sources[0].prometheus") && found.contains(message), "{found}");
    }
    let twice =
        error_of("  evidence: {sources: [{name: a, command: {program: x}}, {name: a, command: {program: y}}]}\n");
    assert!(twice.starts_with("spec.evidence.sources[1].name: `a` is not allowed"), "{twice}");

    let good = format!(
        "{HEAD}spec:\n  evidence:\n    sources:\n      - name: shop\n        prometheus:\n          url: https://p:9090/x\n          \
         requests: sum(a{{c=\"$colour\"}})\n          events: sum(label_replace(b{{v=\"$version\"}}, \"x\", \"$1\", \"y\", \
         \"(.*)\"))\n"
    );
    let source = &BlueGreen::from_yaml(&good).unwrap().spec.evidence.sources[0];
    assert_eq!((source.rule(), source.speaks_early()), (SourceRule::Ratio { ratio_max: 1.0 }, false));
}

#[test]
fn what_is_not_written_is_no_part_of_what_was_written() {
    let empty = serde_json::json!({});
    assert_eq!(BlueGreen::spec_as_written(HEAD), empty);
    assert_eq!(BlueGreen::spec_as_written(&format!("{HEAD}spec:\n")), empty);
    let written = BlueGreen::spec_as_written(&format!("{HEAD}spec: {{version: 1.0.0, rollout: {{watchMs: 60000}}}}\n"));
    assert_eq!(written, serde_json::json!({"version": "1.0.0", "rollout": {"watchMs": 60_000}}));
}
