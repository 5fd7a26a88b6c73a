//! The platform: processes and gateway together, as the engine sees them.

use crate::place::{Place, get, until, until_async};
use crate::runner::tests;
use client::{Admin, Http};
use conductor::{Platform, PlatformError, WorkloadObservation};
use gateway::{Gateway, GatewayOptions};
use local::LocalPlatform;
use local::supervisor::{Running, Status};
use rollout::{EnvironmentWorld, Phase, State, World};
use std::sync::Arc;
use std::time::Duration;
use wire::ByColour;
use wire::Colour::{self, Blue, Green};
use wire::admin::{Follow, Peer};

tests![
    requests_go_to_ready_nodes_and_the_first_one_begins_the_history,
    a_request_under_way_keeps_its_node_alive,
    an_environment_that_is_alone_is_replaced_in_its_place,
    requests_leave_a_crashed_node_and_come_back,
    an_emptied_data_folder_does_not_begin_anew,
    a_stored_generation_is_not_stored_again,
    a_second_environment_without_room_is_refused,
];

struct Machine {
    place: Place,
    platform: LocalPlatform,
    gateway: Arc<Gateway>,
}

impl Machine {
    async fn start(place: Place) -> Self {
        let gateway = Gateway::start(GatewayOptions::new("127.0.0.1:0".parse().unwrap())).await.unwrap();
        let gateway = Arc::new(gateway);
        let adopted = place.adopt().await;
        let platform =
            LocalPlatform::start(place.folder.clone(), place.document.clone(), adopted, gateway.clone()).unwrap();
        Self { place, platform, gateway }
    }

    async fn ready(&self, colour: Colour) -> Running {
        until("a ready node", || match self.platform.status(colour) {
            Status::Running(running) if running.ready => Some(running),
            _ => None,
        })
        .await
    }

    /// Waits until the gateway confirms the shares of `world`.
    async fn in_effect(&self, world: &World) {
        until_async("the shares in effect", || async {
            let seen = self.platform.observe().await.unwrap().reads_in_effect;
            (seen == Some(world.reads)).then_some(())
        })
        .await;
    }

    /// Tells a waiting node whom to follow, which makes it ready.
    async fn follow(&self, colour: Colour) {
        let (peer, admin_token) = until_async("the node's address", || async {
            match &self.platform.observe().await.unwrap().environments.get(colour)[0] {
                WorkloadObservation::Running { peer, admin_token, .. } if !peer.admin.ends_with(":0") => {
                    Some((peer.clone(), admin_token.clone()))
                }
                _ => None,
            }
        })
        .await;
        let admin = Admin::new(Http::new(), &peer.admin, &admin_token, Duration::from_secs(5));
        let primary = Peer { admin: "127.0.0.1:1".into(), http: "127.0.0.1:1".into() };
        let follow = Follow { epoch: 1, primary };
        until_async("its new role", || async { admin.follow(&follow).await.ok() }).await;
    }

    async fn stop(self) {
        self.gateway.shutdown(Duration::ZERO).await;
        self.platform.stop(|_| true).await.unwrap();
        assert_eq!(self.place.processes(), []);
    }
}

fn world(blue: Option<&str>, green: Option<&str>, share_green: u8) -> World {
    let environment = |version: Option<&str>| EnvironmentWorld { version: version.map(Into::into), role: None };
    World {
        heads: ByColour::default(),
        fenced: None,
        successor: None,
        environments: ByColour::new(environment(blue), environment(green)),
        reads: ByColour::new(100 - share_green, share_green),
        writes: Blue,
        prove_way_back: None,
        replay_reads: false,
    }
}

async fn requests_go_to_ready_nodes_and_the_first_one_begins_the_history() {
    let machine = Machine::start(Place::new()).await;
    let blue_only = world(Some("1.0.0"), None, 0);
    assert_eq!(machine.platform.observe().await.unwrap().reads_in_effect, None);
    machine.platform.apply(&blue_only).await.unwrap();
    machine.in_effect(&blue_only).await;
    let address = machine.gateway.address();
    assert_eq!(get(address, "/", &[]).await.unwrap(), (200, "1.0.0".into()));

    // Green joins: a node that waits for its history is not ready, and gets no requests.
    let both = world(Some("1.0.0"), Some("1.1.0"), 50);
    machine.platform.apply(&both).await.unwrap();
    until("green's start", || (!machine.place.starts(Green).is_empty()).then_some(())).await;
    assert!(machine.place.starts(Green)[0].contains("--join"));
    assert!(!machine.place.starts(Blue)[0].contains("--join"));
    assert_eq!(machine.platform.observe().await.unwrap().reads_in_effect, None);
    assert_eq!(get(address, "/", &[]).await.unwrap().1, "1.0.0");

    // Told whom to follow, it is.
    machine.follow(Green).await;
    machine.in_effect(&both).await;
    assert_eq!(get(address, "/", &[("canary", "green")]).await.unwrap(), (200, "1.1.0".into()));
    let traffic = machine.platform.observe().await.unwrap().traffic.unwrap();
    assert_eq!((traffic.green.reads, traffic.green.read_errors), (1, 0));
    machine.stop().await;
}

