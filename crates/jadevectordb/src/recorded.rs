//! What older versions wrote is read: see `recorded/README.md`, above all that nothing there is ever made anew.

use crate::account::{ApiKey, Token, User};
use crate::config::Config;
use crate::engine::tests::{Running, WAIT, config, eventually};
use crate::engine::{Node, RoleFile};
use crate::record::{DatabaseRecord, Metric, Op, VectorRecord};
use crate::store::Store;
use axum::extract::Query;
use axum::response::IntoResponse;
use bytes::Bytes;
use changelog::{DataDir, Frame, FrameDecoder, SnapshotDecoder, SnapshotRecord};
use std::collections::BTreeMap;
use std::path::Path;
use tempfile::TempDir;
use wire::admin::{NodeState, Peer, Role};
use wire::document::Index;

const NEVER: &str =
    "an older version wrote this, and it was recorded: the program must read it. Never make the recording anew";

/// All that one version wrote.
struct Recorded {
    name: &'static str,
    files: BTreeMap<&'static str, &'static str>,
}

macro_rules! recorded {
    ($folder:literal, $($file:literal),* $(,)?) => {
        Recorded {
            name: $folder,
            files: [$(($file, include_str!(concat!("../recorded/", $folder, "/", $file)))),*].into(),
        }
    };
}

macro_rules! all_of {
    ($folder:literal) => {
        recorded!(
            $folder,
            "FORMAT",
            "digest.txt",
            "feed.hex",
            "node-state-follower.json",
            "node-state-primary.json",
            "node-state-sealed.json",
            "node-state-waiting.json",
            "records.txt",
            "role-follower.json",
            "role-primary.json",
            "role-sealed.json",
            "role-waiting.json",
            "segment.hex",
            "snapshot.hex",
        )
    };
}

fn versions() -> Vec<Recorded> {
    vec![all_of!("1-first"), all_of!("2-acknowledge")]
}

fn bytes(hex: &str) -> Bytes {
    let digits = hex.trim().as_bytes().chunks(2).map(|pair| std::str::from_utf8(pair).unwrap());
    digits.map(|pair| u8::from_str_radix(pair, 16).unwrap()).collect()
}

impl Recorded {
    fn file(&self, name: &str) -> &str {
        self.files[name]
    }

    fn hex(&self, name: &str) -> Bytes {
        bytes(self.file(name))
    }

    /// Kind and bytes of each record, in the order of the log.
    fn records(&self) -> Vec<(String, Bytes)> {
        let lines = self.file("records.txt").lines();
        lines.map(|line| line.split_once(' ').unwrap()).map(|(kind, hex)| (kind.into(), bytes(hex))).collect()
    }

    /// Last LSN, digest and number of records.
    fn digest(&self) -> (u64, String, u64) {
        let words: Vec<&str> = self.file("digest.txt").split_whitespace().collect();
        (words[0].parse().unwrap(), words[1].into(), words[2].parse().unwrap())
    }

    /// Frames of the feed behind `after`, and announcements, as they were sent.
    fn feed(&self, after: u64) -> Vec<Frame> {
        let mut decoder = FrameDecoder::new();
        decoder.push(&self.hex("feed.hex"));
        let mut frames = Vec::new();
        while let Some(frame) = decoder.next().unwrap_or_else(|error| panic!("{}: {error}. {NEVER}", self.name)) {
            frames.push(frame);
        }
        assert_eq!(decoder.buffered(), 0);
        frames.retain(|frame| frame.lsn == 0 || frame.lsn > after);
        frames
    }

    /// Makes `dir` a data folder with the log, up to `until`, and this role.
    fn lay_out(&self, dir: &Path, until: u64, role: &str) {
        std::fs::create_dir_all(dir.join("log")).unwrap();
        std::fs::write(dir.join("FORMAT"), self.file("FORMAT")).unwrap();
        std::fs::write(dir.join("role.json"), role).unwrap();
        let mut segment = self.hex("segment.hex").to_vec();
        if until < self.digest().0 {
            // Behind the frames that are to be kept, all is as if it had never been written.
            let next = self.feed(until).into_iter().find(|frame| frame.lsn == until + 1).unwrap();
            let mut encoded = Vec::new();
            next.encode_into(&mut encoded).unwrap();
            let at = segment.windows(encoded.len()).position(|window| window == encoded).unwrap();
            // A mark precedes what was written after a sync.
            segment.truncate(at - 21);
        }
        segment.resize(1 << 20, 0);
        std::fs::write(dir.join("log/00000000000000000001.log"), segment).unwrap();
    }

