//! The data of a run, from their making to their end.

use std::cell::RefCell;
use std::fs;
use std::path::{Path, PathBuf};

use crate::disk::{self, Disk};

/// Where the data of a run are, once they are somewhere.
#[derive(Debug, Default)]
pub(crate) struct Place {
    at: RefCell<Option<(PathBuf, bool)>>,
}

impl Place {
    /// The data are here from now on.
    pub(crate) fn set(&self, disk: &Disk) {
        *self.at.borrow_mut() = Some((disk.dir.clone(), disk.fresh));
    }

    /// Removes the data, or leaves them; what to say about that. A directory that was there before the run, empty,
    /// stays and is emptied.
    pub(crate) fn leave(&self, keep: bool) -> Option<String> {
        let at = self.at.borrow();
        let (dir, fresh) = at.as_ref()?;
        match (keep, fresh) {
            (true, _) => Some(format!("data kept in {}", dir.display())),
            (false, true) => {
                disk::discard(dir);
                None
            }
            (false, false) => {
                empty(dir);
                None
            }
        }
    }
}

fn empty(dir: &Path) {
    let Ok(entries) = fs::read_dir(dir) else { return };
    for path in entries.filter_map(|entry| Some(entry.ok()?.path())) {
        let removed = if path.is_dir() {
            fs::remove_dir_all(&path)
        } else {
            fs::remove_file(&path)
        };
        if let Err(error) = removed {
            eprintln!("cannot remove {}: {error}", path.display());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use trireme_config::Durability;

    #[test]
    fn what_was_made_is_removed_and_nothing_else() {
        let parent = tempfile::tempdir().unwrap();
        let named = parent.path().join("a");
        for (existed, keep) in [(false, false), (false, true), (true, false), (true, true)] {
            if existed {
                fs::create_dir(&named).unwrap();
            }
            let place = Place::default();
            assert!(place.leave(keep).is_none());
            place.set(&disk::choose(Some(&named), Durability::None).unwrap());
            fs::create_dir_all(named.join("replica-0/log")).unwrap();
            fs::write(named.join("cluster.toml"), "x").unwrap();
            assert_eq!(place.leave(keep).is_some(), keep);
            assert_eq!(named.join("cluster.toml").exists(), keep);
            assert_eq!(named.exists(), keep || existed);
            let _ = fs::remove_dir_all(&named);
        }
        assert!(parent.path().exists());
    }
}
