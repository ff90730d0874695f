//! Unary calls of gRPC over one HTTP/2 connection.

use std::net::SocketAddr;

use bytes::{BufMut as _, Bytes, BytesMut};
use h2::client::SendRequest;
use http::{HeaderMap, Method, Request, Uri, Version};
use prost::Message;
use tokio::net::TcpStream;

/// Windows of a connection and of each call: an answer is never waiting for one.
const WINDOW_BYTES: u32 = 8 << 20;
/// In front of a message: whether it is compressed, and its length.
const PREFIX_BYTES: usize = 5;
/// Longer answers are no answers.
const MAX_ANSWER_BYTES: usize = 64 << 20;
/// The status of a call that the server was too busy for.
pub(crate) const RESOURCE_EXHAUSTED: u32 = 8;

/// Why a call has no answer.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum CallError {
    /// Nothing was sent.
    #[error("not connected")]
    NotConnected,
    /// The connection broke, or the answer makes no sense: what was asked may have been done.
    #[error("broken off: {0}")]
    Broken(String),
    /// The server says so.
    #[error("status {code}: {message}")]
    Status {
        /// gRPC's number.
        code: u32,
        /// For people.
        message: String,
    },
}

fn broken(error: impl std::fmt::Display) -> CallError {
    CallError::Broken(error.to_string())
}

/// Where one kind of call goes.
pub(crate) fn uri(server: SocketAddr, path: &str) -> Uri {
    Uri::try_from(format!("http://{server}{path}")).expect("an address and a constant path")
}

/// Connects. The future that comes with it drives the connection until it breaks.
pub(crate) async fn connect(
    server: SocketAddr,
) -> std::io::Result<(SendRequest<Bytes>, impl Future<Output = Result<(), h2::Error>> + Send)> {
    let stream = TcpStream::connect(server).await?;
    stream.set_nodelay(true)?;
    let connected = h2::client::Builder::new()
        .initial_window_size(WINDOW_BYTES)
        .initial_connection_window_size(WINDOW_BYTES)
        .handshake(stream)
        .await;
    let (send, connection) = connected.map_err(std::io::Error::other)?;
    Ok((send, connection))
}

/// A message behind its prefix.
pub(crate) fn frame(message: &impl Message) -> Bytes {
    let length = message.encoded_len();
    let mut out = BytesMut::with_capacity(PREFIX_BYTES + length);
    out.put_u8(0);
    out.put_u32(u32::try_from(length).expect("requests are far below 4 GiB"));
    message.encode(&mut out).expect("there is room for it");
    out.freeze()
}

/// The message of a whole answer.
fn unframe<M: Message + Default>(bytes: &[u8]) -> Result<M, CallError> {
    let (prefix, message) = bytes
        .split_at_checked(PREFIX_BYTES)
        .ok_or_else(|| broken("an answer without a message"))?;
    let length = u32::from_be_bytes(prefix[1..].try_into().expect("four bytes")) as usize;
    if prefix[0] != 0 || length != message.len() {
        return Err(broken("an answer of another length, or compressed"));
    }
    M::decode(message).map_err(broken)
}

/// Asks, and waits for the answer.
pub(crate) async fn call<M: Message + Default>(
    send: SendRequest<Bytes>,
    uri: Uri,
    request: Bytes,
) -> Result<M, CallError> {
    let mut send = send.ready().await.map_err(|_| CallError::NotConnected)?;
    let mut head = Request::new(());
    *head.method_mut() = Method::POST;
    *head.uri_mut() = uri;
    *head.version_mut() = Version::HTTP_2;
    let headers = head.headers_mut();
    headers.insert("content-type", http::HeaderValue::from_static("application/grpc"));
    headers.insert("te", http::HeaderValue::from_static("trailers"));
    let (response, mut body) = send.send_request(head, false).map_err(broken)?;
    body.send_data(request, true).map_err(broken)?;
    let response = response.await.map_err(broken)?;
    if response.status() != http::StatusCode::OK {
        return Err(broken(response.status()));
    }
    // An answer that is nothing but a status comes as headers alone.
    if response.headers().contains_key("grpc-status") {
        status(response.headers())?;
    }
    let mut body = response.into_body();
    let mut first: Option<Bytes> = None;
    let mut more = Vec::new();
    while let Some(data) = body.data().await {
        let data = data.map_err(broken)?;
        let _ = body.flow_control().release_capacity(data.len());
        if first.is_none() {
            first = Some(data);
        } else {
            more.extend_from_slice(&data);
        }
        if more.len() > MAX_ANSWER_BYTES {
            return Err(broken("an endless answer"));
        }
    }
    if let Some(trailers) = body.trailers().await.map_err(broken)? {
        status(&trailers)?;
    }
    let first = first.unwrap_or_default();
    if more.is_empty() {
        return unframe(&first);
    }
    unframe(&[&first[..], &more].concat())
}

fn status(headers: &HeaderMap) -> Result<(), CallError> {
    let text = |name: &str| headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or("");
    match text("grpc-status").parse::<u32>() {
        Ok(0) => Ok(()),
        Ok(code) => Err(CallError::Status {
            code,
            message: text("grpc-message").to_owned(),
        }),
        Err(_) => Err(broken("an answer without a status")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::target::messages::PutRequest;

    #[test]
    fn messages_have_a_prefix_and_answers_are_checked() {
        let put = PutRequest {
            key: b"k".to_vec(),
            value: Vec::new(),
        };
        let framed = frame(&put);
        assert_eq!(&framed[..], [0, 0, 0, 0, 3, 0x0a, 1, b'k']);
        assert_eq!(unframe::<PutRequest>(&framed), Ok(put));
        for bad in [&framed[..4], &framed[..7], &[1, 0, 0, 0, 3, 0x0a, 1, b'k'][..], &[]] {
            assert!(unframe::<PutRequest>(bad).is_err(), "{bad:?}");
        }
        assert_eq!(
            uri(([127, 0, 0, 1], 7).into(), "/a/B").to_string(),
            "http://127.0.0.1:7/a/B"
        );
    }

    #[test]
    fn a_status_is_read_from_trailers() {
        let mut trailers = HeaderMap::new();
        assert!(status(&trailers).is_err());
        trailers.insert("grpc-status", "8".parse().unwrap());
        trailers.insert("grpc-message", "etcdserver: too many requests".parse().unwrap());
        let Err(CallError::Status { code, message }) = status(&trailers) else {
            panic!("it is one")
        };
        assert_eq!(
            (code, message.as_str()),
            (RESOURCE_EXHAUSTED, "etcdserver: too many requests")
        );
        trailers.insert("grpc-status", "0".parse().unwrap());
        assert_eq!(status(&trailers), Ok(()));
    }
}
