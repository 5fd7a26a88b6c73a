use super::snapshotter::Through;
use super::*;
use crate::config::Limits;
use crate::record::{DatabaseRecord, Metric, VectorRecord};
use crate::surroundings::Surroundings;
use std::path::Path;
use tempfile::TempDir;
use wire::document::{Index, Mode};

mod acknowledged;
mod failing_disk;
mod versions;

pub(crate) const WAIT: Duration = Duration::from_secs(20);

pub(crate) fn config(dir: &Path, join: bool) -> Config {
    Config {
        data_dir: dir.to_path_buf(),
        http: "127.0.0.1:0".parse().unwrap(),
        admin: "127.0.0.1:0".parse().unwrap(),
        version: "1.0.0".into(),
        admin_token: "secret".into(),
        join,
        index: Index::default(),
        record_format: crate::record::FORMAT_MAX,
        faults: Faults::default(),
        mode: Mode::Development,
        limits: Limits::default(),
        surroundings: Surroundings::default(),
    }
}

/// A node with its admin protocol on a real socket.
pub(crate) struct Running {
    pub node: Node,
    pub peer: Peer,
    server: tokio::task::JoinHandle<()>,
}

impl Running {
    pub async fn start(dir: &Path, join: bool) -> Running {
        Self::start_with(config(dir, join)).await
    }

    pub async fn start_with(config: Config) -> Running {
        let node = Node::open(config).unwrap();
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let admin = listener.local_addr().unwrap().to_string();
        let router = crate::admin::router(node.clone());
        let server = tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
        Running { node, peer: Peer { admin, http: "127.0.0.1:1".into() }, server }
    }

    pub async fn stop(self) {
        self.server.abort();
        let node = self.node.clone();
        tokio::task::spawn_blocking(move || node.close()).await.unwrap();
    }
}

