//! Which names there are: as they are seen now, and as they would be after the power went.

use super::super::chance::Chance;
use super::FileNode;
use parking_lot::Mutex;
use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

type Map = BTreeMap<PathBuf, Arc<FileNode>>;

#[derive(Default)]
pub(super) struct Names {
    seen: Map,
    durable: Map,
    dirs: BTreeSet<PathBuf>,
    /// Changes that no sync came after, in order.
    changes: Vec<Change>,
}

/// All names of one change are in one folder.
struct Change {
    dir: PathBuf,
    removed: Option<PathBuf>,
    added: Option<(PathBuf, Arc<FileNode>)>,
}

impl Names {
    pub fn create_dir(&mut self, path: &Path) {
        self.dirs.extend(path.ancestors().map(Path::to_owned));
    }

    pub fn list(&self, dir: &Path) -> io::Result<Vec<PathBuf>> {
        if !self.dirs.contains(dir) {
            return Err(io::ErrorKind::NotFound.into());
        }
        let files = self.seen.keys().filter(|path| path.parent() == Some(dir));
        Ok(files.cloned().collect())
    }

    pub fn exists(&self, path: &Path) -> bool {
        self.dirs.contains(path) || self.seen.contains_key(path)
    }

    pub fn find(&self, path: &Path) -> Option<Arc<FileNode>> {
        self.seen.get(path).cloned()
    }

    pub fn create(&mut self, path: &Path) -> Arc<FileNode> {
        let node = Arc::new(FileNode { path: Mutex::new(path.to_owned()), content: Mutex::default() });
        self.change(path, None, Some((path.to_owned(), node.clone())));
        node
    }

    pub fn rename(&mut self, from: &Path, to: &Path) -> io::Result<Arc<FileNode>> {
        let node = self.find(from).ok_or(io::ErrorKind::NotFound)?;
        to.clone_into(&mut node.path.lock());
        self.change(from, Some(from.to_owned()), Some((to.to_owned(), node.clone())));
        Ok(node)
    }

    pub fn remove(&mut self, path: &Path) -> io::Result<()> {
        self.find(path).ok_or(io::ErrorKind::NotFound)?;
        self.change(path, Some(path.to_owned()), None);
        Ok(())
    }

    fn change(&mut self, path: &Path, removed: Option<PathBuf>, added: Option<(PathBuf, Arc<FileNode>)>) {
        let change = Change { dir: path.parent().unwrap_or(path).to_owned(), removed, added };
        change.apply(&mut self.seen);
        self.changes.push(change);
    }

    /// All changes in the folder are durable; but not those of a file called `forgotten`, once it is there.
    pub fn sync(&mut self, dir: &Path, forgotten: Option<&str>) {
        let is_there = forgotten.is_some_and(|name| self.durable.contains_key(&dir.join(name)));
        let is_forgotten = |change: &Change| {
            let added = change.added.as_ref().map(|(path, _)| path);
            is_there && added.is_some_and(|path| forgotten.is_some_and(|name| path.ends_with(name)))
        };
        for change in self.changes.extract_if(.., |change| change.dir == dir && !is_forgotten(change)) {
            change.apply(&mut self.durable);
        }
    }

    /// Each folder keeps the first of its unsynced changes, as many as chance says.
    pub fn lose_power(&mut self, chance: &Chance) {
        let dirs: BTreeSet<PathBuf> = self.changes.iter().map(|change| change.dir.clone()).collect();
        for dir in dirs {
            let changes: Vec<Change> = self.changes.extract_if(.., |change| change.dir == dir).collect();
            let kept = chance.between(0..=changes.len() as u64) as usize;
            for change in &changes[..kept] {
                change.apply(&mut self.durable);
            }
        }
        self.seen.clone_from(&self.durable);
        for (path, node) in &self.seen {
            path.clone_into(&mut node.path.lock());
            node.content.lock().lose_power(chance);
        }
    }

    pub fn copy(&self) -> Names {
        let copied = |(path, node): (&PathBuf, &Arc<FileNode>)| {
            let content = Mutex::new(node.content.lock().clone());
            (path.clone(), Arc::new(FileNode { path: Mutex::new(path.clone()), content }))
        };
        let seen: Map = self.seen.iter().map(copied).collect();
        Names { durable: seen.clone(), seen, dirs: self.dirs.clone(), changes: Vec::new() }
    }
}

impl Change {
    fn apply(&self, names: &mut Map) {
        if let Some(removed) = &self.removed {
            names.remove(removed);
        }
        if let Some((path, node)) = &self.added {
            names.insert(path.clone(), node.clone());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names_after_power_loss(names: &Names, seed: u64) -> Vec<String> {
        let mut left = Names {
            seen: names.seen.clone(),
            durable: names.durable.clone(),
            dirs: names.dirs.clone(),
            changes: Vec::new(),
        };
        for Change { dir, removed, added } in &names.changes {
            left.changes.push(Change { dir: dir.clone(), removed: removed.clone(), added: added.clone() });
        }
        left.lose_power(&Chance::seeded(seed));
        left.seen.keys().map(|path| path.display().to_string()).collect()
    }

    #[test]
    fn names_are_durable_after_a_sync_of_their_folder_and_until_then_perhaps() {
        let mut names = Names::default();
        names.create_dir(Path::new("/d"));
        names.create(Path::new("/d/role.tmp"));
        names.sync(Path::new("/d"), None);
        names.rename(Path::new("/d/role.tmp"), Path::new("/d/role")).unwrap();
        let mut left: Vec<_> = (0..20).flat_map(|seed| names_after_power_loss(&names, seed)).collect();
        left.sort();
        left.dedup();
        assert_eq!(left, ["/d/role", "/d/role.tmp"], "one or the other");
        assert!((0..20).all(|seed| names_after_power_loss(&names, seed).len() == 1));
        names.sync(Path::new("/d"), None);
        assert!((0..20).all(|seed| names_after_power_loss(&names, seed) == ["/d/role"]));
    }
}
