//! HTTP/1.1 requests (RFC 9112), each on a connection of its own.

use std::{future::poll_fn, pin::Pin};

use ::http::{HeaderMap, Method, Request, StatusCode, header};
use bytes::Bytes;
use http_body::Body;
use hyper::{
    body::Incoming,
    client::conn::http1,
    upgrade::{OnUpgrade, Upgraded},
};
use hyper_util::rt::TokioIo;
use tokio::task::JoinSet;

use super::{Address, Io};
use crate::{
    client::error::{Error, ErrorKind},
    wire::{Refusal, frame::ServerFrameHeader},
};

/// Maximum size of a body that is read as a whole: 16 MiB.
const MAX_BODY_BYTES: usize = 16 << 20;

/// A response whose body is not read yet.
pub(crate) struct Response {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    body: Incoming,
    upgrade: OnUpgrade,
    /// The task that drives the connection; dropping it closes the connection.
    _connection: JoinSet<()>,
}

/// Sends a GET request.
///
/// # Cancel safety
///
/// Dropping the future, or the response, closes the connection.
pub(crate) async fn get(address: &Address, target: &str, headers: HeaderMap) -> Result<Response, Error> {
    let failed = |error| Error::caused(ErrorKind::Connect, format!("get {}", address.authority), error);
    let io: Io = address.dial().await?;
    let (mut sender, connection) = http1::handshake(TokioIo::new(io)).await.map_err(failed)?;
    let mut running = JoinSet::new();
    running.spawn(async move {
        if let Err(error) = connection.with_upgrades().await {
            tracing::debug!(%error, "connection ended");
        }
    });
    let mut request = Request::new(String::new());
    *request.method_mut() = Method::GET;
    *request.uri_mut() = format!("{}{target}", address.base)
        .parse()
        .map_err(|error| Error::caused(ErrorKind::Address, "write the request's path", error))?;
    request.headers_mut().extend(headers);
    let host = address.authority.parse();
    request.headers_mut().insert(
        header::HOST,
        host.map_err(|error| Error::caused(ErrorKind::Address, "write the request's host", error))?,
    );
    let mut response = sender.send_request(request).await.map_err(failed)?;
    let upgrade = hyper::upgrade::on(&mut response);
    let (parts, body) = response.into_parts();
    Ok(Response { status: parts.status, headers: parts.headers, body, upgrade, _connection: running })
}

impl Response {
    /// Returns the next bytes of the body; `None` at the end.
    ///
    /// # Cancel safety
    ///
    /// Cancel safe: no bytes are lost.
    pub(crate) async fn chunk(&mut self) -> Option<Result<Bytes, Error>> {
        loop {
            let frame = poll_fn(|cx| Pin::new(&mut self.body).poll_frame(cx)).await?;
            match frame {
                Ok(frame) => {
                    if let Ok(data) = frame.into_data() {
                        return Some(Ok(data));
                    }
                }
                Err(error) => {
                    return Some(Err(Error::caused(ErrorKind::Connect, "read the response", error)));
                }
            }
        }
    }

    /// Reads the whole body.
    pub(crate) async fn body(mut self) -> Result<Vec<u8>, Error> {
        let mut body = Vec::new();
        while let Some(chunk) = self.chunk().await {
            body.extend_from_slice(&chunk?);
            if body.len() > MAX_BODY_BYTES {
                return Err(Error::new(ErrorKind::Decode, "the server's response body exceeds 16 MiB"));
            }
        }
        Ok(body)
    }

    /// Returns the raw connection after a `101 Switching Protocols`.
    pub(crate) async fn upgrade(self) -> Result<Upgraded, Error> {
        self.upgrade.await.map_err(|error| Error::caused(ErrorKind::Connect, "upgrade the connection", error))
    }

    /// Reads the refusal in the body; `None` if the body is not Dialogue's.
    pub(crate) async fn refusal(self) -> Option<Refusal> {
        ServerFrameHeader::refusal_in(&self.body().await.ok()?)
    }
}
