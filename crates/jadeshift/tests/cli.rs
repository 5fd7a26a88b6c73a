//! The command line from the outside, as far as it needs no node.

use std::path::Path;
use std::process::{Command, Output};

fn jadeshift(dir: &Path, words: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_jadeshift"))
        .env("JADESHIFT_DIR", dir.join("deployment"))
        .env_remove("JADESHIFT_LOG")
        .current_dir(dir)
        .args(words)
        .output()
        .unwrap()
}

fn stdout(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned()
}

fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

#[track_caller]
fn fails(output: &Output, code: i32, words: &[&str]) {
    let message = stderr(output);
    assert_eq!(output.status.code(), Some(code), "{message}");
    assert_eq!(stdout(output), "", "an error is no data");
    assert!(message.starts_with("jadeshift: ") && message.lines().count() == 1, "{message}");
    for word in words {
        assert!(message.contains(word), "`{word}` is missing in: {message}");
    }
}

#[test]
fn every_command_says_that_nothing_runs_and_what_to_do() {
    let dir = tempfile::tempdir().unwrap();
    for words in [
        &["info"][..],
        &["status", "--watch"],
        &["deploy", "1.1.0", "--wait"],
        &["promote", "--full"],
        &["pause"],
        &["resume"],
        &["rollback", "--reason", "no reason"],
        &["switch", "green"],
        &["canary", "half"],
        &["health"],
        &["monitor"],
        &["verify", "--deep"],
        &["report", "7"],
    ] {
        let output = jadeshift(dir.path(), words);
        fails(&output, 4, &["no deployment runs in", "deployment", "jadeshift --dir", "up"]);
    }
    fails(&jadeshift(dir.path(), &["down"]), 4, &["the folder holds no deployment"]);
    assert!(!dir.path().join("deployment").exists(), "asking must not create a folder");
}

