//! HTTP on the admin port.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::header::{ALLOW, CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE, HeaderValue, X_CONTENT_TYPE_OPTIONS};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, oneshot};

use super::answers::{Answer, Answers};

/// Connections at once; more wait in the kernel.
const MAX_CONNECTIONS: usize = 64;
/// A request's head has to be there in this time; an idle connection ends likewise.
const HEAD_PATIENCE: Duration = Duration::from_secs(15);
/// A connection ends at the latest after this: somebody who does not read keeps nothing for long.
const CONNECTION_LIFE: Duration = Duration::from_secs(600);
/// Bytes of a request's head and of what waits to be read.
const BUFFER_BYTES: usize = 16 << 10;
/// After a failed accept (no descriptors left) it is tried again after this.
const ACCEPT_PAUSE: Duration = Duration::from_millis(200);
/// Only what this binary holds is loaded.
const POLICY: &str =
    "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src 'self' data:";

/// Answers until `stopped`.
pub(super) async fn serve(listener: std::net::TcpListener, answers: Arc<Answers>, stopped: oneshot::Receiver<()>) {
    let accept = async {
        let listener = match TcpListener::from_std(listener) {
            Ok(listener) => listener,
            Err(error) => return tracing::error!(%error, "the admin port cannot be served"),
        };
        let room = Arc::new(Semaphore::new(MAX_CONNECTIONS));
        loop {
            let permit = room.clone().acquire_owned().await.expect("it is never closed");
            let stream = match listener.accept().await {
                Ok((stream, _)) => stream,
                Err(error) => {
                    tracing::debug!(%error, "admin connection not accepted");
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                    continue;
                }
            };
            let answers = answers.clone();
            tokio::spawn(async move {
                let _ = tokio::time::timeout(CONNECTION_LIFE, connection(stream, answers)).await;
                drop(permit);
            });
        }
    };
    tokio::select! {
        () = accept => {}
        _ = stopped => {}
    }
}

async fn connection(stream: TcpStream, answers: Arc<Answers>) {
    let service = service_fn(move |request: Request<Incoming>| {
        let answers = answers.clone();
        async move { Ok::<_, Infallible>(respond(&request, &answers).await) }
    });
    let served = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_PATIENCE)
        .max_buf_size(BUFFER_BYTES)
        .serve_connection(TokioIo::new(stream), service)
        .await;
    if let Err(error) = served {
        tracing::debug!(%error, "admin connection ended");
    }
}

async fn respond(request: &Request<Incoming>, answers: &Answers) -> Response<Full<Bytes>> {
    let head = request.method() == Method::HEAD;
    let answer = if head || request.method() == Method::GET {
        answers.answer(request.uri().path()).await
    } else {
        Answer::text(StatusCode::METHOD_NOT_ALLOWED, "this port is only read")
    };
    let not_allowed = answer.status == StatusCode::METHOD_NOT_ALLOWED;
    let mut response = Response::new(Full::new(if head { Bytes::new() } else { answer.body }));
    *response.status_mut() = answer.status;
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(answer.content_type));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    headers.insert(CONTENT_SECURITY_POLICY, HeaderValue::from_static(POLICY));
    if not_allowed {
        headers.insert(ALLOW, HeaderValue::from_static("GET, HEAD"));
    }
    response
}
