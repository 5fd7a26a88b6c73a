//! What the folder remembers about the process of one node.

use crate::folder::{Folder, FolderError};
use crate::launch::{Addresses, Launch};
use crate::process::Identity;
use serde::{Deserialize, Serialize};
use wire::Member;

/// Content of `blue.json` and `green.json`. The launch is written before a process is started with it, so whatever process
/// of this folder is found was started with it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct Started {
    pub launch: Launch,
    /// `None` before the first start is done, and after a confirmed end.
    pub process: Option<Identity>,
    /// Addresses last used, kept after the end so that the next start listens there again.
    pub addresses: Addresses,
    /// The process has accepted requests. One that has not may still be reading its data, and one that is silent then is
    /// not one that hangs.
    #[serde(default)]
    pub served: bool,
}

impl Started {
    pub fn load(folder: &Folder, member: Member) -> Result<Option<Self>, FolderError> {
        folder.load_record(member)
    }

    pub fn store(&self, folder: &Folder, member: Member) -> Result<(), FolderError> {
        folder.store_record(member, self)
    }

    /// Stores what could be found out again; losing it (the disk may be full) costs only time.
    pub fn note(&self, folder: &Folder, member: Member) {
        if let Err(error) = self.store(folder, member) {
            tracing::warn!(%member, %error, "what runs could not be noted");
        }
    }
}
