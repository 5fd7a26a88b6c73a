//! The folder of a node: held by one process at a time, and of a format that this program knows.
//!
//! | entry | what |
//! |---|---|
//! | `LOCK` | locked (flock) while in use; holds the process id of the holder |
//! | `FORMAT` | `jadevectordb-data 2` |
//! | `log/` | segments |
//! | `snapshot/` | snapshots |

use std::any::Any;
use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use parking_lot::Mutex;
use thiserror::Error;

use crate::disk::{Disk, HoldError, LocalDisk, read_whole};
use crate::durable::{DurableWriteError, write_file_durably};
use crate::small_file::SmallFile;

#[cfg(test)]
mod tests;

/// Number of the data format that this program writes, and the newest that it reads; it reads all before too.
///
/// | number | what is new |
/// |---|---|
/// | 1 | |
/// | 2 | the role is a [`SmallFile`] |
pub const DATA_FORMAT: u64 = 2;

const FORMAT_WORD: &str = "jadevectordb-data";

/// A data folder that this process holds. Clones share the hold; it ends with the last of them.
#[derive(Debug, Clone)]
pub struct DataDir {
    held: Arc<Held>,
}

#[derive(Debug)]
struct Held {
    disk: Arc<dyn Disk>,
    path: PathBuf,
    small_files: Mutex<BTreeMap<String, Arc<SmallFile>>>,
    /// Dropped at the end.
    _hold: Box<dyn Any + Send + Sync>,
}

/// Why a data folder cannot be used.
#[derive(Debug, Error)]
pub enum DataDirError {
    #[error("cannot create the data folder {}: {error}", path.display())]
    Create { path: PathBuf, error: io::Error },
    #[error("cannot lock the data folder: {}: {error}", path.display())]
    Lock { path: PathBuf, error: io::Error },
    #[error("the data folder {} is in use by {}: stop it, or choose another folder", path.display(), holder(*pid))]
    InUse { path: PathBuf, pid: Option<u32> },
    #[error("cannot make durable what the data folder {} holds: {error}", path.display())]
    Sync { path: PathBuf, error: io::Error },
    #[error("cannot read {}: {error}", path.display())]
    ReadFormat { path: PathBuf, error: io::Error },
    #[error("cannot write the data format: {0}")]
    WriteFormat(#[from] DurableWriteError),
    #[error("{} says {found:?}: expected `{FORMAT_WORD} {DATA_FORMAT}`", path.display())]
    FormatUnreadable { path: PathBuf, found: String },
    #[error(
        "{} says data format {found}, this program knows up to {known}: use the version that wrote it, or a newer one",
        path.display()
    )]
    FormatNewer { path: PathBuf, found: u64, known: u64 },
    #[error(
        "{} has a `{entry}` but no FORMAT file: it is not a data folder, or it is damaged; choose an empty folder",
        path.display()
    )]
    FormatMissing { path: PathBuf, entry: &'static str },
}

fn holder(pid: Option<u32>) -> String {
    pid.map_or("another process".to_owned(), |pid| format!("process {pid}"))
}

impl DataDir {
    /// Opens the folder, creating it with mode 0700 if it is missing, and holds it.
    ///
    /// # Errors
    /// [`DataDirError::InUse`] if anyone holds it, this process included; [`DataDirError::FormatNewer`] and the other
    /// format errors before anything in it is changed but `LOCK`.
    pub fn open(path: &Path) -> Result<DataDir, DataDirError> {
        DataDir::open_on(Arc::new(LocalDisk), path)
    }

