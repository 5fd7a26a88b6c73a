//! A rollout as a text of events, and the decisions as text.
//!
//! Events: `+TIME` (ms), `COLOUR ROLE EPOCH @LSN`, `COLOUR seeding N/TOTAL BYTES BYTES/S`, `COLOUR silent MS`, `COLOUR stopped`,
//! `reads N` (green's share in effect), `reads-answered N`, `errors|results|data pass|fail|none`, `way-back ok|TEXT`,
//! `digest COLOUR @LSN TEXT`, `> COMMAND`. Each line that begins with `?` or `>` prints one line.

use super::scene::{Scene, follower, primary, sealed};
use crate::{Command, RoleWanted, World, check};
use evidence::{Outcome, Verdict};
use wire::Colour;
use wire::admin::{AcknowledgeMode, Role, Seeding};

/// Runs `script` and returns what it printed.
pub(super) fn run(scene: &mut Scene, script: &str) -> String {
    let mut printed = String::new();
    for line in script.lines().map(str::trim).filter(|line| !line.is_empty()) {
        if let Some(text) = event(scene, line) {
            printed += &text;
            printed.push('\n');
        }
        let broken = check::violations(&scene.state, &World::of(&scene.state));
        assert!(broken.is_empty(), "after `{line}`: {broken:?}");
    }
    printed
}

fn event(scene: &mut Scene, line: &str) -> Option<String> {
    let words: Vec<&str> = line.split_whitespace().collect();
    let rest = words[1..].join(" ");
    match words[0] {
        "?" => {
            let before = scene.state.generation;
            let decision = scene.step();
            let changed = if decision.state.generation == before { ' ' } else { '*' };
            return Some(format!("{changed} {}: {}", world(&decision.world), decision.why));
        }
        ">" => {
            return Some(match scene.command(&wish(&words[1..])) {
                Ok(()) => format!("> {rest}: {}", scene.state.phase.name()),
                Err(refused) => format!("> {rest}: refused: {refused}"),
            });
        }
        "reads" => {
            let green = words[1].parse().unwrap();
            scene.seen.reads_in_effect = Some(wire::ByColour::new(100 - green, green));
        }
        "reads-answered" => scene.seen.judgement.candidate_reads = words[1].parse().unwrap(),
        signal @ ("errors" | "results" | "data") => {
            let verdict = verdict(signal, words[1]);
            match signal {
                "errors" => scene.seen.judgement.live = verdict,
                "results" => scene.seen.judgement.results = verdict,
                _ => scene.seen.judgement.data = verdict,
            }
        }
        "way-back" => {
            let proof = if rest == "ok" { Ok(()) } else { Err(rest) };
            scene.seen.way_back = Some((scene.state.primary, proof));
        }
        "digest" => {
            let colour: Colour = words[1].parse().unwrap();
            *scene.seen.digest_at.get_mut(colour) = Some((lsn(words[2]), words[3].into()));
        }
        time if time.starts_with('+') => scene.now_ms += time[1..].parse::<u64>().unwrap(),
        colour => node(scene, colour.parse().unwrap(), &words[1..]),
    }
    None
}

fn node(scene: &mut Scene, colour: Colour, words: &[&str]) {
    match words {
        ["stopped"] => *scene.seen.nodes.get_mut(colour) = crate::NodeObservation::Stopped,
        ["silent", ms] => scene.silent(colour, ms.parse().unwrap()),
        ["waiting"] => scene.up(colour, Role::Waiting, 0),
        ["seeding", progress, bytes, bytes_per_s] => {
            let (records, records_total) = progress.split_once('/').unwrap();
            scene.up(colour, follower(colour, 1), 0);
            let feed = scene.node(colour).feed.as_mut().unwrap();
            let (records, records_total) = (records.parse().unwrap(), records_total.parse().unwrap());
            let (bytes, bytes_per_s) = (bytes.parse().unwrap(), bytes_per_s.parse().unwrap());
            feed.seeding = Some(Seeding { records, records_total, bytes, bytes_per_s, resumed: 0 });
        }
        [role, epoch, at] => {
            let (epoch, lsn) = (epoch.parse().unwrap(), lsn(at));
            let role = match *role {
                "primary" => primary(epoch),
                "follower" => follower(colour, epoch),
                "sealed" => sealed(epoch, lsn),
                other => panic!("no role {other}"),
            };
            scene.up(colour, role, lsn);
        }
        other => panic!("no event {other:?}"),
    }
}

