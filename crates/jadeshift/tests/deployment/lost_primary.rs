//! The new primary is gone right after the switch, under load, and what it acknowledged is not.

use crate::home::{Home, processes_below, signal, until};
use crate::load::Load;
use serde_json::{Value, json};

fn document(handover: &str) -> String {
    format!(
        "\
apiVersion: jadevectordb.io/v1alpha1
kind: BlueGreen
metadata: {{name: shop}}
spec:
  mode: development
  rollout:
    watchMs: 600000
    timeoutMs: 30000
    steps:
    - {{sharePercent: 100, durationMinMs: 1, requestsMin: 0}}
  handover: {{{handover}}}
  evidence: {{latencyRatioMax: {{p50: 9, p90: 9, p99: 9}}}}
  local: {{gateway: '127.0.0.1:0'}}
"
    )
}

/// Blue was replaced by green a moment ago, under load.
fn switched(handover: &str) -> (Home, Load) {
    let home = Home::with(&document(handover));
    let addresses = home.json(&["up", "-f", "shop.yaml", "--detach"]);
    let load = Load::start(addresses["gateway"].as_str().unwrap());
    load.until_more(50);
    home.succeeds(&["deploy", "1.1.0"]);
    home.succeeds(&["promote", "--full"]);
    until("green is watched", || home.json(&["info"])["phase"]["name"] == "watching");
    load.until_more(50);
    (home, load)
}

fn pid_of(home: &Home, colour: &str) -> u64 {
    let folder = home.dir().join(colour);
    let found = processes_below(&folder);
    assert_eq!(found.len(), 1, "{colour} is one process");
    found[0].into()
}

fn last(info: &Value) -> (Value, Value) {
    let record = info["history"].as_array().and_then(|history| history.last()).cloned().unwrap_or_default();
    (record["outcome"].clone(), record["reason"].clone())
}

#[test]
fn a_new_primary_that_hangs_right_after_the_switch_is_replaced_by_itself_and_nothing_is_lost() {
    let (home, load) = switched("acknowledge: auto");
    assert_eq!(home.json(&["info"])["confirmation"]["level"], "held");
    let green = pid_of(&home, "green");
    signal("STOP", green);
    until("the rollout is taken back", || home.json(&["info"])["history"].as_array().is_some_and(|all| all.len() == 1));
    let info = home.json(&["info"]);
    assert_eq!((&info["active"], &info["primary"]), (&json!("blue"), &json!("blue")));
    assert_eq!(last(&info).0, "rolled_back");
    assert!(!std::path::Path::new(&format!("/proc/{green}")).exists(), "the hanging process was ended first");
    load.until_more(50);

    // The same environment takes the next version in, whatever it had alone.
    home.succeeds(&["deploy", "1.2.0"]);
    home.succeeds(&["promote", "--full"]);
    until("green is watched again", || home.json(&["info"])["phase"]["name"] == "watching");
    let (acknowledged, lost) = load.finish();
    assert!(acknowledged > 150 && lost.is_empty(), "{} of {acknowledged} are lost: {lost:?}", lost.len());
    home.succeeds(&["verify", "--deep"]);
}

#[test]
fn a_primary_that_acknowledged_alone_is_replaced_only_when_a_person_accepts_the_loss() {
    let (home, load) = switched("acknowledge: primary");
    // Of what is written while blue stands still, green has the end alone: it is more than the sockets between them hold,
    // whose content blue still gets.
    let blue = pid_of(&home, "blue");
    signal("STOP", blue);
    let large = load.write_large(800);
    signal("STOP", pid_of(&home, "green"));
    signal("CONT", blue);
    until("it says what is at stake", || {
        home.json(&["info"])["why"].as_str().is_some_and(|why| why.contains("jadeshift rollback --accept-loss"))
    });
    assert_eq!(home.json(&["info"])["primary"], "green");
    home.succeeds(&["rollback", "--accept-loss"]);
    until("the rollout is taken back", || home.json(&["info"])["primary"] == "blue");
    load.until_more(50);
    until("it is over", || home.json(&["info"])["phase"]["name"] == "stable");
    assert_eq!(last(&home.json(&["info"])).0, "rolled_back");

    // Green takes in the next version: what it had alone is in a file, named, and not merged.
    home.succeeds(&["deploy", "1.2.0"]);
    let aside = || home.json(&["info"])["nodes"]["green"]["set_aside"][0].clone();
    until("what green had alone is named", || aside().is_object());
    let lost = load.missing(&large);
    assert!(lost.contains(large.last().unwrap()), "blue has all that green acknowledged alone");
    let path = aside()["path"].as_str().unwrap().to_string();
    let text = std::fs::read_to_string(&path).unwrap();
    assert_eq!(text.lines().count() as u64, aside()["records"].as_u64().unwrap());
    let kept: Vec<Value> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    for id in lost {
        assert!(kept.iter().any(|line| line["kind"] == "put_vector" && line["id"] == *id), "{id} is not in {path}");
    }
    assert!(home.succeeds(&["info"]).contains(&path));
}

#[test]
fn without_the_old_environment_the_new_primary_goes_on_alone_and_joins_again() {
    let (home, load) = switched("confirmMsMax: 100");
    let blue = pid_of(&home, "blue");
    signal("STOP", blue);
    until("green goes on alone", || home.json(&["info"])["confirmation"]["level"] == "joining");
    load.until_more(50);
    signal("CONT", blue);
    until("both have everything again", || home.json(&["info"])["confirmation"]["level"] == "held");
    let (_, lost) = load.finish();
    assert!(lost.is_empty(), "{lost:?}");
}
