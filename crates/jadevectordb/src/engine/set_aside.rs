//! What a node had and its primary has not: kept in a folder of its own before the node is seeded anew, and named.
//!
//! | entry of `set-aside/epoch-E-lsn-N/` | what |
//! |---|---|
//! | `log/`, `snapshot/` | the files as they were |
//! | `diverged.jsonl` | each diverging record a line, for people and their programs ([`Line`]) |
//! | `about.json` | what [`NodeState::set_aside`](wire::admin::NodeState) says of it; written last |
//!
//! Passwords, keys and tokens are in none of the lines, and neither are their hashes: those are in the raw files only.

use super::Position;
use super::snapshotter::copy_folder;
use crate::record::Op;
use crate::store::Store;
use changelog::{Access, DataDir, Disk, DiskFile, LogReader, Start};
use serde::Serialize;
use serde_json::value::RawValue;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use wire::admin::{Epoch, Lsn, SetAside};

const FOLDER: &str = "set-aside";
const RECORDS: &str = "diverged.jsonl";
const ABOUT: &str = "about.json";
/// Bytes of log read, and of lines written, at once.
const BATCH_BYTES: usize = 1 << 20;

/// One diverging record. A write of many vectors is as many lines.
#[derive(Debug, Serialize)]
struct Line<'a> {
    lsn: Lsn,
    epoch: Epoch,
    kind: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    database: Option<&'a str>,
    /// Of the vector, the database, the user or the API key.
    #[serde(skip_serializing_if = "Option::is_none")]
    id: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    values: Option<&'a [f32]>,
    #[serde(skip_serializing_if = "Option::is_none")]
    metadata: Option<&'a RawValue>,
    /// The rest of what is no vector.
    #[serde(skip_serializing_if = "Option::is_none")]
    content: Option<serde_json::Value>,
    /// As the node keeps it: the hash of who asked and of the key they gave.
    #[serde(skip_serializing_if = "Option::is_none")]
    idempotency_key_hash: Option<&'a str>,
    /// The log does not reach back so far: this is what the store had of it.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    from_store: bool,
}

/// The last LSN up to which two histories are one. An epoch is given once, so where epoch and LSN are the same, everything
/// before is.
pub(super) fn common_end(mine: &[(Epoch, Lsn)], my_last: Lsn, other: &Start) -> Lsn {
    let end = |epochs: &[(Epoch, Lsn)], number: usize, last: Lsn| {
        epochs.get(number + 1).map_or(last, |(_, first_lsn)| first_lsn - 1)
    };
    let same = mine.iter().zip(&other.epochs).take_while(|(mine, other)| mine == other).count();
    let Some(last) = same.checked_sub(1) else { return 0 };
    end(mine, last, my_last).min(end(&other.epochs, last, other.lsn))
}

/// Keeps everything after `common` of a history that ends at `position`, and says where. Done again after a crash, it gives
/// the same.
///
/// # Errors
/// A text that names the file.
pub(super) fn set_aside(
    dir: &DataDir,
    log: &LogReader,
    store: &Store,
    common: Lsn,
    position: Position,
) -> Result<SetAside, String> {
    let disk = &**dir.disk();
    let name = format!("{FOLDER}/epoch-{}-lsn-{}", position.epoch, position.lsn);
    let folder = dir.path().join(&name);
    copy_folder(disk, &dir.log_dir(), &folder.join("log"))?;
    copy_folder(disk, &dir.snapshot_dir(), &folder.join("snapshot"))?;
    let path = folder.join(RECORDS);
    let mut lines = Lines::create(disk, &path)?;
    let first_logged = log.first_available().max(common + 1);
    if first_logged > common + 1 {
        lines.add_store(store, log, common + 1..first_logged)?;
    }
    lines.add_log(log, first_logged - 1, position.lsn)?;
    let about = SetAside {
        path: path.display().to_string(),
        records: lines.finish()?,
        first_lsn: common + 1,
        last_lsn: position.lsn,
        first_lsn_in_log: first_logged,
    };
    // Plain texts and numbers always have a JSON form.
    let text = serde_json::to_vec_pretty(&about).unwrap_or_default();
    dir.write_durably(&format!("{name}/{ABOUT}"), &text).map_err(|error| error.to_string())?;
    let synced = disk.sync_dir(&dir.path().join(FOLDER));
    synced.map_err(|error| format!("{}: {error}", dir.path().join(FOLDER).display()))?;
    Ok(about)
}

/// All that was set aside in a folder, oldest first.
pub(super) fn kept(dir: &DataDir) -> Vec<SetAside> {
    let entries = dir.disk().list(&dir.path().join(FOLDER)).unwrap_or_default();
    let mut found: Vec<SetAside> = entries.iter().filter_map(|folder| about(dir, folder)).collect();
    found.sort_by_key(|aside| (aside.last_lsn, aside.first_lsn));
    found
}

fn about(dir: &DataDir, folder: &Path) -> Option<SetAside> {
    let path = folder.join(ABOUT);
    // What was not finished is set aside again before the node goes on.
    let text = dir.read(&path.strip_prefix(dir.path()).ok()?.to_string_lossy()).ok()??;
    let read = serde_json::from_slice::<SetAside>(&text);
    read.inspect_err(|error| tracing::warn!(file = %path.display(), %error, "what was set aside is not named"))
        .ok()
        .map(
            // The folder may have been moved as a whole since.
            |aside| SetAside { path: folder.join(RECORDS).display().to_string(), ..aside },
        )
}

