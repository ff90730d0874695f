//! The systems that can be compared, as they are named on the command line: `trireme`, `raft`, `etcd`, each with
//! settings behind colons, `trireme:n=7:auth=none`.

use std::fmt;
use std::str::FromStr;

use trireme_report::comparison::{Does, SystemFigures};

/// What orders.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Trireme,
    Raft,
    Etcd,
}

impl Kind {
    const ALL: [(Self, &'static str); 3] = [(Self::Trireme, "trireme"), (Self::Raft, "raft"), (Self::Etcd, "etcd")];

    fn name(self) -> &'static str {
        let found = Self::ALL.iter().find(|(kind, _)| *kind == self);
        found.expect("every kind has a name").1
    }
}

/// One system with its settings.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Spec {
    pub(super) kind: Kind,
    pub(super) replicas: u16,
    f: Option<u16>,
    signed: bool,
    app: Option<String>,
    durability: Option<String>,
    bundle: Option<u32>,
    cores: Option<String>,
    /// As it was written.
    name: String,
}

impl FromStr for Spec {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let mut words = text.trim().split(':');
        let name = words.next().unwrap_or_default();
        let found = Kind::ALL.iter().find(|(_, known)| *known == name);
        let (kind, _) = *found.ok_or_else(|| format!("{text}: known are trireme, raft and etcd"))?;
        let mut spec = Self {
            kind,
            replicas: if kind == Kind::Trireme { 4 } else { 3 },
            f: None,
            signed: kind != Kind::Etcd,
            app: None,
            durability: None,
            bundle: None,
            cores: None,
            name: text.trim().to_owned(),
        };
        for word in words {
            let (key, value) = word
                .split_once('=')
                .ok_or_else(|| format!("{text}: settings are written n=7, behind a colon"))?;
            spec.set(key, value).map_err(|why| format!("{text}: {why}"))?;
        }
        Ok(spec)
    }
}

impl Spec {
    fn set(&mut self, key: &str, value: &str) -> Result<(), String> {
        let number = || value.parse::<u32>().map_err(|_| format!("{key}: {value} is no number"));
        let small = || u16::try_from(number()?).map_err(|_| format!("{key}: {value} is too much"));
        if self.kind == Kind::Etcd && !["n", "bundle"].contains(&key) {
            return Err(format!("etcd has no {key}: n and bundle"));
        }
        match key {
            "n" => self.replicas = small()?,
            "f" => self.f = Some(small()?),
            "bundle" => self.bundle = Some(number()?),
            "auth" if ["signed", "none"].contains(&value) => self.signed = value == "signed",
            "app" => self.app = Some(value.to_owned()),
            "durability" => self.durability = Some(value.to_owned()),
            "cores" => self.cores = Some(value.to_owned()),
            "auth" => return Err("auth: signed or none".to_owned()),
            _ => {
                return Err(format!(
                    "{key}: known are n, f, auth, app, durability, bundle and cores"
                ));
            }
        }
        Ok(())
    }

    /// Requests submitted together.
    pub(super) fn bundle(&self, usual: u32) -> u32 {
        self.bundle.unwrap_or(usual)
    }

    /// Arguments of `trireme local` that make this system.
    pub(super) fn arguments(&self) -> Vec<String> {
        let mut out: Vec<String> = match self.kind {
            Kind::Trireme => Vec::new(),
            Kind::Raft => vec!["--ordering".to_owned(), "raft".to_owned()],
            Kind::Etcd => vec!["--system".to_owned(), "etcd".to_owned()],
        };
        let mut add = |name: &str, value: String| out.extend([format!("--{name}"), value]);
        add("replicas", self.replicas.to_string());
        if let Some(f) = self.f {
            add("f", f.to_string());
        }
        if self.kind != Kind::Etcd {
            add("client-auth", if self.signed { "signed" } else { "none" }.to_owned());
        }
        let named = [
            ("app", &self.app),
            ("durability", &self.durability),
            ("cores", &self.cores),
        ];
        for (name, value) in named {
            if let Some(value) = value {
                add(name, value.clone());
            }
        }
        out
    }