async fn a_request_under_way_keeps_its_node_alive() {
    let machine = Machine::start(Place::new()).await;
    let both = world(Some("1.0.0"), Some("1.1.0"), 50);
    machine.platform.apply(&both).await.unwrap();
    machine.follow(Green).await;
    machine.in_effect(&both).await;
    let green = machine.ready(Green).await;
    let address = machine.gateway.address();
    let data = machine.place.folder.data(Green);
    let slow = tokio::spawn(async move { get(address, "/slow", &[("canary", "green")]).await });
    until("the request at the node", || data.join("asked").exists().then_some(())).await;

    // Green is let go: it gets nothing new, but its process ends only after its last answer.
    machine.platform.apply(&world(Some("1.0.0"), None, 0)).await.unwrap();
    until("the wish at the keeper", || match machine.platform.status(Green) {
        Status::Running(running) if running.leaving => Some(()),
        _ => None,
    })
    .await;
    for _ in 0..20 {
        assert_eq!(get(address, "/", &[]).await.unwrap().1, "1.0.0");
    }
    assert!(green.process.is_alive() && !slow.is_finished());
    std::fs::write(data.join("release"), "").unwrap();
    assert_eq!(slow.await.unwrap().unwrap(), (200, "1.1.0".into()));
    until("the end", || (machine.platform.status(Green) == Status::Stopped).then_some(())).await;
    assert!(!green.process.is_alive());
    assert_eq!(machine.gateway.routing().backends.green, None);
    machine.stop().await;
}

async fn an_environment_that_is_alone_is_replaced_in_its_place() {
    let machine = Machine::start(Place::new()).await;
    machine.platform.apply(&world(Some("1.0.0"), None, 0)).await.unwrap();
    machine.ready(Blue).await;
    let next = world(Some("1.1.0"), None, 0);
    machine.platform.apply(&next).await.unwrap();
    until("the new version", || match machine.platform.status(Blue) {
        Status::Running(running) if running.ready && running.version == "1.1.0" => Some(()),
        _ => None,
    })
    .await;
    machine.in_effect(&next).await;
    assert_eq!(get(machine.gateway.address(), "/", &[]).await.unwrap(), (200, "1.1.0".into()));
    machine.stop().await;
}

async fn requests_leave_a_crashed_node_and_come_back() {
    let machine = Machine::start(Place::new()).await;
    let wanted = world(Some("1.0.0"), None, 0);
    machine.platform.apply(&wanted).await.unwrap();
    let blue = machine.ready(Blue).await;
    machine.in_effect(&wanted).await;
    crate::place::signal(&blue.process, "-KILL");
    // Nobody applies anything meanwhile.
    until("another process in the routing", || match machine.platform.status(Blue) {
        Status::Running(running) if running.ready && running.process != blue.process => Some(()),
        _ => None,
    })
    .await;
    machine.in_effect(&wanted).await;
    assert_eq!(get(machine.gateway.address(), "/", &[]).await.unwrap(), (200, "1.0.0".into()));
    machine.stop().await;
}

async fn an_emptied_data_folder_does_not_begin_anew() {
    let place = Place::new();
    let mut state = State::first(&place.document.spec, 0);
    place.folder.store_state(&state).unwrap();
    state.generation += 1;
    state.phase = Phase::Stable;
    place.folder.store_state(&state).unwrap();
    let machine = Machine::start(place).await;
    assert_eq!(machine.platform.load().await.unwrap(), Some(state.clone()));
    machine.platform.apply(&World::of(&state)).await.unwrap();
    until("blue's start", || (!machine.place.starts(Blue).is_empty()).then_some(())).await;
    assert!(machine.place.starts(Blue)[0].contains("--join"));
    assert!(!machine.platform.is_serving());
    machine.stop().await;
}

async fn a_stored_generation_is_not_stored_again() {
    let machine = Machine::start(Place::new()).await;
    assert_eq!(machine.platform.load().await.unwrap(), None);
    let first = State::first(&machine.place.document.spec, 0);
    machine.platform.store(&first).await.unwrap();
    let error = machine.platform.store(&first).await.unwrap_err();
    assert!(matches!(error, PlatformError::Conflict { stored: 1, offered: 1 }), "{error}");
    assert_eq!(machine.platform.state().borrow().as_ref(), Some(&first));
    machine.stop().await;
}

async fn a_second_environment_without_room_is_refused() {
    let machine = Machine::start(Place::new()).await;
    let blue_only = world(Some("1.0.0"), None, 0);
    machine.platform.apply(&blue_only).await.unwrap();
    machine.ready(Blue).await;
    // Blue claims more than any disk has (a hole takes no room).
    let big = machine.place.folder.data(Blue).join("big");
    std::fs::File::create(&big).unwrap().set_len(1 << 43).unwrap();
    let both = world(Some("1.0.0"), Some("1.1.0"), 0);
    let why = until_async("the refusal", || async {
        match machine.platform.apply(&both).await {
            Err(PlatformError::Workload { colour: Green, why }) => Some(why),
            _ => None,
        }
    })
    .await;
    assert!(why.contains("8192 GiB") && why.contains("more disk"), "{why}");
    assert_eq!(machine.place.starts(Green).len(), 0);
    // Blue itself, with all its data, may crash and come back beside another one.
    std::fs::remove_file(big).unwrap();
    until("green after all", || (!machine.place.starts(Green).is_empty()).then_some(())).await;
    machine.platform.apply(&both).await.unwrap();
    machine.stop().await;
}
