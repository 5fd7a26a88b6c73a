//! A whole deployment: `up`, its death and return, `down`.

use crate::place::{Place, ask, get, patience, program, until, until_async};
use crate::runner::tests;
use local::supervisor::{Running, Status};
use local::{Downed, FolderError, ShutdownMode, Up, UpError, UpOptions, down};
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::{Child, Command, ExitCode, Stdio};
use std::time::Duration;
use wire::Colour::Blue;
use wire::document::BlueGreen;

tests![
    a_deployment_comes_up_answers_and_ends_without_a_trace,
    control_calls_need_the_token_and_have_bounds,
    a_second_up_on_the_folder_is_refused,
    a_gateway_port_in_use_is_named_and_nothing_is_left,
    a_node_port_in_use_is_named_and_nothing_is_left,
    nodes_outlive_an_up_that_leaves_them,
    a_killed_up_leaves_the_nodes_and_the_next_one_takes_over,
    down_ends_a_running_up,
    down_ends_what_a_killed_up_left,
    why_it_is_not_stable_is_told,
];

const STABLE_MAX: Duration = Duration::from_secs(20);

impl Place {
    fn options(&self) -> UpOptions {
        UpOptions {
            document: self.document.clone(),
            folder: self.folder.root().into(),
            node_program: program(),
            patience: patience(),
        }
    }

    async fn up(&self) -> Up {
        let up = Up::start(self.options()).await.unwrap();
        up.wait_until_stable(STABLE_MAX).await.unwrap();
        up
    }

    /// An `up` in a process of its own, once it serves.
    async fn up_elsewhere(&self) -> Child {
        self.folder.store_document(&self.document).unwrap();
        let mut up = Command::new(program());
        up.arg("supervise").arg(self.folder.root()).stdin(Stdio::null());
        let child = up.spawn().unwrap();
        until("the stable deployment", || self.folder.root().join("stable").exists().then_some(())).await;
        child
    }
}

/// The program of [`Place::up_elsewhere`].
pub fn supervise() -> ExitCode {
    let root = PathBuf::from(std::env::args_os().nth(2).unwrap());
    let text = std::fs::read_to_string(root.join("document.yaml")).unwrap();
    let document = BlueGreen::from_yaml(&text).unwrap();
    let options = UpOptions { document, folder: root.clone(), node_program: program(), patience: patience() };
    tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap().block_on(async {
        let up = Up::start(options).await.unwrap();
        up.wait_until_stable(STABLE_MAX).await.unwrap();
        std::fs::write(root.join("stable"), "").unwrap();
        up.down_requested().await;
        up.shutdown(ShutdownMode { stop_nodes: true }).await.unwrap();
    });
    ExitCode::SUCCESS
}

fn blue(up: &Up) -> Running {
    match up.platform().status(Blue) {
        Status::Running(running) => running,
        status => panic!("{status:?}"),
    }
}

async fn a_deployment_comes_up_answers_and_ends_without_a_trace() {
    let place = Place::new();
    let up = place.up().await;
    assert_eq!(get(up.address(), "/health", &[]).await.unwrap(), (200, "1.0.0".into()));
    assert_eq!(place.folder.load_document().unwrap().as_ref(), Some(&place.document));
    let (address, process) = (up.address(), blue(&up).process);
    up.shutdown(ShutdownMode { stop_nodes: true }).await.unwrap();
    assert!(!process.is_alive());
    assert_eq!(place.processes(), []);
    assert!(get(address, "/health", &[]).await.unwrap_err().never_sent());
    assert_eq!(place.folder.load_control().unwrap(), None);
    drop(place.folder.lock().unwrap());

    // The data and the addresses are still there for the next one.
    let up = place.up().await;
    assert_eq!(place.starts(Blue).len(), 2);
    assert!(place.starts(Blue)[1].contains("--join"));
    up.shutdown(ShutdownMode { stop_nodes: true }).await.unwrap();
}

