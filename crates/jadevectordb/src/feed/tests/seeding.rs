//! Seeding over a bad network.

use super::cutter::Cutter;
use super::{Follower, bulky, serve_snapshot};
use crate::config::Config;
use crate::engine::tests::{Running, WAIT, config, create, eventually, forgetful, keyed};
use crate::record::Op;
use http_body_util::BodyExt;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use tempfile::TempDir;
use wire::admin::Seeding;

/// Bytes that the records of [`full`] have as a snapshot, roughly.
const DATA_BYTES: u64 = 9 << 20;

/// A node with 8,000 records.
async fn full(dir: &Path) -> Running {
    let running = Running::start(dir, false).await;
    running.node.write(create()).await.unwrap();
    for number in 0..8 {
        running.node.write(bulky(number * 1_000..number * 1_000 + 1_000)).await.unwrap();
    }
    running
}

fn seeding(running: &Running) -> Option<Seeding> {
    running.node.shared().feed.lock().seeding.clone()
}

#[tokio::test(flavor = "multi_thread")]
async fn how_much_came_is_still_said_when_the_whole_came() {
    let (blue_dir, green_dir) = (TempDir::new().unwrap(), TempDir::new().unwrap());
    let blue = full(blue_dir.path()).await;
    let green = Running::start(green_dir.path(), true).await;
    let follower = Follower { id: "f".into(), record_format: 1 };
    let mut snapshot = serve_snapshot(&blue.node, follower, None).unwrap();
    let incoming = &green.node.shared().incoming;
    let (attempt, _) = incoming.begin(&green.node).unwrap();
    let came = loop {
        let piece = snapshot.frame().await.unwrap().unwrap().into_data().unwrap();
        let (came, seed) = incoming.take_in(&green.node, attempt, &[piece]).unwrap();
        if seed.is_some() {
            break came;
        }
    };
    assert!(came.records > 8_000 && came.records == came.records_total && came.bytes > DATA_BYTES / 2, "{came:?}");
    assert_eq!(incoming.came(), came);
    blue.stop().await;
    green.stop().await;
}

async fn equal(one: &Running, other: &Running) {
    assert!(other.node.applied(one.node.lsn(), WAIT).await, "{:?}", other.node.shared().feed.lock());
    eventually("a whole copy", || other.node.ready()).await;
    let marker = one.node.marker().await.unwrap();
    let wanted = one.node.digest_at(marker, WAIT).await.unwrap();
    assert_eq!(other.node.digest_at(marker, WAIT).await, Some(wanted));
    let rehash = crate::feed::rehash(&other.node).await.unwrap();
    assert_eq!(rehash.from_storage, rehash.from_memory);
}

