use super::*;
use conductor::{Event, EvidenceInfo, HandoverTiming, NodeInfo, NodeStatus};
use evidence::{Likeness, Verdict};
use rollout::{Confirmation, Outcome, Phase, Record, Run};
use std::collections::BTreeSet;
use std::io::Write as _;
use std::process::{Command, Stdio};
use wire::ByColour;
use wire::admin::{Peer, Role};

/// Green is being brought in, and everything there is to measure is there.
fn info() -> Info {
    let run = |id: u64, candidate: Colour| Run {
        id,
        from_version: "1.0.0".into(),
        to_version: "1.1.0".into(),
        candidate,
        started_ms: 1_000,
        full: false,
        accept_loss: false,
        committed_ms: None,
    };
    let rolled_back =
        Record { run: run(1, Colour::Green), outcome: Outcome::RolledBack, reason: "worse".into(), ended_ms: 7_000 };
    Info {
        name: "shop".into(),
        phase: Phase::Shifting { step: 0, share_percent: 10, since_ms: 12_500, promoted: false },
        why: "step 1 holds so far".into(),
        generation: 9,
        epoch: 3,
        primary: Colour::Blue,
        primary_epoch: 3,
        confirmation: Confirmation::Locking,
        active: Colour::Blue,
        versions: ByColour::new(Some("1.0.0".into()), Some("1.1.0".into())),
        share_percent: ByColour::new(90, 10),
        share_in_effect: Some(ByColour::new(91, 9)),
        nodes: ByColour::new(node(Role::Primary { epoch: 3 }, None), node(follower(), Some(20))),
        heads: ByColour::new(0, 0),
        followers: ByColour::new(Vec::new(), Vec::new()),
        confirmer: None,
        traffic: None,
        verdicts: vec![Verdict::inconclusive("errors", "few reads"), Verdict::pass("results", "alike")],
        evidence: Some(EvidenceInfo {
            e_value: 1.5,
            e_needed: 40.0,
            signals: Vec::new(),
            results: Likeness::default(),
        }),
        run: Some(run(2, Colour::Green)),
        history: vec![rolled_back],
        handovers: vec![HandoverTiming {
            at_ms: 6_000,
            to: Colour::Blue,
            epoch: 3,
            seal_to_promote_ms: 4.0,
            seal_to_follow_ms: None,
        }],
        events: vec![Event { number: 12, at_ms: 12_500, text: "green gets 10 %".into() }],
        last_error: None,
        stopped: None,
    }
}

/// What is exported of a deployment of which everything is known: one sample of each metric at least.
pub(crate) fn exported() -> String {
    let figures = Figures::default();
    figures.leads(true);
    figures.show("jadevectordb-system", "jadevectordb", &watched());
    figures.show("jadevectordb-system", "other", &info());
    figures.text()
}

/// As [`info`], after the switch.
fn watched() -> Info {
    let nodes = ByColour::new(node(follower(), Some(0)), node(Role::Primary { epoch: 4 }, None));
    let phase = Phase::Watching { since_ms: 20_000 };
    Info { phase, active: Colour::Green, primary: Colour::Green, primary_epoch: 4, nodes, ..info() }
}

fn follower() -> Role {
    Role::Follower { epoch: 3, primary: Peer { http: "blue:8080".into(), admin: "blue:8081".into() } }
}

fn node(role: Role, lag: Option<u64>) -> NodeInfo {
    NodeInfo {
        status: NodeStatus::Up,
        why: None,
        version_running: None,
        http: None,
        admin: None,
        role: Some(role),
        epoch_seen: 3,
        lsn: 500,
        lag_records: lag,
        lag_ms: lag,
        ready: true,
        failed: None,
        held_writes: 0,
        acknowledge: None,
        databases: 1,
        vectors: 400,
        unindexed: 0,
        resident_bytes: 1 << 20,
        set_aside: Vec::new(),
    }
}

fn text_of(info: &Info) -> String {
    let figures = Figures::default();
    figures.show("team", "shop", info);
    figures.text()
}

/// The value of the series with these labels behind namespace and name.
fn value(text: &str, name: &str, labels: &str) -> Option<f64> {
    let start = format!("jadeshift_{name}{{namespace=\"team\",deployment=\"shop\"{labels}}} ");
    text.lines().find_map(|line| line.strip_prefix(&start)).map(|value| value.parse().unwrap())
}

