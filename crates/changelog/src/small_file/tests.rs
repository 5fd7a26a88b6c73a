use std::fs;
use std::os::unix::fs::MetadataExt;

use super::*;
use crate::disk::LocalDisk;

fn file(folder: &tempfile::TempDir) -> SmallFile {
    SmallFile::new(Arc::new(LocalDisk), &folder.path().join("role.json"))
}

fn read(file: &SmallFile) -> Vec<u8> {
    file.read().unwrap().unwrap()
}

#[test]
fn what_was_written_last_is_read_by_anybody() {
    let folder = tempfile::tempdir().unwrap();
    let writer = file(&folder);
    assert_eq!(writer.read().unwrap(), None);
    for number in 0..10 {
        let content = format!("content {number}");
        writer.write(content.as_bytes()).unwrap();
        assert_eq!(read(&file(&folder)), content.as_bytes());
    }
    // One that was opened later does not mistake the older half for the newer.
    let later = file(&folder);
    later.write(b"later").unwrap();
    later.write(b"latest").unwrap();
    assert_eq!(read(&file(&folder)), b"latest");
}

#[test]
fn it_is_written_in_place_until_it_outgrows_that() {
    let folder = tempfile::tempdir().unwrap();
    let file = file(&folder);
    let inode = || fs::metadata(file.path()).unwrap().ino();
    file.write(b"short").unwrap();
    let first = inode();
    file.write(&[b'x'; 3000]).unwrap();
    assert_eq!(inode(), first);
    file.write(&[b'y'; 30_000]).unwrap();
    assert_ne!(inode(), first);
    assert_eq!(read(&file), [b'y'; 30_000]);
    let grown = inode();
    file.write(b"short again").unwrap();
    assert_eq!((read(&file), inode()), (b"short again".to_vec(), grown));
}

#[test]
fn a_torn_write_leaves_the_content_before() {
    let folder = tempfile::tempdir().unwrap();
    let file = file(&folder);
    file.write(b"one").unwrap();
    file.write(b"two").unwrap();
    let two = fs::read(file.path()).unwrap();
    file.write(b"three").unwrap();
    let three = fs::read(file.path()).unwrap();
    let end = three[..BLOCK_BYTES].iter().rposition(|byte| *byte != b' ' && *byte != b'\n').unwrap();
    for cut in 0..=end {
        let torn = [&three[..cut], &two[cut..]].concat();
        fs::write(file.path(), &torn).unwrap();
        assert_eq!(read(&file), b"two", "torn after {cut} bytes");
        // The beginning may be what is missing.
        let torn = [&vec![0; cut + 1], &three[cut + 1..]].concat();
        fs::write(file.path(), &torn).unwrap();
        assert_eq!(read(&file), b"two", "without the first {} bytes", cut + 1);
    }
    fs::write(file.path(), &three).unwrap();
    assert_eq!(read(&file), b"three");
}

/// Notes whether what was written was synced.
#[derive(Debug, Default)]
struct Noting {
    synced: Arc<std::sync::atomic::AtomicUsize>,
}

struct NotingFile(Arc<dyn DiskFile>, Arc<std::sync::atomic::AtomicUsize>);

impl Disk for Noting {
    fn create_dir(&self, path: &Path) -> io::Result<()> {
        LocalDisk.create_dir(path)
    }
    fn list(&self, dir: &Path) -> io::Result<Vec<PathBuf>> {
        LocalDisk.list(dir)
    }
    fn exists(&self, path: &Path) -> bool {
        LocalDisk.exists(path)
    }
    fn open(&self, path: &Path, access: Access) -> io::Result<Arc<dyn DiskFile>> {
        Ok(Arc::new(NotingFile(LocalDisk.open(path, access)?, self.synced.clone())))
    }
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        LocalDisk.rename(from, to)
    }
    fn remove_file(&self, path: &Path) -> io::Result<()> {
        LocalDisk.remove_file(path)
    }
    fn sync_dir(&self, path: &Path) -> io::Result<()> {
        LocalDisk.sync_dir(path)
    }
    fn hold(&self, dir: &Path) -> Result<Box<dyn std::any::Any + Send + Sync>, crate::disk::HoldError> {
        LocalDisk.hold(dir)
    }
}

impl DiskFile for NotingFile {
    fn length(&self) -> io::Result<u64> {
        self.0.length()
    }
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        self.0.read_at(buffer, offset)
    }
    fn write_all_at(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        self.0.write_all_at(bytes, offset)
    }
    fn set_len(&self, bytes: u64) -> io::Result<()> {
        self.0.set_len(bytes)
    }
    fn reserve(&self, from: u64, to: u64) -> io::Result<()> {
        self.0.reserve(from, to)
    }
    fn sync_data(&self) -> io::Result<()> {
        self.1.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        self.0.sync_data()
    }
    fn sync_all(&self) -> io::Result<()> {
        self.0.sync_all()
    }
}

#[test]
fn what_a_killed_process_left_unsynced_is_synced_before_it_is_acted_upon() {
    let folder = tempfile::tempdir().unwrap();
    file(&folder).write(b"left").unwrap();
    let disk = Noting::default();
    let synced = disk.synced.clone();
    let next = SmallFile::new(Arc::new(disk), &folder.path().join("role.json"));
    assert_eq!(next.read_durable().unwrap().unwrap(), b"left");
    assert_eq!(synced.load(std::sync::atomic::Ordering::Relaxed), 1);
    let none = SmallFile::new(Arc::new(LocalDisk), &folder.path().join("none"));
    assert_eq!(none.read_durable().unwrap(), None);
}

#[test]
fn damage_to_both_halves_is_an_error() {
    let folder = tempfile::tempdir().unwrap();
    let file = file(&folder);
    file.write(b"one").unwrap();
    file.write(b"two").unwrap();
    let mut bytes = fs::read(file.path()).unwrap();
    let position = |bytes: &[u8], text: &[u8]| bytes.windows(3).position(|window| window == text).unwrap();
    for text in [b"one", b"two"] {
        let at = position(&bytes, text);
        bytes[at] ^= 1;
    }
    fs::write(file.path(), &bytes).unwrap();
    assert_eq!(file.read().unwrap_err().kind(), io::ErrorKind::InvalidData);
}

#[test]
fn a_file_of_the_time_before_is_read_and_becomes_a_new_one() {
    let folder = tempfile::tempdir().unwrap();
    let file = file(&folder);
    fs::write(file.path(), "{\"role\": \"waiting\"}").unwrap();
    assert_eq!(read(&file), b"{\"role\": \"waiting\"}");
    file.write(b"new").unwrap();
    assert_eq!(read(&file), b"new");
    fs::write(file.path(), "").unwrap();
    assert_eq!(read(&file), b"");
}