    /// Faults that it stands, before a run has said so.
    fn f(&self) -> u64 {
        let n = u64::from(self.replicas);
        let most = if self.kind == Kind::Trireme {
            n.saturating_sub(1) / 3
        } else {
            n.saturating_sub(1) / 2
        };
        self.f.map_or(most, u64::from)
    }

    /// The system without figures.
    pub(super) fn figures(&self) -> SystemFigures {
        SystemFigures {
            name: self.name.clone(),
            system: if self.kind == Kind::Etcd { "etcd" } else { "trireme" }.to_owned(),
            ordering: match self.kind {
                Kind::Trireme => "trireme",
                Kind::Raft => "raft",
                Kind::Etcd => "etcd",
            }
            .to_owned(),
            replicas: u64::from(self.replicas),
            f: self.f(),
            does: self.does(),
            ..SystemFigures::default()
        }
    }

    fn does(&self) -> Does {
        if self.kind == Kind::Etcd {
            return etcd();
        }
        let lies = self.kind == Kind::Trireme;
        let auth = if self.signed {
            "one for a bundle, checked by f + 1 servers before it is ordered"
        } else {
            "none: clients are believed"
        };
        Does {
            faults: if lies { "servers that lie" } else { "servers that crash" }.to_owned(),
            client_signatures: auth.to_owned(),
            server_signatures: if lies {
                "votes and certificates are signed"
            } else {
                "nothing but state votes at checkpoints is signed: majorities are believed"
            }
            .to_owned(),
            encryption: "all links (QUIC, TLS 1.3)".to_owned(),
            durability: match self.durability.as_deref() {
                None | Some("sync") => "flushed before it counts (a log of each server)".to_owned(),
                Some(other) => format!("durability {other}: not flushed before it counts"),
            },
            execution: match self.app.as_deref() {
                Some("null") => "none: requests are counted and hashed".to_owned(),
                _ => "key-value store in memory with an authenticated state root, checkpoints".to_owned(),
            },
            replies: if lies { "f + 1 equal ones" } else { "one" }.to_owned(),
        }
    }
}

fn etcd() -> Does {
    Does {
        faults: "servers that crash".to_owned(),
        client_signatures: "none: clients are believed".to_owned(),
        server_signatures: "nothing is signed: majorities are believed".to_owned(),
        encryption: "none (plain HTTP/2 and HTTP, its default)".to_owned(),
        durability: "flushed before it counts (its log); the store itself is written later".to_owned(),
        execution: "key-value store on disk that keeps every revision".to_owned(),
        replies: "one".to_owned(),
    }
}

impl fmt::Display for Spec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.name.is_empty() {
            self.kind.name()
        } else {
            &self.name
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(text: &str) -> String {
        text.parse::<Spec>().unwrap().arguments().join(" ")
    }

    #[test]
    fn systems_become_arguments() {
        assert_eq!(words("trireme"), "--replicas 4 --client-auth signed");
        assert_eq!(words("raft"), "--ordering raft --replicas 3 --client-auth signed");
        assert_eq!(words("etcd:n=5"), "--system etcd --replicas 5");
        assert_eq!(
            words("trireme:n=7:f=1:auth=none:app=null:durability=none"),
            "--replicas 7 --f 1 --client-auth none --app null --durability none"
        );
        let spec: Spec = "trireme:bundle=64".parse().unwrap();
        assert_eq!(
            (spec.bundle(1), spec.f(), spec.to_string().as_str()),
            (64, 1, "trireme:bundle=64")
        );
        assert_eq!("raft:n=4".parse::<Spec>().unwrap().f(), 1);
        assert_eq!("etcd:n=5".parse::<Spec>().unwrap().f(), 2);
    }

    #[test]
    fn others_are_refused() {
        for bad in [
            "",
            "zab",
            "trireme:7",
            "trireme:n=x",
            "trireme:n=99999",
            "etcd:auth=signed",
            "raft:auth=maybe",
            "raft:m=1",
        ] {
            assert!(bad.parse::<Spec>().is_err(), "{bad}");
        }
    }
}
