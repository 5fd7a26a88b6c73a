//! What comes from the wrong node, with the wrong credential, or damaged: found, named, and nothing of it applied.

use super::tampering::{Change, Tampering, cut, flip};
use crate::engine::tests::{Running, WAIT, config, create, eventually, write_many};
use crate::engine::{Node, Standing};
use crate::record::Op;
use crate::store::Store;
use std::os::unix::fs::FileExt;
use tempfile::TempDir;
use wire::document::Index;

/// A primary with a few hundred records.
async fn blue() -> (TempDir, Running) {
    let dir = TempDir::new().unwrap();
    let blue = Running::start(dir.path(), false).await;
    blue.node.write(create()).await.unwrap();
    write_many(&blue.node, 0..300).await;
    (dir, blue)
}

async fn joining() -> (TempDir, Running) {
    let dir = TempDir::new().unwrap();
    let green = Running::start(dir.path(), true).await;
    (dir, green)
}

async fn same_in_the_end(blue: &Running, green: &Running) {
    assert!(green.node.applied(blue.node.lsn(), WAIT).await);
    eventually("a whole copy", || green.node.ready()).await;
    assert_eq!(green.node.digest_now().await.unwrap(), blue.node.digest_now().await.unwrap());
}

async fn until_error(node: &Node, part: &str) {
    let says = || node.shared().feed.lock().error.as_ref().is_some_and(|error| error.contains(part));
    eventually(&format!("an error with `{part}`"), says).await;
}

