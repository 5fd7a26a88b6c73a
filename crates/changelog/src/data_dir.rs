//! The folder of a node: held by one process at a time, and of a format that this program knows.
//!
//! | entry | what |
//! |---|---|
//! | `LOCK` | locked (flock) while in use; holds the process id of the holder |
//! | `FORMAT` | `jadevectordb-data 1` |
//! | `log/` | segments |
//! | `snapshot/` | snapshots |

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustix::fs::FlockOperation;
use rustix::io::Errno;
use thiserror::Error;

use crate::durable::{DurableWriteError, create_dir, write_file_durably};

#[cfg(test)]
mod tests;

/// Number of the data format that this program writes, and the newest that it reads.
pub const DATA_FORMAT: u64 = 1;

const FORMAT_WORD: &str = "jadevectordb-data";

/// A data folder that this process holds. Clones share the hold; it ends with the last of them.
#[derive(Debug, Clone)]
pub struct DataDir {
    held: Arc<Held>,
}

#[derive(Debug)]
struct Held {
    path: PathBuf,
    /// Locked as long as it is open.
    _lock: File,
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
        let path = std::path::absolute(path).map_err(|error| DataDirError::Create { path: path.to_owned(), error })?;
        create_dir(&path).map_err(|error| DataDirError::Create { path: path.clone(), error })?;
        let lock = lock(&path)?;
        check_format(&path)?;
        Ok(DataDir { held: Arc::new(Held { path, _lock: lock }) })
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

fn lock(dir: &Path) -> Result<File, DataDirError> {
    let path = dir.join("LOCK");
    let failed = |error| DataDirError::Lock { path: path.clone(), error };
    // Not emptied here: until the lock is ours, the file names its holder.
    let mut file = OpenOptions::new()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o600)
        .open(&path)
        .map_err(failed)?;
    match rustix::fs::flock(&file, FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => {}
        Err(Errno::WOULDBLOCK) => {
            let mut text = String::new();
            // The process id is a courtesy: without it the refusal is the same.
            let _ = (&mut file).take(32).read_to_string(&mut text);
            return Err(DataDirError::InUse { path: dir.to_owned(), pid: text.trim().parse().ok() });
        }
        Err(errno) => return Err(failed(errno.into())),
    }
    file.set_len(0).map_err(failed)?;
    writeln!(file, "{}", std::process::id()).map_err(failed)?;
    Ok(file)
}

fn check_format(dir: &Path) -> Result<(), DataDirError> {
    let path = dir.join("FORMAT");
    let text = match fs::read(&path) {
        Ok(bytes) => String::from_utf8_lossy(&bytes[..bytes.len().min(200)]).into_owned(),
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            // FORMAT is the first thing written: what is there without it was not written by us.
            if let Some(entry) = ["log", "snapshot"].into_iter().find(|entry| dir.join(entry).exists()) {
                return Err(DataDirError::FormatMissing { path: dir.to_owned(), entry });
            }
            write_file_durably(&path, format!("{FORMAT_WORD} {DATA_FORMAT}\n").as_bytes())?;
            return Ok(());
        }
        Err(error) => return Err(DataDirError::ReadFormat { path, error }),
    };
    let number = text.trim().strip_prefix(FORMAT_WORD).and_then(|rest| rest.trim().parse::<u64>().ok());
    match number {
        Some(DATA_FORMAT) => Ok(()),
        Some(found) if found > DATA_FORMAT => Err(DataDirError::FormatNewer { path, found, known: DATA_FORMAT }),
        _ => Err(DataDirError::FormatUnreadable { path, found: text.trim().to_owned() }),
    }
}
