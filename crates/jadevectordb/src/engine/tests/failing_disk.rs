//! Changes of the role on a disk that is full, or that does not say what it has.

use super::*;
use changelog::{Access, Disk, DiskFile, HoldError, LocalDisk};
use std::any::Any;
use std::io;
use std::path::PathBuf;
use std::sync::atomic::AtomicBool;

/// The machine's, with failures on demand.
#[derive(Debug, Default)]
struct Grudging {
    /// The role takes nothing any more.
    role_fails: Arc<AtomicBool>,
    /// What was written into the role is not synced any more.
    role_unsynced: Arc<AtomicBool>,
    /// The log takes nothing any more.
    log_full: Arc<AtomicBool>,
}

fn unless(fails: &AtomicBool, error: impl Into<io::Error>) -> io::Result<()> {
    if fails.load(Ordering::SeqCst) { Err(error.into()) } else { Ok(()) }
}

impl Disk for Grudging {
    fn create_dir(&self, path: &Path) -> io::Result<()> {
        LocalDisk.create_dir(path)
    }

    fn list(&self, dir: &Path) -> io::Result<Vec<PathBuf>> {
        LocalDisk.list(dir)
    }

    fn exists(&self, path: &Path) -> bool {
        LocalDisk.exists(path)
    }

    fn open(&self, path: &Path, access: Access) -> io::Result<Arc<dyn DiskFile>> {
        let file = LocalDisk.open(path, access)?;
        let never = Arc::<AtomicBool>::default;
        let name = path.to_string_lossy();
        Ok(match name.contains("role.json") {
            true => {
                let (fails, unsynced) = (self.role_fails.clone(), self.role_unsynced.clone());
                Arc::new(GrudgingFile { file, full: never(), fails, unsynced })
            }
            false if name.ends_with(".log") || name.ends_with(".tmp") => {
                Arc::new(GrudgingFile { file, full: self.log_full.clone(), fails: never(), unsynced: never() })
            }
            false => file,
        })
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        LocalDisk.rename(from, to)
    }

    fn remove_file(&self, path: &Path) -> io::Result<()> {
        LocalDisk.remove_file(path)
    }

    fn sync_dir(&self, path: &Path) -> io::Result<()> {
        LocalDisk.sync_dir(path)
    }

    fn hold(&self, dir: &Path) -> Result<Box<dyn Any + Send + Sync>, HoldError> {
        LocalDisk.hold(dir)
    }
}

struct GrudgingFile {
    file: Arc<dyn DiskFile>,
    full: Arc<AtomicBool>,
    fails: Arc<AtomicBool>,
    unsynced: Arc<AtomicBool>,
}

impl DiskFile for GrudgingFile {
    fn length(&self) -> io::Result<u64> {
        self.file.length()
    }

    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        self.file.read_at(buffer, offset)
    }

    fn write_all_at(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        unless(&self.fails, io::Error::other("it takes nothing"))?;
        self.file.write_all_at(bytes, offset)
    }

    fn set_len(&self, bytes: u64) -> io::Result<()> {
        self.file.set_len(bytes)
    }

    fn reserve(&self, from: u64, to: u64) -> io::Result<()> {
        unless(&self.full, io::ErrorKind::StorageFull)?;
        self.file.reserve(from, to)
    }

    fn sync_data(&self) -> io::Result<()> {
        unless(&self.unsynced, io::Error::other("it is not synced"))?;
        self.file.sync_data()
    }

    fn sync_all(&self) -> io::Result<()> {
        self.file.sync_all()
    }
}

/// A primary, and a follower on a grudging disk that has everything.
async fn pair() -> (Running, Running, Arc<Grudging>, (TempDir, TempDir)) {
    let dirs = (TempDir::new().unwrap(), TempDir::new().unwrap());
    let disk = Arc::new(Grudging::default());
    let blue = Running::start(dirs.0.path(), false).await;
    blue.node.write(create()).await.unwrap();
    let mut config = config(dirs.1.path(), true);
    config.surroundings.disk = disk.clone();
    // No space is prepared, so that each group asks for its own.
    config.surroundings.execution = Execution::Tasks { pace: Arc::new(|| Duration::ZERO) };
    let green = Running::start_with(config).await;
    green.node.follow(1, blue.peer.clone()).await.unwrap();
    assert!(green.node.applied(blue.node.lsn(), WAIT).await);
    (blue, green, disk, dirs)
}

#[tokio::test]
async fn a_promotion_that_got_stuck_on_a_full_disk_goes_on_when_it_is_said_again() {
    let (blue, green, disk, _dirs) = pair().await;
    let sealed = blue.node.seal(2).await.unwrap();
    assert!(green.node.applied(sealed.lsn, WAIT).await);
    disk.log_full.store(true, Ordering::SeqCst);
    let confirmer = crate::admin::state(&blue.node).node_id;
    let by = AcknowledgeBy { mode: wire::admin::AcknowledgeMode::Required, confirmer, number: 1 };
    let error = green.node.promote_acknowledging(2, sealed.lsn, by.clone()).await.unwrap_err();
    assert!(matches!(error, RoleError::Disk(_)), "{error}");
    assert_ne!(green.node.standing(), Standing::Primary, "it has not opened its epoch");
    disk.log_full.store(false, Ordering::SeqCst);
    green.node.promote_acknowledging(2, sealed.lsn, by).await.unwrap();
    assert_eq!(green.node.standing(), Standing::Primary);
    assert_eq!(green.node.position(), Position { lsn: sealed.lsn + 1, epoch: 2 });
    assert!(crate::admin::state(&green.node).acknowledge.unwrap().holds, "from the first write on");
    blue.stop().await;
    green.stop().await;
}

#[tokio::test]
async fn a_follower_that_could_not_store_a_role_goes_on_following() {
    let (blue, green, disk, _dirs) = pair().await;
    disk.role_fails.store(true, Ordering::SeqCst);
    assert!(matches!(green.node.promote(2, blue.node.lsn()).await, Err(RoleError::Disk(_))));
    let elsewhere = Peer { admin: "127.0.0.1:1".into(), http: "127.0.0.1:1".into() };
    assert!(matches!(green.node.follow(3, elsewhere).await, Err(RoleError::Disk(_))));
    assert_eq!(green.node.failed(), None, "the old role is still there, for certain");
    let applied = blue.node.write(put(1)).await.unwrap();
    assert!(green.node.applied(applied.lsn, WAIT).await);
    blue.stop().await;
    green.stop().await;
}

#[tokio::test]
async fn no_write_relies_on_a_role_that_may_be_another_after_a_crash() {
    let dir = TempDir::new().unwrap();
    let disk = Arc::new(Grudging::default());
    let mut config = config(dir.path(), false);
    config.surroundings.disk = disk.clone();
    let node = Running::start_with(config.clone()).await;
    node.node.write(create()).await.unwrap();
    disk.role_unsynced.store(true, Ordering::SeqCst);
    assert!(matches!(node.node.seal(2).await, Err(RoleError::Disk(_))));
    // Were it admitted, it would be behind the LSN of a seal that a restart finds.
    let refused = node.node.write(put(1)).await.unwrap_err();
    assert!(matches!(&refused, WriteError::Failed(why) if why.contains("it is not synced")), "{refused}");
    node.stop().await;
    disk.role_unsynced.store(false, Ordering::SeqCst);
    let node = Running::start_with(config).await;
    let Role::Sealed { lsn, .. } = crate::admin::state(&node.node).role else {
        panic!("the seal was written into place")
    };
    assert_eq!(lsn, node.node.lsn());
    node.stop().await;
}
