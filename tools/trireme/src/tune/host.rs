//! What the kernel says about the host, read under a root that tests may choose.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

/// A host's files.
#[derive(Clone, Debug)]
pub(crate) struct Host {
    root: PathBuf,
}

impl Host {
    /// The files under a root: `/` for this host.
    pub(crate) fn new(root: &Path) -> Host {
        Host {
            root: root.to_path_buf(),
        }
    }

    /// Whether this is the host that the program runs on, so that things can be tried.
    pub(crate) fn is_live(&self) -> bool {
        self.root == Path::new("/")
    }

    /// Where an absolute path of the host lies.
    pub(crate) fn path(&self, absolute: &str) -> PathBuf {
        self.root.join(absolute.trim_start_matches('/'))
    }

    /// The text of a file without blanks around it; none if it cannot be read.
    pub(crate) fn read(&self, absolute: &str) -> Option<String> {
        fs::read_to_string(self.path(absolute))
            .ok()
            .map(|text| text.trim().to_owned())
    }

    /// A file that holds one number.
    pub(crate) fn number(&self, absolute: &str) -> Option<u64> {
        self.read(absolute)?.parse().ok()
    }

    /// Names in a directory, sorted.
    pub(crate) fn names(&self, absolute: &str) -> Vec<String> {
        let entries = fs::read_dir(self.path(absolute)).into_iter().flatten().flatten();
        let mut names: Vec<String> = entries
            .map(|entry| entry.file_name().to_string_lossy().into_owned())
            .collect();
        names.sort();
        names
    }

    /// Where a kernel parameter stands: `net.core.rmem_max` in `/proc/sys/net/core/rmem_max`.
    pub(crate) fn sysctl_path(&self, key: &str) -> PathBuf {
        self.path(&format!("/proc/sys/{}", key.replace('.', "/")))
    }

    /// The value of a kernel parameter; none where this kernel has no such parameter.
    pub(crate) fn sysctl(&self, key: &str) -> Option<String> {
        let text = fs::read_to_string(self.sysctl_path(key)).ok()?;
        Some(text.split_whitespace().collect::<Vec<_>>().join(" "))
    }

    /// Changes a kernel parameter until the next start of the host.
    pub(crate) fn set_sysctl(&self, key: &str, value: &str) -> io::Result<()> {
        fs::write(self.sysctl_path(key), format!("{value}\n"))
    }

    /// A limit of this process (`/proc/self/limits`): the soft one; `u64::MAX`: unlimited.
    pub(crate) fn soft_limit(&self, name: &str) -> Option<u64> {
        let text = self.read("/proc/self/limits")?;
        let line = text.lines().find_map(|line| line.strip_prefix(name))?;
        match line.split_whitespace().next()? {
            "unlimited" => Some(u64::MAX),
            number => number.parse().ok(),
        }
    }

    /// Processors that are there.
    pub(crate) fn cores(&self) -> usize {
        let text = self.read("/proc/cpuinfo").unwrap_or_default();
        text.lines().filter(|line| line.starts_with("processor")).count().max(1)
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// A host that consists of these files.
    pub(crate) fn fake(files: &[(&str, &str)]) -> (Host, tempfile::TempDir) {
        let dir = tempfile::tempdir().unwrap();
        let host = Host::new(dir.path());
        for (path, text) in files {
            let path = host.path(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        }
        (host, dir)
    }

    #[test]
    fn files_are_read_under_the_root() {
        let limits = "Limit Soft Limit Hard Limit Units\nMax locked memory         8388608   unlimited bytes\nMax open files  unlimited 4 files\n";
        let (host, _dir) = fake(&[
            ("/proc/sys/net/core/rmem_max", "212992\n"),
            ("/proc/self/limits", limits),
            ("/proc/cpuinfo", "processor\t: 0\nflags\t: a\nprocessor\t: 1\n"),
        ]);
        assert_eq!(host.sysctl("net.core.rmem_max").as_deref(), Some("212992"));
        assert_eq!(host.sysctl("net.core.none"), None);
        assert_eq!(host.soft_limit("Max locked memory"), Some(8 << 20));
        assert_eq!(host.soft_limit("Max open files"), Some(u64::MAX));
        assert_eq!((host.cores(), host.is_live()), (2, false));
        assert_eq!(host.names("/proc/sys/net"), ["core"]);
    }
}