    fn assert_all_there(&self, node: &Node) {
        let (_, root, records) = self.digest();
        let digest = node.store().digest();
        assert_eq!((digest.root, digest.records), (root, records), "{}: {NEVER}", self.name);
        let vectors = node.store().database("db_1").unwrap();
        assert_eq!(vectors.get("ä").unwrap().values[0].to_bits(), 0.1_f32.to_bits());
        assert_eq!(node.store().user_named("änne").unwrap().roles, ["admin", "user"]);
    }
}

/// What the recorded records say, in their order.
fn expected() -> Vec<Op> {
    let database = |id: &str, metric| {
        Op::PutDatabase(DatabaseRecord {
            database_id: id.into(),
            name: "products".into(),
            description: "what is sold".into(),
            dimension: 3,
            index_type: "HNSW".into(),
            metric,
            created_ms: 1_700_000_000_001,
            updated_ms: 1_700_000_000_002,
        })
    };
    let vector = |id: &str, values: [f32; 3], metadata: &str| VectorRecord {
        id: id.into(),
        values: values.into(),
        metadata: metadata.into(),
    };
    let token = |hash: &str| {
        Op::PutToken(Token {
            token_hash: hash.into(),
            user_id: "u1".into(),
            created_ms: 1_700_000_000_003,
            expires_ms: 1_700_003_600_003,
        })
    };
    vec![
        Op::OpenEpoch,
        database("db_1", Metric::Euclidean),
        Op::PutVectors {
            database: "db_1".into(),
            vectors: vec![
                vector("ä", [0.1, -0.0, f32::MIN_POSITIVE / 2.0], "{\"k\":[1,\"x\"]}"),
                vector("b", [1.0, f32::MAX, -2.5], ""),
                vector("gone", [1.0, 2.0, 3.0], ""),
            ],
        },
        Op::DeleteVectors { database: "db_1".into(), ids: vec!["gone".into(), "never".into()] },
        Op::PutUser(User {
            user_id: "u1".into(),
            username: "änne".into(),
            email: "a@example".into(),
            password_hash: "$argon2id$v=19$m=19456,t=2,p=1$c2FsdA$aGFzaA".into(),
            roles: vec!["admin".into(), "user".into()],
            is_active: true,
            must_change_password: true,
            created_ms: 1_700_000_000_000,
        }),
        Op::PutApiKey(ApiKey {
            key_id: "k1".into(),
            key_hash: "ab".repeat(32),
            key_prefix: "jadevdb_0123".into(),
            user_id: "u1".into(),
            description: "for the importer".into(),
            permissions: vec!["read".into()],
            is_active: false,
            created_ms: 1_700_000_000_000,
            expires_ms: 1_800_000_000_000,
        }),
        token("t1"),
        token("t2"),
        Op::DropTokens { token_hashes: vec!["t1".into()] },
        database("db_2", Metric::DotProduct),
        Op::DropDatabase { database: "db_2".into() },
        Op::Marker,
    ]
}

