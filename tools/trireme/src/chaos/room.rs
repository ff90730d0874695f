//! A small file system of its own for each replica's data, so that one disk can be full and the others not.
//!
//! Mounting needs a private mount namespace: with the rights of root one alone, else together with a user namespace, which
//! most kernels grant to everybody. `unshare` (util-linux) makes it and starts the command again in it; whatever is mounted
//! there goes with the process. Root gets ext4 on a loop device, a real disk's behaviour; others tmpfs.

use std::fs::{self, File};
use std::io::Write as _;
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::{Command, Stdio};

use anyhow::{Context as _, Result, bail, ensure};
use rustix::fs::FallocateFlags;

/// Set for the process inside.
const INSIDE: &str = "TRIREME_CHAOS_OWN_MOUNTS";
/// Ways to ask for it: as root, as anybody.
const WAYS: [&[&str]; 2] = [
    &["--mount", "--propagation", "private"],
    &["--user", "--map-root-user", "--mount", "--propagation", "private"],
];
/// Room for one replica's log and snapshots.
pub(super) const ROOM_BYTES: u64 = 768 << 20;
/// Name of the file that eats what is free.
const BALLAST: &str = "ballast";

/// Starts this command again where it may mount. Returns only where that was done before, or with the reason why it
/// cannot be.
pub(super) fn enter() -> Result<()> {
    if std::env::var_os(INSIDE).is_some() {
        return Ok(());
    }
    let mut reasons = Vec::new();
    for way in WAYS {
        let script = "mount -t tmpfs -o size=1m trireme-probe \"$0\"";
        let dir = std::env::temp_dir();
        let tried = Command::new("unshare")
            .args(way)
            .args(["sh", "-c", script])
            .arg(&dir)
            .stdin(Stdio::null())
            .output()
            .context("unshare (util-linux) cannot be run")?;
        if tried.status.success() {
            let exe = std::env::current_exe().context("cannot find the path of this program")?;
            let error = Command::new("unshare")
                .args(way)
                .arg(exe)
                .args(std::env::args_os().skip(1))
                .env(INSIDE, "1")
                .exec();
            return Err(error).context("unshare cannot be run");
        }
        reasons.push(String::from_utf8_lossy(&tried.stderr).trim().to_owned());
    }
    bail!("{}", reasons.join("; "))
}

/// Puts a file system of its own under a replica's data directory. Says which.
pub(super) fn mount(data_dir: &Path) -> Result<&'static str> {
    fs::create_dir_all(data_dir).with_context(|| format!("cannot make {}", data_dir.display()))?;
    let image = data_dir.with_extension("disk");
    match ext4(&image, data_dir) {
        Ok(()) => Ok("ext4"),
        Err(_) => {
            let _ = fs::remove_file(&image);
            let size = format!("size={ROOM_BYTES}");
            run(Command::new("mount")
                .args(["-t", "tmpfs", "-o", &size, "trireme-chaos"])
                .arg(data_dir))?;
            Ok("tmpfs")
        }
    }
}

fn ext4(image: &Path, at: &Path) -> Result<()> {
    File::create(image)?.set_len(ROOM_BYTES)?;
    run(Command::new("mkfs.ext4").args(["-q", "-F", "-m", "0"]).arg(image))?;
    run(Command::new("mount").args(["-o", "loop"]).arg(image).arg(at))
}

fn run(command: &mut Command) -> Result<()> {
    let name = command.get_program().to_string_lossy().into_owned();
    let done = command
        .stdin(Stdio::null())
        .output()
        .with_context(|| format!("{name} cannot be run"))?;
    let said = String::from_utf8_lossy(&done.stderr);
    ensure!(done.status.success(), "{name}: {}", said.trim());
    Ok(())
}

/// Gives a replica's data directory back before the data are removed.
pub(super) fn unmount(data_dir: &Path) -> Result<()> {
    run(Command::new("umount").arg(data_dir))
}

/// Eats all room that is left on the file system of a directory.
pub(super) fn fill(data_dir: &Path) -> Result<u64> {
    let path = data_dir.join(BALLAST);
    let cannot = || format!("cannot write {}", path.display());
    let mut file = File::create(&path).with_context(cannot)?;
    let stat = rustix::fs::statvfs(data_dir).with_context(cannot)?;
    let mut free = stat.f_bavail.saturating_mul(stat.f_frsize);
    while free > 0 && rustix::fs::fallocate(&file, FallocateFlags::empty(), 0, free).is_err() {
        free = free * 15 / 16;
    }
    // The rest in small pieces, until the system says that there is none.
    std::io::Seek::seek(&mut file, std::io::SeekFrom::End(0)).with_context(cannot)?;
    let piece = [0xa5; 4096];
    let full = loop {
        if let Err(error) = file.write_all(&piece) {
            break error;
        }
    };
    ensure!(full.kind() == std::io::ErrorKind::StorageFull, "{}: {full}", cannot());
    Ok(file.metadata().with_context(cannot)?.len())
}

/// Gives the room back.
pub(super) fn empty(data_dir: &Path) -> Result<()> {
    let path = data_dir.join(BALLAST);
    fs::remove_file(&path).with_context(|| format!("cannot remove {}", path.display()))
}
