//! Where the data of a run go: a real disk, or a label that says otherwise.

use std::env;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, bail, ensure};
use trireme_config::Durability;

use crate::files;

/// A directory for data, and what lies under it.
#[derive(Debug)]
pub(crate) struct Disk {
    pub(crate) dir: PathBuf,
    /// Kind of the file system.
    pub(crate) filesystem: &'static str,
    /// Free bytes for this user.
    pub(crate) free_bytes: u64,
    /// Whether the directory was made by this run.
    pub(crate) fresh: bool,
}

/// File systems that lie in memory, by the number that `statfs` gives.
const IN_MEMORY: [(u64, &str); 2] = [(0x0102_1994, "tmpfs"), (0x8584_58f6, "ramfs")];
const ON_DISK: [(u64, &str); 8] = [
    (0xef53, "ext4"),
    (0x5846_5342, "xfs"),
    (0x9123_683e, "btrfs"),
    (0x794c_7630, "overlayfs"),
    (0xf2f5_2010, "f2fs"),
    (0x2fc1_2fc1, "zfs"),
    (0x6969, "nfs"),
    (0x0102_1997, "9p"),
];

fn in_memory(name: &str) -> bool {
    IN_MEMORY.iter().any(|(_, memory)| *memory == name)
}

/// Name of a file system by the number that `statfs` gives.
fn filesystem_name(magic: u64) -> &'static str {
    let mut known = IN_MEMORY.iter().chain(&ON_DISK);
    known
        .find(|(number, _)| *number == magic)
        .map_or("other", |(_, name)| name)
}

/// Kind of the file system under a path that exists, and its free bytes.
fn examine(path: &Path) -> Result<(&'static str, u64)> {
    let stat =
        rustix::fs::statfs(path).with_context(|| format!("cannot examine the file system of {}", path.display()))?;
    // The kernel's numbers have 32 bits; the field's width and sign depend on the platform.
    let magic = u64::try_from(stat.f_type).unwrap_or_default() & 0xffff_ffff;
    let block = u64::try_from(stat.f_bsize).unwrap_or_default();
    Ok((filesystem_name(magic), stat.f_bavail.saturating_mul(block)))
}

/// Makes the directory of a run: the named one, or a fresh one on a disk.
pub(crate) fn choose(named: Option<&Path>, durability: Durability) -> Result<Disk> {
    match named {
        Some(path) => use_named(path, durability),
        None => find_fresh(durability),
    }
}

fn use_named(path: &Path, durability: Durability) -> Result<Disk> {
    let fresh = !path.exists();
    let dir = files::make_directory(path)?;
    let disk = open(dir, fresh)?;
    let refused = durability == Durability::Sync && in_memory(disk.filesystem);
    if refused && fresh {
        discard(&disk.dir);
    }
    ensure!(
        !refused,
        "{} lies on {}, where nothing is durable: choose a directory on a disk with --data, or say --durability none",
        path.display(),
        disk.filesystem
    );
    ensure!(
        fresh || std::fs::read_dir(&disk.dir)?.next().is_none(),
        "{} is not empty: choose another directory with --data, or empty it",
        path.display()
    );
    Ok(disk)
}

/// The first of the usual places that is not in memory.
fn find_fresh(durability: Durability) -> Result<Disk> {
    let from_env = |name: &str| env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    let places = [
        from_env("XDG_CACHE_HOME"),
        from_env("HOME").map(|home| home.join(".cache")),
        Some(PathBuf::from("/var/tmp")),
        env::current_dir().ok(),
    ];
    let name = format!("local-{}", std::process::id());
    let mut tried = Vec::new();
    for place in places.into_iter().flatten() {
        let parent = place.join("trireme");
        match fresh_in(&parent, &name, durability) {
            Ok(disk) => return Ok(disk),
            Err(error) => tried.push(format!("{}: {error:#}", parent.display())),
        }
    }
    bail!(
        "no place on a disk for the data ({}); name one with --data",
        tried.join("; ")
    )
}

fn fresh_in(parent: &Path, name: &str, durability: Durability) -> Result<Disk> {
    let parent = files::make_directory(parent)?;
    let (filesystem, _) = examine(&parent)?;
    ensure!(
        durability != Durability::Sync || !in_memory(filesystem),
        "lies on {filesystem}"
    );
    for attempt in 0..1000 {
        let dir = parent.join(format!("{name}-{attempt}"));
        match std::fs::create_dir(&dir) {
            Ok(()) => return open(dir, true),
            Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => {}
            Err(error) => return Err(error).with_context(|| format!("cannot make {}", dir.display())),
        }
    }
    bail!("a thousand directories {name}-* are left there: remove them")
}

fn open(dir: PathBuf, fresh: bool) -> Result<Disk> {
    let (filesystem, free_bytes) = examine(&dir)?;
    Ok(Disk {
        dir,
        filesystem,
        free_bytes,
        fresh,
    })
}

/// Removes a directory of a run, and says so if that fails.
pub(crate) fn discard(dir: &Path) {
    if let Err(error) = std::fs::remove_dir_all(dir) {
        eprintln!("cannot remove {}: {error}", dir.display());
    }
}

impl Disk {
    /// What has to be said about this place, if anything.
    pub(crate) fn note(&self) -> Option<String> {
        let name = self.filesystem;
        in_memory(name)
            .then(|| format!("the data lie on {name}: nothing survives a power loss, whatever the durability"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn memory_place() -> Option<PathBuf> {
        let place = PathBuf::from("/dev/shm");
        examine(&place).ok().filter(|(name, _)| in_memory(name)).map(|_| place)
    }

    #[test]
    fn memory_is_refused_for_sync_and_labelled_otherwise() {
        let Some(place) = memory_place() else { return };
        let dir = place.join(format!("trireme-test-{}", std::process::id()));
        let message = choose(Some(&dir), Durability::Sync).unwrap_err().to_string();
        assert!(message.contains("tmpfs") && message.contains("--data"), "{message}");
        assert!(!dir.exists(), "nothing is left behind");
        let disk = choose(Some(&dir), Durability::None).unwrap();
        assert!(disk.fresh && disk.note().unwrap().contains("tmpfs"));
        discard(&dir);
    }

    #[test]
    fn a_directory_in_use_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        choose(Some(dir.path()), Durability::None).unwrap();
        std::fs::write(dir.path().join("x"), "x").unwrap();
        let message = choose(Some(dir.path()), Durability::None).unwrap_err().to_string();
        assert!(message.contains("not empty"), "{message}");
    }

    #[test]
    fn numbers_have_names() {
        assert_eq!(filesystem_name(0x0102_1994), "tmpfs");
        assert_eq!(filesystem_name(0xef53), "ext4");
        assert_eq!(filesystem_name(1), "other");
    }
}
