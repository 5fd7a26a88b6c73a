//! Records that differ between two real nodes are named by the real conductor, also while writes go on.

use crate::replica::{ADMIN_TOKEN, Replica};
use conductor::{Conductor, Info, Platform, PlatformError, PlatformObservation, TrafficCounts, WorkloadObservation};
use jadevectordb::account::User;
use jadevectordb::engine::Node;
use jadevectordb::record::{DatabaseRecord, Metric, Op, VectorRecord};
use rollout::{Command, Outcome, Phase, State, World};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::task::JoinHandle;
use wire::admin::{Lsn, Peer};
use wire::control::Differences;
use wire::document::{BlueGreen, Step};
use wire::snapshot::Place;
use wire::{ByColour, Colour};

const BOUND: Duration = Duration::from_secs(60);

/// Two nodes that run all the time.
struct Machine {
    peers: ByColour<Peer>,
    state: Mutex<Option<State>>,
    world: Mutex<Option<World>>,
    reads: Mutex<u64>,
}

impl Platform for Machine {
    async fn load(&self) -> Result<Option<State>, PlatformError> {
        Ok(self.state.lock().unwrap().clone())
    }

    async fn store(&self, state: &State) -> Result<(), PlatformError> {
        *self.state.lock().unwrap() = Some(state.clone());
        Ok(())
    }

    async fn apply(&self, world: &World) -> Result<(), PlatformError> {
        *self.world.lock().unwrap() = Some(world.clone());
        Ok(())
    }

    async fn observe(&self) -> Result<PlatformObservation, PlatformError> {
        let world = self.world.lock().unwrap().clone();
        let world = world.ok_or(PlatformError::Observe("nothing was applied".into()))?;
        let environments = ByColour::from_fn(|colour| match &world.environments.get(colour).version {
            None => WorkloadObservation::Stopped,
            Some(version) => WorkloadObservation::Running {
                version: version.clone(),
                peer: self.peers.get(colour).clone(),
                admin_token: ADMIN_TOKEN.into(),
            },
        });
        let mut reads = self.reads.lock().unwrap();
        *reads += 100;
        let counts = TrafficCounts { reads: *reads, read_errors: 0 };
        Ok(PlatformObservation {
            environments: environments.map(|_, environment| vec![environment]),
            reads_in_effect: Some(world.reads),
            traffic: Some(ByColour::new(counts, counts)),
            read_latency: None,
        })
    }
}

/// Blue, the primary, with some records; green, which follows it.
struct Stage {
    blue: Replica,
    green: Replica,
    conductor: Conductor,
}

impl Stage {
    async fn start() -> Self {
        let (blue, green) = (Replica::start(false).await, Replica::start(true).await);
        blue.node.write(database("db", "one")).await.unwrap();
        for number in 0..300 {
            blue.node.write(put(&format!("v{number}"), number as f32)).await.unwrap();
        }
        blue.node.write(user("one@example.org")).await.unwrap();
        green.node.follow(blue.node.position().epoch, blue.peer()).await.unwrap();
        assert!(green.node.applied(blue.node.lsn(), BOUND).await);
        let mut document = BlueGreen::named("test");
        let step = Step { duration_min_ms: 0, requests_min: 0, pause: true, ..Step::of_share(50) };
        document.spec.rollout.steps = vec![step];
        document.spec.evidence.replays_min = 0;
        document.spec.evidence.evidence_min = 0.0;
        document.spec.rollout.watch_ms = 200;
        let platform = Machine {
            peers: ByColour::new(blue.peer(), green.peer()),
            state: Mutex::default(),
            world: Mutex::default(),
            reads: Mutex::default(),
        };
        let conductor = Conductor::start(Arc::new(platform), document).await.unwrap();
        let stage = Self { blue, green, conductor };
        stage.until(|info| info.phase == Phase::Stable).await;
        stage
    }

    async fn until(&self, wanted: impl Fn(&Info) -> bool) -> Info {
        let mut snapshots = self.conductor.subscribe();
        let found = tokio::time::timeout(BOUND, snapshots.wait_for(|info| wanted(info))).await;
        if let Ok(Ok(info)) = found {
            return info.clone();
        }
        panic!("the last snapshot is {:#?}", self.conductor.info())
    }

    /// Into the middle of a rollout.
    async fn shift(&self) {
        self.conductor.command(Command::Deploy { version: "1.1.0".into() }).await.unwrap();
        self.until(|info| matches!(info.phase, Phase::Shifting { .. })).await;
    }

    /// The LSN of the write of a vector.
    fn version(&self, id: &str) -> Lsn {
        self.blue.node.store().database("db").unwrap().get(id).unwrap().version
    }

    /// Changes green behind the back of its log: what it gets is not in the history, and neither in that of blue.
    fn spoil(&self, lsn: Lsn, op: Op) {
        self.green.node.store().apply(lsn, op);
    }

    async fn differences(&self) -> Differences {
        let verified = self.conductor.verify(false).await.unwrap();
        assert!(!verified.equal, "{}", verified.why);
        let found = verified.differences.expect("the digests differ");
        assert_eq!(found.error, None);
        found
    }
}

fn database(id: &str, description: &str) -> Op {
    Op::PutDatabase(DatabaseRecord {
        database_id: id.into(),
        name: "n".into(),
        description: description.into(),
        dimension: 2,
        index_type: "HNSW".into(),
        metric: Metric::Cosine,
        created_ms: 1,
        updated_ms: 1,
    })
}

