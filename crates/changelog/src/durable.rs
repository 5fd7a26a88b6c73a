//! Files and folders whose change has reached the disk when the call returns.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use rustix::fs::FallocateFlags;
use rustix::io::Errno;
use thiserror::Error;

#[cfg(test)]
mod tests;

/// A file could not be replaced; the old content is still there.
#[derive(Debug, Error)]
#[error("cannot {action} {}: {error}", path.display())]
pub struct DurableWriteError {
    /// What was attempted.
    pub action: &'static str,
    pub path: PathBuf,
    pub error: io::Error,
}

/// Replaces the file at `path` by `bytes`, readable by its owner only. After a crash at any moment the file has its old
/// or its new content; when the call returned `Ok` it has the new one. One caller at a time for each path.
///
/// # Errors
/// Names the step that failed; then the old content is kept.
pub fn write_file_durably(path: &Path, bytes: &[u8]) -> Result<(), DurableWriteError> {
    let mut name = path.as_os_str().to_owned();
    name.push(".tmp");
    let tmp = PathBuf::from(name);
    let result = replace(path, &tmp, bytes);
    if result.is_err() {
        // The first error is the one to report; a file left behind is overwritten by the next call.
        let _ = fs::remove_file(&tmp);
    }
    result
}

fn replace(path: &Path, tmp: &Path, bytes: &[u8]) -> Result<(), DurableWriteError> {
    let named = |action, path: &Path| {
        let path = path.to_owned();
        move |error| DurableWriteError { action, path, error }
    };
    let mut file = create_file(tmp).map_err(named("create", tmp))?;
    file.write_all(bytes).map_err(named("write", tmp))?;
    file.sync_all().map_err(named("sync", tmp))?;
    fs::rename(tmp, path).map_err(named("rename into place", path))?;
    sync_dir(parent_of(path)).map_err(named("sync the folder of", path))
}

/// Creates `path` (emptied if it exists) for reading and writing by its owner only.
pub(crate) fn create_file(path: &Path) -> io::Result<File> {
    OpenOptions::new().read(true).write(true).create(true).truncate(true).mode(0o600).open(path)
}

/// Creates the folder and its parents, 0700, if missing.
pub(crate) fn create_dir(path: &Path) -> io::Result<()> {
    if path.is_dir() {
        return Ok(());
    }
    DirBuilder::new().recursive(true).mode(0o700).create(path)?;
    sync_dir(parent_of(path))
}

/// Makes creations, renames and removals in the folder durable.
pub(crate) fn sync_dir(path: &Path) -> io::Result<()> {
    File::open(path)?.sync_all()
}

pub(crate) fn parent_of(path: &Path) -> &Path {
    match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        Some(_) => Path::new("."),
        None => path,
    }
}

/// Reserves disk space for bytes `from..to`, growing the file; they read as zeros. A file system that cannot reserve
/// is no error: there the space is found missing when it is written.
pub(crate) fn reserve(file: &File, from: u64, to: u64) -> io::Result<()> {
    loop {
        match rustix::fs::fallocate(file, FallocateFlags::empty(), from, to - from) {
            Ok(()) => return Ok(()),
            Err(Errno::INTR) => {}
            Err(Errno::OPNOTSUPP | Errno::NOSYS) => return Ok(()),
            Err(errno) => return Err(errno.into()),
        }
    }
}

/// Whether the error means that the disk, or the owner's share of it, is full.
pub(crate) fn is_disk_full(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded)
}
