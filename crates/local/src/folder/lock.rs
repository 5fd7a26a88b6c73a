//! Who works on the folder: a lock that the kernel lets go of when its holder ends, however that ends.

use super::{Folder, FolderError, private};
use crate::process::Identity;
use std::fs::File;
use std::io::{Read, Seek, SeekFrom, Write};
use std::time::Duration;
use tokio::time::Instant;

/// Longest time in which what a dead holder was just starting becomes a program of its own.
const DEAD_MAX: Duration = Duration::from_secs(5);
const POLL: Duration = Duration::from_millis(5);

/// Held while an `up` or a `down` works on the folder.
#[derive(Debug)]
pub struct FolderLock {
    _file: File,
}

impl Folder {
    /// Takes the folder for this process.
    ///
    /// # Errors
    /// [`FolderError::Locked`] names the process that has it.
    pub fn lock(&self) -> Result<FolderLock, FolderError> {
        let path = self.root().join("lock");
        let failed = |source| FolderError::Lock { path: path.clone(), source };
        let mut file = private().read(true).write(true).create(true).truncate(false).open(&path).map_err(failed)?;
        match rustix::fs::flock(&file, rustix::fs::FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => {}
            Err(rustix::io::Errno::WOULDBLOCK) => return Err(self.held(&mut file)),
            Err(error) => return Err(failed(error.into())),
        }
        file.set_len(0)
            .and_then(|()| file.seek(SeekFrom::Start(0)))
            .and_then(|_| write!(file, "{}", std::process::id()))
            .map_err(failed)?;
        Ok(FolderLock { _file: file })
    }

    /// As [`Folder::lock`], also right after the holder was killed. If that happened while it was starting a node, a copy of
    /// it, which is about to become the node, has the lock a moment longer.
    ///
    /// # Errors
    /// As [`Folder::lock`]; at once when the holder lives.
    pub async fn lock_after_death(&self) -> Result<FolderLock, FolderError> {
        let deadline = Instant::now() + DEAD_MAX;
        loop {
            match self.lock() {
                Err(FolderError::Locked { dead: true, .. }) if Instant::now() < deadline => {
                    tokio::time::sleep(POLL).await;
                }
                locked => return locked,
            }
        }
    }

    /// Names the holder, as far as it is known.
    fn held(&self, file: &mut File) -> FolderError {
        let mut pid = String::new();
        // The holder writes its pid right after it got the lock: an unreadable one is only unnamed.
        let _ = file.read_to_string(&mut pid);
        let (holder, dead) = match pid.trim() {
            "" => ("its process number is not known yet".to_string(), false),
            pid => (format!("process {pid}"), pid.parse().is_ok_and(|pid| matches!(Identity::of(pid), Ok(None)))),
        };
        FolderError::Locked { path: self.root().to_path_buf(), holder, dead }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::process::{Child, Command, Stdio};

    /// A process that keeps the lock of `folder` for `seconds`, as the copy of a killed holder does; the folder says that
    /// `pid` holds it.
    fn keeper(folder: &Folder, pid: u32, seconds: &str) -> Child {
        let lock = folder.lock().unwrap();
        let child = Command::new("sleep").arg(seconds).stdin(lock._file.try_clone().unwrap()).spawn().unwrap();
        std::fs::write(folder.root().join("lock"), pid.to_string()).unwrap();
        child
    }

    fn dead_pid() -> u32 {
        let mut child = Command::new("true").stdin(Stdio::null()).spawn().unwrap();
        child.wait().unwrap();
        child.id()
    }

    #[tokio::test]
    async fn what_a_killed_holder_was_just_starting_is_waited_for() {
        let place = tempfile::tempdir().unwrap();
        let folder = Folder::open(place.path()).unwrap();
        let mut child = keeper(&folder, dead_pid(), "0.2");
        assert!(matches!(folder.lock(), Err(FolderError::Locked { dead: true, .. })));
        folder.lock_after_death().await.unwrap();
        child.wait().unwrap();
    }

    #[tokio::test]
    async fn a_holder_that_lives_is_not_waited_for() {
        let place = tempfile::tempdir().unwrap();
        let folder = Folder::open(place.path()).unwrap();
        let mut child = keeper(&folder, std::process::id(), "60");
        let refused = folder.lock_after_death().await.unwrap_err();
        assert!(matches!(refused, FolderError::Locked { dead: false, .. }), "{refused}");
        child.kill().unwrap();
        child.wait().unwrap();
    }
}