fn put(id: &str, value: f32) -> Op {
    let vector = VectorRecord { id: id.into(), values: vec![1.0, value], metadata: String::new() };
    Op::PutVectors { database: "db".into(), vectors: vec![vector] }
}

fn delete(id: &str) -> Op {
    Op::DeleteVectors { database: "db".into(), ids: vec![id.into()] }
}

fn user(email: &str) -> Op {
    Op::PutUser(User {
        user_id: "u1".into(),
        username: "one".into(),
        email: email.into(),
        password_hash: "x".into(),
        roles: Vec::new(),
        is_active: true,
        must_change_password: false,
        created_ms: 1,
    })
}

fn vector(id: &str) -> Place {
    Place::Vector { database: "db".into(), id: id.into() }
}

/// Writes, rewrites and deletes vectors until it is dropped.
struct Writing(JoinHandle<()>);

impl Writing {
    fn to(node: &Node) -> Self {
        let node = node.clone();
        Self(tokio::spawn(async move {
            for number in 0u64.. {
                let id = format!("w{}", number * 7 % 101);
                let op = if number % 3 == 0 { delete(&id) } else { put(&id, number as f32) };
                node.write(op).await.unwrap();
            }
        }))
    }
}

impl Drop for Writing {
    fn drop(&mut self) {
        self.0.abort();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn each_record_that_differs_is_named_while_writes_go_on() {
    let stage = Stage::start().await;
    stage.shift().await;
    let _writing = Writing::to(&stage.blue.node);
    let verified = stage.conductor.verify(false).await.unwrap();
    assert!(verified.equal && verified.differences.is_none(), "{}", verified.why);

    let (changed, older) = (stage.version("v7"), stage.version("v9"));
    stage.spoil(changed, put("v7", -1.0));
    stage.spoil(older - 1, put("v9", 9.0));
    stage.spoil(changed, delete("v8"));
    stage.spoil(5, put("ghost", 0.0));
    let lsns = |difference: &wire::control::Difference| {
        difference.versions.clone().map(|_, version| version.map(|version| version.lsn))
    };
    let expected = [
        (vector("ghost"), ByColour::new(None, Some(5))),
        (vector("v7"), ByColour::new(Some(changed), Some(changed))),
        (vector("v8"), ByColour::new(Some(stage.version("v8")), None)),
        (vector("v9"), ByColour::new(Some(older), Some(older - 1))),
    ];
    for _ in 0..10 {
        let found = stage.differences().await;
        assert_eq!((found.count, found.buckets_differing >= 4), (4, true));
        let named: Vec<_> = found.records.iter().map(|one| (one.record.clone(), lsns(one))).collect();
        assert_eq!(named, expected);
    }
    let hashes = &stage.differences().await.records[1].versions;
    assert_ne!(hashes.blue.as_ref().unwrap().hash, hashes.green.as_ref().unwrap().hash);

    // A write of the record mends it, and it is no longer named; what is no vector is named as well.
    stage.blue.node.write(put("v7", 7.0)).await.unwrap();
    stage.spoil(3, user("another@example.org"));
    stage.spoil(2, database("db", "another"));
    let found = stage.differences().await;
    let named: Vec<Place> = found.records.into_iter().map(|one| one.record).collect();
    let (user, database) = (Place::User { id: "u1".into() }, Place::Database { id: "db".into() });
    assert_eq!(named, [user, database, vector("ghost"), vector("v8"), vector("v9")]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn more_differences_than_can_be_named_are_counted() {
    let stage = Stage::start().await;
    stage.shift().await;
    for number in 0..250 {
        stage.spoil(2, put(&format!("v{number}"), -1.0));
    }
    let found = stage.differences().await;
    assert_eq!((found.count, found.records.len()), (250, 20));
    assert_eq!(found.buckets_searched, found.buckets_differing);
    let why = stage.conductor.verify(false).await.unwrap().why;
    assert!(why.ends_with("; and 247 more"), "{why}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_rollout_that_goes_back_for_a_differing_record_says_which() {
    let stage = Stage::start().await;
    let version = stage.version("v5");
    stage.spoil(version, delete("v5"));
    stage.conductor.command(Command::Deploy { version: "1.1.0".into() }).await.unwrap();
    let info = stage.until(|info| info.history.len() == 1).await;
    assert_eq!(info.history[0].outcome, Outcome::RolledBack);
    let named = format!("; vector `v5` of database `db`, written at LSN {version} on blue, is missing on green");
    assert!(info.history[0].reason.contains(&named), "{}", info.history[0].reason);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn copies_are_compared_at_every_moment_of_a_handover() {
    let stage = Stage::start().await;
    stage.shift().await;
    stage.conductor.command(Command::Promote { full: true }).await.unwrap();
    let (mut compared, mut before, mut after) = (0, 0, 0);
    while !matches!(stage.conductor.info().phase, Phase::Stable) || after == 0 {
        let verified = stage.conductor.verify(false).await.unwrap();
        assert!(verified.equal, "{}", verified.why);
        compared += 1;
        match verified.primary {
            Colour::Blue => before += 1,
            Colour::Green => after += 1,
        }
    }
    assert!(before > 0 && after > 0, "{before} before and {after} after of {compared}");
}
