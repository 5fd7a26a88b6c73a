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
