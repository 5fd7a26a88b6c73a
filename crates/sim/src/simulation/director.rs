//! What people ask for and what breaks, in time; then everything is whole again, and the system has to find its way.

use super::clients::{Client, Served};
use super::coordinator::Coordinators;
use super::disk::Stop;
use super::examine;
use super::network::Host;
use super::platform::Trouble;
use super::profile::FaultKind;
use super::report::Count;
use super::world::World;
use conductor::Info;
use rollout::{Command, Phase};
use std::ops::RangeInclusive;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::Instant;
use wire::Colour;

/// Longest time that the system may take to serve again once everything is whole.
const SETTLE_MAX: Duration = Duration::from_secs(120);
/// After this time a person who waits for a rollout to end asks to go back.
const PATIENCE: Duration = Duration::from_secs(30);
const SETTLE_POLL: Duration = Duration::from_millis(100);
/// How long what is broken stays so, ms.
const BROKEN_MS: RangeInclusive<u64> = 20..=4_000;

/// How long a node is gone, ms.
const GONE_MS: RangeInclusive<u64> = 2_000..=12_000;

/// Runs everything, to the examination at the end.
pub(super) async fn direct(world: &Arc<World>) {
    let coordinators = Arc::new(Coordinators::new(world.clone()));
    world.platform.begin();
    coordinators.start().await;
    let (stop, stopping) = watch::channel(false);
    let served = Arc::new(Served::default());
    let clients: Vec<JoinHandle<()>> = (0..world.profile.clients)
        .map(|number| tokio::spawn(Client::new(world.clone(), number).run(stopping.clone(), served.clone())))
        .collect();
    let commanding = tokio::spawn(command(world.clone(), coordinators.clone()));
    let breaking = tokio::spawn(break_things(world.clone(), coordinators.clone()));
    let troubled = world.profile.troubled;
    tokio::time::sleep(if world.options.brief { troubled / 4 } else { troubled }).await;
    for task in [commanding, breaking] {
        task.abort();
        // Aborted or panicked: a panic is remembered elsewhere.
        let _ = task.await;
    }
    world.trace.line(|| "everything is whole again".into());
    heal(world, &coordinators).await;
    if let Err(why) = settle(world, &coordinators, &served).await {
        world.books.violation(format!("it does not serve again within {} s: {why}", SETTLE_MAX.as_secs()));
    }
    stop.send_replace(true);
    for client in clients {
        let _ = client.await;
    }
    examine::examine(world, &coordinators).await;
    coordinators.kill().await;
    for colour in Colour::BOTH {
        world.machines.get(colour).stop(world, Stop::Killed);
    }
}

/// Gives commands that fit, mostly such that lead to handovers.
async fn command(world: Arc<World>, coordinators: Arc<Coordinators>) {
    let mut versions = 1;
    loop {
        tokio::time::sleep(world.chance.ms(1..=world.profile.command_pause_ms_max)).await;
        coordinators.ensure().await;
        let Some(info) = coordinators.info() else { continue };
        let Some(wish) = wish(&world, &info, &mut versions) else { continue };
        coordinators.command(wish).await;
    }
}

fn wish(world: &World, info: &Info, versions: &mut u64) -> Option<Command> {
    let other = info.active.other();
    let rare = |parts| world.chance.hits(parts, 100);
    let back = || Command::Rollback { reason: "a person asked".into(), accept_loss: false };
    match &info.phase {
        Phase::Stable => match info.versions.get(other) {
            Some(_) if rare(4) => Some(back()),
            Some(_) if !rare(4) => Some(Command::Switch { to: other }),
            _ => {
                *versions += 1;
                Some(Command::Deploy { version: format!("1.{versions}.0") })
            }
        },
        Phase::Paused { .. } if rare(30) => Some(back()),
        Phase::Paused { .. } => Some(Command::Resume),
        Phase::Watching { .. } if rare(5) => Some(back()),
        Phase::Shifting { .. } if rare(5) => {
            Some(Command::Canary { share_percent: world.chance.between(1..=99) as u8 })
        }
        Phase::Preparing { .. } | Phase::Seeding { .. } | Phase::Following { .. } | Phase::Checking { .. } => {
            let full = info.run.as_ref().is_some_and(|run| run.full);
            match world.chance.below(100) {
                0 => Some(back()),
                1 => Some(Command::Pause),
                2..=20 if !full => Some(Command::Promote { full: true }),
                _ => None,
            }
        }
        Phase::Shifting { .. } => match world.chance.below(20) {
            0 => Some(back()),
            1 => Some(Command::Pause),
            _ => Some(Command::Promote { full: world.chance.coin() }),
        },
        Phase::HandingOver { .. } if rare(3) => Some(back()),
        _ => None,
    }
}

