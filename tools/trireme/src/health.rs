//! One word for how a cluster is, and the exit codes for scripts that go with it.

use anyhow::Result;
use serde_json::Value;
use trireme_config::{Cluster, OrderingKind};

/// How a cluster is, from best to worst.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Health {
    /// Every replica votes and reaches a quorum.
    Healthy,
    /// Some do not, as the cluster stands it; or evidence, or a log without room, on some.
    Degraded,
    /// More replicas than it stands do not vote: it may not go on.
    Unavailable,
    /// A replica raised an alarm.
    Alarmed,
}

/// How many replicas may be away.
fn stands(cluster: &Cluster) -> usize {
    match cluster.ordering {
        OrderingKind::Trireme => usize::from(cluster.params.f),
        OrderingKind::Raft => cluster.members.len().saturating_sub(1) / 2,
    }
}

impl Health {
    /// The exit code of `trireme status`. 1 is an error of the command itself (no replica answered, a bad file), 2 a bad
    /// command line.
    pub(crate) fn exit_code(self) -> u8 {
        match self {
            Health::Healthy => 0,
            Health::Degraded => 3,
            Health::Unavailable => 4,
            Health::Alarmed => 5,
        }
    }

    /// For people and JSON.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Health::Healthy => "healthy",
            Health::Degraded => "degraded",
            Health::Unavailable => "unavailable",
            Health::Alarmed => "alarmed",
        }
    }

    /// Judges what the replicas answered, in member order.
    pub(crate) fn of(cluster: &Cluster, answers: &[Result<Value>]) -> Health {
        let ready = |answer: &&Result<Value>| answer.as_ref().is_ok_and(|status| status["ready"] == true);
        let away = answers.len() - answers.iter().filter(ready).count();
        let statuses = || answers.iter().flatten();
        let count = |status: &Value, key: &str| status[key].as_u64().unwrap_or(0);
        if statuses().any(|status| status["halted"] == true || count(status, "alarms") > 0) {
            Health::Alarmed
        } else if away > stands(cluster) {
            Health::Unavailable
        } else if away > 0 || statuses().any(|status| count(status, "evidence") > 0 || status["log"]["full"] == true) {
            Health::Degraded
        } else {
            Health::Healthy
        }
    }

    /// A sentence about it.
    pub(crate) fn sentence(self, answers: &[Result<Value>]) -> String {
        let ready = answers
            .iter()
            .filter(|answer| answer.as_ref().is_ok_and(|status| status["ready"] == true))
            .count();
        format!("{}: {ready} of {} replicas ready", self.name(), answers.len())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use anyhow::anyhow;
    use serde_json::json;

    fn answers(list: &[Option<Value>]) -> Vec<Result<Value>> {
        list.iter()
            .map(|status| status.clone().ok_or_else(|| anyhow!("no answer")))
            .collect()
    }

    #[test]
    fn the_worst_decides() {
        let dir = tempfile::tempdir().unwrap();
        let cluster = crate::init::for_tests(dir.path(), 4);
        let good =
            || Some(json!({ "ready": true, "halted": false, "alarms": 0, "evidence": 0, "log": { "full": false } }));
        let with = |key: &str, value: Value| {
            let mut status = good().unwrap();
            status[key] = value;
            Some(status)
        };
        let of = |list: &[Option<Value>]| Health::of(&cluster, &answers(list));
        assert_eq!(of(&[good(), good(), good(), good()]), Health::Healthy);
        assert_eq!(of(&[good(), good(), good(), None]), Health::Degraded);
        assert_eq!(
            of(&[good(), good(), good(), with("evidence", json!(1))]),
            Health::Degraded
        );
        assert_eq!(
            of(&[good(), good(), good(), with("log", json!({ "full": true }))]),
            Health::Degraded
        );
        assert_eq!(
            of(&[good(), good(), with("ready", json!(false)), None]),
            Health::Unavailable
        );
        assert_eq!(of(&[good(), None, None, with("halted", json!(true))]), Health::Alarmed);
        let codes = [Health::Healthy, Health::Degraded, Health::Unavailable, Health::Alarmed].map(Health::exit_code);
        assert_eq!(codes, [0, 3, 4, 5], "scripts hang on them");
    }
}
