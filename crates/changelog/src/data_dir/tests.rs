use std::fs;
use std::os::unix::fs::PermissionsExt;

use super::*;

#[test]
fn a_new_folder_is_private_and_of_the_known_format() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a/b");
    let dir = DataDir::open(&path).unwrap();
    assert_eq!(fs::metadata(dir.path()).unwrap().permissions().mode() & 0o777, 0o700);
    assert_eq!(fs::read_to_string(path.join("FORMAT")).unwrap(), "jadevectordb-data 2\n");
    drop(dir);
    DataDir::open(&path).unwrap();
}

#[test]
fn a_held_folder_is_refused_and_names_its_holder() {
    let folder = tempfile::tempdir().unwrap();
    let first = DataDir::open(folder.path()).unwrap();
    let clone = first.clone();
    drop(first);
    let error = DataDir::open(folder.path()).unwrap_err();
    assert!(matches!(&error, DataDirError::InUse { pid: Some(pid), .. } if *pid == std::process::id()), "{error}");
    assert!(error.to_string().contains(&folder.path().display().to_string()), "{error}");
    assert!(error.to_string().contains(&std::process::id().to_string()), "{error}");
    drop(clone);
    DataDir::open(folder.path()).unwrap();
}

#[test]
fn other_formats_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    let format = folder.path().join("FORMAT");
    fs::write(&format, "jadevectordb-data 3\n").unwrap();
    let error = DataDir::open(folder.path()).unwrap_err();
    assert!(matches!(error, DataDirError::FormatNewer { found: 3, known: 2, .. }), "{error}");
    assert!(error.to_string().contains("format 3") && error.to_string().contains("up to 2"), "{error}");
    for text in ["", "jadevectordb-data", "jadevectordb-data 0", "jadevectordb-data one", "something else 1"] {
        fs::write(&format, text).unwrap();
        let error = DataDir::open(folder.path()).unwrap_err();
        assert!(matches!(error, DataDirError::FormatUnreadable { .. }), "{error}");
    }
    fs::write(&format, [0xff; 4096]).unwrap();
    assert!(matches!(DataDir::open(folder.path()), Err(DataDirError::FormatUnreadable { .. })));
}

#[test]
fn an_older_format_is_read_and_becomes_ours() {
    let folder = tempfile::tempdir().unwrap();
    let format = folder.path().join("FORMAT");
    fs::write(&format, "jadevectordb-data 1\n").unwrap();
    fs::write(folder.path().join("role.json"), "{}").unwrap();
    let dir = DataDir::open(folder.path()).unwrap();
    assert_eq!(dir.read("role.json").unwrap().unwrap(), b"{}");
    assert_eq!(fs::read_to_string(&format).unwrap(), "jadevectordb-data 2\n");
}

#[test]
fn a_folder_of_something_else_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    fs::create_dir(folder.path().join("log")).unwrap();
    let error = DataDir::open(folder.path()).unwrap_err();
    assert!(matches!(error, DataDirError::FormatMissing { entry: "log", .. }), "{error}");
    assert!(!folder.path().join("FORMAT").exists());
}
