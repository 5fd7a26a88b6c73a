use super::health::{Endpoint, EnvironmentHealth, Health};
use super::*;
use conductor::{
    Event, EvidenceInfo, FollowerInfo, Info, Moment, NodeInfo, NodeStatus, Report, Sides, SignalInfo, TrafficCounts,
};
use evidence::{Counts, Likeness, RunningMean, Verdict};
use rollout::{Outcome, Phase, Record, Run, Stage};
use wire::admin::{Peer, RecordVersion, Rehash, Role, SetAside};
use wire::control::{Difference, Differences, Verified, VerifiedEnvironment};
use wire::snapshot::Place;
use wire::{ByColour, Colour, Latency, Member};

const NOW_MS: u64 = 1_700_000_000_000;

fn node(role: Role, version: &str) -> NodeInfo {
    NodeInfo {
        status: NodeStatus::Up,
        why: None,
        version_running: Some(version.into()),
        http: Some("127.0.0.1:40001".into()),
        admin: Some("127.0.0.1:40002".into()),
        role: Some(role),
        epoch_seen: 3,
        lsn: 12_345,
        lag_records: None,
        lag_ms: None,
        ready: true,
        failed: None,
        held_writes: 0,
        acknowledge: None,
        databases: 1,
        vectors: 10_000,
        unindexed: 0,
        resident_bytes: 81_260_000,
        set_aside: Vec::new(),
    }
}

fn run(id: u64, to: &str, candidate: Colour) -> Run {
    Run {
        id,
        from_version: "1.0.0".into(),
        to_version: to.into(),
        candidate,
        started_ms: NOW_MS - 90_000,
        full: false,
        accept_loss: false,
        committed_ms: None,
    }
}

fn shifting() -> Info {
    let peer = Peer { admin: "127.0.0.1:40002".into(), http: "127.0.0.1:40001".into() };
    let follower = NodeInfo {
        lsn: 12_300,
        lag_records: Some(45),
        lag_ms: Some(12),
        ..node(Role::Follower { epoch: 3, primary: peer }, "1.2.0")
    };
    Info {
        name: "shop".into(),
        phase: Phase::Shifting { step: 1, share_percent: 50, since_ms: NOW_MS - 12_400, promoted: false },
        why: "green answered 63 of the 100 reads that step 2 (50 %) needs; 12 s of 30 s passed".into(),
        generation: 40,
        epoch: 3,
        primary: Colour::Blue,
        primary_epoch: 3,
        confirmation: rollout::Confirmation::Off,
        active: Colour::Blue,
        versions: ByColour::new(Some("1.0.0".into()), Some("1.2.0".into())),
        share_percent: ByColour::new(50, 50),
        share_in_effect: Some(ByColour::new(50, 50)),
        nodes: ByColour::new(node(Role::Primary { epoch: 3 }, "1.0.0"), follower),
        heads: ByColour::default(),
        followers: ByColour::default(),
        confirmer: None,
        traffic: Some(ByColour::new(
            TrafficCounts { reads: 31_204, read_errors: 0 },
            TrafficCounts { reads: 963, read_errors: 2 },
        )),
        verdicts: vec![
            Verdict::pass("errors", "2 of 963 reads failed"),
            Verdict::inconclusive("results", "20 of 50 replays"),
        ],
        evidence: Some(EvidenceInfo {
            e_value: 3.2,
            e_needed: 1_000.0,
            signals: Vec::new(),
            results: Likeness::default(),
        }),
        run: Some(run(4, "1.2.0", Colour::Green)),
        history: vec![Record {
            run: run(3, "1.1.0", Colour::Green),
            outcome: Outcome::RolledBack,
            reason: "9 of 400 replayed searches were bad".into(),
            ended_ms: NOW_MS - 60_000,
        }],
        handovers: Vec::new(),
        events: Vec::new(),
        last_error: None,
        stopped: None,
    }
}

#[track_caller]
fn check(actual: String, expected: &str) {
    assert_eq!(actual.trim_end(), expected.trim(), "\n--- actual ---\n{actual}\n---");
}

#[test]
fn info_of_a_rollout_under_way() {
    check(
        info(&shifting(), NOW_MS),
        "
shop: shifting 50 % for 12 s
green answered 63 of the 100 reads that step 2 (50 %) needs; 12 s of 30 s passed

               version  role               reads  answered  errors     lsn      behind  vectors   memory
blue (active)  1.0.0    primary, epoch 3    50 %    31,204       0  12,345           -   10,000  81.3 MB
green          1.2.0    follower, epoch 3   50 %       963       2  12,300  45 (12 ms)   10,000  81.3 MB

rollout 4   1.0.0 to 1.2.0 on green
  errors    pass: 2 of 963 reads failed
  results   inconclusive: 20 of 50 replays
  evidence  E against it is 3.20; at 1,000 it goes back

ended (UTC)  version  on     outcome      took  reason
22:12:20     1.1.0    green  rolled back  30 s  9 of 400 replayed searches were bad
",
    );
}