#[test]
fn a_rollout_is_seen_by_its_numbers() {
    let text = text_of(&info());
    for (name, labels, wanted) in [
        ("valid", "", 1.0),
        ("epoch", "", 3.0),
        ("rollout_under_way", "", 1.0),
        ("paused", "", 0.0),
        ("filling", "", 0.0),
        ("confirmation_wanted", "", 1.0),
        ("confirmed", "", 0.0),
        ("last_handover_seconds", "", 0.004),
        ("events_total", "", 12.0),
        ("evidence_needed", "", 40.0),
        ("phase", ",phase=\"shifting\"", 1.0),
        ("phase_start_timestamp_seconds", ",phase=\"shifting\"", 12.5),
        ("candidate", ",colour=\"blue\"", 0.0),
        ("candidate", ",colour=\"green\"", 1.0),
        ("share_percent", ",colour=\"green\"", 10.0),
        ("share_in_effect_percent", ",colour=\"green\"", 9.0),
        ("lag_seconds", ",colour=\"green\"", 0.02),
        ("version_info", ",colour=\"green\",version=\"1.1.0\"", 1.0),
        ("verdict", ",signal=\"errors\",outcome=\"inconclusive\"", 1.0),
        ("verdict", ",signal=\"results\",outcome=\"pass\"", 1.0),
        ("rollouts_remembered", ",outcome=\"rolled_back\"", 1.0),
        ("rollouts_remembered", ",outcome=\"promoted\"", 0.0),
        ("last_rollout_end_timestamp_seconds", ",outcome=\"rolled_back\"", 7.0),
    ] {
        assert_eq!(value(&text, name, labels), Some(wanted), "{name}{labels} in\n{text}");
    }
    assert_eq!(value(&text, "lag_seconds", ",colour=\"blue\""), None, "a primary lags behind nobody");
    assert_eq!(value(&text, "way_back", ""), None, "nothing was switched yet");
}

#[test]
fn a_pause_has_the_time_that_it_began_and_does_not_end_a_filling() {
    let before = Box::new(Phase::Seeding { since_ms: 1_000 });
    let paused = Info { phase: Phase::Paused { since_ms: 9_000, before, why: "by a person".into() }, ..info() };
    let text = text_of(&paused);
    assert_eq!(value(&text, "phase_start_timestamp_seconds", ",phase=\"paused\""), Some(9.0));
    assert_eq!((value(&text, "paused", ""), value(&text, "filling", "")), (Some(1.0), Some(1.0)));
    let stable = text_of(&Info { phase: Phase::Stable, run: None, ..info() });
    assert!(!stable.contains("phase_start_timestamp_seconds{"), "{stable}");
}

#[test]
fn the_way_back_is_there_while_the_old_environment_follows() {
    let way_back = |info: &Info| value(&text_of(info), "way_back", "");
    assert_eq!(way_back(&watched()), Some(1.0));
    let mut lost = watched();
    lost.nodes.blue.status = NodeStatus::Silent;
    assert_eq!(way_back(&lost), Some(0.0));
    let mut empty = watched();
    empty.nodes.blue.role = Some(Role::Waiting);
    assert_eq!(way_back(&empty), Some(0.0));

    let mut promoted = Info { phase: Phase::Stable, run: None, ..watched() };
    assert_eq!(way_back(&promoted), None, "the last one that ended was rolled back");
    promoted.history[0].outcome = Outcome::Promoted;
    assert_eq!(way_back(&promoted), Some(1.0));
    promoted.versions.blue = None;
    assert_eq!(way_back(&promoted), None, "the old environment was ended, so nobody can go back");
}

#[test]
fn what_users_call_things_is_escaped() {
    let mut named = info();
    named.versions.green = Some("1\"\\\n".into());
    let text = text_of(&named);
    assert!(text.contains(r#"version="1\"\\\n"}"#), "{text}");
    promtool_accepts(&text);
}

#[test]
fn two_signals_of_one_name_are_one_series() {
    let mut twice = info();
    twice.verdicts.push(twice.verdicts[0].clone());
    let text = text_of(&twice);
    assert_eq!(text.matches("signal=\"errors\"").count(), 1, "{text}");
}

#[test]
fn every_metric_has_one_head_and_a_sample_and_promtool_accepts_them() {
    let text = exported();
    promtool_accepts(&text);
    let mut heads = BTreeSet::new();
    for name in text.lines().filter_map(|line| line.strip_prefix("# TYPE ")?.split(' ').next()) {
        assert!(heads.insert(name), "{name} has two heads");
        let mut lines = text.lines();
        let of_histogram = format!("{name}_count");
        let sample = |line: &str| line.split(['{', ' ']).next().is_some_and(|one| one == name || one == of_histogram);
        assert!(lines.any(sample), "{name} has no sample");
    }
    assert_eq!(text.matches("# HELP ").count(), heads.len());
}

#[test]
fn a_deployment_that_is_gone_or_looked_after_by_another_is_not_told_of() {
    let figures = Figures::default();
    figures.leads(true);
    figures.show("team", "shop", &info());
    figures.invalid("team", "odd");
    assert_eq!(value(&figures.text(), "valid", ""), Some(1.0));
    assert!(figures.text().contains("jadeshift_valid{namespace=\"team\",deployment=\"odd\"} 0\n"));
    figures.forget("team", "shop");
    assert!(!figures.text().contains("shop"));
    figures.leads(false);
    assert!(!figures.text().contains("odd") && figures.text().contains("jadeshift_operator_leads 0\n"));
}

fn promtool_accepts(text: &str) {
    let mut promtool = Command::new("promtool")
        .args(["check", "metrics"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the tests need promtool: apt-get install --no-install-recommends prometheus");
    promtool.stdin.take().unwrap().write_all(text.as_bytes()).unwrap();
    let output = promtool.wait_with_output().unwrap();
    let said = String::from_utf8_lossy(&output.stdout) + String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && said.trim().is_empty(), "{said}\n{text}");
}
