//! The supervisor: start, crash, change, adoption, end.

use crate::place::{Place, program, running, signal, until};
use crate::runner::tests;
use local::process::{self, Identity, Process};
use local::supervisor::{Status, Wanted};
use std::os::unix::fs::PermissionsExt;
use std::process::Command;
use std::time::Duration;
use wire::Colour::{Blue, Green};

tests![
    a_node_is_started_with_its_flags_and_stops_when_asked,
    a_node_that_runs_is_taken_over_and_not_restarted,
    a_crashed_node_is_started_again_at_its_addresses,
    another_version_is_started_in_its_place,
    other_settings_of_the_same_version_restart_the_node,
    a_pid_that_was_given_away_is_not_touched,
    a_node_that_was_not_noted_is_found,
    a_node_that_hangs_is_replaced,
    a_node_that_still_reads_its_data_is_not_taken_for_one_that_hangs,
    a_node_that_resists_is_ended_by_force,
    a_node_that_hangs_is_not_waited_for_when_it_must_end,
    a_node_that_fails_at_once_tells_its_last_words,
    a_program_that_cannot_be_started_is_named,
    a_wrapper_that_stays_in_between_is_refused,
    a_fixed_port_in_use_is_a_refusal_and_recovers,
    a_picked_port_that_was_lost_is_replaced,
    nothing_is_stopped_while_a_start_may_be_under_way,
];

async fn a_node_is_started_with_its_flags_and_stops_when_asked() {
    let place = Place::new();
    let supervisor = place.supervise().await;
    assert_eq!(supervisor.status(Blue), Status::Stopped);
    supervisor.want(Blue, place.run("1.0.0", false));
    let blue = running(&supervisor, Blue, None).await;
    assert!(blue.process.is_alive() && !blue.adopted);
    assert_ne!(blue.addresses.http.port(), 0);
    let starts = place.starts(Blue);
    assert_eq!(starts.len(), 1);
    assert!(!starts[0].contains("--join") && starts[0].contains("--node-version 1.0.0"), "{starts:?}");
    assert!(starts[0].contains("development") && starts[0].contains("admin-password"), "{starts:?}");
    let mode = place.folder.data(Blue).metadata().unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o700);
    assert_eq!(supervisor.status(Green), Status::Stopped);

    supervisor.want(Blue, Wanted::Nothing);
    until("the end", || (supervisor.status(Blue) == Status::Stopped).then_some(())).await;
    assert!(!blue.process.is_alive());
    assert!(place.log(Blue).contains("stopped when asked"), "{}", place.log(Blue));
    supervisor.leave().await;
}

async fn a_node_that_runs_is_taken_over_and_not_restarted() {
    let place = Place::new();
    let first = place.supervise().await;
    first.want(Blue, place.run("1.0.0", false));
    let blue = running(&first, Blue, None).await;
    first.leave().await;
    assert!(blue.process.is_alive());

    let second = place.supervise().await;
    let found = running(&second, Blue, None).await;
    assert_eq!((&found.process, found.adopted), (&blue.process, true));
    assert_eq!(found.addresses, blue.addresses);
    second.want(Blue, place.run("1.0.0", true));
    // Green's start shows that wishes are heard.
    second.want(Green, place.run("1.1.0", true));
    until("green's start", || (place.starts(Green).len() == 1).then_some(())).await;
    assert_eq!(running(&second, Blue, None).await.process, blue.process);
    assert_eq!(place.starts(Blue).len(), 1);

    // An adopted process is no child; its end is noticed all the same.
    signal(&blue.process, "-KILL");
    let again = running(&second, Blue, Some(&blue.process)).await;
    assert_eq!(again.addresses, blue.addresses);
    second.stop(|_| true).await.unwrap();
    assert!(place.processes().is_empty());
}

async fn a_crashed_node_is_started_again_at_its_addresses() {
    let mut place = Place::new();
    // Long enough to be seen.
    place.patience.restart_min = Duration::from_secs(1);
    place.patience.restart_max = Duration::from_secs(1);
    let supervisor = place.supervise().await;
    supervisor.want(Blue, place.run("1.0.0", false));
    let blue = running(&supervisor, Blue, None).await;
    let mut status = supervisor.watch(Blue).unwrap();
    signal(&blue.process, "-KILL");
    let crashed = status.wait_for(|status| !matches!(status, Status::Running(_))).await.unwrap().clone();
    let Status::Crashed { version, why, refused: false } = crashed else { panic!("{crashed:?}") };
    assert!(version == "1.0.0" && why.contains("ended by signal 9"), "{why}");
    let again = running(&supervisor, Blue, Some(&blue.process)).await;
    assert_eq!(again.addresses, blue.addresses);
    assert_eq!(place.starts(Blue).len(), 2);
    supervisor.stop(|_| true).await.unwrap();
}