/// Breaks something now and then.
async fn break_things(world: Arc<World>, coordinators: Arc<Coordinators>) {
    if world.profile.faults.is_empty() {
        return;
    }
    loop {
        tokio::time::sleep(world.chance.ms(1..=world.profile.fault_pause_ms_max)).await;
        let Some(kind) = world.chance.pick(&world.profile.faults).copied() else { return };
        world.trace.line(|| format!("fault: {kind:?}"));
        break_one(&world, &coordinators, kind).await;
    }
}

async fn break_one(world: &Arc<World>, coordinators: &Arc<Coordinators>, kind: FaultKind) {
    let colour = if world.chance.coin() { Colour::Blue } else { Colour::Green };
    let disk = world.machines.get(colour).disk();
    match kind {
        FaultKind::NodeKilled | FaultKind::PowerLost => {
            if world.machines.get(colour).version().is_some() {
                let stop = if kind == FaultKind::NodeKilled { Stop::Killed } else { Stop::PowerLost };
                world.machine_stopped(colour, stop);
            }
        }
        FaultKind::StoppedInDiskCall => {
            let stop = if world.chance.coin() { Stop::Killed } else { Stop::PowerLost };
            let calls = world.chance.below(20) as u32;
            disk.ail(|ailments| ailments.stops_in = Some((calls, stop)));
        }
        FaultKind::NodeGone => {
            if world.machines.get(colour).version().is_some() {
                world.machine_stopped(colour, if world.chance.coin() { Stop::Killed } else { Stop::PowerLost });
            }
            world.machines.get(colour).keep_off(true);
            gone(world, move |world| world.machines.get(colour).keep_off(false));
        }
        FaultKind::NodeIsolated => {
            world.count(Count::Partition);
            world.network.isolate(colour, true);
            gone(world, move |world| world.network.isolate(colour, false));
        }
        FaultKind::ConductorKilled => {
            coordinators.kill().await;
            tokio::time::sleep(world.chance.ms(0..=1_000)).await;
            coordinators.ensure().await;
        }
        FaultKind::SecondConductor => coordinators.second().await,
        FaultKind::Partition | FaultKind::HalfPartition => {
            let (one, other) = pair(world, coordinators, colour);
            world.count(Count::Partition);
            world.network.cut(one, other);
            if kind == FaultKind::Partition {
                world.network.cut(other, one);
            }
            later(world, move |world| {
                world.network.mend(one, other);
                world.network.mend(other, one);
            });
        }
        FaultKind::SlowLink => {
            let (one, other) = pair(world, coordinators, colour);
            world.count(Count::SlowLink);
            world.network.slow(one, other, world.chance.between(10..=1_000));
            later(world, move |world| world.network.slow(one, other, 0));
        }
        FaultKind::DiskFull => {
            world.count(Count::DiskFull);
            let room = world.chance.below(2_000);
            disk.ail(|ailments| ailments.room = Some(room));
            later(world, move |world| world.machines.get(colour).disk().ail(|ailments| ailments.room = None));
        }
        FaultKind::WriteFails => {
            world.count(Count::WriteFailed);
            disk.ail(|ailments| ailments.write_fails = true);
            replace_later(world, colour);
        }
        FaultKind::SyncFails => {
            world.count(Count::SyncFailed);
            disk.ail(|ailments| ailments.sync_fails = true);
            replace_later(world, colour);
        }
        FaultKind::ClockJumps => {
            world.count(Count::ClockJumped);
            let host = if world.chance.coin() { coordinators.host() } else { Host::Node(colour) };
            // Idempotency keys are kept for a day, by the clocks of the nodes.
            let most_ms = *world.chance.pick(&[2_000, 60_000, 40_000_000]).unwrap_or(&2_000);
            let wrong_ms = world.chance.below(2 * most_ms) as i64 - most_ms as i64;
            world.set_clock(host, wrong_ms);
        }
        FaultKind::PlatformTrouble => {
            let rate = || world.chance.below(500) as u32;
            world.platform.trouble(Trouble {
                load_fails: rate(),
                store_fails: rate(),
                apply_fails: rate(),
                observe_fails: rate(),
                takes_ms_max: *world.chance.pick(&[0, 5, 50, 3_000]).unwrap_or(&0),
            });
            later(world, |world| world.platform.trouble(Trouble::default()));
        }
    }
}

