//! Every command in every phase.

use super::{Command, Refused, command};
use crate::{Outcome, Phase, Record, Run, Stage, State};
use wire::Colour;
use wire::document::Spec;

const NOW_MS: u64 = 7;

fn state(phase: Phase) -> State {
    let mut state = State::first(&Spec::default(), 0);
    if phase != Phase::Stable {
        state.versions.green = Some("1.1.0".into());
        state.run = Some(run());
    }
    state.phase = phase;
    state
}

fn run() -> Run {
    Run {
        id: 4,
        from_version: "1.0.0".into(),
        to_version: "1.1.0".into(),
        candidate: Colour::Green,
        started_ms: 0,
        full: false,
        accept_loss: false,
        committed_ms: None,
    }
}

/// After the commit green is active.
fn committed(phase: Phase) -> State {
    let mut state = state(phase);
    (state.primary, state.active, state.epoch, state.primary_epoch) = (Colour::Green, Colour::Green, 2, 2);
    state.promoted_at = Some(9);
    state
}

fn promoted() -> State {
    let mut state = committed(Phase::Watching { since_ms: 0 });
    let run = state.run.take().unwrap();
    state.phase = Phase::Stable;
    state.history.push(Record { run, outcome: Outcome::Promoted, reason: String::new(), ended_ms: 1 });
    state
}

fn handing_over(to: Colour, stage: Stage) -> Phase {
    Phase::HandingOver { to, epoch: 2, stage, since_ms: 0, reason: "r".into(), share_percent: 0, fenced: false }
}

fn paused(before: Phase) -> Phase {
    Phase::Paused { since_ms: 0, before: Box::new(before), why: "p".into() }
}

const SHIFTING: Phase = Phase::Shifting { step: 1, share_percent: 50, since_ms: 0, promoted: false };

fn ask(state: &State, wish: &Command) -> Result<State, Refused> {
    let before = state.clone();
    let answer = command(&Spec::default(), state, wish, NOW_MS);
    if let Ok(next) = &answer {
        assert_eq!(next.generation, state.generation + 1);
        let broken = crate::check::violations(next, &crate::World::of(next));
        assert!(broken.is_empty(), "{broken:?}");
    }
    assert_eq!(*state, before);
    answer
}

/// The phase after each command, or the name of the refusal.
fn outcomes(state: &State) -> Vec<String> {
    [
        Command::Deploy { version: "2.0.0".into() },
        Command::Promote { full: false },
        Command::Promote { full: true },
        Command::Pause,
        Command::Resume,
        Command::Rollback { reason: String::new(), accept_loss: false },
        Command::Canary { share_percent: 20 },
        Command::Switch { to: Colour::Blue },
        Command::Switch { to: Colour::Green },
    ]
    .iter()
    .map(|wish| match ask(state, wish) {
        Ok(next) => next.phase.name().replace(' ', "-"),
        Err(refused) => {
            let name = format!("{refused:?}");
            name.split(['(', ' ']).next().unwrap_or_default().to_string()
        }
    })
    .collect()
}

#[test]
fn every_command_in_every_phase() {
    let cases = [
        (
            state(Phase::Stable),
            "preparing NoRollout NoRollout NoRollout NotPaused NothingToGoBackTo NoRollout AlreadyActive NotRunning",
        ),
        (promoted(), "preparing NoRollout NoRollout NoRollout NotPaused handing-over NoRollout checking AlreadyActive"),
        (
            state(Phase::Preparing { since_ms: 0 }),
            "UnderWay NotShifting preparing paused NotPaused rolling-back NotShifting rolling-back preparing",
        ),
        (
            state(Phase::Checking { since_ms: 0 }),
            "UnderWay NotShifting checking paused NotPaused rolling-back NotShifting rolling-back checking",
        ),
        (state(SHIFTING), "UnderWay shifting shifting paused NotPaused rolling-back paused rolling-back shifting"),
        (
            state(paused(Phase::Seeding { since_ms: 0 })),
            "UnderWay seeding seeding AlreadyPaused seeding rolling-back NotShifting rolling-back seeding",
        ),
        (
            state(paused(SHIFTING)),
            "UnderWay shifting shifting AlreadyPaused shifting rolling-back paused rolling-back shifting",
        ),
        (
            state(Phase::RollingBack { since_ms: 0, reason: "r".into() }),
            "UnderWay GoingBack GoingBack GoingBack NotPaused GoingBack GoingBack GoingBack GoingBack",
        ),
        (
            state(handing_over(Colour::Green, Stage::ProvingWayBack)),
            "UnderWay HandingOver HandingOver HandingOver NotPaused rolling-back HandingOver rolling-back HandingOver",
        ),
        (
            committed(handing_over(Colour::Green, Stage::TurningAround { lsn: 9 })),
            "UnderWay HandingOver HandingOver HandingOver NotPaused HandingOver HandingOver HandingOver AlreadyActive",
        ),
        (
            committed(handing_over(Colour::Green, Stage::MovingTraffic { lsn: 9 })),
            "UnderWay HandingOver HandingOver HandingOver NotPaused handing-over HandingOver handing-over AlreadyActive",
        ),
        (
            committed(Phase::Watching { since_ms: 0 }),
            "UnderWay NothingToPromote NothingToPromote paused NotPaused handing-over NothingToPromote handing-over AlreadyActive",
        ),
        (
            committed(paused(Phase::Watching { since_ms: 0 })),
            "UnderWay watching watching AlreadyPaused watching handing-over NothingToPromote handing-over AlreadyActive",
        ),
    ];
    for (state, expected) in cases {
        assert_eq!(outcomes(&state).join(" "), expected, "{:?}", state.phase);
    }
    let mut starting = State::first(&Spec::default(), 0);
    starting.generation = 3;
    let refused = "Starting Starting Starting Starting NotPaused Starting Starting Starting Starting";
    assert_eq!(outcomes(&starting).join(" "), refused);
}

