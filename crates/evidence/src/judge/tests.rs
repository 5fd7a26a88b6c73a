use super::*;

const BUDGET: f64 = 0.001;
const EVIDENCE_MIN: f64 = 20.0;
const ERRORS: SignalRule = SignalRule::Events { ratio_max: 1.0, harmless_rate: Some(0.01), growth_max: f64::INFINITY };

fn counts(requests: u64, events: u64) -> Counts {
    Counts { requests, events }
}

/// By all groups.
fn verdict(judge: &Judge) -> Verdict {
    let groups: std::collections::BTreeSet<&str> = judge.signals().map(|signal| signal.group).collect();
    judge.verdict(&groups.into_iter().collect::<Vec<_>>(), EVIDENCE_MIN)
}

fn one_signal() -> (Judge, SignalId) {
    let mut judge = Judge::new(BUDGET);
    let errors = judge.add("errors", "errors", 1.0, ERRORS);
    (judge, errors)
}

#[test]
fn ten_times_the_errors_fail_within_seconds() {
    let (mut judge, errors) = one_signal();
    let mut second = 0;
    while !judge.has_failed() {
        judge.observe(errors, counts(100, 1), counts(900, u64::from(second % 10 < 9)));
        judge.pass(1.0);
        second += 1;
    }
    assert!((5..=10).contains(&second), "{second}");
    let said = verdict(&judge);
    assert_eq!((said.outcome, said.signal.as_str()), (Outcome::Fail, "errors"));
    assert!(said.e_value.unwrap() >= 1_000.0);
}

#[test]
fn the_sentence_has_the_numbers() {
    let (mut judge, errors) = one_signal();
    judge.observe(errors, counts(612, 31), counts(5_400, 2));
    let why = verdict(&judge).why;
    let expected = "errors: 31 of 612 (5.07 %) of the candidate, 2 of 5,400 (0.04 %) of the active environment; no more is allowed (E = 10^";
    assert!(why.starts_with(expected), "{why}");
    assert!(why.ends_with(", 1,000 is enough: false alarms in at most 0.10 % of rollouts)"), "{why}");
}

#[test]
fn no_errors_pass_as_soon_as_enough_was_read() {
    let (mut judge, errors) = one_signal();
    assert_eq!(verdict(&judge).outcome, Outcome::Inconclusive);
    judge.observe(errors, counts(100, 0), counts(900, 0));
    assert_eq!(verdict(&judge).outcome, Outcome::Inconclusive);
    judge.observe(errors, counts(600, 0), counts(5_400, 0));
    assert_eq!(verdict(&judge).outcome, Outcome::Pass);
}

#[test]
fn the_same_high_rate_of_errors_passes_by_comparison() {
    let (mut judge, errors) = one_signal();
    for _ in 0..60 {
        judge.observe(errors, counts(100, 5), counts(900, 45));
        judge.pass(1.0);
    }
    let said = verdict(&judge);
    assert_eq!(said.outcome, Outcome::Pass, "{}", said.why);
}

#[test]
fn a_failing_active_is_told_apart_from_a_failing_candidate() {
    let (mut judge, errors) = one_signal();
    for _ in 0..20 {
        judge.observe(errors, counts(500, 0), counts(500, 25));
        judge.pass(1.0);
    }
    assert_eq!(verdict(&judge).outcome, Outcome::Pass);
    assert_eq!(judge.signals().map(|signal| signal.active_is_worse).collect::<Vec<_>>(), [true]);
    assert!(verdict(&judge).why.contains("the active environment is the worse one"));
    // The other way round nobody is excused.
    let (mut judge, errors) = one_signal();
    judge.observe(errors, counts(500, 25), counts(500, 0));
    assert_eq!(judge.signals().filter(|signal| signal.active_is_worse).count(), 0);
    assert_eq!(verdict(&judge).outcome, Outcome::Fail);
}