#[test]
fn an_up_that_died_is_said_to_be_gone() {
    let dir = tempfile::tempdir().unwrap();
    let folder = dir.path().join("deployment");
    std::fs::create_dir(&folder).unwrap();
    std::fs::write(folder.join("folder.json"), r#"{"format": 1}"#).unwrap();
    // A port that is never given out: nobody answers there.
    let control = r#"{"address": "127.0.0.1:1", "token": "t", "pid": 4194304}"#;
    std::fs::write(folder.join("control.json"), control).unwrap();
    fails(&jadeshift(dir.path(), &["info"]), 4, &["does not answer", "4194304", "up` continues"]);
}

#[test]
fn a_folder_of_a_newer_jadeshift_is_left_alone() {
    let dir = tempfile::tempdir().unwrap();
    let folder = dir.path().join("deployment");
    std::fs::create_dir(&folder).unwrap();
    std::fs::write(folder.join("folder.json"), r#"{"format": 99}"#).unwrap();
    fails(&jadeshift(dir.path(), &["info"]), 1, &["newer jadeshift", "99"]);
}

#[test]
fn a_bad_document_is_named_with_its_field_and_rule() {
    let dir = tempfile::tempdir().unwrap();
    let head = "apiVersion: jadevectordb.io/v1alpha1\nkind: BlueGreen\nmetadata: {name: shop}\n";
    let cases = [
        ("spec: {rollout: {steps: [{sharePercent: 130}]}}\n", &["sharePercent", "130", "from 1 to 100"][..]),
        ("spec: {shade: blue}\n", &["spec", "shade"]),
        ("spec: {versions: {\"2\": {fault: {errors: 0.1}}}}\n", &["fault", "mode: development"]),
        ("spec: [\n", &["shop.yaml"]),
    ];
    for (spec, words) in cases {
        std::fs::write(dir.path().join("shop.yaml"), format!("{head}{spec}")).unwrap();
        for command in
            [&["check", "-f", "shop.yaml"][..], &["up", "-f", "shop.yaml"], &["up", "-f", "shop.yaml", "--detach"]]
        {
            let output = jadeshift(dir.path(), command);
            fails(&output, 2, words);
            assert!(stderr(&output).contains("shop.yaml"));
        }
    }
    fails(&jadeshift(dir.path(), &["check", "-f", "missing.yaml"]), 2, &["missing.yaml", "No such file"]);
    assert!(!dir.path().join("deployment").exists(), "a bad document must not create a folder");
}

#[test]
fn a_good_document_is_summed_up() {
    let dir = tempfile::tempdir().unwrap();
    let text = "apiVersion: jadevectordb.io/v1alpha1\nkind: BlueGreen\nmetadata: {name: shop}\n";
    std::fs::write(dir.path().join("shop.yaml"), text).unwrap();
    let output = jadeshift(dir.path(), &["check", "-f", "shop.yaml"]);
    assert!(output.status.success());
    assert!(stdout(&output).starts_with("shop.yaml: good\n"), "{}", stdout(&output));
    let output = jadeshift(dir.path(), &["check", "-f", "shop.yaml", "--output", "json"]);
    let document: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(document["spec"]["rollout"]["steps"][3]["sharePercent"], 100);
}

#[test]
fn a_bad_version_label_is_refused_before_anything_is_asked() {
    let dir = tempfile::tempdir().unwrap();
    fails(&jadeshift(dir.path(), &["deploy", "a b"]), 2, &["`a b`", "letters, digits"]);
}

#[test]
fn usage_errors_have_exit_code_2() {
    let dir = tempfile::tempdir().unwrap();
    for words in
        [&[][..], &["purple"], &["switch", "purple"], &["info", "--output", "xml"], &["node", "--connectivity", "1"]]
    {
        let output = jadeshift(dir.path(), words);
        assert_eq!(output.status.code(), Some(2), "{words:?}: {}", stderr(&output));
        assert_eq!(stdout(&output), "");
    }
}

#[test]
fn help_and_version_are_data() {
    let dir = tempfile::tempdir().unwrap();
    let output = jadeshift(dir.path(), &["--help"]);
    assert!(output.status.success());
    for part in ["Exit codes:", "130", "deploy", "status", "jadeshift demo"] {
        assert!(stdout(&output).contains(part), "{part} is missing");
    }
    let output = jadeshift(dir.path(), &["deploy", "--help"]);
    assert!(stdout(&output).contains("jadeshift deploy 1.1.0 --wait"));
    let output = jadeshift(dir.path(), &["--version"]);
    assert_eq!(stdout(&output), format!("jadeshift {}\n", env!("CARGO_PKG_VERSION")));
}

#[test]
fn completion_is_printed_for_each_shell() {
    let dir = tempfile::tempdir().unwrap();
    for (shell, part) in [
        ("bash", "complete -F _jadeshift"),
        ("zsh", "#compdef jadeshift"),
        ("fish", "complete -c jadeshift"),
        ("elvish", "edit:completion:arg-completer[jadeshift]"),
        ("powershell", "Register-ArgumentCompleter"),
    ] {
        let output = jadeshift(dir.path(), &["completion", shell]);
        assert!(output.status.success());
        assert!(stdout(&output).contains(part) && stdout(&output).contains("canary"), "{shell}");
        assert_eq!(stderr(&output), "");
    }
}

/// Writes a recording: for each second its requests, errors, and answers slower than p99.
fn record(dir: &Path, name: &str, rows: impl Iterator<Item = (u64, u64, u64, u64)>) {
    let mut text = "second,requests,errors,over_p99\n".to_string();
    rows.for_each(|(second, requests, errors, slow)| text.push_str(&format!("{second},{requests},{errors},{slow}\n")));
    std::fs::write(dir.join(name), text).unwrap();
}

fn analyzed(dir: &Path, words: &[&str], code: i32) -> serde_json::Value {
    let words = [&["analyze", "--output", "json"], words].concat();
    let output = jadeshift(dir, &words);
    assert_eq!(output.status.code(), Some(code), "{}", stderr(&output));
    serde_json::from_slice(&output.stdout).unwrap()
}

#[test]
fn a_recorded_release_is_judged_as_it_would_have_been() {
    let dir = tempfile::tempdir().unwrap();
    let second = |second: u64| second + 1_700_000_000;
    record(dir.path(), "blue.csv", (0..600).map(|s| (second(s), 900, u64::from(s % 10 < 9), 9)));
    record(dir.path(), "good.csv", (0..600).map(|s| (second(s), 100, u64::from(s % 10 == 0), 1)));
    record(dir.path(), "bad.csv", (0..600).map(|s| (second(s), 100, if s < 300 { 0 } else { 5 }, 1)));
    record(dir.path(), "slow.csv", (0..600).map(|s| (second(s), 100, 0, 3)));
    record(dir.path(), "short.csv", (0..20).map(|s| (second(s), 100, 0, 1)));
    let good = analyzed(dir.path(), &["--blue", "blue.csv", "--green", "good.csv", "--share", "0.1"], 0);
    assert_eq!(
        (good["verdict"].as_str(), good["warnings"].as_array().map(Vec::len)),
        (Some("pass"), Some(0)),
        "{good}"
    );
    assert!(good["at_second"].as_u64().is_some_and(|at| (second(29)..second(200)).contains(&at)), "{good}");

    let bad = analyzed(dir.path(), &["--blue", "blue.csv", "--green", "bad.csv"], 1);
    assert_eq!((bad["verdict"].as_str(), bad["signal"].as_str()), (Some("fail"), Some("errors")), "{bad}");
    assert!(bad["at_second"].as_u64().is_some_and(|at| (second(300)..second(310)).contains(&at)), "{bad}");
    assert!(bad["e_value"].as_f64().is_some_and(|e| e >= 1_000.0), "{bad}");

    let slow = analyzed(dir.path(), &["--blue", "blue.csv", "--green", "slow.csv"], 1);
    assert_eq!(slow["signal"].as_str(), Some("over_p99"), "{slow}");

    let short = analyzed(dir.path(), &["--blue", "blue.csv", "--green", "short.csv"], 3);
    assert_eq!((short["verdict"].as_str(), short["at_second"].is_null()), (Some("inconclusive"), true), "{short}");
    assert_eq!((short["seconds_compared"].as_u64(), short["seconds_missing"].as_u64()), (Some(20), Some(580)));

    // A document that allows more, and asks for less time.
    let document = "apiVersion: jadevectordb.io/v1alpha1\nkind: BlueGreen\nmetadata: {name: shop}\nspec:\n  rollout: {steps: \
                    [{sharePercent: 10, durationMinMs: 5000}, {sharePercent: 100}]}\n  evidence: {latencyRatioMax: {p99: 4}}\n";
    std::fs::write(dir.path().join("shop.yaml"), document).unwrap();
    let words = ["--blue", "blue.csv", "--green", "slow.csv", "--policy", "shop.yaml"];
    let allowed = analyzed(dir.path(), &words, 0);
    assert!(allowed["at_second"].as_u64().is_some_and(|at| at < second(30)), "{allowed}");

    let text = jadeshift(dir.path(), &["analyze", "--blue", "blue.csv", "--green", "bad.csv", "--share", "0.5"]);
    assert!(stdout(&text).starts_with("fail: it would have been rolled back at second 17000003"), "{}", stdout(&text));
    assert!(stderr(&text).contains("the candidate had 0.100 of the requests, not 0.5"), "{}", stderr(&text));
}

#[test]
fn a_recording_that_cannot_be_read_is_named_with_its_line() {
    let dir = tempfile::tempdir().unwrap();
    record(dir.path(), "blue.csv", (0..10).map(|s| (s, 900, 1, 9)));
    record(dir.path(), "green.csv", (0..10).map(|s| (s, 100, if s == 4 { 101 } else { 0 }, 1)));
    let both = ["analyze", "--blue", "blue.csv", "--green", "green.csv"];
    fails(&jadeshift(dir.path(), &both), 2, &["green.csv, line 6", "errors is 101", "the 100 requests"]);
    fails(&jadeshift(dir.path(), &["analyze", "--blue", "blue.csv", "--green", "none.csv"]), 2, &["none.csv"]);
    let share = jadeshift(dir.path(), &[&both[..], &["--share", "1"]].concat());
    assert_eq!(share.status.code(), Some(2));
    assert!(stderr(&share).contains("a number above 0 and below 1"), "{}", stderr(&share));
}
