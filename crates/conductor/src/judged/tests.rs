//! Counters become evidence only of what happened since a part began, and only where the shares are known.

use super::*;
use evidence::Outcome;

fn part(share_percent: u8) -> Part {
    let place = if share_percent == 0 { Place::Checking } else { Place::Shifting };
    Part { subject: Subject { run: 1, place }, share_percent, step: 0 }
}

fn counts(reads: u64, read_errors: u64) -> TrafficCounts {
    TrafficCounts { reads, read_errors }
}

fn live(candidate: (u64, u64), active: (u64, u64)) -> Live {
    let sides = Sides { candidate: counts(candidate.0, candidate.1), active: counts(active.0, active.1) };
    Live { counts: sides, latency: None, confirmed: Some(true) }
}

fn judged(share_percent: u8, live: &Live) -> Judged {
    Judged::new(&Policy::default(), None, &[], part(share_percent), live, Instant::now())
}

#[test]
fn a_counter_that_began_anew_is_counted_from_zero() {
    let difference = |before, now| {
        let Counts { requests, events } = super::difference(before, now);
        (requests, events)
    };
    assert_eq!(difference(counts(10, 1), counts(25, 3)), (15, 2));
    assert_eq!(difference(counts(10, 1), counts(4, 0)), (4, 0));
    assert_eq!(difference(counts(10, 9), counts(11, 2)), (11, 2));
}

#[tokio::test]
async fn errors_before_the_part_and_errors_of_both_are_no_fault_of_the_candidate() {
    let mut judged = judged(50, &live((500, 400), (1_000, 0)));
    judged.observe(&live((700, 420), (1_200, 20)), Board::default(), Instant::now());
    assert!(!judged.has_failed());
    assert_eq!(judged.reads, Sides { candidate: 200, active: 200 });
    judged.observe(&live((900, 500), (1_400, 40)), Board::default(), Instant::now());
    let verdict = judged.live_verdict(20.0);
    assert_eq!((verdict.outcome, verdict.signal.as_str()), (Outcome::Fail, "errors"), "{}", verdict.why);
}

#[tokio::test]
async fn what_was_counted_while_the_shares_changed_is_left_out() {
    let mut judged = judged(50, &live((0, 0), (0, 0)));
    let unconfirmed = Live { confirmed: Some(false), ..live((100, 100), (1_000, 0)) };
    judged.observe(&unconfirmed, Board::default(), Instant::now());
    judged.observe(&live((100, 100), (1_000, 0)), Board::default(), Instant::now());
    assert!(!judged.has_failed());
    // Where the router says nothing, it waits for the next look.
    let unknown = Live { confirmed: None, ..live((200, 200), (2_000, 0)) };
    judged.observe(&unknown, Board::default(), Instant::now());
    assert!(!judged.has_failed());
    judged.observe(&live((200, 200), (2_000, 0)), Board::default(), Instant::now());
    assert!(judged.has_failed());
}

/// Looks of one request each, at a share of 10 %; of the candidate's `bad` of 10 fail, of the active's `bad_active`.
fn sparse_looks(bad: u64, bad_active: u64) -> Judged {
    let mut judged = judged(10, &live((0, 0), (0, 0)));
    let (mut candidate, mut active) = ((0, 0), (0, 0));
    for look in 0..4_000 {
        let (side, bad) = if look % 10 == 0 { (&mut candidate, bad) } else { (&mut active, bad_active) };
        *side = (side.0 + 1, side.1 + u64::from(side.0 % 10 < bad));
        judged.observe(&live(candidate, active), Board::default(), Instant::now());
    }
    judged
}

#[tokio::test]
async fn with_little_traffic_a_fault_of_the_candidate_is_found_and_a_fault_of_both_is_not_held_against_it() {
    let verdict = sparse_looks(3, 0).live_verdict(20.0);
    assert_eq!((verdict.outcome, verdict.signal.as_str()), (Outcome::Fail, "errors"), "{}", verdict.why);
    let shared = sparse_looks(3, 3);
    assert!(!shared.has_failed(), "{}", shared.live_verdict(20.0).why);
}