pub(crate) async fn eventually(what: &str, mut holds: impl FnMut() -> bool) {
    let end = Instant::now() + WAIT;
    while !holds() {
        assert!(Instant::now() < end, "{what} did not come true");
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
}

pub(crate) fn create() -> Op {
    Op::PutDatabase(DatabaseRecord {
        database_id: "db".into(),
        name: "n".into(),
        description: String::new(),
        dimension: 4,
        index_type: "HNSW".into(),
        metric: Metric::Cosine,
        created_ms: 1,
        updated_ms: 1,
    })
}

pub(crate) fn put(number: u64) -> Op {
    let values = vec![number as f32, 1.0, 0.0, -0.0];
    let vector = VectorRecord { id: format!("v{number}"), values, metadata: String::new() };
    Op::PutVectors { database: "db".into(), vectors: vec![vector] }
}

pub(crate) async fn write_many(node: &Node, numbers: std::ops::Range<u64>) {
    for number in numbers {
        node.write(put(number)).await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_acknowledged_is_there_after_a_restart() {
    let dir = TempDir::new().unwrap();
    let running = Running::start(dir.path(), false).await;
    running.node.write(create()).await.unwrap();
    let writers: Vec<_> = (0..8)
        .map(|writer| {
            let node = running.node.clone();
            tokio::spawn(async move { write_many(&node, writer * 50..writer * 50 + 50).await })
        })
        .collect();
    for writer in writers {
        writer.await.unwrap();
    }
    let (position, digest) = running.node.digest_now().await.unwrap();
    running.stop().await;

    let running = Running::start(dir.path(), false).await;
    assert_eq!(running.node.digest_now().await.unwrap(), (position, digest));
    assert_eq!(running.node.store().database("db").unwrap().len(), 400);
    assert_eq!(running.node.standing(), Standing::Primary);
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_snapshot_shortens_the_log_and_loses_nothing() {
    let dir = TempDir::new().unwrap();
    let mut config = config(dir.path(), false);
    config.limits.snapshot_log_bytes = 20_000;
    let running = Running::start_with(config.clone()).await;
    running.node.write(create()).await.unwrap();
    write_many(&running.node, 0..1_000).await;
    let snapshots = || std::fs::read_dir(dir.path().join("snapshot")).map_or(0, Iterator::count);
    eventually("a snapshot", || snapshots() > 0).await;
    write_many(&running.node, 500..1_500).await;
    let (position, digest) = running.node.digest_now().await.unwrap();
    running.stop().await;
    let running = Running::start_with(config).await;
    assert_eq!(running.node.digest_now().await.unwrap(), (position, digest));
    let rehash = crate::feed::rehash(&running.node).await.unwrap();
    assert_eq!((rehash.lsn, &rehash.from_storage), (position.lsn, &rehash.from_memory));
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_node_on_the_folder_is_refused() {
    let dir = TempDir::new().unwrap();
    let running = Running::start(dir.path(), false).await;
    let error = Node::open(config(dir.path(), false)).err().unwrap().to_string();
    assert!(error.contains(&dir.path().display().to_string()), "{error}");
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn wrong_writes_change_nothing_and_say_why() {
    let dir = TempDir::new().unwrap();
    let running = Running::start(dir.path(), false).await;
    let node = &running.node;
    assert_eq!(node.write(put(1)).await, Err(WriteError::UnknownDatabase("db".into())));
    node.write(create()).await.unwrap();
    let before = node.digest_now().await.unwrap();
    let wrong = VectorRecord { id: "x".into(), values: vec![1.0], metadata: String::new() };
    let fine = VectorRecord { id: "y".into(), values: vec![1.0; 4], metadata: String::new() };
    let batch = Op::PutVectors { database: "db".into(), vectors: vec![fine, wrong] };
    assert_eq!(node.write(batch).await, Err(WriteError::Dimension { expected: 4, got: 1, position: 1 }));
    let taken = node.write_if(Op::Marker, Condition::UserExists("nobody".into())).await;
    assert!(matches!(taken, Err(WriteError::Conflict(_))));
    assert_eq!(node.digest_now().await.unwrap(), before);
    running.stop().await;
}

/// A write of vector `number` by a request with this key.
pub(crate) fn keyed(key: u8, request: u8, number: u64) -> Op {
    let answered = Answered { key: [key; 32], request: [request; 32], at_ms: 1, status: 201, body: "{}".into() };
    Op::Keyed { op: Box::new(put(number)), answered }
}

#[tokio::test(flavor = "multi_thread")]
async fn of_many_retries_in_one_group_one_is_done() {
    let dir = TempDir::new().unwrap();
    let running = Running::start(dir.path(), false).await;
    running.node.write(create()).await.unwrap();
    for round in 0..20 {
        let writes = (0..30).map(|number| {
            let node = running.node.clone();
            // Every third is another request with the same key.
            let op = if number % 3 == 2 { keyed(round, 2, 1) } else { keyed(round, 1, 0) };
            tokio::spawn(async move { (node.write(op).await, number % 3 == 2) })
        });
        let (mut applied, mut repeated, mut reused) = (Vec::new(), Vec::new(), 0);
        for write in writes.collect::<Vec<_>>() {
            match write.await.unwrap() {
                (Ok(done), other) => applied.push((done.lsn, other)),
                (Err(WriteError::Repeated(first)), other) => repeated.push((first.lsn, other)),
                (Err(WriteError::KeyReused), _) => reused += 1,
                (Err(error), _) => panic!("{error}"),
            }
        }
        let [(lsn, other)] = applied[..] else { panic!("{applied:?}") };
        assert!(repeated.iter().all(|repeat| *repeat == (lsn, other)), "{repeated:?}");
        assert_eq!(repeated.len() + 1, if other { 10 } else { 20 });
        assert_eq!(reused, if other { 20 } else { 10 });
    }
    let keys = running.node.store().answered_count();
    running.stop().await;
    let running = Running::start(dir.path(), false).await;
    assert_eq!((keys, running.node.store().answered_count()), (20, 20));
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_follower_is_seeded_and_follows_with_the_same_digest() {
    let (blue_dir, green_dir) = (TempDir::new().unwrap(), TempDir::new().unwrap());
    let blue = Running::start(blue_dir.path(), false).await;
    blue.node.write(create()).await.unwrap();
    write_many(&blue.node, 0..300).await;
    let green = Running::start(green_dir.path(), true).await;
    assert_eq!(green.node.standing(), Standing::Waiting);
    assert!(!green.node.ready());
    green.node.follow(1, blue.peer.clone()).await.unwrap();
    write_many(&blue.node, 300..600).await;
    let marker = blue.node.marker().await.unwrap();
    let wanted = blue.node.digest_at(marker, WAIT).await.unwrap();
    assert_eq!(green.node.digest_at(marker, WAIT).await, Some(wanted));
    assert!(green.node.ready());
    assert_eq!(green.node.write(put(1)).await, Err(WriteError::NotPrimary));
    // A restarted follower goes on where it was.
    green.stop().await;
    write_many(&blue.node, 600..700).await;
    let green = Running::start(green_dir.path(), true).await;
    assert!(green.node.applied(blue.node.lsn(), WAIT).await);
    assert_eq!(green.node.digest_now().await.unwrap(), blue.node.digest_now().await.unwrap());
    blue.stop().await;
    green.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_right_to_write_moves_and_comes_back() {
    let (blue_dir, green_dir) = (TempDir::new().unwrap(), TempDir::new().unwrap());
    let blue = Running::start(blue_dir.path(), false).await;
    blue.node.write(create()).await.unwrap();
    let green = Running::start(green_dir.path(), true).await;
    green.node.follow(1, blue.peer.clone()).await.unwrap();
    let mut epoch = 1;
    let (mut old, mut new) = (&blue, &green);
    for round in 0..6 {
        write_many(&old.node, round * 10..round * 10 + 10).await;
        epoch += 1;
        let sealed = old.node.seal(epoch).await.unwrap();
        assert_eq!(old.node.seal(epoch).await.unwrap(), sealed, "a repeated seal gives the same answer");
        assert_eq!(old.node.write(put(999)).await, Err(WriteError::NotPrimary));
        assert!(new.node.applied(sealed.lsn, WAIT).await);
        let digest = new.node.digest_at(sealed.lsn, WAIT).await.unwrap();
        assert_eq!(digest.root, sealed.digest);
        new.node.promote(epoch, sealed.lsn).await.unwrap();
        new.node.promote(epoch, sealed.lsn).await.unwrap();
        assert_eq!(new.node.position(), Position { lsn: sealed.lsn + 1, epoch });
        old.node.follow(epoch, new.peer.clone()).await.unwrap();
        std::mem::swap(&mut old, &mut new);
    }
    write_many(&old.node, 100..110).await;
    assert!(new.node.applied(old.node.lsn(), WAIT).await);
    assert_eq!(new.node.digest_now().await.unwrap(), old.node.digest_now().await.unwrap());
    assert_eq!(old.node.store().database("db").unwrap().len(), 70);
    blue.stop().await;
    green.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn roles_survive_a_restart() {
    let dir = TempDir::new().unwrap();
    let running = Running::start(dir.path(), false).await;
    running.node.write(create()).await.unwrap();
    let sealed = running.node.seal(2).await.unwrap();
    running.stop().await;
    let running = Running::start(dir.path(), false).await;
    assert_eq!(running.node.standing(), Standing::Sealed);
    assert_eq!(running.node.seal(2).await.unwrap(), sealed);
    assert!(matches!(running.node.resume(1).await, Err(RoleError::StaleEpoch { .. })));
    running.node.resume(3).await.unwrap();
    write_many(&running.node, 0..3).await;
    assert_eq!(running.node.position().epoch, 3);
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_history_that_diverged_is_set_aside_and_seeded_anew() {
    let (blue_dir, green_dir) = (TempDir::new().unwrap(), TempDir::new().unwrap());
    let blue = Running::start(blue_dir.path(), false).await;
    blue.node.write(create()).await.unwrap();
    let green = Running::start(green_dir.path(), true).await;
    green.node.follow(1, blue.peer.clone()).await.unwrap();
    assert!(green.node.applied(blue.node.lsn(), WAIT).await);
    // Green is promoted while blue, cut off, goes on writing in the old epoch.
    let cut = green.node.lsn();
    green.node.promote(2, cut).await.unwrap();
    write_many(&blue.node, 0..5).await;
    write_many(&green.node, 10..30).await;
    blue.node.follow(2, green.peer.clone()).await.unwrap();
    assert!(blue.node.applied(green.node.lsn(), WAIT).await);
    eventually("the same content", || blue.node.store().digest() == green.node.store().digest() && blue.node.ready())
        .await;
    assert!(blue.node.store().database("db").unwrap().get("v3").is_none());
    let aside: Vec<_> = std::fs::read_dir(blue_dir.path().join("set-aside")).unwrap().collect();
    assert_eq!(aside.len(), 1, "what blue alone had is kept");
    blue.stop().await;
    green.stop().await;
}

/// Snapshots soon, and a log of short files of which little is kept.
pub(crate) fn forgetful(dir: &Path) -> Config {
    let mut config = config(dir, false);
    config.limits.snapshot_log_bytes = 20_000;
    config.limits.segment_bytes = 8_000;
    config.limits.retained_log_bytes = 16_000;
    config
}

#[tokio::test(flavor = "multi_thread")]
async fn a_follower_too_far_behind_is_seeded_anew_by_itself() {
    let (blue_dir, green_dir) = (TempDir::new().unwrap(), TempDir::new().unwrap());
    let blue = Running::start_with(forgetful(blue_dir.path())).await;
    blue.node.write(create()).await.unwrap();
    let green = Running::start(green_dir.path(), true).await;
    green.node.follow(1, blue.peer.clone()).await.unwrap();
    assert!(green.node.applied(blue.node.lsn(), WAIT).await);
    let left_at = green.node.lsn();
    green.stop().await;
    // The log is cut in spite of the absent follower, because the bound says so.
    let mut number = 0;
    let log = &blue.node.shared().log;
    while log.renewed().first_available() <= left_at + 1 {
        write_many(&blue.node, number..number + 100).await;
        number += 100;
        assert!(number < 50_000, "the log was never cut");
    }
    let green = Running::start(green_dir.path(), true).await;
    assert!(green.node.applied(blue.node.lsn(), WAIT).await);
    eventually("a whole copy", || green.node.ready()).await;
    assert_eq!(green.node.digest_now().await.unwrap(), blue.node.digest_now().await.unwrap());
    blue.stop().await;
    green.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_log_is_kept_for_a_follower_within_the_bound() {
    let dir = TempDir::new().unwrap();
    let mut config = forgetful(dir.path());
    config.limits.retained_log_bytes = 1 << 30;
    let blue = Running::start_with(config).await;
    blue.node.write(create()).await.unwrap();
    let behind = blue.node.lsn();
    let seen = FollowerSeen { sent_lsn: behind, seen: Instant::now() };
    blue.node.shared().followers.lock().insert("absent".into(), seen);
    let newest = || {
        let files = std::fs::read_dir(dir.path().join("snapshot")).into_iter().flatten().flatten();
        files.map(|file| file.file_name()).max()
    };
    let mut before = None;
    for round in 0..3 {
        write_many(&blue.node, round * 500..round * 500 + 500).await;
        eventually("another snapshot", || newest() > before).await;
        before = newest();
    }
    // Decided by the writer after the snapshot: this task comes behind that one.
    blue.node.digest_now().await.unwrap();
    assert!(blue.node.shared().log.renewed().first_available() <= behind + 1);
    blue.node.shared().followers.lock().clear();
    let end = Instant::now() + WAIT;
    while blue.node.shared().log.renewed().first_available() <= behind + 1 {
        assert!(Instant::now() < end, "the log was not cut though nobody needs it");
        write_many(&blue.node, 0..100).await;
    }
    blue.stop().await;
}

/// A walk may meet what was applied a moment before the position says so.
#[tokio::test(flavor = "multi_thread")]
async fn a_snapshot_is_complete_only_behind_everything_that_its_walk_may_have_met() {
    let dir = TempDir::new().unwrap();
    let running = Running::start(dir.path(), false).await;
    let node = running.node.clone();
    node.write(create()).await.unwrap();
    let before = node.lsn();
    let writing = {
        let _held = node.store().hold();
        let writer = node.clone();
        let writing = tokio::spawn(async move { writer.write(put(1)).await });
        let end = Instant::now() + WAIT;
        while node.shared().log.durable().0 == before {
            assert!(Instant::now() < end, "the write does not reach the disk");
            std::thread::yield_now();
        }
        assert_eq!((node.lsn(), SnapshotTail::of(node.shared()).complete_at), (before, before + 1));
        writing
    };
    writing.await.unwrap().unwrap();
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_snapshot_of_the_history_before_cuts_nothing_off_the_log() {
    let dir = TempDir::new().unwrap();
    let blue = Running::start_with(forgetful(dir.path())).await;
    blue.node.write(create()).await.unwrap();
    let newest = || std::fs::read_dir(dir.path().join("snapshot")).map_or(0, Iterator::count);
    write_many(&blue.node, 0..1_000).await;
    eventually("a snapshot", || newest() > 0).await;
    blue.node.digest_now().await.unwrap();
    let log = blue.node.shared().log.renewed();
    let first = log.first_available();
    let through = Through { generation: log.generation() - 1, lsn: blue.node.lsn() };
    blue.node.shared().tasks.send(Task::SnapshotWritten { through: Ok(through) }).await.unwrap();
    blue.node.digest_now().await.unwrap();
    assert_eq!(log.first_available(), first);
    let through = Through { generation: log.generation(), ..through };
    blue.node.shared().tasks.send(Task::SnapshotWritten { through: Ok(through) }).await.unwrap();
    blue.node.digest_now().await.unwrap();
    assert!(log.first_available() > first, "there was something to cut");
    blue.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn another_history_is_not_followed() {
    let (blue_dir, green_dir) = (TempDir::new().unwrap(), TempDir::new().unwrap());
    let blue = Running::start(blue_dir.path(), false).await;
    let green = Running::start(green_dir.path(), false).await;
    green.node.write(create()).await.unwrap();
    let before = green.node.store().digest();
    green.node.follow(2, blue.peer.clone()).await.unwrap();
    eventually("an error that says so", || {
        green.node.shared().feed.lock().error.as_deref().is_some_and(|error| error.contains("holds the history"))
    })
    .await;
    assert_eq!(green.node.store().digest(), before);
    blue.stop().await;
    green.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn held_writes_are_bounded_in_number_and_bytes() {
    let dir = TempDir::new().unwrap();
    let mut config = config(dir.path(), false);
    config.limits.held_writes = 2;
    config.limits.held_bytes = 100;
    let running = Running::start_with(config).await;
    let first = running.node.hold(60).unwrap();
    assert!(running.node.hold(60).is_none(), "bytes");
    let second = running.node.hold(10).unwrap();
    assert!(running.node.hold(1).is_none(), "number");
    drop((first, second));
    assert_eq!(running.node.held_writes(), 0);
    running.stop().await;
}

#[tokio::test]
async fn a_node_of_tasks_does_all_that_one_of_threads_does() {
    let dir = TempDir::new().unwrap();
    let mut config = forgetful(dir.path());
    config.surroundings.execution = Execution::Tasks { pace: Arc::new(|| Duration::from_millis(1)) };
    // Databases are only indexed above their bound.
    config.index.exact_up_to = 0;
    let node = Node::open(config.clone()).unwrap();
    node.write(create()).await.unwrap();
    for round in 0..10 {
        write_many(&node, round * 100..(round + 1) * 100).await;
    }
    let snapshot_dir = node.dir().unwrap().snapshot_dir();
    eventually("a snapshot", || std::fs::read_dir(&snapshot_dir).is_ok_and(|mut entries| entries.next().is_some()))
        .await;
    eventually("an index", || node.store().unindexed() == 0).await;
    let before = node.digest_now().await.unwrap();
    node.close();
    let mut reopened = Node::open(config.clone());
    let end = Instant::now() + WAIT;
    while reopened.is_err() {
        assert!(Instant::now() < end, "the folder was not let go");
        tokio::time::sleep(Duration::from_millis(2)).await;
        reopened = Node::open(config.clone());
    }
    assert_eq!(reopened.unwrap().digest_now().await.unwrap(), before);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_sums_at_the_last_markers_are_those_of_the_digest_there() {
    let dir = TempDir::new().unwrap();
    let running = Running::start(dir.path(), false).await;
    let admin = client::Admin::new(client::Http::new(), &running.peer.admin, "secret", WAIT);
    running.node.write(create()).await.unwrap();
    let mut markers = Vec::new();
    for round in 0..3 {
        write_many(&running.node, round * 10..round * 10 + 10).await;
        markers.push(running.node.marker().await.unwrap());
    }
    write_many(&running.node, 0..10).await;
    for marker in &markers[1..] {
        let (sums, digest) = (admin.bucket_sums(*marker).await.unwrap(), admin.digest(*marker).await.unwrap());
        assert_eq!(blake3::hash(&sums).to_hex().to_string(), digest.digest);
    }
    // Two are 4 MiB; the digest of the first is still known.
    admin.digest(markers[0]).await.unwrap();
    let gone = admin.bucket_sums(markers[0]).await.unwrap_err();
    assert_eq!(gone.code(), Some(wire::admin::AdminErrorCode::NotFound), "{gone}");

    let call = |at_least| wire::admin::RecordsIn { buckets: (0..=u16::MAX).collect(), at_least };
    let listed = admin.records(&call(markers[2])).await.unwrap();
    let lsn = running.node.lsn();
    assert_eq!((listed.records.len(), listed.from_lsn, listed.to_lsn), (31 + listed_accounts(&running.node), lsn, lsn));
    let early = admin.records(&call(lsn + 1)).await.unwrap_err();
    assert!(early.to_string().contains(&format!("at LSN {lsn} and did not reach {}", lsn + 1)), "{early}");
    running.stop().await;
}

fn listed_accounts(node: &Node) -> usize {
    node.store().users().len() + node.store().api_keys().len()
}