/// A node, and somebody who speaks to it.
fn pair(world: &World, coordinators: &Coordinators, colour: Colour) -> (Host, Host) {
    let other = match world.chance.below(4) {
        0 => Host::Client(0),
        1 | 2 => Host::Node(colour.other()),
        _ => coordinators.host(),
    };
    if world.chance.coin() { (Host::Node(colour), other) } else { (other, Host::Node(colour)) }
}

/// Makes something whole again after a while.
fn later(world: &Arc<World>, mend: impl FnOnce(&World) + Send + 'static) {
    let world = world.clone();
    tokio::spawn(async move {
        tokio::time::sleep(world.chance.ms(BROKEN_MS)).await;
        mend(&world);
    });
}

/// As [`later`], but late enough for a decision to go on without it.
fn gone(world: &Arc<World>, mend: impl FnOnce(&World) + Send + 'static) {
    let world = world.clone();
    tokio::spawn(async move {
        tokio::time::sleep(world.chance.ms(GONE_MS)).await;
        mend(&world);
    });
}

/// A node whose disk failed admits no writes any more; after a while somebody starts it again.
fn replace_later(world: &Arc<World>, colour: Colour) {
    later(world, move |world| {
        if world.machines.get(colour).node().is_some_and(|node| node.failed().is_some()) {
            let stop = if world.chance.coin() { Stop::Killed } else { Stop::PowerLost };
            world.machine_stopped(colour, stop);
        }
    });
}

/// Everything is whole again, and a conductor is there.
async fn heal(world: &Arc<World>, coordinators: &Coordinators) {
    world.calm_down();
    world.platform.trouble(Trouble::default());
    coordinators.end_stale().await;
    for colour in Colour::BOTH {
        world.machines.get(colour).repair();
        world.machines.get(colour).keep_off(false);
        if world.machines.get(colour).node().is_some_and(|node| node.failed().is_some()) {
            world.machine_stopped(colour, Stop::Killed);
        }
    }
    coordinators.ensure().await;
}

/// Waits until rollouts are over, the other environment has everything, and every client has written.
async fn settle(world: &Arc<World>, coordinators: &Coordinators, served: &Served) -> Result<(), String> {
    served.writers.lock().clear();
    let began = Instant::now();
    let mut told_to_go_back = false;
    loop {
        let why = match unsettled(world, coordinators, served) {
            None => return Ok(()),
            Some(why) => why,
        };
        if began.elapsed() > SETTLE_MAX {
            return Err(why);
        }
        coordinators.ensure().await;
        let paused = coordinators.info().is_some_and(|info| matches!(info.phase, Phase::Paused { .. }));
        if began.elapsed() > PATIENCE && !told_to_go_back {
            told_to_go_back = true;
            let reason = "it takes too long".to_string();
            coordinators.command(Command::Rollback { reason, accept_loss: false }).await;
        } else if paused {
            coordinators.command(Command::Resume).await;
        }
        tokio::time::sleep(SETTLE_POLL).await;
    }
}

/// What is not as it shall be at the end yet.
fn unsettled(world: &World, coordinators: &Coordinators, served: &Served) -> Option<String> {
    let Some(info) = coordinators.info() else { return Some("no conductor".into()) };
    if info.phase != Phase::Stable || info.stopped.is_some() {
        return Some(format!("{}: {}; {:?} {:?}", info.phase.name(), info.why, info.last_error, info.stopped));
    }
    let writers = served.writers.lock().len() as u32;
    if writers < world.profile.clients {
        return Some(format!("{writers} of {} clients could write", world.profile.clients));
    }
    let primary = world.machines.get(info.primary).node();
    let Some(primary) = primary else { return Some(format!("{} does not run", info.primary)) };
    let other = info.primary.other();
    if info.versions.get(other).is_some() {
        let Some(follower) = world.machines.get(other).node() else { return Some(format!("{other} does not run")) };
        if !follower.ready() || follower.lsn() + 20 < primary.lsn() {
            return Some(format!("{other} is at LSN {}, {} at {}", follower.lsn(), info.primary, primary.lsn()));
        }
    }
    None
}
