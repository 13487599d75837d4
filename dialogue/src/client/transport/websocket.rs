//! The client's WebSocket (RFC 6455): the handshake, and a socket that reads and writes without blocking either
//! direction.

use std::{
    collections::VecDeque,
    pin::Pin,
    task::{Context, Poll, ready},
    time::Duration,
};

use ::http::{
    HeaderMap, HeaderValue, StatusCode,
    header::{
        CONNECTION, ORIGIN, SEC_WEBSOCKET_ACCEPT, SEC_WEBSOCKET_KEY, SEC_WEBSOCKET_PROTOCOL,
        SEC_WEBSOCKET_VERSION, UPGRADE,
    },
};
use futures_util::{Sink, Stream};
use hyper::upgrade::Upgraded;
use hyper_util::rt::TokioIo;
use tokio_tungstenite::{
    WebSocketStream,
    tungstenite::{
        self, Message, Utf8Bytes,
        handshake::{client::generate_key, derive_accept_key},
        protocol::{CloseFrame, Role, WebSocketConfig, frame::coding::CloseCode},
    },
};

use super::{Address, http::get};
use crate::client::{
    core::Loss,
    error::{Error, ErrorKind},
};

/// The subprotocol, in `Sec-WebSocket-Protocol`.
const SUBPROTOCOL: &str = "dialogue.v1";
/// Maximum size of a received frame: 16 MiB. A page of history is the largest.
const MAX_FRAME_BYTES: usize = 16 << 20;
/// Maximum time for writing the close frame.
const CLOSE_TIMEOUT: Duration = Duration::from_millis(250);

/// An open socket. Queued frames are written while the next event is awaited, so that neither direction blocks the
/// other.
pub(crate) struct Socket {
    stream: WebSocketStream<TokioIo<Upgraded>>,
    out: VecDeque<Message>,
    unflushed: bool,
    /// Set after a write failed.
    write_failed: bool,
}

/// An event of a socket.
#[derive(Debug)]
pub(crate) enum SocketEvent {
    Text(Utf8Bytes),
    /// A ping or a pong.
    Control,
    Lost(Loss),
}

impl Socket {
    /// Opens the socket.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future closes the connection.
    pub(crate) async fn open(address: &Address, headers: HeaderMap) -> Result<Self, Loss> {
        let key = generate_key();
        let mut headers = headers;
        headers.remove(ORIGIN);
        for (name, value) in [
            (CONNECTION, "Upgrade"),
            (UPGRADE, "websocket"),
            (SEC_WEBSOCKET_VERSION, "13"),
            (SEC_WEBSOCKET_PROTOCOL, SUBPROTOCOL),
        ] {
            headers.insert(name, HeaderValue::from_static(value));
        }
        let failed = |what| Loss::Failed(Error::new(ErrorKind::Connect, what));
        let shown = HeaderValue::from_str(&key).map_err(|_| failed("write the handshake's key"))?;
        headers.insert(SEC_WEBSOCKET_KEY, shown);
        let response = get(address, "/ws", headers).await.map_err(Loss::Failed)?;
        if response.status != StatusCode::SWITCHING_PROTOCOLS {
            let status = response.status.as_u16();
            return Err(Loss::Rejected { status, refusal: response.refusal().await });
        }
        // Verifies the server's handshake as RFC 6455, section 4.1, requires.
        let has_value = |name, text: &str| {
            let value = response.headers.get(name).and_then(|value: &HeaderValue| value.to_str().ok());
            value.is_some_and(|value| value.eq_ignore_ascii_case(text))
        };
        let accepted = response.headers.get(SEC_WEBSOCKET_ACCEPT);
        let connection = response.headers.get_all(CONNECTION).iter().filter_map(|value| value.to_str().ok());
        let mut options = connection.flat_map(|value| value.split(','));
        if !options.any(|option| option.trim().eq_ignore_ascii_case("upgrade"))
            || !has_value(UPGRADE, "websocket")
            || accepted.is_none_or(|value| *value != derive_accept_key(key.as_bytes()))
        {
            return Err(failed("the server switched to a protocol other than WebSocket"));
        }
        if !has_value(SEC_WEBSOCKET_PROTOCOL, SUBPROTOCOL) {
            return Err(failed("the server does not support the subprotocol `dialogue.v1`"));
        }
        let io = TokioIo::new(response.upgrade().await.map_err(Loss::Failed)?);
        let config = WebSocketConfig::default()
            .read_buffer_size(16 << 10)
            .max_message_size(Some(MAX_FRAME_BYTES))
            .max_frame_size(Some(MAX_FRAME_BYTES))
            .max_write_buffer_size(1 << 20);
        let stream = WebSocketStream::from_raw_socket(io, Role::Client, Some(config)).await;
        Ok(Socket { stream, out: VecDeque::new(), unflushed: false, write_failed: false })
    }

