//! A disk in memory that keeps what is durable apart from what is merely written.
//!
//! What POSIX promises is kept and nothing more: content is durable after a sync of the file, names after a sync of the
//! folder. When the power goes, everything else is decided by chance: each sector that was written and not synced has its
//! old or its new content, each folder has some of the changes of names that it was not synced after, in their order. A
//! process that is killed loses nothing that it wrote. A sync that failed leaves some sectors durable and the others not,
//! and later syncs say nothing of those. What is not simulated is a disk that lies.

mod content;
mod names;

use super::mutation::Mutation;
use super::trace::fingerprint;
use super::world::World;
use changelog::{Access, Disk, DiskFile, HoldError};
use content::Content;
use names::Names;
use parking_lot::Mutex;
use std::any::Any;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Weak};
use wire::Colour;

/// How a machine stopped.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Stop {
    /// The process was killed; what it wrote is there.
    Killed,
    /// The power went; what it synced is there.
    PowerLost,
}

/// What the disk does wrong, set by the director.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Ailments {
    /// Bytes that can still be allocated; `None` is plenty.
    pub room: Option<u64>,
    /// The next write fails.
    pub write_fails: bool,
    /// The next sync fails.
    pub sync_fails: bool,
    /// The machine stops within so many calls.
    pub stops_in: Option<(u32, Stop)>,
}

/// The disk of one machine; it outlives the processes that use it.
pub(super) struct SimDisk {
    colour: Colour,
    world: Weak<World>,
    inner: Mutex<Inner>,
}

struct Inner {
    /// Number of the process that may use it; others are off.
    boot: u64,
    names: Names,
    held: bool,
    ailments: Ailments,
}

/// A file of the disk.
pub(super) struct FileNode {
    /// Its latest name.
    path: Mutex<PathBuf>,
    content: Mutex<Content>,
}

/// The disk as one process sees it.
pub(super) struct Mounted {
    disk: Arc<SimDisk>,
    boot: u64,
}

struct OpenFile {
    disk: Arc<SimDisk>,
    boot: u64,
    node: Arc<FileNode>,
}

/// Gives the folder back when the process lets it go.
struct Hold {
    disk: Arc<SimDisk>,
    boot: u64,
}

impl SimDisk {
    pub fn new(colour: Colour, world: Weak<World>) -> Arc<SimDisk> {
        let inner = Inner { boot: 0, names: Names::default(), held: false, ailments: Ailments::default() };
        Arc::new(SimDisk { colour, world, inner: Mutex::new(inner) })
    }

    /// The disk for a new process.
    pub fn mount(self: &Arc<Self>) -> Arc<Mounted> {
        let boot = self.inner.lock().boot;
        Arc::new(Mounted { disk: self.clone(), boot })
    }

    /// Every process that has it mounted finds every call failing from here on.
    pub fn stop(&self, stop: Stop) {
        let Some(world) = self.world.upgrade() else { return };
        let mut inner = self.inner.lock();
        inner.boot += 1;
        inner.held = false;
        inner.ailments.stops_in = None;
        if stop == Stop::PowerLost {
            inner.names.lose_power(&world.chance);
        }
    }

    pub fn ail(&self, change: impl FnOnce(&mut Ailments)) {
        change(&mut self.inner.lock().ailments);
    }

    /// A copy of everything that is written, as another disk.
    pub fn copy(&self) -> Arc<SimDisk> {
        let copy = SimDisk::new(self.colour, Weak::new());
        copy.inner.lock().names = self.inner.lock().names.copy();
        copy
    }

    /// Called before each call that changes something; the machine may stop in it. True: after it was done.
    fn step(&self, boot: u64) -> io::Result<bool> {
        let Some(world) = self.world.upgrade() else { return Ok(false) };
        let stop = {
            let mut inner = self.inner.lock();
            if inner.boot != boot {
                return Err(off());
            }
            match &mut inner.ailments.stops_in {
                Some((calls, _)) if *calls > 0 => {
                    *calls -= 1;
                    None
                }
                Some((_, stop)) => Some(*stop),
                None => None,
            }
        };
        let Some(stop) = stop else { return Ok(false) };
        if world.chance.coin() {
            return Ok(true);
        }
        self.inner.lock().ailments.stops_in = None;
        world.machine_stopped(self.colour, stop);
        Err(off())
    }

    /// Ends a call that [`SimDisk::step`] let through; `late`: what it returned.
    fn done<T>(&self, late: bool, result: io::Result<T>) -> io::Result<T> {
        if late && let Some(world) = self.world.upgrade() {
            let stop = self.inner.lock().ailments.stops_in.take();
            world.machine_stopped(self.colour, stop.map_or(Stop::PowerLost, |(_, stop)| stop));
            return Err(off());
        }
        result
    }

