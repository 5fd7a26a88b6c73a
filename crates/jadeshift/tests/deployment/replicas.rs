//! Environments of several nodes, under load.

use crate::home::{Home, processes_below, signal, until};
use crate::load::Load;
use serde_json::{Value, json};

fn document(versions: &str) -> String {
    format!(
        "\
apiVersion: jadevectordb.io/v1alpha1
kind: BlueGreen
metadata: {{name: shop}}
spec:
  mode: development
  replicas: 2
  versions: {{{versions}}}
  rollout:
    watchMs: 300
    timeoutMs: 30000
    steps:
    - {{sharePercent: 50, durationMinMs: 300, requestsMin: 20}}
    - {{sharePercent: 100, durationMinMs: 1, requestsMin: 0}}
  evidence: {{replaysMin: 0, evidenceMin: 0, latencyRatioMax: {{p50: 9, p90: 9, p99: 9}}}}
  local: {{gateway: '127.0.0.1:0'}}
"
    )
}

fn stable(versions: &str) -> (Home, Load) {
    let home = Home::with(&document(versions));
    let addresses = home.json(&["up", "-f", "shop.yaml", "--detach"]);
    let load = Load::start(addresses["gateway"].as_str().unwrap());
    load.until_more(50);
    until("a follower confirms", || {
        let info = home.json(&["info"]);
        info["confirmation"]["level"] == "held" && info["confirmer"] == json!({"colour": "blue", "number": 1})
    });
    (home, load)
}

/// The process of a node, which is called like its files.
fn pid_of(home: &Home, node: &str) -> u64 {
    let found = processes_below(&home.dir().join(format!("{node}.ready")));
    assert_eq!(found.len(), 1, "{node} is one process");
    found[0].into()
}

/// All nodes of an environment but its head are followers that have everything that the head had a moment ago.
fn all_follow(info: &Value, colour: &str) -> bool {
    let head = info["nodes"][colour]["lsn"].as_u64().unwrap();
    let followers = info["followers"][colour].as_array().unwrap();
    let follows = |node: &Value| {
        let near = node["lsn"].as_u64().is_some_and(|lsn| lsn + 1_000 >= head);
        node["role"]["role"] == "follower" && node["ready"] == true && node["status"] == "up" && near
    };
    followers.len() == 1 && followers.iter().all(follows)
}

fn servers(info: &Value, colour: &str) -> Vec<String> {
    let follower = &info["followers"][colour][0];
    [&info["nodes"][colour], follower].map(|node| node["http"].as_str().unwrap().to_string()).to_vec()
}

/// The second node of blue reigns, the first one has come back and follows it, and both have every acknowledged write.
fn taken_over(home: &Home, load: Load) {
    until("the old head follows", || all_follow(&home.json(&["info"]), "blue"));
    load.until_more(50);
    let info = home.json(&["info"]);
    assert_eq!((&info["primary"], &info["primary_epoch"]), (&json!("blue"), &json!(2)), "{info:#}");
    assert_eq!(info["nodes"]["blue"]["role"], json!({"role": "primary", "epoch": 2}));
    assert_eq!(info["phase"]["name"], "stable");
    until("a follower confirms again", || {
        let info = home.json(&["info"]);
        info["confirmation"]["level"] == "held" && info["confirmer"] == json!({"colour": "blue", "number": 0})
    });
    let (acknowledged, lost) = load.finish_at(&servers(&info, "blue"));
    assert!(acknowledged > 100 && lost.is_empty(), "{} of {acknowledged} are lost: {lost:?}", lost.len());
    let verified = home.json(&["verify"]);
    let why = verified["why"].as_str().unwrap();
    assert!(verified["equal"] == true && why.contains("the same digest on blue"), "{why}");
}

#[test]
fn a_rollout_of_two_nodes_each_loses_nothing_while_followers_are_killed() {
    let (home, load) = stable("");
    signal("KILL", pid_of(&home, "blue-1"));
    until("the follower is back", || all_follow(&home.json(&["info"]), "blue"));
    home.succeeds(&["deploy", "1.1.0"]);
    until("green has readers", || home.json(&["info"])["phase"]["name"] == "shifting");
    assert!(all_follow(&home.json(&["info"]), "green"), "no reader comes before all nodes are there");
    signal("KILL", pid_of(&home, "green-1"));
    load.until_more(50);
    until("the rollout is over", || home.json(&["info"])["history"].as_array().is_some_and(|all| all.len() == 1));
    let info = home.json(&["info"]);
    assert_eq!(info["history"][0]["outcome"], "promoted", "{}", info["history"]);
    load.until_more(50);
    until("everybody follows", || {
        let info = home.json(&["info"]);
        all_follow(&info, "blue") && all_follow(&info, "green")
    });
    let info = home.json(&["info"]);
    let (acknowledged, lost) = load.finish_at(&[servers(&info, "blue"), servers(&info, "green")].concat());
    assert!(acknowledged > 150 && lost.is_empty(), "{} of {acknowledged} are lost: {lost:?}", lost.len());
    let verified = home.json(&["verify", "--deep"]);
    let why = verified["why"].as_str().unwrap();
    assert!(why.contains("the same digest on blue-1, green-1"), "{why}");
    home.succeeds(&["down"]);
    assert_eq!(processes_below(&home.dir()), Vec::<u32>::new(), "all nodes have ended");
}

#[test]
fn a_head_that_hangs_is_replaced_by_its_follower_and_nothing_is_lost() {
    let (home, load) = stable("");
    let blue = pid_of(&home, "blue");
    signal("STOP", blue);
    until("the follower takes over", || home.json(&["info"])["heads"]["blue"] == 1);
    assert!(!std::path::Path::new(&format!("/proc/{blue}")).exists(), "the hanging process was ended first");
    taken_over(&home, load);
}

#[test]
fn a_head_that_is_killed_and_takes_long_to_return_is_replaced_by_its_follower_and_nothing_is_lost() {
    let place = tempfile::tempdir().unwrap();
    let (program, slow) = (place.path().join("node.sh"), place.path().join("slow"));
    let node = env!("CARGO_BIN_EXE_jadeshift");
    std::fs::write(&program, format!("#!/bin/sh\n[ -e {} ] && sleep 20\nexec {node} node \"$@\"\n", slow.display()))
        .unwrap();
    std::fs::set_permissions(&program, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    let (home, load) = stable(&format!("'1.0.0': {{program: '{}'}}", program.display()));
    std::fs::write(&slow, "").unwrap();
    signal("KILL", pid_of(&home, "blue"));
    until("the follower takes over", || home.json(&["info"])["heads"]["blue"] == 1);
    std::fs::remove_file(&slow).unwrap();
    taken_over(&home, load);
}
