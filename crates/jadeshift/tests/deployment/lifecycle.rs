//! From `up` to `down`, whoever ends it.

use crate::home::{Home, processes_below, signal, text, until};
use serde_json::Value;
use std::net::TcpListener;
use std::process::Stdio;

#[test]
fn a_deployment_lives_from_up_to_down() {
    let home = Home::new();
    let addresses = home.json(&["up", "-f", "shop.yaml", "--detach"]);
    assert_eq!((addresses["name"].as_str(), addresses["version"].as_str()), (Some("shop"), Some("1.0.0")));

    let info = home.json(&["info"]);
    assert_eq!((info["phase"]["name"].as_str(), info["active"].as_str()), (Some("stable"), Some("blue")));
    assert!(home.succeeds(&["status"]).starts_with("shop: stable\nblue serves version 1.0.0"));
    let health = home.json(&["health"]);
    assert_eq!((&health["healthy"], &health["gateway"]["answer"]), (&Value::from(true), &Value::from("200")));
    assert_eq!(health["gateway"]["address"], addresses["gateway"]);

    home.fails(&["up", "-f", "shop.yaml"], 3, "in use by another jadeshift");
    home.fails(&["up", "-f", "shop.yaml", "--detach"], 3, "in use by another jadeshift");
    home.fails(&["promote"], 3, "no rollout is under way");
    assert_eq!(home.run(&["verify"]).status.code(), Some(3), "one environment cannot be compared");
    home.succeeds(&["monitor"]);

    // The last step waits for a person.
    home.fails(&["deploy", "1.1.0", "--wait", "--timeout-ms", "1000"], 5, "neither promoted nor rolled back");
    home.fails(&["deploy", "1.2.0"], 3, "1.1.0 is under way");
    home.succeeds(&["pause"]);
    assert_eq!(home.json(&["info"])["phase"]["name"], "paused");
    home.succeeds(&["resume"]);
    home.succeeds(&["canary", "half"]);
    home.succeeds(&["promote", "--full"]);
    home.succeeds(&["monitor", "--interval-ms", "50"]);
    let info = home.json(&["info"]);
    assert_eq!((info["active"].as_str(), info["versions"]["green"].as_str()), (Some("green"), Some("1.1.0")));
    assert!(home.succeeds(&["verify", "--deep"]).starts_with("equal at lsn"));

    // And back to blue, which was kept warm.
    home.succeeds(&["switch", "blue"]);
    home.succeeds(&["monitor", "--interval-ms", "50"]);
    assert_eq!(home.json(&["info"])["active"], "blue");

    home.succeeds(&["deploy", "1.3.0"]);
    home.succeeds(&["rollback", "--reason", "it was a test"]);
    until("the rollback", || home.json(&["info"])["phase"]["name"] == "stable");
    let info = home.json(&["info"]);
    let last = info["history"].as_array().unwrap().last().unwrap();
    assert_eq!((last["outcome"].as_str(), last["run"]["to_version"].as_str()), (Some("rolled_back"), Some("1.3.0")));
    assert!(last["reason"].as_str().unwrap().contains("it was a test"));
    let report = home.json(&["report"]);
    assert_eq!((&report["record"], report["run"]["id"] == last["run"]["id"]), (last, true));
    home.fails(&["report", "99"], 1, "there is no report of rollout 99");

    home.succeeds(&["down"]);
    // What happened can be read when nothing runs any more.
    assert_eq!(home.json(&["report"]), report);
    let page = home.folder.path().join("page.html");
    assert!(home.succeeds(&["report", "1", "--html", page.to_str().unwrap()]).contains("promoted after"));
    assert!(std::fs::read_to_string(page).unwrap().contains("<svg"));
    assert_eq!(processes_below(home.folder.path()), Vec::<u32>::new());
    home.fails(&["info"], 4, "it was ended");
    home.fails(&["down"], 4, "nothing of it runs");
}

