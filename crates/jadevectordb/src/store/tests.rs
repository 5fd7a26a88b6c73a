use super::*;
use crate::record::{Metric, VectorRecord};

fn database(id: &str) -> Op {
    Op::PutDatabase(DatabaseRecord {
        database_id: id.into(),
        name: "n".into(),
        description: String::new(),
        dimension: 2,
        index_type: "HNSW".into(),
        metric: Metric::Cosine,
        created_ms: 1,
        updated_ms: 1,
    })
}

fn with_metric(metric: Metric) -> Op {
    let Op::PutDatabase(record) = database("db") else { panic!("another kind") };
    Op::PutDatabase(DatabaseRecord { metric, ..record })
}

fn put(id: &str, values: [f32; 2], metadata: &str) -> Op {
    let vector = VectorRecord { id: id.into(), values: values.to_vec(), metadata: metadata.into() };
    Op::PutVectors { database: "db".into(), vectors: vec![vector] }
}

fn delete(id: &str) -> Op {
    Op::DeleteVectors { database: "db".into(), ids: vec![id.into()] }
}

fn user(name: &str, email: &str) -> Op {
    Op::PutUser(User {
        user_id: "u1".into(),
        username: name.into(),
        email: email.into(),
        password_hash: "x".into(),
        roles: vec![],
        is_active: true,
        must_change_password: false,
        created_ms: 1,
    })
}

fn token(hash: &str, created_ms: u64) -> Op {
    Op::PutToken(Token { token_hash: hash.into(), user_id: "u1".into(), created_ms, expires_ms: created_ms + 1_000 })
}

/// A change with an idempotency key, asked for at `at_ms`.
fn keyed(key: u8, at_ms: u64, op: Op) -> Op {
    let answered = Answered { key: [key; 32], request: [1; 32], at_ms, status: 200, body: "{}".into() };
    Op::Keyed { op: Box::new(op), answered }
}

fn store(ops: impl IntoIterator<Item = Op>) -> Store {
    let store = Store::new(Index::default());
    for (number, op) in ops.into_iter().enumerate() {
        store.apply(number as Lsn + 1, op);
    }
    store
}

/// Small random histories over few ids, so that updates and deletions meet.
fn random_ops(seed: u64, count: usize) -> Vec<Op> {
    let mut state = seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1;
    let mut next = move |below: u64| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state % below
    };
    let mut ops = vec![database("db")];
    for _ in 0..count {
        let id = format!("v{}", next(20));
        let with_key = next(3) == 0;
        let op = match next(60) {
            0..36 => put(&id, [next(100) as f32, 1.0], if next(2) == 0 { "" } else { "{\"a\":1}" }),
            36..46 => delete(&id),
            46..51 => user(&format!("name{}", next(3)), &format!("{}@x", next(100))),
            51..56 => token(&format!("t{}", next(5)), next(5_000)),
            // Another metric moves every vector to another place.
            56..59 => with_metric(if next(2) == 0 { Metric::Cosine } else { Metric::Euclidean }),
            _ => Op::DropDatabase { database: "db".into() },
        };
        ops.push(if with_key { keyed(next(60) as u8, next(1_000) * 100_000, op) } else { op });
    }
    ops
}

#[test]
fn an_update_replaces_and_a_deletion_removes_everywhere() {
    let store =
        store([database("db"), put("a", [1.0, 0.0], "{\"k\":1}"), put("a", [0.0, 1.0], ""), put("b", [1.0, 0.0], "")]);
    let db = store.database("db").unwrap();
    let a = db.get("a").unwrap();
    assert_eq!((a.values, a.metadata.as_str(), a.version), (vec![0.0, 1.0], "", 3));
    assert_eq!(db.search(&[1.0, 0.0], 1, false).unwrap()[0].id, "b");
    assert_eq!(store.apply(5, delete("b")), 1);
    assert_eq!(store.apply(6, delete("b")), 0);
    assert!(db.get("b").is_none());
    assert!(db.search(&[1.0, 0.0], 5, false).unwrap().iter().all(|found| found.id == "a"));
}

#[test]
fn pages_are_ordered_by_id() {
    let store = store([database("db"), put("c", [1.0, 0.0], ""), put("a", [1.0, 0.0], ""), put("b", [1.0, 0.0], "")]);
    let (total, page) = store.database("db").unwrap().page(1, 5);
    assert_eq!(total, 3);
    assert_eq!(page.iter().map(|vector| vector.id.as_str()).collect::<Vec<_>>(), ["b", "c"]);
}

#[test]
fn the_digest_is_that_of_the_content_not_of_the_way_there() {
    for seed in 0..20 {
        let ops = random_ops(seed, 300);
        let walked = store(ops);
        let restored = Store::new(Index::default());
        walked.snapshot(|item| restored.restore(&item)).unwrap();
        assert_eq!(restored.digest(), walked.digest(), "seed {seed}");
        assert_eq!(restored.item_count(), walked.item_count());
        assert_eq!(restored.keys.read().records(), walked.keys.read().records(), "seed {seed}");
    }
}

#[test]
fn each_difference_shows_in_the_digest() {
    let base = || vec![database("db"), put("a", [1.0, 0.0], "{\"k\":1}"), user("n", "e")];
    let digest = store(base()).digest();
    let mut others = [base(), base(), base(), base()];
    others[0][1] = put("a", [1.0, -0.0], "{\"k\":1}");
    others[1][1] = put("a", [1.0, 0.0], "{\"k\":2}");
    others[2][1] = put("b", [1.0, 0.0], "{\"k\":1}");
    others[3][2] = user("n", "f");
    for other in others {
        assert_ne!(store(other).digest(), digest);
    }
}