#[test]
fn every_record_says_what_it_said() {
    for version in versions() {
        let records = version.records();
        let expected = expected();
        assert_eq!(records.len(), expected.len());
        for ((kind, bytes), expected) in records.iter().zip(&expected) {
            assert_eq!(Op::decode(bytes).as_ref(), Ok(expected), "{} {kind}: {NEVER}", version.name);
            // As long as it is still written like that, older versions read what this one writes.
            assert_eq!(expected.encode(), bytes, "{} {kind}: older versions could not read this", version.name);
        }
        let feed = version.feed(0);
        let frames = feed.iter().filter(|frame| frame.lsn > 0);
        assert!(
            frames
                .map(|frame| (frame.lsn, frame.epoch, &frame.payload))
                .eq(records.iter().enumerate().map(|(at, (_, bytes))| (at as u64 + 1, 1, bytes)))
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_data_folder_is_opened_with_its_log_and_every_role() {
    for version in versions() {
        let (lsn, ..) = version.digest();
        for role in ["primary", "follower", "sealed"] {
            let dir = TempDir::new().unwrap();
            version.lay_out(dir.path(), lsn, version.file(&format!("role-{role}.json")));
            let running = Running::start(dir.path(), false).await;
            assert_eq!(running.node.lsn(), lsn, "{}: {NEVER}", version.name);
            version.assert_all_there(&running.node);
            let is = crate::admin::state(&running.node).role;
            let recorded: NodeState =
                serde_json::from_str(version.file(&format!("node-state-{role}.json"))).expect(NEVER);
            // A follower's primary had another port each time it was recorded.
            match (&is, &recorded.role) {
                (Role::Follower { epoch, .. }, Role::Follower { epoch: recorded, .. }) => assert_eq!(epoch, recorded),
                (is, recorded) => assert_eq!(is, recorded),
            }
            running.stop().await;
        }
        let dir = TempDir::new().unwrap();
        std::fs::write(dir.path().join("FORMAT"), version.file("FORMAT")).unwrap();
        std::fs::write(dir.path().join("role.json"), version.file("role-waiting.json")).unwrap();
        let folder = DataDir::open(dir.path()).unwrap();
        let role = RoleFile::load(&folder).expect(NEVER).unwrap();
        assert_eq!((role.role, role.epoch_seen, role.cluster_id.as_str()), (Role::Waiting, 0, ""));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_snapshot_is_read_from_a_file_and_from_a_stream() {
    for version in versions() {
        let (lsn, root, _) = version.digest();
        let (mut decoder, store) = (SnapshotDecoder::new(), Store::new(Index::default()));
        decoder.push(&version.hex("snapshot.hex"));
        let mut start = None;
        while let Some(record) = decoder.next().expect(NEVER) {
            match record {
                SnapshotRecord::Header(header) => start = Some(header.start),
                SnapshotRecord::Item(item) => store.restore(&item.payload()).expect(NEVER),
                SnapshotRecord::Trailer(_) => {}
            }
        }
        decoder.finish().expect(NEVER);
        assert_eq!(store.digest().root, root, "{}: {NEVER}", version.name);
        let dir = TempDir::new().unwrap();
        std::fs::write(dir.path().join("FORMAT"), version.file("FORMAT")).unwrap();
        std::fs::write(dir.path().join("role.json"), version.file("role-primary.json")).unwrap();
        std::fs::create_dir_all(dir.path().join("snapshot")).unwrap();
        let name = format!("snapshot/{:010}-{lsn:020}.snap", start.unwrap().generation);
        std::fs::write(dir.path().join(name), version.hex("snapshot.hex")).unwrap();
        let running = Running::start(dir.path(), false).await;
        assert_eq!(running.node.lsn(), lsn);
        version.assert_all_there(&running.node);
        running.stop().await;
    }
}

/// The state of a node goes on saying what it said; what is new has a meaning when it is missing.
#[test]
fn what_a_node_said_of_itself_is_understood() {
    for version in versions() {
        for role in ["primary", "follower", "sealed", "waiting"] {
            let text = version.file(&format!("node-state-{role}.json"));
            let state: NodeState = serde_json::from_str(text).expect(NEVER);
            let recorded: serde_json::Value = serde_json::from_str(text).unwrap();
            assert_contains(&serde_json::to_value(&state).unwrap(), &recorded, &format!("{} {role}", version.name));
            // It knows the first format of records only, and may be given that.
            assert_eq!(crate::record::formats(2).for_follower(&state.records), Ok(1));
            assert_eq!(state.records.for_follower(&crate::record::formats(2)), Ok(1));
        }
    }
}

fn assert_contains(value: &serde_json::Value, part: &serde_json::Value, place: &str) {
    match part {
        serde_json::Value::Object(fields) => {
            for (name, part) in fields {
                assert_contains(&value[name], part, &format!("{place}.{name}"));
            }
        }
        serde_json::Value::Array(parts) => {
            assert_eq!(value.as_array().map(Vec::len), Some(parts.len()), "{place}");
            for (at, part) in parts.iter().enumerate() {
                assert_contains(&value[at], part, &format!("{place}[{at}]"));
            }
        }
        part => assert_eq!(value, part, "{place}: {NEVER}"),
    }
}

/// A node of a recorded version, as far as its followers see it.
async fn primary(version: &'static str) -> Peer {
    let recorded = move || versions().into_iter().find(|recorded| recorded.name == version).unwrap();
    let feed = move |Query(query): Query<BTreeMap<String, String>>| async move {
        let mut out = Vec::new();
        for frame in recorded().feed(query["after"].parse().unwrap()) {
            frame.encode_into(&mut out).unwrap();
        }
        // It stays open.
        let (sender, pieces) = tokio::sync::mpsc::channel(1);
        sender.send(Bytes::from(out)).await.unwrap();
        tokio::spawn(async move { sender.closed().await });
        axum::body::Body::new(crate::feed::FeedBody::of(pieces)).into_response()
    };
    let json = move || async move { recorded().file("node-state-primary.json").to_owned() };
    let router = axum::Router::new()
        .route("/admin/v1/feed", axum::routing::get(feed))
        .route("/admin/v1/snapshot", axum::routing::get(move || async move { recorded().hex("snapshot.hex") }))
        .route("/admin/v1/state", axum::routing::get(json));
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let admin = listener.local_addr().unwrap().to_string();
    tokio::spawn(async move { axum::serve(listener, router).await });
    Peer { admin, http: "127.0.0.1:1".into() }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_older_primary_is_followed_from_its_snapshot_and_by_its_feed() {
    for version in versions() {
        let peer = primary(version.name).await;
        let (lsn, ..) = version.digest();
        let dir = TempDir::new().unwrap();
        let seeded = Running::start_with(Config { join: true, ..config(dir.path(), true) }).await;
        seeded.node.follow(1, peer.clone()).await.unwrap();
        eventually("a copy of the snapshot", || seeded.node.lsn() == lsn && seeded.node.ready()).await;
        version.assert_all_there(&seeded.node);
        let connected = || seeded.node.shared().feed.lock().connected;
        eventually("a feed whose announcement is understood", connected).await;
        seeded.stop().await;

        // One that has half of the history already.
        let dir = TempDir::new().unwrap();
        version.lay_out(dir.path(), 5, version.file("role-follower.json"));
        let following = Running::start(dir.path(), true).await;
        assert_eq!(following.node.lsn(), 5);
        following.node.follow(1, peer.clone()).await.unwrap();
        assert!(following.node.applied(lsn, WAIT).await, "{}: {NEVER}", version.name);
        version.assert_all_there(&following.node);
        following.stop().await;
    }
}

/// Every byte of `whole` turned in several ways, with every length that it can be cut to.
fn damaged(whole: &[u8]) -> impl Iterator<Item = Vec<u8>> + '_ {
    let cut = (0..whole.len()).map(|length| whole[..length].to_vec());
    let turned = (0..whole.len()).flat_map(|at| {
        [0x01, 0x80, 0xff].map(|bits| {
            let mut bytes = whole.to_vec();
            bytes[at] ^= bits;
            bytes
        })
    });
    // A length that says more than there is: four bytes at once.
    let lengths = (0..whole.len().saturating_sub(3)).map(|at| {
        let mut bytes = whole.to_vec();
        bytes[at..at + 4].fill(0xff);
        bytes
    });
    cut.chain(turned).chain(lengths)
}

/// Records have no checksum of their own: whatever passed that of the frame, or of the item, is read here.
#[test]
fn no_damaged_record_panics_and_what_is_read_can_be_written() {
    let keyed = |op: Op| {
        let answered =
            crate::record::Answered { key: [1; 32], request: [2; 32], at_ms: 3, status: 201, body: "{}".into() };
        Op::Keyed { op: Box::new(op), answered }.encode()
    };
    let mut payloads: Vec<Bytes> = expected().iter().map(Op::encode).collect();
    payloads.extend(expected().into_iter().map(keyed));
    payloads.push(keyed(Op::Nothing));
    let mut refused = 0;
    for payload in &payloads {
        for bytes in damaged(payload).map(Bytes::from) {
            for reads in [1, 2] {
                match Op::decode_up_to(&bytes, reads) {
                    // What is read can be written, and is the same then.
                    Ok(op) => assert_eq!(Op::decode(&op.encode()).unwrap().encode(), op.encode()),
                    Err(error) => {
                        refused += 1;
                        assert!(!error.to_string().is_empty());
                    }
                }
            }
            if let Ok(older) = crate::record::in_format(&bytes, 1) {
                let _ = Op::decode_up_to(&older, 1);
            }
            let item = [&7_u64.to_le_bytes()[..], &bytes].concat();
            let _ = Store::new(Index::default()).restore(&item);
            let _ = crate::store::place_of(&item);
        }
    }
    assert!(refused > 1_000, "{refused}");
}

/// A record that is cut is never taken for a whole one.
#[test]
fn a_record_that_is_cut_is_refused() {
    for op in expected().iter().filter(|op| !matches!(op, Op::OpenEpoch | Op::Marker)) {
        let payload = op.encode();
        for length in 0..payload.len() {
            assert!(Op::decode(&payload[..length]).is_err(), "{op:?} of {length} bytes");
        }
    }
}

#[test]
fn no_damaged_feed_or_snapshot_panics_or_passes() {
    for version in versions() {
        let feed = version.hex("feed.hex");
        let whole = version.feed(0).len();
        for bytes in damaged(&feed) {
            let mut decoder = FrameDecoder::new();
            decoder.push(&bytes);
            let mut frames = 0;
            let end = loop {
                match decoder.next() {
                    Ok(Some(_)) => frames += 1,
                    Ok(None) => break decoder.buffered() == 0 && frames == whole,
                    Err(_) => break false,
                }
            };
            assert!(!end, "{}: a damaged feed was read to its end", version.name);
        }
        for bytes in damaged(&version.hex("snapshot.hex")) {
            let mut decoder = SnapshotDecoder::new();
            decoder.push(&bytes);
            while let Ok(Some(_)) = decoder.next() {}
            assert!(decoder.finish().is_err(), "{}: a damaged snapshot is whole", version.name);
        }
    }
}