    /// As [`DataDir::open`], on a disk of the caller's choice: everything in the folder is on it.
    ///
    /// # Errors
    /// As [`DataDir::open`].
    pub fn open_on(disk: Arc<dyn Disk>, path: &Path) -> Result<DataDir, DataDirError> {
        let path = std::path::absolute(path).map_err(|error| DataDirError::Create { path: path.to_owned(), error })?;
        disk.create_dir(&path).map_err(|error| DataDirError::Create { path: path.clone(), error })?;
        let hold = disk.hold(&path).map_err(|error| match error {
            HoldError::Held { pid } => DataDirError::InUse { path: path.clone(), pid },
            HoldError::Io(error) => DataDirError::Lock { path: path.join("LOCK"), error },
        })?;
        check_format(&*disk, &path)?;
        make_names_durable(&*disk, &path)?;
        Ok(DataDir { held: Arc::new(Held { disk, path, small_files: Mutex::default(), _hold: hold }) })
    }

    /// What the folder is on.
    pub fn disk(&self) -> &Arc<dyn Disk> {
        &self.held.disk
    }

    /// The content of a small file of the folder, which is durable; `None` if it is not there.
    ///
    /// # Errors
    /// It cannot be read or synced.
    pub fn read(&self, name: &str) -> io::Result<Option<Vec<u8>>> {
        self.small_file(name).read_durable()
    }

    /// Replaces a small file of the folder. After a crash at any moment it has its old or its new content; when the call
    /// returned `Ok` it has the new one.
    ///
    /// # Errors
    /// As [`SmallFile::write`].
    pub fn write_durably(&self, name: &str, bytes: &[u8]) -> Result<(), DurableWriteError> {
        self.small_file(name).write(bytes)
    }

    fn small_file(&self, name: &str) -> Arc<SmallFile> {
        let mut files = self.held.small_files.lock();
        let new = || Arc::new(SmallFile::new(self.held.disk.clone(), &self.held.path.join(name)));
        files.entry(name.to_owned()).or_insert_with(new).clone()
    }

    pub fn path(&self) -> &Path {
        &self.held.path
    }

    /// Where the segments are.
    pub fn log_dir(&self) -> PathBuf {
        self.held.path.join("log")
    }

    /// Where the snapshots are.
    pub fn snapshot_dir(&self) -> PathBuf {
        self.held.path.join("snapshot")
    }
}

/// A process that was killed between a rename and the sync of the folder leaves a name that is seen and not durable. Whoever
/// acts upon what it finds under such a name must not lose it with the next power cut. The log does the same for its own.
fn make_names_durable(disk: &dyn Disk, dir: &Path) -> Result<(), DataDirError> {
    let snapshots = dir.join("snapshot");
    for folder in [dir, &snapshots] {
        if disk.exists(folder) {
            disk.sync_dir(folder).map_err(|error| DataDirError::Sync { path: folder.to_owned(), error })?;
        }
    }
    Ok(())
}

fn check_format(disk: &dyn Disk, dir: &Path) -> Result<(), DataDirError> {
    let path = dir.join("FORMAT");
    let text = match read_whole(disk, &path) {
        Ok(bytes) => String::from_utf8_lossy(&bytes[..bytes.len().min(200)]).into_owned(),
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            // FORMAT is the first thing written: what is there without it was not written by us.
            if let Some(entry) = ["log", "snapshot"].into_iter().find(|entry| disk.exists(&dir.join(entry))) {
                return Err(DataDirError::FormatMissing { path: dir.to_owned(), entry });
            }
            return Ok(write_format(disk, &path)?);
        }
        Err(error) => return Err(DataDirError::ReadFormat { path, error }),
    };
    let number = text.trim().strip_prefix(FORMAT_WORD).and_then(|rest| rest.trim().parse::<u64>().ok());
    match number {
        Some(DATA_FORMAT) => Ok(()),
        // From now on there may be something in it that an older program would misread.
        Some(1..DATA_FORMAT) => Ok(write_format(disk, &path)?),
        Some(found) if found > DATA_FORMAT => Err(DataDirError::FormatNewer { path, found, known: DATA_FORMAT }),
        _ => Err(DataDirError::FormatUnreadable { path, found: text.trim().to_owned() }),
    }
}

fn write_format(disk: &dyn Disk, path: &Path) -> Result<(), DurableWriteError> {
    write_file_durably(disk, path, format!("{FORMAT_WORD} {DATA_FORMAT}\n").as_bytes())
}
