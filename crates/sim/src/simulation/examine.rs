//! The examination at the end, when nobody writes any more: every acknowledged write is there, and nothing else.

use super::books::{Deed, Expected};
use super::clients::values;
use super::coordinator::Coordinators;
use super::machine::{DATA_DIR, DATABASE};
use super::report::Count;
use super::world::World;
use changelog::{DataDir, Epoch, Log, LogOptions, Lsn, SnapshotReader, Start};
use jadevectordb::engine::Node;
use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;
use tokio::time::Instant;
use wire::Colour;
use wire::control::Verified;

/// How long the follower may take to have the last record.
const CATCH_UP_MAX: Duration = Duration::from_secs(20);

/// How often it is asked whether the conductor has seen both.
const LOOK_EVERY: Duration = Duration::from_millis(100);

/// How many vectors are searched for at each node, about.
const SEARCHES: u32 = 200;

pub(super) async fn examine(world: &World, coordinators: &Coordinators) {
    let Some(info) = coordinators.info() else { return };
    let Some(primary) = world.machines.get(info.primary).node() else {
        return world.books.violation(format!("{} is to be primary and does not run", info.primary));
    };
    let follower =
        world.machines.get(info.primary.other()).node().filter(|_| info.versions.get(info.primary.other()).is_some());
    if let Some(follower) = &follower {
        compare(world, &primary, follower, coordinators).await;
    }
    for (colour, node) in [(info.primary, Some(primary.clone())), (info.primary.other(), follower)] {
        if let Some(node) = node {
            look_up(world, colour, &node);
        }
    }
    read_history(world, info.primary, &primary);
}

/// Both hold the same.
async fn compare(world: &World, primary: &Node, follower: &Node, coordinators: &Coordinators) {
    if !follower.applied(primary.lsn(), CATCH_UP_MAX).await {
        let (here, there) = (follower.lsn(), primary.lsn());
        return world.books.violation(format!("the follower stays at LSN {here}, the primary is at {there}"));
    }
    if follower.store().digest() != primary.store().digest() {
        world.books.violation("the digests of both environments differ".to_string());
    }
    let Some(conductor) = coordinators.present() else { return };
    let asked = Instant::now();
    loop {
        match conductor.verify(true).await {
            Ok(verified) if verified.equal => return,
            // Seed 7002548: a follower that was started a moment ago runs before the conductor has looked again.
            Ok(Verified { environments, .. })
                if environments.iter().any(|(_, one)| one.is_none()) && asked.elapsed() < CATCH_UP_MAX =>
            {
                tokio::time::sleep(LOOK_EVERY).await;
            }
            Ok(verified) => return world.books.violation(format!("verify: {}", verified.why)),
            Err(error) => return world.books.violation(format!("verify: {error}")),
        }
    }
}

/// What is stored under every id is what was acknowledged, or what nobody knows of, and is found by search.
fn look_up(world: &World, colour: Colour, node: &Node) {
    let Some(database) = node.store().database(DATABASE) else {
        return world.books.violation(format!("{colour} has no database"));
    };
    let expected = world.books.all_expected();
    for (id, Expected { acknowledged, perhaps }) in &expected {
        let found = database.get(id).map(|vector| super::books::value_of(&vector.metadata));
        if found != *acknowledged && !perhaps.contains(&found) {
            let text =
                format!("`{id}` holds {found:?} at {colour}; {acknowledged:?} was acknowledged, perhaps {perhaps:?}");
            world.books.add_lost(text);
        }
        // Searching for each would take the square of their number.
        let Some(found) = found.filter(|_| world.chance.hits(SEARCHES, expected.len() as u32)) else { continue };
        let is_found = |exact| {
            let matches = database.search(&values(found), 3, exact);
            matches.is_ok_and(|matches| matches.iter().any(|found| found.id == *id))
        };
        if !is_found(true) {
            world.books.add_lost(format!("`{id}` holds {found} at {colour} and is not found by search"));
        } else if !is_found(false) {
            // The graph finds most of the nearest, not all: that is what it is.
            world.count(Count::MissedByGraph);
        }
    }
    let strangers = database.len().saturating_sub(expected.keys().filter(|id| database.get(id).is_some()).count());
    if strangers > 0 {
        world.books.violation(format!("{colour} holds {strangers} vectors that nobody wrote"));
    }
}

/// The history as the primary's disk has it: each acknowledged write at its LSN, each value once.
fn read_history(world: &World, colour: Colour, primary: &Node) {
    let epochs = match stored_epochs(world, colour) {
        Ok((epochs, last)) if last == primary.lsn() => epochs,
        Ok((_, last)) => {
            let here = primary.lsn();
            return world.books.violation(format!("the disk of {colour} ends at LSN {last}, the node is at {here}"));
        }
        Err(why) => return world.books.violation(format!("the disk of {colour} cannot be read: {why}")),
    };
    let epoch_at = |lsn: Lsn| {
        let after = epochs.partition_point(|&(_, first)| first <= lsn);
        after.checked_sub(1).map_or(0, |index| epochs[index].0)
    };
    let deed_at = |lsn: Lsn| world.books.record(epoch_at(lsn), lsn);
    for write in world.books.all_acknowledged() {
        let is_it = match deed_at(write.lsn) {
            Some(Deed::Put(vectors)) => write.value.is_some_and(|value| vectors.contains(&(write.id.clone(), value))),
            Some(Deed::Delete(ids)) => write.value.is_none() && ids.contains(&write.id),
            _ => false,
        };
        if !is_it {
            let found = deed_at(write.lsn);
            world.books.add_lost(format!("{write:?} is not in the history: {found:?} is at its LSN"));
        }
    }
    let mut seen: BTreeMap<u64, Lsn> = BTreeMap::new();
    for lsn in 1..=primary.lsn() {
        let Some(Deed::Put(vectors)) = deed_at(lsn) else { continue };
        for (id, value) in vectors {
            if let Some(before) = seen.insert(value, lsn) {
                world.books.add_duplicated(format!("`{id}` = {value} was written at LSN {before} and at LSN {lsn}"));
            }
        }
    }
}

/// Opens a copy of the disk as a node that starts would; each epoch with its first LSN, and the last LSN.
fn stored_epochs(world: &World, colour: Colour) -> Result<(Vec<(Epoch, Lsn)>, Lsn), String> {
    let disk = world.machines.get(colour).disk().copy().mount();
    let dir = DataDir::open_on(disk, Path::new(DATA_DIR)).map_err(|error| error.to_string())?;
    let snapshot = SnapshotReader::open_latest(&dir).map_err(|error| error.to_string())?;
    let start = snapshot.map_or_else(Start::beginning, |snapshot| snapshot.header().start.clone());
    let options = LogOptions { prepare_bytes: 0, ..LogOptions::default() };
    let (log, recovery) = Log::open(&dir, options, &start).map_err(|error| error.to_string())?;
    Ok((log.reader().epochs(), recovery.last_lsn))
}