#[tokio::test]
async fn a_new_step_needs_new_evidence_and_at_the_whole_a_limit_counts() {
    let mut judged = judged(50, &live((0, 0), (0, 0)));
    judged.observe(&live((2_000, 0), (2_000, 0)), Board::default(), Instant::now());
    assert_eq!(judged.live_verdict(20.0).outcome, Outcome::Pass);
    judged.turn_to(part(90), &live((2_000, 0), (2_000, 0)), Instant::now());
    assert_eq!((judged.live_verdict(20.0).outcome, judged.reads), (Outcome::Pass, Sides::default()), "nobody reads");
    judged.observe(&live((2_010, 0), (2_001, 0)), Board::default(), Instant::now());
    assert_eq!(judged.live_verdict(20.0).outcome, Outcome::Inconclusive);
    assert_eq!(judged.live_verdict(0.0).outcome, Outcome::Pass, "none is asked for");
    judged.turn_to(part(100), &live((2_010, 0), (2_001, 0)), Instant::now());
    judged.observe(&live((2_510, 5), (2_001, 0)), Board::default(), Instant::now());
    assert_eq!(judged.live_verdict(20.0).outcome, Outcome::Pass, "nobody is left to compare with");
    judged.observe(&live((3_010, 105), (2_001, 0)), Board::default(), Instant::now());
    let verdict = judged.live_verdict(20.0);
    assert_eq!((verdict.outcome, verdict.signal.as_str()), (Outcome::Fail, "errors_alone"), "{}", verdict.why);
}

/// Of 100 answers of a second each side has `slow` that took 50 ms instead of 1 ms.
fn latencies(seconds: u64, candidate_slow: u64, active_slow: u64) -> Live {
    let side = |slow: u64| {
        let mut latency = Latency::default();
        for _ in 0..seconds {
            (0..100).for_each(|answer| latency.record(if answer < slow { 50_000 } else { 1_000 }));
        }
        latency
    };
    let latency = Sides { candidate: side(candidate_slow), active: side(active_slow) };
    Live { latency: Some(latency), ..live((0, 0), (0, 0)) }
}

#[tokio::test]
async fn slow_answers_are_judged_by_what_was_usual_before_the_step() {
    let began = Instant::now();
    let mut judged = judged(50, &latencies(10, 0, 1));
    for second in 1..=20 {
        let now = began + Duration::from_secs(second);
        judged.observe(&latencies(10 + second, 0, 1), Board::default(), now);
    }
    assert!(!judged.has_failed());
    let mut total = latencies(30, 0, 1);
    for second in 21..=40 {
        let latency = total.latency.as_mut().unwrap();
        (0..100).for_each(|answer| {
            latency.candidate.record(if answer < 20 { 50_000 } else { 1_000 });
            latency.active.record(if answer < 1 { 50_000 } else { 1_000 });
        });
        judged.observe(&total, Board::default(), began + Duration::from_secs(second));
    }
    let verdict = judged.live_verdict(20.0);
    assert_eq!(verdict.outcome, Outcome::Fail, "{}", verdict.why);
    assert!(["over_p90", "over_p99"].contains(&verdict.signal.as_str()), "{}", verdict.why);
}

fn board(replays: u64, bad: u64, candidate_errors: u64) -> Board {
    let tally = ReplayTally { replays, compared: replays - candidate_errors, bad, candidate_errors, active_errors: 0 };
    Board { tally, ..Board::default() }
}

#[tokio::test]
async fn replays_are_counted_once_and_enough_of_them_pass() {
    let mut judged = judged(0, &live((0, 0), (0, 0)));
    judged.observe(&live((0, 0), (0, 0)), board(40, 0, 0), Instant::now());
    let verdict = judged.results_verdict(20.0, 50);
    assert!(verdict.why.starts_with("40 of the 50 replayed searches needed; results: 0 of 40"), "{}", verdict.why);
    judged.observe(&live((0, 0), (0, 0)), board(400, 2, 0), Instant::now());
    let verdict = judged.results_verdict(20.0, 50);
    assert_eq!(verdict.outcome, Outcome::Pass, "{}", verdict.why);
    assert!(verdict.why.starts_with("results: 2 of 400"), "{}", verdict.why);
    judged.observe(&live((0, 0), (0, 0)), board(500, 60, 0), Instant::now());
    let verdict = judged.results_verdict(20.0, 50);
    assert_eq!((verdict.outcome, verdict.signal.as_str()), (Outcome::Fail, "results"), "{}", verdict.why);
}

#[tokio::test]
async fn a_search_that_only_the_candidate_fails_counts_against_it() {
    let mut judged = judged(0, &live((0, 0), (0, 0)));
    judged.observe(&live((0, 0), (0, 0)), board(200, 0, 30), Instant::now());
    let verdict = judged.results_verdict(20.0, 50);
    assert_eq!((verdict.outcome, verdict.signal.as_str()), (Outcome::Fail, "replayed_errors"), "{}", verdict.why);
}

#[tokio::test]
async fn lost_neighbours_are_found_without_a_wrong_answer() {
    let mut judged = judged(0, &live((0, 0), (0, 0)));
    for _ in 0..600 {
        let board = Board { recall_lost: vec![0.1, 0.0, 0.0], ..Board::default() };
        judged.observe(&live((0, 0), (0, 0)), board, Instant::now());
    }
    let verdict = judged.results_verdict(20.0, 0);
    assert_eq!((verdict.outcome, verdict.signal.as_str()), (Outcome::Fail, "recall_lost"), "{}", verdict.why);
}