#[test]
fn info_of_environments_of_several_nodes() {
    let peer = Peer { admin: "127.0.0.1:40002".into(), http: "127.0.0.1:40001".into() };
    let role = Role::Follower { epoch: 3, primary: peer };
    let behind = NodeInfo { lsn: 12_340, lag_records: Some(5), lag_ms: Some(2), ..node(role, "1.0.0") };
    let silent = NodeInfo { status: NodeStatus::Silent, why: Some("connection refused".into()), ..behind.clone() };
    let follower = |number, node| FollowerInfo { member: Member::new(Colour::Blue, number), node };
    let stable = Info {
        phase: Phase::Stable,
        why: "blue serves version 1.0.0; green does not run".into(),
        confirmation: rollout::Confirmation::Held,
        heads: ByColour::new(1, 0),
        followers: ByColour::new(vec![follower(0, behind), follower(2, silent)], Vec::new()),
        confirmer: Some(Colour::Blue.into()),
        run: None,
        verdicts: Vec::new(),
        history: Vec::new(),
        ..shifting()
    };
    let text = info(&stable, NOW_MS);
    for line in [
        "blue-1 (active)  1.0.0    primary, epoch 3    50 %    31,204       0  12,345           -   10,000  81.3 MB",
        "blue             1.0.0    follower, epoch 3      -         -       -  12,340    5 (2 ms)   10,000  81.3 MB",
        "blue-2           1.0.0    silent                 -         -       -       -    5 (2 ms)        -        -",
        "every acknowledged write is on both disks, blue-1 and blue",
        "blue-2: connection refused",
    ] {
        assert!(text.contains(line), "`{line}` is not in\n{text}");
    }
}

#[test]
fn info_of_a_stable_deployment_with_one_environment() {
    let stopped = NodeInfo {
        status: NodeStatus::Stopped,
        why: Some("it shall not run".into()),
        version_running: None,
        role: None,
        ..node(Role::Waiting, "")
    };
    let stable = Info {
        phase: Phase::Stable,
        why: "blue serves version 1.0.0; green does not run".into(),
        share_percent: ByColour::new(100, 0),
        share_in_effect: None,
        nodes: ByColour::new(node(Role::Primary { epoch: 1 }, "1.0.0"), stopped),
        traffic: None,
        verdicts: Vec::new(),
        run: None,
        history: Vec::new(),
        ..shifting()
    };
    check(
        info(&stable, NOW_MS),
        "
shop: stable
blue serves version 1.0.0; green does not run

               version  role              reads  answered  errors     lsn  behind  vectors   memory
blue (active)  1.0.0    primary, epoch 1  100 %         -       -  12,345       -   10,000  81.3 MB
green          -        stopped             0 %         -       -       -       -        -        -
",
    );
}

#[test]
fn info_says_what_is_wrong() {
    let mut troubled = shifting();
    troubled.phase = Phase::Paused {
        since_ms: NOW_MS - 5_000,
        before: Box::new(troubled.phase.clone()),
        why: "a person said pause".into(),
    };
    troubled.nodes.green.status = NodeStatus::Silent;
    troubled.nodes.green.why = Some("connection refused".into());
    troubled.nodes.blue.failed = Some("no space left on device".into());
    troubled.last_error = Some("could not store the state: no space left on device".into());
    let text = info(&troubled, NOW_MS);
    assert!(text.starts_with("shop: paused (shifting 50 %) for 5.0 s\n"), "{text}");
    for line in [
        "green: connection refused",
        "blue: no space left on device",
        "being tried again: could not store the state: no space left on device",
    ] {
        assert!(text.lines().any(|found| found == line), "{line} is missing in\n{text}");
    }
}

#[test]
fn a_handover_is_named_with_its_stage() {
    let phase = Phase::HandingOver {
        to: Colour::Green,
        epoch: 2,
        stage: Stage::TurningAround { lsn: 9 },
        since_ms: 0,
        reason: String::new(),
        share_percent: 100,
        fenced: false,
    };
    assert_eq!(phase_name(&phase), "handing over to green, turning around");
}

#[test]
fn what_was_set_aside_is_named_with_its_file() {
    let aside = |first_lsn_in_log| SetAside {
        path: "/data/blue/set-aside/epoch-1-lsn-2000/diverged.jsonl".into(),
        records: 1_200,
        first_lsn: 801,
        last_lsn: 2_000,
        first_lsn_in_log,
    };
    let whole = "blue: 1,200 records that it alone had, lsn 801 to 2,000, are set aside in \
                 /data/blue/set-aside/epoch-1-lsn-2000/diverged.jsonl; remove their folder once they are dealt with\n";
    assert_eq!(super::info::set_aside(Colour::Blue, &aside(801)), whole);
    let part = super::info::set_aside(Colour::Blue, &aside(900));
    assert!(part.contains("diverged.jsonl (before lsn 900 only what was not overwritten); "), "{part}");
}

