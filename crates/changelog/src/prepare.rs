//! Space for the log, written before it is needed.
//!
//! Syncing data in space that was written before costs half of syncing a file that grows, because the file system has
//! nothing to record. The zeros are written by a thread of their own, so that no append waits for them; when the log is
//! filled faster than they are written, the append waits for the chunk that is under way and writes on without.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread::JoinHandle;

use crate::disk::{Access, Disk, DiskFile};

static ZEROS: [u8; 64 << 10] = [0; 64 << 10];
/// Small pieces, so that a sync of the log does not wait behind a large one.
const SYNC_EVERY_BYTES: u64 = 512 << 10;

/// Work for the thread.
#[derive(Debug)]
pub(crate) enum Request {
    /// Write zeros to `from..to` of the segment at `path`. Nobody else writes there until the answer.
    Extend { path: PathBuf, from: u64, to: u64 },
    /// Create a file of zeros for the next segment.
    Spare { path: PathBuf, bytes: u64 },
}

/// What was prepared.
#[derive(Debug)]
pub(crate) enum Prepared {
    /// The active segment, up to `to`.
    Extended {
        to: u64,
    },
    Spare {
        path: PathBuf,
    },
}

/// The thread, with at most one request under way.
pub(crate) struct Preparer {
    link: Option<Link>,
    busy: bool,
}

struct Link {
    requests: SyncSender<Request>,
    results: Receiver<io::Result<Prepared>>,
    thread: JoinHandle<()>,
}

impl Preparer {
    /// Prepares nothing.
    pub(crate) fn none() -> Preparer {
        Preparer { link: None, busy: false }
    }

    pub(crate) fn start(disk: Arc<dyn Disk>) -> io::Result<Preparer> {
        let (requests, work) = sync_channel::<Request>(1);
        let (done, results) = sync_channel(1);
        let thread = std::thread::Builder::new().name("log-prepare".to_owned()).spawn(move || {
            while let Ok(request) = work.recv() {
                if done.send(perform(&*disk, request)).is_err() {
                    break;
                }
            }
        })?;
        Ok(Preparer { link: Some(Link { requests, results, thread }), busy: false })
    }

    /// Whether a request would be taken now.
    pub(crate) fn is_free(&self) -> bool {
        self.link.is_some() && !self.busy
    }

    /// Hands the request over; only when [`Preparer::is_free`].
    pub(crate) fn request(&mut self, request: Request) {
        if let Some(link) = &self.link {
            self.busy = link.requests.try_send(request).is_ok();
        }
    }

    /// The answer to the last request if it is there.
    pub(crate) fn poll(&mut self) -> Option<io::Result<Prepared>> {
        let link = self.link.as_ref().filter(|_| self.busy)?;
        let result = link.results.try_recv().ok()?;
        self.busy = false;
        Some(result)
    }

    /// Waits for the answer to the last request, if one is open. Afterwards nobody writes to the log's files.
    pub(crate) fn settle(&mut self) -> Option<io::Result<Prepared>> {
        let link = self.link.as_ref().filter(|_| self.busy)?;
        self.busy = false;
        // An error means that the thread is gone: nothing is prepared any more, and nothing is lost.
        link.results.recv().ok()
    }
}

impl Drop for Preparer {
    fn drop(&mut self) {
        if let Some(Link { requests, results, thread }) = self.link.take() {
            drop((requests, results));
            // A panic of the thread was reported by its hook; there is nothing to add.
            let _ = thread.join();
        }
    }
}

fn perform(disk: &dyn Disk, request: Request) -> io::Result<Prepared> {
    match request {
        Request::Extend { path, from, to } => {
            // A descriptor of its own: the kernel reports a failed write-back once to each open file, and the one the
            // log syncs must not miss it.
            let file = disk.open(&path, Access::Write)?;
            write_zeros(&*file, from, to)?;
            Ok(Prepared::Extended { to })
        }
        Request::Spare { path, bytes } => match create_spare(disk, &path, bytes) {
            Ok(()) => Ok(Prepared::Spare { path }),
            Err(error) => {
                // The first error is the one to report; a file left behind is removed by the next open.
                let _ = disk.remove_file(&path);
                Err(error)
            }
        },
    }
}

fn create_spare(disk: &dyn Disk, path: &Path, bytes: u64) -> io::Result<()> {
    write_zeros(&*disk.open(path, Access::Create)?, 0, bytes)
}

/// Fills `from..to` with zeros that are on disk.
pub(crate) fn write_zeros(file: &dyn DiskFile, from: u64, to: u64) -> io::Result<()> {
    // Reserving first finds a full disk before any of it is used.
    file.reserve(from, to)?;
    let (mut at, mut synced) = (from, from);
    while at < to {
        let count = ZEROS.len().min((to - at) as usize);
        file.write_all_at(&ZEROS[..count], at)?;
        at += count as u64;
        if at - synced >= SYNC_EVERY_BYTES {
            file.sync_data()?;
            synced = at;
        }
    }
    file.sync_data()
}

/// Whether all bytes of the slice are zero.
pub(crate) fn is_zero(bytes: &[u8]) -> bool {
    bytes.chunks(ZEROS.len()).all(|chunk| chunk == &ZEROS[..chunk.len()])
}