fn lsn(text: &str) -> u64 {
    text.trim_start_matches('@').parse().unwrap()
}

fn verdict(signal: &str, outcome: &str) -> Verdict {
    let outcome = match outcome {
        "pass" => Outcome::Pass,
        "fail" => Outcome::Fail,
        _ => Outcome::Inconclusive,
    };
    Verdict { outcome, signal: signal.into(), why: format!("{signal} {outcome:?}").to_lowercase(), e_value: None }
}

fn wish(words: &[&str]) -> Command {
    match words {
        ["deploy", version] => Command::Deploy { version: version.to_string() },
        ["promote"] => Command::Promote { full: false },
        ["promote", "--full"] => Command::Promote { full: true },
        ["pause"] => Command::Pause,
        ["resume"] => Command::Resume,
        ["rollback"] => Command::Rollback { reason: "a person said so".into(), accept_loss: false },
        ["canary", share] => Command::Canary { share_percent: share.parse().unwrap() },
        ["switch", to] => Command::Switch { to: to.parse().unwrap() },
        other => panic!("no command {other:?}"),
    }
}

/// `?`: for the other's word where it can be had; `!`: always.
fn waits(acknowledge: AcknowledgeMode) -> &'static str {
    match acknowledge {
        AcknowledgeMode::Alone => "",
        AcknowledgeMode::Preferred => "?",
        AcknowledgeMode::Required => "!",
    }
}

/// `blue 1.0.0 P1 100 r w | green - 0`: version, role and epoch, share of reads, writes.
fn world(world: &World) -> String {
    let side = |colour| {
        let environment = world.environments.get(colour);
        let version = environment.version.as_deref().unwrap_or("-");
        let role = match &environment.role {
            None => "-".to_string(),
            Some(RoleWanted::Primary { epoch, promote_at: None, acknowledge, .. }) => {
                format!("P{epoch}{}", waits(*acknowledge))
            }
            Some(RoleWanted::Primary { epoch, promote_at: Some(lsn), acknowledge, .. }) => {
                format!("P{epoch}@{lsn}{}", waits(*acknowledge))
            }
            Some(RoleWanted::Sealed { epoch }) => format!("S{epoch}"),
            Some(RoleWanted::Follower { epoch }) => format!("F{epoch}"),
        };
        let writes = if world.writes == colour { "w" } else { "" };
        format!("{colour} {version} {role} {}%{writes}", world.reads.get(colour))
    };
    format!("[{}, {}]", side(Colour::Blue), side(Colour::Green))
}

/// Compares line by line, so that a difference shows its place.
fn check(script: &str, expected: &str) {
    let printed = run(&mut Scene::new(), script);
    let expected: Vec<&str> = expected.lines().map(str::trim).filter(|line| !line.is_empty()).collect();
    let lines: Vec<&str> = printed.lines().map(str::trim).collect();
    assert_eq!(lines, expected, "\n{printed}");
}

const UP_TO_SHIFTING: &str = "
    blue primary 1 @100
    ?
    > deploy 1.1.0
    green waiting
    ?
    green follower 1 @100
    ?
    ?
    data pass
    results pass
    ?
    reads 50
";

const UP_TO_HANDOVER: &str = "
    +10000
    reads-answered 100
    errors pass
    ?
    +10000
    reads 100
    ?
";