async fn control_calls_need_the_token_and_have_bounds() {
    let place = Place::new();
    let up = place.up().await;
    let control = place.folder.load_control().unwrap().unwrap();
    let address: SocketAddr = control.address.parse().unwrap();
    assert!(address.ip().is_loopback() && address == up.control_address() && control.pid == std::process::id());
    let bearer = format!("Bearer {}", control.token);
    let token = [("authorization", bearer.as_str())];

    let (status, info) = get(address, "/control/v1/info", &token).await.unwrap();
    assert!(status == 200 && serde_json::from_str::<serde_json::Value>(&info).unwrap().is_object(), "{info}");
    for wrong in [&[][..], &[("authorization", "Bearer x")][..], &[("authorization", control.token.as_str())][..]] {
        for path in ["/control/v1/info", "/control/v1/nothing"] {
            let (status, body) = get(address, path, wrong).await.unwrap();
            assert!(status == 401 && body.contains("\"error\""), "{path} {status} {body}");
        }
        assert_eq!(ask("POST", address, "/control/v1/down", wrong, Vec::new()).await.unwrap().0, 401);
    }
    let long = ask("POST", address, "/control/v1/command", &token, vec![b' '; (64 << 10) + 1]).await.unwrap();
    assert_eq!(long.0, 413);
    let (status, body) =
        ask("POST", address, "/control/v1/command", &token, b"{\"command\":\"fly\"}".into()).await.unwrap();
    assert!(status == 400 && body.contains("fly"), "{status} {body}");
    // Nothing is under way that could be promoted.
    let promote = b"{\"command\":\"promote\",\"full\":false}".to_vec();
    let (status, body) = ask("POST", address, "/control/v1/command", &token, promote).await.unwrap();
    assert!(status == 409 && body.contains("\"error\""), "{status} {body}");
    assert_eq!(get(address, "/control/v1/nothing", &token).await.unwrap().0, 404);

    let asked = up.down_requested();
    assert_eq!(ask("POST", address, "/control/v1/down", &token, Vec::new()).await.unwrap().0, 202);
    tokio::time::timeout(Duration::from_secs(5), asked).await.unwrap();
    up.shutdown(ShutdownMode { stop_nodes: true }).await.unwrap();
}

async fn a_second_up_on_the_folder_is_refused() {
    let place = Place::new();
    let up = place.up().await;
    let error = Up::start(place.options()).await.err().unwrap();
    assert!(matches!(error, UpError::Folder(FolderError::Locked { .. })), "{error}");
    let message = error.to_string();
    assert!(message.contains(&format!("process {}", std::process::id())) && message.contains("jadeshift down"));
    assert!(message.contains(&place.folder.root().display().to_string()), "{message}");
    // The first one does not notice.
    assert_eq!(get(up.address(), "/health", &[]).await.unwrap().0, 200);
    assert_eq!(place.starts(Blue).len(), 1);
    up.shutdown(ShutdownMode { stop_nodes: true }).await.unwrap();
}

async fn a_gateway_port_in_use_is_named_and_nothing_is_left() {
    let mut place = Place::new();
    let foreign = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = foreign.local_addr().unwrap();
    place.document.spec.local.gateway = address.to_string();
    refused_for_port(&place, address, "spec.local.gateway").await;
}

async fn a_node_port_in_use_is_named_and_nothing_is_left() {
    let mut place = Place::new();
    let foreign = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = foreign.local_addr().unwrap();
    place.document.spec.local.green.admin = address.to_string();
    refused_for_port(&place, address, "spec.local.green.admin").await;
}

async fn refused_for_port(place: &Place, address: SocketAddr, field: &str) {
    let error = Up::start(place.options()).await.err().unwrap();
    assert!(matches!(error, UpError::PortInUse { .. }), "{error}");
    let message = error.to_string();
    assert!(message.contains(&address.to_string()) && message.contains(field), "{message}");
    assert_eq!(place.processes(), []);
    assert_eq!(place.folder.load_control().unwrap(), None);
    drop(place.folder.lock().unwrap());
}

