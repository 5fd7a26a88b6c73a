//! The folder of one deployment: every path in it, its lock, and files that are either old or new but never half written.
//!
//! | entry | content |
//! |---|---|
//! | `folder.json` | version of this layout |
//! | `lock` | held by the running `jadeshift up`, with its pid |
//! | `document.yaml` | the document in force |
//! | `state.json` | the durable state of the rollout, in one half of a [`SmallFile`]: a handover waits for it |
//! | `control.json` | where the running `up` answers, and the token for it |
//! | `admin-token`, `admin-password` | secrets, made once |
//! | `blue/`, `green/` | data of the nodes; `blue-1/` and so on of the further ones of an environment, if it has several |
//! | `blue.json`, `green.json` | what was started, and with which addresses |
//! | `blue.ready`, `green.ready` | written by a node once its sockets are bound |
//! | `reports/` | what happened in each of the last rollouts |
//! | `logs/` | what the nodes print |

mod lock;

pub use lock::FolderLock;

use changelog::{LocalDisk, SmallFile};
use conductor::Report;
use parking_lot::Mutex;
use rollout::State;
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use std::fs::{DirBuilder, File, OpenOptions, Permissions};
use std::io::{ErrorKind, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use wire::control::ControlAddress;
use wire::{Colour, Member};

/// Where a deployment lives unless told otherwise, relative to the current directory.
pub const FOLDER_DEFAULT: &str = ".jadeshift";
/// Version of the layout that this program writes, and the newest it reads.
const FORMAT: u32 = 2;
/// A log that is longer than this at a start of its node is set aside.
const LOG_BYTES_MAX: u64 = 10 << 20;
/// Most nodes of an environment.
const REPLICAS_MAX: u8 = 9;
/// Reports of earlier rollouts that are kept.
const REPORTS_MAX: u64 = 50;
/// Random bytes of a token or password.
const SECRET_BYTES: usize = 24;
/// Part of a log that is looked at for its last line.
const LOG_TAIL_BYTES: u64 = 4 << 10;

/// A deployment's folder; cloning gives another handle to the same one.
#[derive(Debug, Clone)]
pub struct Folder {
    root: PathBuf,
    /// Comparing the generation and writing the next is one step.
    storing: Arc<Mutex<Storing>>,
}

#[derive(Debug)]
struct Storing {
    state: SmallFile,
    /// The folder's layout is an older one. A command that only looks leaves it so.
    older: bool,
}

/// What stands in the way of using the folder.
#[derive(Debug, thiserror::Error)]
pub enum FolderError {
    #[error("could not create {path}: {source}")]
    Create { path: PathBuf, source: std::io::Error },
    #[error(
        "folder {path} was written by a newer jadeshift (layout {found}; this one knows up to {FORMAT}): use that version, \
         or another folder"
    )]
    Newer { path: PathBuf, found: u32 },
    #[error(
        "folder {path} is in use by another jadeshift ({holder}): look at it with `jadeshift info`, end it with \
         `jadeshift down`, or use another folder"
    )]
    Locked {
        path: PathBuf,
        holder: String,
        /// The holder is known to be dead.
        dead: bool,
    },
    #[error("could not lock {path}: {source}")]
    Lock { path: PathBuf, source: std::io::Error },
    #[error("could not read {path}: {source}")]
    Read { path: PathBuf, source: std::io::Error },
    #[error("{path} cannot be understood ({why}): restore it, or move it away if you know that it is not needed")]
    Content { path: PathBuf, why: String },
    #[error("could not write {path}: {source}")]
    Write { path: PathBuf, source: std::io::Error },
    #[error(
        "{state} is missing but {data} holds data, so it is not known which environment has the newest: restore \
         {state}, or move {data} away to begin with blue"
    )]
    StateMissing { state: PathBuf, data: PathBuf },
    #[error("generation {offered} does not follow the stored generation {stored}")]
    Conflict { stored: u64, offered: u64 },
    #[error("the system gives no random numbers: {0}")]
    Random(String),
}

#[derive(Serialize, Deserialize)]
struct Layout {
    format: u32,
}

impl Folder {
    /// Opens `root`, creating it (readable by its owner only) when it is not there.
    ///
    /// # Errors
    /// [`FolderError::Newer`] when a later layout is found; nothing is changed then.
    pub fn open(root: &Path) -> Result<Self, FolderError> {
        create_private(root)?;
        let root = root.canonicalize().map_err(|source| FolderError::Read { path: root.into(), source })?;
        let layout = root.join("folder.json");
        let older = match read_json::<Layout>(&layout)? {
            Some(Layout { format }) if format > FORMAT => {
                return Err(FolderError::Newer { path: root, found: format });
            }
            Some(Layout { format }) => format < FORMAT,
            None => {
                write_json(&layout, &Layout { format: FORMAT })?;
                false
            }
        };
        let state = SmallFile::new(Arc::new(LocalDisk), &root.join("state.json"));
        Ok(Self { root, storing: Arc::new(Mutex::new(Storing { state, older })) })
    }

