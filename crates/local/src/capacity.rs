//! Is there room for a second environment of the size of the first?

use crate::process::Identity;
use std::fmt;
use std::path::{Path, PathBuf};

/// Memory left to everything else, bytes.
const MEMORY_RESERVE: u64 = 64 << 20;
/// Disk left to everything else, bytes.
const DISK_RESERVE: u64 = 16 << 20;
/// Folders and files looked at when a data folder is measured; it has far fewer.
const ENTRIES_MAX: usize = 100_000;

/// Not enough of something, in bytes.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Shortage {
    #[error(
        "a second environment needs about {} of memory ({} as the first one, {} in reserve), and {} is available: free \
         some, or use a bigger machine",
        Size(first + MEMORY_RESERVE), Size(*first), Size(MEMORY_RESERVE), Size(*available)
    )]
    Memory { first: u64, available: u64 },
    #[error(
        "a second environment needs about {} more disk in {} ({} as the first one, {} in reserve), and {} is free: free \
         some, or move the folder to a bigger disk",
        Size(missing + DISK_RESERVE), folder.display(), Size(*missing), Size(DISK_RESERVE), Size(*available)
    )]
    Disk { folder: PathBuf, missing: u64, available: u64 },
}

/// What was measured, bytes. What could not be measured is `None`, and no reason to refuse.
#[derive(Debug, Clone, Copy, Default)]
struct Room {
    memory_first: Option<u64>,
    memory_available: Option<u64>,
    disk_first: u64,
    disk_second: u64,
    disk_available: Option<u64>,
}

/// Compares what is free with the size of the `first` node, whose data is in `data_first`; the second one's will be in
/// `data_second`, and `more` of the same size come with it.
///
/// # Errors
/// [`Shortage`] with the numbers.
pub fn check(first: &Identity, data_first: &Path, data_second: &Path, more: u64) -> Result<(), Shortage> {
    let all = more + 1;
    let room = Room {
        memory_first: first.resident_bytes().map(|one| one.saturating_mul(all)),
        memory_available: memory_available(),
        disk_first: size(data_first).saturating_mul(all),
        disk_second: size(data_second),
        disk_available: disk_available(data_second),
    };
    room.judge(data_second)
}

impl Room {
    fn judge(self, data_second: &Path) -> Result<(), Shortage> {
        if let (Some(first), Some(available)) = (self.memory_first, self.memory_available)
            && first.saturating_add(MEMORY_RESERVE) > available
        {
            return Err(Shortage::Memory { first, available });
        }
        // What the second one has on disk already does not come again.
        let missing = self.disk_first.saturating_sub(self.disk_second);
        match self.disk_available {
            Some(available) if missing.saturating_add(DISK_RESERVE) > available => {
                Err(Shortage::Disk { folder: data_second.into(), missing, available })
            }
            _ => Ok(()),
        }
    }
}

fn memory_available() -> Option<u64> {
    let info = std::fs::read_to_string("/proc/meminfo").ok()?;
    let line = info.lines().find_map(|line| line.strip_prefix("MemAvailable:"))?;
    let kib: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(kib * 1024)
}

fn disk_available(folder: &Path) -> Option<u64> {
    let disk = rustix::fs::statvfs(folder).ok()?;
    Some(disk.f_bavail.saturating_mul(disk.f_frsize))
}

/// Bytes of all files below `folder`; files that vanish meanwhile do not count.
fn size(folder: &Path) -> u64 {
    let mut bytes = 0;
    let mut entries_left = ENTRIES_MAX;
    let mut folders = vec![folder.to_path_buf()];
    while let Some(folder) = folders.pop() {
        let Ok(entries) = std::fs::read_dir(folder) else { continue };
        for entry in entries.flatten().take(entries_left) {
            entries_left -= 1;
            match entry.metadata() {
                Ok(found) if found.is_dir() => folders.push(entry.path()),
                Ok(found) => bytes += found.len(),
                Err(_) => {}
            }
        }
    }
    bytes
}

/// Bytes as a person reads them.
struct Size(u64);

impl fmt::Display for Size {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            bytes if bytes >= 10 << 30 => write!(f, "{} GiB", bytes >> 30),
            bytes => write!(f, "{} MiB", bytes.div_ceil(1 << 20)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MIB: u64 = 1 << 20;

    #[test]
    fn a_machine_with_room_is_accepted_and_unknown_is_no_refusal() {
        let room = Room {
            memory_first: Some(100 * MIB),
            memory_available: Some(164 * MIB),
            disk_first: 50 * MIB,
            disk_second: 0,
            disk_available: Some(66 * MIB),
        };
        assert_eq!(room.judge(Path::new("green")), Ok(()));
        assert_eq!(Room { disk_first: 50 * MIB, ..Room::default() }.judge(Path::new("green")), Ok(()));
    }

    #[test]
    fn a_shortage_names_the_numbers() {
        let memory = Room { memory_first: Some(100 * MIB), memory_available: Some(150 * MIB), ..Room::default() };
        assert_eq!(
            memory.judge(Path::new("green")).unwrap_err().to_string(),
            "a second environment needs about 164 MiB of memory (100 MiB as the first one, 64 MiB in reserve), and 150 MiB \
             is available: free some, or use a bigger machine"
        );
        let disk =
            Room { disk_first: 90 * MIB, disk_second: 10 * MIB, disk_available: Some(95 * MIB), ..Room::default() };
        let message = disk.judge(Path::new("green")).unwrap_err().to_string();
        assert!(
            message.contains("about 96 MiB more disk in green (80 MiB") && message.contains("95 MiB is free"),
            "{message}"
        );
        assert_eq!(Room { disk_second: 11 * MIB, ..disk }.judge(Path::new("green")), Ok(()));
    }

    #[test]
    fn a_folder_is_measured_with_everything_below_it() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::create_dir(folder.path().join("log")).unwrap();
        std::fs::write(folder.path().join("a"), [0; 1000]).unwrap();
        std::fs::write(folder.path().join("log/b"), [0; 500]).unwrap();
        assert_eq!(size(folder.path()), 1500);
        assert_eq!(size(&folder.path().join("missing")), 0);
    }

    #[test]
    fn this_machine_can_be_measured() {
        let own = Identity::of(std::process::id()).unwrap().unwrap();
        assert!(own.resident_bytes().unwrap() > 0);
        assert!(memory_available().unwrap() > 0);
        assert!(disk_available(&std::env::temp_dir()).unwrap() > 0);
    }
}