#[test]
fn a_rollout_from_the_first_start_to_the_end_of_the_watch() {
    check(
        "?
         blue silent 100
         ?
         blue primary 1 @0
         ?
         ?
         > promote
         > deploy 1.0.0
         > deploy 1.1.0
         > deploy 1.2.0
         blue primary 1 @1000
         ?
         green waiting
         ?
         ?
         green seeding 120/1000 72000 60000
         ?
         +5000
         green follower 1 @900
         blue primary 1 @5000
         ?
         ?
         green follower 1 @4900
         ?
         data pass
         ?
         > promote
         results pass
         ?
         ?
         reads 50
         +4000
         reads-answered 63
         ?
         +6000
         reads-answered 100
         ?
         errors pass
         ?
         +10000
         ?
         reads 100
         ?
         > pause
         ?
         way-back no route to green
         ?
         way-back ok
         ?
         blue sealed 2 @5000
         ?
         ?
         green follower 2 @5000
         ?
         digest green @5000 d
         ?
         ?
         green primary 2 @5001
         ?
         ?
         blue follower 2 @5001
         ?
         ?
         +300000
         ?
         ?",
        "
          [blue 1.0.0 P1 100%w, green - - 0%]: starting blue with version 1.0.0 (0 ms): blue does not run
          [blue 1.0.0 P1 100%w, green - - 0%]: starting blue with version 1.0.0 (0 ms): blue has not answered for 100 ms (connection refused)
        * [blue 1.0.0 P1 100%w, green - - 0%]: blue is up with version 1.0.0 and admits writes
          [blue 1.0.0 P1 100%w, green - - 0%]: blue serves version 1.0.0; green does not run
        > promote: refused: no rollout is under way: `jadeshift deploy VERSION` starts one
        > deploy 1.0.0: refused: blue serves version 1.0.0 already: deploy another version, or give the changed one another label
        > deploy 1.1.0: preparing
        > deploy 1.2.0: refused: the rollout to version 1.1.0 is under way (preparing): `jadeshift rollback` ends it, `jadeshift promote --full` completes it
          [blue 1.0.0 P1 100%w, green 1.1.0 F1 0%]: green is to come up with version 1.1.0: green does not run (0 ms)
        * [blue 1.0.0 P1 100%w, green 1.1.0 F1 0%]: green answers with version 1.1.0; it receives the records
          [blue 1.0.0 P1 100%w, green 1.1.0 F1 0%]: green does not follow blue yet: it is empty and waiting (0 ms)
          [blue 1.0.0 P1 100%w, green 1.1.0 F1 0%]: green has received 120 of 1,000 records of blue, 60 kB/s, about 8 s left (0 ms)
        * [blue 1.0.0 P1 100%w, green 1.1.0 F1 0%]: green has a copy of the records and follows, 4100 records behind
          [blue 1.0.0 P1 100%w, green 1.1.0 F1 0%]: green is 4100 records behind blue; 1000 are allowed (0 ms)
        * [blue 1.0.0 P1 100%w, green 1.1.0 F1 0%]: green is 100 records behind, within the 1000 allowed; it is checked
          [blue 1.0.0 P1 100%w, green 1.1.0 F1 0%]: green is checked: nothing was replayed (0 ms)
        > promote: refused: green is still checking and gets no reads yet: wait, or `jadeshift promote --full` to skip the steps (never the checks)
        * [blue 1.0.0 P1 50%w, green 1.1.0 F1 50%]: green passed its checks: data pass; results pass; it gets 50 % of the reads
          [blue 1.0.0 P1 50%w, green 1.1.0 F1 50%]: the router sends 0 % of the reads to green, not 50 % yet
          [blue 1.0.0 P1 50%w, green 1.1.0 F1 50%]: green answered 63 of the 100 reads that step 1 (50 %) needs; 4 s of 10 s passed
          [blue 1.0.0 P1 50%w, green 1.1.0 F1 50%]: step 1 (50 %) is not decided yet: no live reads are compared
        * [blue 1.0.0 P1 0%w, green 1.1.0 F1 100%]: green gets 100 % of the reads; step 1 (50 %) is done: errors pass
          [blue 1.0.0 P1 0%w, green 1.1.0 F1 100%]: the router sends 50 % of the reads to green, not 100 % yet
        * [blue 1.0.0 P1 0%w, green 1.1.0 F1 100%]: handing over to green: step 2 (100 %) is done: errors pass
        > pause: refused: a handover to green is under way and is over within seconds: try again then
          [blue 1.0.0 P1 0%w, green 1.1.0 F1 100%]: before the handover to green: blue is asked to prove that it could follow green
          [blue 1.0.0 P1 0%w, green 1.1.0 F1 100%]: before the handover to green: blue could not follow green: no route to green
        * [blue 1.0.0 S2 0%w, green 1.1.0 F1 100%]: blue could follow green, so there is a way back; blue is sealed for epoch 2
        * [blue 1.0.0 S2 0%w, green 1.1.0 F1 100%]: blue is sealed at LSN 5000; green catches up
          [blue 1.0.0 S2 0%w, green 1.1.0 F1 100%]: green lacks 100 records up to LSN 5000; writes wait
          [blue 1.0.0 S2 0%w, green 1.1.0 F1 100%]: green is at LSN 5000; its digest there is compared
        * [blue 1.0.0 F2 0%w, green 1.1.0 P2@5000! 100%]: green has all of blue's history up to LSN 5000; it is primary in epoch 2
          [blue 1.0.0 F2 0%w, green 1.1.0 P2@5000! 100%]: green is to be promoted at LSN 5000; it is a follower in epoch 2
        * [blue 1.0.0 F2 0%w, green 1.1.0 P2@5000! 100%]: green admits writes; blue turns around to follow it
          [blue 1.0.0 F2 0%w, green 1.1.0 P2@5000! 100%]: blue is to follow green; it is sealed in epoch 2
        * [blue 1.0.0 F2 0%, green 1.1.0 P2@5000! 100%w]: blue follows green and forwards the writes that waited; all traffic moves to green
        * [blue 1.0.0 F2 0%, green 1.1.0 P2@5000! 100%w]: all traffic is with green; it is watched for 300 s, and blue stays warm
        * [blue 1.0.0 F2 0%, green 1.1.0 P2@5000! 100%w]: version 1.1.0 held for 300 s; blue stays warm
          * [blue 1.0.0 F2 0%, green 1.1.0 P2@5000 100%w]: green acknowledges writes alone again; green serves version 1.1.0; blue keeps version 1.0.0 warm and has every record
        ",
    );
}