    /// Opens `root` only when a deployment lives there.
    ///
    /// # Errors
    /// As [`Folder::open`].
    pub fn open_existing(root: &Path) -> Result<Option<Self>, FolderError> {
        if root.join("folder.json").exists() { Self::open(root).map(Some) } else { Ok(None) }
    }

    pub fn root(&self) -> &Path {
        &self.root
    }

    /// Refuses to begin anew beside data that an unknown history belongs to.
    ///
    /// # Errors
    /// [`FolderError::StateMissing`] when there is no state but another node than blue's first holds data. (Data of that
    /// alone is taken over: it is the node that begins.)
    pub fn check_history(&self) -> Result<(), FolderError> {
        // What an `up` acts upon must not be lost with the power because the one before was killed at the wrong moment.
        let state = self.storing.lock();
        let path = state.state.path().into();
        state.state.read_durable().map_err(|source| FolderError::Read { path, source })?;
        drop(state);
        if self.load_state()?.is_some() {
            return Ok(());
        }
        for member in self.members(REPLICAS_MAX).into_iter().filter(|member| *member != Colour::Blue.into()) {
            if !self.data_is_empty(member)? {
                return Err(FolderError::StateMissing { state: self.state_path(), data: self.data(member) });
            }
        }
        Ok(())
    }

    /// The nodes of both environments: `replicas` of each, and those that were started with more of them.
    pub fn members(&self, replicas: u8) -> Vec<Member> {
        let started = |member: &Member| member.number < replicas || self.record_path(*member).exists();
        let all = |colour| (0..replicas.max(REPLICAS_MAX)).map(move |number| Member::new(colour, number));
        Colour::BOTH.into_iter().flat_map(all).filter(started).collect()
    }

    /// # Errors
    /// [`FolderError::Content`] when the file is there and cannot be understood.
    pub fn load_state(&self) -> Result<Option<State>, FolderError> {
        read_state(&SmallFile::new(Arc::new(LocalDisk), &self.state_path()))
    }

    /// Makes `state` durable. Blocks for a sync.
    ///
    /// # Errors
    /// [`FolderError::Conflict`] unless its generation is exactly one above the stored, which is 0 when there is none.
    pub fn store_state(&self, state: &State) -> Result<(), FolderError> {
        let mut storing = self.storing.lock();
        let Storing { state: file, older } = &mut *storing;
        let stored = read_state(file)?.map_or(0, |state| state.generation);
        if stored.checked_add(1) != Some(state.generation) {
            return Err(FolderError::Conflict { stored, offered: state.generation });
        }
        let path = || file.path().to_path_buf();
        let text = serde_json::to_vec_pretty(state)
            .map_err(|error| FolderError::Content { path: path(), why: error.to_string() })?;
        if *older {
            // What follows an older program would misread.
            write_json(&self.root.join("folder.json"), &Layout { format: FORMAT })?;
            *older = false;
        }
        file.write(&text).map_err(|error| FolderError::Write { path: path(), source: error.error })
    }

    /// Keeps the document in force, for a later look and for programs that find only the folder.
    ///
    /// # Errors
    /// [`FolderError::Write`].
    pub fn store_document(&self, document: &wire::document::BlueGreen) -> Result<(), FolderError> {
        write_atomic(&self.root.join("document.yaml"), document.to_yaml().as_bytes())
    }

    /// # Errors
    /// [`FolderError::Content`] names the field that cannot be used.
    pub fn load_document(&self) -> Result<Option<wire::document::BlueGreen>, FolderError> {
        let path = self.root.join("document.yaml");
        let Some(text) = read(&path)? else { return Ok(None) };
        wire::document::BlueGreen::from_yaml(&text)
            .map(Some)
            .map_err(|error| FolderError::Content { path, why: error.to_string() })
    }

    /// # Errors
    /// [`FolderError::Content`] when the file is there and cannot be understood.
    pub fn load_control(&self) -> Result<Option<ControlAddress>, FolderError> {
        read_json(&self.root.join("control.json"))
    }

    /// # Errors
    /// [`FolderError::Write`].
    pub fn store_control(&self, control: &ControlAddress) -> Result<(), FolderError> {
        write_json(&self.root.join("control.json"), control)
    }