/// Writes, overwrites and deletes until told to stop, all over the order of the records.
async fn write_on(running: &Running, stop: Arc<AtomicBool>) {
    let mut number = 0;
    while !stop.load(Ordering::SeqCst) {
        number += 1;
        // Goes round 8,400 ids in large steps: both parts of the walk are met, and 400 ids that were not there.
        let at = number * 2_647 % 8_400;
        running.node.write(bulky(at..at + 1)).await.unwrap();
        let ids = vec![format!("v{:06}", (at + 4_001) % 8_400)];
        running.node.write(Op::DeleteVectors { database: "db".into(), ids }).await.unwrap();
        tokio::time::sleep(std::time::Duration::from_millis(1)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_seed_that_is_cut_again_and_again_costs_the_data_about_once() {
    let (blue_dir, green_dir) = (TempDir::new().unwrap(), TempDir::new().unwrap());
    let blue = full(blue_dir.path()).await;
    // Seven or more cuts: one that began anew each time would never get to the end.
    let cutter = Cutter::start(&blue.peer, 1_200_000).await;
    let stop = Arc::new(AtomicBool::new(false));
    let green = Running::start(green_dir.path(), true).await;
    let follow = async {
        green.node.follow(1, cutter.peer.clone()).await.unwrap();
        eventually("the snapshot", || green.node.lsn() > 0).await;
        let (passed, cuts) = (cutter.passed(), cutter.cuts());
        cutter.cut_after(u64::MAX);
        assert!(passed < DATA_BYTES * 3 / 2, "{passed} bytes");
        assert!(cuts >= 5, "{cuts} cuts");
        eventually("a whole copy", || green.node.ready()).await;
        stop.store(true, Ordering::SeqCst);
    };
    tokio::join!(follow, write_on(&blue, stop.clone()));
    equal(&blue, &green).await;
    assert_eq!(seeding(&green), None);
    assert!(!green_dir.path().join("snapshot/received.part").exists());
    blue.stop().await;
    green.stop().await;
}

/// Lets green receive about a third, and then nothing more.
async fn stop_in_the_middle(green: &Running, cutter: &Cutter) -> Seeding {
    let before = cutter.cuts();
    cutter.cut_after(3_000_000);
    eventually("a cut", || {
        if cutter.cuts() > before {
            cutter.cut_after(0);
        }
        cutter.cuts() > before
    })
    .await;
    eventually("the rest to be taken in", || {
        let feed = green.node.shared().feed.lock();
        feed.error.is_some() && feed.seeding.as_ref().is_some_and(|seeding| seeding.bytes_per_s == 0)
    })
    .await;
    seeding(green).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_seed_goes_on_after_a_restart_of_either_side() {
    let (blue_dir, green_dir) = (TempDir::new().unwrap(), TempDir::new().unwrap());
    let blue = full(blue_dir.path()).await;
    let cutter = Cutter::start(&blue.peer, u64::MAX).await;
    let green = Running::start(green_dir.path(), true).await;
    cutter.cut_after(3_000_000);
    green.node.follow(1, cutter.peer.clone()).await.unwrap();
    let first = stop_in_the_middle(&green, &cutter).await;
    assert!((1_000..7_000).contains(&first.records), "{first:?}");
    green.stop().await;
    let green = Running::start(green_dir.path(), true).await;
    let second = stop_in_the_middle(&green, &cutter).await;
    assert!(second.records > first.records, "{second:?} after {first:?}");
    blue.node.write(bulky(0..2)).await.unwrap();
    blue.stop().await;
    let blue = Running::start(blue_dir.path(), false).await;
    cutter.set_target(&blue.peer);
    cutter.cut_after(u64::MAX);
    equal(&blue, &green).await;
    assert!(cutter.passed() < DATA_BYTES * 3 / 2, "{} bytes", cutter.passed());
    blue.stop().await;
    green.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_seed_whose_beginning_is_no_longer_in_the_log_begins_anew() {
    let (blue_dir, green_dir) = (TempDir::new().unwrap(), TempDir::new().unwrap());
    let blue = Running::start_with(forgetful(blue_dir.path())).await;
    blue.node.write(create()).await.unwrap();
    for number in 0..8 {
        blue.node.write(bulky(number * 1_000..number * 1_000 + 1_000)).await.unwrap();
    }
    let cutter = Cutter::start(&blue.peer, u64::MAX).await;
    let green = Running::start(green_dir.path(), true).await;
    cutter.cut_after(3_000_000);
    let begun_at = blue.node.lsn();
    green.node.follow(1, cutter.peer.clone()).await.unwrap();
    stop_in_the_middle(&green, &cutter).await;
    let log = &blue.node.shared().log;
    let mut number = 0;
    while log.renewed().first_available() <= begun_at + 1 {
        // What the part has is gone from the log, and from the store.
        let ids = vec![format!("v{number:06}")];
        blue.node.write(Op::DeleteVectors { database: "db".into(), ids }).await.unwrap();
        blue.node.write(bulky(10_000 + number..10_010 + number)).await.unwrap();
        number += 1;
        assert!(number < 8_000, "the log was never cut");
    }
    cutter.cut_after(u64::MAX);
    equal(&blue, &green).await;
    blue.stop().await;
    green.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_part_of_one_node_is_not_completed_by_another() {
    let dirs = [TempDir::new().unwrap(), TempDir::new().unwrap(), TempDir::new().unwrap()];
    let blue = full(dirs[0].path()).await;
    let other = Running::start(dirs[1].path(), true).await;
    other.node.follow(1, blue.peer.clone()).await.unwrap();
    equal(&blue, &other).await;
    let cutter = Cutter::start(&blue.peer, u64::MAX).await;
    let green = Running::start(dirs[2].path(), true).await;
    cutter.cut_after(3_000_000);
    green.node.follow(1, cutter.peer.clone()).await.unwrap();
    stop_in_the_middle(&green, &cutter).await;
    let before = cutter.passed();
    cutter.set_target(&other.peer);
    cutter.cut_after(u64::MAX);
    equal(&blue, &green).await;
    assert!(cutter.passed() - before > DATA_BYTES * 3 / 4, "{} bytes", cutter.passed() - before);
    for running in [blue, other, green] {
        running.stop().await;
    }
}

/// An older version that had received all the keys' places already, and is replaced by a newer one: it would lack the keys.
#[tokio::test(flavor = "multi_thread")]
async fn a_part_in_an_older_record_format_is_not_completed_in_a_newer_one() {
    let (blue_dir, green_dir) = (TempDir::new().unwrap(), TempDir::new().unwrap());
    let blue = full(blue_dir.path()).await;
    for number in 0..20 {
        blue.node.write(keyed(number, 1, number.into())).await.unwrap();
    }
    let cutter = Cutter::start(&blue.peer, u64::MAX).await;
    let green = Running::start_with(Config { record_format: 1, ..config(green_dir.path(), true) }).await;
    cutter.cut_after(3_000_000);
    green.node.follow(1, cutter.peer.clone()).await.unwrap();
    let part = stop_in_the_middle(&green, &cutter).await;
    assert!(part.records > 1_000, "{part:?}");
    green.stop().await;
    let green = Running::start(green_dir.path(), true).await;
    cutter.cut_after(u64::MAX);
    equal(&blue, &green).await;
    assert_eq!(green.node.store().answered_count(), 20);
    blue.stop().await;
    green.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn damage_on_the_way_is_found_and_costs_only_what_was_damaged() {
    let (blue_dir, green_dir) = (TempDir::new().unwrap(), TempDir::new().unwrap());
    let blue = full(blue_dir.path()).await;
    let cutter = Cutter::start(&blue.peer, u64::MAX).await;
    cutter.damage_at(4_000_123);
    let green = Running::start(green_dir.path(), true).await;
    green.node.follow(1, cutter.peer.clone()).await.unwrap();
    equal(&blue, &green).await;
    assert!(cutter.damaged(), "the test does nothing");
    assert!(cutter.passed() > DATA_BYTES * 3 / 4 && cutter.passed() < DATA_BYTES * 2, "{} bytes", cutter.passed());
    blue.stop().await;
    green.stop().await;
}
