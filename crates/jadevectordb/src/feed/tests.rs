//! What a follower receives.

mod cutter;
pub(crate) mod faults;
mod seeding;
pub(crate) mod tampering;

use super::*;
use crate::engine::Node;
use crate::engine::tests::{WAIT, config, create};
use crate::record::{Op, VectorRecord};
use crate::store::Store;
use changelog::{SnapshotDecoder, SnapshotRecord};
use http_body_util::BodyExt;
use tempfile::TempDir;
use tokio::time::Instant;
use wire::document::Index;

/// Vectors with a lot of metadata, so that a few thousand make several pieces.
fn bulky(numbers: std::ops::Range<u64>) -> Op {
    let vectors = numbers.map(|number| VectorRecord {
        id: format!("v{number:06}"),
        values: vec![number as f32, 1.0, 0.0, -0.0],
        metadata: format!("{{\"text\":\"{}\"}}", "x".repeat(1_000)),
    });
    Op::PutVectors { database: "db".into(), vectors: vectors.collect() }
}

/// On one thread, under a clock that stands still: a sender that blocks, or sleeps, would never get on.
#[tokio::test(start_paused = true)]
async fn a_snapshot_waits_for_its_receiver_and_holds_nothing_meanwhile() {
    let dir = TempDir::new().unwrap();
    let node = Node::open(config(dir.path(), false)).unwrap();
    node.write(create()).await.unwrap();
    for number in 0..4 {
        node.write(bulky(number * 1_000..number * 1_000 + 1_000)).await.unwrap();
    }
    let start = node.lsn();
    let mut body = serve_snapshot(&node, Follower { id: "f".into(), record_format: 1 }, None).unwrap();
    let (mut decoder, restored) = (SnapshotDecoder::new(), Store::new(Index::default()));
    let mut pieces = 0;
    while let Some(piece) = body.frame().await {
        pieces += 1;
        decoder.push(&piece.unwrap().into_data().unwrap());
        while let Some(record) = decoder.next().unwrap() {
            match record {
                SnapshotRecord::Item(item) => restored.restore(&item.payload()).unwrap(),
                SnapshotRecord::Header(_) | SnapshotRecord::Trailer(_) => {}
            }
        }
        // An hour for each piece, with writes both behind the walk and before it.
        tokio::time::sleep(Duration::from_secs(3_600)).await;
        let ids = vec![format!("v{pieces:06}"), format!("v{:06}", 4_000 - pieces)];
        node.write(Op::DeleteVectors { database: "db".into(), ids }).await.unwrap();
        node.write(bulky(4_000 + pieces..4_001 + pieces)).await.unwrap();
    }
    decoder.finish().unwrap();
    assert!(pieces > 10, "{pieces}");
    for frame in node.shared().log.renewed().read_after(start, usize::MAX).unwrap() {
        restored.apply(frame.lsn, Op::decode(&frame.payload).unwrap());
    }
    assert_eq!(restored.digest(), node.digest_now().await.unwrap().1);
    node.close();
}

/// A follower is sent a group as soon as it is on disk. If it connects anew before the group is applied here, it is ahead
/// of the announced position, and was set aside and seeded anew for it.
#[tokio::test(flavor = "multi_thread")]
async fn a_follower_that_has_what_is_not_announced_yet_has_not_diverged() {
    let dir = TempDir::new().unwrap();
    let node = Node::open(config(dir.path(), false)).unwrap();
    node.write(create()).await.unwrap();
    let before = node.position();
    let writing = {
        let _held = node.store().hold();
        let writer = node.clone();
        let writing = tokio::spawn(async move { writer.write(bulky(0..1)).await });
        let end = Instant::now() + WAIT;
        while node.shared().log.durable().0 == before.lsn {
            assert!(Instant::now() < end, "the write does not reach the disk");
            std::thread::yield_now();
        }
        assert_eq!(node.position(), before);
        assert!(
            serve(&node, (before.lsn + 1, before.epoch), "", Follower { id: "f".into(), record_format: 1 }, 1).is_ok()
        );
        writing
    };
    writing.await.unwrap().unwrap();
    assert!(
        serve(&node, (before.lsn + 2, before.epoch), "", Follower { id: "f".into(), record_format: 1 }, 1).is_err()
    );
    tokio::task::spawn_blocking(move || node.close()).await.unwrap();
}
