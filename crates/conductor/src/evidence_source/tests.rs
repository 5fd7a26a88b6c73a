//! Counts become verdicts only of what happened since the part began.

use super::*;
use evidence::{Outcome, ReplayTally};

fn rule() -> ResultRule {
    let part = Part { subject: Subject { run: 1, place: Place::Checking }, share_percent: 0, step: 0 };
    result_rule(&Spec::default(), part)
}

fn board(sample: Option<usize>, replays: u64) -> Board {
    Board { subject: None, tally: ReplayTally { replays, ..ReplayTally::default() }, sample }
}

fn outcome(board: Board, waited_s: u64, live_reads: u64, no_vectors: bool) -> Outcome {
    judge_board(board, &rule(), Duration::from_secs(waited_s), live_reads, || no_vectors).outcome
}

#[test]
fn nothing_to_compare_passes_only_when_that_is_certain() {
    assert_eq!(outcome(board(None, 0), 60, 0, true), Outcome::Inconclusive, "the sample is not known");
    assert_eq!(outcome(board(Some(0), 0), 0, 0, true), Outcome::Pass, "no vectors");
    assert_eq!(outcome(board(Some(0), 0), 4, 0, false), Outcome::Inconclusive, "too early");
    assert_eq!(outcome(board(Some(0), 0), 5, 0, false), Outcome::Pass, "nobody reads");
    assert_eq!(outcome(board(Some(0), 0), 29, 7, false), Outcome::Inconclusive, "somebody reads");
    assert_eq!(outcome(board(Some(0), 0), 30, 7, false), Outcome::Pass, "but nobody searches");
    assert_eq!(outcome(board(Some(9), 0), 60, 0, false), Outcome::Inconclusive, "there is something to replay");
    assert_eq!(outcome(board(Some(9), 49), 60, 9, false), Outcome::Inconclusive);
    assert_eq!(outcome(board(Some(9), 50), 60, 9, false), Outcome::Pass);
}

#[test]
fn a_counter_that_began_anew_is_counted_from_zero() {
    let counts = |reads, read_errors| TrafficCounts { reads, read_errors };
    assert_eq!(difference(counts(10, 1), counts(25, 3)), Counts { reads: 15, errors: 2 });
    assert_eq!(difference(counts(10, 1), counts(4, 0)), Counts { reads: 4, errors: 0 });
    assert_eq!(difference(counts(10, 9), counts(11, 2)), Counts { reads: 11, errors: 2 });
}

fn shifting(step: usize, share_percent: u8) -> State {
    let mut state = State::first(&Spec::default(), 0);
    state.phase = Phase::Shifting { step, share_percent, since_ms: 0, promoted: false };
    state.run = Some(rollout::Run {
        id: 1,
        from_version: "1".into(),
        to_version: "2".into(),
        candidate: Colour::Green,
        started_ms: 0,
        full: false,
        accept_loss: false,
        committed_ms: None,
    });
    state
}

fn sight(blue: (u64, u64), green: (u64, u64)) -> Sight {
    let counts = |(reads, read_errors)| TrafficCounts { reads, read_errors };
    let mut sight = Sight::new(ByColour::default());
    sight.traffic = Some(ByColour::new(counts(blue), counts(green)));
    sight
}

#[tokio::test]
async fn each_step_counts_anew_and_without_a_control_the_earlier_reads_are_one() {
    let spec = Spec::default();
    let directory = Directory { primary: Colour::Blue, targets: ByColour::new(None, None), followers: Vec::new() };
    let mut source = EvidenceSource::new(Http::new());
    let mut judge =
        async |state: &State, blue, green| source.judge(&spec, state, &sight(blue, green), &directory).await;

    let judgement = judge(&shifting(1, 50), (1_000, 0), (500, 400)).await;
    assert_eq!((judgement.candidate_reads, judgement.errors.outcome), (0, Outcome::Inconclusive));
    // Both fail 10 % of the reads since: the candidate is not worse.
    let judgement = judge(&shifting(1, 50), (1_200, 20), (700, 420)).await;
    assert_eq!((judgement.candidate_reads, judgement.errors.outcome), (200, Outcome::Pass), "{}", judgement.errors.why);
    // A pause changes nothing about what is counted.
    let mut paused = shifting(1, 50);
    paused.phase = Phase::Paused { since_ms: 0, before: Box::new(paused.phase), why: String::new() };
    assert_eq!(judge(&paused, (1_200, 20), (710, 420)).await.candidate_reads, 210);
    // At 100 % the active environment has no reads of its own; its earlier 10 % still speak for the candidate's.
    let judgement = judge(&shifting(3, 100), (1_200, 20), (710, 420)).await;
    assert_eq!(judgement.candidate_reads, 0);
    let judgement = judge(&shifting(3, 100), (1_200, 20), (910, 440)).await;
    assert_eq!((judgement.candidate_reads, judgement.errors.outcome), (200, Outcome::Pass), "{}", judgement.errors.why);
    let judgement = judge(&shifting(3, 100), (1_200, 20), (1_110, 540)).await;
    assert_eq!(judgement.errors.outcome, Outcome::Fail, "{}", judgement.errors.why);
}