    fn check_on(&self, boot: u64) -> io::Result<()> {
        if self.world.strong_count() > 0 && self.inner.lock().boot != boot { Err(off()) } else { Ok(()) }
    }

    /// Takes room for `bytes` more; what there is if that is less.
    fn take_room(&self, bytes: u64) -> u64 {
        let mut inner = self.inner.lock();
        match &mut inner.ailments.room {
            None => bytes,
            Some(room) => {
                let taken = bytes.min(*room);
                *room -= taken;
                taken
            }
        }
    }

    fn take_failure(&self, which: impl FnOnce(&mut Ailments) -> &mut bool) -> bool {
        std::mem::take(which(&mut self.inner.lock().ailments))
    }
}

fn off() -> io::Error {
    io::Error::other("the machine is off")
}

fn full() -> io::Error {
    io::ErrorKind::StorageFull.into()
}

impl std::fmt::Debug for Mounted {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "disk of {}", self.disk.colour)
    }
}

impl Disk for Mounted {
    fn create_dir(&self, path: &Path) -> io::Result<()> {
        self.disk.check_on(self.boot)?;
        self.disk.inner.lock().names.create_dir(path);
        Ok(())
    }

    fn list(&self, dir: &Path) -> io::Result<Vec<PathBuf>> {
        self.disk.check_on(self.boot)?;
        self.disk.inner.lock().names.list(dir)
    }

    fn exists(&self, path: &Path) -> bool {
        self.disk.inner.lock().names.exists(path)
    }

    fn open(&self, path: &Path, access: Access) -> io::Result<Arc<dyn DiskFile>> {
        self.disk.check_on(self.boot)?;
        let found = self.disk.inner.lock().names.find(path);
        let node = match (access, found) {
            (Access::Read | Access::Write, found) => found.ok_or(io::ErrorKind::NotFound)?,
            (Access::Create, found) => {
                let late = self.disk.step(self.boot)?;
                if found.is_none() && self.disk.take_room(1) < 1 {
                    return self.disk.done(late, Err(full()));
                }
                let node = match found {
                    Some(node) => {
                        node.content.lock().set_length(0);
                        node
                    }
                    None => self.disk.inner.lock().names.create(path),
                };
                self.disk.done(late, Ok(node))?
            }
        };
        Ok(Arc::new(OpenFile { disk: self.disk.clone(), boot: self.boot, node }))
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        let late = self.disk.step(self.boot)?;
        let renamed = self.disk.inner.lock().names.rename(from, to);
        if let (Ok(node), Some(world)) = (&renamed, self.disk.world.upgrade())
            && is_role(to)
        {
            world.books.role_written(self.disk.colour, node.content.lock().seen());
        }
        self.disk.done(late, renamed.map(|_| ()))
    }

    fn remove_file(&self, path: &Path) -> io::Result<()> {
        let late = self.disk.step(self.boot)?;
        let removed = self.disk.inner.lock().names.remove(path);
        self.disk.done(late, removed)
    }

    fn sync_dir(&self, path: &Path) -> io::Result<()> {
        let late = self.disk.step(self.boot)?;
        if self.disk.take_failure(|ailments| &mut ailments.sync_fails) {
            return self.disk.done(late, Err(io::Error::other("a sync fails on purpose")));
        }
        let forgets = self.disk.world.upgrade().is_some_and(|world| world.mutated(Mutation::RoleIsForgotten));
        self.disk.inner.lock().names.sync(path, forgets.then_some("role.json"));
        self.disk.done(late, Ok(()))
    }

    fn hold(&self, _dir: &Path) -> Result<Box<dyn Any + Send + Sync>, HoldError> {
        self.disk.check_on(self.boot).map_err(HoldError::Io)?;
        if std::mem::replace(&mut self.disk.inner.lock().held, true) {
            return Err(HoldError::Held { pid: None });
        }
        Ok(Box::new(Hold { disk: self.disk.clone(), boot: self.boot }))
    }
}

impl Drop for Hold {
    fn drop(&mut self) {
        let mut inner = self.disk.inner.lock();
        if inner.boot == self.boot {
            inner.held = false;
        }
    }
}

impl OpenFile {
    fn sync(&self) -> io::Result<()> {
        let late = self.disk.step(self.boot)?;
        let Some(world) = self.disk.world.upgrade() else { return Ok(()) };
        let mut content = self.node.content.lock();
        if self.disk.take_failure(|ailments| &mut ailments.sync_fails) {
            content.fail_sync(&world.chance);
            drop(content);
            return self.disk.done(late, Err(io::Error::other("a sync fails on purpose")));
        }
        let path = self.node.path.lock();
        if is_log(&path) {
            for range in content.written() {
                let bytes = content.bytes(range.clone());
                world.trace.note("synced", &[self.disk.colour as u64, range.start as u64, fingerprint(bytes)]);
                world.books.log_synced(self.disk.colour, range.start, bytes);
            }
        }
        if is_role(&path) {
            world.books.role_written(self.disk.colour, content.seen());
        }
        let forgets = is_log(&path) && world.mutated(Mutation::AcknowledgeBeforeSync)
            || is_role(&path) && world.mutated(Mutation::RoleIsForgotten);
        if !forgets {
            content.sync();
        }
        drop((path, content));
        self.disk.done(late, Ok(()))
    }
}