#[test]
fn deploy_names_the_run_and_the_version() {
    let mut stable = promoted();
    let next = ask(&stable, &Command::Deploy { version: "2.0.0".into() }).unwrap();
    let run = next.run.unwrap();
    assert_eq!((run.id, run.from_version.as_str(), run.to_version.as_str()), (5, "1.1.0", "2.0.0"));
    assert_eq!((run.candidate, run.started_ms, run.full), (Colour::Blue, NOW_MS, false));
    assert_eq!(next.versions.blue.as_deref(), Some("2.0.0"));
    for bad in ["", "a b", "../x"] {
        let refused = ask(&stable, &Command::Deploy { version: bad.into() }).unwrap_err();
        assert!(matches!(refused, Refused::BadVersion(_)), "{refused}");
    }
    let refused = ask(&stable, &Command::Deploy { version: "1.1.0".into() }).unwrap_err();
    assert_eq!(refused, Refused::AlreadyServed { version: "1.1.0".into(), active: Colour::Green });
    // The version that is kept warm may come back as a rollout of its own.
    stable.history.clear();
    assert!(ask(&stable, &Command::Deploy { version: "1.0.0".into() }).is_ok());
}

#[test]
fn promote_marks_the_step_and_full_marks_the_run() {
    let next = ask(&state(SHIFTING), &Command::Promote { full: false }).unwrap();
    assert!(matches!(next.phase, Phase::Shifting { promoted: true, .. }));
    assert!(!next.run.unwrap().full);
    assert!(ask(&state(SHIFTING), &Command::Promote { full: true }).unwrap().run.unwrap().full);
    assert!(ask(&state(paused(SHIFTING)), &Command::Promote { full: true }).unwrap().run.unwrap().full);
    assert!(ask(&state(SHIFTING), &Command::Switch { to: Colour::Green }).unwrap().run.unwrap().full);
}

#[test]
fn times_begin_anew_after_a_pause() {
    let next = ask(&state(paused(SHIFTING)), &Command::Resume).unwrap();
    let expected = Phase::Shifting { step: 1, share_percent: 50, since_ms: NOW_MS, promoted: false };
    assert_eq!(next.phase, expected);
}

#[test]
fn a_canary_holds_its_share_between_the_steps() {
    for (share_percent, step_expected) in [(5, 0), (10, 0), (20, 0), (50, 1), (75, 1), (99, 2)] {
        let next = ask(&state(SHIFTING), &Command::Canary { share_percent }).unwrap();
        let Phase::Paused { before, .. } = next.phase else { panic!("not paused") };
        let Phase::Shifting { step, share_percent: held, .. } = *before else { panic!("not shifting") };
        assert_eq!((step, held), (step_expected, share_percent));
    }
    for share_percent in [0, 100, 130] {
        let refused = ask(&state(SHIFTING), &Command::Canary { share_percent }).unwrap_err();
        assert_eq!(refused, Refused::BadShare { share_percent });
    }
}

#[test]
fn a_rollback_of_a_finished_rollout_is_one_of_that_run() {
    let next = ask(&promoted(), &Command::Rollback { reason: "late".into(), accept_loss: false }).unwrap();
    assert_eq!(next.run.as_ref().map(|run| run.id), Some(4));
    assert!(matches!(next.phase, Phase::HandingOver { to: Colour::Blue, stage: Stage::ProvingWayBack, .. }));
    // Only while the environment from before still keeps that version.
    let mut replaced = promoted();
    replaced.versions.blue = Some("0.9.0".into());
    let refused = ask(&replaced, &Command::Rollback { reason: String::new(), accept_loss: false }).unwrap_err();
    assert_eq!(refused, Refused::NothingToGoBackTo { other: Colour::Blue });
}

#[test]
fn a_rollback_before_the_commit_takes_an_epoch_for_the_old_primary() {
    let mut sealing = state(handing_over(Colour::Green, Stage::Sealing));
    sealing.epoch = 2;
    let next = ask(&sealing, &Command::Rollback { reason: "enough".into(), accept_loss: false }).unwrap();
    assert_eq!((next.epoch, next.primary_epoch, next.primary), (3, 3, Colour::Blue));
    let resuming = Stage::Resuming { why: "enough".into(), roll_back: true };
    assert!(matches!(&next.phase, Phase::HandingOver { stage, epoch: 3, .. } if *stage == resuming));
    // Asked for again, it is still the same way back.
    let again = ask(&next, &Command::Rollback { reason: "really".into(), accept_loss: false }).unwrap();
    assert_eq!(again.epoch, 3);
}