#[test]
fn a_candidate_that_is_held_before_the_steps_gets_no_reader_until_a_person_says_so() {
    let held = |script: &str| {
        let mut scene = Scene::new();
        scene.spec.rollout.hold_before_steps = true;
        run(&mut scene, &format!("{UP_TO_SHIFTING}\n{script}"))
    };
    let printed = held("reads 0\n+99999999\n?\n> promote\n?\nreads 50\n?");
    let after_checks: Vec<&str> = printed.lines().skip(5).collect();
    assert_eq!(
        after_checks,
        [
            "* [blue 1.0.0 P1 100%w, green 1.1.0 F1 0%]: green passed its checks: data pass; results pass; it waits for \
             `jadeshift promote`",
            "  [blue 1.0.0 P1 100%w, green 1.1.0 F1 0%]: green is ready, and waits for `jadeshift promote`",
            "> promote: shifting",
            "* [blue 1.0.0 P1 50%w, green 1.1.0 F1 50%]: green gets 50 % of the reads; a person said promote",
            "  [blue 1.0.0 P1 50%w, green 1.1.0 F1 50%]: green answered 0 of the 100 reads that step 1 (50 %) needs; 0 ms of 10 s \
             passed",
        ]
    );
    assert!(held("reads 0\n> rollback\n?").contains("> rollback: rolling back"), "it goes back from there");
    let behind = held("reads 0\nblue primary 1 @5000\n+99999999\n?");
    assert!(
        behind.trim_end().ends_with("4900 records behind blue; 1000 are allowed"),
        "it waits without a limit: {behind}"
    );
}

#[test]
fn a_failing_candidate_loses_its_reads_and_is_let_go() {
    check(
        &format!(
            "{UP_TO_SHIFTING}
             errors fail
             ?
             green silent 60000
             ?
             reads 0
             ?
             ?
             > rollback"
        ),
        "
        * [blue 1.0.0 P1 100%w, green - - 0%]: blue is up with version 1.0.0 and admits writes
        > deploy 1.1.0: preparing
        * [blue 1.0.0 P1 100%w, green 1.1.0 F1 0%]: green answers with version 1.1.0; it receives the records
        * [blue 1.0.0 P1 100%w, green 1.1.0 F1 0%]: green has a copy of the records and follows, 0 records behind
        * [blue 1.0.0 P1 100%w, green 1.1.0 F1 0%]: green is 0 records behind, within the 1000 allowed; it is checked
        * [blue 1.0.0 P1 50%w, green 1.1.0 F1 50%]: green passed its checks: data pass; results pass; it gets 50 % of the reads
        * [blue 1.0.0 P1 100%w, green 1.1.0 - 0%]: rolling back: errors fail
          [blue 1.0.0 P1 100%w, green 1.1.0 - 0%]: rolling back to blue (0 ms): the router sends 50 % of the reads to blue, not 100 % yet; reason: errors fail
        * [blue 1.0.0 P1 100%w, green - - 0%]: blue has all reads again and green is let go: errors fail
          [blue 1.0.0 P1 100%w, green - - 0%]: blue serves version 1.0.0; green does not run
        > rollback: refused: there is nothing to go back to: green does not keep the version from before; `jadeshift deploy VERSION`
        ",
    );
}