#[test]
fn a_signal_without_data_keeps_the_verdict_open_but_a_bad_one_decides() {
    let mut judge = Judge::new(BUDGET);
    let errors = judge.add("errors", "errors", 0.5, ERRORS);
    judge.add(
        "slower than p99",
        "latency",
        0.5,
        SignalRule::Events { ratio_max: 1.25, harmless_rate: None, growth_max: 10.0 },
    );
    judge.observe(errors, counts(5_000, 0), counts(5_000, 0));
    let said = verdict(&judge);
    assert_eq!(said.outcome, Outcome::Inconclusive);
    assert_eq!(said.why, "latency: nothing was measured of the candidate yet");
    judge.observe(errors, counts(100, 50), counts(100, 0));
    assert_eq!(verdict(&judge).outcome, Outcome::Fail);
}

#[test]
fn all_signals_share_one_budget() {
    let (mut alone, errors) = one_signal();
    let mut shared = Judge::new(BUDGET);
    let also = shared.add("errors", "errors", 1.0, ERRORS);
    shared.add("others", "others", 9.0, ERRORS);
    for judge in [&mut alone, &mut shared] {
        judge.observe(errors, counts(100, 6), counts(900, 2));
    }
    assert_eq!(errors, also);
    // The others have E = 1 each: a tenth of what `errors` has, and nine tenths.
    let expected = 0.1 * alone.ln_e().exp() + 0.9;
    assert!((shared.ln_e().exp() - expected).abs() < 1e-6 * expected);
}

#[test]
fn wrong_results_and_lost_neighbours_fail_by_their_own_limits() {
    let mut judge = Judge::new(BUDGET);
    let results = judge.add("results", "results", 1.0, SignalRule::Rate { rate_max: 0.02 });
    let recall = judge.add("recall lost", "recall", 1.0, SignalRule::Mean { mean_max: 0.005 });
    for round in 0..2_000 {
        judge.observe(results, counts(1, u64::from(round % 100 == 0)), Counts::default());
        judge.observe_value(recall, [0.1, -0.1, 0.0, 0.0][round % 4]);
    }
    assert_eq!(verdict(&judge).outcome, Outcome::Pass, "{}", verdict(&judge).why);
    let mut worse = judge.clone();
    for round in 0..4_000 {
        // Two points lost: of ten neighbours one more in five searches.
        worse.observe_value(recall, if round % 5 == 0 { 0.1 } else { [0.1, -0.1, 0.0, 0.0][round % 4] });
        worse.pass(0.02);
    }
    let said = verdict(&worse);
    assert_eq!((said.outcome, said.signal.as_str()), (Outcome::Fail, "recall lost"), "{}", said.why);
    judge.observe(results, counts(400, 80), Counts::default());
    assert_eq!(verdict(&judge).outcome, Outcome::Fail);
    assert_eq!(verdict(&judge).signal, "results");
}

#[test]
fn a_new_step_asks_for_new_evidence_but_forgets_nothing_bad() {
    let (mut judge, errors) = one_signal();
    judge.observe(errors, counts(2_000, 4), counts(18_000, 36));
    assert_eq!(verdict(&judge).outcome, Outcome::Pass);
    let before = judge.ln_e();
    judge.begin_step();
    assert_eq!(judge.ln_e(), before);
    assert_eq!(verdict(&judge).why, "errors: nothing was measured of the candidate yet");
    judge.observe(errors, counts(10, 0), counts(10, 0));
    assert!(verdict(&judge).why.starts_with("errors: 0 of 10 (0.00 %)"), "{}", verdict(&judge).why);
}

#[test]
fn replayed_reads_show_what_too_few_live_ones_cannot() {
    let mut judge = Judge::new(BUDGET);
    let live = judge.add("errors", "errors", 0.5, ERRORS);
    let replayed = judge.add("errors of replayed reads", "errors", 0.5, ERRORS);
    judge.observe(live, counts(30, 0), counts(270, 0));
    assert_eq!(verdict(&judge).outcome, Outcome::Inconclusive);
    judge.observe(replayed, counts(1_000, 0), counts(1_000, 0));
    let said = verdict(&judge);
    assert_eq!((said.outcome, said.signal.as_str()), (Outcome::Pass, "errors of replayed reads"));
}