    /// Forgets where the ended `up` answered.
    ///
    /// # Errors
    /// [`FolderError::Write`].
    pub fn remove_control(&self) -> Result<(), FolderError> {
        remove(&self.root.join("control.json"))
    }

    /// The token of both nodes' admin protocol, made on first use.
    ///
    /// # Errors
    /// [`FolderError::Random`], or that of reading or writing it.
    pub fn admin_token(&self) -> Result<String, FolderError> {
        secret_in(&self.admin_token_path())
    }

    /// The first password of the database's user `admin`, made on first use.
    ///
    /// # Errors
    /// [`FolderError::Random`], or that of reading or writing it.
    pub fn admin_password(&self) -> Result<String, FolderError> {
        secret_in(&self.admin_password_path())
    }

    pub fn admin_token_path(&self) -> PathBuf {
        self.root.join("admin-token")
    }

    pub fn admin_password_path(&self) -> PathBuf {
        self.root.join("admin-password")
    }

    pub fn state_path(&self) -> PathBuf {
        self.root.join("state.json")
    }

    /// Data folder of a node.
    pub fn data(&self, of: impl Into<Member>) -> PathBuf {
        self.root.join(of.into().to_string())
    }

    pub fn ready_path(&self, of: impl Into<Member>) -> PathBuf {
        self.root.join(format!("{}.ready", of.into()))
    }

    pub fn log_path(&self, of: impl Into<Member>) -> PathBuf {
        self.root.join("logs").join(format!("{}.log", of.into()))
    }

    fn record_path(&self, of: Member) -> PathBuf {
        self.root.join(format!("{of}.json"))
    }

    /// # Errors
    /// [`FolderError::Read`] when it cannot be looked into.
    pub fn data_is_empty(&self, of: impl Into<Member>) -> Result<bool, FolderError> {
        let path = self.data(of);
        match std::fs::read_dir(&path) {
            Ok(mut entries) => Ok(entries.next().is_none()),
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(true),
            Err(source) => Err(FolderError::Read { path, source }),
        }
    }

    pub(crate) fn create_data(&self, of: Member) -> Result<(), FolderError> {
        create_private(&self.data(of))
    }

    pub(crate) fn load_record<T: DeserializeOwned>(&self, of: Member) -> Result<Option<T>, FolderError> {
        read_json(&self.record_path(of))
    }

    pub(crate) fn store_record<T: Serialize>(&self, of: Member, record: &T) -> Result<(), FolderError> {
        write_json(&self.record_path(of), record)
    }

    /// What the node wrote about itself; `None` while it has not.
    pub(crate) fn load_ready<T: DeserializeOwned>(&self, of: Member) -> Result<Option<T>, FolderError> {
        read_json(&self.ready_path(of))
    }

    pub(crate) fn remove_ready(&self, of: Member) -> Result<(), FolderError> {
        remove(&self.ready_path(of))
    }

    /// Keeps the report of a rollout, and those of the [`REPORTS_MAX`] before it.
    ///
    /// # Errors
    /// [`FolderError::Write`].
    pub fn store_report(&self, report: &Report) -> Result<(), FolderError> {
        let folder = self.root.join("reports");
        create_private(&folder)?;
        write_json(&folder.join(format!("{}.json", report.run.id)), report)?;
        for old in self.reports()?.into_iter().filter(|id| id + REPORTS_MAX < report.run.id) {
            remove(&folder.join(format!("{old}.json")))?;
        }
        Ok(())
    }

    /// The report of one rollout, or of the last one that has ended.
    ///
    /// # Errors
    /// [`FolderError::Content`] when the file is there and cannot be understood.
    pub fn load_report(&self, run: Option<u64>) -> Result<Option<Report>, FolderError> {
        let Some(run) = run.or(self.reports()?.into_iter().max()) else { return Ok(None) };
        read_json(&self.root.join("reports").join(format!("{run}.json")))
    }

    /// Numbers of the rollouts whose reports are kept.
    fn reports(&self) -> Result<Vec<u64>, FolderError> {
        let path = self.root.join("reports");
        let entries = match std::fs::read_dir(&path) {
            Ok(entries) => entries,
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
            Err(source) => return Err(FolderError::Read { path, source }),
        };
        let number = |entry: std::fs::DirEntry| entry.file_name().to_str()?.strip_suffix(".json")?.parse().ok();
        Ok(entries.flatten().filter_map(number).collect())
    }

