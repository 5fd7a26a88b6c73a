use super::*;
use evidence::Outcome;

fn shell(script: &str, rest: &str) -> Source {
    let mut source = source(&format!("command: {{program: sh}}{rest}"));
    source.command.as_mut().unwrap().args = vec!["-c".into(), script.into()];
    source
}

async fn verdict(script: &str) -> (Outcome, String) {
    match asked(&shell(script, "")).await.unwrap().reading {
        Reading::Verdict(outcome, reason) => (outcome, reason),
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn a_program_answers_with_its_exit_code_and_says_why_in_its_last_line() {
    assert_eq!(verdict("echo looked; echo fine").await, (Outcome::Pass, "fine".into()));
    assert_eq!(verdict("echo out; echo 'shelf is empty' >&2; exit 1").await, (Outcome::Fail, "shelf is empty".into()));
    assert_eq!(refused(&shell("echo no database >&2; exit 2", "")).await, "it ended with code 2: no database");
    assert!(refused(&shell("kill -9 $$", "")).await.starts_with("it ended by itself (signal: 9"));
}

#[tokio::test]
async fn or_with_json_or_a_number_where_one_is_asked_for() {
    let said = verdict(r#"echo '{"outcome": "inconclusive", "reason": "too early"}'"#).await;
    assert_eq!(said, (Outcome::Inconclusive, "too early".into()));
    let value = shell("echo 0.97", ", min: 0.9");
    assert_eq!(asked(&value).await.unwrap().reading, Reading::Value(0.97));
    let why = refused(&shell("echo good", ", min: 0.9")).await;
    assert!(why.starts_with(r#"answered `good`, which is not the JSON that is asked for ({"value": 0.97})"#), "{why}");
    let why = refused(&shell(r#"echo '{"outcome": "pass"}'"#, ", ratioMax: 2")).await;
    assert!(why.contains(r#"with this rule it has to be like {"candidate": {"requests": 900"#), "{why}");
    let counted = shell(r#"echo '{"candidate": {"requests": 9, "events": 1}, "at_ms": 5}'"#, ", rateMax: 0.1");
    let answer = asked(&counted).await.unwrap();
    assert_eq!((answer.reading, answer.at_ms), (Reading::Counts(counts((9, 1), (0, 0))), Some(5)));
}

#[tokio::test]
async fn it_is_told_what_it_is_about() {
    let told = "echo $JADESHIFT_SIGNAL $JADESHIFT_CANDIDATE $JADESHIFT_CANDIDATE_VERSION $JADESHIFT_ACTIVE_HTTP \
                $JADESHIFT_SHARE_PERCENT $JADESHIFT_PHASE";
    assert_eq!(verdict(told).await.1, "mine green 1.1.0 blue:8080 10 shifting");
    let stdin = verdict("cat | tr -d '{\"'").await.1;
    assert!(
        stdin.starts_with("deployment:shop,run:7,phase:shifting,share_percent:10,candidate:colour:green"),
        "{stdin}"
    );
}

#[tokio::test]
async fn it_and_what_it_started_end_when_the_time_is_up() {
    let file = std::env::temp_dir().join(format!("source-command-{}", std::process::id()));
    let script = format!("(sleep 600) & echo $! > {}; wait", file.display());
    assert_eq!(refused(&shell(&script, ", timeoutMs: 300")).await, "no answer within 300 ms");
    let child: i32 = std::fs::read_to_string(&file).unwrap().trim().parse().unwrap();
    std::fs::remove_file(&file).unwrap();
    // Ended, though whoever inherits it may not have collected it yet.
    let gone = || match std::fs::read_to_string(format!("/proc/{child}/stat")) {
        Ok(stat) => stat.rsplit(')').next().is_some_and(|rest| rest.trim_start().starts_with('Z')),
        Err(_) => true,
    };
    let waiting = async {
        while !gone() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(10), waiting).await.expect("the program's own child is still there");
}

#[tokio::test]
async fn a_program_that_is_not_there_or_talks_without_end_says_nothing() {
    let missing = refused(&source("command: {program: /no/such/program}")).await;
    assert!(missing.starts_with("`/no/such/program` cannot be started: No such file"), "{missing}");
    let endless = refused(&shell("yes", ", timeoutMs: 5000")).await;
    assert_eq!(endless, "it wrote more than 65536 bytes");
}
