//! Nodes that differ in the formats of records they know.

use super::*;
use crate::feed::tests::faults::never_connected;
use crate::feed::tests::tampering::{Change, Tampering};
use crate::record::{FORMAT_KEYED, FORMAT_MAX};
use changelog::FrameDecoder;
use client::{Admin, Http};
use wire::admin::{ProveFollow, RecordFormats};

/// A node that is held back to the first format.
fn older(dir: &Path, join: bool) -> Config {
    Config { record_format: 1, ..config(dir, join) }
}

async fn hand_over(from: &Running, to: &Running) {
    let epoch = from.node.position().epoch + 1;
    let sealed = from.node.seal(epoch).await.unwrap();
    assert!(to.node.applied(sealed.lsn, WAIT).await);
    assert_eq!(to.node.digest_at(sealed.lsn, WAIT).await.unwrap().root, sealed.digest);
    to.node.promote(epoch, sealed.lsn).await.unwrap();
    from.node.follow(epoch, to.peer.clone()).await.unwrap();
}

async fn prove(node: &Running, primary: Peer) -> Result<(), String> {
    let admin = Admin::new(Http::new(), &node.peer.admin, "secret", WAIT);
    admin.prove_follow(&ProveFollow { primary }).await.map(|_| ()).map_err(|error| error.to_string())
}

async fn equal(one: &Running, other: &Running) {
    let lsn = one.node.lsn().max(other.node.lsn());
    assert!(one.node.applied(lsn, WAIT).await && other.node.applied(lsn, WAIT).await);
    assert_eq!(one.node.digest_now().await.unwrap(), other.node.digest_now().await.unwrap());
}