#[test]
fn a_killed_up_leaves_the_nodes_and_the_next_one_takes_them_over() {
    let home = Home::new();
    let first = home.json(&["up", "-f", "shop.yaml", "--detach"]);
    let node = home.json(&["info"])["nodes"]["blue"]["http"].clone();
    signal("KILL", first["pid"].as_u64().unwrap());
    until("the folder is free", || processes_below(home.folder.path()).len() == 1);
    home.fails(&["info"], 4, "does not answer");

    // Without -f: the document that the folder was used with before.
    let second = home.json(&["up", "--detach"]);
    assert_eq!(second["name"], "shop");
    assert_ne!(second["pid"], first["pid"]);
    assert_eq!(home.json(&["info"])["nodes"]["blue"]["http"], node, "the node is the same process");

    signal("KILL", second["pid"].as_u64().unwrap());
    until("the folder is free", || processes_below(home.folder.path()).len() == 1);
    assert!(home.succeeds(&["down"]).contains("the nodes it had left have ended"));
    assert_eq!(processes_below(home.folder.path()), Vec::<u32>::new());
}

#[test]
fn an_up_in_the_foreground_ends_in_order_and_can_keep_its_nodes() {
    let home = Home::new();
    let up = |words: &[&str]| {
        let child = home.command(words).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        until("the deployment is stable", || {
            let output = home.run(&["info", "--output", "json"]);
            serde_json::from_slice(&output.stdout).is_ok_and(|info: Value| info["phase"]["name"] == "stable")
        });
        child
    };
    let child = up(&["up", "-f", "shop.yaml", "--keep-nodes"]);
    signal("INT", child.id().into());
    let output = child.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
    assert!(text(&output.stdout).starts_with("shop is up"), "{}", text(&output.stdout));
    assert_eq!(processes_below(home.folder.path()).len(), 1, "the node is kept");

    let child = up(&["up"]);
    signal("TERM", child.id().into());
    let output = child.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
    assert_eq!(processes_below(home.folder.path()), Vec::<u32>::new());
}

#[test]
fn a_port_in_use_is_named_with_the_field_to_change() {
    let home = Home::new();
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    home.fails(
        &["up", "-f", "shop.yaml", "--gateway", &address],
        1,
        &format!("{address} (spec.local.gateway) is in use"),
    );
    home.fails(&["up", "-f", "shop.yaml", "--gateway", &address, "--detach"], 1, "spec.local.gateway");
    assert_eq!(processes_below(home.folder.path()), Vec::<u32>::new());
}

#[test]
fn an_interrupted_demonstration_leaves_nothing() {
    let home = Home::new();
    let temporary = home.folder.path().join("tmp");
    std::fs::create_dir(&temporary).unwrap();
    let mut command = home.command(&["demo", "--output", "json"]);
    let child = command.env("TMPDIR", &temporary).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    // Its deployment and the first node.
    until("the demonstration has begun", || processes_below(&temporary).len() >= 2);
    signal("INT", child.id().into());
    let output = child.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(130), "{}", text(&output.stderr));
    assert_eq!(text(&output.stdout), "", "half a demonstration is no data");
    assert!(text(&output.stderr).contains("jadeshift: the demonstration: interrupted"), "{}", text(&output.stderr));
    assert_eq!(processes_below(&temporary), Vec::<u32>::new());
    assert_eq!(std::fs::read_dir(&temporary).unwrap().count(), 0);
}

#[test]
fn a_killed_demonstration_leaves_no_process() {
    let home = Home::new();
    let temporary = home.folder.path().join("tmp");
    std::fs::create_dir(&temporary).unwrap();
    let mut command = home.command(&["demo", "--quiet"]);
    let mut child = command.env("TMPDIR", &temporary).stderr(Stdio::null()).spawn().unwrap();
    until("the demonstration has begun", || processes_below(&temporary).len() >= 2);
    signal("KILL", child.id().into());
    child.wait().unwrap();
    until("its processes have ended", || processes_below(&temporary).is_empty());
}