/// `node` has exactly the beginning of `primary`'s history.
async fn assert_beginning(node: &Node, primary: &Node) {
    let (position, digest) = node.digest_now().await.unwrap();
    let store = Store::new(Index::default());
    for frame in primary.shared().log.renewed().read_after(0, usize::MAX).unwrap() {
        if frame.lsn <= position.lsn {
            store.apply(frame.lsn, Op::decode(&frame.payload).unwrap());
        }
    }
    assert_eq!(digest, store.digest(), "at LSN {}", position.lsn);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_flipped_bit_in_the_feed_is_found_wherever_it_is() {
    let (_blue_dir, blue) = blue().await;
    // In the announcement, in headers and payloads of records, near the beginning and further on.
    for byte in [3, 40, 180, 260, 1_000, 9_999] {
        let (_green_dir, green) = joining().await;
        green.node.follow(1, blue.peer.clone()).await.unwrap();
        same_in_the_end(&blue, &green).await;
        let tampering = Tampering::with(&blue.node, "/feed", move || flip(8 * byte + byte % 8)).await;
        let epoch = blue.node.position().epoch;
        green.node.follow(epoch, tampering.peer.clone()).await.unwrap();
        let before = blue.node.store().database("db").unwrap().len() as u64;
        write_many(&blue.node, before..before + 200).await;
        until_error(&green.node, "is damaged: ").await;
        assert_beginning(&green.node, &blue.node).await;
        tampering.end();
        same_in_the_end(&blue, &green).await;
        green.stop().await;
    }
    blue.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_damaged_or_truncated_snapshot_is_found_and_nothing_of_it_is_kept() {
    let (_blue_dir, blue) = blue().await;
    type Changing = fn() -> Change;
    let changes: [(&str, Changing); 7] = [
        ("cannot be used: its snapshot: ", || flip(8)),
        ("cannot be used: its snapshot: ", || flip(8 * 30 + 1)),
        ("is damaged", || flip(8 * 200 + 2)),
        ("is damaged", || flip(8 * 9_000 + 3)),
        ("ended before it was whole", || cut(0)),
        ("ended before it was whole", || cut(20)),
        ("ended before it was whole", || cut(5_000)),
    ];
    for (number, (part, change)) in changes.into_iter().enumerate() {
        let (_green_dir, green) = joining().await;
        let tampering = Tampering::with(&blue.node, "/snapshot", change).await;
        green.node.follow(1, tampering.peer.clone()).await.unwrap();
        until_error(&green.node, part).await;
        assert_eq!((green.node.lsn(), green.node.store().item_count()), (0, 0), "change {number}");
        assert!(!green.node.ready());
        tampering.end();
        same_in_the_end(&blue, &green).await;
        green.stop().await;
    }
    blue.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bit_that_flipped_in_the_log_is_named_to_the_follower_with_its_file() {
    let (blue_dir, blue) = blue().await;
    let (green_dir, green) = joining().await;
    green.node.follow(1, blue.peer.clone()).await.unwrap();
    same_in_the_end(&blue, &green).await;
    green.stop().await;
    let lacks = blue.node.lsn();
    write_many(&blue.node, 300..900).await;
    blue.stop().await;
    // Started again, it has no record in memory.
    let blue = Running::start(blue_dir.path(), false).await;
    let segment = std::fs::read_dir(blue_dir.path().join("log")).unwrap().next().unwrap().unwrap().path();
    let file = std::fs::OpenOptions::new().read(true).write(true).open(&segment).unwrap();
    let bytes = std::fs::read(&segment).unwrap();
    let used = bytes.iter().rposition(|byte| *byte != 0).unwrap();
    let at = used as u64 * 9 / 10;
    file.write_all_at(&[bytes[at as usize] ^ 4], at).unwrap();

    let green = Running::start(green_dir.path(), true).await;
    green.node.follow(2, blue.peer.clone()).await.unwrap();
    until_error(&green.node, &format!("cannot go on behind LSN {}", green.node.lsn())).await;
    until_error(&green.node, &segment.display().to_string()).await;
    let (position, _) = green.node.digest_now().await.unwrap();
    assert!(position.lsn >= lacks && position.lsn < blue.node.lsn());
    // It is never taken for a follower that keeps up, however often it connects.
    never_connected(&green.node).await;
    file.write_all_at(&[bytes[at as usize]], at).unwrap();
    same_in_the_end(&blue, &green).await;
    eventually("connected", || green.node.shared().feed.lock().connected).await;
    green.stop().await;
    blue.stop().await;
}

/// Through several attempts to connect.
pub(crate) async fn never_connected(node: &Node) {
    for _ in 0..300 {
        let feed = node.shared().feed.lock().clone();
        assert!(!feed.connected && feed.error.is_some(), "{feed:?}");
        tokio::time::sleep(std::time::Duration::from_millis(10)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn without_the_right_credential_nothing_is_received() {
    let (_blue_dir, blue) = blue().await;
    let dir = TempDir::new().unwrap();
    let mut wrong = config(dir.path(), true);
    wrong.admin_token = "another".into();
    let green = Running::start_with(wrong).await;
    green.node.follow(1, blue.peer.clone()).await.unwrap();
    until_error(&green.node, "admin token").await;
    assert_eq!((green.node.lsn(), green.node.store().item_count(), green.node.ready()), (0, 0, false));
    green.stop().await;
    // Nor once it has a part of the history.
    let (green_dir, green) = joining().await;
    green.node.follow(1, blue.peer.clone()).await.unwrap();
    same_in_the_end(&blue, &green).await;
    green.stop().await;
    let mut wrong = config(green_dir.path(), true);
    wrong.admin_token = "another".into();
    let green = Running::start_with(wrong).await;
    let before = green.node.digest_now().await.unwrap();
    write_many(&blue.node, 300..310).await;
    until_error(&green.node, "admin token").await;
    assert_eq!(green.node.digest_now().await.unwrap(), before);
    green.stop().await;
    blue.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_of_another_cluster_is_neither_followed_nor_seeded_from() {
    let (_blue_dir, blue) = blue().await;
    let (_other_dir, other) = self::blue().await;
    let (green_dir, green) = joining().await;
    green.node.follow(1, blue.peer.clone()).await.unwrap();
    same_in_the_end(&blue, &green).await;
    let before = green.node.digest_now().await.unwrap();
    green.node.follow(2, other.peer.clone()).await.unwrap();
    until_error(&green.node, "holds the history").await;
    assert_eq!(green.node.digest_now().await.unwrap(), before);
    green.stop().await;
    // It lost its data but not its identity: it does not take another's in their place.
    for folder in ["log", "snapshot"] {
        std::fs::remove_dir_all(green_dir.path().join(folder)).unwrap();
    }
    let green = Running::start(green_dir.path(), true).await;
    until_error(&green.node, "holds the history").await;
    assert_eq!((green.node.lsn(), green.node.store().item_count()), (0, 0));
    assert!(matches!(green.node.standing(), Standing::Follower { .. }));
    green.node.follow(3, blue.peer.clone()).await.unwrap();
    same_in_the_end(&blue, &green).await;
    green.stop().await;
    other.stop().await;
    blue.stop().await;
}