/// A segment of the log, and none that was set aside.
fn is_log(path: &Path) -> bool {
    path.extension().is_some_and(|extension| extension == "log")
        && path.parent().and_then(Path::parent).is_some_and(|dir| dir == Path::new(super::machine::DATA_DIR))
}

/// The file with a node's role.
fn is_role(path: &Path) -> bool {
    path == Path::new(super::machine::DATA_DIR).join("role.json")
}

impl DiskFile for OpenFile {
    fn length(&self) -> io::Result<u64> {
        self.disk.check_on(self.boot)?;
        Ok(self.node.content.lock().seen().len() as u64)
    }

    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        self.disk.check_on(self.boot)?;
        Ok(self.node.content.lock().read(buffer, offset as usize))
    }

    fn write_all_at(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        let late = self.disk.step(self.boot)?;
        let Some(world) = self.disk.world.upgrade() else {
            self.node.content.lock().write(bytes, offset as usize);
            return Ok(());
        };
        let mut content = self.node.content.lock();
        let growth = (offset + bytes.len() as u64).saturating_sub(content.seen().len() as u64);
        let missing = growth - self.disk.take_room(growth);
        let fails = self.disk.take_failure(|ailments| &mut ailments.write_fails);
        let written = match fails {
            true => world.chance.below(bytes.len() as u64) as usize,
            false => bytes.len().saturating_sub(missing as usize),
        };
        content.write(&bytes[..written], offset as usize);
        drop(content);
        let result = match (fails, missing) {
            (true, _) => Err(io::Error::other("a write fails on purpose")),
            (false, 0) => Ok(()),
            (false, _) => Err(full()),
        };
        self.disk.done(late, result)
    }

    fn set_len(&self, bytes: u64) -> io::Result<()> {
        let late = self.disk.step(self.boot)?;
        self.node.content.lock().set_length(bytes as usize);
        self.disk.done(late, Ok(()))
    }

    fn reserve(&self, from: u64, to: u64) -> io::Result<()> {
        let late = self.disk.step(self.boot)?;
        let mut content = self.node.content.lock();
        let growth = to.saturating_sub(from.max(content.seen().len() as u64));
        let taken = self.disk.take_room(growth);
        if taken < growth {
            // As `fallocate` does: all or nothing.
            self.disk.ail(|ailments| ailments.room = ailments.room.map(|room| room + taken));
            drop(content);
            return self.disk.done(late, Err(full()));
        }
        if to > content.seen().len() as u64 {
            content.set_length(to as usize);
        }
        drop(content);
        self.disk.done(late, Ok(()))
    }

    fn sync_data(&self) -> io::Result<()> {
        self.sync()
    }

    fn sync_all(&self) -> io::Result<()> {
        self.sync()
    }
}

#[cfg(test)]
mod tests {
    use super::super::machine::DATA_DIR;
    use super::super::{Options, World};
    use super::*;
    use changelog::DataDir;

    /// Found by seed 545: a node killed between the rename of its role and the sync of the folder came up as the primary that
    /// it had just become, acknowledged writes, and was a follower again after the power went.
    #[test]
    fn what_a_node_finds_when_it_starts_is_durable() {
        for seed in 0..20 {
            let world = World::new(Options { seed, ..Options::default() });
            let (disk, dir) = (world.machines.get(Colour::Blue).disk(), Path::new(DATA_DIR));
            let snapshots = dir.join("snapshot");
            disk.mount().create_dir(dir).unwrap();
            drop(DataDir::open_on(disk.mount(), dir).unwrap());
            disk.mount().create_dir(&snapshots).unwrap();
            for folder in [dir, &snapshots] {
                let (written, named) = (folder.join("new.tmp"), folder.join("new"));
                let file = disk.mount().open(&written, Access::Create).unwrap();
                file.write_all_at(b"it", 0).unwrap();
                file.sync_all().unwrap();
                disk.mount().rename(&written, &named).unwrap();
            }
            disk.stop(Stop::Killed);
            drop(DataDir::open_on(disk.mount(), dir).unwrap());
            disk.stop(Stop::PowerLost);
            for folder in [dir, &snapshots] {
                let mut found = [0; 2];
                let file = disk.mount().open(&folder.join("new"), Access::Read).unwrap();
                assert_eq!((file.read_at(&mut found, 0).unwrap(), &found), (2, b"it"), "seed {seed}");
            }
        }
    }
}