#[test]
fn records_that_differ_are_listed() {
    let environment = |digest: &str| VerifiedEnvironment { digest: digest.repeat(8), records: 10, deep: None };
    let version = |lsn, hash: &str| Some(RecordVersion { lsn, hash: hash.repeat(4) });
    let vector = |id: &str| Place::Vector { database: "db_1".into(), id: id.into() };
    let records = vec![
        Difference { record: vector("a"), versions: ByColour::new(version(12_000, "0123456789"), None) },
        Difference { record: vector("b"), versions: ByColour::new(version(5, "01234567"), version(5, "76543210")) },
        Difference { record: Place::User { id: "u1".into() }, versions: ByColour::new(None, version(7, "abcdef01")) },
    ];
    let found = Differences { buckets_differing: 9_000, buckets_searched: 4_096, count: 1_003, records, error: None };
    let mut result = Verified {
        equal: false,
        lsn: 12_346,
        environments: ByColour::new(Some(environment("01234567")), Some(environment("76543210"))),
        primary: Colour::Blue,
        why: "the copies differ".into(),
        differences: Some(found),
    };
    check(
        verified(&result),
        "
NOT equal at lsn 12,346: the copies differ

       records  digest
blue        10  0123456701234567
green       10  7654321076543210

differs  database  id  blue                   green
vector   db_1      a   lsn 12,000 (01234567)  missing
vector   db_1      b   lsn 5 (01234567)       lsn 5 (76543210)
user     -         u1  missing                lsn 7 (abcdef01)
and 1,000 more
4,096 of 9,000 buckets with differences were searched
",
    );
    result.differences = Some(Differences { error: Some("the line broke".into()), ..Differences::default() });
    assert!(verified(&result).ends_with("7654321076543210\n"), "it stands in the sentence above");
}

#[test]
fn digests_side_by_side() {
    let environment = |digest: &str| VerifiedEnvironment { digest: digest.repeat(8), records: 10_000, deep: None };
    let mut result = Verified {
        equal: true,
        lsn: 12_346,
        environments: ByColour::new(Some(environment("01234567")), Some(environment("01234567"))),
        primary: Colour::Blue,
        why: "both copies have the same digest".into(),
        differences: None,
    };
    check(
        verified(&result),
        "
equal at lsn 12,346: both copies have the same digest

       records  digest
blue    10,000  0123456701234567
green   10,000  0123456701234567
",
    );
    result.equal = false;
    result.why = "green has other bytes on disk".into();
    result.environments.green = None;
    if let Some(blue) = &mut result.environments.blue {
        blue.deep = Some(Rehash { lsn: 12_347, from_memory: "aa".into(), from_storage: "bb".into(), records: 10_000 });
    }
    check(
        verified(&result),
        "
NOT equal at lsn 12,346: green has other bytes on disk

       records  digest            in memory  in storage  at lsn
blue    10,000  0123456701234567  aa         bb          12,347
green        -  -
",
    );
    if let Some(deep) = result.environments.blue.as_mut().and_then(|blue| blue.deep.as_mut()) {
        deep.from_storage = "aa".into();
    }
    assert!(verified(&result).starts_with("not compared at lsn 12,346: "));
}

#[test]
fn health_of_everything() {
    let endpoint = |address: Option<&str>, ok, answer: &str, latency_ms| Endpoint {
        address: address.map(Into::into),
        ok,
        answer: answer.into(),
        latency_ms,
    };
    let found = Health {
        healthy: true,
        active: Colour::Green,
        environments: ByColour::new(
            EnvironmentHealth {
                wanted: false,
                version: None,
                rest: endpoint(None, false, "-", None),
                role: "stopped".into(),
                ready: false,
                why: None,
            },
            EnvironmentHealth {
                wanted: true,
                version: Some("1.1.0".into()),
                rest: endpoint(Some("127.0.0.1:40001"), true, "200", Some(0.84)),
                role: "primary, epoch 2".into(),
                ready: true,
                why: None,
            },
        ),
        gateway: endpoint(Some("127.0.0.1:8080"), true, "200", Some(1.2)),
    };
    check(
        health::health(&found),
        "
healthy: green is active

                version  role              ready  /health        address
blue            -        stopped           no     -              -
green (active)  1.1.0    primary, epoch 2  yes    200 in 0.8 ms  127.0.0.1:40001
gateway         -        -                 -      200 in 1.2 ms  127.0.0.1:8080
",
    );
}

