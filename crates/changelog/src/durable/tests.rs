use std::fs;
use std::os::unix::fs::PermissionsExt;

use super::*;
use crate::disk::LocalDisk;

#[test]
fn a_file_is_replaced_as_a_whole_and_private() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("role");
    write_file_durably(&LocalDisk, &path, b"a long first content").unwrap();
    write_file_durably(&LocalDisk, &path, b"second").unwrap();
    assert_eq!(fs::read(&path).unwrap(), b"second");
    assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
}

#[test]
fn a_failed_replacement_keeps_the_old_content() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("role");
    write_file_durably(&LocalDisk, &path, b"kept").unwrap();
    // A folder where the temporary file would be makes the first step fail.
    fs::create_dir(folder.path().join("role.tmp")).unwrap();
    let error = write_file_durably(&LocalDisk, &path, b"lost").unwrap_err();
    assert_eq!(error.action, "create");
    assert!(error.to_string().contains("role.tmp"), "{error}");
    assert_eq!(fs::read(&path).unwrap(), b"kept");
}