#[test]
fn dropping_everything_leaves_the_digest_of_nothing() {
    let store = store([database("db"), put("a", [1.0, 0.0], "{}"), put("b", [0.5, 0.0], "")]);
    store.apply(4, Op::DropDatabase { database: "db".into() });
    assert_eq!(store.digest(), Store::new(Index::default()).digest());
    assert!(store.database("db").is_none());
}

#[test]
fn a_snapshot_taken_while_writes_go_on_is_set_right_by_the_log() {
    for seed in 0..30 {
        let ops = random_ops(seed, 400);
        let end = store(ops.clone());
        // The walk is interrupted by writes at every item: the worst interleaving. Now and then it is gone on with in
        // another process, where everything has another place in memory.
        let mut moving = store(ops[..200].iter().cloned());
        let restored = Store::new(Index::default());
        let (mut at, mut place) = (200, None);
        while moving.stride(&mut place, 1, |item| restored.restore(item).unwrap()) {
            if at % 5 == 0 {
                let restarted = Store::new(Index::default());
                moving.snapshot(|item| restarted.restore(&item)).unwrap();
                moving = restarted;
            }
            for _ in 0..7 {
                if at < ops.len() {
                    moving.apply(at as Lsn + 1, ops[at].clone());
                    at += 1;
                }
            }
        }
        for (number, op) in ops.into_iter().enumerate().skip(200) {
            restored.apply(number as Lsn + 1, op);
        }
        assert_eq!(restored.digest(), end.digest(), "seed {seed}");
        assert_eq!(restored.keys.read().records(), end.keys.read().records(), "seed {seed}");
    }
}

/// Another metric begins a new index, in which every vector has another place.
#[test]
fn a_snapshot_misses_nothing_when_the_vectors_move_meanwhile() {
    let count = 8_000;
    let mut ops = vec![database("db")];
    // The order of insertion is not that of the ids.
    ops.extend((0..count).rev().map(|number| put(&format!("v{number:05}"), [number as f32, 1.0], "")));
    let moving = store(ops);
    let (restored, mut emitted) = (Store::new(Index::default()), 0);
    moving
        .snapshot(|item| {
            emitted += 1;
            if emitted == count / 2 {
                moving.apply(count + 2, with_metric(Metric::Euclidean));
            }
            restored.restore(&item)
        })
        .unwrap();
    restored.apply(count + 2, with_metric(Metric::Euclidean));
    assert_eq!(restored.vector_count() as u64, count);
    assert_eq!(restored.digest(), moving.digest());
}

#[test]
fn a_key_is_remembered_with_its_change_and_is_no_part_of_the_digest() {
    let plain = store([database("db"), put("a", [1.0, 0.0], "")]);
    let with_key = store([database("db"), keyed(7, 5, put("a", [1.0, 0.0], ""))]);
    assert_eq!(with_key.digest(), plain.digest());
    assert_eq!(with_key.database("db").unwrap().get("a").unwrap().version, 2);
    let (lsn, answered) = with_key.answered(&[7; 32]).unwrap();
    assert_eq!((lsn, answered.at_ms, answered.status), (2, 5, 200));
    assert_eq!((plain.answered(&[7; 32]), plain.answered_count(), with_key.answered_count()), (None, 0, 1));
    plain.replace_by(with_key);
    assert_eq!(plain.answered_count(), 1);
}

#[test]
fn tokens_expire_by_the_time_of_the_log() {
    let store = store([token("old", 0), token("new", 5_000)]);
    assert!(store.token_hashed("old").is_none());
    assert!(store.token_hashed("new").is_some());
}

#[test]
fn a_renamed_user_is_found_by_the_new_name_only() {
    let store = store([user("before", ""), user("after", "")]);
    assert!(store.user_named("before").is_none());
    assert_eq!(store.user_named("after").unwrap().user_id, "u1");
}

/// What is listed is what the digest is made of: each kind of record, in its bucket, with its hash.
#[test]
fn the_records_of_a_bucket_are_those_that_its_sum_is_of() {
    use wire::admin::BUCKET_SUM_BYTES;
    for seed in 0..5 {
        let store = store(random_ops(seed, 300));
        let sums = store.sums();
        assert_eq!(blake3::hash(&sums).to_hex().to_string(), store.digest().root);
        let mut records = 0;
        for (sum, bucket) in sums.chunks(BUCKET_SUM_BYTES).zip(0..=u16::MAX) {
            if sum.iter().all(|&byte| byte == 0) {
                continue;
            }
            let listed = store.records_in(&[bucket], 100).unwrap();
            records += listed.len();
            // Of few records hardly two are in one bucket; then the sum is the hash.
            if let [one] = &listed[..] {
                let sum: String = sum.iter().map(|byte| format!("{byte:02x}")).collect();
                assert_eq!(one.version.hash, sum, "seed {seed}: {}", one.record);
            }
        }
        assert_eq!(records as u64, store.digest().records, "seed {seed}");
    }
}

#[test]
fn a_list_has_all_records_or_is_none() {
    let vectors = (0..3_000).map(|number| VectorRecord {
        id: format!("v{number}"),
        values: vec![1.0, 0.0],
        metadata: String::new(),
    });
    let store = store([database("db"), Op::PutVectors { database: "db".into(), vectors: vectors.collect() }]);
    let all: Vec<u16> = (0..=u16::MAX).collect();
    let listed = store.records_in(&all, 3_001).unwrap();
    assert_eq!(listed.len(), 3_001);
    assert!(listed.windows(2).all(|pair| pair[0].record < pair[1].record), "each once");
    assert_eq!(store.records_in(&all, 3_000), None);
    assert_eq!(store.records_in(&[], 0), Some(Vec::new()));
}