/// The file in the making.
struct Lines {
    file: Arc<dyn DiskFile>,
    path: PathBuf,
    buffer: Vec<u8>,
    written: u64,
    count: u64,
}

impl Lines {
    fn create(disk: &dyn Disk, path: &Path) -> Result<Self, String> {
        let created = disk.open(path, Access::Create);
        let file = created.map_err(|error| format!("{}: {error}", path.display()))?;
        Ok(Self { file, path: path.to_owned(), buffer: Vec::new(), written: 0, count: 0 })
    }

    fn add_log(&mut self, log: &LogReader, mut after: Lsn, last: Lsn) -> Result<(), String> {
        while after < last {
            let batch = log.read_stored_after(after, BATCH_BYTES).map_err(|error| error.to_string())?;
            for frame in batch.frames() {
                let op = Op::decode(&frame.payload).map_err(|error| format!("LSN {}: {error}", frame.lsn))?;
                self.op((frame.lsn, frame.epoch), &op, false)?;
            }
            if batch.last_lsn == 0 {
                return Err(format!("the log ends at LSN {after}, before {last}"));
            }
            after = batch.last_lsn;
        }
        Ok(())
    }

    /// The records of the store that were written by these LSNs: what was overwritten or deleted since is not among them.
    fn add_store(&mut self, store: &Store, log: &LogReader, lsns: std::ops::Range<Lsn>) -> Result<(), String> {
        store.snapshot(|item| {
            let (lsn, op) =
                crate::store::decode_item(&item, crate::record::FORMAT_MAX).map_err(|error| error.to_string())?;
            if !lsns.contains(&lsn) {
                return Ok(());
            }
            self.op((lsn, log.epoch_at(lsn).unwrap_or(0)), &op, true)
        })
    }

    fn op(&mut self, (lsn, epoch): (Lsn, Epoch), op: &Op, from_store: bool) -> Result<(), String> {
        let key = op.answered().map(|answered| blake3::Hash::from_bytes(answered.key).to_hex().to_string());
        let line = |kind| Line {
            lsn,
            epoch,
            kind,
            database: None,
            id: None,
            values: None,
            metadata: None,
            content: None,
            idempotency_key_hash: key.as_deref(),
            from_store,
        };
        match op.inner() {
            Op::PutVectors { database, vectors } => vectors.iter().try_for_each(|vector| {
                let (database, id, values) = (Some(database.as_str()), Some(&*vector.id), Some(&*vector.values));
                let metadata = serde_json::from_str(&vector.metadata).ok();
                self.push(&Line { database, id, values, metadata, ..line("put_vector") })
            }),
            Op::DeleteVectors { database, ids } => ids.iter().try_for_each(|id| {
                self.push(&Line { database: Some(database), id: Some(id), ..line("delete_vector") })
            }),
            Op::PutDatabase(record) => {
                let content = serde_json::to_value(record).ok();
                self.push(&Line { id: Some(&record.database_id), content, ..line("put_database") })
            }
            Op::DropDatabase { database } => self.push(&Line { id: Some(database), ..line("drop_database") }),
            Op::PutUser(user) => {
                let content = without(user, &["password_hash"]);
                self.push(&Line { id: Some(&user.user_id), content, ..line("put_user") })
            }
            Op::PutApiKey(key) => {
                let content = without(key, &["key_hash", "key_prefix"]);
                self.push(&Line { id: Some(&key.key_id), content, ..line("put_api_key") })
            }
            Op::PutToken(token) => self.push(&Line { content: without(token, &["token_hash"]), ..line("put_token") }),
            Op::DropTokens { token_hashes } => {
                let content = Some(serde_json::json!({ "tokens": token_hashes.len() }));
                self.push(&Line { content, ..line("drop_tokens") })
            }
            Op::OpenEpoch => self.push(&line("open_epoch")),
            Op::Marker => self.push(&line("marker")),
            Op::Nothing | Op::Keyed { .. } => self.push(&line("nothing")),
        }
    }

    fn push(&mut self, line: &Line) -> Result<(), String> {
        serde_json::to_writer(&mut self.buffer, line).map_err(|error| error.to_string())?;
        self.buffer.push(b'\n');
        self.count += 1;
        if self.buffer.len() >= BATCH_BYTES { self.write() } else { Ok(()) }
    }

    fn write(&mut self) -> Result<(), String> {
        let written = self.file.write_all_at(&self.buffer, self.written);
        written.map_err(|error| format!("{}: {error}", self.path.display()))?;
        self.written += self.buffer.len() as u64;
        self.buffer.clear();
        Ok(())
    }

    /// Number of lines.
    fn finish(mut self) -> Result<u64, String> {
        self.write()?;
        self.file.sync_all().map_err(|error| format!("{}: {error}", self.path.display()))?;
        Ok(self.count)
    }
}

/// As JSON, without what is secret.
fn without(record: &impl Serialize, secrets: &[&str]) -> Option<serde_json::Value> {
    let mut value = serde_json::to_value(record).ok()?;
    let fields = value.as_object_mut()?;
    secrets.iter().for_each(|secret| {
        fields.remove(*secret);
    });
    Some(value)
}

#[cfg(test)]
mod tests;
