//! What files and folders are to a node: the few things that it asks of a file system, so that another one can be put in
//! its place.
//!
//! Everything below a [`DataDir`](crate::DataDir) goes through the disk that it was opened on. What is durable when is
//! said here as POSIX says it: the content of a file after [`DiskFile::sync_data`], its name after [`Disk::sync_dir`] of
//! the folder.

use std::any::Any;
use std::fmt::Debug;
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;

mod local;

pub use local::LocalDisk;

/// A file system.
pub trait Disk: Debug + Send + Sync {
    /// Creates the folder and its parents if missing, for its owner only, durably.
    ///
    /// # Errors
    /// As the file system says.
    fn create_dir(&self, path: &Path) -> io::Result<()>;

    /// Path of each entry of the folder, in any order.
    ///
    /// # Errors
    /// [`io::ErrorKind::NotFound`] if there is no such folder.
    fn list(&self, dir: &Path) -> io::Result<Vec<PathBuf>>;

    /// Whether a file or folder is there.
    fn exists(&self, path: &Path) -> bool;

    /// Opens a file.
    ///
    /// # Errors
    /// [`io::ErrorKind::NotFound`] if there is none, and it is not to be created.
    fn open(&self, path: &Path, access: Access) -> io::Result<Arc<dyn DiskFile>>;

    /// Gives a file another name, in the place of whatever has that name.
    ///
    /// # Errors
    /// As the file system says.
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()>;

    /// # Errors
    /// [`io::ErrorKind::NotFound`] if there is none.
    fn remove_file(&self, path: &Path) -> io::Result<()>;

    /// Makes creations, renames and removals in the folder durable.
    ///
    /// # Errors
    /// As the file system says.
    fn sync_dir(&self, path: &Path) -> io::Result<()>;

    /// Holds the folder by the file `LOCK` in it until the result is dropped.
    ///
    /// # Errors
    /// [`HoldError::Held`] if anyone holds it, this process included.
    fn hold(&self, dir: &Path) -> Result<Box<dyn Any + Send + Sync>, HoldError>;
}

/// What a file is opened for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Access {
    /// It exists, and is not changed.
    Read,
    /// It exists, and may be changed.
    Write,
    /// It is created, or emptied if it exists, for its owner only.
    Create,
}

/// Why a folder is not held.
#[derive(Debug)]
pub enum HoldError {
    /// Somebody else does; the process, if it says which.
    Held {
        pid: Option<u32>,
    },
    Io(io::Error),
}

/// An open file. All methods take a position, so it can be shared.
pub trait DiskFile: Send + Sync {
    /// Length in bytes.
    ///
    /// # Errors
    /// As the file system says; so for all methods.
    fn length(&self) -> io::Result<u64>;

    /// Reads at most as many bytes as `buffer` has; 0 at the end.
    ///
    /// # Errors
    /// [`io::ErrorKind::Interrupted`]: nothing was read, and it can be tried again.
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize>;

    /// # Errors
    /// Some of the bytes may have been written.
    fn write_all_at(&self, bytes: &[u8], offset: u64) -> io::Result<()>;

    /// # Errors
    /// The length is as before.
    fn set_len(&self, bytes: u64) -> io::Result<()>;

    /// Reserves space for bytes `from..to`, growing the file; they read as zeros. A file system that cannot reserve does
    /// nothing: there the space is found missing when it is written.
    ///
    /// # Errors
    /// The space is not there.
    fn reserve(&self, from: u64, to: u64) -> io::Result<()>;

    /// Makes content and length durable.
    ///
    /// # Errors
    /// What was written since the last sync may or may not be durable, and no later sync tells.
    fn sync_data(&self) -> io::Result<()>;

    /// As [`DiskFile::sync_data`], and everything else that the file system knows of the file.
    ///
    /// # Errors
    /// As [`DiskFile::sync_data`].
    fn sync_all(&self) -> io::Result<()>;

    /// Fills `buffer`.
    ///
    /// # Errors
    /// [`io::ErrorKind::UnexpectedEof`] if the file ends before.
    fn read_exact_at(&self, mut buffer: &mut [u8], mut offset: u64) -> io::Result<()> {
        while !buffer.is_empty() {
            match self.read_at(buffer, offset) {
                Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
                Ok(count) => {
                    buffer = &mut buffer[count..];
                    offset += count as u64;
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }
}

/// The whole content of a file.
///
/// # Errors
/// As [`Disk::open`], or it cannot be read.
pub fn read_whole(disk: &dyn Disk, path: &Path) -> io::Result<Vec<u8>> {
    let file = disk.open(path, Access::Read)?;
    let mut content = vec![0; usize::try_from(file.length()?).map_err(io::Error::other)?];
    file.read_exact_at(&mut content, 0)?;
    Ok(content)
}

/// A file that is read or written from its beginning on.
pub(crate) struct Stream {
    file: Arc<dyn DiskFile>,
    at: u64,
}

impl Stream {
    pub fn new(file: Arc<dyn DiskFile>) -> Stream {
        Stream { file, at: 0 }
    }

    pub fn file(&self) -> &dyn DiskFile {
        &*self.file
    }
}

impl Read for Stream {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.file.read_at(buffer, self.at)?;
        self.at += count as u64;
        Ok(count)
    }
}

impl Write for Stream {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.file.write_all_at(bytes, self.at)?;
        self.at += bytes.len() as u64;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Seek for Stream {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        let at = match to {
            SeekFrom::Start(at) => Some(at),
            SeekFrom::Current(by) => self.at.checked_add_signed(by),
            SeekFrom::End(by) => self.file.length()?.checked_add_signed(by),
        };
        self.at = at.ok_or(io::ErrorKind::InvalidInput)?;
        Ok(self.at)
    }
}
