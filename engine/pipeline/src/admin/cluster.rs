//! Asks another member's admin port.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt as _, Empty, Limited};
use hyper::client::conn::http1;
use hyper::header::HOST;
use hyper::{Request, StatusCode};
use hyper_util::rt::TokioIo;
use serde_json::Value;
use tokio::net::TcpStream;
use tokio::time::timeout;

/// For connection and answer together: below the second in which the page asks again.
const PATIENCE: Duration = Duration::from_millis(900);
/// A status is not longer: of a hundred members each is told in a few kilobytes.
const MAX_BYTES: usize = 4 << 20;

/// The status of the replica behind an admin port of this cluster, or why there is none, for people.
pub(super) async fn ask_member(addr: SocketAddr, cluster: &Value) -> Result<Value, String> {
    let status = match timeout(PATIENCE, ask(addr)).await {
        Ok(answer) => answer?,
        Err(_) => return Err("does not answer".to_owned()),
    };
    if !cluster.is_null() && status["cluster"] != *cluster {
        return Err("is of another cluster".to_owned());
    }
    Ok(status)
}

async fn ask(addr: SocketAddr) -> Result<Value, String> {
    let stream = TcpStream::connect(addr)
        .await
        .map_err(|error| format!("not reached: {error}"))?;
    let failed = |error: hyper::Error| format!("broke off: {error}");
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await.map_err(failed)?;
    let request = Request::get("/api/status")
        .header(HOST, addr.to_string())
        .body(Empty::<Bytes>::new())
        .map_err(|error| error.to_string())?;
    let talk = async {
        let response = sender.send_request(request).await.map_err(failed)?;
        let status = response.status();
        let body = Limited::new(response.into_body(), MAX_BYTES).collect().await;
        let body = body.map_err(|error| format!("broke off: {error}"))?.to_bytes();
        match status {
            StatusCode::OK => serde_json::from_slice(&body).map_err(|_| "its answer is no status".to_owned()),
            StatusCode::SERVICE_UNAVAILABLE => Err("recovering, or too busy to answer".to_owned()),
            other => Err(format!("answered {other}")),
        }
    };
    // The connection is driven here and ends with the answer.
    tokio::select! {
        answer = talk => answer,
        never = drive(connection) => match never {},
    }
}

/// Drives a connection; its end is told by the request that it breaks off.
async fn drive(connection: impl Future<Output = hyper::Result<()>>) -> Infallible {
    let _ = connection.await;
    std::future::pending().await
}
