//! A WebSocket.

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

/// The subprotocol.
const PROTOCOL: &str = "dialogue.v1";
/// A frame of the server may have so many bytes: a page of history is the largest.
const LARGEST: usize = 16 << 20;
/// A farewell may take so long.
const FAREWELL: Duration = Duration::from_millis(250);

/// An open socket. What is queued is written while the next event is waited for, so that neither direction ever waits
/// for the other.
pub(crate) struct Socket {
    stream: WebSocketStream<TokioIo<Upgraded>>,
    out: VecDeque<Message>,
    unflushed: bool,
    /// Writing failed.
    broken: bool,
}

/// An event of a WebSocket.
#[derive(Debug)]
pub(crate) enum Event {
    Text(Utf8Bytes),
    /// A ping or a pong.
    Alive,
    Lost(Loss),
}

impl Socket {
    /// Opens the socket.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future drops the connection.
    pub(crate) async fn open(address: &Address, headers: HeaderMap) -> Result<Self, Loss> {
        let key = generate_key();
        let mut headers = headers;
        headers.remove(ORIGIN);
        for (name, value) in [
            (CONNECTION, "Upgrade"),
            (UPGRADE, "websocket"),
            (SEC_WEBSOCKET_VERSION, "13"),
            (SEC_WEBSOCKET_PROTOCOL, PROTOCOL),
        ] {
            headers.insert(name, HeaderValue::from_static(value));
        }
        let failed = |what| Loss::Failed(Error::new(ErrorKind::Connect, what));
        let shown = HeaderValue::from_str(&key).map_err(|_| failed("write the handshake's key"))?;
        headers.insert(SEC_WEBSOCKET_KEY, shown);
        let answer = get(address, "/ws", headers).await.map_err(Loss::Failed)?;
        if answer.status != StatusCode::SWITCHING_PROTOCOLS {
            let status = answer.status.as_u16();
            return Err(Loss::Answered { status, refusal: answer.refusal().await });
        }
        // RFC 6455, section 4.1.
        let says = |name, text: &str| {
            let value = answer.headers.get(name).and_then(|value: &HeaderValue| value.to_str().ok());
            value.is_some_and(|value| value.eq_ignore_ascii_case(text))
        };
        let accepted = answer.headers.get(SEC_WEBSOCKET_ACCEPT);
        let connection = answer.headers.get_all(CONNECTION).iter().filter_map(|value| value.to_str().ok());
        let mut options = connection.flat_map(|value| value.split(','));
        if !options.any(|option| option.trim().eq_ignore_ascii_case("upgrade"))
            || !says(UPGRADE, "websocket")
            || accepted.is_none_or(|value| *value != derive_accept_key(key.as_bytes()))
        {
            return Err(failed("the server switched to something that is no WebSocket"));
        }
        if !says(SEC_WEBSOCKET_PROTOCOL, PROTOCOL) {
            return Err(failed("the server does not speak `dialogue.v1`"));
        }
        let io = TokioIo::new(answer.upgrade().await.map_err(Loss::Failed)?);
        let config = WebSocketConfig::default()
            .read_buffer_size(16 << 10)
            .max_message_size(Some(LARGEST))
            .max_frame_size(Some(LARGEST))
            .max_write_buffer_size(1 << 20);
        let stream = WebSocketStream::from_raw_socket(io, Role::Client, Some(config)).await;
        Ok(Socket { stream, out: VecDeque::new(), unflushed: false, broken: false })
    }

    /// Queues a frame; [`next`](Socket::next) writes it.
    pub(crate) fn queue(&mut self, text: String) {
        self.out.push_back(Message::text(text));
    }

    /// Queues a ping, unless one waits to be written already.
    pub(crate) fn ping(&mut self) {
        if !matches!(self.out.back(), Some(Message::Ping(_))) {
            self.out.push_back(Message::Ping(bytes::Bytes::new()));
        }
    }

    /// Returns the number of frames queued for writing.
    pub(crate) fn queued(&self) -> usize {
        self.out.len()
    }

    /// Writes what is queued, and waits for the next event.
    ///
    /// # Cancel safety
    ///
    /// Nothing is lost.
    pub(crate) async fn next(&mut self) -> Event {
        std::future::poll_fn(|cx| self.poll(cx)).await
    }

    /// Writes what is queued and reads nothing, until writing fails: a connection that failed says so when it is read.
    ///
    /// # Cancel safety
    ///
    /// Nothing is lost.
    pub(crate) async fn write(&mut self) -> Event {
        std::future::poll_fn(|cx| {
            self.poll_written(cx);
            if self.broken { self.poll(cx) } else { Poll::Pending }
        })
        .await
    }

    /// Writes what is queued and says goodbye, for a moment at most.
    pub(crate) async fn close(mut self) {
        self.out.push_back(Message::Close(Some(CloseFrame { code: CloseCode::Normal, reason: "".into() })));
        let farewell = std::future::poll_fn(|cx| self.poll_write(cx));
        let _sent = tokio::time::timeout(FAREWELL, farewell).await;
    }

    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Event> {
        self.poll_written(cx);
        let event = match ready!(Pin::new(&mut self.stream).poll_next(cx)) {
            Some(Ok(Message::Text(text))) => Event::Text(text),
            Some(Ok(Message::Close(frame))) => {
                Event::Lost(Loss::Closed(frame.map(|frame| u16::from(frame.code))))
            }
            Some(Ok(_)) => Event::Alive,
            Some(Err(error)) => {
                Event::Lost(Loss::Failed(Error::caused(ErrorKind::Connect, "read from the socket", error)))
            }
            None => Event::Lost(Loss::Closed(None)),
        };
        Poll::Ready(event)
    }

    /// Writes what is queued, as far as that goes now.
    fn poll_written(&mut self, cx: &mut Context<'_>) {
        if let Poll::Ready(Err(error)) = self.poll_write(cx) {
            // The close frame that says why may still be there to read.
            tracing::debug!(%error, "writing to the socket failed");
            self.out.clear();
            (self.unflushed, self.broken) = (false, true);
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
