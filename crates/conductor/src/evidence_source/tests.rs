//! Counts become verdicts only of what happened since the part began.

use super::*;
use crate::TrafficCounts;
use crate::replay::Board;
use evidence::{Outcome, ReplayTally};
use wire::ByColour;

fn part_of(state: &State) -> Part {
    part(state).unwrap()
}

fn nothing() -> Live {
    live(&shifting(0, 10), &sight((0, 0), (0, 0)), Colour::Green)
}

fn outcome(sample: Option<usize>, replays: u64, waited_s: u64, live_reads: u64, no_vectors: bool) -> Outcome {
    let (state, evidence) = (shifting(0, 10), Evidence::default());
    let mut judged = Judged::new(&policy(&evidence), None, &[], part_of(&state), &nothing(), Instant::now());
    let reads = live(&state, &sight((0, 0), (live_reads, 0)), Colour::Green);
    let tally = ReplayTally { replays, compared: replays, ..ReplayTally::default() };
    judged.observe(&Live { confirmed: Some(true), ..reads }, Board { tally, ..Board::default() }, Instant::now());
    results(&judged, sample, &evidence, 0.0, Duration::from_secs(waited_s), || no_vectors).outcome
}

#[tokio::test]
async fn nothing_to_compare_passes_only_when_that_is_certain() {
    assert_eq!(outcome(None, 0, 60, 0, true), Outcome::Inconclusive, "the sample is not known");
    assert_eq!(outcome(Some(0), 0, 0, 0, true), Outcome::Pass, "no vectors");
    assert_eq!(outcome(Some(0), 0, 4, 0, false), Outcome::Inconclusive, "too early");
    assert_eq!(outcome(Some(0), 0, 5, 0, false), Outcome::Pass, "nobody reads");
    assert_eq!(outcome(Some(0), 0, 29, 7, false), Outcome::Inconclusive, "somebody reads");
    assert_eq!(outcome(Some(0), 0, 30, 7, false), Outcome::Pass, "but nobody searches");
    assert_eq!(outcome(Some(9), 0, 60, 0, false), Outcome::Inconclusive, "there is something to replay");
    assert_eq!(outcome(Some(9), 49, 60, 9, false), Outcome::Inconclusive);
    assert_eq!(outcome(Some(9), 50, 60, 9, false), Outcome::Pass);
}

fn shifting(step: usize, share_percent: u8) -> State {
    let mut state = State::first(&Spec::default(), 0);
    state.phase = Phase::Shifting { step, share_percent, since_ms: 0, promoted: false };
    state.run = Some(crate::tests::stage::run(1));
    state
}

fn sight(blue: (u64, u64), green: (u64, u64)) -> Sight {
    let counts = |(reads, read_errors)| TrafficCounts { reads, read_errors };
    let mut sight = Sight::new(ByColour::default());
    sight.traffic = Some(ByColour::new(counts(blue), counts(green)));
    sight
}

#[tokio::test]
async fn each_step_counts_anew_and_what_was_bad_stays() {
    let spec = Spec::default();
    let directory = Directory { primary: Colour::Blue, targets: ByColour::new(None, None), followers: Vec::new() };
    let mut source = EvidenceSource::new(Http::new(), &[], &Clock::system());
    let mut judge = async |state: &State, share: u8, blue, green| {
        let mut sight = sight(blue, green);
        sight.reads_in_effect = Some(ByColour::new(100 - share, share));
        source.judge(&spec, state, &sight, &directory).await
    };

    let judgement = judge(&shifting(1, 50), 50, (1_000, 0), (500, 400)).await;
    assert_eq!((judgement.candidate_reads, judgement.live.outcome), (0, Outcome::Pass));
    // Both fail 10 % of the reads since: the candidate is not worse.
    let judgement = judge(&shifting(1, 50), 50, (1_200, 20), (700, 420)).await;
    assert_eq!(
        (judgement.candidate_reads, judgement.live.outcome),
        (200, Outcome::Inconclusive),
        "{}",
        judgement.live.why
    );
    // A pause changes nothing about what is counted.
    let mut paused = shifting(1, 50);
    paused.phase = Phase::Paused { since_ms: 0, before: Box::new(paused.phase), why: String::new() };
    assert_eq!(judge(&paused, 50, (1_200, 20), (710, 420)).await.candidate_reads, 210);
    // In the next step the reads begin at 0, and errors of the candidate alone roll it back.
    assert_eq!(judge(&shifting(2, 90), 90, (1_200, 20), (710, 420)).await.candidate_reads, 0);
    let judgement = judge(&shifting(2, 90), 90, (1_300, 21), (1_110, 720)).await;
    assert_eq!((judgement.candidate_reads, judgement.live.outcome), (400, Outcome::Fail), "{}", judgement.live.why);
    assert_eq!(judgement.results.outcome, Outcome::Fail, "one verdict for all");
    // It stays so in the step after, until the rollout is over.
    let judgement = judge(&shifting(3, 100), 100, (1_300, 21), (1_110, 720)).await;
    assert_eq!(judgement.live.outcome, Outcome::Fail);
    let mut next = shifting(0, 10);
    next.run.as_mut().unwrap().id = 2;
    assert_eq!(judge(&next, 10, (1_300, 21), (1_110, 720)).await.live.outcome, Outcome::Pass);
}
