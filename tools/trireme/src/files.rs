//! Reading and writing the configuration files: names in the errors, secrets readable by their owner only.

use std::fs::{self, OpenOptions};
use std::io::Write as _;
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, bail, ensure};
use trireme_config::{ClientConfig, ClientKeys, Cluster, KeyFile, ReplicaConfig, ReplicaKeys};

/// Everything that a replica starts with.
pub(crate) struct ReplicaFiles {
    pub(crate) cluster: Cluster,
    pub(crate) config: ReplicaConfig,
    pub(crate) keys: ReplicaKeys,
}

/// Everything that a client starts with.
pub(crate) struct ClientFiles {
    pub(crate) cluster: Cluster,
    pub(crate) keys: ClientKeys,
}

fn read(path: &Path, remedy: &str) -> Result<String> {
    fs::read_to_string(path).with_context(|| format!("cannot read {} ({remedy})", path.display()))
}

fn directory(path: &Path) -> &Path {
    path.parent().unwrap_or(Path::new(""))
}

/// Reads a `cluster.toml`.
pub(crate) fn cluster(path: &Path) -> Result<Cluster> {
    let text = read(path, "`trireme init` writes one")?;
    Cluster::from_toml(&text).map_err(|error| error.in_file(path).into())
}

/// Reads a key file that nobody but its owner may read.
fn key_file(path: &Path) -> Result<KeyFile> {
    let metadata = fs::metadata(path).with_context(|| format!("cannot read the key file {}", path.display()))?;
    let mode = metadata.permissions().mode() & 0o777;
    ensure!(
        mode & 0o077 == 0,
        "key file {} has mode {mode:04o}: others can read the secret (run `chmod 600 {}`, and make a new key if others \
         may have read it)",
        path.display(),
        path.display()
    );
    let text = read(path, "`trireme init` writes one")?;
    KeyFile::from_toml(&text).map_err(|error| error.in_file(path).into())
}

/// Reads a `replica.toml`, with its paths taken from its directory.
pub(crate) fn settings(path: &Path) -> Result<ReplicaConfig> {
    let text = read(path, "`trireme init` writes one")?;
    let config = ReplicaConfig::from_toml(&text).map_err(|error| error.in_file(path))?;
    Ok(config.relative_to(directory(path)))
}

/// Reads a `replica.toml` and the files that it names, and checks that they belong together.
pub(crate) fn replica(path: &Path) -> Result<ReplicaFiles> {
    let config = settings(path)?;
    let cluster = cluster(&config.cluster_file)?;
    let Some(member) = cluster.members.get(usize::from(config.member)) else {
        bail!(
            "{}: member = {}, but {} has members 0 to {}",
            path.display(),
            config.member,
            config.cluster_file.display(),
            cluster.members.len() - 1
        );
    };
    let key_path = &config.key_file;
    let Some(keys) = key_file(key_path)?.replica() else {
        bail!("{}: a client's key, a replica's is needed", key_path.display());
    };
    ensure!(
        keys.vote.public() == member.vote_key && keys.tls.public().0 == member.tls_key,
        "{}: wrong key: it is not that of member {} in {} (compare member and key_file in {})",
        key_path.display(),
        config.member,
        config.cluster_file.display(),
        path.display()
    );
    Ok(ReplicaFiles { cluster, config, keys })
}

/// Reads a `client.toml` and the files that it names.
pub(crate) fn client(path: &Path) -> Result<ClientFiles> {
    let text = read(path, "`trireme init` writes one; name it with --config")?;
    let config = ClientConfig::from_toml(&text)
        .map_err(|error| error.in_file(path))?
        .relative_to(directory(path));
    let cluster = cluster(&config.cluster_file)?;
    let Some(keys) = key_file(&config.key_file)?.clients(config.identities) else {
        bail!("{}: a replica's key, a client's is needed", config.key_file.display());
    };
    Ok(ClientFiles { cluster, keys })
}

/// Writes a file that must not be there yet.
pub(crate) fn write_new(path: &Path, text: &str) -> Result<()> {
    write_with_mode(path, text, 0o644)
}

/// Writes a secret, with mode 0600, to a file that must not be there yet.
pub(crate) fn write_secret(path: &Path, text: &str) -> Result<()> {
    write_with_mode(path, text, 0o600)
}

fn write_with_mode(path: &Path, text: &str, mode: u32) -> Result<()> {
    let write = || -> std::io::Result<()> {
        let mut file = OpenOptions::new().write(true).create_new(true).mode(mode).open(path)?;
        file.write_all(text.as_bytes())?;
        file.sync_all()
    };
    write().with_context(|| format!("cannot write {}", path.display()))
}

/// Makes a directory and its parents.
pub(crate) fn make_directory(path: &Path) -> Result<PathBuf> {
    fs::create_dir_all(path).with_context(|| format!("cannot make the directory {}", path.display()))?;
    path.canonicalize()
        .with_context(|| format!("cannot resolve {}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use trireme_config::KeyOwner;

    #[test]
    fn a_key_that_others_can_read_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a.key");
        write_secret(&path, &KeyFile::new(KeyOwner::Client, [3; 32]).to_toml()).unwrap();
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        key_file(&path).unwrap();
        assert!(write_secret(&path, "x").is_err(), "a key is never overwritten");
        for mode in [0o640, 0o604, 0o620] {
            fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
            let message = key_file(&path).err().unwrap().to_string();
            assert!(message.contains("chmod 600"), "{message}");
        }
    }
}
