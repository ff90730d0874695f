//! What the admin port answers.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use hyper::StatusCode;
use serde_json::{Value, json};
use tokio::sync::Mutex;
use tokio::time::{Instant, timeout};

use super::cluster::ask_member;
use super::page::PAGE;
use super::process::process_status;
use crate::board::Board;
use crate::metrics::expose;

/// How long the stages may take to answer: longer, and the replica is recovering or stuck.
const PATIENCE: Duration = Duration::from_secs(2);
/// Statuses are shared by all who ask within this time.
const FRESH: Duration = Duration::from_millis(250);

/// A status and when it was taken.
type Kept = Mutex<Option<(Instant, Value)>>;

/// One answer.
pub(super) struct Answer {
    pub(super) status: StatusCode,
    pub(super) content_type: &'static str,
    pub(super) body: Bytes,
}

impl Answer {
    pub(super) fn text(status: StatusCode, text: &'static str) -> Self {
        Self {
            status,
            content_type: "text/plain; charset=utf-8",
            body: Bytes::from_static(text.as_bytes()),
        }
    }

    fn ok(content_type: &'static str, body: impl Into<Bytes>) -> Self {
        Self {
            status: StatusCode::OK,
            content_type,
            body: body.into(),
        }
    }

    fn json(value: &Value) -> Self {
        Self::ok("application/json", value.to_string())
    }
}

/// Answers requests from what the board says.
pub(super) struct Answers {
    board: Arc<Board>,
    member: u16,
    /// Admin ports of all members; empty: only this replica is shown.
    members: Vec<SocketAddr>,
    own: Kept,
    cluster: Kept,
}

impl Answers {
    pub(super) fn new(board: Arc<Board>, member: u16, members: Vec<SocketAddr>) -> Self {
        Self {
            board,
            member,
            members,
            own: Kept::default(),
            cluster: Kept::default(),
        }
    }

    /// The answer for a path.
    pub(super) async fn answer(&self, path: &str) -> Answer {
        if let Some((content_type, text)) = PAGE.iter().find(|file| file.0 == path).map(|file| (file.1, file.2)) {
            return Answer::ok(content_type, text);
        }
        match path {
            "/live" => Answer::text(StatusCode::OK, "alive\n"),
            "/ready" => match self.status().await {
                Some(status) if status["ready"] == true => Answer::text(StatusCode::OK, "ready\n"),
                Some(_) => Answer::text(
                    StatusCode::SERVICE_UNAVAILABLE,
                    "not connected to a quorum, or halted\n",
                ),
                None => recovering(),
            },
            "/metrics" => match self.status().await {
                Some(status) => Answer::ok("text/plain; version=0.0.4; charset=utf-8", expose(&status)),
                None => recovering(),
            },
            "/api/status" => match self.status().await {
                Some(status) => Answer::json(&status),
                None => recovering(),
            },
            "/api/cluster" => Answer::json(&self.cluster().await),
            _ => Answer::text(
                StatusCode::NOT_FOUND,
                "there are / /metrics /api/status /api/cluster /ready /live\n",
            ),
        }
    }

    /// Status of this replica; `None` while its stages do not run.
    async fn status(&self) -> Option<Value> {
        let mut own = self.own.lock().await;
        if let Some(status) = fresh(&own) {
            return Some(status);
        }
        let mut status = timeout(PATIENCE, self.board.status()).await.ok()?;
        status["process"] = process_status();
        *own = Some((Instant::now(), status.clone()));
        Some(status)
    }

    /// Statuses of all members, each with the reason if there is none.
    async fn cluster(&self) -> Value {
        let mut kept = self.cluster.lock().await;
        if let Some(cluster) = fresh(&kept) {
            return cluster;
        }
        let own = self.status().await;
        let cluster = own.as_ref().map_or(Value::Null, |own| own["cluster"].clone());
        let mut asked = tokio::task::JoinSet::new();
        for (member, addr) in (0..).zip(&self.members) {
            if member != self.member {
                let (addr, cluster) = (*addr, cluster.clone());
                asked.spawn(async move { (member, ask_member(addr, &cluster).await) });
            }
        }
        let mut rows = vec![row(
            self.member,
            self.members.get(usize::from(self.member)),
            own.ok_or_else(|| "recovering, or too busy to answer".to_owned()),
        )];
        while let Some(answer) = asked.join_next().await {
            let Ok((member, answer)) = answer else { continue };
            rows.push(row(member, self.members.get(usize::from(member)), answer));
        }
        rows.sort_by_key(|row| row["member"].as_u64());
        let cluster = json!({ "asked": self.member, "members": rows });
        *kept = Some((Instant::now(), cluster.clone()));
        cluster
    }
}

fn row(member: u16, addr: Option<&SocketAddr>, answer: Result<Value, String>) -> Value {
    let (status, error) = match answer {
        Ok(status) => (status, None),
        Err(error) => (Value::Null, Some(error)),
    };
    json!({ "member": member, "address": addr, "status": status, "error": error })
}

fn fresh(kept: &Option<(Instant, Value)>) -> Option<Value> {
    let (at, value) = kept.as_ref()?;
    (at.elapsed() < FRESH).then(|| value.clone())
}

fn recovering() -> Answer {
    Answer::text(
        StatusCode::SERVICE_UNAVAILABLE,
        "the replica recovers from its log, or is too busy to answer\n",
    )
}