#[test]
fn a_handover_that_goes_back_resumes_in_a_higher_epoch_and_pauses() {
    let printed = run(
        &mut Scene::new(),
        &format!(
            "{UP_TO_SHIFTING}{UP_TO_HANDOVER}
             way-back ok
             ?
             blue sealed 2 @100
             green follower 1 @90
             ?
             +1000
             ?
             +1
             ?
             ?
             blue primary 3 @100
             ?
             ?
             > resume
             ?"
        ),
    );
    let tail: Vec<&str> = printed.lines().map(str::trim).skip(9).collect();
    assert_eq!(
        tail,
        [
            "* [blue 1.0.0 S2 0%w, green 1.1.0 F1 100%]: blue is sealed at LSN 100; green catches up",
            "[blue 1.0.0 S2 0%w, green 1.1.0 F1 100%]: green lacks 10 records up to LSN 100; writes wait",
            "* [blue 1.0.0 P3 0%w, green 1.1.0 - 100%]: the handover to green goes back before its commit: writes waited 1 s, \
             longer than the 1 s allowed",
            "[blue 1.0.0 P3 0%w, green 1.1.0 - 100%]: blue is to admit writes again in epoch 3; it is sealed in epoch 2: \
             writes waited 1 s, longer than the 1 s allowed",
            "* [blue 1.0.0 P3 0%w, green 1.1.0 F3 100%]: paused: the handover went back: writes waited 1 s, longer than the \
             1 s allowed",
            "[blue 1.0.0 P3 0%w, green 1.1.0 F3 100%]: paused with 100 % of the reads at green (the handover went back: \
             writes waited 1 s, longer than the 1 s allowed); `jadeshift resume` goes on, `jadeshift rollback` goes back",
            "> resume: shifting",
            "[blue 1.0.0 P3 0%w, green 1.1.0 F3 100%]: step 2 (100 %) holds so far; 0 ms of 10 s passed",
        ],
        "\n{printed}"
    );
}

#[test]
fn a_rollback_after_the_switch_hands_the_right_to_write_back() {
    let printed = run(
        &mut Scene::new(),
        &format!(
            "{UP_TO_SHIFTING}{UP_TO_HANDOVER}
             way-back ok
             ?
             blue sealed 2 @100
             ?
             digest green @100 d
             ?
             green primary 2 @100
             ?
             blue follower 2 @100
             ?
             ?
             errors fail
             ?
             ?
             ?
             green sealed 3 @120
             blue follower 2 @120
             ?
             digest blue @120 d
             ?
             blue primary 3 @120
             ?
             green follower 3 @120
             ?
             ?
             reads 0
             ?
             ?"
        ),
    );
    let tail: Vec<&str> = printed.lines().map(str::trim).skip(14).collect();
    assert_eq!(
        tail,
        [
            "* [blue 1.0.0 F2 0%, green 1.1.0 P2@100! 100%w]: going back to blue: errors fail",
            "* [blue 1.0.0 F2 100%, green 1.1.0 P2@100! 0%w]: reads go back to blue: errors fail",
            "* [blue 1.0.0 F2 100%, green 1.1.0 S3 0%w]: blue is ready to take over again; green is sealed for epoch 3",
            "* [blue 1.0.0 F2 100%, green 1.1.0 S3 0%w]: green is sealed at LSN 120; blue catches up",
            "* [blue 1.0.0 P3@120 100%, green 1.1.0 F3 0%w]: blue has all of green's history up to LSN 120; it is primary in \
             epoch 3",
            "* [blue 1.0.0 P3@120 100%, green 1.1.0 F3 0%w]: blue admits writes; green turns around to follow it",
            "* [blue 1.0.0 P3@120 100%w, green 1.1.0 F3 0%]: green follows blue and forwards the writes that waited; all \
             traffic moves to blue",
            "[blue 1.0.0 P3@120 100%w, green 1.1.0 F3 0%]: all traffic moves to blue: the router sends 0 % of the reads to \
             blue, not 100 % yet",
            "* [blue 1.0.0 P3@120 100%w, green - - 0%]: blue serves again, nothing was lost: errors fail",
            "[blue 1.0.0 P3@120 100%w, green - - 0%]: blue serves version 1.0.0; green does not run",
        ],
        "\n{printed}"
    );
}