async fn another_version_is_started_in_its_place() {
    let mut place = Place::new();
    place.document.spec.versions.entry("1.1.0".into()).or_default().index.connectivity = 48;
    let supervisor = place.supervise().await;
    supervisor.want(Blue, place.run("1.0.0", false));
    let old = running(&supervisor, Blue, None).await;
    supervisor.want(Blue, place.run("1.1.0", true));
    let new = running(&supervisor, Blue, Some(&old.process)).await;
    assert_eq!(new.version, "1.1.0");
    assert!(!old.process.is_alive());
    assert_eq!(new.addresses, old.addresses);
    let starts = place.starts(Blue);
    assert_eq!(starts.len(), 2);
    assert!(starts[1].contains("--node-version 1.1.0") && starts[1].contains("--connectivity 48"), "{starts:?}");
    assert!(starts[1].contains("--join"), "{starts:?}");
    supervisor.stop(|_| true).await.unwrap();
}

async fn other_settings_of_the_same_version_restart_the_node() {
    let mut place = Place::new();
    let first = place.supervise().await;
    first.want(Blue, place.run("1.0.0", false));
    let old = running(&first, Blue, None).await;
    first.leave().await;
    place.document.spec.versions.entry("1.0.0".into()).or_default().index.expansion_search = 200;
    let second = place.supervise().await;
    second.want(Blue, place.run("1.0.0", true));
    running(&second, Blue, Some(&old.process)).await;
    assert!(place.starts(Blue)[1].contains("--expansion-search 200"));
    second.stop(|_| true).await.unwrap();
}

async fn a_pid_that_was_given_away_is_not_touched() {
    let place = Place::new();
    let first = place.supervise().await;
    first.want(Blue, place.run("1.0.0", false));
    let blue = running(&first, Blue, None).await;
    first.stop(|_| true).await.unwrap();

    // The folder says that the node was process N, and N is another program by now.
    let (child, foreign) = process::spawn(Command::new("sleep").arg("600")).unwrap();
    let path = place.folder.root().join("blue.json");
    let mut record: serde_json::Value = serde_json::from_slice(&std::fs::read(&path).unwrap()).unwrap();
    let former = Identity { pid: foreign.pid, ..blue.process.clone() };
    record["process"] = serde_json::to_value(&former).unwrap();
    std::fs::write(&path, record.to_string()).unwrap();
    let ready = format!("{{\"http\":\"127.0.0.1:1\",\"admin\":\"127.0.0.1:1\",\"pid\":{}}}", foreign.pid);
    std::fs::write(place.folder.ready_path(Blue), ready).unwrap();

    let second = place.supervise().await;
    assert_eq!(second.status(Blue), Status::Stopped);
    second.want(Blue, place.run("1.0.0", true));
    let new = running(&second, Blue, None).await;
    assert_ne!(new.process.pid, foreign.pid);
    second.stop(|_| true).await.unwrap();
    assert!(foreign.is_alive());
    let mut sleep = Process::of_child(child, foreign);
    sleep.kill().unwrap();
    sleep.ended().await;
}

async fn a_node_that_was_not_noted_is_found() {
    let place = Place::new();
    let first = place.supervise().await;
    first.want(Blue, place.run("1.0.0", false));
    let blue = running(&first, Blue, None).await;
    first.leave().await;
    // As if the supervisor had died between the start and the note.
    let path = place.folder.root().join("blue.json");
    let mut record: serde_json::Value = serde_json::from_slice(&std::fs::read(&path).unwrap()).unwrap();
    record["process"] = serde_json::Value::Null;
    std::fs::write(&path, record.to_string()).unwrap();

    let second = place.supervise().await;
    assert_eq!(running(&second, Blue, None).await.process, blue.process);
    second.stop(|_| true).await.unwrap();
    assert!(!blue.process.is_alive());
}

async fn a_node_that_hangs_is_replaced() {
    let place = Place::new();
    let first = place.supervise().await;
    first.want(Blue, place.run("1.0.0", false));
    let blue = running(&first, Blue, None).await;
    first.leave().await;
    signal(&blue.process, "-STOP");
    let second = place.supervise().await;
    assert!(!blue.process.is_alive());
    assert_eq!(second.status(Blue), Status::Stopped);
    second.want(Blue, place.run("1.0.0", true));
    running(&second, Blue, None).await;
    second.stop(|_| true).await.unwrap();
}

async fn a_node_that_still_reads_its_data_is_not_taken_for_one_that_hangs() {
    let mut place = Place::new();
    place.set("1.0.0", "FAKE_RECOVERS", "1");
    place.patience.answer = Duration::from_millis(1);
    let first = place.supervise().await;
    first.want(Blue, place.run("1.0.0", false));
    until("the ready file", || place.folder.ready_path(Blue).exists().then_some(())).await;
    first.leave().await;
    let second = place.supervise().await;
    second.want(Blue, place.run("1.0.0", true));
    assert!(matches!(second.status(Blue), Status::Running(running) if running.adopted && !running.ready));
    std::fs::write(place.folder.data(Blue).join("recovered"), "").unwrap();
    assert!(running(&second, Blue, None).await.adopted);
    assert_eq!(place.starts(Blue).len(), 1);
    second.stop(|_| true).await.unwrap();
}

