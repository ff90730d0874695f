//! What kind of filesystem the log lies on, and whether it can be durable there.

use std::path::Path;

use crate::config::Durability;
use crate::error::LogError;

const TMPFS: u32 = 0x0102_1994;
const RAMFS: u32 = 0x8584_58f6;

/// Magic numbers from `statfs(2)`.
const NAMES: [(u32, &str); 10] = [
    (TMPFS, "tmpfs"),
    (RAMFS, "ramfs"),
    (0x0000_ef53, "ext4"),
    (0x5846_5342, "xfs"),
    (0x9123_683e, "btrfs"),
    (0xf2f5_2010, "f2fs"),
    (0x2fc1_2fc1, "zfs"),
    (0x794c_7630, "overlayfs"),
    (0x0000_6969, "nfs"),
    (0x6573_5546, "fuse"),
];

/// Refuses `sync` where memory is all there is; otherwise says what to say.
pub(crate) fn check(dir: &Path, durability: Durability) -> Result<Vec<String>, LogError> {
    let stat = rustix::fs::statfs(dir).map_err(|errno| LogError::io("statfs", dir, 0, &errno.into()))?;
    // The field's width and sign depend on the architecture; the magic numbers fit 32 bits.
    judge(dir, stat.f_type as u32, durability)
}

fn judge(dir: &Path, magic: u32, durability: Durability) -> Result<Vec<String>, LogError> {
    let name = NAMES.iter().find(|(known, _)| *known == magic).map(|(_, name)| *name);
    let in_memory = magic == TMPFS || magic == RAMFS;
    if in_memory && durability == Durability::Sync {
        return Err(LogError::NotDurable {
            dir: dir.to_path_buf(),
            filesystem: name.expect("both are in the table"),
        });
    }
    let shown = dir.display();
    let mut notes = vec![match name {
        Some(name) => format!("{shown}: filesystem {name}"),
        None => format!("{shown}: filesystem of unknown kind {magic:#x}"),
    }];
    if in_memory {
        notes.push(format!(
            "{shown} lives in memory: nothing in it survives a restart of the machine"
        ));
    }
    if name == Some("nfs") || name == Some("fuse") {
        notes.push(format!(
            "{shown}: whether a flush is durable is up to a server or another process"
        ));
    }
    Ok(notes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_is_not_durable() {
        let dir = Path::new("somewhere");
        assert!(matches!(
            judge(dir, TMPFS, Durability::Sync),
            Err(LogError::NotDurable {
                filesystem: "tmpfs",
                ..
            })
        ));
        for weaker in [Durability::Async, Durability::None] {
            let notes = judge(dir, RAMFS, weaker).unwrap();
            assert!(notes.iter().any(|note| note.contains("lives in memory")));
        }
        let notes = judge(dir, 0xef53, Durability::Sync).unwrap();
        assert_eq!(notes, ["somewhere: filesystem ext4"]);
    }
}
