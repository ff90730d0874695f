//! Which crates may stand behind which: the core's list, and who may use an async runtime, sockets or files.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use anyhow::{Context as _, Result, ensure};
use serde_json::Value;

use crate::steps::cargo;

/// All that may be linked into `trireme-core` outside of tests. None of them does input or output; whoever adds one
/// has looked.
const CORE_MAY_USE: &[&str] = &[
    "trireme-crypto",
    "arrayref",
    "arrayvec",
    "blake3",
    "block-buffer",
    "borsh",
    "bytes",
    "cfg-if",
    "constant_time_eq",
    "cpufeatures",
    "crypto-common",
    "curve25519-dalek",
    "digest",
    "ed25519",
    "ed25519-dalek",
    "hashbrown",
    "hybrid-array",
    "libc",
    "sha2",
    "signature",
    "subtle",
    "thiserror",
    "typenum",
    "zeroize",
];

/// Crates that must not reach another one by any way.
const FORBIDDEN: &[(&str, &[&str])] = &[
    ("trireme-core", &["tokio", "quinn", "rustix", "io-uring", "getrandom"]),
    ("trireme-crypto", &["tokio", "quinn", "rustix", "io-uring", "getrandom"]),
    ("trireme-config", &["tokio", "quinn", "rustix", "io-uring"]),
    ("trireme-state", &["tokio", "quinn", "rustix", "io-uring"]),
    ("trireme-log", &["tokio", "quinn", "trireme-core"]),
    // It runs the log's own code on simulated disks; what that needs for real ones is linked, and never reached.
    (
        "trireme-sim",
        &["tokio", "quinn", "trireme-pipeline", "trireme-transport"],
    ),
    // A second writing of the protocol page: what it shared with the first it could not check.
    ("trireme-model", &["tokio", "quinn", "trireme-core", "trireme-crypto"]),
    ("trireme-transport", &["trireme-core", "trireme-log", "trireme-config"]),
    (
        "trireme-client",
        &["trireme-pipeline", "trireme-log", "trireme-state", "io-uring"],
    ),
    ("trireme-pipeline", &["trireme-client", "trireme-load", "trireme-sim"]),
];

pub(crate) fn check(root: &Path) -> Result<()> {
    let graph = Graph::read(root)?;
    let core = graph.behind("trireme-core")?;
    let strangers: Vec<&str> = core
        .iter()
        .copied()
        .filter(|name| !CORE_MAY_USE.contains(name))
        .collect();
    ensure!(
        strangers.is_empty(),
        "trireme-core has dependencies that are not on its list: {} (tools/xtask/src/dependencies.rs)",
        strangers.join(", ")
    );
    for (name, forbidden) in FORBIDDEN {
        let behind = graph.behind(name)?;
        let found: Vec<&str> = forbidden
            .iter()
            .copied()
            .filter(|other| behind.contains(other))
            .collect();
        ensure!(found.is_empty(), "{name} must not depend on {}", found.join(", "));
    }
    println!(
        "   trireme-core stands on {} crates, none with input or output",
        core.len()
    );
    Ok(())
}

/// Normal dependencies (not those of builds and tests, nor macros) by package id.
struct Graph {
    names: BTreeMap<String, String>,
    edges: BTreeMap<String, Vec<String>>,
}

impl Graph {
    fn read(root: &Path) -> Result<Graph> {
        let triple = "x86_64-unknown-linux-gnu";
        let arguments = [
            "metadata",
            "--format-version",
            "1",
            "--locked",
            "--filter-platform",
            triple,
        ];
        let output = cargo(root, &arguments)
            .output()
            .context("cannot start cargo metadata")?;
        ensure!(
            output.status.success(),
            "cargo metadata: {}",
            String::from_utf8_lossy(&output.stderr)
        );
        Graph::parse(&serde_json::from_slice(&output.stdout)?)
    }

    fn parse(metadata: &Value) -> Result<Graph> {
        let list = |value: &Value| value.as_array().cloned().unwrap_or_default();
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let mut names = BTreeMap::new();
        let mut macros = BTreeSet::new();
        for package in list(&metadata["packages"]) {
            let is_macro = |target: &Value| list(&target["kind"]).iter().any(|kind| kind == "proc-macro");
            if list(&package["targets"]).iter().any(is_macro) {
                macros.insert(text(&package["id"]));
            }
            names.insert(text(&package["id"]), text(&package["name"]));
        }
        let mut edges = BTreeMap::new();
        for entry in list(&metadata["resolve"]["nodes"]) {
            let normal = |dependency: &Value| list(&dependency["dep_kinds"]).iter().any(|kind| kind["kind"].is_null());
            let dependencies = list(&entry["deps"])
                .into_iter()
                .filter(normal)
                .map(|dependency| text(&dependency["pkg"]));
            edges.insert(
                text(&entry["id"]),
                dependencies.filter(|id| !macros.contains(id)).collect(),
            );
        }
        ensure!(!edges.is_empty(), "cargo metadata names no packages");
        Ok(Graph { names, edges })
    }

    /// Names of all packages behind one.
    fn behind(&self, name: &str) -> Result<BTreeSet<&str>> {
        let start = self.names.iter().find(|(_, known)| *known == name);
        let (start, _) = start.with_context(|| format!("there is no package {name}"))?;
        let mut seen = BTreeSet::new();
        let mut pending = vec![start];
        while let Some(id) = pending.pop() {
            for next in self.edges.get(id).into_iter().flatten() {
                if seen.insert(self.names.get(next).map_or("?", String::as_str)) {
                    pending.push(next);
                }
            }
        }
        Ok(seen)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn only_what_is_linked_counts() {
        let package =
            |name: &str, kind: &str| json!({"id": format!("{name} 1"), "name": name, "targets": [{"kind": [kind]}]});
        let to = |name: &str, kind: Value| json!({"pkg": format!("{name} 1"), "dep_kinds": [{"kind": kind}]});
        let metadata = json!({
            "packages": [package("a", "lib"), package("b", "lib"), package("c", "lib"), package("m", "proc-macro"), package("t", "lib")],
            "resolve": {"nodes": [
                {"id": "a 1", "deps": [to("b", Value::Null), to("m", Value::Null), to("t", json!("dev"))]},
                {"id": "b 1", "deps": [to("c", Value::Null), to("t", json!("build"))]},
                {"id": "m 1", "deps": [to("t", Value::Null)]},
            ]},
        });
        let graph = Graph::parse(&metadata).unwrap();
        assert_eq!(graph.behind("a").unwrap(), BTreeSet::from(["b", "c"]));
        assert!(graph.behind("x").is_err());
    }
}