/// Formats of the records on the disk of a node.
fn formats_in_log(running: &Running) -> Vec<u8> {
    let before = running.node.log_begins_at().saturating_sub(1);
    let frames = running.node.shared().log.renewed().read_after(before, usize::MAX).unwrap();
    frames.iter().map(|frame| frame.payload[0]).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn an_older_and_a_newer_node_follow_each_other_whoever_is_primary() {
    let (blue_dir, green_dir) = (TempDir::new().unwrap(), TempDir::new().unwrap());
    let blue = Running::start_with(older(blue_dir.path(), false)).await;
    blue.node.write(create()).await.unwrap();
    write_many(&blue.node, 0..20).await;
    let refused = blue.node.write(keyed(1, 1, 1)).await;
    assert!(matches!(&refused, Err(WriteError::Failed(why)) if why.contains("held back to record format 1")));
    let green = Running::start(green_dir.path(), true).await;
    green.node.follow(1, blue.peer.clone()).await.unwrap();
    equal(&blue, &green).await;

    // The older one follows the newer one, whose records it could not read as they are.
    assert_eq!(prove(&blue, green.peer.clone()).await, Ok(()));
    hand_over(&blue, &green).await;
    for number in 0..40 {
        green.node.write(keyed(number, 1, 100 + u64::from(number))).await.unwrap();
        green.node.write(put(u64::from(number))).await.unwrap();
    }
    equal(&green, &blue).await;
    assert!(formats_in_log(&green).contains(&2));
    assert!(formats_in_log(&blue).iter().all(|format| *format == 1));
    assert_eq!((green.node.store().answered_count(), blue.node.store().answered_count()), (40, 0));

    // And back, and forth again: nothing is lost in either direction.
    assert_eq!(prove(&green, blue.peer.clone()).await, Ok(()));
    hand_over(&green, &blue).await;
    write_many(&blue.node, 200..220).await;
    equal(&blue, &green).await;
    hand_over(&blue, &green).await;
    let repeated = green.node.write(keyed(7, 1, 107)).await;
    assert!(matches!(repeated, Err(WriteError::Repeated(_))), "it was done before all that");
    green.node.write(keyed(77, 1, 177)).await.unwrap();
    equal(&green, &blue).await;
    for running in [&blue, &green] {
        let rehash = crate::feed::rehash(&running.node).await.unwrap();
        assert_eq!(rehash.from_storage, rehash.from_memory);
        assert_eq!(running.node.store().database("db").unwrap().len(), 40 + 20 + 40 + 1);
    }
    blue.stop().await;
    green.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_older_node_is_seeded_from_a_newer_one_without_its_keys() {
    let (blue_dir, green_dir) = (TempDir::new().unwrap(), TempDir::new().unwrap());
    let blue = Running::start(blue_dir.path(), false).await;
    blue.node.write(create()).await.unwrap();
    for number in 0..60 {
        blue.node.write(keyed(number, 1, number.into())).await.unwrap();
    }
    let green = Running::start_with(older(green_dir.path(), true)).await;
    green.node.follow(1, blue.peer.clone()).await.unwrap();
    assert!(green.node.applied(blue.node.lsn(), WAIT).await);
    blue.node.write(keyed(60, 1, 60)).await.unwrap();
    equal(&blue, &green).await;
    assert_eq!((blue.node.store().answered_count(), green.node.store().answered_count()), (61, 0));
    green.stop().await;
    // What it has on its disk it can read.
    let green = Running::start_with(older(green_dir.path(), true)).await;
    equal(&blue, &green).await;
    green.stop().await;
    // The newer program on the same folder is seeded anew, once: what came without keys would do a retry a second time.
    let green = Running::start(green_dir.path(), true).await;
    blue.node.write(keyed(61, 1, 61)).await.unwrap();
    eventually("all keys", || green.node.store().answered_count() == 62).await;
    equal(&blue, &green).await;
    let generation = green.node.shared().log.renewed().generation();
    green.stop().await;
    let green = Running::start(green_dir.path(), true).await;
    blue.node.write(keyed(62, 1, 62)).await.unwrap();
    equal(&blue, &green).await;
    assert_eq!(green.node.shared().log.renewed().generation(), generation);
    hand_over(&blue, &green).await;
    let repeated = green.node.write(keyed(7, 1, 7)).await;
    assert!(matches!(repeated, Err(WriteError::Repeated(_))), "it was done two versions ago");
    green.stop().await;
    blue.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_folder_with_newer_records_is_refused_by_an_older_node_and_stays_as_it_is() {
    let dir = TempDir::new().unwrap();
    let running = Running::start(dir.path(), false).await;
    running.node.write(create()).await.unwrap();
    running.node.write(keyed(1, 1, 1)).await.unwrap();
    let before = running.node.digest_now().await.unwrap();
    running.stop().await;
    let error = Node::open(older(dir.path(), false)).err().unwrap().to_string();
    assert!(error.contains("record format 2 is not one that this node reads (1 to 1)"), "{error}");
    let running = Running::start(dir.path(), false).await;
    assert_eq!(running.node.digest_now().await.unwrap(), before);
    // The same when they are in the snapshot.
    running.stop().await;
    let mut soon = config(dir.path(), false);
    (soon.limits.snapshot_log_bytes, soon.limits.segment_bytes, soon.limits.retained_log_bytes) = (2_000, 1_000, 1_000);
    let running = Running::start_with(soon).await;
    let mut number = 10;
    while running.node.log_begins_at() <= 5 {
        write_many(&running.node, number..number + 50).await;
        number += 50;
        assert!(number < 20_000, "the log was never cut");
    }
    running.stop().await;
    let error = Node::open(older(dir.path(), false)).err().unwrap().to_string();
    assert!(error.contains("the snapshot cannot be used") && error.contains("record format 2"), "{error}");
}

/// As if the record at `lsn` were of a format to come.
fn from_the_future(lsn: Lsn) -> Change {
    let mut decoder = FrameDecoder::new();
    Box::new(move |piece| {
        decoder.push(&piece);
        let mut out = Vec::new();
        while let Some(frame) = decoder.next().unwrap() {
            let newer = || Bytes::from_static(&[FORMAT_MAX + 1, 42, 1, 2, 3]);
            let payload = if frame.lsn == lsn { newer() } else { frame.payload };
            Frame { payload, ..frame }.encode_into(&mut out).unwrap();
        }
        Some(out.into())
    })
}

#[tokio::test(flavor = "multi_thread")]
async fn a_record_that_cannot_be_read_stops_the_follower_with_a_reason_that_stays() {
    let (blue_dir, green_dir) = (TempDir::new().unwrap(), TempDir::new().unwrap());
    let blue = Running::start(blue_dir.path(), false).await;
    blue.node.write(create()).await.unwrap();
    write_many(&blue.node, 0..10).await;
    let green = Running::start(green_dir.path(), true).await;
    green.node.follow(1, blue.peer.clone()).await.unwrap();
    equal(&blue, &green).await;
    let unreadable = blue.node.lsn() + 21;
    let tampering = Tampering::with(&blue.node, "/feed", move || from_the_future(unreadable)).await;
    green.node.follow(1, tampering.peer.clone()).await.unwrap();
    write_many(&blue.node, 10..60).await;
    let said = || green.node.shared().feed.lock().error.clone().unwrap_or_default();
    eventually("an error", || said().contains("cannot be read")).await;
    assert_eq!(
        said(),
        format!(
            "the record of {} at LSN {unreadable} cannot be read: record format 3 is not one that this node reads (1 to 2): \
             upgrade this node first, or let it read newer formats if it is held back (--record-format)",
            tampering.peer.admin
        )
    );
    assert_eq!(green.node.lsn(), unreadable - 1, "everything before is applied, and nothing behind");
    never_connected(&green.node).await;
    tampering.end();
    equal(&blue, &green).await;
    eventually("connected", || green.node.shared().feed.lock().connected).await;
    blue.stop().await;
    green.stop().await;
}

/// Says of itself that it gives records only in formats from `given_min` on.
fn state_of_the_future(given_min: u8) -> Change {
    Box::new(move |piece| {
        let mut state: serde_json::Value = serde_json::from_slice(&piece).unwrap();
        let records = RecordFormats { read_min: 1, read_max: 3, written: 3, given_min };
        state["records"] = serde_json::to_value(records).unwrap();
        Some(state.to_string().into())
    })
}

#[tokio::test(flavor = "multi_thread")]
async fn the_way_back_is_not_proven_when_the_new_primary_would_write_what_the_old_one_cannot_read() {
    let (blue_dir, green_dir) = (TempDir::new().unwrap(), TempDir::new().unwrap());
    let blue = Running::start(blue_dir.path(), false).await;
    let green = Running::start(green_dir.path(), true).await;
    green.node.follow(1, blue.peer.clone()).await.unwrap();
    eventually("one history", || green.node.lsn() >= blue.node.lsn() && green.node.ready()).await;
    for (given_min, understood) in [(1, true), (2, true), (3, false)] {
        let future = Tampering::with(&green.node, "/state", move || state_of_the_future(given_min)).await;
        let proof = prove(&blue, future.peer.clone()).await;
        let expected = format!("{} gives its records in formats 3 to 3, the follower reads 1 to 2", future.peer.admin);
        assert_eq!(proof, if understood { Ok(()) } else { Err(expected) });
    }
    // A node that says nothing of formats is one of the first.
    let silent = Tampering::with(&green.node, "/state", || {
        Box::new(|piece| {
            let mut state: serde_json::Value = serde_json::from_slice(&piece).unwrap();
            state.as_object_mut().unwrap().remove("records");
            Some(state.to_string().into())
        })
    })
    .await;
    assert_eq!(prove(&blue, silent.peer.clone()).await, Ok(()));
    blue.stop().await;
    green.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_has_no_older_form_ends_the_feed_of_an_older_node_by_name() {
    let (blue_dir, green_dir) = (TempDir::new().unwrap(), TempDir::new().unwrap());
    let blue = Running::start(blue_dir.path(), false).await;
    blue.node.write(create()).await.unwrap();
    let green = Running::start_with(older(green_dir.path(), true)).await;
    green.node.follow(1, blue.peer.clone()).await.unwrap();
    equal(&blue, &green).await;
    let last = blue.node.lsn();
    let answered = Answered { key: [1; 32], request: [1; 32], at_ms: 1, status: 200, body: Bytes::new() };
    blue.node.write(Op::Keyed { op: Box::new(Op::Nothing), answered }).await.unwrap();
    let said = || green.node.shared().feed.lock().error.clone().unwrap_or_default();
    eventually("an error", || said().contains("cannot go on")).await;
    let (lsn, admin) = (last + 1, &blue.peer.admin);
    assert_eq!(
        said(),
        format!(
            "{admin} cannot go on behind LSN {last}: LSN {lsn}: a record of kind 11 in format {FORMAT_KEYED} has no form in \
             format 1: a node that reads formats up to 1 cannot follow"
        )
    );
    never_connected(&green.node).await;
    assert_eq!(green.node.lsn(), last);
    // Who asks for a format that nobody gives is refused at once.
    let admin = Admin::new(Http::new(), &blue.peer.admin, "secret", WAIT).reading_records(0);
    let position = green.node.position();
    for refused in [
        admin.feed((position.lsn, position.epoch), "", "f", 1).await.err().unwrap(),
        admin.snapshot("f", None).await.err().unwrap(),
    ] {
        let expected = "this node gives its records in formats 1 to 2, the follower reads 1 to 0";
        assert_eq!(refused.to_string(), expected);
    }
    blue.stop().await;
    green.stop().await;
}