async fn a_node_that_resists_is_ended_by_force() {
    let mut place = Place::new();
    place.set("1.0.0", "FAKE_STUBBORN", "1");
    let supervisor = place.supervise().await;
    supervisor.want(Blue, place.run("1.0.0", false));
    let blue = running(&supervisor, Blue, None).await;
    supervisor.stop(|_| true).await.unwrap();
    assert!(!blue.process.is_alive());
}

async fn a_node_that_hangs_is_not_waited_for_when_it_must_end() {
    let mut place = Place::new();
    // Waiting for these would take longer than a test may.
    place.patience.stop = Duration::from_secs(1000);
    place.patience.terminate = Duration::from_secs(1000);
    let supervisor = place.supervise().await;
    supervisor.want(Blue, place.run("1.0.0", false));
    let blue = running(&supervisor, Blue, None).await;
    signal(&blue.process, "-STOP");
    supervisor.want(Blue, Wanted::Nothing);
    until("the confirmed end", || (supervisor.status(Blue) == Status::Stopped).then_some(())).await;
    assert!(!blue.process.is_alive());
    supervisor.leave().await;
}

async fn a_node_that_fails_at_once_tells_its_last_words() {
    let mut place = Place::new();
    place.set("2.0.0", "FAKE_FAILS", "the data folder is from the future");
    let supervisor = place.supervise().await;
    supervisor.want(Green, place.run("2.0.0", true));
    until("the crash with its reason", || match supervisor.status(Green) {
        Status::Crashed { why, refused: false, .. } if why.contains("the data folder is from the future") => Some(()),
        _ => None,
    })
    .await;
    // A wish for another version does not wait for the pause to be over.
    supervisor.want(Green, place.run("1.0.0", false));
    assert_eq!(running(&supervisor, Green, None).await.version, "1.0.0");
    supervisor.stop(|_| true).await.unwrap();
}

async fn a_program_that_cannot_be_started_is_named() {
    let mut place = Place::new();
    place.document.spec.versions.entry("2".into()).or_default().program = Some("/nowhere/jadevectordb".into());
    let supervisor = place.supervise().await;
    supervisor.want(Green, place.run("2", true));
    let why = until("the crash", || match supervisor.status(Green) {
        Status::Crashed { why, .. } => Some(why),
        _ => None,
    })
    .await;
    assert!(why.contains("could not start `/nowhere/jadevectordb`"), "{why}");
    supervisor.stop(|_| true).await.unwrap();
}

async fn a_wrapper_that_stays_in_between_is_refused() {
    let mut place = Place::new();
    let script = place.folder.root().join("wrapper.sh");
    std::fs::write(&script, format!("#!/bin/sh\n'{}' node \"$@\" &\nwait\n", program().display())).unwrap();
    std::fs::set_permissions(&script, std::fs::Permissions::from_mode(0o700)).unwrap();
    place.document.spec.versions.entry("2".into()).or_default().program = Some(script.display().to_string());
    let supervisor = place.supervise().await;
    supervisor.want(Green, place.run("2", false));
    until("the refusal", || match supervisor.status(Green) {
        Status::Crashed { why, .. } if why.contains("`exec`") => Some(()),
        _ => None,
    })
    .await;
    supervisor.stop(|_| true).await.unwrap();
}

async fn a_fixed_port_in_use_is_a_refusal_and_recovers() {
    let mut place = Place::new();
    let foreign = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = foreign.local_addr().unwrap();
    place.document.spec.local.green.http = address.to_string();
    let supervisor = place.supervise().await;
    supervisor.want(Green, place.run("1.0.0", false));
    let why = until("the refusal", || match supervisor.status(Green) {
        Status::Crashed { why, refused: true, .. } => Some(why),
        _ => None,
    })
    .await;
    assert!(why.contains(&address.to_string()) && why.contains("spec.local.green.http"), "{why}");
    assert!(place.starts(Green).is_empty());
    drop(foreign);
    assert_eq!(running(&supervisor, Green, None).await.addresses.http, address);
    supervisor.stop(|_| true).await.unwrap();
}

async fn a_picked_port_that_was_lost_is_replaced() {
    let place = Place::new();
    let first = place.supervise().await;
    first.want(Blue, place.run("1.0.0", false));
    let before = running(&first, Blue, None).await.addresses;
    first.stop(|_| true).await.unwrap();
    let foreign = std::net::TcpListener::bind(before.http).unwrap();
    let second = place.supervise().await;
    second.want(Blue, place.run("1.0.0", true));
    let after = running(&second, Blue, None).await.addresses;
    assert_ne!(after.http, before.http);
    assert_eq!(after.admin, before.admin);
    drop(foreign);
    second.stop(|_| true).await.unwrap();
}

async fn nothing_is_stopped_while_a_start_may_be_under_way() {
    let place = Place::new();
    let supervisor = place.supervise().await;
    for _ in 0..20 {
        supervisor.want(Blue, place.run("1.0.0", false));
        assert_ne!(supervisor.status(Blue), Status::Stopped);
        tokio::task::yield_now().await;
        supervisor.want(Blue, Wanted::Nothing);
        until("the confirmed end", || (supervisor.status(Blue) == Status::Stopped).then_some(())).await;
        assert_eq!(place.processes(), []);
    }
    supervisor.leave().await;
}