async fn nodes_outlive_an_up_that_leaves_them() {
    let place = Place::new();
    let up = place.up().await;
    let before = blue(&up).process;
    up.shutdown(ShutdownMode { stop_nodes: false }).await.unwrap();
    assert!(before.is_alive());
    let up = place.up().await;
    assert_eq!(blue(&up).process, before);
    assert_eq!(place.starts(Blue).len(), 1);
    up.shutdown(ShutdownMode { stop_nodes: true }).await.unwrap();
    assert!(!before.is_alive());
}

async fn a_killed_up_leaves_the_nodes_and_the_next_one_takes_over() {
    let place = Place::new();
    let mut first = place.up_elsewhere().await;
    let [node] = &place.processes()[..] else { panic!("one node") };
    first.kill().unwrap();
    first.wait().unwrap();
    assert!(node.is_alive());

    let up = place.up().await;
    assert_eq!(&blue(&up).process, node);
    assert_eq!(place.starts(Blue).len(), 1);
    assert_eq!(get(up.address(), "/health", &[]).await.unwrap(), (200, "1.0.0".into()));
    // What the first one's gateway acknowledged is not known to its successor one by one, so all reads demand all of it.
    let metrics = up.gateway().prometheus_text();
    assert!(metrics.contains("\njadeshift_gateway_lsn_min 7\n"), "{metrics}");
    // It is watched like one of its own.
    crate::place::signal(node, "-KILL");
    until("another process", || match up.platform().status(Blue) {
        Status::Running(running) if running.ready && running.process != *node => Some(()),
        _ => None,
    })
    .await;
    let healthy = || async { get(up.address(), "/health", &[]).await.ok().filter(|(status, _)| *status == 200) };
    until_async("an answer", healthy).await;
    up.shutdown(ShutdownMode { stop_nodes: true }).await.unwrap();
    assert_eq!(place.processes(), []);
}

async fn down_ends_a_running_up() {
    let place = Place::new();
    let mut up = place.up_elsewhere().await;
    let told = down(place.folder.root(), patience()).await.unwrap();
    assert_eq!(told, Downed::Told { pid: up.id() });
    assert!(up.wait().unwrap().success());
    assert_eq!(place.processes(), []);
    assert_eq!(place.folder.load_control().unwrap(), None);
}

async fn down_ends_what_a_killed_up_left() {
    let place = Place::new();
    let mut up = place.up_elsewhere().await;
    let [node] = &place.processes()[..] else { panic!("one node") };
    up.kill().unwrap();
    up.wait().unwrap();
    let Downed::Ended { nodes } = down(place.folder.root(), patience()).await.unwrap() else {
        panic!("nobody is told")
    };
    assert_eq!(nodes, BTreeMap::from([("blue".to_string(), node.pid)]));
    assert_eq!(place.processes(), []);
    assert!(place.log(Blue).contains("stopped when asked"));
    // Once more: there is nothing to end, and that is no error.
    let again = down(place.folder.root(), patience()).await.unwrap();
    assert_eq!(again, Downed::Ended { nodes: BTreeMap::new() });
    assert_eq!(down(&place.folder.root().join("elsewhere"), patience()).await.unwrap(), Downed::NoDeployment);
    assert!(!place.folder.root().join("elsewhere").exists());
}

async fn why_it_is_not_stable_is_told() {
    let mut place = Place::new();
    place.set("1.0.0", "FAKE_FAILS", "no such index kind");
    let up = Up::start(place.options()).await.unwrap();
    until("the crash", || matches!(up.platform().status(Blue), Status::Crashed { .. }).then_some(())).await;
    let error = loop {
        // A new attempt may be under way at the moment of the question.
        let error = up.wait_until_stable(Duration::from_millis(1)).await.unwrap_err();
        if error.to_string().contains("the blue node does not run") {
            break error;
        }
    };
    assert!(error.to_string().contains("its log ends: no such index kind"), "{error}");
    up.shutdown(ShutdownMode { stop_nodes: true }).await.unwrap();
    assert_eq!(place.processes(), []);
}