#[test]
fn digests_are_shortened_and_nothing_else() {
    let digest = "0123456789abcdef".repeat(4);
    assert_eq!(short_digests(&format!("both have {digest} at 5")), "both have 0123456789ab… at 5");
    assert_eq!(short_digests("a b"), "a b");
}

#[test]
fn times_are_short() {
    assert_eq!(
        [0, 999, 1_050, 9_999, 10_000, 119_999, 120_000, 7_200_000].map(span),
        ["0 ms", "999 ms", "1.0 s", "9.9 s", "10 s", "119 s", "2 min", "2 h"]
    );
    assert_eq!(time_of_day(NOW_MS), "22:13:20");
    assert_eq!(shape("63 of 1,000 (350 ms)"), shape("7 of 100 (1.5 s)"));
    assert_ne!(shape("step 1 holds"), shape("step 1 is done"));
}

fn rolled_back() -> Report {
    let moment = |second: u64, phase: &str, share_percent, e_value, candidate, active| Moment {
        at_ms: NOW_MS - 90_000 + second * 1_000,
        phase: phase.into(),
        share_percent,
        e_value,
        reads: Sides { candidate, active },
        read_errors: Sides { candidate: candidate / 20, active: 0 },
    };
    let mut latency = Sides::<Latency>::default();
    (1..=200).for_each(|number| latency.candidate.record(number * 20));
    (1..=2_000).for_each(|number| latency.active.record(number));
    Report {
        run: run(3, "1.1.0", Colour::Green),
        record: Some(Record {
            run: run(3, "1.1.0", Colour::Green),
            outcome: Outcome::RolledBack,
            reason: "errors: 10 of 200".into(),
            ended_ms: NOW_MS - 60_000,
        }),
        events: vec![Event { number: 1, at_ms: NOW_MS - 90_000, text: "a person asked: deploy 1.1.0".into() }],
        moments: vec![
            moment(1, "seeding", 0, None, 0, 1_000),
            moment(5, "shifting 10 %", 10, Some(1.0), 0, 5_000),
            moment(6, "shifting 10 %", 10, Some(40.0), 100, 5_900),
            moment(7, "rolling back", 0, Some(4_210.0), 200, 6_800),
        ],
        evidence: Some(EvidenceInfo {
            e_value: 4_210.0,
            e_needed: 1_000.0,
            signals: vec![SignalInfo {
                name: "errors".into(),
                candidate: Counts { requests: 200, events: 10 },
                active: Counts { requests: 1_800, events: 0 },
                e_against: 8_000.0,
                e_for: 0.1,
                active_is_worse: false,
            }],
            results: Likeness {
                overlap: RunningMean { count: 2_000, sum: 1_970.0 },
                rank_correlation: RunningMean { count: 1_900, sum: 1_862.0 },
                score_drift: RunningMean { count: 2_000, sum: 2.6 },
                recall_lost: RunningMean { count: 40, sum: 0.1 },
            },
        }),
        latency: Some(latency),
    }
}

#[test]
fn report_of_a_rollout() {
    check(
        report(&rolled_back()),
        "
rollout 3, 1.0.0 to 1.1.0 on green, began at 22:11:50 UTC
rolled back after 30 s: errors: 10 of 200

phase           took  reads (active)  errors  reads (candidate)  errors  E at its end
seeding        4.0 s           4,000       0                  0       0          1.00
shifting 10 %  2.0 s           1,800       0                200      10         4,210
rolling back    0 ms               0       0                  0       0         4,210

E against the candidate: 4,210; at 1,000 it goes back
signal           candidate               active  E against  E for
errors  10 of 200 (5.00 %)  0 of 1,800 (0.00 %)      8,000   0.10
results: 98.50 % the same in 2,000 searches, rank correlation 0.980, score drift 0.13 %, recall lost 0.25 % in 40

latency of reads  count      p50      p90      p99    p99.9
candidate           200  2.01 ms  3.61 ms  4.05 ms  4.09 ms
active            2,000  1.00 ms  1.80 ms  2.02 ms  2.04 ms

22:11:50  a person asked: deploy 1.1.0
",
    );
}

#[test]
fn the_page_of_a_report_has_its_plots_and_needs_nothing_else() {
    let mut report = rolled_back();
    report.events[0].text = "<script>alert(1)</script>".into();
    let page = page::page(&report);
    assert_eq!(page.matches("<svg").count(), 4, "shares, E, errors, latencies");
    assert_eq!(page.matches("<polygon").count(), 2, "a band for each side");
    for text in ["rolled back after 30 s: errors: 10 of 200", "it goes back", "p99.9", "&lt;script&gt;"] {
        assert!(page.contains(text), "{text}");
    }
    assert!(!page.contains("<script") && !page.contains("http"), "nothing is run or fetched");
    report.moments.clear();
    (report.evidence, report.latency, report.record) = (None, None, None);
    assert!(page::page(&report).contains("under way"), "one that has just begun");
}