    /// Queues a text frame; [`next`](Socket::next) writes it.
    pub(crate) fn queue(&mut self, text: String) {
        self.out.push_back(Message::text(text));
    }

    /// Queues a ping, unless the last queued frame is one.
    pub(crate) fn ping(&mut self) {
        if !matches!(self.out.back(), Some(Message::Ping(_))) {
            self.out.push_back(Message::Ping(bytes::Bytes::new()));
        }
    }

    /// Returns the number of queued frames.
    pub(crate) fn queued(&self) -> usize {
        self.out.len()
    }

    /// Writes the queued frames, and waits for the next event.
    ///
    /// # Cancel safety
    ///
    /// Cancel safe: no event or queued frame is lost.
    pub(crate) async fn next(&mut self) -> SocketEvent {
        std::future::poll_fn(|cx| self.poll(cx)).await
    }

    /// Writes the queued frames without reading. Resolves only after a write failed, when it reads the reason.
    ///
    /// # Cancel safety
    ///
    /// Cancel safe: no event or queued frame is lost.
    pub(crate) async fn write(&mut self) -> SocketEvent {
        std::future::poll_fn(|cx| {
            self.poll_written(cx);
            if self.write_failed { self.poll(cx) } else { Poll::Pending }
        })
        .await
    }

    /// Writes the queued frames and a close frame, for at most [`CLOSE_TIMEOUT`].
    pub(crate) async fn close(mut self) {
        self.out.push_back(Message::Close(Some(CloseFrame { code: CloseCode::Normal, reason: "".into() })));
        let close_frame = std::future::poll_fn(|cx| self.poll_write(cx));
        let _sent = tokio::time::timeout(CLOSE_TIMEOUT, close_frame).await;
    }

    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<SocketEvent> {
        self.poll_written(cx);
        let event = match ready!(Pin::new(&mut self.stream).poll_next(cx)) {
            Some(Ok(Message::Text(text))) => SocketEvent::Text(text),
            Some(Ok(Message::Close(frame))) => {
                SocketEvent::Lost(Loss::Closed(frame.map(|frame| u16::from(frame.code))))
            }
            Some(Ok(_)) => SocketEvent::Control,
            Some(Err(error)) => SocketEvent::Lost(Loss::Failed(Error::caused(
                ErrorKind::Connect,
                "read from the socket",
                error,
            ))),
            None => SocketEvent::Lost(Loss::Closed(None)),
        };
        Poll::Ready(event)
    }

    /// Writes as many queued frames as the connection accepts now.
    fn poll_written(&mut self, cx: &mut Context<'_>) {
        if let Poll::Ready(Err(error)) = self.poll_write(cx) {
            // The close frame with the reason may still be unread.
            tracing::debug!(%error, "writing to the socket failed");
            self.out.clear();
            (self.unflushed, self.write_failed) = (false, true);
        }
    }

    fn poll_write(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), tungstenite::Error>> {
        while !self.out.is_empty() {
            ready!(Pin::new(&mut self.stream).poll_ready(cx))?;
            if let Some(message) = self.out.pop_front() {
                self.unflushed = true;
                Pin::new(&mut self.stream).start_send(message)?;
            }
        }
        if self.unflushed {
            ready!(Pin::new(&mut self.stream).poll_flush(cx))?;
            self.unflushed = false;
        }
        Poll::Ready(Ok(()))
    }
}