    /// Opens the node's log for appending; a long one is set aside as `….log.1` (the one before is dropped).
    pub(crate) fn open_log(&self, of: Member) -> Result<File, FolderError> {
        create_private(&self.root.join("logs"))?;
        let path = self.log_path(of);
        if path.metadata().is_ok_and(|log| log.len() > LOG_BYTES_MAX) {
            std::fs::rename(&path, path.with_extension("log.1"))
                .map_err(|source| FolderError::Write { path: path.clone(), source })?;
        }
        private().append(true).create(true).open(&path).map_err(|source| FolderError::Write { path, source })
    }

    /// Last line that the node printed, shortened; `None` when there is none.
    pub(crate) fn last_log_line(&self, of: Member) -> Option<String> {
        let mut file = File::open(self.log_path(of)).ok()?;
        let length = file.metadata().ok()?.len();
        file.seek(SeekFrom::Start(length.saturating_sub(LOG_TAIL_BYTES))).ok()?;
        let mut tail = Vec::new();
        file.take(LOG_TAIL_BYTES).read_to_end(&mut tail).ok()?;
        let tail = String::from_utf8_lossy(&tail);
        let line = tail.lines().rev().map(str::trim).find(|line| !line.is_empty())?;
        Some(line.chars().filter(|c| !c.is_control()).take(300).collect())
    }
}

/// A new random secret, hexadecimal.
///
/// # Errors
/// [`FolderError::Random`].
pub(crate) fn random_secret() -> Result<String, FolderError> {
    let mut bytes = [0; SECRET_BYTES];
    getrandom::fill(&mut bytes).map_err(|error| FolderError::Random(error.to_string()))?;
    Ok(bytes.iter().map(|byte| format!("{byte:02x}")).collect())
}

fn secret_in(path: &Path) -> Result<String, FolderError> {
    if let Some(text) = read(path)? {
        let secret = text.trim();
        if secret.is_empty() {
            return Err(FolderError::Content { path: path.into(), why: "it is empty".into() });
        }
        std::fs::set_permissions(path, Permissions::from_mode(0o600))
            .map_err(|source| FolderError::Write { path: path.into(), source })?;
        return Ok(secret.to_string());
    }
    let secret = random_secret()?;
    write_atomic(path, secret.as_bytes())?;
    Ok(secret)
}

fn private() -> OpenOptions {
    let mut options = OpenOptions::new();
    options.mode(0o600);
    options
}

fn create_private(path: &Path) -> Result<(), FolderError> {
    DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(path)
        .map_err(|source| FolderError::Create { path: path.into(), source })
}

fn read(path: &Path) -> Result<Option<String>, FolderError> {
    match std::fs::read_to_string(path) {
        Ok(text) => Ok(Some(text)),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        Err(source) => Err(FolderError::Read { path: path.into(), source }),
    }
}

fn read_state(file: &SmallFile) -> Result<Option<State>, FolderError> {
    let content = |why: String| FolderError::Content { path: file.path().into(), why };
    let bytes = file.read().map_err(|source| match source.kind() {
        ErrorKind::InvalidData => content(source.to_string()),
        _ => FolderError::Read { path: file.path().into(), source },
    })?;
    bytes.map(|bytes| serde_json::from_slice(&bytes).map_err(|error| content(error.to_string()))).transpose()
}

fn read_json<T: DeserializeOwned>(path: &Path) -> Result<Option<T>, FolderError> {
    let Some(text) = read(path)? else { return Ok(None) };
    serde_json::from_str(&text)
        .map(Some)
        .map_err(|error| FolderError::Content { path: path.into(), why: error.to_string() })
}

fn write_json<T: Serialize>(path: &Path, value: &T) -> Result<(), FolderError> {
    let text = serde_json::to_vec_pretty(value)
        .map_err(|error| FolderError::Content { path: path.into(), why: error.to_string() })?;
    write_atomic(path, &text)
}

/// Replaces the whole file: after a crash at any moment it has the old content or the new one.
fn write_atomic(path: &Path, content: &[u8]) -> Result<(), FolderError> {
    let mut new = path.as_os_str().to_owned();
    new.push(".new");
    let new = PathBuf::from(new);
    let written = || -> std::io::Result<()> {
        let mut file = private().write(true).create(true).truncate(true).open(&new)?;
        file.write_all(content)?;
        file.sync_all()?;
        std::fs::rename(&new, path)?;
        // The new name itself is durable only once its folder is.
        match path.parent() {
            Some(parent) => File::open(parent)?.sync_all(),
            None => Ok(()),
        }
    };
    written().map_err(|source| FolderError::Write { path: path.into(), source })
}

fn remove(path: &Path) -> Result<(), FolderError> {
    match std::fs::remove_file(path) {
        Ok(()) => Ok(()),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
        Err(source) => Err(FolderError::Write { path: path.into(), source }),
    }
}

#[cfg(test)]
mod tests;
