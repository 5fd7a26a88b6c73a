//! Files whose change has reached the disk when the call returns.

use std::io;
use std::path::{Path, PathBuf};

use thiserror::Error;

use crate::disk::{Access, Disk};

#[cfg(test)]
mod tests;

/// A file could not be replaced.
#[derive(Debug, Error)]
#[error("cannot {action} {}: {error}", path.display())]
pub struct DurableWriteError {
    /// What was attempted.
    pub action: &'static str,
    pub path: PathBuf,
    pub error: io::Error,
    /// The new content is there, and it is not known whether it outlives a crash; otherwise the old one is still there.
    pub in_doubt: bool,
}

/// Replaces the file at `path` by `bytes`, readable by its owner only. After a crash at any moment the file has its old
/// or its new content; when the call returned `Ok` it has the new one. One caller at a time for each path.
///
/// # Errors
/// Names the step that failed, and whether the old content was kept.
pub(crate) fn write_file_durably(disk: &dyn Disk, path: &Path, bytes: &[u8]) -> Result<(), DurableWriteError> {
    let mut name = path.as_os_str().to_owned();
    name.push(".tmp");
    let tmp = PathBuf::from(name);
    let result = replace(disk, path, &tmp, bytes);
    if result.is_err() {
        // The first error is the one to report; a file left behind is overwritten by the next call.
        let _ = disk.remove_file(&tmp);
    }
    result
}

fn replace(disk: &dyn Disk, path: &Path, tmp: &Path, bytes: &[u8]) -> Result<(), DurableWriteError> {
    let named = |action, path: &Path| {
        let path = path.to_owned();
        move |error| DurableWriteError { action, path, error, in_doubt: false }
    };
    let file = disk.open(tmp, Access::Create).map_err(named("create", tmp))?;
    file.write_all_at(bytes, 0).map_err(named("write", tmp))?;
    file.sync_all().map_err(named("sync", tmp))?;
    disk.rename(tmp, path).map_err(named("rename into place", path))?;
    let synced = disk.sync_dir(parent_of(path)).map_err(named("sync the folder of", path));
    synced.map_err(|error| DurableWriteError { in_doubt: true, ..error })
}

pub(crate) fn parent_of(path: &Path) -> &Path {
    match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        Some(_) => Path::new("."),
        None => path,
    }
}

/// Whether the error means that the disk, or the owner's share of it, is full.
pub(crate) fn is_disk_full(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded)
}
